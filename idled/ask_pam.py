# SPDX-License-Identifier: LGPL-2.1-or-later
"""A program of its own: asks PAM whether a password is a user's. `reauthenticate` starts it, nothing imports it.

So PAM's modules, which may take their time or go wrong in any way, do so outside of the daemon, which is spared their
memory too. Standard input is the user's name, a NUL, and the password; the answer is the exit status. Any that is not
named here is one more way of going wrong.
"""

import sys
from typing import Any, Final

import pam

_SERVICE: Final = "idled"
_RIGHT, _WRONG, _CLOSED, _BROKEN = 0, 10, 11, 12
_MEANS_WRONG: Final = (pam.PAM_AUTH_ERR, pam.PAM_MAXTRIES, pam.PAM_PERM_DENIED, pam.PAM_USER_UNKNOWN)


def main() -> int:
    """The exit status."""
    user, _, password = sys.stdin.buffer.read().partition(b"\0")
    if not password or b"\0" in password:
        return _WRONG
    asking = pam.PamAuthenticator()
    authenticate, account = asking.pam_authenticate, asking.pam_acct_mgmt
    asked = []

    def strictly(handle: Any, flags: int) -> Any:
        """Who has no password proves nothing with one; python-pam has no other way of saying so."""
        return authenticate(handle, flags | pam.PAM_DISALLOW_NULL_AUTHTOK)

    def of_account(handle: Any, flags: int) -> Any:
        asked.append("account")
        return account(handle, flags)

    asking.pam_authenticate, asking.pam_acct_mgmt = strictly, of_account
    if asking.authenticate(user, password, _SERVICE, resetcreds=False):
        return _RIGHT
    if asked:
        return _CLOSED
    if asking.code in _MEANS_WRONG:
        return _WRONG
    print(f"PAM service {_SERVICE}: {asking.reason}", file=sys.stderr)
    return _BROKEN


if __name__ == "__main__":
    sys.exit(main())
