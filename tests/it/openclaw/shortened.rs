//! A chat of a real OpenClaw that OpenClaw itself says something in, and that it shortens.

use super::{chat::outcome, *};

const PATIENCE: Duration = Duration::from_secs(180);

/// The tool of the first question, which no client sees in its history.
const HIDDEN: &str = "\"name\":\"Bash\"";

#[test]
fn chat_keeps_its_past_over_heartbeats_and_what_a_compaction_leaves_of_it() {
    let model = ScriptedApi::start();
    let ccgw = Setup::with_real_cli(&model).start();
    let agents = ["chat", "other"].map(|name| Provider::new(name, Api::Anthropic, &ccgw));
    let openclaw = OpenClaw::start(agents.into());
    let user = User {
        openclaw: &openclaw,
        name: "chat",
        model: &model,
        ccgw: &ccgw,
    };
    let other = User {
        name: "other",
        ..user
    };
    let shown = || model.last_prompt().body["messages"].to_string();
    user.says("question-1. [[bash:echo result-1.]]", "result: result-1.");
    other.says("question-of-another. [[text:unrelated.]]", "unrelated.");

    // Nothing comes of it: OpenClaw leaves it out of the history, but for a mark.
    user.is_woken("the kettle is quiet [[text:NO_REPLY]]");
    assert_eq!(outcome(&ccgw), "resumed");
    user.says("question-2. [[text:answer-2.]]", "answer-2.");
    assert_eq!(outcome(&ccgw), "resumed");
    assert!(
        shown().contains(HIDDEN) && !shown().contains("kettle"),
        "{}",
        shown()
    );
    user.says("question-3. [[text:the-gist.]]", "the-gist.");
    assert_ne!(outcome(&ccgw), "reseeded");

    // Something does, and belongs to the chat.
    user.is_woken("the kettle boils [[text:take it off.]]");
    assert_eq!(outcome(&ccgw), "resumed");
    let long = format!("question-4. {} [[text:answer-4.]]", "word ".repeat(300));
    user.says(&long, "answer-4.");
    assert_eq!(outcome(&ccgw), "resumed");
    for part in [HIDDEN, "question-3.", "the kettle boils", "take it off."] {
        assert!(shown().contains(part), "{part}: {}", shown());
    }

    // Who sums up is asked in a conversation of its own, and answers as the last question says that it is shown.
    let compacted = openclaw.compact("chat");
    assert_eq!(compacted["compacted"], true, "{compacted}");
    assert_eq!(compacted["result"]["summary"], "the-gist.", "{compacted}");
    user.says("question-5. [[text:answer-5.]]", "answer-5.");
    assert_eq!(outcome(&ccgw), "reseeded");
    let mut rest = shown();
    for part in ["the-gist.", "question-4.", "answer-4.", "question-5."] {
        let (_, after) = rest
            .split_once(part)
            .unwrap_or_else(|| panic!("{part}: {}", shown()));
        rest = after.to_owned();
    }
    for gone in ["question-1.", "question-3.", HIDDEN, "another", "unrelated"] {
        assert!(!shown().contains(gone), "{gone}: {}", shown());
    }
}

impl User<'_> {
    /// A turn that nobody asked for, and its end.
    #[track_caller]
    fn is_woken(&self, event: &str) {
        let before = self.runs();
        self.openclaw.wake(self.name, event);
        wait_until(PATIENCE, "the turn", || self.runs() > before);
        let message = &self.model.last_prompt();
        assert!(message.mentions(event), "{event}: {:#}", message.body);
    }
}
