//! What a program finds when it starts, and what a keeper does with one that does not.

use std::fs;
use std::process::{Command, Stdio};

use super::{CLEAN, END, EXIT_CODE, FAILED, Keeper};

const ENOENT: i32 = 2;
const E2BIG: i32 = 7;
const EACCES: i32 = 13;

#[test]
fn the_pipes_close_with_the_program() {
    let mut keeper = Keeper::start();
    // A keeper that kept its own copies would make this wait for ever.
    assert_eq!(keeper.sh("read x; echo done").output(), "done\n");
    assert_eq!(keeper.news(), (EXIT_CODE, 0));
}

#[test]
fn the_environment_is_what_was_given_and_nothing_else() {
    let mut keeper = Keeper::start();
    let (run, _) = keeper.run("/usr/bin/env", &[], &[("A", "1 2\n3"), ("EMPTY", "")]);
    assert_eq!(run.output(), format!("A=1 2\n3\n{}\nEMPTY=\n", keeper.mark));
}

#[test]
fn a_megabyte_of_environment_arrives_whole() {
    let mut keeper = Keeper::start();
    let value = "x".repeat(100 << 10);
    let env: Vec<_> = ["A", "B", "C", "D", "E", "F", "G", "H", "I", "J"]
        .map(|name| (name, &*value))
        .into();
    let (run, _) = keeper.run("/usr/bin/env", &[], &env);
    let output = run.output();
    assert_eq!(output.lines().count(), 11);
    assert_eq!(
        output.lines().filter(|line| line.ends_with(&value)).count(),
        10
    );
}

#[test]
fn a_program_has_three_open_files_and_a_fresh_start() {
    // A daemon that was itself started with signals ignored and a file left open.
    let mut keeper = Keeper::start_with(Command::new("/bin/sh").args([
        "-c",
        "trap '' HUP INT QUIT TERM PIPE USR1; exec 9</dev/null; exec \"$0\" keeper",
        env!("CARGO_BIN_EXE_ccgw"),
    ]));
    // The fourth is the directory that ls reads.
    let (run, _) = keeper.run("/bin/ls", &["/proc/self/fd"], &[]);
    assert_eq!(run.output(), "0\n1\n2\n3\n");
    keeper.end();

    let (run, _) = keeper.run(
        "/bin/grep",
        &["-E", "^Sig(Blk|Ign)", "/proc/self/status"],
        &[],
    );
    for line in run.output().lines() {
        let (name, mask) = line.split_once(":\t").unwrap();
        // glibc's posix_spawn leaves its own 32 and 33 ignored; a program cannot use them.
        assert_eq!(
            u64::from_str_radix(mask, 16).unwrap() & 0x7fff_ffff,
            0,
            "{name}"
        );
    }
    keeper.end();

    // pid (name) state ppid pgrp session tty: a group of its own, and no terminal.
    let (run, pid) = keeper.run("/bin/cat", &["/proc/self/stat"], &[]);
    let stat = run.output();
    let fields: Vec<i32> = stat
        .split(' ')
        .skip(3)
        .take(4)
        .map(|f| f.parse().unwrap())
        .collect();
    let keeper_pid = keeper.pid().as_raw_nonzero().get();
    assert_eq!(fields, [keeper_pid, pid, keeper_pid, 0]);
}

#[test]
fn a_failure_to_start_is_an_errno_and_costs_nothing() {
    let mut keeper = Keeper::start();
    let long = "x".repeat(200 << 10);
    // The answer shows that it has opened all it ever opens.
    keeper.end();
    let files = keeper.open_files();
    for (program, args, cwd, errno) in [
        ("/no/such/program", vec![], "/", ENOENT),
        ("/etc/passwd", vec![], "/", EACCES),
        ("/bin/true", vec![long.as_str()], "/", E2BIG),
        ("/bin/true", vec![], "/no/such/dir", ENOENT),
    ] {
        keeper.order(program, &args, &[], cwd);
        assert_eq!(keeper.news(), (FAILED, errno), "{program} in {cwd}");
        assert_eq!(keeper.end(), [(CLEAN, 0)], "{program} in {cwd}");
    }
    assert_eq!(keeper.open_files(), files);
    keeper.sh("exit 6");
    assert_eq!(keeper.news(), (EXIT_CODE, 6));
}

#[test]
fn a_thousand_runs_leak_neither_files_nor_processes() {
    let mut keeper = Keeper::start();
    keeper.run("/bin/true", &[], &[]);
    assert_eq!(keeper.news(), (EXIT_CODE, 0));
    keeper.end();
    let files = keeper.open_files();
    for _ in 0..1_000 {
        keeper.run("/bin/true", &[], &[]);
        assert_eq!(keeper.news(), (EXIT_CODE, 0));
        keeper.send(END);
        assert_eq!(keeper.news(), (CLEAN, 0));
    }
    assert_eq!(keeper.open_files(), files);
    keeper.end();
}

#[test]
fn the_usual_ways_to_kill_ccgw_do_not_find_a_keeper() {
    let mut keeper = Keeper::start();
    let _run = keeper.sh("exec sleep 1000");
    let comm = fs::read_to_string(format!("/proc/{}/comm", keeper.process.id())).unwrap();
    assert_eq!(comm, "cc-keeper\n");
}

#[test]
fn started_by_hand_it_says_that_it_is_not_for_hands() {
    let output = Command::new(env!("CARGO_BIN_EXE_ccgw"))
        .arg("keeper")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("this command is for ccgw itself"),
        "{stderr}"
    );
}
