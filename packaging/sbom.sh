#!/bin/sh
# Prints what is in the static binary, as a CycloneDX list, from what cargo knows of this build. cargo-cyclonedx makes the same
# with 130 crates of its own, and lists what only tests use.
set -eu
cd "$(dirname "$0")/.."
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct 2>/dev/null || echo 0)}"
# NAME VERSION CHECKSUM of every package that is locked.
sums=$(awk -F'"' '/^name = /{n=$2} /^version = /{v=$2} /^checksum = /{print n "@" v " " $2}' Cargo.lock)
parts=$(${CARGO:-cargo} tree --locked -e normal,build --prefix none -f '{p}' --target "$(uname -m)-unknown-linux-musl" | awk '{sub(/^v/, "", $2); print $1 "@" $2}' | sort -u)
# What the toolchain adds: NAME VERSION LICENCE, without a version where nobody tells it (rustup's musl).
musl=${CARGO_TARGET_DIR:-target}/musl
rustup=$(rustc --print target-libdir --target "$(uname -m)-unknown-linux-musl" 2>/dev/null || true)
if [ -e "$musl/versions" ] && [ ! -d "$rustup" ]; then
    runtime="std $(sed -n 's/^rust-web-src \([^-+~]*\).*/\1/p' "$musl/versions") MIT OR Apache-2.0
musl $(dpkg-query -W -f '${Version}' musl-dev | sed 's/-[^-]*$//') MIT
libunwind $(sed -n 's/^libunwind-[0-9]*-dev \([0-9]*:\)*\([^-+~]*\).*/\2/p' "$musl/versions") Apache-2.0 WITH LLVM-exception"
else
    runtime="std $(rustc --version | cut -d' ' -f2) MIT OR Apache-2.0
musl - MIT
libunwind - Apache-2.0 WITH LLVM-exception"
fi
${CARGO:-cargo} metadata --locked --format-version 1 |
    jq -S --arg parts "$parts" --arg sums "$sums" --arg runtime "$runtime" --arg time "$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)" '
    ($parts | split("\n")) as $used
    | ($sums | split("\n") | map(split(" ") | {(.[0]): .[1]}) | add) as $checksum
    | def ref: "pkg:cargo/\(.name)@\(.version)";
      def described: {
          type: "library", "bom-ref": ref, name, version, purl: ref,
          licenses: (if .license then [{expression: (.license | gsub("/"; " OR "))}] else [] end)
      } + (if $checksum["\(.name)@\(.version)"] then {hashes: [{alg: "SHA-256", content: $checksum["\(.name)@\(.version)"]}]} else {} end);
      [.packages[] | select(["\(.name)@\(.version)"] | inside($used))] as $packages
    | ($packages | map({(.id): ref}) | add) as $refs
    | {
        bomFormat: "CycloneDX", specVersion: "1.5", version: 1,
        metadata: {timestamp: $time, component: ($packages[] | select(.name == "ccgw") | described | .type = "application")},
        components: (([$packages[] | select(.name != "ccgw") | described] | sort_by(.purl)) + [$runtime | split("\n")[] | split(" ")
            | {type: "library", "bom-ref": "pkg:generic/\(.[0])", name: .[0], licenses: [{expression: (.[2:] | join(" "))}]}
            + (if .[1] == "-" then {} else {version: .[1], purl: "pkg:generic/\(.[0])@\(.[1])"} end)]),
        dependencies: [.resolve.nodes[] | select($refs[.id]) | {ref: $refs[.id], dependsOn: ([.dependencies[] | $refs[.] // empty] | unique)}] | sort_by(.ref)
      }'
