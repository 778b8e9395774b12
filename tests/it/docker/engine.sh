#!/bin/sh
# Runs one private Docker Engine for as long as its standard input stays open, and leaves nothing of
# it behind. The engine has process and mount namespaces of its own: when the first process in
# there ends, the kernel kills all others and every mount is gone, so containers need no stopping.
#
#   engine.sh DIRECTORY TAG ADDRESS    DIRECTORY holds daemon.json; TAG names the bridge and the
#                                      cgroup; ADDRESS is the bridge's own, with its prefix
set -u

outside() {
    busybox ip link add "$tag" type bridge
    busybox ip addr add "$address" dev "$tag"
    unshare --mount --propagation slave --pid --fork --kill-child --mount-proc \
        sh "$0" "$directory" "$tag" "$address" inside
    code=$?
    # Whoever reads this may be gone, which is no reason to leave anything behind.
    trap '' PIPE
    tail -n 20 "$directory/log" >&2
    for bridge in "/sys/class/net/$tag" "/sys/class/net/$tag".*; do
        # An engine killed while it starts a container leaves both ends of a cable on the host.
        for link in "$bridge"/brif/* "$bridge"; do
            # It may be going by itself, with its container.
            [ -e "$link" ] && busybox ip link del "${link##*/}"
        done
    done
    find /sys/fs/cgroup -depth -type d \( -path "*/$tag" -o -path "*/$tag/*" \) -exec rmdir {} +
    rm -rf "$directory"
    exit "$code"
}

inside() {
    # The machine's own engine keeps its sockets in /run and a key in /etc/docker: neither is ours.
    mount -t tmpfs none /run
    if [ -d /etc/docker ]; then mount -t tmpfs none /etc/docker; fi
    exec 3<&0
    dockerd --config-file "$directory/daemon.json" >"$directory/log" 2>&1 </dev/null 3<&- &
    engine=$!
    { cat >/dev/null; kill -s KILL "$engine"; } <&3 &
    wait "$engine"
}

directory=$1
tag=$2
address=$3
"${4:-outside}"
