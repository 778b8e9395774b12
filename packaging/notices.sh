#!/bin/sh
# Prints the licences of what is in a static binary beside ccgw's own code, in the words of the parts themselves: the
# crates, from their sources as cargo has them; Rust's standard library, musl and LLVM's unwinder, or glibc, from the
# packages that they came in. NOTHING is fetched, and what is not to be found is an error. notices.sh BINARY
set -eu
cd "$(dirname "$0")/.."
binary=$1
machine=$(uname -m)
out=${CARGO_TARGET_DIR:-target}
debian=$out/musl/root/usr/share/doc
sysroot=$(rustc --print sysroot 2>/dev/null || true)

seen=$(mktemp)
trap 'rm -f "$seen" "$seen.parts"' EXIT

fail() { echo "notices: $1" >&2; exit 1; }
heading() { title=${1%%:*}; printf '\n%s\n%s\n' "$(printf '%080d' 0 | tr 0 =)" "$1"; }
# As text, where it is a page; once, where many have the same.
file() {
    sum=$(tr -s '[:space:]' ' ' <"$1" | cksum)
    of=$(sed -n "s/^$sum //p" "$seen")
    if [ -n "$of" ]; then
        printf -- '\n--- %s: the same as of %s\n' "${1##*/}" "$of"
        return
    fi
    echo "$sum $title" >>"$seen"
    printf -- '\n--- %s\n\n' "${1##*/}"
    case $1 in
        *.html) sed 's/<[^>]*>//g; s/&lt;/</g; s/&gt;/>/g; s/&quot;/"/g; s/&#39;/'"'"'/g; s/&amp;/\&/g' "$1" | cat -s ;;
        *) cat "$1"; echo ;;
    esac
}
# The first of these files that is there is the part's.
part() {
    heading "$1"
    shift
    for path in "$@"; do
        if test -s "$path"; then file "$path"; return; fi
    done
    fail "none of these is here: $*"
}

command -v jq >/dev/null || fail 'jq is not installed, which finds the licences: apt install jq'
echo "ccgw is MIT-licensed. This program has parts of others in it, under the licences below."
parts=$(${CARGO:-cargo} tree --locked -e normal --prefix none -f '{p}' --target "$machine-unknown-linux-musl" | awk '{sub(/^v/, "", $2); print $1 "@" $2}' | sort -u)
${CARGO:-cargo} metadata --locked --format-version 1 | jq -r --arg parts "$parts" '($parts | split("\n")) as $used
    | [.packages[] | select(.name != "ccgw" and (["\(.name)@\(.version)"] | inside($used)))] | sort_by(.name, .version)[]
    | [.name, .version, .license // "see below", .repository // .homepage // "-", (.manifest_path | sub("/[^/]*$"; ""))] | @tsv' >"$seen.parts"
while IFS="$(printf '\t')" read -r name version licence home directory; do
    heading "$name $version: $licence, $home"
    found=$(find "$directory" -maxdepth 1 -type f \( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'copyright*' -o -iname 'notice*' -o -iname 'unlicense*' \) | LC_ALL=C sort)
    for path in $found; do file "$path"; done
    # Some name a well-known licence and leave its text out.
    if [ -z "$found" ]; then
        authors=$(sed -n 's/^authors = *\[*//p' "$directory/Cargo.toml" | tr -d '"[]')
        printf '\n(Its package has no text of its own. Authors: %s)\n' "${authors:-as in its repository}"
        case $licence in *MIT*) sed '/^Copyright/d' LICENSE ;; *) fail "$name has no text, and $licence is not known here" ;; esac
    fi
done <"$seen.parts"

has() { test -e "$out/$machine-unknown-linux-$1/static/ccgw" && cmp -s "$binary" "$out/$machine-unknown-linux-$1/static/ccgw"; }
if has gnu; then
    part "Rust's standard library: MIT OR Apache-2.0, with parts of others" "$sysroot/share/doc/rust/COPYRIGHT-library.html" "$sysroot/share/doc/rust/COPYRIGHT.html"
    part 'glibc: LGPL-2.1-or-later' /usr/share/doc/libc6-dev/copyright
    part "gcc's unwinder: GPL-3.0-or-later WITH GCC-exception-3.1" /usr/share/doc/libgcc-s1/copyright
elif test -d "$debian" && ! test -d "$(rustc --print target-libdir --target "$machine-unknown-linux-musl" 2>/dev/null)"; then
    part "Rust's standard library: MIT OR Apache-2.0, with parts of others" "$debian/rust-web-src/copyright"
    part 'musl: MIT' /usr/share/doc/musl-dev/copyright
    part "LLVM's libunwind: Apache-2.0 WITH LLVM-exception" "$debian"/libunwind-*/copyright
else
    # By rustup's target, which brings musl and the unwinder along.
    part "Rust's standard library: MIT OR Apache-2.0, with parts of others" "$sysroot/share/doc/rust/COPYRIGHT-library.html" "$sysroot/share/doc/rust/COPYRIGHT.html"
    heading 'musl: MIT'
    printf '\nCopyright (c) 2005-2020 Rich Felker, et al.\n'
    sed '/^Copyright/d' LICENSE
    part "LLVM's libunwind: Apache-2.0 WITH LLVM-exception" "$sysroot/share/doc/rust/licenses/Apache-2.0.txt"
    file "$sysroot/share/doc/rust/licenses/LLVM-exception.txt"
fi
