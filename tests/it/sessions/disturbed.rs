//! A long chat in which anything happens at any turn: the API receives what an undisturbed gateway sends, whose
//! processes lived through all that the conversation is then known by.

use super::*;
use crate::random_cli::Dice;

const TURNS: usize = 20;

/// Chooses what happens; the time where it is not set.
const SEED: &str = "CCGW_TEST_SEED";

/// What happens before a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disturbance {
    Nothing,
    ProcessKilled,
    GatewayKilled,
    GatewayRestarted,
    StoreCorrupted,
    /// `session.ttl`.
    TimePassed,
    SessionsRemoved,
    /// An earlier message is another.
    Edited,
    /// The newest turns were never there.
    Shortened,
}

use Disturbance::*;

/// The likely ones more than once.
const ALL: [Disturbance; 12] = [
    Nothing,
    Nothing,
    Nothing,
    ProcessKilled,
    ProcessKilled,
    GatewayKilled,
    GatewayRestarted,
    StoreCorrupted,
    TimePassed,
    SessionsRemoved,
    Edited,
    Shortened,
];

#[test]
fn chat_that_is_disturbed_at_random_turns_is_the_same_for_the_api() {
    let seed = std::env::var(SEED).ok().map_or_else(random_seed, |it| {
        it.parse()
            .unwrap_or_else(|_| panic!("{SEED} wants a number"))
    });
    let mut dice = Dice::new(seed);
    let mut pair = Pair::start();
    let mut happened = Vec::new();
    for number in 0..TURNS {
        let disturbance = match number {
            0 => Nothing,
            _ => ALL[dice.below(ALL.len())],
        };
        happened.push(disturbance);
        let expect = pair.disturb(disturbance, &mut dice);
        let told = format!("{SEED}={seed}, turn {number} after {happened:?}");
        pair.turn(number, expect, &told);
    }
}

fn random_seed() -> u64 {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap();
    now.as_secs() % 100_000 * 1000 + u64::from(now.subsec_millis())
}

/// A gateway that is disturbed and one that is not, with one chat.
struct Pair {
    apis: [ScriptedApi; 2],
    disturbed: Gateway,
    undisturbed: Gateway,
    chat: Chat,
    /// Of each answer in the chat.
    turns: Vec<Turn>,
    /// By what name the undisturbed one knows the chat.
    name: usize,
    names: usize,
}

/// Where an answer is still known.
#[derive(Clone, Copy)]
struct Turn {
    /// The undisturbed gateway's name for the conversation that holds it.
    name: usize,
    /// The disturbed one still has its session.
    is_known: bool,
}

impl Pair {
    fn start() -> Pair {
        let apis = [ScriptedApi::start(), ScriptedApi::start()];
        let [disturbed, undisturbed] = [&apis[0], &apis[1]].map(|api| {
            // What waits is ended by the test alone.
            Setup::with_real_cli(api)
                .set("cli", "warm: {max_processes: 4, memory_bytes: 8000000000}")
                .start()
        });
        Pair {
            apis,
            disturbed,
            undisturbed,
            chat: Chat::of("alpha"),
            turns: Vec::new(),
            name: 0,
            names: 1,
        }
    }

    /// Has it happen, and tells how the history is to reach the model then.
    fn disturb(&mut self, disturbance: Disturbance, dice: &mut Dice) -> &'static str {
        let gateway = &mut self.disturbed;
        match disturbance {
            Nothing if self.turns.is_empty() => return "fresh",
            Nothing => return "warm",
            ProcessKilled => kill_waiting(gateway, "alpha"),
            GatewayKilled => gateway.restart_after("KILL"),
            GatewayRestarted => gateway.restart_after("TERM"),
            StoreCorrupted => self.lose(|gateway| {
                fs::write(gateway.dir.path().join("state/sessions.jsonl"), [0xff; 999]).unwrap();
            }),
            TimePassed => self.lose(make_old),
            SessionsRemoved => self.lose(|gateway| {
                let files = session_files(gateway, "alpha");
                files.iter().for_each(|it| fs::remove_file(it).unwrap());
            }),
            Edited => {
                let at = dice.below(self.chat.messages.len());
                let text = format!("edited {}", self.names);
                self.chat.messages[at]["content"] = text.into();
                // The turns before it are still what they were.
                let first = at / 2;
                self.turns[first..]
                    .iter_mut()
                    .for_each(|it| it.is_known = false);
            }
            Shortened => {
                let kept = 1 + dice.below(self.turns.len());
                self.turns.truncate(kept);
                self.chat.messages.truncate(2 * kept);
            }
        }
        match self.turns.last() {
            Some(Turn {
                is_known: true,
                name,
            }) => {
                self.name = *name;
                match disturbance {
                    // As much as there was: its process waits still.
                    Shortened => "warm or resumed",
                    _ => "resumed",
                }
            }
            _ => {
                // What is told anew is another conversation to the undisturbed one.
                self.name = self.names;
                self.names += 1;
                "reseeded"
            }
        }
    }

    /// Loses all that the gateway knows of conversations while it does not run.
    fn lose(&mut self, lose: fn(&Gateway)) {
        self.disturbed.stop_only();
        lose(&self.disturbed);
        self.disturbed.start_again();
        self.turns.iter_mut().for_each(|it| it.is_known = false);
    }

    /// Asks both the same.
    fn turn(&mut self, number: usize, expect: &str, told: &str) {
        let mut content = turn(number);
        if content.is_array() {
            // An answer with the name that the CLI gives an image would be another for each gateway.
            content[0]["text"] = format!("turn {number} [[text:seen {number}]]").into();
        }
        self.chat
            .messages
            .push(json!({"role": "user", "content": content}));
        let name = self.name.to_string();
        let answers = [(&self.disturbed, "chat"), (&self.undisturbed, &name)]
            .map(|(gateway, name)| self.chat.send_as(gateway, name));
        let [answer, same] = answers.each_ref().map(Response::answer_text);
        assert_eq!(answer, same, "{told}");
        let outcome = session_of(&answers[0]);
        assert!(expect.contains(&outcome), "{outcome}, not {expect}: {told}");
        let (got, want) = (
            messages(&self.apis[0], &self.disturbed),
            messages(&self.apis[1], &self.undisturbed),
        );
        for (got, want) in got.iter().zip(&want) {
            assert_eq!(got, want, "{told}");
        }
        assert_eq!(got.len(), want.len(), "{told}");
        let content = json!([{"type": "text", "text": answer}]);
        self.chat
            .messages
            .push(json!({"role": "assistant", "content": content}));
        self.turns.push(Turn {
            name: self.name,
            is_known: true,
        });
    }
}

/// As if `session.ttl` had passed.
fn make_old(gateway: &Gateway) {
    let path = gateway.dir.path().join("state/sessions.jsonl");
    let log = fs::read_to_string(&path).unwrap();
    let lines = log.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line["at"] = 1000.into();
        format!("{line}\n")
    });
    fs::write(&path, lines.collect::<String>()).unwrap();
}
