#!/bin/sh
# Proves the packages in a clean Debian that debootstrap makes: installs from the .deb and from a release's tarball,
# serves runs of the real Claude Code CLI against a scripted API on loopback, reloads, upgrades while it serves, and
# does the same as a service of a systemd that it boots, with restarts under load, crashes and hangs; uninstalls without touching what is the operator's. BINARY is packed instead of one that is built. Needs root; says SKIPPED, and fails in CI, where a part is missing.
set -eu
cd "$(dirname "$0")/.."
for tool in bwrap debootstrap dpkg-deb lintian mandoc python3 curl npm jq; do
    command -v $tool >/dev/null 2>&1 || { echo "SKIPPED: packaging: $tool is not installed"; exit 0; }
done
test "$(id -u)" = 0 || { echo 'SKIPPED: packaging: a clean root needs root'; exit 0; }

base=target/debian
work=$(mktemp -d /tmp/ccgw-packaging.XXXXXX)
root=$work/root
pids=
cleanup() {
    for pid in $pids; do kill "$pid" 2>/dev/null || true; done
    # It asks for more than that; what it started ends with it.
    test -z "${init:-}" || kill -9 "$init" 2>/dev/null || true
    umount -l "$root" 2>/dev/null || true
    find /sys/fs/cgroup -depth -type d -path "*/${work##*/}*" -exec rmdir {} + 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
fail() { echo "packaging: FAILED: $1" >&2; test ! -e "$work/log" || tail -n 30 "$work/log" >&2; exit 1; }
step() { echo "packaging: $1"; }

# Waits until a command succeeds.
until_true() {
    for _ in $(seq 300); do
        if "$@" >/dev/null 2>&1; then return 0; fi
        sleep 0.1
    done
    fail "this never came true: $*"
}

fresh_root() {
    umount -l "$root" 2>/dev/null || true
    rm -rf "$work/upper" "$work/overlay"
    mkdir -p "$work/upper" "$work/overlay" "$root"
    mount -t overlay overlay -o "lowerdir=$PWD/$base,upperdir=$work/upper,workdir=$work/overlay" "$root"
    install -D -m 0755 "$cli" "$root/usr/local/bin/claude"
}
# By bwrap, since no user namespace can be made in a chroot; with all of /proc, which a sandbox in there mounts anew.
inside() { bwrap --bind "$root" / --dev-bind /dev /dev --dev-bind /proc /proc --cap-add ALL /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive "$@"; }
# As the service's unit does: that user, and no new privileges.
as_ccgw() { inside setpriv --reuid=ccgw --regid=ccgw --init-groups --no-new-privs env HOME=/var/lib/ccgw STATE_DIRECTORY=/var/lib/ccgw/.local/state/ccgw RUNTIME_DIRECTORY=/run/ccgw "$@"; }

start() {
    install -d -m 0700 "$root/run/ccgw" "$root/var/lib/ccgw/.local/state/ccgw"
    inside chown ccgw: /run/ccgw /var/lib/ccgw/.local/state/ccgw
    # The one before may still stand there when the shell in the background has not come to it.
    : >"$work/log"
    as_ccgw "$1/ccgw" /etc/ccgw/config.yaml >"$work/log" 2>&1 &
    pids="$pids $!"
    until_true grep -q 'listening on' "$work/log"
    daemon=$(sed -n 's/.*listening on http:\/\/[^ ]*:\([0-9]*\).*/\1/p' "$work/log" | head -n 1)
}
configure() {
    cat >"$root/etc/ccgw/config.yaml" <<C
server: {port: 0, host: 127.0.0.1}
isolation: ${isolation}
tenants:
  - name: alpha
    api_key: key-of-alpha-0123456789
    env: {ANTHROPIC_BASE_URL: "http://127.0.0.1:$api", ANTHROPIC_API_KEY: test-key}
C
    chmod 600 "$root/etc/ccgw/config.yaml"
    inside chown ccgw: /etc/ccgw/config.yaml
}
ask() {
    curl -sS --max-time 120 "http://127.0.0.1:$daemon/v1/messages" -H "x-api-key: ${1:-key-of-alpha-0123456789}" -H 'content-type: application/json' \
        -d '{"model":"claude-sonnet-4-6","max_tokens":100,"messages":[{"role":"user","content":"say hello"}]}'
}
served() { ask "$@" >"$work/answer" && grep -q 'hello from the scripted API' "$work/answer" || { cat "$work/answer" >&2; fail 'no answer'; }; }
stop() {
    as_ccgw "$1/ccgw-manage" drain >/dev/null
    until_true grep -q ' stopped$' "$work/log"
}

step 'building'
binary=${BINARY:-$(packaging/static.sh)}
packaging/dist.sh "$binary" >/dev/null
deb=$(ls target/dist/*.deb)
tarball=$(ls target/dist/*.tar.gz)
(cd target/dist && sha256sum --check --quiet SHA256SUMS) || fail 'SHA256SUMS'
step 'licences and parts'
mkdir "$work/deb" "$work/release"
dpkg-deb -x "$deb" "$work/deb"
tar -xzf "$tarball" -C "$work/release" --strip-components=1
parts=$(cargo tree --locked -e normal --prefix none -f '{p}' --target "$(uname -m)-unknown-linux-musl" | awk '$1 != "ccgw" {sub(/^v/, "", $2); print $1 " " $2}' | sort -u)
for notices in "$work/deb/usr/share/doc/ccgw/THIRD-PARTY-NOTICES" "$work/release/THIRD-PARTY-NOTICES"; do
    echo "$parts" | while read -r name version; do grep -q "^$name $version: " "$notices" || fail "$name is not in $notices"; done
    for name in "Rust's standard library" musl "LLVM's libunwind"; do grep -q "^$name: " "$notices" || fail "$name is not in $notices"; done
    grep -q 'Rich Felker' "$notices" || fail "musl's words are not in $notices"
done
for name in std musl libunwind rustix; do
    jq -e --arg name "$name" '[.components[] | select(.name == $name and .licenses != [])] | length == 1' target/dist/*.cdx.json >/dev/null || fail "$name is not in the list of parts"
done
step 'lintian'
lintian --fail-on error,warning --tag-display-limit 0 --allow-root "$deb" || fail lintian

# What a clean root has; make is for the tarball.
packages=systemd,systemd-sysv,bubblewrap,ca-certificates,procps,make
if [ "$(cat "$base/.complete" 2>/dev/null)" != "$packages" ]; then
    step 'debootstrap'
    rm -rf "$base"
    debootstrap --variant=minbase --include=$packages bookworm "$base" ${MIRROR:+"$MIRROR"} >"$work/debootstrap.log" 2>&1 ||
        { tail "$work/debootstrap.log"; echo 'SKIPPED: packaging: debootstrap cannot make a root here'; exit 0; }
    echo $packages >"$base/.complete"
fi
test -e tests/real-cli/node_modules/.complete || (cd tests/real-cli && npm ci --ignore-scripts --no-audit --no-fund >/dev/null)
cli=$(ls -d tests/real-cli/node_modules/@anthropic-ai/claude-code-linux-*/claude | head -n 1)
python3 packaging/test_api.py "$work/port" &
pids="$pids $!"
until_true test -e "$work/port"
api=$(cat "$work/port")
# In the sandbox where this kernel lets an ordinary user have one.
fresh_root
isolation=none
if inside setpriv --reuid=1234 --clear-groups --no-new-privs bwrap --unshare-user --unshare-pid --ro-bind / / --proc /proc true 2>/dev/null; then isolation=bwrap; fi
step "isolation: $isolation"

step 'the .deb: installed, serves'
cp "$deb" "$root/root/ccgw.deb"
inside dpkg -i --force-depends /root/ccgw.deb >"$work/dpkg" 2>&1 || { cat "$work/dpkg"; fail 'dpkg -i'; }
inside id ccgw >/dev/null || fail 'no user ccgw'
test "$(inside stat -c '%U %a' /etc/ccgw)" = 'ccgw 750' || fail '/etc/ccgw is not the gateway user own'
configure
start /usr/bin
served
step 'reload'
cat >>"$root/etc/ccgw/config.yaml" <<C
  - name: beta
    api_key: key-of-beta-0123456789
    env: {ANTHROPIC_BASE_URL: "http://127.0.0.1:$api", ANTHROPIC_API_KEY: test-key}
C
as_ccgw /usr/bin/ccgw-manage reload >/dev/null || fail reload
served key-of-beta-0123456789
step 'upgrade while it serves'
echo '# mine' >>"$root/etc/default/ccgw"
old=$(cat "$root/etc/ccgw/config.yaml")
inside dpkg -i --force-depends --force-confold /root/ccgw.deb >"$work/dpkg" 2>&1 || { cat "$work/dpkg"; fail 'upgrade'; }
served
grep -q '^# mine' "$root/etc/default/ccgw" || fail 'the operator edited /etc/default/ccgw in vain'
test "$old" = "$(cat "$root/etc/ccgw/config.yaml")" || fail 'config.yaml has changed'
stop /usr/bin
step 'removed: config.yaml and state stay; purged: they go'
inside dpkg -r ccgw >"$work/dpkg" 2>&1 || { cat "$work/dpkg"; fail 'dpkg -r'; }
test ! -e "$root/usr/bin/ccgw" || fail 'the program is still there'
test -s "$root/etc/ccgw/config.yaml" || fail 'config.yaml is gone'
test -s "$root/var/lib/ccgw/.local/state/ccgw/sessions.jsonl" || fail 'the state is gone'
inside dpkg -P ccgw >"$work/dpkg" 2>&1 || { cat "$work/dpkg"; fail 'dpkg -P'; }
test ! -e "$root/etc/ccgw" -a ! -e "$root/var/lib/ccgw" -a ! -e "$root/etc/default/ccgw" || fail 'purge left something'

step "the tarball's make install: installed, serves, uninstalled"
fresh_root
cp -r "$work/release" "$root/root/release"
release() { inside make --no-print-directory -C /root/release "$@" >"$work/make" 2>&1 || { cat "$work/make"; fail "make $1"; }; }
release install
test "$(inside stat -c '%U %a' /etc/ccgw)" = 'ccgw 750' || fail '/etc/ccgw is not the gateway user own'
inside systemd-analyze verify --man=no /usr/local/lib/systemd/system/ccgw.service || fail 'the unit is not valid'
test -s "$root/usr/local/share/doc/ccgw/THIRD-PARTY-NOTICES" || fail 'no licences'
configure
start /usr/local/bin
served
as_ccgw /usr/local/bin/ccgw-manage status >/dev/null || fail status
stop /usr/local/bin
release uninstall
test ! -e "$root/usr/local/bin/ccgw" -a -s "$root/etc/ccgw/config.yaml" || fail 'uninstall'
step "the tarball's make install by an ordinary user"
fresh_root
mkdir -p "$root/home/someone"
cp -r "$work/release" "$root/home/someone/release"
inside chown -R 1234:1234 /home/someone
someone() { inside setpriv --reuid=1234 --regid=1234 --clear-groups env HOME=/home/someone "$@"; }
someone make --no-print-directory -C /home/someone/release install PREFIX=/home/someone/.local >"$work/make" 2>&1 || { cat "$work/make"; fail 'make install by an ordinary user'; }
someone /home/someone/.local/bin/ccgw --version >/dev/null || fail 'the program of an ordinary user'
units=$(someone systemd-analyze --user unit-paths) || fail 'systemd-analyze --user unit-paths'
for unit in $units; do test ! -e "$root$unit/ccgw.service" || found=$unit; done
test "${found:-}" = /home/someone/.local/share/systemd/user || fail "systemd finds the user's unit in '${found:-}': $units"
test ! -e "$root/etc/default/ccgw" -a ! -e "$root/etc/ccgw" || fail 'an ordinary user installed parts of the machine'
step 'systemd: booted as the first process'
fresh_root
cp "$deb" "$root/root/ccgw.deb"
# In control groups of its own, which are the root of what it sees of them.
sh -c '
    for procs in /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs; do
        group=$(dirname "$procs")/$1
        test -e "$procs" -a ! -e "$(dirname "$procs")/cpuset.cpus" && mkdir -p "$group" && echo $$ >"$group/cgroup.procs" || true
    done
    exec unshare --mount --pid --fork --kill-child --uts --ipc --cgroup packaging/boot.sh "$2"
' sh "${work##*/}" "$root" >"$work/boot" 2>&1 </dev/null &
unshare=$!
pids="$pids $unshare"
booted() { init=$(cat "/proc/$unshare/task/$unshare/children") && init=${init% } && systemd is-system-running | grep -q 'running\|degraded'; }
within() { nsenter -t "$init" -m -p -u -i -C -- env -i PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"; }
systemd() { within systemctl "$@"; }
property() { systemd show ccgw --value -p "$1"; }
until_true booted
within dpkg -i --force-depends /root/ccgw.deb >"$work/dpkg" 2>&1 || { cat "$work/dpkg"; fail 'dpkg -i'; }
test "$(property ActiveState)" = inactive || fail 'it runs without a configuration'
daemon=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
isolation=bwrap
configure
# Without it where setup asks: outside of the unit, /proc is covered here.
sed -i "s/port: 0/port: $daemon/; s/name: alpha/name: local/; s/isolation: bwrap/isolation: auto/" "$root/etc/ccgw/config.yaml"
step 'systemd: one command, from the package to an instance that is served'
instance=$root/var/lib/ccgw/.openclaw/openclaw.json
within install -d -o ccgw -g ccgw /var/lib/ccgw/.openclaw /var/lib/ccgw/.openclaw/workspace
echo '{"agents":{"defaults":{"model":"anthropic/claude-sonnet-4-6"}}}' >"$instance"
within chown ccgw: /var/lib/ccgw/.openclaw/openclaw.json
within groupadd docker
# Of an engine that does not answer, which is told and keeps nothing else from being done.
python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "/proc/$init/root/run/docker.sock"
within chgrp docker /run/docker.sock
set_up() { within ccgw --setup --service "$@" >"$work/said" 2>&1 || { cat "$work/said" >&2; fail "ccgw --setup --service $*"; }; }
in_docker() { within id -nG ccgw | grep -qw docker; }
set_up --dry-run
grep -q 'as good as root' "$work/said" || fail 'who may use Docker is not told of'
if in_docker; then fail 'a dry run changes groups'; fi
set_up --yes --no-docker
if in_docker; then fail '--no-docker lets to Docker'; fi
set_up --yes
in_docker || fail 'the user of the service may not use Docker'
set_up --yes
grep -q "http://127.0.0.1:$daemon" "$instance" || fail 'the instance does not point at the gateway'
test "$(systemd is-enabled ccgw) $(systemd is-active ccgw)" = 'enabled active' || fail 'it is not enabled and active'
served
step 'systemd: root finds the configuration of the service, and changes it as its user'
within ccgw-manage add gamma --key=key-of-gamma-0123456789 >"$work/said" 2>&1 || { cat "$work/said" >&2; fail 'add as root'; }
grep -q '^as ccgw, whose /etc/ccgw/config.yaml is' "$work/said" || fail 'it is not said as whom'
test "$(within stat -c %U /etc/ccgw/config.yaml)" = ccgw || fail 'config.yaml is not the gateway user own any more'
within ccgw-manage reload >/dev/null || fail 'root does not find the socket of the service'
within ccgw-manage rm gamma --yes >/dev/null || fail 'remove as root'
sed -i 's/isolation: auto/isolation: bwrap/' "$root/etc/ccgw/config.yaml"
systemd reload ccgw
served
step 'systemd: reload, also of what is not valid'
systemd reload ccgw || fail 'systemctl reload'
cp "$root/etc/ccgw/config.yaml" "$work/good"
echo 'nonsense: 1' >>"$root/etc/ccgw/config.yaml"
if systemd reload ccgw 2>/dev/null; then fail 'a reload of what is not valid succeeds'; fi
property StatusText | grep -q 'is not valid' || fail 'the status does not tell of it'
cat "$work/good" >"$root/etc/ccgw/config.yaml"
systemd reload ccgw || fail 'systemctl reload, after it was mended'
step 'systemd: a restart under load loses nothing'
for client in 1 2 3; do
    for request in $(seq 20); do
        curl -s -o /dev/null -w '%{http_code}\n' --max-time 60 "http://127.0.0.1:$daemon/health" || echo refused
    done >"$work/codes-$client" &
    clients="${clients:-} $!"
done
until_true test -s "$work/codes-3"
served & clients="$clients $!"
systemd restart ccgw
wait $clients || fail 'a client lost its answer'
test "$(cat "$work"/codes-* | sort | uniq -c | tr -s ' ')" = ' 60 200' || { cat "$work"/codes-*; fail 'requests were lost'; }
served
step 'systemd: a gateway that is killed or hangs is started anew, and an upgrade serves on'
within kill -9 "$(property MainPID)"
served
mkdir -p "$root/etc/systemd/system/ccgw.service.d"
printf '[Service]\nWatchdogSec=3\n' >"$root/etc/systemd/system/ccgw.service.d/watchdog.conf"
systemd daemon-reload && systemd restart ccgw
hanging=$(property MainPID)
within kill -STOP "$hanging"
anew() { main=$(property MainPID) && test "$main" != 0 -a "$main" != "$hanging"; }
until_true anew
served
within dpkg -i --force-depends /root/ccgw.deb >"$work/dpkg" 2>&1 || fail 'upgrade'
test "$(property MainPID)" != "$main" || fail 'the upgrade does not run'
served
step 'systemd: a run with a network of its own, by network.conf'
sed -i 's/^isolation: .*/&\nsandbox: {network: api}/' "$root/etc/ccgw/config.yaml"
systemd restart ccgw
ask >"$work/answer"
grep -q 'network.conf' "$work/answer" || { cat "$work/answer" >&2; fail 'the way to a network of its own is not told'; }
cp "$root/usr/share/doc/ccgw/examples/network.conf" "$root/etc/systemd/system/ccgw.service.d/"
systemd daemon-reload && systemd restart ccgw
served
step 'systemd: as root by root.conf'
rm "$root/etc/systemd/system/ccgw.service.d/network.conf"
sed '/^#[A-Z][A-Za-z]*=/s/^#//' "$root/usr/share/doc/ccgw/examples/root.conf" >"$root/etc/systemd/system/ccgw.service.d/root.conf"
within chown -R root: /etc/ccgw /var/lib/ccgw
systemd daemon-reload && systemd restart ccgw
served
step 'systemd: the socket first, and a purge that leaves nothing of it'
mkdir -p "$root/etc/systemd/system/ccgw.socket.d"
printf '[Socket]\nListenStream=\nListenStream=127.0.0.1:%s\n' "$daemon" >"$root/etc/systemd/system/ccgw.socket.d/port.conf"
systemd daemon-reload && systemd stop ccgw
systemd enable --now ccgw.socket 2>/dev/null || fail 'systemctl enable --now ccgw.socket'
test "$(property ActiveState)" = inactive || fail 'it runs before the first request'
served
within dpkg -P ccgw >"$work/dpkg" 2>&1 || fail 'dpkg -P'
for unit in ccgw.service ccgw.socket; do
    test "$(systemd is-active $unit || true)" = inactive || fail "$unit is still there"
done
left=$(cd "$root/etc/systemd/system" && find . -name 'ccgw.*' \( -type l -o -type f \))
test -z "$left" || fail "purge left $left"
step 'systemd: make install, an upgrade by it, uninstalled'
rm -r "$root/etc/systemd/system"/ccgw.*.d
cp -r "$work/release" "$root/root/release"
release() { within make --no-print-directory -C /root/release "$@" >"$work/make" 2>&1 || { cat "$work/make"; fail "make $1"; }; }
release install
configure
sed -i "s/port: 0/port: $daemon/" "$root/etc/ccgw/config.yaml"
systemd enable --now ccgw 2>/dev/null || fail 'systemctl enable --now ccgw'
served
before=$(property MainPID)
release install
test "$(property MainPID)" != "$before" || fail 'the upgrade does not run'
served
release uninstall
test "$(systemd is-active ccgw || true)" = inactive || fail 'it still runs'
test "$(property LoadState)" = not-found || fail 'systemd still knows the unit'
kill -9 "$init"
init=
step 'ok'
