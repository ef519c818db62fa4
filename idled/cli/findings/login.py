# SPDX-License-Identifier: LGPL-2.1-or-later
"""A program of its own: a login as sshd makes one, by its PAM stack. `probe` starts it, nothing imports it.

It says its process id when the session is open, and closes it when its standard input ends.
"""

import os
import sys
from typing import Final

import pamela

_TTY, _RHOST = 3, 4  # PAM_TTY and PAM_RHOST of <security/_pam_types.h>
_SERVICE, _USER, _FROM = "sshd", "root", "127.0.0.1"
_FAILED: Final = 10


def main() -> int:
    """The exit status."""
    try:
        handle = pamela.pam_start(_SERVICE, _USER)
        handle.set_item(_TTY, "ssh")
        handle.set_item(_RHOST, _FROM)
        handle.open_session()
        print(os.getpid(), flush=True)
        sys.stdin.read()
        handle.close_session()
        pamela.pam_end(handle)
    except pamela.PAMError as error:
        print(error, file=sys.stderr)
        return _FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
