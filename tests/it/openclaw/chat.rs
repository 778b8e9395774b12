//! A long chat of a real OpenClaw, with restarts of the gateway in between.

use super::*;
use crate::api::begins_as;

#[test]
fn chat_goes_on_over_restarts_and_a_new_one_begins_anew() {
    let model = ScriptedApi::start();
    let mut ccgw = Setup::with_real_cli(&model).fixed_port().start();
    let openclaw = OpenClaw::start(vec![Provider::new("chat", Api::Anthropic, &ccgw)]);
    let say = |text: &str| openclaw.ask("chat", text);
    for turn in 1..=10 {
        let said = say(&format!("question-{turn}. [[text:answer-{turn}.]]"));
        let expect = format!("answer-{turn}.");
        assert!(said.text.contains(&expect), "{turn}: {}", said.output);
        let outcome = outcome(&ccgw);
        let expected = match turn {
            1 => &["fresh"][..],
            4 | 7 => &["resumed"],
            // A process that waits may be gone on a machine that is short of memory.
            _ => &["warm", "resumed"],
        };
        assert!(expected.contains(&&*outcome), "{turn}: {outcome}");
        match turn {
            3 => ccgw.restart_after("TERM"),
            6 => ccgw.restart_after("KILL"),
            _ => {}
        }
    }
    let prompts = model.prompts();
    assert_eq!(prompts.len(), 10);
    let text = prompts[9].body["messages"].to_string();
    let mut rest = text.as_str();
    for turn in 1..=10 {
        // The answer of the last turn is not among what it was asked with.
        let answer = (turn < 10).then(|| format!("\"answer-{turn}.\""));
        for part in [Some(format!("question-{turn}.")), answer]
            .into_iter()
            .flatten()
        {
            let (before, after) = rest
                .split_once(&part)
                .unwrap_or_else(|| panic!("{part}: {text}"));
            assert!(!before.contains("\"answer-"), "{part}: {text}");
            rest = after;
            assert_eq!(text.matches(&part).count(), 1, "{part}: {text}");
        }
    }
    for (before, after) in prompts.iter().zip(&prompts[1..]) {
        begins_as(&before.body, &after.body);
    }
    // The conversation's id is another now.
    assert!(say("/new").text.contains("New session"));
    say("question-11. [[text:answer-11.]]");
    assert_eq!(outcome(&ccgw), "fresh");
    let shown = model.last_prompt();
    assert!(shown.mentions("question-11.") && !shown.mentions("question-1."));
    assert!(!shown.mentions("answer-10."));
}

/// How the history of the newest run reached the model.
pub(super) fn outcome(ccgw: &Gateway) -> String {
    let log = ccgw.log();
    let last = log.lines().rfind(|it| it.contains(RUN)).unwrap_or_default();
    let after = last.split_once("session=").map_or("", |(_, rest)| rest);
    after.split(' ').next().unwrap_or_default().to_owned()
}
