//! The script for zsh.

use std::fmt::Write as _;

use super::{Spot, Word, quoted};

/// Not `commands` nor `options`: these are zsh's own, and a function that hides them finds no program.
const REST: &str = r#"
_ccgw_manage_value() {
    local -a names
    case $1 in
        FILE) _files ;;
        DIR) _files -/ ;;
        TENANT)
            names=(${(f)"$(${words[1]} --config ${config} list --names 2>/dev/null)"})
            compadd -a names
            ;;
        *'|'*)
            names=(${(s:|:)1})
            compadd -a names
            ;;
        *) _message 'a value' ;;
    esac
}

_ccgw_manage() {
    local at='' kind='' config=config.yaml word goes_on
    local -i place=1 i
    local -a subcommands flags valued places
    local -A kinds
    [[ ${words[1]:t} == ccgw ]] && at=@ccgw
    _ccgw_manage_at "$at"
    for ((i = 2; i < CURRENT; i++)); do
        word=${words[i]}
        if [[ -n $kind ]]; then
            [[ ${words[i - 1]} == --config ]] && config=${${(Q)word}/#\~\//$HOME/}
            kind=''
        elif [[ $word == --config=* ]]; then
            config=${(Q)${word#--config=}}
        elif [[ $word == -* ]]; then
            kind=${kinds[$word]:-}
        elif [[ -n ${subcommands[(r)${(b)word}:*]} ]]; then
            at=${at:+$at }$word
            place=1
            _ccgw_manage_at $at
        else
            place+=1
        fi
    done
    if [[ -n $kind ]]; then
        _ccgw_manage_value $kind
    elif [[ ${words[CURRENT]} == --*=* && -n ${kinds[${words[CURRENT]%%=*}]:-} ]]; then
        kind=${kinds[${words[CURRENT]%%=*}]}
        compset -P '*='
        _ccgw_manage_value $kind
    elif [[ ${words[CURRENT]} == -* ]]; then
        _describe -o 'option' flags -- valued
    elif (( $#subcommands )); then
        _describe 'command' subcommands
    else
        [[ -n $goes_on && $place -gt $#places ]] && place=$#places
        [[ -n ${places[place]:-} ]] && _ccgw_manage_value ${places[place]}
    fi
}

if [[ ${funcstack[1]:-} == _ccgw-manage ]]; then
    _ccgw_manage "$@"
else
    compdef _ccgw_manage ccgw-manage ccgw
fi
"#;

pub(super) fn script(spots: &[Spot]) -> String {
    let mut out = "#compdef ccgw-manage ccgw\n# Completes ccgw-manage and ccgw in zsh; made by `ccgw-manage completions zsh`.\n\n\
                   _ccgw_manage_at() {\n    case $1 in\n"
        .to_owned();
    for spot in spots {
        let kinds = spot.options.iter();
        let kinds: Vec<String> = kinds
            .map(|(word, kind)| format!("{} {}", word.text, quote(kind.in_script())))
            .collect();
        let places: Vec<String> = spot.places.iter().map(|it| quote(it.in_script())).collect();
        let goes_on = if spot.goes_on { "yes" } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "        '{}')\n            subcommands=({})\n            flags=({})\n            valued=({})\n            kinds=({})\n            places=({})\n            goes_on='{goes_on}'\n            ;;\n",
            spot.commands_before,
            described(spot.commands.iter()),
            described(spot.switches.iter()),
            described(spot.options.iter().map(|(word, _)| word)),
            kinds.join(" "),
            places.join(" "),
        );
    }
    out + "    esac\n}\n" + REST
}

fn described<'a>(words: impl Iterator<Item = &'a Word>) -> String {
    let words = words.map(|it| quote(&format!("{}:{}", it.text, it.about)));
    words.collect::<Vec<_>>().join(" ")
}

fn quote(text: &str) -> String {
    quoted(text, "'\\''")
}
