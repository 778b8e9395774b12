//! What is wrong with a configuration: every problem with its place, printed one per line.

use std::fmt;
use std::path::Path;

/// All that must be repaired before the configuration can be used, in file order, the environment
/// last. `Display` prints one problem per line, without a line break at the end.
#[derive(Debug)]
pub(crate) struct Problems {
    file: String,
    list: Vec<Problem>,
    cut: Cut,
}

/// A broken generator can make a problem of every line; nobody reads more than this many.
const PROBLEMS_MAX: usize = 100;

#[derive(Debug)]
struct Problem {
    place: Place,
    text: String,
}

/// Whether problems were left out at [`PROBLEMS_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    Complete,
    Shortened,
}

/// Where a value, or a problem, comes from. The order of the variants is the order of printing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    File,
    /// Counted from 1.
    Line(usize),
    Environment(&'static str),
}

/// Proof that a problem was recorded. Only [`Problems::add`] makes one, so a function that returns
/// `Err(Reported)` cannot have failed silently.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reported(());

impl Problems {
    pub(super) fn new(file: &Path) -> Self {
        Problems {
            file: file.display().to_string(),
            list: Vec::new(),
            cut: Cut::Complete,
        }
    }

    /// Records what is wrong at `place` and what to write instead.
    pub(super) fn add(&mut self, place: Place, text: impl Into<String>) -> Reported {
        if self.is_full() {
            self.cut = Cut::Shortened;
        } else {
            let text = text.into();
            self.list.push(Problem { place, text });
        }
        Reported(())
    }

    /// Whether more problems would only be dropped; loops that compute texts may stop here.
    pub(super) fn is_full(&self) -> bool {
        self.list.len() >= PROBLEMS_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Puts the problems in the order in which the reader meets the lines.
    pub(super) fn sorted(mut self) -> Self {
        self.list.sort_by_key(|problem| problem.place);
        self
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Problem { place, text }) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            match place {
                Place::File => write!(f, "{}: {text}", self.file)?,
                Place::Line(line) => write!(f, "{}:{line}: {text}", self.file)?,
                Place::Environment(name) => write!(f, "environment {name}: {text}")?,
            }
        }
        if self.cut == Cut::Shortened {
            write!(
                f,
                "\n{}: more problems follow these {PROBLEMS_MAX}",
                self.file
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// How many characters of a wrong value a message repeats.
const SHOWN_CHARS_MAX: usize = 60;

/// A wrong value as a message shows it: in backticks, on one line, and not endless. Not for
/// secrets.
pub(super) fn shown(text: &str) -> String {
    let start: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    let rest = if start.len() < text.len() { "…" } else { "" };
    format!("`{}{rest}`", start.escape_debug())
}

/// A key as a message shows it: only the part that can be a name. With a space forgotten, as in
/// `{api_key:abc}` or `- TOKEN=abc`, the secret is a part of what YAML takes for the key.
pub(super) fn shown_key(key: &str) -> String {
    let is_name = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '<');
    let start: String = key
        .chars()
        .take_while(is_name)
        .take(SHOWN_CHARS_MAX)
        .collect();
    let rest = if start.len() < key.len() { "…" } else { "" };
    format!("`{start}{rest}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_print_in_file_order_and_the_environment_last() {
        let mut problems = Problems::new(Path::new("c.yaml"));
        let _ = problems.add(Place::Environment("PORT"), "three");
        let _ = problems.add(Place::Line(9), "two");
        let _ = problems.add(Place::Line(2), "one");
        assert_eq!(
            problems.sorted().to_string(),
            "c.yaml:2: one\nc.yaml:9: two\nenvironment PORT: three"
        );
    }

    #[test]
    fn the_list_of_problems_is_bounded() {
        let mut problems = Problems::new(Path::new("c.yaml"));
        for line in 0..5000 {
            let _ = problems.add(Place::Line(line), "x");
        }
        let text = problems.to_string();
        assert_eq!(text.lines().count(), PROBLEMS_MAX + 1);
        assert!(text.ends_with("c.yaml: more problems follow these 100"));
    }

    #[test]
    fn shown_values_stay_on_one_line_and_short() {
        assert_eq!(shown("a\nb\u{1b}"), "`a\\nb\\u{1b}`");
        assert_eq!(shown(&"é".repeat(61)), format!("`{}…`", "é".repeat(60)));
    }

    #[test]
    fn shown_keys_end_where_a_secret_may_begin() {
        #[track_caller]
        fn check(key: &str, expect: &str) {
            assert_eq!(shown_key(key), expect);
        }
        check("prot", "`prot`");
        check("api_key:sk-1234", "`api_key…`");
        check("TOKEN=abc", "`TOKEN…`");
        check("api_key sk-1234", "`api_key…`");
        check("\u{1b}[2J", "`…`");
    }
}
