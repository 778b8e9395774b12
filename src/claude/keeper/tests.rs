//! The daemon's side, with real keepers and real programs. What the keeper process does with a
//! tree is proved from outside, in tests/it/keeper.rs.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use super::*;

/// The argv[0] of a test that runs in a process of its own.
const ALONE: &str = "test-alone";

/// This test binary plays the keeper too: as [`plays_the_keeper`], in a process of its own.
pub(super) fn keeper_command() -> Command {
    rerun("plays_the_keeper")
}

/// Not a test: the other half of those below. In the usual run its name is not a keeper's.
#[test]
fn plays_the_keeper() {
    if std::env::args().next().as_deref() == Some(NAME) {
        assert_eq!(
            format!("{:?}", main()),
            format!("{:?}", std::process::ExitCode::SUCCESS)
        );
    }
}

fn rerun(test: &str) -> Command {
    let (_, module) = module_path!().split_once("::").unwrap();
    let mut command = Command::new("/proc/self/exe");
    command
        .args(["--exact", "--nocapture", "--test-threads=1"])
        .arg(format!("{module}::{test}"));
    command.stdout(Stdio::null());
    command
}

fn launch(program: &str, args: &[&str]) -> Launch {
    Launch {
        program: program.into(),
        args: args.iter().map(OsString::from).collect(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        cwd: "/".into(),
        wrapped_in: 0,
        limits: Limits::default(),
    }
}

fn sh(script: &str) -> Launch {
    launch("/bin/sh", &["-c", script])
}

/// Blocks until there is something to read; longer than anything here may take is a failure.
#[track_caller]
fn await_readable(fd: impl AsFd) {
    let limit = Timespec {
        tv_sec: 30,
        tv_nsec: 0,
    };
    let ready = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&limit));
    assert_eq!(ready, Ok(1), "nothing happened");
}

/// Reads up to the end of the line.
#[track_caller]
fn line(pipe: &mut PipeReader) -> String {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        await_readable(&*pipe);
        let mut byte = [0];
        assert_eq!(
            pipe.read(&mut byte).unwrap(),
            1,
            "the program ended after {line:?}"
        );
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap().trim_end().to_owned()
}

fn parent_of(pid: i32) -> Pid {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let parent = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap();
    Pid::from_raw(parent.parse().unwrap()).unwrap()
}

/// Readable when the process has ended.
fn watch(pid: i32) -> OwnedFd {
    pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap()
}

#[track_caller]
fn await_exit(running: &mut Running) -> Exit {
    loop {
        if let Some(exit) = running.try_exit() {
            return exit;
        }
        await_readable(running.fd());
    }
}

#[test]
fn a_program_talks_through_its_pipes_and_its_exit_is_told() {
    let keeper = Keeper::start().unwrap();
    let mut running = keeper
        .spawn(&sh("read x; echo got $x; echo bad >&2; exit 7"))
        .unwrap();
    assert_eq!(running.try_exit(), None);
    running
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"word\n")
        .unwrap();
    assert_eq!(line(&mut running.stdout), "got word");
    assert_eq!(line(&mut running.stderr), "bad");
    assert_eq!(await_exit(&mut running), Exit::Code(7));
    assert_eq!(running.try_exit(), Some(Exit::Code(7)));
    assert_eq!(
        running.end().0,
        Ended {
            exit: Exit::Code(7),
            left_over: 0
        }
    );
}

#[test]
fn our_ends_of_the_pipes_do_not_block() {
    let keeper = Keeper::start().unwrap();
    let mut running = keeper.spawn(&launch("/bin/sleep", &["1000"])).unwrap();
    let mut byte = [0];
    assert_eq!(
        running.stdout.read(&mut byte).unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
    assert_eq!(
        running.stderr.read(&mut byte).unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
    let mut stdin = running.stdin.take().unwrap();
    let full = stdin.write_all(&vec![0; 1 << 20]).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn end_is_what_a_dropped_run_gets_too() {
    let keeper = Keeper::start().unwrap();
    let running = keeper.spawn(&launch("/bin/sleep", &["1000"])).unwrap();
    let sleep = watch(running.pid());
    drop(running);
    await_readable(&sleep);
    let keeper = Keeper::start().unwrap();
    let running = keeper.spawn(&launch("/bin/sleep", &["1000"])).unwrap();
    assert_eq!(
        running.end().0,
        Ended {
            exit: Exit::Signal(9),
            left_over: 0
        }
    );
}

#[test]
fn a_polite_request_reaches_the_program() {
    let keeper = Keeper::start().unwrap();
    let script = "trap 'echo INT; exit 0' INT; sleep 1000 & echo ready; wait";
    let mut running = keeper.spawn(&sh(script)).unwrap();
    assert_eq!(line(&mut running.stdout), "ready");
    running.interrupt();
    assert_eq!(line(&mut running.stdout), "INT");
    assert_eq!(running.end().0.left_over, 0);
}

#[track_caller]
fn check_failure(launch: &Launch, expect: &str) {
    let keeper = Keeper::start().unwrap();
    let NotStarted { keeper, error } = *keeper.spawn(launch).map(|_| ()).unwrap_err();
    let error = error.to_string();
    assert!(error.contains(expect), "{error:?} does not say {expect:?}");
    // It costs neither the keeper nor the next run.
    let mut running = keeper.spawn(&sh("exit 3")).unwrap();
    assert_eq!(await_exit(&mut running), Exit::Code(3));
}

#[test]
fn a_failure_to_start_says_what_it_is() {
    check_failure(
        &launch("/no/such/claude", &[]),
        "/no/such/claude does not exist; install",
    );
    check_failure(
        &launch("/etc/passwd", &[]),
        "/etc/passwd cannot be executed: Permission denied",
    );
    check_failure(&launch("/usr", &[]), "/usr cannot be executed");
    check_failure(&sh(&"x".repeat(200 << 10)), "longer than the kernel takes");
    check_failure(
        &sh(&"x".repeat(wire::ORDER_MAX)),
        "longer than the kernel takes",
    );
    check_failure(&sh("a\0b"), "Invalid argument");
    let nowhere = Launch {
        cwd: "/no/such/dir".into(),
        ..sh("")
    };
    check_failure(
        &nowhere,
        "the working directory /no/such/dir cannot be entered: No such file",
    );
    let file = Launch {
        cwd: "/etc/passwd".into(),
        ..sh("")
    };
    check_failure(
        &file,
        "the working directory /etc/passwd cannot be entered: Not a directory",
    );
}

#[test]
fn a_missing_interpreter_is_not_a_missing_program() {
    let script = std::env::temp_dir().join(format!("ccgw-no-interpreter-{}", std::process::id()));
    std::fs::write(&script, "#!/no/such/node\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    check_failure(
        &launch(script.to_str().unwrap(), &[]),
        "the interpreter it names exists",
    );
    std::fs::remove_file(&script).unwrap();
}

#[test]
fn errors_and_debug_output_hold_no_secret() {
    let env = vec![("TOKEN".into(), "s3cr3t".into())];
    let launch = Launch {
        env,
        ..launch("/no/such/claude", &["--x"])
    };
    let error = Keeper::start()
        .unwrap()
        .spawn(&launch)
        .map(|_| ())
        .unwrap_err()
        .error;
    for text in [
        format!("{launch:?}"),
        format!("{error:?}"),
        error.to_string(),
    ] {
        assert!(!text.contains("s3cr3t"), "{text}");
    }
}

#[test]
fn a_keeper_shows_neither_our_name_nor_anything_of_a_run() {
    let keeper = Keeper::start().unwrap();
    let secret = vec![("TOKEN".into(), "s3cr3t".into())];
    let running = keeper
        .spawn(&Launch {
            env: secret,
            ..launch("/bin/sleep", &["1000"])
        })
        .unwrap();
    let keeper_pid = parent_of(running.pid()).as_raw_nonzero();
    let proc = |file: &str| std::fs::read(format!("/proc/{keeper_pid}/{file}")).unwrap();
    assert!(proc("cmdline").starts_with(b"cc-keeper\0"));
    assert_eq!(proc("environ"), b"");
    assert!(
        !String::from_utf8(proc("cmdline"))
            .unwrap()
            .contains("s3cr3t")
    );
}

#[test]
fn a_run_whose_keeper_was_killed_says_so_and_the_next_one_works() {
    let keeper = Keeper::start().unwrap();
    // Nobody adopts the orphan in this process; it ends with its stdin.
    let mut running = keeper.spawn(&launch("/bin/cat", &[])).unwrap();
    kill_process(parent_of(running.pid()), Signal::KILL).unwrap();
    assert_eq!(await_exit(&mut running), Exit::Unknown);
    let (ended, keeper) = running.end();
    assert_eq!(ended.exit, Exit::Unknown);
    let mut running = keeper.spawn(&sh("exit 4")).unwrap();
    assert_eq!(await_exit(&mut running), Exit::Code(4));
}

#[test]
fn an_idle_keeper_that_was_killed_is_replaced_unseen() {
    let keeper = Keeper::start().unwrap();
    let running = keeper.spawn(&launch("/bin/cat", &[])).unwrap();
    let keeper_pid = parent_of(running.pid());
    let (_, keeper) = running.end();
    let pidfd = pidfd_open(keeper_pid, PidfdFlags::empty()).unwrap();
    kill_process(keeper_pid, Signal::KILL).unwrap();
    await_readable(&pidfd);
    let mut running = keeper.spawn(&sh("exit 5")).unwrap();
    assert_eq!(await_exit(&mut running), Exit::Code(5));
}

#[test]
fn a_dropped_keeper_is_reaped() {
    let keeper = Keeper::start().unwrap();
    let running = keeper.spawn(&launch("/bin/cat", &[])).unwrap();
    let keeper_pid = parent_of(running.pid());
    drop(running);
    let gone = rustix::process::test_kill_process(keeper_pid);
    assert_eq!(gone, Err(Errno::SRCH));
}

/// Adoption is for the whole process, and kills every child that is no keeper: not in the process
/// that the other tests share.
#[test]
fn what_a_killed_keeper_leaves_behind_dies_with_the_run() {
    let test = "what_a_killed_keeper_leaves_behind_dies_with_the_run";
    if std::env::args().next().as_deref() != Some(ALONE) {
        assert!(rerun(test).arg0(ALONE).status().unwrap().success());
        return;
    }
    adopt_orphans().unwrap();
    let bystander = Keeper::start().unwrap();
    let mut undisturbed = bystander.spawn(&launch("/bin/cat", &[])).unwrap();
    let keeper = Keeper::start().unwrap();
    let script = "setsid sh -c 'sleep 1000 & echo $!; wait' & wait";
    let mut running = keeper.spawn(&sh(script)).unwrap();
    let grandchild = watch(line(&mut running.stdout).parse().unwrap());
    let cli = watch(running.pid());

    kill_process(parent_of(running.pid()), Signal::KILL).unwrap();
    let (ended, keeper) = running.end();
    assert_eq!(
        ended,
        Ended {
            exit: Exit::Unknown,
            left_over: 0
        }
    );
    await_readable(&cli);
    await_readable(&grandchild);

    assert_eq!(
        await_exit(&mut keeper.spawn(&sh("exit 6")).unwrap()),
        Exit::Code(6)
    );
    undisturbed
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"still here\n")
        .unwrap();
    assert_eq!(line(&mut undisturbed.stdout), "still here");
}

#[test]
fn nothing_survives_a_killed_daemon() {
    if std::env::args().next().as_deref() == Some(ALONE) {
        play_a_daemon_until_killed();
    }
    let (mut told, tell) = io::pipe().unwrap();
    let mut daemon = rerun("nothing_survives_a_killed_daemon");
    let mut daemon = daemon
        .arg0(ALONE)
        .stderr(Stdio::from(tell))
        .spawn()
        .unwrap();
    let pids = [line(&mut told), line(&mut told), line(&mut told)];
    let watched = pids.map(|pid| watch(pid.parse().unwrap()));
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    watched.iter().for_each(await_readable);
}

/// Tells the pids of a keeper, its CLI and a grandchild on stderr.
fn play_a_daemon_until_killed() -> ! {
    let keeper = Keeper::start().unwrap();
    let mut running = keeper
        .spawn(&sh("setsid nohup sleep 1000 >/dev/null & echo $!; wait"))
        .unwrap();
    let grandchild = line(&mut running.stdout);
    let keeper_pid = parent_of(running.pid()).as_raw_nonzero();
    eprintln!("{keeper_pid}\n{}\n{grandchild}", running.pid());
    loop {
        std::thread::park();
    }
}
