#!/bin/sh
# Gets what a static musl build needs where rustup has not the target: the Rust compiler and its library's source of
# Debian 12, and LLVM's unwinder, unpacked below target/ and not installed. Prints the directory.
set -eu
cd "$(dirname "$0")/.."
dir=$PWD/target/musl

missing() {
    echo "static: $1" >&2
    exit 3
}
test -e "$dir/ready" && { echo "$dir"; exit 0; }
test "$(uname -m)" = x86_64 || missing "Debian's packages for musl were tried on x86_64 only"
for tool in apt-get dpkg musl-gcc ar; do
    command -v $tool >/dev/null 2>&1 || missing "$tool is missing (apt-get install apt dpkg musl-tools binutils)"
done
# Libraries have their version in their names, and get new ones with each update.
needed() { apt-cache depends "$1" | sed -n "s/^ *Depends: \($2\)\$/\1/p"; }
std=$(needed libstd-rust-web-dev 'libstd-rust-web-[0-9.]*')
llvm=$(needed "${std:-rustc-web}" 'libllvm[0-9]*')
test -n "$std" -a -n "$llvm" || missing "Debian's packages of rustc-web are not known here (apt-get update)"
packages="rustc-web rust-web-src libstd-rust-web-dev $std $llvm libunwind-19-dev"
rm -rf "$dir" && mkdir -p "$dir/packages" "$dir/root" "$dir/native"
for package in $packages; do
    (cd "$dir/packages" && apt-get -o APT::Sandbox::User="$(id -un)" download -qq "$package" >&2) || missing "Debian's package $package cannot be had here"
done
for file in "$dir"/packages/*.deb; do
    dpkg -x "$file" "$dir/root"
    # For the list of parts.
    dpkg-deb -W "$file" | tr '\t' ' ' >>"$dir/versions"
done
rm -r "$dir/packages"

# std wants an unwinder, and gcc's own crashes in static musl programs (weak pthread symbols). LLVM's was built for
# glibc, of which it calls one function that musl has under another name.
cat >"$dir/chk.c" <<'C'
#include <stdarg.h>
#include <stdio.h>
int __fprintf_chk(FILE *file, int flag, const char *format, ...) {
    va_list list;
    (void)flag;
    va_start(list, format);
    int count = vfprintf(file, format, list);
    va_end(list);
    return count;
}
C
musl-gcc -O2 -c "$dir/chk.c" -o "$dir/chk.o"
cp "$dir/root/usr/lib/llvm-19/lib/libunwind.a" "$dir/native/libunwind.a"
ar rD "$dir/native/libunwind.a" "$dir/chk.o" 2>/dev/null
cat >"$dir/rustc" <<S
#!/bin/sh
LD_LIBRARY_PATH=$dir/root/usr/lib/x86_64-linux-gnu exec $dir/root/usr/bin/rustc "\$@"
S
chmod +x "$dir/rustc"
# By a linker of its own rather than by a flag: flags with paths would make other bytes in another directory.
cat >"$dir/cc" <<S
#!/bin/sh
exec musl-gcc -L$dir/native "\$@"
S
chmod +x "$dir/cc"
"$dir/rustc" --version >&2 || missing "Debian's rustc does not run here"
touch "$dir/ready"
echo "$dir"
