//! The script for fish.

use std::fmt::Write as _;

use super::{Spot, Word, quoted};

const REST: &str = r#"
function __ccgw_manage_value -a kind current program config
    switch $kind
        case FILE
            __fish_complete_path $current
        case DIR
            __fish_complete_directories $current
        case TENANT
            $program --config $config list --names 2>/dev/null
        case '*|*'
            string split '|' -- $kind
    end
end

function __ccgw_manage
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l program $words[1]
    set -l at
    set -l place 1
    set -l kind
    set -l named
    set -l config config.yaml
    set -l commands
    set -l switches
    set -l options
    set -l kinds
    set -l places
    set -l goes_on
    string match -q -r '(^|/)ccgw$' -- $program; and set at @ccgw
    __ccgw_manage_at "$at"
    for word in $words[2..]
        if test -n "$kind"
            test "$named" = --config; and set config $word
            set kind
        else if string match -q -- '--config=*' $word
            set config (string replace -- --config= '' $word)
        else if string match -q -- '-*' $word
            set named $word
            set kind (string replace -f -- "$word:" '' $kinds)
        else if string match -q -- "$word"\t'*' $commands
            set -a at $word
            set place 1
            __ccgw_manage_at "$at"
        else
            set place (math $place + 1)
        end
    end
    if test -n "$kind"
        __ccgw_manage_value $kind "$current" $program $config
    else if string match -q -- '--*=*' $current
        set -l parts (string split -m 1 = -- $current)
        set kind (string replace -f -- "$parts[1]:" '' $kinds)
        test -n "$kind"; and __ccgw_manage_value $kind "$parts[2]" $program $config | string replace -r '^' -- "$parts[1]="
    else if string match -q -- '-*' $current
        printf '%s\n' $switches $options
    else if test -n "$commands"
        printf '%s\n' $commands
    else
        test -n "$goes_on" -a $place -gt (count $places); and set place (count $places)
        test $place -le (count $places); and __ccgw_manage_value $places[$place] "$current" $program $config
    end
end

complete -c ccgw-manage -f -a '(__ccgw_manage)'
complete -c ccgw -f -a '(__ccgw_manage)'
"#;

pub(super) fn script(spots: &[Spot]) -> String {
    let mut out =
        "# Completes ccgw-manage and ccgw in fish; made by `ccgw-manage completions fish`.\n\n\
                   function __ccgw_manage_at -S\n    switch $argv[1]\n"
            .to_owned();
    for spot in spots {
        let kinds = spot.options.iter();
        let kinds: Vec<String> = kinds
            .map(|(word, kind)| quote(&format!("{}:{}", word.text, kind.in_script())))
            .collect();
        let places: Vec<String> = spot.places.iter().map(|it| quote(it.in_script())).collect();
        let goes_on = if spot.goes_on { "yes" } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "        case '{}'\n            set commands{}\n            set switches{}\n            set options{}\n            set kinds {}\n            set places {}\n            set goes_on {goes_on}\n",
            spot.commands_before,
            described(spot.commands.iter()),
            described(spot.switches.iter()),
            described(spot.options.iter().map(|(word, _)| word)),
            kinds.join(" "),
            places.join(" "),
        );
    }
    out + "    end\nend\n" + REST
}

/// A tab parts a word from what it means.
fn described<'a>(words: impl Iterator<Item = &'a Word>) -> String {
    words
        .map(|it| format!(" {}\\t{}", it.text, quote(it.about)))
        .collect()
}

/// Two characters have a meaning in fish's single quotes.
fn quote(text: &str) -> String {
    quoted(&text.replace('\\', "\\\\"), "\\'")
}
