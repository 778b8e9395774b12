#!/bin/sh
# Debian's form of CHANGELOG.md: VERSION and the time of the release in seconds.
set -eu
cd "$(dirname "$0")/../.."
echo "ccgw ($1) unstable; urgency=medium"
echo
echo "  * What is new in each release: CHANGELOG.md in the documentation."
awk '/^## /{n++} n==1 && /^- /{sub(/^- /, ""); gsub(/`/, ""); print}' CHANGELOG.md | fold -s -w 74 | sed 's/^/    /; s/ *$//' | head -n 60
echo
echo " -- The ccgw authors <ccgw@users.noreply.github.com>  $(LC_ALL=C date -u -R -d "@$2")"
