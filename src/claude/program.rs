//! The program that answers: where it is, what it is, and what its version can do.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// The program that answers: found once at start.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The operator's own `claude`.
    ClaudeCode,
    /// This binary playing its part (`--demo`), for trying out without an account.
    StandIn,
}

/// What the installed version can do; decided once from its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Abilities {
    /// It takes `text_not_typed` on a user line, and then neither expands `@path` nor runs a
    /// leading `/command`. Seen to work in 2.1.330.
    pub(crate) untyped_text: bool,
}

/// Finds a program as a shell would: a name with a `/` as it is, else along `PATH`.
///
/// # Errors
/// A text that says where it was looked for and how to mend it.
pub(crate) fn find(bin: &Path, path: Option<&OsString>) -> Result<PathBuf, String> {
    let install = "install it with `npm install -g @anthropic-ai/claude-code` and sign in by running `claude` \
                   once, set cli.bin (or CLAUDE_BIN) to its path, or try ccgw without it: `ccgw --demo`";
    if bin.as_os_str().as_encoded_bytes().contains(&b'/') {
        return match executable(bin) {
            true => Ok(bin.to_owned()),
            false => Err(format!(
                "cli.bin: {} is not an executable file; {install}",
                bin.display()
            )),
        };
    }
    let found = path.and_then(|path| {
        std::env::split_paths(path)
            .map(|dir| dir.join(bin))
            .find(|candidate| executable(candidate))
    });
    found.ok_or_else(|| {
        format!(
            "the Claude Code CLI `{}` is not installed (not found along PATH); {install}",
            bin.display()
        )
    })
}

fn executable(path: &Path) -> bool {
    let access = rustix::fs::access(path, rustix::fs::Access::EXEC_OK);
    access.is_ok() && path.is_file()
}

/// Reads the abilities off what `--version` printed (`2.1.330 (Claude Code)`).
pub(crate) fn abilities(version: Option<&str>) -> Abilities {
    Abilities {
        untyped_text: version
            .and_then(numbers)
            .is_some_and(|it| it >= [2, 1, 330]),
    }
}

fn numbers(version: &str) -> Option<[u32; 3]> {
    let mut parts = version
        .split([' ', '-', '+'])
        .next()?
        .split('.')
        .map(|part| part.parse().ok());
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abilities_follow_the_version() {
        for (version, expect) in [
            (Some("2.1.330 (Claude Code)"), true),
            (Some("2.2.0"), true),
            (Some("10.0.0-beta.1"), true),
            (Some("2.1.197 (Claude Code)"), false),
            (Some("nonsense"), false),
            (Some("2.1"), false),
            (None, false),
        ] {
            assert_eq!(abilities(version).untyped_text, expect, "{version:?}");
        }
    }

    #[test]
    fn missing_program_is_named_with_the_way_out() {
        let path = OsString::from("/nonexistent-a:/nonexistent-b");
        for bin in ["claude", "/nonexistent/claude"] {
            let error = find(Path::new(bin), Some(&path)).unwrap_err();
            assert!(
                error.contains(bin) && error.contains("npm install"),
                "{error}"
            );
        }
        assert_eq!(
            find(Path::new("sh"), Some(&"/bin".into())).unwrap(),
            Path::new("/bin/sh")
        );
    }
}
