//! Which processes that wait make room for one that is started ahead.

use std::time::Instant;

/// One that waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    pub(super) since: Instant,
    /// Resident memory.
    pub(super) kib: u64,
    pub(super) for_what: For,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// A conversation's next turn.
    Turn,
    /// Another tenant's next conversation.
    Other,
    /// What is started now takes its place.
    Same,
}

/// What may wait together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Most {
    pub(super) processes: usize,
    pub(super) kib: u64,
}

/// Which of them end so that one more of so much memory can be started, as places in the list. As where a process has
/// answered, what has waited longest goes first: otherwise a few conversations would keep every later one from ever
/// finding a process. But it takes no place of a conversation while as many are started ahead as wait for one.
///
/// `None` where nothing makes room for it.
pub(super) fn made(waiting: &[Waits], kib: u64, most: Most) -> Option<Vec<usize>> {
    let (mut ended, mut left): (Vec<usize>, Vec<usize>) =
        (0..waiting.len()).partition(|at| waiting[*at].for_what == For::Same);
    left.sort_by_key(|at| waiting[*at].since);
    let is_ahead = |at: &usize| waiting[*at].for_what == For::Other;
    let fits = |left: &[usize]| {
        let taken: u64 = left.iter().map(|at| waiting[*at].kib).sum();
        left.len() < most.processes && taken + kib <= most.kib
    };
    while !fits(&left) {
        let ahead = left.iter().filter(|at| is_ahead(at)).count();
        let turns = left.len() - ahead;
        let oldest = match ahead + 1 < turns {
            true => 0,
            false => left.iter().position(is_ahead)?,
        };
        ended.push(left.remove(oldest));
    }
    Some(ended)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// `T`, `O` and `S`, the longest waiting first, of 10 KiB each; those that are left, or `-`.
    #[track_caller]
    fn check(waiting: &str, (processes, kib): (usize, u64), expect: &str) {
        let start = Instant::now();
        let kind = |letter| match letter {
            'T' => For::Turn,
            'O' => For::Other,
            _ => For::Same,
        };
        let wait = |(second, letter): (usize, char)| Waits {
            since: start + Duration::from_secs(second as u64),
            kib: 10,
            for_what: kind(letter),
        };
        let all: Vec<Waits> = waiting.chars().enumerate().map(wait).collect();
        let left = match made(&all, 10, Most { processes, kib }) {
            Some(ended) => {
                let letters = waiting.chars().enumerate();
                letters
                    .filter(|(at, _)| !ended.contains(at))
                    .map(|(at, letter)| format!("{letter}{at}"))
                    .collect::<Vec<_>>()
                    .join(" ")
            }
            None => "-".to_owned(),
        };
        assert_eq!(left, expect, "{waiting} {processes} {kib}");
    }

    #[test]
    fn what_has_waited_longest_makes_room() {
        const ENOUGH: u64 = 1000;
        check("", (1, ENOUGH), "");
        check("TTT", (4, ENOUGH), "T0 T1 T2");
        check("OOO", (4, ENOUGH), "O0 O1 O2");
        check("TTTT", (4, ENOUGH), "T1 T2 T3");
        check("TOTT", (4, ENOUGH), "O1 T2 T3");
        check("OTTT", (4, ENOUGH), "T1 T2 T3");
        check("TT", (2, ENOUGH), "T1");
        // Conversations keep as many as are started ahead.
        check("TTOO", (4, ENOUGH), "T0 T1 O3");
        check("TTO", (3, ENOUGH), "T0 T1");
        check("TO", (2, ENOUGH), "T0");
        check("T", (1, ENOUGH), "-");
        check("O", (1, ENOUGH), "");
        // Its own takes no place from others.
        check("TTTS", (4, ENOUGH), "T0 T1 T2");
        check("S", (1, ENOUGH), "");
        check("TS", (1, ENOUGH), "-");
    }

    #[test]
    fn memory_is_kept_to_as_well() {
        check("TTT", (9, 40), "T0 T1 T2");
        check("TTT", (9, 39), "T1 T2");
        check("TTTT", (9, 25), "T3");
        // One conversation and one ahead do not fit: the conversation stays.
        check("TT", (9, 19), "-");
        check("", (9, 9), "-");
        check("OO", (9, 15), "");
    }
}
