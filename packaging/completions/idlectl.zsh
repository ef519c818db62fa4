#compdef idlectl
# SPDX-License-Identifier: LGPL-2.1-or-later
# zsh completion for idlectl(1).

_idlectl_session() {
    local -a found
    found=(${(f)"$(timeout 2 idlectl list --json 2>/dev/null |
        awk -F'"' '/^ *"name": /{name = $4} /^ *"user": /{print name ":" $4}')"})
    _describe session found
}
_idlectl_user() { _users }
_idlectl_service() { compadd -- /etc/pam.d/*(N:t) }
_idlectl_tty() { compadd -- /dev/tty[0-9]*(N:t) /dev/pts/[0-9]*(N:s./dev/..) }
_idlectl_span() { compadd -o nosort -- 5min 15min 30min 1h 2h 2>/dev/null || compadd -- 5min 15min 30min 1h 2h }
_idlectl_moment() { _idlectl_span }
_idlectl_text() { _message text }
_idlectl_address() { _hosts }
_idlectl_file() { _files }
_idlectl_policy() { _files -g '*.toml(-.)' }

_idlectl_verb() {
    local -a verbs=(
# @verbs
    )
    _describe verb verbs
}

_idlectl() {
    local curcontext=$curcontext state line
    local -A opt_args
    _arguments -C \
# @before
        '1: :_idlectl_verb' \
        '*:: :->arguments'
    [[ $state == arguments ]] || return
    case $words[1] in
# @cases
    esac
}

_idlectl "$@"
