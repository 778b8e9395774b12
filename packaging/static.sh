#!/bin/sh
# Builds a static ccgw and prints where it is: musl where rustup has the target, else glibc.
set -eu
machine=$(uname -m)
musl=$machine-unknown-linux-musl
if rustc --print target-libdir --target "$musl" 2>/dev/null | xargs -I{} test -d {}; then
    target=$musl
    flags='-C target-feature=+crt-static'
else
    target=$machine-unknown-linux-gnu
    flags='-C target-feature=+crt-static -C relocation-model=static'
    echo "static: the Rust target $musl is not installed (rustup target add $musl); linking glibc statically instead" >&2
fi
RUSTFLAGS="$flags" "${CARGO:-cargo}" build --release --locked --target "$target"
binary=target/$target/release/ccgw
if command -v file >/dev/null 2>&1; then file "$binary"; fi
ls -l "$binary"
