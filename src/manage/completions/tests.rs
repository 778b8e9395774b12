//! The scripts against the commands that there are.

use super::*;

#[test]
fn every_command_and_option_is_in_every_script() {
    let spots = of_both();
    assert!(spots.len() > 10, "{}", spots.len());
    for script in [
        bash::script(&spots),
        zsh::script(&spots),
        fish::script(&spots),
    ] {
        for spot in &spots {
            let words = spot.commands.iter().chain(&spot.switches);
            for word in words.chain(spot.options.iter().map(|(word, _)| word)) {
                assert!(script.contains(word.text), "{} in {script}", word.text);
            }
        }
    }
}

#[test]
fn kinds_follow_from_the_names_in_the_help() {
    assert_eq!(Kind::of("FILE"), Kind::File);
    assert_eq!(Kind::of("TENANT"), Kind::Tenant);
    assert_eq!(Kind::of("set|unset").in_script(), "set|unset");
    assert_eq!(Kind::of("KEY"), Kind::Free);
}

#[test]
fn quotes_stay_inside_of_quotes() {
    assert_eq!(quoted("a tenant's", "'\\''"), "'a tenant'\\''s'");
}
