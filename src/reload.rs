//! Takes over a new configuration while requests are served: all of it that can be, or nothing when it is
//! not valid. What runs keeps the one it started with.

use std::{path::PathBuf, sync::Arc};

use crate::{
    config::{self, Changes, Loaded},
    daemon::{FDS_PER_RUN, OTHER_FDS, parts},
    gateway::{CliWorkers, Gateway, LastReload, WithoutTenants},
    log,
};

/// What a reload needs to know of the start.
pub(crate) struct Reload {
    pub(crate) file: PathBuf,
    pub(crate) without: WithoutTenants,
    /// How many connections the listener takes.
    pub(crate) connections_max: usize,
    /// How often the file was read again.
    pub(crate) count: u64,
}

impl Reload {
    /// Reads the file and puts it in force. The log says what came of it, and whoever asked is told the same.
    ///
    /// # Errors
    /// Every problem of the new configuration; nothing has changed then.
    pub(crate) fn again(
        &mut self,
        gateway: &Gateway,
        cli: &mut CliWorkers,
    ) -> Result<String, String> {
        self.count += 1;
        let number = self.count;
        let taken = self.take_over(gateway, cli);
        gateway.note_reload(LastReload {
            number,
            ok: taken.is_ok(),
            text: taken.clone().unwrap_or_else(|why| why),
        });
        match &taken {
            Ok(what) => log::info(
                "configuration reloaded",
                &[("number", &number), ("changes", what)],
            ),
            Err(why) => log::error(
                "the new configuration is not valid; the old one stays in force",
                &[("number", &number), ("why", &why.trim_end())],
            ),
        }
        taken
    }

    fn take_over(&self, gateway: &Gateway, cli: &mut CliWorkers) -> Result<String, String> {
        let env = |name: &str| std::env::var(name).ok();
        let Loaded { config, notices } =
            config::load(&self.file, &env).map_err(|problems| problems.to_string())?;
        let skill_text = parts::skill_text(&config.cli.skill_file)?;
        let old = gateway.served();
        let changes = Changes::between(&old.config, &config);
        if changes.is_empty() && skill_text == old.skill_text {
            return Ok("none".to_owned());
        }
        for notice in &notices {
            log::warn(notice, &[]);
        }
        let config = config.fitted_to(&old.config);
        let runs = config.cli.max_concurrent;
        // Before there can be more permits than workers; a surplus of workers hurts nobody.
        if runs > old.config.cli.max_concurrent {
            cli.resize(runs).map_err(|error| {
                format!("cli.max_concurrent: {runs} workers cannot be started: {error}\n")
            })?;
            self.tell_of_descriptors(runs);
        }
        gateway.serve_from_now(old.followed_by(Arc::new(config), skill_text, self.without));
        if runs < old.config.cli.max_concurrent {
            // To end some takes nothing that could be missing.
            let _ = cli.resize(runs);
        }
        if !changes.at_restart.is_empty() {
            let settings = changes.at_restart.join(", ");
            log::warn(
                "some of the new configuration applies with the gateway's next start",
                &[("settings", &settings)],
            );
        }
        Ok(changes.to_string())
    }

    /// Connections were counted with fewer runs in mind.
    fn tell_of_descriptors(&self, runs: usize) {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let wanted = (OTHER_FDS + FDS_PER_RUN * runs + self.connections_max) as u64;
        if limit.is_some_and(|limit| limit < wanted) {
            log::warn(
                "with so many runs open files may become short; restart to have connections limited by it",
                &[("limit", &limit.unwrap_or_default()), ("wanted", &wanted)],
            );
        }
    }
}
