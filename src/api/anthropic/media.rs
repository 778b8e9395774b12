//! Images and documents: what the API takes as their source, and the block that goes on.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api::{
    Block, MediaKind,
    field::{Fault, borrowed, is_string, object, required},
};

/// The block as JSON: its type, its source and those of the other fields that are there.
pub(in crate::api) fn block(
    kind: MediaKind,
    source: &RawValue,
    fields: &[(&str, Option<&RawValue>)],
) -> Result<Block, Fault> {
    let head = match kind {
        MediaKind::Image => r#"{"type":"image","source":"#,
        MediaKind::Document => r#"{"type":"document","source":"#,
    };
    let fields = fields
        .iter()
        .filter_map(|(name, raw)| Some((name, (*raw)?)));
    let more = fields
        .clone()
        .map(|(name, raw)| name.len() + raw.get().len() + r#","":"#.len());
    // Media are megabytes: one allocation of the right size holds the block until it goes to the CLI.
    let size = head.len() + source.get().len() + more.sum::<usize>() + "}".len();
    let mut json = String::with_capacity(size);
    json.push_str(head);
    json.push_str(source.get());
    for (name, raw) in fields {
        json.push_str(",\"");
        json.push_str(name);
        json.push_str("\":");
        json.push_str(raw.get());
    }
    json.push('}');
    let block = RawValue::from_string(json)
        // Pieces of valid JSON make valid JSON.
        .map_err(|error| Fault::invalid(format!("Input cannot be read: {error}")))?;
    Ok(Block::Media { kind, block })
}

/// A source that the API would take, as it is.
pub(super) fn source(kind: MediaKind, raw: &RawValue) -> Result<&RawValue, Fault> {
    let wire: Source<'_> = object(raw)?;
    let tag = required("type", wire.kind, borrowed)?;
    match (kind, &*tag) {
        (MediaKind::Image, "base64") => wire.data(&IMAGE_TYPES, encoded)?,
        (MediaKind::Document, "base64") => wire.data(&["application/pdf"], encoded)?,
        (MediaKind::Document, "text") => wire.data(&["text/plain"], text)?,
        (MediaKind::Document, "content") => required("content", wire.content, |_| Ok(()))?,
        (_, "url") => required("url", wire.url, web_address)?,
        (_, "file") => required("file_id", wire.file_id, text)?,
        (kind, _) => return Err(unknown_tag(kind)),
    }
    Ok(raw)
}

/// <https://docs.claude.com/en/docs/build-with-claude/vision>
pub(in crate::api) const IMAGE_TYPES: [&str; 4] =
    ["image/jpeg", "image/png", "image/gif", "image/webp"];

#[derive(Deserialize)]
struct Source<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    media_type: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    url: Option<&'a RawValue>,
    #[serde(borrow)]
    file_id: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

impl Source<'_> {
    fn data(
        &self,
        media_types: &[&str],
        read: fn(&RawValue) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        required("media_type", self.media_type, |raw| {
            if media_types.contains(&&*borrowed(raw)?) {
                Ok(())
            } else {
                Err(Fault::invalid(format!(
                    "Input should be '{}'",
                    media_types.join("', '")
                )))
            }
        })?;
        required("data", self.data, read)
    }
}

/// A string of any content, unread.
fn text(raw: &RawValue) -> Result<(), Fault> {
    if is_string(raw) {
        Ok(())
    } else {
        Err(Fault::invalid("Input should be a string"))
    }
}

/// What the CLI cannot decode it replaces by a sentence about that, and the client would never hear of it (measured with
/// 2.1.330). The line ends that some encoders make count as nothing.
pub(in crate::api) fn is_base64(text: &str) -> bool {
    let is_of_it = |it: u8| it.is_ascii_alphanumeric() || b"+/=\r\n".contains(&it);
    !text.is_empty() && text.bytes().all(is_of_it)
}

fn encoded(raw: &RawValue) -> Result<(), Fault> {
    match is_base64(&borrowed(raw)?) {
        true => Ok(()),
        false => Err(Fault::invalid("Input should be base64")),
    }
}

fn web_address(raw: &RawValue) -> Result<(), Fault> {
    let url = borrowed(raw)?;
    match ["https://", "http://"].iter().any(|it| url.starts_with(it)) {
        true => Ok(()),
        false => Err(Fault::invalid("Input should be an https URL")),
    }
}

fn unknown_tag(kind: MediaKind) -> Fault {
    let tags = match kind {
        MediaKind::Image => "'base64', 'url' or 'file'",
        MediaKind::Document => "'base64', 'text', 'content', 'url' or 'file'",
    };
    Fault::invalid(format!("Input should be {tags}")).at("type")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    #[track_caller]
    fn check(kind: MediaKind, json: &str, expect: Result<(), &str>) {
        let result = source(kind, raw(json)).map(|it| assert_eq!(it.get(), json));
        let result = result.map_err(|fault| format!("{}: {:?}", fault.dotted(), fault.problem));
        assert_eq!(result, expect.map_err(str::to_owned), "{json}");
    }

    #[test]
    fn sources_are_those_of_the_api() {
        use MediaKind::{Document, Image};
        for (kind, json) in [
            (
                Image,
                r#"{"type":"base64","media_type":"image\/png","data":"AA=="}"#,
            ),
            (Image, r#"{"type":"url","url":"https://x/y.png"}"#),
            (Image, r#"{"type":"file","file_id":"file_1"}"#),
            (
                Document,
                r#"{"type":"base64","media_type":"application/pdf","data":"JVBE\nRi0="}"#,
            ),
            (
                Document,
                r#"{"type":"text","media_type":"text/plain","data":"a"}"#,
            ),
            (Document, r#"{"type":"content","content":[]}"#),
        ] {
            check(kind, json, Ok(()));
        }
        for (kind, json, expect) in [
            (Image, "7", r#": Invalid("Input should be an object")"#),
            (Image, "{}", "type: Missing"),
            (Image, r#"{"type":"base64"}"#, "media_type: Missing"),
            (
                Image,
                r#"{"type":"base64","media_type":"image/svg+xml","data":""}"#,
                r#"media_type: Invalid("Input should be 'image/jpeg', 'image/png', 'image/gif', 'image/webp'")"#,
            ),
            (
                Image,
                r#"{"type":"base64","media_type":"image/png"}"#,
                "data: Missing",
            ),
            (
                Image,
                r#"{"type":"base64","media_type":"image/png","data":7}"#,
                r#"data: Invalid("Input should be a string")"#,
            ),
            (
                Image,
                r#"{"type":"base64","media_type":"image/png","data":""}"#,
                r#"data: Invalid("Input should be base64")"#,
            ),
            (
                Document,
                r#"{"type":"base64","media_type":"application/pdf","data":"not base64!"}"#,
                r#"data: Invalid("Input should be base64")"#,
            ),
            (
                Image,
                r#"{"type":"url","url":"file:///etc/passwd"}"#,
                r#"url: Invalid("Input should be an https URL")"#,
            ),
            (Image, r#"{"type":"url"}"#, "url: Missing"),
            (
                Image,
                r#"{"type":"text","media_type":"text/plain","data":"a"}"#,
                r#"type: Invalid("Input should be 'base64', 'url' or 'file'")"#,
            ),
            (Document, r#"{"type":"content"}"#, "content: Missing"),
        ] {
            check(kind, json, Err(expect));
        }
    }

    #[test]
    fn block_has_its_source_and_the_fields_that_are_there() {
        let source = raw(r#"{"x":1}"#);
        let fields = [("title", Some(raw("\"t\""))), ("context", None)];
        let expect = r#"{"type":"document","source":{"x":1},"title":"t"}"#;
        match block(MediaKind::Document, source, &fields).unwrap() {
            Block::Media { kind, block } => {
                assert_eq!((kind, block.get()), (MediaKind::Document, expect));
            }
            other => panic!("{other:?}"),
        }
    }
}
