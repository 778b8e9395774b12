//! Random sequences of CLI events, cut anywhere: whatever comes, the client's stream is legal, and text
//! after a stop sequence never leaves.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{
    super::*,
    Order,
    random_cli::{Dice, output},
};

const SEEDS: u64 = 1000;
#[test]
fn random_events_always_make_a_legal_answer() {
    for seed in 1..=SEEDS {
        let mut dice = Dice::new(seed);
        let output = output(&mut dice);
        for policy in [
            TurnPolicy::Final,
            TurnPolicy::Live,
            TurnPolicy::Single,
            TurnPolicy::Structured,
        ] {
            let thinking = [Thinking::Shown, Thinking::Hidden][dice.below(2)];
            let stops: &[String] = &["STOP".to_owned()][..dice.below(2)];
            let turns = Turns::new(policy, thinking, stops);
            // The checks of the order know no seed.
            let checked = catch_unwind(AssertUnwindSafe(|| check(&output, turns, stops)));
            if let Err(problem) = checked {
                let shown = String::from_utf8_lossy(&output);
                panic!(
                    "seed {seed}, {policy:?}: {:?} in\n{shown}",
                    problem.downcast_ref::<String>()
                );
            }
        }
    }
}

fn check(output: &[u8], mut turns: Turns, stops: &[String]) {
    let mut order = Order::default();
    let (mut text, mut over) = (String::new(), false);
    for line in output.split(|byte| *byte == b'\n') {
        let Ok(event) = event::parse(line) else {
            continue;
        };
        let verdict = turns.feed(&event, line, &mut |event| {
            match event {
                // A sequence is one block's.
                AnswerEvent::BlockStart { .. } => text.push('|'),
                AnswerEvent::Delta {
                    kind: crate::api::DeltaKind::Text,
                    value,
                    ..
                } => text += &serde_json::from_str::<String>(value.get()).unwrap(),
                _ => {}
            }
            order.take(&event);
        });
        // Later events must be swallowed, so they are fed all the same.
        over = match verdict {
            Verdict::More => over,
            _ if over => panic!("over twice"),
            Verdict::Done => {
                assert!(order.ended, "Done without an end");
                true
            }
            Verdict::Failed(_) => {
                assert!(!order.ended, "failed after its end");
                true
            }
        };
        assert!(over || !order.ended, "ended without Done");
    }
    for stop in stops {
        assert!(!text.contains(stop), "{text:?}");
    }
}
