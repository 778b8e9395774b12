//! Takes over a new configuration while requests are served: all of it that can be, or nothing when it is
//! not valid. What runs keeps the one it started with.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
};

use crate::{
    args::Demo,
    config::{self, Changes, Loaded, TenantList},
    daemon::{FDS_PER_RUN, OTHER_FDS, parts},
    gateway::{CliWorkers, Gateway, LastReload, Prepared, Served, WithoutTenants},
    http, log,
};

/// What a reload needs to know of the start.
pub(crate) struct Reload {
    pub(crate) file: PathBuf,
    pub(crate) without: WithoutTenants,
    pub(crate) demo: Demo,
    pub(crate) tuner: http::Tuner,
    /// How many connections the listener takes.
    pub(crate) connections_max: usize,
    /// How often the file was read again.
    pub(crate) count: u64,
}

/// What a reload that panics leaves to say.
const PANICKED: &str = "the reload panicked; restart ccgw to be sure what is in force";

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
        let taken = caught(|| self.take_over(gateway, cli));
        match &taken {
            Some(Ok(what)) => log::info(
                "configuration reloaded",
                &[("number", &number), ("changes", what)],
            ),
            Some(Err(why)) => log::error(
                "the new configuration is not valid; the old one stays in force",
                &[("number", &number), ("why", &why.trim_end())],
            ),
            None => log::error(PANICKED, &[("number", &number)]),
        }
        let taken = taken.unwrap_or_else(|| Err(PANICKED.to_owned()));
        gateway.note_reload(LastReload {
            number,
            ok: taken.is_ok(),
            text: taken.clone().unwrap_or_else(|why| why),
        });
        taken
    }

    fn take_over(&self, gateway: &Gateway, cli: &mut CliWorkers) -> Result<String, String> {
        let old = gateway.served();
        let (loaded, skill_text) = self.read(&old)?;
        let changes = Changes::between(&old.config, &loaded.config);
        if changes.is_empty() && skill_text == old.skill_text {
            return Ok("none".to_owned());
        }
        let Loaded {
            config, notices, ..
        } = loaded;
        let program = match config.cli.bin == old.config.cli.bin {
            true => Arc::clone(&old.cli),
            false => parts::cli(&config, self.demo, (&gateway.base_env, &gateway.state))?,
        };
        for notice in &notices {
            log::warn(notice, &[]);
        }
        let prepared = Prepared {
            incarnations: parts::incarnations(&config, &gateway.state)?,
            config: Arc::new(config.fitted_to(&old.config)),
            cli: program,
            skill_text,
        };
        self.put_in_force(prepared, gateway, cli)?;
        if changes.concern_isolation() {
            gateway.announce_isolation();
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

    /// The files as they are now.
    fn read(&self, old: &Served) -> Result<(Loaded, String), String> {
        let env = |name: &str| std::env::var(name).ok();
        let loaded = config::load(&self.file, &env).map_err(|problems| problems.to_string())?;
        // A file that was emptied or cut off must not take everybody's key away, nor the need for one.
        if loaded.tenants == TenantList::Absent && !old.config.tenants.is_empty() {
            return Err(format!(
                "{}: it has no list of tenants any more; if nobody is to be served, write `tenants: []`",
                self.file.display()
            ));
        }
        let skill_text = parts::skill_text(&loaded.config.cli.skill_file)?;
        Ok((loaded, skill_text))
    }

    fn put_in_force(
        &self,
        prepared: Prepared,
        gateway: &Gateway,
        cli: &mut CliWorkers,
    ) -> Result<(), String> {
        let old = gateway.served();
        let runs = prepared.config.cli.max_concurrent;
        // Before there can be more permits than workers; a surplus of workers hurts nobody.
        if runs > old.config.cli.max_concurrent {
            cli.resize(runs).map_err(|error| {
                format!("cli.max_concurrent: {runs} workers cannot be started: {error}\n")
            })?;
            self.tell_of_descriptors(runs);
        }
        self.tuner.tune(parts::tunable(&prepared.config.server));
        gateway.serve_from_now(old.followed_by(prepared, self.without));
        if runs < old.config.cli.max_concurrent {
            // To end some takes nothing that could be missing.
            let _ = cli.resize(runs);
        }
        Ok(())
    }

    /// Connections were counted with fewer runs in mind.
    fn tell_of_descriptors(&self, runs: usize) {
        http::make_room_for_files(OTHER_FDS + FDS_PER_RUN * runs + self.connections_max);
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

/// What a reload comes to; `None` when it panics, which must not end the daemon. What requests find is only ever
/// replaced whole, so they find the old configuration then, or the new one.
fn caught<T>(reload: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(reload)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_in_a_reload_is_an_answer() {
        assert_eq!(caught(|| 1), Some(1));
        assert_eq!(caught(|| -> u8 { panic!("a bug") }), None);
    }
}
