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

/// The first version known to take `text_not_typed` on a user line, without which it would read
/// `@path` and run `/command` out of a client's text. 2.1.329 and 2.1.330 were measured to take it;
/// 2.1.197 was measured not to, and nothing else makes that one safe with its tools on.
const OLDEST: [u32; 3] = [2, 1, 329];

/// Whether a version, as `--version` prints it (`2.1.330 (Claude Code)`), may be given clients' text.
pub(crate) fn is_safe(version: &str) -> bool {
    numbers(version).is_some_and(|it| it >= OLDEST)
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
    fn only_versions_that_leave_text_alone_are_safe() {
        for (version, expect) in [
            ("2.1.330 (Claude Code)", true),
            ("2.2.0", true),
            ("10.0.0-beta.1", true),
            ("2.1.197 (Claude Code)", false),
            ("nonsense", false),
            ("2.1", false),
            ("2.1.328", false),
            ("2.1.329", true),
            ("", false),
        ] {
            assert_eq!(is_safe(version), expect, "{version:?}");
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
            find(Path::new("ls"), Some(&"/bin".into())).unwrap(),
            Path::new("/bin/ls")
        );
    }
}
