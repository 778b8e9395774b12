//! Files that nobody would write: reading, planning and editing them end in a text or an error.

use std::path::Path;

use super::super::patch::patched;
use super::{ROOT, files, gateway, read};

/// A generator that is the same on every machine (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The rest is less than the bound, which is a usize.
        (self.0 % bound as u64) as usize
    }
}

const SEEDS: [&str; 3] = [
    "// mine\r\n{\n  agents: { defaults: { model: 'x/opus', }, },  // in\n  \"models\": {\n    providers: {\n      \"x\": { apiKey: '${OLD}', /* key */ n: -0x1F, baseUrl: 'http://o', models: [{id: 'opus', baseUrl: 'a'}, /**/], },\n    },\n  },\n}\n",
    "{$include: ['a', './a'], models: {$include: 'a', providers: {x: {$include: 'a'}}}, agents: {defaults: {model: 'anthropic/opus'}}}",
    "\u{feff}{agents: {entries: {a: {model: {primary: 'x/sonnet', n: [.5, 5., +1e3, Infinity]}}}}, models: {providers: {x: {api: 'anthropic-messages', s: 'é\\u00e9\\\n'}}}}",
];

const PIECES: [&str; 30] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "'",
    "\"",
    "\\",
    "/",
    "//",
    "/*",
    "*/",
    "\n",
    "\r",
    "\u{2028}",
    "é",
    "models",
    "providers:",
    "x",
    "{x: {}}",
    "$include: 'a'",
    "null",
    "1",
    "-",
    "'a'",
    "\u{feff}",
    "\0",
    "models: {providers: {}},",
    "apiKey: {$include: 'a'},",
];

fn mutated(random: &mut Random, text: &str) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..=random.below(4) {
        let at = random.below(chars.len());
        let most = 2 + random.below(20);
        let end = at + random.below(most).min(chars.len() - at);
        let piece: Vec<char> = match random.below(3) {
            0 => Vec::new(),
            1 => PIECES[random.below(PIECES.len())].chars().collect(),
            _ => chars[at..end].repeat(2),
        };
        chars.splice(at..end, piece);
        if chars.is_empty() {
            chars.push('{');
        }
    }
    chars.into_iter().collect()
}

#[test]
fn mutated_files_end_in_a_right_text_or_an_error() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut counts = [0; 3];
    for round in 0..ROUNDS {
        let root = mutated(&mut random, SEEDS[round % SEEDS.len()]);
        let included = mutated(&mut random, "{models: {providers: {x: {apiKey: 'a'}}}}");
        let mut files = files(&[(ROOT, &root), ("/s/a", &included)]);
        let Ok(before) = read(&files) else {
            counts[0] += 1;
            continue;
        };
        let Ok(plan) = before.plan(&gateway(), "k1") else {
            counts[1] += 1;
            continue;
        };
        let Ok(edited) = before.edited(&plan) else {
            continue;
        };
        counts[2] += 1;
        for (path, text) in edited {
            files.insert(path.to_str().unwrap().to_owned(), text.into_bytes());
        }
        let after = read(&files).unwrap_or_else(|error| panic!("{root}: {error}"));
        assert_eq!(after.value, patched(&before.value, &plan.patch), "{root}");
        assert_eq!(after.sources[0].path, Path::new(ROOT));
    }
    assert!(counts.iter().all(|count| *count > 10), "{counts:?}");
}

const ROUNDS: usize = 2_000;
