#!/bin/sh
# After `make install` on this machine: the service's user and directories, and systemd's look at the unit. With `stop`,
# before `make uninstall`: the end of the service. Does nothing without systemd or without root.
set -eu
test "$(id -u)" = 0 || exit 0
if [ "$1" = stop ]; then
    if [ -d /run/systemd/system ]; then systemctl disable --now ccgw.socket ccgw.service 2>/dev/null || true; fi
    exit 0
fi
if command -v systemd-sysusers >/dev/null; then systemd-sysusers "$1/lib/sysusers.d/ccgw.conf"; fi
if command -v systemd-tmpfiles >/dev/null; then systemd-tmpfiles --create "$1/lib/tmpfiles.d/ccgw.conf"; fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    # An upgrade: runs may finish, and who connects meanwhile is served by the new one.
    systemctl try-restart ccgw.service
fi
