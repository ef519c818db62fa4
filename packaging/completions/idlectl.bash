# SPDX-License-Identifier: LGPL-2.1-or-later
# bash completion for idlectl(1). Needs nothing of bash-completion but to be loaded by it.

# The table of verbs: by verb, and before the verb as "-". An option that takes something says what after a "=".
_idlectl_table() {
    case $1 in
# @table
    esac
}

# The words that can stand for what the table calls so.
_idlectl_candidates() {
    case $1 in
        SESSION) timeout 2 idlectl list --json 2>/dev/null | sed -n 's/^ *"name": "\([A-Za-z0-9_-]*\)",$/\1/p' ;;
        USER) compgen -u -- "$2" ;;
        SERVICE) (cd /etc/pam.d 2>/dev/null && compgen -f -- "$2") ;;
        TTY) (cd /dev 2>/dev/null && compgen -G 'tty[0-9]*'; cd /dev && compgen -G 'pts/[0-9]*') ;;
        SPAN | MOMENT) printf '%s\n' 5min 15min 30min 1h 2h ;;
        TEXT | ADDRESS) ;;
        *) printf '%s\n' "${1//|/$'\n'}" ;;
    esac
}

_idlectl() {
    local current=${COMP_WORDS[COMP_CWORD]} verb=- word wanted='' options='' place='' named=no row i
    local -a words=() given=()
    local -A takes=()

    # bash parts words at "=": what follows it belongs to the option before it.
    [[ $current != '=' ]] || current=''
    for ((i = 1; i < COMP_CWORD; i++)); do
        [[ ${COMP_WORDS[i]} == '=' ]] || words+=("${COMP_WORDS[i]}")
    done

    for row in $(_idlectl_table -); do [[ $row != *=* ]] || takes[${row%%=*}]=${row#*=}; done
    for word in "${words[@]}"; do
        if [[ -n $wanted ]]; then
            wanted=''
        elif [[ $word == -* ]]; then
            wanted=${takes[$word]-}
            given+=("$word")
        elif [[ $verb == - ]]; then
            verb=$word
            for row in $(_idlectl_table "$verb"); do [[ $row != *=* ]] || takes[${row%%=*}]=${row#*=}; done
        else
            given+=("$word")
            named=yes
        fi
    done

    if [[ -z $wanted ]]; then
        for row in $(_idlectl_table "$verb"); do
            case $row in
                --*) [[ " ${given[*]-} " == *" ${row%%=*} "* ]] || options+=" ${row%%=*}" ;;
                *) place=$row ;;
            esac
        done
        if [[ $current == -* ]]; then
            wanted=${options// /|}
        else
            wanted=${place#*:}
            # One of it is enough, unless the table says more.
            [[ $place == many:* || $named == no ]] || wanted=''
        fi
    fi

    case $wanted in
        '') ;;
        FILE) compopt -o filenames && mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
        POLICY)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -f -X '!*.toml' -- "$current"; compgen -d -- "$current")
            ;;
        *)
            mapfile -t COMPREPLY < <(
                _idlectl_candidates "$wanted" "$current" | while IFS= read -r word; do
                    [[ -z $word || $word != "$current"* || " ${given[*]-} " == *" $word "* ]] || printf '%s\n' "$word"
                done
            )
            ;;
    esac
}

complete -F _idlectl idlectl
