//! One settings file: its bytes as text and as a value. Pure.

use std::path::{Path, PathBuf};

use jsonc_parser::errors::{ParseError, ParseErrorKind};
use jsonc_parser::{
    CollectOptions, CommentCollectionStrategy, ParseOptions, ParseStringErrorKind, parse_to_ast,
};
use serde_json::Value;

/// A file as it was read.
pub(super) struct Source {
    pub(super) path: PathBuf,
    /// Without the byte order mark.
    pub(super) text: String,
    pub(super) mark: ByteOrderMark,
    pub(super) comments: Comments,
    /// A measure of what the parsers need for it, see [`WEIGHT_MAX`].
    pub(super) weight: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ByteOrderMark {
    Absent,
    Present,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Comments {
    None,
    Some,
}

/// OpenClaw itself takes 2 MiB; real files have some ten KiB.
pub(super) const BYTES_MAX: usize = 4 << 20;

/// Values, line ends and comments in all files together. The syntax tree takes up to a KiB for each
/// (measured), and a file comes from an instance that may be hostile. Fifty thousand lines pass.
pub(super) const WEIGHT_MAX: usize = 200_000;

const MARK: &str = "\u{feff}";

impl Source {
    /// A file that does not exist, which is legal for the root.
    pub(super) fn absent(path: &Path) -> Source {
        Source {
            path: path.to_path_buf(),
            text: String::new(),
            mark: ByteOrderMark::Absent,
            comments: Comments::None,
            weight: 0,
        }
    }

    /// # Errors
    /// The file is too large or no text.
    pub(super) fn new(path: &Path, bytes: Vec<u8>) -> Result<Source, String> {
        let mut source = Source::absent(path);
        if bytes.len() > BYTES_MAX {
            let text =
                format!("larger than {BYTES_MAX} bytes, these cannot be OpenClaw's settings");
            return Err(source.wrong(&text));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            source.wrong_at(line(good), "not UTF-8, save the file as UTF-8")
        })?;
        source.text = match text.strip_prefix(MARK) {
            Some(rest) => {
                source.mark = ByteOrderMark::Present;
                rest.to_owned()
            }
            None => text,
        };
        let heavy = |byte: &&u8| b",:[{/\n\r".contains(byte);
        source.weight = source.text.bytes().filter(|byte| heavy(&byte)).count();
        if source.weight > WEIGHT_MAX {
            return Err(source.wrong(TOO_HEAVY));
        }
        Ok(source)
    }

    /// What the file says; `None` when it says nothing.
    pub(super) fn parse(&mut self) -> Result<Option<Value>, String> {
        let collect = CollectOptions {
            comments: CommentCollectionStrategy::Separate,
            tokens: false,
        };
        let parsed = parse_to_ast(&self.text, &collect, &options())
            .map_err(|error| self.wrong_at(error.line_display(), &described(&error)))?;
        let comments = parsed.comments.is_some_and(|it| !it.is_empty());
        let value = parsed.value.map(Value::from);
        if comments {
            self.comments = Comments::Some;
        }
        Ok(value)
    }

    /// The file's whole new content, given its new text.
    pub(super) fn with_text(&self, text: &str) -> String {
        match self.mark {
            ByteOrderMark::Absent => text.to_owned(),
            ByteOrderMark::Present => format!("{MARK}{text}"),
        }
    }

    pub(super) fn wrong(&self, text: &str) -> String {
        format!("{}: {text}", self.path.display())
    }

    fn wrong_at(&self, line: usize, text: &str) -> String {
        format!("{}, line {line}: {text}", self.path.display())
    }
}

pub(super) const TOO_HEAVY: &str =
    "more values than OpenClaw's settings can have, split it or take the rest away";

/// JSON5 as OpenClaw reads it. The parser would do without commas, OpenClaw does not.
pub(super) fn options() -> ParseOptions {
    ParseOptions {
        allow_missing_commas: false,
        ..ParseOptions::default()
    }
}

/// The error without anything of the file's content, which may be a secret.
fn described(error: &ParseError) -> String {
    let what = match error.kind() {
        ParseErrorKind::String(ParseStringErrorKind::InvalidUnicodeEscapeSequence(_)) => {
            "Invalid unicode escape sequence".to_owned()
        }
        kind => kind.to_string(),
    };
    format!("not JSON5 ({what}), correct it and run again")
}

fn line(before: &[u8]) -> usize {
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}
