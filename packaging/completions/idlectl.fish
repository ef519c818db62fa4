# SPDX-License-Identifier: LGPL-2.1-or-later
# fish completion for idlectl(1).

# Whether the call has this verb so far ("-": none); with "alone" also whether nothing was named after it.
function __idlectl_verb
    set -l words (commandline -opc)
    set -l verb -
    set -l named 0
    set -l skip 0
    for word in $words[2..-1]
        if test $skip = 1
            set skip 0
            continue
        end
        switch $word
# @takes
                set skip 1
            case '-*'
            case '*'
                if test $verb = -
                    set verb $word
                else
                    set named 1
                end
        end
    end
    test $verb = $argv[1]; and begin
        test "$argv[2]" != alone; or test $named = 0
    end
end

function __idlectl_candidates
    switch $argv[1]
        case SESSION
            timeout 2 idlectl list --json 2>/dev/null |
                awk -F'"' '/^ *"name": /{name = $4} /^ *"user": /{print name "\t" $4}'
        case USER
            __fish_complete_users
        case SERVICE
            command ls /etc/pam.d 2>/dev/null
        case TTY
            string replace /dev/ '' -- /dev/tty[0-9]* /dev/pts/*
        case SPAN MOMENT
            printf '%s\n' 5min 15min 30min 1h 2h
        case FILE
            __fish_complete_path (commandline -ct)
        case POLICY
            __fish_complete_path (commandline -ct) | string match -r '.*(?:\.toml|/)(?:\t.*)?$'
    end
end

complete -c idlectl -f
# @table
