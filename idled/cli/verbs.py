# SPDX-License-Identifier: LGPL-2.1-or-later
"""The verbs of idlectl, as data: the parser is made from this table, and so are the manual page and the completions.

A new verb is one row here and one module beside this one, with ``run(options: Namespace) -> int``: the exit code.
"""

from typing import Final, NamedTuple

from ..control.wire import SOCKET


class Argument(NamedTuple):
    """One argument: an option when its name begins with a dash, or else what is named by its place.

    `value`, in capitals, says what is given with an option (none: it is a switch), and what completes it: SESSION,
    USER, SPAN, MOMENT, TEXT, FILE, SERVICE, ADDRESS, TTY.
    """

    name: str
    help: str
    value: str = ""
    many: str = ""  # of what is named by its place: "?" none or one, "*" any number; else one
    choices: tuple[str, ...] = ()

    @property
    def is_option(self) -> bool:
        """Whether it is named, and not told by its place."""
        return self.name.startswith("-")


class Example(NamedTuple):
    """A call worth showing, and what it does."""

    call: str
    does: str


class Verb(NamedTuple):
    """One verb: how it is called, what it does, and what its exit codes say."""

    name: str
    help: str  # one line: in the list of verbs
    text: str  # what the manual says; paragraphs are parted by an empty line
    json: str  # what --json gives
    arguments: tuple[Argument, ...] = ()
    exits: tuple[tuple[int, str], ...] = ()  # where they differ from EXITS
    examples: tuple[Example, ...] = ()
    module: str = ""  # where it is not of the same name

    @property
    def exit_codes(self) -> dict[int, str]:
        """What each exit code says, those that all verbs share included."""
        return EXITS | dict(self.exits)


#: What the exit codes say unless a verb says otherwise.
EXITS: Final = {
    0: "It was done.",
    1: "It was not done: the daemon cannot be asked, refuses, or knows no such session. Standard error says which.",
    2: "The call was wrong.",
}

DEFAULT: Final = "list"

#: Taken before the verb and after it.
COMMON: Final = (
    Argument("--json", "print JSON, for programs"),
    Argument("--socket", f"ask the daemon on this socket (default {SOCKET})", value="FILE"),
)

_SESSION: Final = Argument(
    "SESSION",
    "a session: 12 as list shows it, or 4242-177031 as --json does; if not given, the one you are in",
    value="SESSION",
    many="?",
)
_REASON: Final = Argument("--reason", "why, for the record in the journal and for the person", value="TEXT")

VERBS: Final = (
    Verb(
        name="list",
        module="listing",
        help="the open sessions, when each ends, and why (the default)",
        text=(
            "Shows the sessions that you may see, those that end first on top: who, from where, on what, since when, "
            "how long idle, how much time is left, what comes next, and which limit of which rule that is.\n\n"
            "ON is what the person has there: terminals, and what runs beside them, as sftp, rsync, git, or another "
            "program by the name it gives itself; ssh -N is a connection in which nothing runs, for forwards or kept "
            "open to be shared.\n\n"
            "TIME LEFT is until the end if nothing changes; its bar is full when the limit begins to run. Sessions "
            "without any limit are counted below the table and shown with --all. On a terminal names are cut to its "
            "width; in a pipe nothing is."
        ),
        json="The answer of ListSessions (mode, sessions), with sessions of all kinds; --user and --due are heeded.",
        arguments=(
            Argument("--all", "also those without a limit"),
            Argument("--user", "only those of this user", value="USER"),
            Argument("--due", "only those that end within this time, as 10min", value="SPAN"),
        ),
        examples=(
            Example("idlectl", "every session with a limit"),
            Example("idlectl list --due 5min", "those that end within five minutes"),
            Example("idlectl list --all --json | jq -r '.sessions[].user'", "the names of all who are logged in"),
        ),
    ),
    Verb(
        name="watch",
        help="the open sessions live, with the last events, and keys to act",
        text=(
            "Shows what list shows, as it changes, and below it what happens to the sessions that you may see. What "
            "ends first stands on top.\n\n"
            "Keys: the arrows, or j and k, choose a session, e ends it, x extends it, each after a question and with a "
            "reason if you like; the daemon decides whether you may. Escape chooses none. s sorts by time left, user "
            "or idle time. q quits.\n\n"
            "The list is asked for every two seconds at most, and times are counted on in between. When the daemon "
            "goes away it is said, and asked again."
        ),
        json="None: that is a wrong call. For programs there are list --json and log --follow --json.",
        arguments=(
            Argument("--all", "also those without a limit"),
            Argument("--user", "only those of this user, and their events", value="USER"),
        ),
        exits=(
            (0, "You have quit."),
            (1, "There was nothing to begin with: the daemon cannot be asked."),
            (2, "The call was wrong, or there is no terminal to draw on."),
        ),
        examples=(Example("idlectl watch", "keep an eye on who is about to be ended"),),
    ),
    Verb(
        name="me",
        help="when and why your session ends, and how to stay",
        text=(
            "Says of the session it is called in when it ends and why, how to stay, and whether you may extend it. It "
            "needs no rights, and works through su and sudo: the kernel says which session you are in."
        ),
        json="The answer of GetSession (session), and the mode of the daemon (mode).",
        exits=((1, "You are in no session that the daemon knows, or it cannot be asked."),),
        examples=(Example("idlectl me", "how long you may stay"),),
    ),
    Verb(
        name="show",
        help="all that is known of one session",
        text="Shows one session: who and from where, its terminals, its limits with their rules, and what comes next.",
        json="The answer of GetSession (session).",
        arguments=(_SESSION,),
        examples=(Example("idlectl show 12", "the session that list calls 12"),),
    ),
    Verb(
        name="explain",
        help="how a session comes to its limits, and what its activity is told by",
        text=(
            "Goes through every rule in the order in which they are asked: which match and what they give, which do "
            "not and why. Then the evidence of activity, terminal by terminal, what was not believed, and the moments "
            "at which the session will be warned and ended if nothing changes.\n\n"
            "With --user it answers for a login that has not happened, which only root and those who may view the "
            "sessions of others are told."
        ),
        json="The answer of Explain (session, rules, activity, terminals, connection, notes, moments), or with --user "
        "of ExplainLogin (rules).",
        arguments=(
            _SESSION,
            Argument("--user", "of a login of this user that has not happened", value="USER"),
            Argument("--service", "through this PAM service, as sshd or login", value="SERVICE"),
            Argument("--remote", "from this address", value="ADDRESS"),
            Argument("--tty", "on this terminal, as tty1", value="TTY"),
        ),
        examples=(
            Example("idlectl explain 12", "why the session 12 ends when it does"),
            Example(
                "idlectl explain --user alice --service sshd --remote 10.8.0.7", "what alice would get if she came now"
            ),
        ),
    ),
    Verb(
        name="extend",
        help="move a limit of a session, as far as its rules allow",
        text=(
            "Adds to a limit of a session until it is over. In your own session: the limit and at most the span that "
            "the setting extend of your rules allows, with your password where they ask for it. It is asked for on the "
            "terminal, never taken as an argument and never shown.\n\n"
            "Who may extend the sessions of others may move any limit, without a password and with a reason."
        ),
        json="The answer of Extend (session), with the limit moved.",
        arguments=(
            _SESSION,
            Argument("--by", "by this much, as 30min (default: as much as the rules allow at a time)", value="SPAN"),
            Argument(
                "--limit",
                "which limit (default: the one that the rules allow)",
                value="LIMIT",
                choices=("idle", "absolute"),
            ),
            _REASON,
        ),
        examples=(
            Example("idlectl extend", "stay for as long as the rules allow"),
            Example(
                "idlectl extend 12 --limit absolute --by 1h --reason 'release night'", "as root, for somebody else"
            ),
        ),
    ),
    Verb(
        name="end",
        help="end sessions now",
        text=(
            "Ends sessions at once, whatever their limits are: each person is told, then every process goes that the "
            "rules' setting end names. On a terminal it asks before it ends more than one."
        ),
        json="Which sessions are being ended (ended: a list of names), and which are not (failed: a list of session "
        "and error).",
        arguments=(
            _SESSION._replace(help="sessions: 12 as list shows them, or 4242-177031 as --json does", many="*"),
            Argument("--user", "all sessions of this user that you may see", value="USER"),
            _REASON,
            Argument("--yes", "do not ask"),
        ),
        exits=((1, "At least one session is not being ended, or there is none, or you said no."),),
        examples=(
            Example("idlectl end 12 --reason 'reboot at noon'", "end the session 12, and tell its person why"),
            Example("idlectl end --user bob --yes", "end all that bob has open"),
        ),
    ),
    Verb(
        name="log",
        help="what happened to sessions, from the journal",
        text=(
            "Tells what idled wrote to the journal since the machine was started, one line for each event. To read the "
            "system's journal you must be root or in the group adm or systemd-journal."
        ),
        json="One JSON object in a line for each event, as the type Event of the control service: event, text, "
        "priority, realtimeUSec, and where it is about a session: session, name, user.",
        arguments=(
            Argument(
                "--since",
                "from this moment on: a span ago (2h), a time of today (14:30), or a date (2026-11-23 14:30)",
                value="MOMENT",
            ),
            Argument("--session", "only of this session", value="SESSION"),
            Argument("--user", "only of this user's sessions", value="USER"),
            Argument("--follow", "go on with what happens from now on, until Ctrl-C"),
        ),
        exits=((1, "The journal cannot be read."),),
        examples=(
            Example("idlectl log --session 12", "the story of one session"),
            Example("idlectl log --since 1h --follow", "the last hour, and what comes"),
        ),
    ),
    Verb(
        name="status",
        help="whether the daemon enforces its policy here, and how it is",
        text=(
            "Shows the mode, whether sessions that are due are really ended here, the sources of what the daemon knows "
            "and their health, how many sessions there are, the files of the policy in force, and what went wrong last."
        ),
        json="The answer of GetStatus.",
        exits=(
            (1, "Sessions are not ended here when they are due, as in observe mode; or the daemon cannot be asked."),
        ),
        examples=(Example("idlectl status", "in a monitoring check: exit code 0 only where limits are enforced"),),
    ),
    Verb(
        name="reload",
        help="read the policy anew",
        text="Makes the daemon read its policy again. A policy with an error changes nothing, and the error is said.",
        json="The answer of Reload (warnings); of a policy that was not taken, its problems (problems).",
        exits=((1, "The policy was not taken, or the daemon cannot be asked. The one in force stays."),),
        examples=(Example("idlectl check && idlectl reload", "put a changed policy in force"),),
    ),
    Verb(
        name="check",
        help="whether a policy is right, and how it is understood",
        text=(
            "Reads a policy as the daemon would, without the daemon: what is wrong with it goes to standard error with "
            "file, key, what stood there and what was expected; then every rule as it was understood. Of a directory "
            "it reads idled.toml and conf.d."
        ),
        json="The policy as it was understood (mode, access, rules, files), and what is wrong or odd with it "
        "(problems: file, key, text, fatal). Of one that cannot be used: only problems.",
        arguments=(Argument("FILE", "a file or directory (default: the installed policy)", value="FILE", many="?"),),
        exits=((0, "The policy can be used; it may have warnings."), (1, "The policy cannot be used.")),
        examples=(Example("idlectl check new/idled.toml", "try a policy before it is installed"),),
    ),
    Verb(
        name="doctor",
        help="whether limits are really enforced on this host, and what to do",
        text=(
            "Looks at all that must work together before a session ends when it is due: the PAM stacks by which people "
            "log in, the units, the daemon, sshd, logind, the policy, the kernel, and other tools that end sessions. "
            "Of each it says what was found, why it matters, and how to mend it. It changes nothing. Root is told "
            "more.\n\n"
            "With --probe it opens a session of root's through the PAM stack of sshd, sees whether the daemon knows it "
            "within a second, and closes it. Only root can; the package python3-pamela is needed."
        ),
        json="What was found (findings: a list of level, one of ok, note, warning and error; about; what; why; mend), "
        "the worst first, and the level of that one (worst).",
        arguments=(Argument("--probe", "log in for a moment, as sshd does, and see whether it is noticed"),),
        exits=(
            (0, "All is well."),
            (1, "Limits are enforced, but there are warnings; or nothing is ended because of observe mode."),
            (2, "Some sessions are not ended here when they are due; or the call was wrong."),
        ),
        examples=(
            Example("idlectl doctor", "after the installation, and whenever something seems wrong"),
            Example("sudo idlectl doctor --probe", "with a real login"),
        ),
    ),
)
