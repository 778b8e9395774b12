#!/bin/sh
# Makes a release in target/dist/ of a static binary: a tarball from which `make install` installs without a
# compiler, the .deb, the list of parts (SBOM, CycloneDX) and the checksums of all of them.
set -eu
cd "$(dirname "$0")/.."
binary=$1
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct 2>/dev/null || echo 0)}"
export SOURCE_DATE_EPOCH
name=ccgw-$version-$(uname -m)-linux
rm -rf target/dist && mkdir -p "target/dist/$name"
cp "$binary" "target/dist/$name/ccgw"
packaging/notices.sh "$binary" >"target/dist/$name/THIRD-PARTY-NOTICES"
cp -r Makefile README.md README_CN.md CHANGELOG.md LICENSE config.example.yaml openclaw-skill.md packaging "target/dist/$name/"
# An image is made of what is here.
sed -i 's#=target/static/#=#' "target/dist/$name/packaging/Containerfile"
tar --sort=name --owner=0 --group=0 --numeric-owner --mode=u+rwX,go+rX,go-w --mtime="@$SOURCE_DATE_EPOCH" -C target/dist -c "$name" |
    gzip -9n >"target/dist/$name.tar.gz"
rm -r "target/dist/${name:?}"
packaging/deb.sh "$binary" >&2
packaging/sbom.sh >"target/dist/$name.cdx.json"
(cd target/dist && sha256sum -- *.tar.gz *.deb *.cdx.json >SHA256SUMS && cat SHA256SUMS)
