//! The script for bash.

use std::fmt::Write as _;

use super::{Spot, joined, quoted};

/// Works with bash 3.2 too, which macOS has.
const REST: &str = r#"
_ccgw_manage() {
    local current=${COMP_WORDS[COMP_CWORD]} at='' place=0 kind='' named='' config=config.yaml word i
    local commands switches options places goes_on
    [[ ${COMP_WORDS[0]##*/} == ccgw ]] && at=@ccgw
    _ccgw_manage_at "$at"
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        # `=` is a word of its own here.
        if [[ $word == '=' ]]; then
            continue
        elif [[ -n $kind ]]; then
            if [[ $named == --config ]]; then
                config=${word/#\~\//$HOME/}
                config=${config//\\/}
            fi
            kind=''
        elif [[ $word == -* ]]; then
            named=$word
            if [[ " $options " == *" $word:"* ]]; then
                kind=" $options "
                kind=${kind#*" $word:"}
                kind=${kind%% *}
            fi
        elif [[ " $commands " == *" $word "* ]]; then
            at=${at:+$at }$word
            place=0
            _ccgw_manage_at "$at"
        else
            place=$((place + 1))
        fi
    done
    [[ $current == '=' ]] && current=''
    COMPREPLY=()
    if [[ -z $kind && $current == -* ]]; then
        for word in $options; do
            switches="$switches ${word%%:*}"
        done
        COMPREPLY=($(compgen -W "$switches" -- "$current"))
        return
    elif [[ -z $kind && -n $commands ]]; then
        COMPREPLY=($(compgen -W "$commands" -- "$current"))
        return
    elif [[ -z $kind ]]; then
        places=($places)
        [[ -n $goes_on && $place -ge ${#places[@]} ]] && place=$((${#places[@]} - 1))
        kind=${places[place]:-}
    fi
    case $kind in
        FILE | DIR)
            compopt -o filenames 2>/dev/null
            [[ $kind == FILE ]] && kind=-f || kind=-d
            while IFS='' read -r word; do
                COMPREPLY[${#COMPREPLY[@]}]=$word
            done < <(compgen "$kind" -- "$current")
            ;;
        TENANT)
            COMPREPLY=($(compgen -W "$("${COMP_WORDS[0]}" --config "$config" list --names 2>/dev/null)" -- "$current"))
            ;;
        *'|'*)
            COMPREPLY=($(compgen -W "${kind//|/ }" -- "$current"))
            ;;
    esac
}

complete -F _ccgw_manage ccgw-manage ccgw
"#;

pub(super) fn script(spots: &[Spot]) -> String {
    let mut out =
        "# Completes ccgw-manage and ccgw in bash; made by `ccgw-manage completions bash`.\n\n\
                   _ccgw_manage_at() {\n    case $1 in\n"
            .to_owned();
    for spot in spots {
        let options = spot.options.iter();
        let options: Vec<String> = options
            .map(|(word, kind)| format!("{}:{}", word.text, kind.in_script()))
            .collect();
        let goes_on = if spot.goes_on { "yes" } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "        '{}')\n            commands='{}'\n            switches='{}'\n            options={}\n            places={}\n            goes_on='{goes_on}'\n            ;;\n",
            spot.commands_before,
            joined(spot.commands.iter().map(|it| it.text)),
            joined(spot.switches.iter().map(|it| it.text)),
            quoted(&options.join(" "), "'\\''"),
            quoted(
                &joined(spot.places.iter().map(|it| it.in_script())),
                "'\\''"
            ),
        );
    }
    out + "    esac\n}\n" + REST
}
