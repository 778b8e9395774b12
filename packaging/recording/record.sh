#!/bin/sh
# Records the real program in a terminal and draws ccgw.svg beside this file. Needs asciinema, node with npm, curl and a
# release build. The built-in stand-in answers (--demo), so no account is asked and nobody's words are shown.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
ccgw=$here/../../target/release/ccgw
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir -p "$work/bin" "$work/home" "$work/draw"
cp "$ccgw" "$work/bin/ccgw"
ln -s ccgw "$work/bin/ccgw-manage"
cp "$here/../../config.example.yaml" "$work/config.yaml"
chmod 600 "$work/config.yaml"
cat > "$work/question.json" <<'JSON'
{"model": "sonnet", "max_tokens": 1000, "stream": true,
 "messages": [{"role": "user", "content": "[[delay:90]] which of my instances is this?"}]}
JSON
sed 's/which of.*this?/[[deltas:60]]/' "$work/question.json" > "$work/long.json"

cat > "$work/session.sh" <<'SESSION'
say() {
    printf '\033[1;32m$\033[0m '
    printf '%s' "$1" | sed 's/.\{1,5\}/&\n/g' | while IFS= read -r letters; do
        printf '%s' "$letters"
        sleep 0.12
    done
    printf '\n'
}
run() {
    say "$1"
    eval "$1"
    sleep "${2:-1}"
}
cd "$WORK"
run 'ccgw-manage add dc' 2
run 'ccgw --demo config.yaml 2> ccgw.log &' 1
KEY=$(sed -n 's/^ *api_key: *"\{0,1\}\([0-9a-f]*\).*/\1/p' config.yaml | head -n 1)
curl() { command curl --no-progress-meter "$@"; }
# The stand-in repeats what it was told, its own direction too.
words() { grep -o --line-buffered '"text":"[^"[]\+"'; }
run 'curl -N localhost:3456/v1/messages -H "x-api-key: $KEY" -d @question.json | words' 2
ask() { curl -N localhost:3456/v1/messages -H "x-api-key: $KEY" -d @long.json > /dev/null 2>&1; }
run 'ask & ask &' 1
run 'ccgw-manage ps' 2
run 'ccgw-manage status' 3
run 'ccgw-manage drain' 1
wait
run 'tail -n 2 ccgw.log' 5
SESSION

env -i PATH="$work/bin:$PATH" HOME="$work/home" XDG_STATE_HOME="$work/state" DOCKER_HOST=unix:///nonexistent \
    WORK="$work" TERM=xterm-256color LANG=C.UTF-8 \
    asciinema rec --quiet --overwrite --cols 110 --rows 34 --idle-time-limit 3 \
    --command "sh $work/session.sh" "$work/session.cast"
sed -i "s|$work|/srv/ccgw|g" "$work/session.cast"
npm install --silent --no-audit --no-fund --prefix "$work/draw" svg-term-cli@2.1.1
"$work/draw/node_modules/.bin/svg-term" --in "$work/session.cast" --out "$here/ccgw.svg" \
    --window --no-cursor --width 110 --height 34
# One still picture as well, for who wants to look at the end only.
if [ -n "${STILL:-}" ]; then
    "$work/draw/node_modules/.bin/svg-term" --in "$work/session.cast" --out "$STILL" \
        --window --no-cursor --width 110 --height 34 --at "${AT:-20000}"
fi
ls -l "$here/ccgw.svg"
