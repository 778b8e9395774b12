#!/bin/sh
# Proves that a static build is the same bytes wherever and whenever it is made: builds a second one of the same
# sources in another directory, with another umask and at another time of day, and compares.
set -eu
cd "$(dirname "$0")/.."
first=$(packaging/static.sh)
other=$(mktemp -d)/elsewhere/ccgw
trap 'rm -rf "$(dirname "$(dirname "$other")")"' EXIT
mkdir -p "$other/target"
for file in Cargo.toml Cargo.lock src benches tests/it openclaw-skill.md config.example.yaml packaging; do
    mkdir -p "$other/$(dirname "$file")"
    cp -r "$file" "$other/$(dirname "$file")/"
done
# What was fetched may be the same; where it is, is not.
if test -e target/musl/ready; then (cd "$other" && packaging/musl.sh >/dev/null); fi
second=$other/$(cd "$other" && umask 027 && TZ=Pacific/Auckland packaging/static.sh)
sha256sum "$first" "$second"
cmp "$first" "$second"
echo 'reproducible: the same bytes from two directories'
