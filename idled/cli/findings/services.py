# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether idled runs, also after the next start of the machine, and what it says of itself; and logind beside it."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from ...control.client import Unreachable
from ...control.wire import VarlinkError
from .host import Finding, Host, error, listed, ok, warning

_SERVICE: Final = "idled.service"
_OURS: Final = (_SERVICE, "idled.socket", "idled-varlink.socket")
_LOGIND: Final = "systemd-logind.service"
_AUTOMATIC: Final = ("enabled", "static", "alias", "generated")
_SEE: Final = "See why with: systemctl status idled; journalctl -b -u idled"

#: By the unit's name, its properties.
Units = Mapping[str, Mapping[str, str]]


def units(host: Host, *names: str) -> Units:
    """What systemd knows of these units; nothing where there is no systemd."""
    said = host.programs("systemctl", "show", "--property=Id,LoadState,ActiveState,UnitFileState", *names) or ""
    found = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in said.split("\n\n")]
    return {unit["Id"]: unit for unit in found if "Id" in unit}


def is_up(unit: Mapping[str, str] | None) -> bool:
    """Whether it runs, or listens."""
    return unit is not None and unit["ActiveState"] in ("active", "reloading")


def services(host: Host) -> tuple[list[Finding], bool]:
    """What was found about the units; and whether the daemon runs, so that asking it does not start it."""
    found = units(host, *_OURS, _LOGIND)
    if not found:
        what = "systemd cannot be asked about idled."
        why = "Without it nothing starts idled when the machine starts, or when it fails."
        return [error("units", what=what, why=why, mend="Run idled under systemd.")], False
    return [*_ours(found), *_logind(found)], is_up(found.get(_SERVICE))


def _ours(found: Units) -> Iterator[Finding]:
    absent = [name for name in _OURS if found.get(name, {}).get("LoadState") != "loaded"]
    if absent:
        what = f"{listed(absent)}: not installed, or masked."
        why = "Without it sessions are not ended."
        mend = f"Install idled again; if it was masked: systemctl unmask {' '.join(absent)}"
        yield error("units", what=what, why=why, mend=mend)
    present = [name for name in _OURS if name not in absent]
    down = [name for name in present if not is_up(found[name])]
    if down:
        state = listed([f"{name} is {found[name]['ActiveState']}" for name in down])
        why = "While the daemon is down no session is ended; while a socket is, logins or idlectl do not reach it."
        mend = f"systemctl start {' '.join(down)}. {_SEE}"
        yield error("units", what=f"{state}.", why=why, mend=mend)
    manual = [name for name in present if found[name]["UnitFileState"] not in _AUTOMATIC]
    if manual:
        what = f"{listed(manual)}: not enabled."
        why = "After the next start of the machine sessions are not ended."
        yield warning("units", what=what, why=why, mend=f"systemctl enable {' '.join(manual)}")
    if not absent and not down and not manual:
        yield ok("units", what="The daemon and its sockets are up, and start with the machine.")


def _logind(found: Units) -> Iterator[Finding]:
    if is_up(found.get(_LOGIND)):
        return
    yield warning(
        "logind",
        what="systemd-logind does not run.",
        why="Sessions are then known from pam_idled alone, and those that are open already may not be known at all.",
        mend="systemctl start systemd-logind; where it is missing: apt-get install libpam-systemd dbus",
    )


def daemon(ask: Callable[[], dict[str, Any]]) -> Iterator[Finding]:
    """What the daemon says of itself."""
    try:
        status = ask()
    except (Unreachable, VarlinkError) as failure:
        why = "A daemon that does not answer may not end sessions either."
        mend = f"systemctl restart idled (open sessions stay as they are). {_SEE}"
        what = f"The daemon does not answer: {failure}."
        yield error("daemon", what=what, why=why, mend=mend)
        return
    failing = [source for source in status["sources"] if not source["works"]]
    for source in failing:
        yield _failing(source)
    if status["effective"]:
        yield ok("daemon", what="The daemon enforces its policy.")
    elif status["mode"] == "observe":
        what = f"Sessions are not ended: {status['why']}."
        why = "This is for trying a policy: the journal says what would have been done (idlectl log)."
        mend = 'When that is what you want: mode = "enforce" in /etc/idled/idled.toml, then idlectl reload'
        yield warning("daemon", what=what, why=why, mend=mend)
    else:
        what, why = f"Sessions are not ended: {status['why']}.", "The daemon runs, and yet no limit is enforced."
        mend = "See what it works with: idlectl status; idlectl check"
        yield error("daemon", what=what, why=why, mend=mend)


def _failing(source: Mapping[str, str]) -> Finding:
    name, what = source["name"], f"The daemon says of {source['name']}: {source['note']}."
    if name == "policy":
        why = "What the files say is not what is in force."
        return error(name, what=what, why=why, mend="idlectl check, mend it, idlectl reload")
    why = "Some sessions may be known late, or their activity may not be seen."
    return warning(name, what=what, why=why, mend=f"idlectl status; idlectl log. {_SEE}")
