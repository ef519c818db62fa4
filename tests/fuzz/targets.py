# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every target there is: what is fed with bytes, and which exceptions are a proper refusal of them.

A feed asserts what must hold of all that is taken. The corpus of a target is the folder of its name in ``corpus``:
files named bad-* are refused, the others are taken. pam_idled.so is a target of its own: pam/tests/fuzz.c.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from idled.config.problems import ConfigError
from idled.control.wire import Malformed
from idled.sources.registrations import RefusedPacket

from . import control, kernel, logins, memory, policy, text

CORPUS: Final = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class Target:
    feed: Callable[[bytes], None]
    refusals: tuple[type[Exception], ...] = ()

    def takes(self, data: bytes) -> bool:
        """Whether the data is taken; AssertionError, or whatever it is, where it is treated wrongly."""
        try:
            self.feed(data)
        except self.refusals:
            return False
        return True


TARGETS: Final[Mapping[str, Target]] = {
    "control": Target(control.control, (Malformed,)),
    "policy": Target(policy.policy, (ConfigError, UnicodeDecodeError)),
    "registration": Target(logins.registration, (RefusedPacket,)),
    "utmp": Target(logins.utmp_file),
    "own_name": Target(kernel.own_name),
    "names_in_proc": Target(kernel.names_in_proc),
    "proc_files": Target(kernel.proc_files),
    "socket_answer": Target(kernel.socket_answer, (struct.error,)),
    "ssh_connection": Target(kernel.ssh_connection, (UnicodeDecodeError,)),
    "state": Target(memory.state_file, (memory.NotRecalled,)),
    "text": Target(text.cleaned),
}
