//! What systemd knows of the gateway's unit, with the operator's own changes to it.

use std::{fs, path::PathBuf};

use crate::manage::user::asked;

/// The unit's name.
pub(super) const NAME: &str = "ccgw.service";

const ASKED: &str =
    "LoadState,ActiveState,User,ExecStart,Environment,EnvironmentFiles,StateDirectory";

const NOT_INSTALLED: &str =
    "its unit is not installed: `apt install ./ccgw_VERSION_ARCH.deb`, or `make install` as root";

/// The service as it would run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) user: String,
    pub(super) program: PathBuf,
    pub(super) config: PathBuf,
    pub(super) is_active: bool,
    /// Names and values, the last of one name counts.
    pub(super) env: Vec<(String, String)>,
    /// Files with more of it.
    env_files: Vec<PathBuf>,
}

impl Unit {
    /// # Errors
    /// When there is no systemd or no such unit, with the way out.
    pub(super) fn read() -> Result<Unit, String> {
        let said = asked("systemctl", &["show", NAME, "-p", ASKED]);
        let said = said.map_err(|why| {
            format!("no systemd answers here ({why}); without one, start `ccgw CONFIG` as this machine starts services, or in a container")
        })?;
        let mut unit = parsed(&said)?;
        for file in std::mem::take(&mut unit.env_files) {
            // systemd says what is wrong with one that it needs.
            let text = fs::read_to_string(&file).unwrap_or_default();
            unit.env.extend(text.lines().filter_map(assignment));
        }
        Ok(unit)
    }

    pub(super) fn variable(&self, name: &str) -> Option<String> {
        let found = self.env.iter().rfind(|(it, _)| it == name);
        found.map(|(_, value)| value.clone())
    }
}

/// Reads `systemctl show`: a line `NAME=VALUE` for each property.
fn parsed(text: &str) -> Result<Unit, String> {
    let all = |name: &str| {
        let name = format!("{name}=");
        let values = text.lines().filter_map(move |it| it.strip_prefix(&name));
        values.map(str::to_owned).collect::<Vec<_>>()
    };
    let one = |name: &str| all(name).into_iter().next().unwrap_or_default();
    if one("LoadState") != "loaded" {
        return Err(NOT_INSTALLED.to_owned());
    }
    let odd = || format!("`systemctl show {NAME}` has an ExecStart that is no `ccgw CONFIG`");
    let (program, config) = started(&one("ExecStart")).ok_or_else(odd)?;
    let mut env: Vec<(String, String)> = words(&one("Environment"))
        .iter()
        .filter_map(|it| assignment(it))
        .collect();
    if let Some(state) = words(&one("StateDirectory")).first() {
        env.push(("STATE_DIRECTORY".to_owned(), format!("/var/lib/{state}")));
    }
    let path = |it: &String| it.split(" (").next().map(PathBuf::from);
    Ok(Unit {
        user: Some(one("User"))
            .filter(|it| !it.is_empty())
            .unwrap_or_else(|| "root".to_owned()),
        program,
        config,
        is_active: one("ActiveState") == "active",
        env,
        env_files: all("EnvironmentFiles").iter().filter_map(path).collect(),
    })
}

/// Of `{ path=/usr/bin/ccgw ; argv[]=/usr/bin/ccgw /etc/ccgw/config.yaml ; ignore_errors=no ; … }`.
fn started(text: &str) -> Option<(PathBuf, PathBuf)> {
    let program = text.split("path=").nth(1)?.split(" ; ").next()?;
    let argv = text.split("argv[]=").nth(1)?.split(" ; ").next()?;
    let config = argv.strip_prefix(program)?.strip_prefix(' ')?;
    let is_one = config.starts_with('/') && !config.contains(' ');
    is_one.then(|| (program.into(), config.into()))
}

/// Blanks part words, but for those in quotes; a backslash takes the next character as it is.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '"' => quoted = !quoted,
            '\\' => word.extend(chars.next()),
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            _ => word.push(char),
        }
    }
    words.push(word);
    words.retain(|it| !it.is_empty());
    words
}

/// A line `NAME=VALUE` of an environment file, where the value may stand in quotes; `None` for comments and the like.
fn assignment(line: &str) -> Option<(String, String)> {
    let (name, value) = line.trim().split_once('=')?;
    let is_name = |it: u8| it.is_ascii_alphanumeric() || it == b'_';
    if name.is_empty() || !name.bytes().all(is_name) {
        return None;
    }
    let value = value.trim();
    let inside = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    let value = inside('"').or_else(|| inside('\'')).unwrap_or(value);
    Some((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = "LoadState=loaded\nActiveState=inactive\nUser=ccgw\n\
        ExecStart={ path=/usr/bin/ccgw ; argv[]=/usr/bin/ccgw /etc/ccgw/config.yaml ; ignore_errors=no ; start_time=[n/a] ; pid=0 }\n\
        Environment=PATH=/usr/bin:/bin \"NOTE=two words\"\nEnvironmentFiles=/etc/default/ccgw (ignore_errors=yes)\n\
        StateDirectory=ccgw/.local/state/ccgw\n";

    #[test]
    fn a_unit_is_read_with_its_drop_ins() {
        let unit = parsed(SHOWN).unwrap();
        assert_eq!(unit.variable("PATH").unwrap(), "/usr/bin:/bin");
        assert_eq!(unit.variable("NOTE").unwrap(), "two words");
        assert_eq!(
            unit.variable("STATE_DIRECTORY").unwrap(),
            "/var/lib/ccgw/.local/state/ccgw"
        );
        assert_eq!(unit.env_files, [PathBuf::from("/etc/default/ccgw")]);
        let paths = ["/usr/bin/ccgw", "/etc/ccgw/config.yaml"].map(PathBuf::from);
        assert_eq!([unit.program, unit.config], paths);
        assert_eq!((unit.user.as_str(), unit.is_active), ("ccgw", false));
        let root = parsed(
            &SHOWN
                .replace("User=ccgw", "User=")
                .replace("inactive", "active"),
        );
        let root = root.unwrap();
        assert_eq!((root.user.as_str(), root.is_active), ("root", true));
    }

    #[test]
    fn what_is_no_unit_of_ccgw_is_told() {
        #[track_caller]
        fn check(from: &str, to: &str, part: &str) {
            let error = parsed(&SHOWN.replace(from, to)).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        check("LoadState=loaded", "LoadState=not-found", "not installed");
        check("LoadState=loaded", "LoadState=masked", "not installed");
        check(" /etc/ccgw/config.yaml", "", "no `ccgw CONFIG`");
        check(" /etc/ccgw/config.yaml", " --demo", "no `ccgw CONFIG`");
    }

    #[test]
    fn environment_files_have_lines_with_names() {
        let of = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
        for (line, expect) in [
            ("LOG_FORMAT=json", of("LOG_FORMAT", "json")),
            (" A=\"two words\" ", of("A", "two words")),
            ("A='x=y'", of("A", "x=y")),
            ("A=", of("A", "")),
            ("#LOG_FORMAT=json", None),
            ("", None),
            ("no name", None),
            ("a b=c", None),
        ] {
            assert_eq!(assignment(line), expect, "{line}");
        }
    }
}
