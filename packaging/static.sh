#!/bin/sh
# Builds a static ccgw and prints where it is. By musl where rustup has its target, else by musl with packages of
# Debian (musl.sh), else, loudly, by glibc. FALLBACK=no makes the last one an error.
set -eu
cd "$(dirname "$0")/.."
machine=$(uname -m)
musl=$machine-unknown-linux-musl
cargo=${CARGO:-cargo}
out=${CARGO_TARGET_DIR:-target}
# The same bytes wherever it is built: no paths of this machine in it.
flags="-C target-feature=+crt-static -C relocation-model=static --remap-path-prefix=$PWD=/ccgw"
flags="$flags --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"

has_target() {
    libdir=$(rustc --print target-libdir --target "$musl" 2>/dev/null) && test -d "$libdir"
}

if has_target; then
    target=$musl
    RUSTFLAGS="$flags" $cargo build --profile static --locked --target "$target"
elif dir=$("packaging/musl.sh"); then
    target=$musl
    flags="$flags --remap-path-prefix=$dir/root/usr=/rust -C link-self-contained=no"
    RUSTC=$dir/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER=$dir/cc CC_x86_64_unknown_linux_musl=musl-gcc \
        RUSTFLAGS="$flags" $cargo build --profile static --locked --target "$target" -Zbuild-std=std,panic_unwind
else
    echo "static: *** no musl here: rustup target add $musl, or see above for what Debian's packages lack ***" >&2
    if [ "${FALLBACK:-yes}" = no ]; then exit 1; fi
    echo "static: *** linking glibc statically instead: larger, and it needs more memory ***" >&2
    target=$machine-unknown-linux-gnu
    RUSTFLAGS="$flags" $cargo build --profile static --locked --target "$target"
fi
binary=$out/$target/static/ccgw
# What starts, runs; what needs a library, would not everywhere.
"$binary" --version >&2
if command -v readelf >/dev/null 2>&1 && readelf -l "$binary" | grep -q INTERP; then
    echo "static: $binary needs a dynamic linker" >&2
    exit 1
fi
mkdir -p "$out/static" && cp "$binary" "$out/static/ccgw"
ls -l "$out/static/ccgw" >&2
echo "$out/static/ccgw"
