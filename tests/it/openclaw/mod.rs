//! A real OpenClaw that is pointed at the gateway, with the real CLI behind it.

mod chat;
mod instance;
mod repeats;
mod shortened;
mod skill_text;

use std::{thread, time::Duration};

use instance::{Api, OpenClaw, Provider};
pub(crate) use instance::{install, modules, node};

use crate::{api::ScriptedApi, gateway::Gateway, process::wait_until, setup::Setup};

/// One test for all, because OpenClaw takes longer to start than to answer. Each format has an agent,
/// a gateway and a model of its own.
#[test]
fn conversations_images_silence_and_failures_reach_the_user_of_openclaw() {
    let scenes = [("messages", Api::Anthropic), ("completions", Api::OpenAi)].map(|(name, api)| {
        let model = ScriptedApi::start();
        let ccgw = Setup::with_real_cli(&model).start();
        (name, api, model, ccgw)
    });
    let providers = scenes
        .iter()
        .map(|(name, api, _, ccgw)| Provider::new(name, *api, ccgw).timeout_seconds(8));
    let openclaw = OpenClaw::start(providers.collect());
    thread::scope(|scope| {
        for (name, _, model, ccgw) in &scenes {
            let user = User {
                openclaw: &openclaw,
                name,
                model,
                ccgw,
            };
            scope.spawn(move || user.checks_everything());
        }
    });
    for (_, _, _, ccgw) in scenes {
        ccgw.stop();
    }
}

/// Who talks to one agent.
#[derive(Clone, Copy)]
struct User<'a> {
    openclaw: &'a OpenClaw,
    name: &'static str,
    model: &'a ScriptedApi,
    ccgw: &'a Gateway,
}

impl User<'_> {
    fn checks_everything(&self) {
        self.says(
            "[[text:the first answer]] to my first question",
            "the first answer",
        );
        self.says(
            "[[text:the second answer]] to my second",
            "the second answer",
        );
        self.model_sees(&["to my first question", "the first answer", "to my second"]);
        self.went_on("warm");
        self.shows_a_picture();
        // The provider's `timeoutSeconds` is 8: only the gateway's pings get OpenClaw over this.
        self.says("[[slow:2x14000]]", "tick1 tick2");
        // Neither what cannot succeed is run again, nor what had begun.
        self.says("[[maxtokens]]", "cut off in the mid");
        self.says("[[status:400]]", "LLM request failed");
        self.says("[[overloaded-midstream]]", "temporarily overloaded");
    }

    /// One turn: what the user is shown at its end, and that it was one run of the CLI.
    #[track_caller]
    fn says(&self, message: &str, shown: &str) {
        let before = self.runs();
        let said = self.openclaw.ask(self.name, message);
        let name = self.name;
        assert!(
            said.text.contains(shown),
            "{name}, {message}: {}",
            said.output
        );
        // A run is logged when its client has the answer.
        wait_until(Duration::from_secs(30), "the run in the log", || {
            self.runs() > before
        });
        assert_eq!(
            self.runs() - before,
            1,
            "{name}, {message}: {}",
            said.output
        );
    }

    /// The path of a picture in a message makes OpenClaw attach it.
    #[track_caller]
    fn shows_a_picture(&self) {
        let picture = include_bytes!("../../data/red.png");
        let path = self.openclaw.workspace_file(self.name, "red.png", picture);
        let message = format!("[[text:it is red]] what is in {}", path.display());
        self.says(&message, "it is red");
        let shown = &self.model.last_prompt().body["messages"];
        let contents = shown.as_array().into_iter().flatten();
        let mut blocks = contents.filter_map(|it| it["content"].as_array()).flatten();
        let is_image = |block: &serde_json::Value| block["type"] == "image";
        assert!(blocks.any(is_image), "{}: {shown:#}", self.name);
    }

    #[track_caller]
    fn model_sees(&self, parts: &[&str]) {
        let shown = self.model.last_prompt();
        for part in parts {
            assert!(
                shown.mentions(part),
                "{}, {part}: {:#}",
                self.name,
                shown.body
            );
        }
    }

    /// How the history of the newest run reached the model.
    #[track_caller]
    fn went_on(&self, expect: &str) {
        let log = self.ccgw.log();
        let last = log.lines().rfind(|it| it.contains(RUN)).unwrap_or_default();
        assert!(
            last.contains(&format!("session={expect}")),
            "{}: {last}",
            self.name
        );
    }

    /// How many runs there were so far.
    fn runs(&self) -> usize {
        self.ccgw
            .log()
            .lines()
            .filter(|it| it.contains(RUN))
            .count()
    }
}

/// What each run's line in the log has.
const RUN: &str = " run request=";
