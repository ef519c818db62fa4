# SPDX-License-Identifier: LGPL-2.1-or-later
"""One target under atheris: `python -m tests.fuzz TARGET [OPTIONS OF LIBFUZZER] [FOLDER...]`.

tomllib is watched, too: the grammar of the policy is known there and nowhere else.
"""

import sys

import atheris

with atheris.instrument_imports(include=["idled", "tomllib"]):
    from .targets import TARGETS

target = TARGETS[sys.argv.pop(1)]
atheris.Setup(sys.argv, lambda data: None if target.takes(data) else -1)
atheris.Fuzz()
