# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the daemon takes of the machine, and that it takes no more after a fault than before."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Self

from .faults import daemon
from .machine import Machine

#: Of memory that Python has once taken for many sessions at a time it keeps some for the next, a few kB for each; and
#: some is for what is first done at a fault. A session that is never let go shows in the descriptors.
KEPT = 3_000  # kB
SHOWN = 'awk \'$1 == "VmRSS:" { print $2 }\' "/proc/$1/status"; ls "/proc/$1/fd" | wc -l'


@dataclass(frozen=True)
class Footprint:
    """Memory in kB, and open descriptors."""

    memory: int
    descriptors: int

    @classmethod
    def of(cls, machine: Machine) -> Self:
        """What it takes now."""
        return cls(*map(int, machine.sh(SHOWN, daemon(machine)).split()))

    def wait_for(self, machine: Machine, timeout: float = 20) -> None:
        """Wait until the daemon takes no more than this."""
        deadline = time.monotonic() + timeout
        while (now := self.of(machine)).descriptors > self.descriptors or now.memory > self.memory + KEPT:
            assert time.monotonic() < deadline, f"before {self}, now {now}"
            time.sleep(0.2)
        print(f"memory, kB: {self.memory}, afterwards {now.memory}; descriptors: {self.descriptors}, {now.descriptors}")
