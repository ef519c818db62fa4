# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is played: the policy, the people, and what the policy makes of each of them."""

from dataclasses import dataclass
from typing import Final

IDLE: Final = 15
ABSOLUTE: Final = 40
WARNING: Final = 6

POLICY: Final = f"""\
mode = "enforce"

[defaults]
idle_timeout     = "{IDLE}s"
absolute_timeout = "{ABSOLUTE}s"
warn_before      = ["{WARNING}s"]
kill_after       = "2s"
"""

#: About how long it all takes, in seconds.
LENGTH: Final = ABSOLUTE + 2

#: How late an end may be, in seconds: what the project promises for sessions over SSH.
LATEST: Final = {"idle": 4.0, "absolute": 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """One person of the play. `ended_by` is the limit that must end the session; None: it ends by logging out."""

    name: str
    does: str
    ended_by: str | None = None
    warned: bool = False


ANNA: Final = Role(name="anna", does="keeps typing")
BEN: Final = Role(name="ben", does="walks away", ended_by="idle", warned=True)
CLEO: Final = Role(name="cleo", does="stays too long", ended_by="absolute", warned=True)
DAVE: Final = Role(name="dave", does="answers the warning", warned=True)

ROLES: Final = (ANNA, BEN, CLEO, DAVE)
