#!/bin/sh
# What `make install` does to this machine beside files. `start LIBDIR` after it: the service's user and directories, and
# systemd's look at the unit. `stop` before `make uninstall`, `reload` after it. Does nothing without systemd or root.
set -eu
test "$(id -u)" = 0 || exit 0
has_systemd() { test -d /run/systemd/system; }
case $1 in
    start)
        if command -v systemd-sysusers >/dev/null; then systemd-sysusers "$2/sysusers.d/ccgw.conf"; fi
        if command -v systemd-tmpfiles >/dev/null; then systemd-tmpfiles --create "$2/tmpfiles.d/ccgw.conf"; fi
        if has_systemd; then
            systemctl daemon-reload
            # An upgrade: runs may finish, and who connects meanwhile is served by the new one.
            systemctl try-restart ccgw.service
        fi
        ;;
    stop) if has_systemd; then systemctl disable --now ccgw.socket ccgw.service 2>/dev/null || true; fi ;;
    reload) if has_systemd; then systemctl daemon-reload; fi ;;
esac
