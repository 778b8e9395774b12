//! How a run ends, and that nothing of it is left.

use std::fs;
use std::io::Write;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use super::{CLEAN, EXIT_CODE, EXIT_SIGNAL, INTERRUPT, Keeper, PATH, START, frame, start};

#[test]
fn the_way_a_program_ends_is_reported() {
    let mut keeper = Keeper::start();
    for (script, expect) in [
        ("exit 0", (EXIT_CODE, 0)),
        ("exit 143", (EXIT_CODE, 143)),
        ("kill -KILL $$", (EXIT_SIGNAL, 9)),
        ("kill -TERM $$", (EXIT_SIGNAL, 15)),
        // A program that reads a closed pipe dies of it, as in a shell: Rust's own ignoring of
        // SIGPIPE must not be inherited.
        ("kill -PIPE $$", (EXIT_SIGNAL, 13)),
    ] {
        let _run = keeper.sh(script);
        assert_eq!(keeper.news(), expect, "{script}");
        assert_eq!(keeper.end(), [(CLEAN, 0)], "{script}");
    }
}

#[test]
fn no_way_out_of_the_family_survives_the_end() {
    let mut keeper = Keeper::start();
    for escape in [
        "sleep 1000 & echo out; wait",
        "setsid sleep 1000 & echo out; wait",
        "nohup setsid sh -c 'trap \"\" TERM HUP INT; echo out; sleep 1000; sleep 1000' & wait",
        // Double fork: the grandchild's parent is gone before the run ends.
        "(setsid sh -c 'sleep 1000 & sleep 1000' & ) ; echo out; sleep 1000",
        "setsid sh -c 'kill -STOP $$' & echo out; wait",
        "(exec setsid sh -c '(setsid sh -c \"(setsid sleep 1000 &); echo out; sleep 1000\" &)') & sleep 1000",
    ] {
        let mut run = keeper.sh(escape);
        run.await_line("out");
        assert_eq!(keeper.end(), [(EXIT_SIGNAL, 9), (CLEAN, 0)], "{escape}");
    }
}

#[test]
fn an_exit_is_told_while_grandchildren_live_on() {
    let mut keeper = Keeper::start();
    let mut run = keeper.sh("setsid sh -c 'echo ready; sleep 1000; :' & exit 3");
    assert_eq!(keeper.news(), (EXIT_CODE, 3));
    run.await_line("ready");
    assert_ne!(keeper.survivors(), Vec::<String>::new());
    assert_eq!(keeper.end(), [(CLEAN, 0)]);
}

#[test]
fn a_request_to_end_goes_to_the_program_alone() {
    let mut keeper = Keeper::start();
    let mut run = keeper.sh("trap 'exit 5' INT; setsid sh -c 'echo ready; sleep 1000; :' & wait");
    run.await_line("ready");
    keeper.send(INTERRUPT);
    assert_eq!(keeper.news(), (EXIT_CODE, 5));
    assert_ne!(keeper.survivors(), Vec::<String>::new());
    // Nobody is there to be asked any more.
    keeper.send(INTERRUPT);
    assert_eq!(keeper.end(), [(CLEAN, 0)]);
}

#[test]
fn a_closed_socket_ends_the_tree_and_then_the_keeper() {
    let mut keeper = Keeper::start();
    let mut run = keeper.sh("setsid sh -c 'sleep 1000 & echo ready; sleep 1000' & wait");
    run.await_line("ready");
    keeper.socket.shutdown(Shutdown::Both).unwrap();
    assert!(keeper.process.wait().unwrap().success());
    assert_eq!(keeper.survivors(), Vec::<String>::new());
}

#[test]
fn an_order_that_makes_no_sense_ends_the_tree_and_then_the_keeper() {
    for nonsense in [
        frame(&[99]),
        frame(&[]),
        u32::MAX.to_le_bytes().to_vec(),
        // No descriptors with it, and a text longer than the frame.
        start("/bin/true", &[], &[], "/"),
        frame(&[START, 0xff, 0xff, 0xff, 0x7f]),
    ] {
        let mut keeper = Keeper::start();
        let mut run = keeper.sh("setsid sleep 1000 & echo ready; wait");
        run.await_line("ready");
        keeper.socket.write_all(&nonsense).unwrap();
        assert_eq!(
            keeper.process.wait().unwrap().code(),
            Some(2),
            "{nonsense:?}"
        );
        assert_eq!(keeper.survivors(), Vec::<String>::new(), "{nonsense:?}");
    }
}

#[test]
fn a_daemon_that_dies_in_the_middle_of_an_order_starts_nothing() {
    let mut keeper = Keeper::start();
    let order = start("/bin/sleep", &["1000"], &[], "/");
    keeper.socket.write_all(&order[..order.len() / 2]).unwrap();
    keeper.socket.shutdown(Shutdown::Both).unwrap();
    assert!(keeper.process.wait().unwrap().success());
}

#[test]
fn a_program_that_keeps_forking_is_ended() {
    let mut keeper = Keeper::start();
    // Ended in the middle: 50 are there and up to 350 more are on their way.
    let mut run = keeper.sh(
        "i=0; while [ $i -lt 400 ]; do setsid sleep 1000 & i=$((i+1)); \
         [ $i = 50 ] && echo ready; done; wait",
    );
    run.await_line("ready");
    keeper.end();
    // A tree that doubles with each generation, ended before it has grown to its 255.
    let tree = "[ $1 = 2 ] && echo ready; \
                [ $1 -lt 7 ] && { setsid sh -c \"$0\" \"$0\" $(($1+1)) & \
                sh -c \"$0\" \"$0\" $(($1+1)) & }; sleep 1000";
    let (mut run, _) = keeper.run("/bin/sh", &["-c", tree, tree, "0"], &PATH);
    run.await_line("ready");
    keeper.end();
    // Each generation starts the next and leaves: the one that was seen is never the one that runs.
    let chain = "n=$1; [ $n -gt 0 ] && setsid sh -c \"$0\" \"$0\" $((n-1)) & \
                 [ $n = 490 ] && echo ready; exit 0";
    let (mut run, _) = keeper.run("/bin/sh", &["-c", chain, chain, "500"], &PATH);
    run.await_line("ready");
    keeper.end();
}

#[test]
fn orphans_are_reaped_while_the_run_goes_on() {
    let mut keeper = Keeper::start();
    // The shell in the middle is gone before its child, which therefore ends as the keeper's.
    let mut run = keeper.sh("sh -c 'read x <&3 &' 3<&0; echo orphaned; exec sleep 1000");
    run.await_line("orphaned");
    drop(run.stdin);
    let pid = keeper.process.id();
    let children = format!("/proc/{pid}/task/{pid}/children");
    // The keeper tells nobody, so this looks until the orphan is gone; a zombie would stay.
    let give_up = Instant::now() + Duration::from_secs(30);
    let count = || {
        fs::read_to_string(&children)
            .unwrap()
            .split_whitespace()
            .count()
    };
    while count() != 1 && Instant::now() < give_up {
        std::thread::yield_now();
    }
    assert_eq!(count(), 1);
    keeper.end();
}

#[test]
fn signals_for_the_daemon_do_not_end_its_keepers() {
    let mut keeper = Keeper::start();
    let mut run = keeper.sh("echo ready; exec sleep 1000");
    run.await_line("ready");
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        kill_process(keeper.pid(), signal).unwrap();
    }
    assert_eq!(keeper.end(), [(EXIT_SIGNAL, 9), (CLEAN, 0)]);
    keeper.sh("exit 2");
    assert_eq!(keeper.news(), (EXIT_CODE, 2));
}
