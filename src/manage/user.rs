//! A user of this machine, and programs that run as that user.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::{access::Ran, folders::Who, local_command};

/// The machine's user directory may be on another host.
const PATIENCE: Duration = Duration::from_secs(30);

/// As passwd(5) and group(5) have it, from wherever this machine has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    uid: u32,
    gid: u32,
    home: PathBuf,
    /// All groups, with its own.
    groups: Vec<u32>,
}

impl User {
    /// # Errors
    /// When there is none of this name, or nothing tells.
    pub(super) fn named(name: &str) -> Result<User, String> {
        let line = asked("getent", &["passwd", name])?;
        let mut user = in_passwd(line.lines().next().unwrap_or_default())
            .ok_or_else(|| format!("`getent passwd {name}` said nothing that can be read"))?;
        let groups = asked("id", &["-G", &user.name])?;
        let numbers = groups.split_whitespace().map(str::parse);
        user.groups = numbers
            .collect::<Result<_, _>>()
            .map_err(|_| format!("`id -G {name}` said nothing that can be read"))?;
        Ok(user)
    }

    pub(super) fn into_who(self) -> Who {
        Who::Other {
            name: self.name,
            uid: self.uid,
            groups: self.groups,
        }
    }

    pub(super) fn is_root(&self) -> bool {
        self.uid == 0
    }

    pub(super) fn is_in(&self, group: u32) -> bool {
        self.groups.contains(&group)
    }

    /// For the programs that are run from now on.
    pub(super) fn join(&mut self, group: u32) {
        self.groups.push(group);
    }

    /// A program of this user's, with its own groups as they are now and none of our environment. Whoever calls this
    /// is root; setpriv(1) takes on who the program is.
    pub(super) fn command(&self, program: &Path, env: &[(String, String)]) -> Command {
        let groups: Vec<String> = self.groups.iter().map(u32::to_string).collect();
        let mut command = Command::new("setpriv");
        command
            .arg(format!("--reuid={}", self.uid))
            .arg(format!("--regid={}", self.gid))
            .arg(format!("--groups={}", groups.join(",")))
            .arg("--")
            .arg(program)
            .current_dir("/")
            .env_clear()
            .envs(env.iter().map(|(name, value)| (name, value)))
            .env("HOME", &self.home)
            .envs([("USER", &self.name), ("LOGNAME", &self.name)]);
        if self.home.is_dir() {
            command.current_dir(&self.home);
        }
        command
    }
}

fn in_passwd(line: &str) -> Option<User> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, _, home, ..] = fields[..] else {
        return None;
    };
    Some(User {
        name: name.to_owned(),
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
        home: home.into(),
        groups: Vec::new(),
    })
}

/// What a program of this machine says.
///
/// # Errors
/// Its own words, when it fails.
pub(super) fn asked(program: &str, words: &[&str]) -> Result<String, String> {
    let none: &[(&str, &OsStr)] = &[];
    let ran = local_command::run(program, words, none, (b"", PATIENCE))?;
    let ran: Ran = ran.ok_or_else(|| format!("{program} is not installed"))?;
    match ran.code {
        0 => Ok(ran.stdout),
        code => Err(format!(
            "`{program} {}` ended with {code} {}",
            words.join(" "),
            ran.stderr.trim()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_passwd_are_users() {
        let line = "ccgw:x:997:996:Gateway to 4 things:/var/lib/ccgw:/usr/sbin/nologin";
        let user = in_passwd(line).unwrap();
        assert_eq!((user.uid, user.gid), (997, 996));
        assert_eq!(
            (user.name.as_str(), user.home.as_path()),
            ("ccgw", Path::new("/var/lib/ccgw"))
        );
        for wrong in ["", "ccgw", "ccgw:x:many:996::/:/bin/sh", "ccgw:x:1:2"] {
            assert_eq!(in_passwd(wrong), None, "{wrong}");
        }
    }
}
