//! Whether one request repeats another.

use hmac_sha256::Hash;

use crate::{
    api::{Block, Prompt},
    http::Head,
    session::{Key, Lineages, RUNTIME_LINE, newest_user_messages, openclaw_session, without_time},
};

/// What a request asks, as far as a repeat asks the same.
pub(crate) struct Question {
    id: [u8; 32],
    same: Same,
    /// The conversation that it is asked in.
    conversation: Key,
}

enum Same {
    /// The newest text, which a repeat of OpenClaw's has in it.
    Within(String),
    /// All of the request.
    Exactly(BodyHash),
}

/// Longer keys are not remembered.
const KEY_MAX: usize = 256;

/// Stands for all of a request; official client libraries repeat the same bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) struct BodyHash([u8; 32]);

/// Of a request whose client says by a key of its own what repeats it. The body may be megabytes, and is gone when it
/// is understood.
pub(in crate::gateway) fn body_hash(head: &Head, body: &[u8]) -> Option<BodyHash> {
    key_of(head).map(|_| {
        let mut hash = Hash::new();
        hash.update(head.path().as_bytes());
        hash.update([0]);
        hash.update(body);
        BodyHash(hash.finalize())
    })
}

fn key_of(head: &Head) -> Option<&str> {
    let key = head.header("idempotency-key");
    key.filter(|it| !it.is_empty() && it.len() <= KEY_MAX)
}

/// What a request asks; `None` where nothing says that it may be a repeat.
pub(in crate::gateway) fn question(
    (tenant, lineages): (&str, &Lineages),
    (head, prompt): (&Head, &Prompt),
    (streams, body): (bool, Option<BodyHash>),
) -> Option<Question> {
    let newest = &prompt.messages[newest_user_messages(&prompt.messages)..];
    let conversation = lineages.begun.key();
    let mut hash = Hash::new();
    let mut add = |part: &[u8]| {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    };
    add(tenant.as_bytes());
    // Under a key there is one request, whatever else is in it.
    if let (Some(key), Some(body)) = (key_of(head), body) {
        add(b"key");
        add(key.as_bytes());
        return Some(Question {
            id: hash.finalize(),
            same: Same::Exactly(body),
            conversation,
        });
    }
    add(head.path().as_bytes());
    add(&[u8::from(streams)]);
    add(prompt.model.as_bytes());
    // Others use one trace for requests that mean the same and want different answers.
    let is_openclaw = openclaw_session(prompt).is_some();
    let trace = head
        .header("traceparent")
        .and_then(trace_id)
        .filter(|_| is_openclaw)?;
    add(b"trace");
    add(trace.as_bytes());
    add(&lineages.history.key().bytes());
    let rounds = prompt.messages.iter().flat_map(|it| &it.blocks);
    let rounds = rounds
        .filter(|it| matches!(it, Block::ToolResult { .. }))
        .count();
    add(&rounds.to_le_bytes());
    let text = newest
        .iter()
        .flat_map(|it| &it.blocks)
        .find_map(|it| match it {
            Block::Text(text) => Some(message_in(text).to_owned()),
            _ => None,
        });
    Some(Question {
        id: hash.finalize(),
        same: Same::Within(text?),
        conversation,
    })
}

impl Question {
    pub(super) fn id(&self) -> &[u8; 32] {
        &self.id
    }

    /// Whether this asks the same once more.
    pub(super) fn is_repeated_by(&self, other: &Question) -> bool {
        match (&self.same, &other.same) {
            (Same::Within(text), Same::Within(repeat)) => repeat.contains(text),
            (Same::Exactly(body), Same::Exactly(repeat)) => body == repeat,
            _ => false,
        }
    }

    /// Whether this is something new in a conversation in which OpenClaw asked the other: it asks one thing at a time.
    pub(super) fn supersedes(&self, other: &Question) -> bool {
        let both = (&self.same, &other.same);
        matches!(both, (Same::Within(_), Same::Within(_)))
            && self.conversation == other.conversation
            && self.id != other.id
    }

    /// Whether the client chose the id itself, for exactly this request.
    pub(in crate::gateway) fn has_key(&self) -> bool {
        matches!(self.same, Same::Exactly(_))
    }
}

/// `00-TRACE-PARENT-FLAGS` (W3C Trace Context, section 3.2); zeros stand for none.
fn trace_id(header: &str) -> Option<&str> {
    let mut parts = header.trim().split('-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let is_hex = trace.len() == 32 && trace.bytes().all(|it| it.is_ascii_hexdigit());
    let is_one = version.len() == 2 && is_hex && trace.bytes().any(|it| it != b'0');
    is_one.then_some(trace)
}

/// What was said, without the time before it and, in OpenAI's format, the line after it that names OpenClaw's session: a
/// repeat has more on both sides.
fn message_in(text: &str) -> &str {
    let text = without_time(text.trim());
    match text.rsplit_once('\n') {
        Some((message, line)) if line.starts_with(RUNTIME_LINE) => message.trim(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Message, Role};

    const OPENCLAW: &str = "Runtime: agent=main | session=s | sessionId=1";

    fn ask(header: &str, text: &str) -> Option<Question> {
        let head = Head::parse_for_tests(&format!(
            "POST /v1/messages HTTP/1.1\r\nhost: x\r\n{header}\r\n\r\n"
        ));
        let message = Message {
            role: Role::User,
            blocks: vec![Block::Text(text.to_owned())],
        };
        let prompt = Prompt {
            system: OPENCLAW.to_owned(),
            messages: vec![message],
            ..Prompt::sample()
        };
        let lineages = Lineages::of("t", None, &prompt.messages);
        let body = body_hash(&head, text.as_bytes());
        question(("t", &lineages), (&head, &prompt), (true, body))
    }

    #[track_caller]
    fn check(first: (&str, &str), second: (&str, &str), expect: bool) {
        let (first, second) = (
            ask(first.0, first.1).unwrap(),
            ask(second.0, second.1).unwrap(),
        );
        let same = first.id == second.id && first.is_repeated_by(&second);
        assert_eq!(same, expect);
    }

    #[test]
    fn a_repeat_is_known_by_its_trace_and_text_or_by_its_key() {
        let trace = "traceparent: 00-cfbdb4194fa4f6e922026b3b68e33353-cd7c1ba67895c4df-01";
        let later = "traceparent: 00-cfbdb4194fa4f6e922026b3b68e33353-0000000000000001-01";
        let other = "traceparent: 00-aaaab4194fa4f6e922026b3b68e33353-0000000000000001-01";
        let text = "[Mon 2026-11-23 03:12 UTC] hello there";
        let rewritten = "[Mon 2026-11-23 03:17 UTC] [Queued user message from a previous active turn]\nhello there\n\nContinue";
        check((trace, text), (later, text), true);
        check((trace, text), (later, rewritten), true);
        check((trace, text), (other, text), false);
        for zone in ["EST", "GMT+1", "GMT+5:30", "Europe/Berlin"] {
            let first = format!("[Mon 2026-11-23 03:12 {zone}] hello there");
            check((trace, &first), (later, rewritten), true);
        }
        check(
            (trace, "[not a time] hello there"),
            (later, rewritten),
            false,
        );
        check(
            (trace, text),
            (later, "[Mon 2026-11-23 03:17 UTC] summarise"),
            false,
        );
        let [text, rewritten] = [text, rewritten].map(|it| format!("{it}\n\n{OPENCLAW} | host=vm"));
        check((trace, &text), (later, &rewritten), true);
        let key = "idempotency-key: stainless-node-retry-1";
        check((key, &text), (key, &text), true);
        check((key, &text), (key, &rewritten), false);
        check((key, &text), ("idempotency-key: 2", &text), false);
    }

    #[test]
    fn what_has_no_id_is_no_repeat() {
        for header in [
            "x: y",
            "traceparent: 00-00000000000000000000000000000000-cd7c1ba67895c4df-01",
            "traceparent: 00-xyz-cd7c1ba67895c4df-01",
            "traceparent: nonsense",
            "idempotency-key: ",
        ] {
            assert!(ask(header, "hi").is_none(), "{header}");
        }
    }
}
