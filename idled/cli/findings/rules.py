# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether the policy, as its files stand, leaves somebody out."""

import grp
import os
import pwd
from collections.abc import Iterator
from dataclasses import replace

from ...config import files
from ...config.loader import load
from ...config.problems import ConfigError
from ...core.model import Extent, Limits, Session, SessionId
from ...core.policy import LIMITS, Policy
from .host import Finding, Host, Level, error, listed, note, ok, warning

_CHECK = "idlectl check shows how each rule is understood."
#: A name that no rule has, and an address of documentation's, for a login that is nobody's in particular.
_ANYBODY, _ANYWHERE = "somebody", "192.0.2.1"


def rules(host: Host) -> Iterator[Finding]:
    """What was found about the policy."""
    main = host.path(str(files.MAIN))
    if not host.has(str(files.MAIN)):
        what, why = f"There is no policy: {files.MAIN} is missing.", "The built-in one is in force, which ends nobody."
        mend = "Write one, as idled.toml(5) says, then: idlectl check && idlectl reload"
        yield error("policy", what=what, why=why, mend=mend)
        return
    if closed := [path for path in (main, *files.drop_ins(main)) if path.exists() and not os.access(path, os.R_OK)]:
        host.unreadable.update(map(str, closed))
        return
    try:
        loaded = load(main)
    except ConfigError as broken:
        for problem in broken.problems:
            why = "What the files say cannot be put in force; the policy before stays, or the built-in one."
            mend = "Mend it, then: idlectl check && idlectl reload"
            yield error("policy", what=f"{problem}.", why=why, mend=mend)
        return
    for problem in loaded.warnings:
        why = "It is allowed, and perhaps not what was meant."
        yield warning("policy", what=f"{problem}.", why=why, mend=_CHECK)
    gaps = list(_gaps(loaded.policy))
    yield from gaps
    if not loaded.warnings and not any(finding.level >= Level.WARNING for finding in gaps):
        yield ok("policy", what="The policy is right, and limits SSH sessions, root's too.")
    yield from _lingering(host, loaded.policy)


def _gaps(policy: Policy) -> Iterator[Finding]:
    terminal, none = ("pts/0",), ()
    free = [
        f"{who}{how}{_because(limits)}"
        for who, user in (("anybody", _ANYBODY), ("root", "root"))
        for how, terminals in ((" with a terminal", terminal), (" without a terminal (sftp, forwards)", none))
        if not _limited(limits := policy.limits(_login(user, "sshd", remote=_ANYWHERE), terminals))
    ]
    if free:
        what = f"SSH sessions that no rule limits: {listed(free)}."
        why = "They stay open for ever, with nobody in front of them."
        mend = f"Give idle_timeout and absolute_timeout in [defaults], or in a rule that matches them. {_CHECK}"
        yield warning("policy", what=what, why=why, mend=mend)
    console = policy.limits(_login("root", "login", tty="tty1"), ("tty1",))
    if not _limited(console):
        what = f"root on the console has no limit{_because(console)}."
        yield note("policy", what=what, why="Good for an emergency, if that is what you meant.")


def _limited(limits: Limits) -> bool:
    return any(getattr(limits, name) is not None for name in LIMITS)


def _because(limits: Limits) -> str:
    rules = sorted({limits.origin[name] for name in LIMITS if name in limits.origin})
    return f" (by {listed(rules)})" if rules else ""


def _login(user: str, service: str, *, remote: str = "", tty: str = "") -> Session:
    """One that has not happened."""
    session = SessionId(boot="", pid=0, start=0)
    groups = frozenset({"root"} if user == "root" else ())
    return Session(id=session, user=user, uid=0, opened_at=0, service=service, remote=remote, tty=tty, groups=groups)


def _lingering(host: Host, policy: Policy) -> Iterator[Finding]:
    """Whose services go on when their sessions have ended, though no rule says that they go too."""
    staying = []
    for name in host.names("/var/lib/systemd/linger/*"):
        user = name.rpartition("/")[2]
        limits = policy.limits(_in_groups(_login(user, "sshd", remote=_ANYWHERE)), ("pts/0",))
        if limits.end is not Extent.USER and _limited(limits):
            staying.append(user)
    if staying:
        yield warning(
            "users",
            what=f"Processes of {listed(staying)} can outlive every session (lingering).",
            why="What they start with systemd-run --user, or as a service of their own, runs on after an end.",
            mend=f'If it should not: end = "user" in a rule for them, or loginctl disable-linger {staying[0]}',
        )


def _in_groups(session: Session) -> Session:
    try:
        numbers = os.getgrouplist(session.user, pwd.getpwnam(session.user).pw_gid)
        return replace(session, groups=frozenset(grp.getgrgid(number).gr_name for number in numbers))
    except KeyError:
        return session
