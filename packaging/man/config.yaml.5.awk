# config.yaml(5), of a release of `date`, made of config.example.yaml, which has every key with its meaning, range and default.
function escaped(text) { gsub(/\\/, "\\e", text); return text ~ /^[.']/ ? "\\&" text : text }
# Sentences begin lines of their own, and no line is long.
function tell(text,    words, count, i, line) {
    count = split(text, words, " ")
    line = ""
    for (i = 1; i <= count; i++) {
        if (line != "" && (length(line) + length(words[i]) > 76 || line ~ /[A-Za-z0-9)"`][.]$/)) { print escaped(line); line = "" }
        line = line (line == "" ? "" : " ") words[i]
    }
    if (line != "") print escaped(line)
}
BEGIN {
    print ".Dd " date "\n.Dt CONFIG.YAML 5\n.Os\n.Sh NAME\n.Nm config.yaml\n.Nd configuration of ccgw"
    print ".Sh DESCRIPTION"
    print "The file that\n.Xr ccgw 1\nis told to read, or that is in its working directory, in YAML."
    print "It holds keys, so it should be readable for its owner only (mode 0600)."
    print "Every key is below with its default; one without a value has none."
    depth = 0
}
{ line = $0 }
# What stands behind `# tenants:` is an example of one, behind another `# `.
in_tenants { sub(/^# /, "", line) }
/^# tenants:/ { in_tenants = 1; line = "tenants:"; prefix[0] = "tenants"; text = ""; next }
line ~ /^ *#( |$)/ && line !~ /^ *# [a-z_0-9]+:( |$)/ {
    comment = line; sub(/^ *# ?/, "", comment)
    text = text (text == "" ? "" : " ") comment
    next
}
# What the file says of itself makes no sense in a page.
line ~ /^ *$/ { if (!started) { sub(/^Configuration of ccgw.*(without the `# `)[.] /, "", text) } if (!started && text != "") { tell(text); text = "" } next }
line ~ /^ *(# )?(- )?[A-Za-z_0-9\/.]+:/ {
    if (!started) { print ".Sh KEYS\n.Bl -tag -width Ds"; started = 1 }
    key = line
    match(key, /^ */); indent = RLENGTH
    sub(/^ */, "", key)
    is_set = key !~ /^# /
    sub(/^# /, "", key)
    if (key ~ /^- /) { sub(/^- /, "", key); indent += 2 }
    value = key; sub(/^[^:]*: ?/, "", value); sub(/:.*/, "", key)
    level = int((indent + 1) / 2)
    if (in_tenants) level = indent >= 6 ? 9 : 1
    if (level == 9 || key == "tenants") { text = ""; next }
    prefix[level] = key
    name = ""
    for (i = 0; i < level; i++) name = name prefix[i] (in_tenants && i == 0 ? "[]." : ".")
    print ".It Sy " name key (is_set && value != "" && !in_tenants ? " : Ar " value : "")
    if (text != "") tell(text)
    else print "As the key before it."
    text = ""
}
END {
    print ".El\n.Sh FILES\n.Bl -tag -width Ds"
    print ".It Pa /etc/ccgw/config.yaml\nThat of the service."
    print ".It Pa /usr/share/ccgw/config.example.yaml\nWhat this page is made of.\n.El"
    print ".Sh SEE ALSO\n.Xr ccgw 1 ,\n.Xr ccgw-manage 1"
}
