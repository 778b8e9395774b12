//! Random edits of a handful of texts: whatever is accepted leaves every other line as it was.

use super::*;

const TEXTS: [&str; 7] = [
    include_str!("../../../../config.example.yaml"),
    "",
    "# é only\r\n# this\r\n",
    "s: {}\ntenants:\n- name: a\n  api_key: 'k' # é\n  env:\n    A: b # x\n    B: |\n      text\n      text\n\n  # of a\n# of c\n- name: c\n  api_key: \"k\"\n# end",
    "tenants: [{name: a, api_key: k}, {name: c, env: {A: 1}}] # flow\nskills:\n  dir: x\n",
    "tenants:\r\n\r\n    -   name: a # é\r\n        env: {A: 1, B: 'é'}\r\n\r\n    # of c\r\n    - {name: c}\r\n\r\n# end\r\n",
    "\u{feff}tenants:\n  -\n    name: a\n    env:\n        # none\n  - name: c\n    env: {} # none\nskills:\n    dir: |+\n        x\n\n",
];

const WORDS: [&str; 18] = [
    "+b", "+d", "-a", "-b", "-c", "-d", "a=new", "b=n: w", "c=", "a.A=1", "a.B", "a.A", "c.A=x #y",
    "c.A", "b.Z=é", "d.Z=", "a>old", "c>",
];

/// A small generator, the same numbers in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}

#[test]
fn random_edits_leave_every_other_line_as_it_was() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut accepted = 0;
    for round in 0..1000 {
        let mut text = TEXTS[round % TEXTS.len()].to_owned();
        for _ in 0..1 + numbers.below(6) {
            let change = change(WORDS[numbers.below(WORDS.len())]);
            if let Ok(new) = edited(&text, std::slice::from_ref(&change)) {
                check_lines(&text, &new, &change);
                text = new;
                accepted += 1;
            }
        }
    }
    assert!(accepted > 1000, "{accepted}");
}

#[test]
fn broken_texts_do_not_panic_and_lose_nothing_to_a_new_tenant() {
    const PARTS: [&str; 27] = [
        "#", " # é\n", "\n", "\r", "\r\n", " ", "  ", "'", "\"", "- ", ":", ": ", "é", "&x ", "*x",
        "!!str ", "|", "|\n", ">-\n", "[", "]", "{", "}", ",", "\t", "? ", "...\n",
    ];
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    let mut accepted = 0;
    for round in 0..6000 {
        let mut text = TEXTS[1 + round % (TEXTS.len() - 1)].to_owned();
        for _ in 0..1 + numbers.below(3) {
            let places: Vec<_> = text.char_indices().map(|(at, _)| at).collect();
            let at = places.get(numbers.below(places.len() + 1)).copied();
            text.insert_str(at.unwrap_or(text.len()), PARTS[numbers.below(PARTS.len())]);
        }
        let change = change(WORDS[numbers.below(WORDS.len())]);
        if let Ok(new) = edited(&text, std::slice::from_ref(&change)) {
            // The others may now replace or remove a value of many lines, with comments in it. And
            // a lone carriage return ends a line for YAML, but not here.
            let is_plain = !text.replace("\r\n", "").contains('\r');
            if is_plain && matches!(change, Change::AddTenant(_)) {
                check_lines(&text, &new, &change);
            }
            accepted += 1;
        }
    }
    assert!(accepted > 500, "{accepted}");
}

/// The lines in front of and behind the change are the same, what is between is short or belongs
/// to one tenant, and no comment of the first column is lost.
#[track_caller]
fn check_lines(old: &str, new: &str, change: &Change) {
    let (was, is): (Vec<_>, Vec<_>) = (lines(old), lines(new));
    let (gone, come) = difference(&was, &is);
    let (gone_max, come_max) = match change {
        Change::AddTenant(_) => (1, 4),
        Change::RemoveTenant(_) => (12, 2),
        Change::Set { .. } | Change::Unset { .. } => (1, 2),
        Change::SetEnv { .. } => (4, 3),
        Change::UnsetEnv { .. } => (4, 1),
    };
    assert!(
        gone.len() <= gone_max,
        "{change:?} took {gone:?}\n{old}\n---\n{new}"
    );
    assert!(
        come.len() <= come_max,
        "{change:?} made {come:?}\n{old}\n---\n{new}"
    );
    let outer = |lines: &[&str]| lines.iter().filter(|line| line.starts_with('#')).count();
    assert_eq!(outer(&was), outer(&is), "{change:?}\n{old}\n---\n{new}");
}

fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// What is left of both without the same lines at the start and at the end, and without what is in
/// both.
/// A line break that a last line gets or loses is no difference.
fn difference<'t>(was: &[&'t str], is: &[&'t str]) -> (Vec<&'t str>, Vec<&'t str>) {
    let same = |(one, other): &(&&str, &&str)| {
        one.trim_end_matches(['\r', '\n']) == other.trim_end_matches(['\r', '\n'])
    };
    let start = was.iter().zip(is).take_while(same).count();
    let (was, is) = (&was[start..], &is[start..]);
    let end = was
        .iter()
        .rev()
        .zip(is.iter().rev())
        .take_while(same)
        .count();
    let (was, is) = (&was[..was.len() - end], &is[..is.len() - end]);
    let (mut gone, mut come) = (Vec::new(), is.to_vec());
    for line in was {
        match come.iter().position(|it| same(&(line, it))) {
            Some(index) => drop(come.remove(index)),
            None => gone.push(*line),
        }
    }
    (gone, come)
}
