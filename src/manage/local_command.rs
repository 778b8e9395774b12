//! A program of this machine, run to its end: bounded in time and output, with nothing in its argv that
//! should not be seen.

use std::{
    ffi::OsStr,
    io::{self, Read, Write},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::access::Ran;

/// Of each output; what is longer is cut.
const OUTPUT_MAX: u64 = 4 << 20;

/// How often the end is looked for; these programs take seconds.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Runs `program` from PATH with this environment added; `None` when there is no such program.
///
/// # Errors
/// When it cannot be started, or does not end in time; then it is killed.
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
        .spawn();
    let mut child = match spawned {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        spawned => spawned.map_err(failed)?,
    };
    let outputs = (child.stdout.take(), child.stderr.take());
    let input = child.stdin.take();
    thread::scope(|scope| {
        let stdout = scope.spawn(|| read(outputs.0));
        let stderr = scope.spawn(|| read(outputs.1));
        if let Some(mut input) = input {
            // A program that does not read its input says why by itself.
            let _ = input.write_all(stdin);
        }
        let code = wait(&mut child, timeout).map_err(failed)?;
        let code =
            code.ok_or_else(|| format!("{program} did not end within {} s", timeout.as_secs()))?;
        Ok(Some(Ran {
            code: i64::from(code),
            stdout: stdout.join().unwrap_or_default(),
            stderr: stderr.join().unwrap_or_default(),
        }))
    })
}

fn read(output: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(output) = output {
        // What was read before an error is still worth telling.
        let _ = output.take(OUTPUT_MAX).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn wait(child: &mut Child, timeout: Duration) -> io::Result<Option<i32>> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.code().unwrap_or(-1)));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(LOOK_EVERY);
    }
}
