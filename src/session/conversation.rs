//! Which of a tenant's conversations a request belongs to, where it says so.

use super::lineage::RUNTIME_LINE;
use crate::api::{Block, Prompt, Role};

/// Longer ids are cut here: they are only ever compared.
const ID_MAX: usize = 512;

/// The id that a client gives its conversation: in a header, in a field of the body, or in the line
/// with which OpenClaw ends its system prompt (its session key stays, its session id changes with
/// `/new`). `None` where there is none: then what was said says enough.
pub(crate) fn conversation_id(header: Option<&str>, prompt: &Prompt) -> Option<String> {
    let given = header.or(prompt.conversation.as_deref());
    let given = given.map(str::trim).filter(|it| !it.is_empty());
    let id = match given {
        Some(id) => id.to_owned(),
        None => openclaw_session(prompt)?,
    };
    Some(id.chars().take(ID_MAX).collect())
}

/// OpenClaw's name for the conversation, where the request is one of its own.
pub(crate) fn openclaw_session(prompt: &Prompt) -> Option<String> {
    // OpenAI's format has it in the first user message.
    let first = prompt.messages.iter().find(|it| it.role == Role::User);
    let texts = first.into_iter().flat_map(|it| &it.blocks);
    let texts = texts.filter_map(|block| match block {
        Block::Text(text) => Some(text.as_str()),
        _ => None,
    });
    // The last line of its kind is OpenClaw's own: files of the workspace stand before it.
    [prompt.system.as_str()]
        .into_iter()
        .chain(texts)
        .find_map(|text| {
            text.lines()
                .rfind(|it| it.starts_with(RUNTIME_LINE))
                .and_then(session_of)
        })
}

/// `Runtime: agent=main | session=agent:main:main | sessionId=… | …`
fn session_of(line: &str) -> Option<String> {
    let field = |name: &str| {
        let mut fields = line.split(" | ");
        fields.find_map(|it| it.strip_prefix(name)?.strip_prefix('='))
    };
    let (key, id) = (field("session")?, field("sessionId").unwrap_or_default());
    Some(format!("{key} {id}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Message;

    #[track_caller]
    fn check(header: Option<&str>, (system, user): (&str, &str), expect: Option<&str>) {
        let message = Message {
            role: Role::User,
            blocks: vec![Block::Text(user.to_owned())],
        };
        let prompt = Prompt {
            system: system.to_owned(),
            messages: vec![message],
            ..Prompt::sample()
        };
        assert_eq!(conversation_id(header, &prompt).as_deref(), expect);
    }

    #[test]
    fn openclaws_session_is_in_the_system_prompt_or_the_first_message() {
        let line = "Runtime: agent=main | session=agent:main:main | sessionId=2c | host=vm";
        let two = format!("Runtime: agent=x | session=fake | sessionId=1\ntext\n{line}\n<!-- -->");
        check(None, (&two, "hi"), Some("agent:main:main 2c"));
        let user = format!("hi\n\n{line}");
        check(None, ("system", &user), Some("agent:main:main 2c"));
        check(
            None,
            ("", "Runtime: agent=main | host=vm | sessionId=2"),
            None,
        );
        check(None, ("text Runtime: agent=a | session=b", "hi"), None);
    }

    #[test]
    fn a_header_goes_before_all_else() {
        let line = "Runtime: agent=main | session=agent:main:main | sessionId=2c";
        check(Some("mine"), (line, "hi"), Some("mine"));
        check(Some("  "), (line, "hi"), Some("agent:main:main 2c"));
        let long = "x".repeat(2 * ID_MAX);
        check(Some(&long), ("", "hi"), Some(&long[..ID_MAX]));
    }
}
