use std::fs;

use super::*;
use crate::{
    api::{Block, Message, Role},
    session::Lineage,
};

struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        let name = format!("ccgw-store-{}", crate::ids::random_hex::<8>());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir(&dir).unwrap();
        Dir(dir)
    }

    fn log(&self) -> PathBuf {
        self.0.join("sessions.jsonl")
    }

    fn open(&self) -> Store {
        Store::open(&self.log(), 0)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn key(number: u32) -> Key {
    Lineage::begin("t", Some(&number.to_string())).key()
}

fn turn(session: Uuid) -> Turn {
    Turn {
        place: Place {
            session,
            projects: Path::new("/c/projects").into(),
            folder: Some("-w".into()),
        },
        leaf: Uuid::random(),
    }
}

#[test]
fn what_was_remembered_survives_a_restart_and_damage_costs_only_its_own() {
    let dir = Dir::new();
    let turns: Vec<Turn> = (0..9).map(|_| turn(Uuid::random())).collect();
    let store = dir.open();
    for (number, turn) in turns.iter().enumerate() {
        store.remember(key(number as u32), turn, 1000);
    }
    drop(store);
    // As it was written, half a line at the end, garbage in the middle.
    let whole = fs::read(dir.log()).unwrap();
    let middle = whole.len() / 2;
    let mut damaged = whole.clone();
    damaged[middle..middle + 20].fill(0xff);
    for (content, missing_max) in [
        (&whole[..], 0),
        (&whole[..whole.len() - 9], 1),
        (&damaged, 2),
    ] {
        fs::write(dir.log(), content).unwrap();
        let store = dir.open();
        let found = |(number, turn): (usize, &Turn)| match store.find(key(number as u32)) {
            Some(found) => {
                assert_eq!(&found, turn);
                true
            }
            None => false,
        };
        let missing = turns.iter().enumerate().filter(|it| !found(*it)).count();
        assert!(missing <= missing_max, "{missing}");
        // What is read is written anew, so that the next line begins a line.
        store.remember(key(99), &turns[0], 1000);
        drop(store);
        assert_eq!(dir.open().find(key(99)).as_ref(), Some(&turns[0]));
    }
}

#[test]
fn what_is_old_is_forgotten_with_its_session() {
    let dir = Dir::new();
    let store = dir.open();
    let (old, new) = (turn(Uuid::random()), turn(Uuid::random()));
    let later = Turn {
        leaf: Uuid::random(),
        ..old.clone()
    };
    store.remember(key(1), &old, 100);
    store.remember(key(2), &later, 300);
    store.remember(key(3), &new, 200);
    assert_eq!(store.forget_before(150), []);
    assert_eq!((store.find(key(1)), store.len()), (None, 2));
    assert_eq!(store.forget_before(250), [new.place]);
    assert_eq!(store.forget_before(301), [old.place]);
    assert_eq!(store.len(), 0);
    drop(store);
    assert_eq!(Store::open(&dir.log(), 301).len(), 0);
}

#[test]
fn what_a_run_goes_on_from_is_not_forgotten_under_it() {
    let store = Store::open(Path::new("/nonexistent/log"), 0);
    let [used, replaced] = [(); 2].map(|()| turn(Uuid::random()));
    store.remember(key(1), &used, 100);
    store.remember(key(2), &replaced, 100);
    let in_use = [&used, &used, &replaced].map(|it| store.hold(it.place.session));
    // Another conversation with the same words: nothing leads to it any more.
    store.remember(key(2), &used, 100);
    assert_eq!(store.forget_before(200), []);
    assert_eq!(store.find(key(1)).as_ref(), Some(&used));
    let [first, second, third] = in_use;
    drop(first);
    assert_eq!(store.forget_before(200), []);
    drop((second, third));
    let mut gone = store.forget_before(200);
    gone.sort_by_key(|it| it.session != used.place.session);
    assert_eq!(gone, [used.place, replaced.place]);
    assert_eq!(store.len(), 0);
}

#[test]
fn what_two_conversations_ended_with_leads_to_neither() {
    let dir = Dir::new();
    let store = dir.open();
    let (one, other) = (turn(Uuid::random()), turn(Uuid::random()));
    assert!(store.remember(key(1), &one, 100));
    assert!(store.remember(key(1), &one, 100));
    assert_eq!(store.find(key(1)), Some(one.clone()));
    assert!(!store.remember(key(1), &other, 100));
    assert_eq!(store.find(key(1)), None);
    assert!(!store.remember(key(1), &one, 100));
    // Over a restart, and one of a log that is written anew.
    drop(store);
    let store = dir.open();
    assert_eq!(store.find(key(1)), None);
    for number in 2..=SUPERFLUOUS_MIN as u32 + 9 {
        store.remember(key(2), &turn(one.place.session), u64::from(number));
    }
    drop(store);
    let store = dir.open();
    assert_eq!(store.find(key(1)), None);
}

#[test]
fn sessions_that_nothing_leads_to_are_told() {
    let dir = Dir::new();
    let store = dir.open();
    let turns = [(); 3].map(|()| turn(Uuid::random()));
    store.remember(key(1), &turns[0], 100);
    store.remember(key(1), &turns[1], 200);
    store.remember(key(2), &turns[2], 300);
    assert_eq!(store.forget_before(0), [turns[0].place.clone()]);
    assert_eq!(store.forget_before(0), []);
    drop(store);
    // What grew old while nobody was there, too.
    let store = Store::open(&dir.log(), 250);
    let mut gone = store.forget_before(250);
    gone.sort_by_key(|it| it.session.to_string());
    let mut expect = [turns[0].place.clone(), turns[1].place.clone()];
    expect.sort_by_key(|it| it.session.to_string());
    assert_eq!(gone, expect);
    assert_eq!(store.find(key(2)).as_ref(), Some(&turns[2]));
}

#[test]
fn the_log_does_not_grow_without_end() {
    let dir = Dir::new();
    let store = dir.open();
    let again = turn(Uuid::random());
    for _ in 0..5000 {
        store.remember(key(1), &again, 100);
    }
    let lines = fs::read_to_string(dir.log()).unwrap().lines().count();
    assert!(lines <= SUPERFLUOUS_MIN + 3, "{lines}");
    assert_eq!(store.find(key(1)), Some(again));
}

#[test]
fn log_that_cannot_be_read_is_kept_under_another_name() {
    let dir = Dir::new();
    let aside = |number: u32| dir.0.join(format!("sessions.jsonl.unreadable-{number}"));
    let works = |number: u32| {
        let remembered = turn(Uuid::random());
        dir.open().remember(key(number), &remembered, 100);
        assert_eq!(dir.open().find(key(number)), Some(remembered));
    };
    // Another program's, or a later version's.
    fs::write(dir.log(), "{\"v\":2}\n{\"v\":2}\n").unwrap();
    works(1);
    let kept = fs::read_to_string(aside(1)).unwrap();
    assert_eq!(kept, "{\"v\":2}\n{\"v\":2}\n");
    // What no read gets at; then what was kept stays as well.
    fs::remove_file(dir.log()).unwrap();
    fs::create_dir(dir.log()).unwrap();
    fs::write(dir.log().join("inside"), "").unwrap();
    works(2);
    assert!(aside(1).is_file() && aside(2).join("inside").is_file());
    // What has a line that can be read is no other thing.
    let whole = fs::read_to_string(dir.log()).unwrap();
    fs::write(dir.log(), format!("{whole}no line\nnor this\n")).unwrap();
    works(3);
    assert!(dir.open().find(key(2)).is_some() && !aside(3).exists());
}

#[test]
fn log_that_finds_no_other_name_is_left_alone() {
    let dir = Dir::new();
    let other = "{\"v\":2}\n{\"v\":2}\n";
    for number in 1..=9 {
        fs::write(
            dir.0.join(format!("sessions.jsonl.unreadable-{number}")),
            "",
        )
        .unwrap();
    }
    fs::write(dir.log(), other).unwrap();
    let store = dir.open();
    let remembered = turn(Uuid::random());
    store.remember(key(1), &remembered, 100);
    assert_eq!(store.find(key(1)), Some(remembered));
    assert_eq!(fs::read_to_string(dir.log()).unwrap(), other);
}

#[test]
fn log_that_cannot_be_written_anew_is_not_tried_with_each_answer() {
    let dir = Dir::new();
    let store = dir.open();
    let again = turn(Uuid::random());
    let remember = |count: usize| {
        for _ in 0..count {
            store.remember(key(1), &again, 9);
        }
    };
    remember(SUPERFLUOUS_MIN);
    // Until there is a directory there is no place for a new file.
    fs::remove_dir_all(&dir.0).unwrap();
    remember(9);
    fs::create_dir(&dir.0).unwrap();
    remember(SUPERFLUOUS_MIN / 2);
    assert!(!dir.log().exists());
    // A minute later.
    let before = Instant::now().checked_sub(SHORTEN_AGAIN).unwrap();
    let mut inner = store.lock();
    let log = inner.log.as_mut().unwrap();
    let (at, lines) = log.not_shortened.as_mut().unwrap();
    *at = before;
    assert!(*lines > SUPERFLUOUS_MIN);
    drop(inner);
    remember(1);
    assert_eq!(dir.open().find(key(1)), Some(again.clone()));
    // Or at twice its length.
    remember(SUPERFLUOUS_MIN);
    fs::remove_dir_all(&dir.0).unwrap();
    remember(9);
    fs::create_dir(&dir.0).unwrap();
    remember(SUPERFLUOUS_MIN - 100);
    assert!(!dir.log().exists());
    remember(200);
    assert!(dir.log().exists());
}

#[test]
fn too_many_make_the_oldest_go() {
    let store = Store::open(Path::new("/nonexistent/log"), 0);
    let same = turn(Uuid::random());
    let count = TURNS_MAX as u32 + 10;
    for number in 0..count {
        store.remember(key(number), &same, 1000 + u64::from(number));
    }
    store.forget_before(0);
    assert_eq!(store.len(), TURNS_MAX);
    assert!(store.find(key(9)).is_none() && store.find(key(10)).is_some());
}

/// Two tenants whose conversations have the same ids and the same few words, in any order.
#[test]
fn no_conversation_ever_finds_anothers_session() {
    let store = Store::open(Path::new("/nonexistent/log"), 0);
    // What each ended with, and its session, as long as there was one only.
    let mut whose: HashMap<(usize, usize, Vec<bool>), Option<Uuid>> = HashMap::new();
    let mut seed = 7_u64;
    let mut random = |below: u64| {
        // Knuth's; the low bits are poor.
        seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        ((seed >> 33) % below) as usize
    };
    let mut found = 0;
    for _ in 0..10_000 {
        let (tenant, conversation) = (random(2), random(3));
        let words: Vec<bool> = (0..random(7)).map(|_| random(2) == 0).collect();
        let messages: Vec<Message> = words.iter().flat_map(exchange).collect();
        let id = [None, Some("1"), Some("2")][conversation];
        let key = Lineage::begin(["a", "b"][tenant], id).then(&messages).key();
        let own = (tenant, conversation, words);
        if random(10) == 0 {
            let turn = turn(Uuid::random());
            let sole = !whose.contains_key(&own);
            assert_eq!(store.remember(key, &turn, 1), sole);
            whose.insert(own, sole.then_some(turn.place.session));
        } else {
            let session = store.find(key).map(|it| it.place.session);
            assert_eq!(session, whose.get(&own).copied().flatten());
            found += usize::from(session.is_some());
        }
    }
    assert!(found > 300, "{found}");
}

/// A question and its answer, of one word.
fn exchange(word: &bool) -> [Message; 2] {
    let word = if *word { "yes" } else { "no" };
    [Role::User, Role::Assistant].map(|role| Message {
        role,
        blocks: vec![Block::Text(word.to_owned())],
    })
}
