#!/bin/sh
# Debian's form of CHANGELOG.md: VERSION and the time of the release in seconds. A point each, its lines joined.
set -eu
cd "$(dirname "$0")/../.."
echo "ccgw ($1) unstable; urgency=medium"
echo
awk -v version="$1" '
    function flush() { if (text != "") { gsub(/`/, "", text); print text } text = "" }
    /^## / { flush(); here = index($2, "[" version "]") == 1; next }
    !here { next }
    /^- / { flush(); text = substr($0, 3); next }
    /^ +[^ ]/ && text != "" { sub(/^ +/, ""); text = text " " $0; next }
    { flush() }
    END { flush() }' CHANGELOG.md | while IFS= read -r text; do
    printf '%s\n' "$text" | fold -s -w 74 | sed '1s/^/  * /; 1!s/^/    /; s/ *$//'
done
echo
echo " -- The ccgw authors <ccgw@users.noreply.github.com>  $(LC_ALL=C date -u -R -d "@$2")"
