#!/bin/sh
# Makes target/dist/ccgw_VERSION_ARCH.deb of a static binary: the same files as `make install PREFIX=/usr`.
set -eu
cd "$(dirname "$0")/.."
binary=$1
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
arch=$(dpkg --print-architecture)
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct 2>/dev/null || echo 0)}"
export SOURCE_DATE_EPOCH
stage=target/dist/deb
rm -rf "$stage" && mkdir -p "$stage/DEBIAN"
umask 022
notices=target/dist/THIRD-PARTY-NOTICES
packaging/notices.sh "$binary" >"$notices"
make --no-print-directory install-files BINARY="$binary" NOTICES="$notices" DESTDIR="$PWD/$stage" PREFIX=/usr UNITDIR=/usr/lib/systemd MANUAL=compressed >/dev/null

doc=$stage/usr/share/doc/ccgw
mkdir -p "$stage/usr/share/lintian/overrides"
# A release's tarball has the file beside it; here policy wants it under this name.
packaging/deb/changelog.sh "$version" "$SOURCE_DATE_EPOCH" | gzip -9n >"$doc/changelog.gz"
cp packaging/deb/copyright "$doc/copyright"
cp packaging/deb/lintian-overrides "$stage/usr/share/lintian/overrides/ccgw"
chmod 644 "$doc/changelog.gz" "$doc/copyright" "$stage/usr/share/lintian/overrides/ccgw"

size=$(du -k -s --exclude=DEBIAN "$stage" | cut -f1)
sed "s/@VERSION@/$version/; s/@ARCH@/$arch/; s/@SIZE@/$size/" packaging/deb/control >"$stage/DEBIAN/control"
echo /etc/default/ccgw >"$stage/DEBIAN/conffiles"
for script in postinst prerm postrm; do
    install -m 0755 "packaging/deb/$script" "$stage/DEBIAN/$script"
done
(cd "$stage" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | LC_ALL=C sort -z | grep -zv '^etc/' | xargs -0 md5sum) >"$stage/DEBIAN/md5sums"
find "$stage" -newermt "@$SOURCE_DATE_EPOCH" -print0 | xargs -0 -r touch --no-dereference --date="@$SOURCE_DATE_EPOCH"
deb=target/dist/ccgw_${version}_$arch.deb
dpkg-deb --root-owner-group -Zxz --build "$stage" "$deb" >&2
rm -rf "$stage" "$notices"
echo "$deb"
