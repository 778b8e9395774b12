//! Attempts to change or to stop what is not the run's own.

use super::*;

pub(crate) fn try_to_change(walls: Walls) {
    check(walls, changing);
}

fn changing(scene: &Scene, walls: Walls) -> Vec<Attempt> {
    let Scene {
        dir, pid, other, ..
    } = scene;
    let alive = |pid: &u32| Instead(format!("kill -0 {pid} && echo alive"), "alive");
    let socket = |path: &str| format!("CCGW_RELAY={path} openclaw status");
    let of_beta = format!("{dir}/state/relay/f44e64e75f39");
    assert!(Path::new(&of_beta).exists(), "beta's socket");
    let mount = "mkdir -p m; mount -t tmpfs none $PWD/m && echo worked && umount $PWD/m";
    let worked = || Says("worked");
    let mut attempts = vec![
        attempt("a system file", "touch /usr/bin/x", (NOT_WRITTEN, NotTried)),
        attempt("a new system file", "touch /etc/x", (NOT_WRITTEN, NotTried)),
        attempt("the root directory", "mkdir /x", (NOT_WRITTEN, NotTried)),
        attempt(
            "the own skills",
            format!("touch {dir}/skills/alpha/x && echo worked"),
            (NOT_WRITTEN, worked()),
        ),
        attempt(
            "the own skills' plugin",
            format!("touch {dir}/state/tenants/alpha/plugin/x && echo worked"),
            (NOT_WRITTEN, worked()),
        ),
        attempt(
            "the CLI",
            "chmod 777 $(readlink -f /proc/$PPID/exe)",
            ("read-only file system|not permitted", NotTried),
        ),
        attempt(
            "a remount",
            "mount -o remount,bind,rw /usr",
            (
                "permission denied|must be superuser|not permitted",
                NotTried,
            ),
        ),
        attempt(
            "a mount of its own",
            mount,
            (
                "permission denied|must be superuser|not permitted",
                if can_mount() { worked() } else { NotTried },
            ),
        ),
        attempt(
            "the gateway's life",
            format!("kill -9 {pid}"),
            (NOBODY, alive(pid)),
        ),
        attempt(
            "the life of the other's run",
            format!("kill -9 {other}"),
            (NOBODY, alive(other)),
        ),
        attempt(
            "the other's priority",
            format!("renice -n 19 -p {other} && echo worked"),
            (NOBODY, worked()),
        ),
        attempt(
            "kernel settings",
            "echo x > /proc/sys/kernel/core_pattern",
            (NOT_WRITTEN, NotTried),
        ),
        attempt(
            "a halt of the machine",
            "echo b > /proc/sysrq-trigger",
            (
                "read-only file system|permission denied|o such file",
                NotTried,
            ),
        ),
        attempt(
            "a device",
            "mknod disk b 8 0",
            (
                NOT_PERMITTED,
                as_root(Instead("mknod null c 1 3 && echo worked".into(), "worked")),
            ),
        ),
        attempt(
            "another root",
            "chroot / true && echo worked",
            (NOT_PERMITTED, as_root(worked())),
        ),
        attempt(
            "Docker's socket",
            socket("/var/run/docker.sock"),
            (CLOSED, if_there("/var/run/docker.sock", FailsOtherwise)),
        ),
        attempt(
            "the operator's socket",
            socket(&format!("{dir}/state/ccgw.sock")),
            (CLOSED, FailsOtherwise),
        ),
        attempt(
            "the other's instance",
            socket(&of_beta),
            (CLOSED, FailsOtherwise),
        ),
        attempt(
            "root's file",
            "chown 0:0 here && echo worked",
            (NOT_PERMITTED, as_root(worked())),
        ),
        attempt(
            "another user",
            "setpriv --reuid 61033 --clear-groups true && echo worked",
            (NOT_PERMITTED, as_root(worked())),
        ),
        attempt(
            "set-user-id programs",
            "grep NoNewPrivs /proc/self/status",
            ("NoNewPrivs:\t1", Says("NoNewPrivs:\t0")),
        ),
        attempt(
            "a terminal to type into",
            "echo x > /dev/tty",
            ("No such device", NotTried),
        ),
        attempt(
            "a debugger on the first process",
            "python3 -c 'import ctypes; print(ctypes.CDLL(None, use_errno=True).ptrace(16, 1, 0, 0), ctypes.get_errno())'",
            ("-1 1", NotTried),
        ),
    ];
    attempts.push(match walls {
        // There it is the sandbox's own, which heeds nobody inside.
        Walls::Bwrap => attempt(
            "the host's first process",
            "kill -9 1; cat /proc/1/comm",
            ("bwrap", Instead("cat /proc/1/comm".into(), "\n")),
        ),
        Walls::User => attempt(
            "the host's first process",
            "kill -9 1",
            (NOT_PERMITTED, NotTried),
        ),
    });
    attempts
}
