# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the system lets a user do to look busy, and what it keeps a record of."""

from collections.abc import Iterator
from typing import Final

from .host import Finding, Host, note, ok, warning

_TIOCSTI: Final = "/proc/sys/dev/tty/legacy_tiocsti"
_WHY: Final = "At a console this puts off the idle timeout; in an SSH session it does not, and the absolute one holds."


def kernel(host: Host) -> Iterator[Finding]:
    """What was found about the kernel and about utmp."""
    allowed = (host.text(_TIOCSTI) or "").strip()
    if allowed == "0":
        what = "Programs cannot type into terminals for a person (legacy_tiocsti=0)."
        yield ok("kernel", what=what)
    elif allowed:
        what = f"Programs can type into their own terminal as if a person did (dev.tty.legacy_tiocsti={allowed})."
        mend = "echo dev.tty.legacy_tiocsti=0 >/etc/sysctl.d/60-tiocsti.conf && sysctl --system"
        yield warning("kernel", what=what, why=_WHY, mend=mend)
    else:
        what = "Programs can type into their own terminal as if a person did: this kernel cannot forbid it (6.2 can)."
        yield note("kernel", what=what, why=_WHY)
    if host.has("/run/utmp"):
        yield note("utmp", what="There is a utmp; idled reads it, and does not need it.")
    else:
        why = "Tools that look there, such as autolog and timeoutd, see nobody. idled does not need it."
        yield note("utmp", what="There is no utmp on this system.", why=why)
