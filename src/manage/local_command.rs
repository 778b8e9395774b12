//! A program of this machine, run to its end: bounded in time and output, with nothing in its argv that
//! should not be seen, and waited for no longer than it takes.

use std::{
    ffi::OsStr,
    io::{self, Read, Write},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::Receiver;
use rustix::process::{Pid, Signal, kill_process_group};

use super::access::Ran;

/// Of each output; what is longer is cut.
const OUTPUT_MAX: u64 = 4 << 20;

/// How often the end is looked for; these programs take seconds.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long after a program's end its output is waited for: somebody whom it started may hold it open.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Runs `program` from PATH with this environment added; `None` when there is no such program.
///
/// # Errors
/// When it cannot be started, or does not end in time; then it is killed, with what it started.
pub(crate) fn run(
    program: &str,
    words: &[&str],
    env: &[(&str, &OsStr)],
    (stdin, timeout): (&[u8], Duration),
) -> Result<Option<Ran>, String> {
    let failed = |error: io::Error| format!("cannot run {program}: {error}");
    let spawned = Command::new(program)
        .args(words)
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Of its own, so that all of it can be ended.
        .process_group(0)
        .spawn();
    let mut child = match spawned {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        spawned => spawned.map_err(failed)?,
    };
    let outputs = (read(child.stdout.take()), read(child.stderr.take()));
    write(child.stdin.take(), stdin.to_vec());
    let code = wait(&mut child, timeout).map_err(failed)?;
    let code =
        code.ok_or_else(|| format!("{program} did not end within {} s", timeout.as_secs()))?;
    let last = Instant::now() + LAST_WORDS;
    Ok(Some(Ran {
        code: i64::from(code),
        stdout: said(&outputs.0, last),
        stderr: said(&outputs.1, last),
    }))
}

/// In a thread of its own: a program need not read its input before it ends, nor close its output when
/// it does. Such a thread ends with the pipe, at the latest with this process.
fn write(input: Option<impl Write + Send + 'static>, bytes: Vec<u8>) {
    thread::spawn(move || {
        if let Some(mut input) = input {
            // A program that does not read its input says why by itself.
            let _ = input.write_all(&bytes);
        }
    });
}

fn read(output: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (chunks, received) = crossbeam_channel::unbounded();
    thread::spawn(move || {
        let Some(mut output) = output.map(|it| it.take(OUTPUT_MAX)) else {
            return;
        };
        let mut buffer = [0; 8 << 10];
        while let Ok(count @ 1..) = output.read(&mut buffer) {
            if chunks.send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    received
}

fn said(chunks: &Receiver<Vec<u8>>, until: Instant) -> String {
    let mut bytes = Vec::new();
    while let Ok(chunk) = chunks.recv_deadline(until) {
        bytes.extend(chunk);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The program's exit code; `None` when it had to be killed, which ends what it started as well.
fn wait(child: &mut Child, timeout: Duration) -> io::Result<Option<i32>> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.code().unwrap_or(-1)));
        }
        if Instant::now() >= deadline {
            // Before it is reaped, so that the group is still its own.
            if let Some(group) = Pid::from_raw(child.id().cast_signed()) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_holds_it_up() {
        let long = Duration::from_secs(600);
        let start = Instant::now();
        // An input that nobody reads, and somebody who keeps the output open, for longer than this may take.
        let held = run(
            "setsid",
            &["--fork", "sleep", "20"],
            &[],
            (&[b'x'; 1 << 20], long),
        );
        assert_eq!(held.unwrap().unwrap().code, 0);
        assert!(start.elapsed() < Duration::from_secs(15));

        // A child of the same group goes with it.
        let words = ["--foreground", "600", "sleep", "600"];
        let late = run("timeout", &words, &[], (b"", Duration::from_millis(50)));
        assert_eq!(late.unwrap_err(), "timeout did not end within 0 s");
        assert!(
            run("no-such-program", &[], &[], (b"", long))
                .unwrap()
                .is_none()
        );
        let failed = run("false", &[], &[], (b"", long)).unwrap().unwrap();
        assert_eq!((failed.code, failed.stdout.as_str()), (1, ""));
        let echoed = run("cat", &[], &[], (b"words", long)).unwrap().unwrap();
        assert_eq!((echoed.code, echoed.stdout.as_str()), (0, "words"));
    }
}
