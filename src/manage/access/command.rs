//! Programs of an instance, run to their end.

use std::{ffi::OsStr, path::Path, time::Duration};

use super::Access;
use crate::{
    docker::{self, Engine},
    manage::local_command,
};

/// How an `openclaw` command ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i64,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// `openclaw` takes 1 to 3 s, and a small host is busy.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// How `openclaw` is called in a container, and the file that must be there for it: as OpenClaw's images
/// and npm have it.
const LAUNCHERS: &[(&str, &[&str])] = &[
    ("/usr/local/bin/openclaw", &["openclaw"]),
    ("/usr/bin/openclaw", &["openclaw"]),
    ("/app/openclaw.mjs", &["node", "/app/openclaw.mjs"]),
    ("/app/dist/index.js", &["node", "/app/dist/index.js"]),
];

impl Access<'_> {
    /// Runs `openclaw` with these words; `None` when the instance has no such command.
    ///
    /// # Errors
    /// When it cannot be run, or not to its end.
    pub(crate) fn openclaw(&self, words: &[&str], stdin: &[u8]) -> Result<Option<Ran>, String> {
        match self.container()? {
            None => self.local_openclaw(words, stdin),
            Some((engine, id)) => {
                let Some(launcher) = launcher(engine, id)? else {
                    return Ok(None);
                };
                let argv: Vec<&str> = launcher.iter().chain(words).copied().collect();
                // Its files stay its own, whoever the container runs as.
                let owner = self.file_in_container(engine, id, &self.instance.config_path)?;
                let owner = owner.map(|it| format!("{}:{}", it.uid, it.gid));
                let given = (stdin, owner.as_deref(), COMMAND_TIMEOUT);
                let ran = run(engine, id, &argv, given)?;
                // Its file is there, and it cannot be run: no command either.
                Ok(Some(ran).filter(|ran| !matches!(ran.code, 126 | 127)))
            }
        }
    }

    /// How `openclaw` is called in the container; `None` when there is none.
    ///
    /// # Errors
    /// When the engine cannot be asked, or there is no container.
    pub(crate) fn launcher(&self) -> Result<Option<&'static [&'static str]>, String> {
        match self.container()? {
            Some((engine, id)) => launcher(engine, id),
            None => Err("the instance is not in a container".to_owned()),
        }
    }

    fn local_openclaw(&self, words: &[&str], stdin: &[u8]) -> Result<Option<Ran>, String> {
        let owner = self.file(&self.instance.config_path)?.map(|it| it.uid);
        let us = rustix::process::geteuid().as_raw();
        // What it writes would become ours, mode 0600, and the instance could not read it any more.
        if owner.is_some_and(|owner| owner != u64::from(us)) {
            return Ok(None);
        }
        let env: [(&str, &OsStr); 2] = [
            ("OPENCLAW_STATE_DIR", self.instance.state_dir.as_os_str()),
            (
                "OPENCLAW_CONFIG_PATH",
                self.instance.config_path.as_os_str(),
            ),
        ];
        local_command::run("openclaw", words, &env, (stdin, COMMAND_TIMEOUT))
    }

    /// Runs a command in the container; `None` for an instance of this machine.
    ///
    /// # Errors
    /// When it cannot be run, or not to its end.
    pub(crate) fn command(
        &self,
        argv: &[&str],
        (stdin, timeout): (&[u8], Duration),
    ) -> Result<Option<Ran>, String> {
        match self.container()? {
            None => Ok(None),
            Some((engine, id)) => run(engine, id, argv, (stdin, None, timeout)).map(Some),
        }
    }
}

/// How `openclaw` is called in this container: looked up, since starting it takes half a second.
fn launcher(engine: &Engine, id: &str) -> Result<Option<&'static [&'static str]>, String> {
    for (file, launcher) in LAUNCHERS {
        let has = engine.has(id, Path::new(file));
        if has.map_err(|error| error.to_string())? {
            return Ok(Some(launcher));
        }
    }
    Ok(None)
}

/// Without input, as the container's own user.
pub(super) fn run_in(engine: &Engine, id: &str, argv: &[&str]) -> Result<Ran, String> {
    run(engine, id, argv, (b"", None, COMMAND_TIMEOUT))
}

/// What a command gets: its input, the user it runs as (the container's own when `None`), and its time.
type Given<'a> = (&'a [u8], Option<&'a str>, Duration);

fn run(
    engine: &Engine,
    id: &str,
    argv: &[&str],
    (stdin, user, timeout): Given<'_>,
) -> Result<Ran, String> {
    let command = docker::Command {
        argv,
        env: &[],
        user,
        stdin,
        timeout,
        caller: None,
    };
    let output = match engine.exec(id, &command) {
        Ok(output) => output,
        // Some engines refuse to start what is not there, others start it and report 126 or 127.
        Err(docker::DockerError::Refused {
            status: 400 | 500,
            message,
            ..
        }) if message.contains("executable file not found") => {
            return Ok(Ran {
                code: 127,
                stdout: String::new(),
                stderr: message,
            });
        }
        Err(error) => return Err(error.to_string()),
    };
    Ok(Ran {
        code: output.code,
        stdout: output.text(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
