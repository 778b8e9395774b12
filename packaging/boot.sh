#!/bin/sh
# Boots the systemd of a root directory as the first process of namespaces of its own, on this machine's network:
# boot.sh ROOT, in a new pid, mount, uts, ipc and cgroup namespace. What would change this machine is masked or read-only.
set -eu
root=$1
mount --make-rprivate /
mount --bind "$root" "$root"
cd "$root"
for unit in systemd-sysctl.service systemd-binfmt.service systemd-modules-load.service systemd-udevd.service systemd-timesyncd.service \
    sys-kernel-debug.mount sys-kernel-tracing.mount dev-hugepages.mount apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
    console-getty.service systemd-logind.service getty.target systemd-journald-audit.socket; do
    ln -sf /dev/null "etc/systemd/system/$unit"
done
mount -t proc proc proc
mount --bind proc/sys proc/sys && mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mount -t cgroup2 cgroup2 sys/fs/cgroup
else
    mount -t tmpfs tmpfs sys/fs/cgroup
    for name in cpu cpuacct memory pids devices; do
        mkdir "sys/fs/cgroup/$name" && { mount -t cgroup -o $name cgroup "sys/fs/cgroup/$name" || true; }
    done
    mkdir sys/fs/cgroup/systemd && mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
fi
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
    touch "dev/$device" && mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm old
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for number in 0 1 2; do ln -s "/proc/self/fd/$number" "dev/std$(echo in out err | cut -d' ' -f$((number + 1)))"; done
pivot_root . old
cd / && umount -l /old
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=other /lib/systemd/systemd
