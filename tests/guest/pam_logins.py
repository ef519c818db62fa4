# SPDX-License-Identifier: LGPL-2.1-or-later
"""Logins without sshd, for their time: pam_open_session() and nothing else."""

from __future__ import annotations

from .installed import Installed

#: In a process of its own, which is the leader: once() logs in, and says how long that took.
LOGIN = """
import ctypes, os, sys, time
pam = ctypes.CDLL("libpam.so.0")
class Conv(ctypes.Structure):
    _fields_ = (("conv", ctypes.c_void_p), ("data", ctypes.c_void_p))
ANSWER = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p)
libc = ctypes.CDLL(None)
libc.calloc.restype = ctypes.c_void_p
def answer(count, _message, response, _data):
    response[0] = libc.calloc(count, 16)
    return 0
conv = Conv(ctypes.cast(ANSWER(answer), ctypes.c_void_p), None)
keep = ANSWER(answer)
conv.conv = ctypes.cast(keep, ctypes.c_void_p)
def once():
    handle = ctypes.c_void_p()
    assert pam.pam_start(b"idled-test", b"alice", ctypes.byref(conv), ctypes.byref(handle)) == 0
    assert pam.pam_set_item(handle, 3, b"ssh") == 0  # PAM_TTY, as sshd sets it
    before = time.perf_counter_ns()
    code = pam.pam_open_session(handle, 0)
    took = time.perf_counter_ns() - before
    assert code == 0, code
    return took // 1000
"""
LOGINS = f"""{LOGIN}
for _ in range(int(sys.argv[1])):
    sys.stdout.flush()
    child = os.fork()
    if not child:
        print(once(), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    time.sleep(0.02)  # the daemon does the rest of its work for a login after the answer
"""


def login_times(idled: Installed, module: str, rounds: int) -> list[int]:
    """Microseconds of pam_open_session() in a stack of this one module, each time in a new process, sorted."""
    idled.machine.write("/etc/pam.d/idled-test", f"session optional {module}\n")
    return sorted(map(int, idled.machine.run("python3", "-c", LOGINS, str(rounds), timeout=120).stdout.split()))
