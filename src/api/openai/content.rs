//! The content of a Chat Completions message: a text, or parts with media.

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::api::{
    Block, MediaKind,
    anthropic::media,
    field::{Allowance, Fault, borrowed, is_string, items, object, optional, required, string},
};

/// Whose content it is: each may hold other parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaker {
    System,
    User,
    Assistant,
    Tool,
}

/// The blocks of a content; empty texts are left out.
pub(super) fn read(
    speaker: Speaker,
    allowance: &mut Allowance,
    raw: &RawValue,
) -> Result<Vec<Block>, Fault> {
    let mut blocks = Vec::new();
    let mut keep = |block: Block| match block {
        Block::Text(text) if text.is_empty() => {}
        block => blocks.push(block),
    };
    if is_string(raw) {
        keep(Block::Text(string(raw)?));
    } else {
        items(raw, |_, raw| {
            allowance.take()?;
            keep(part(speaker, raw)?);
            Ok(())
        })?;
    }
    Ok(blocks)
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow)]
    image_url: Option<&'a RawValue>,
    #[serde(borrow)]
    file: Option<&'a RawValue>,
}

fn part(speaker: Speaker, raw: &RawValue) -> Result<Block, Fault> {
    let part: Part<'_> = object(raw)?;
    let kind = required("type", part.kind, string)?;
    match (kind.as_str(), speaker) {
        ("text", _) => required("text", part.text, string).map(Block::Text),
        ("refusal", Speaker::Assistant) => {
            required("refusal", part.refusal, string).map(Block::Text)
        }
        ("image_url", Speaker::User | Speaker::Tool) => {
            required("image_url", part.image_url, image)
        }
        ("file", Speaker::User | Speaker::Tool) => required("file", part.file, document),
        ("input_audio", _) => Err(Fault::invalid(
            "audio is not supported by Claude models; send a transcript as text",
        )),
        (_, speaker) => {
            Err(Fault::invalid(format!("Input should be {}", kinds(speaker))).at("type"))
        }
    }
}

fn kinds(speaker: Speaker) -> &'static str {
    match speaker {
        Speaker::System => "'text'",
        Speaker::Assistant => "'text' or 'refusal'",
        Speaker::User | Speaker::Tool => "'text', 'image_url' or 'file'",
    }
}

#[derive(Deserialize)]
struct ImageUrl<'a> {
    #[serde(borrow)]
    url: Option<&'a RawValue>,
}

fn image(raw: &RawValue) -> Result<Block, Fault> {
    let wire: ImageUrl<'_> = object(raw)?;
    required("url", wire.url, image_at)
}

/// The image that a URL names or holds.
pub(in crate::api) fn image_at(raw: &RawValue) -> Result<Block, Fault> {
    let url = borrowed(raw)?;
    let source = if url.starts_with("https://") {
        Source::Url { url: &url }
    } else {
        base64(&url, &media::IMAGE_TYPES).ok_or_else(|| {
            Fault::invalid(format!(
                "Input should be an https URL or a base64 data URL of '{}'",
                media::IMAGE_TYPES.join("', '")
            ))
        })?
    };
    block(MediaKind::Image, &source, None)
}

#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow)]
    file_data: Option<&'a RawValue>,
    #[serde(borrow)]
    file_id: Option<&'a RawValue>,
    #[serde(borrow)]
    filename: Option<&'a RawValue>,
}

/// A file with its data.
pub(in crate::api) fn document(raw: &RawValue) -> Result<Block, Fault> {
    let file: File<'_> = object(raw)?;
    if file.file_data.is_none() && file.file_id.is_some() {
        return Err(
            Fault::invalid("files stored at OpenAI cannot be read; send file_data").at("file_id"),
        );
    }
    let title = optional("filename", file.filename, |raw| borrowed(raw).map(|_| raw))?;
    required("file_data", file.file_data, |raw| {
        let url = borrowed(raw)?;
        let source = base64(&url, &["application/pdf"]).ok_or_else(|| {
            Fault::invalid("Input should be a base64 data URL of 'application/pdf'")
        })?;
        block(MediaKind::Document, &source, title)
    })
}

/// Anthropic's source of a media block.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Source<'a> {
    Base64 {
        media_type: &'static str,
        data: &'a str,
    },
    Url {
        url: &'a str,
    },
}

/// The source for `data:MEDIA_TYPE[;parameter]*;base64,DATA` when its type is one of `media_types`.
fn base64<'a>(url: &'a str, media_types: &[&'static str]) -> Option<Source<'a>> {
    let (head, data) = url.split_once(',')?;
    let (scheme, head) = head.split_once(':')?;
    let (media_type, encoding) = head.split_once(';')?;
    let encoding = encoding.rsplit(';').next()?;
    if !scheme.eq_ignore_ascii_case("data") || !encoding.eq_ignore_ascii_case("base64") {
        return None;
    }
    // Not a registered type, but a common one.
    let wanted = match media_type.to_ascii_lowercase().as_str() {
        "image/jpg" => "image/jpeg".to_owned(),
        media_type => media_type.to_owned(),
    };
    let media_type = media_types.iter().find(|it| **it == wanted)?;
    media::is_base64(data).then_some(Source::Base64 { media_type, data })
}

fn block(kind: MediaKind, source: &Source<'_>, title: Option<&RawValue>) -> Result<Block, Fault> {
    // Texts always serialise.
    let source = to_raw_value(source)
        .map_err(|error| Fault::invalid(format!("Input cannot be read: {error}")))?;
    media::block(kind, &source, &[("title", title)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::field::Problem;

    fn read_one(speaker: Speaker, json: &str) -> Result<Vec<Block>, Fault> {
        read(
            speaker,
            &mut Allowance::new(),
            serde_json::from_str(json).unwrap(),
        )
    }

    #[track_caller]
    fn check(speaker: Speaker, json: &str, expect: &str) {
        let blocks = read_one(speaker, json).unwrap();
        assert_eq!(format!("{blocks:?}"), expect, "{json}");
    }

    #[test]
    fn media_become_anthropics_blocks() {
        for (part, kind, block) in [
            (
                r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,AA+/","detail":"low"}}"#,
                "Image",
                r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA+/"}}"#,
            ),
            (
                r#"{"type":"image_url","image_url":{"url":"DATA:image\/JPG;name=x;Base64,A\nA"}}"#,
                "Image",
                r#"{"type":"image","source":{"type":"base64","media_type":"image/jpeg","data":"A\nA"}}"#,
            ),
            (
                r#"{"type":"image_url","image_url":{"url":"https://x/y,z.png"}}"#,
                "Image",
                r#"{"type":"image","source":{"type":"url","url":"https://x/y,z.png"}}"#,
            ),
            (
                r#"{"type":"file","file":{"filename":"a\".pdf","file_data":"data:application/pdf;base64,JVBE"}}"#,
                "Document",
                r#"{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBE"},"title":"a\".pdf"}"#,
            ),
        ] {
            let expect = format!("[Media {{ kind: {kind}, block: RawValue({block}) }}]");
            check(Speaker::User, &format!("[{part}]"), &expect);
        }
    }

    #[test]
    fn texts_are_kept_unless_empty() {
        check(Speaker::User, r#""a""#, r#"[Text("a")]"#);
        check(Speaker::User, r#""""#, "[]");
        check(
            Speaker::Assistant,
            r#"[{"type":"text","text":""},{"type":"text","text":"a"},{"type":"refusal","refusal":"b"}]"#,
            r#"[Text("a"), Text("b")]"#,
        );
    }

    #[track_caller]
    fn check_error(speaker: Speaker, part: &str, path: &str, expect: Option<&str>) {
        let fault = read_one(speaker, &format!("[{part}]")).unwrap_err();
        let problem = expect.map_or(Problem::Missing, |it| Problem::Invalid(it.to_owned()));
        assert_eq!(
            (fault.bracketed(), &fault.problem),
            (format!("[0]{path}"), &problem),
            "{part}"
        );
    }

    #[test]
    fn errors_name_the_field_of_a_part() {
        check_error(
            Speaker::User,
            "\"a\"",
            "",
            Some("Input should be an object"),
        );
        check_error(Speaker::User, "{}", ".type", None);
        check_error(Speaker::User, r#"{"type":"text"}"#, ".text", None);
        check_error(
            Speaker::User,
            r#"{"type":"input_audio","input_audio":{}}"#,
            "",
            Some("audio is not supported by Claude models; send a transcript as text"),
        );
        check_error(
            Speaker::User,
            r#"{"type":"video_url"}"#,
            ".type",
            Some("Input should be 'text', 'image_url' or 'file'"),
        );
        check_error(
            Speaker::System,
            r#"{"type":"image_url"}"#,
            ".type",
            Some("Input should be 'text'"),
        );
        check_error(
            Speaker::Assistant,
            r#"{"type":"file"}"#,
            ".type",
            Some("Input should be 'text' or 'refusal'"),
        );
        check_error(Speaker::User, r#"{"type":"image_url"}"#, ".image_url", None);
        check_error(
            Speaker::User,
            r#"{"type":"image_url","image_url":{}}"#,
            ".image_url.url",
            None,
        );
        check_error(
            Speaker::User,
            r#"{"type":"file","file":{"file_id":"f"}}"#,
            ".file.file_id",
            Some("files stored at OpenAI cannot be read; send file_data"),
        );
        check_error(
            Speaker::User,
            r#"{"type":"file","file":{}}"#,
            ".file.file_data",
            None,
        );
        check_error(
            Speaker::User,
            r#"{"type":"file","file":{"file_data":"data:text/plain;base64,AA=="}}"#,
            ".file.file_data",
            Some("Input should be a base64 data URL of 'application/pdf'"),
        );
    }

    #[test]
    fn other_urls_are_refused() {
        for url in [
            "http://x/y.png",
            "file:///etc/passwd",
            "data:image/png,AA==",
            "data:image/svg+xml;base64,AA==",
            "data:;base64,AA==",
            "data:image/png;base64",
            "",
        ] {
            check_error(
                Speaker::User,
                &format!(r#"{{"type":"image_url","image_url":{{"url":"{url}"}}}}"#),
                ".image_url.url",
                Some(
                    "Input should be an https URL or a base64 data URL of 'image/jpeg', 'image/png', 'image/gif', 'image/webp'",
                ),
            );
        }
    }
}
