# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the two sshd of a connection say to each other, and how that is told from what a person or a program sends.

To agree on new keys, the sshd that runs as the user asks the privileged one to sign with the host key. Its counters
take the question for delivered and the answer for issued bytes: 52 to 1,100 bytes in, 92 to 1,600 out, by host key,
key exchange and release. But what it writes there the other reads, to the byte, and what it reads there the other
wrote. So the counters of the privileged sshd are taken off again, and no size need be known. Whatever was sent in the
same time is left; a transfer that only looks like a rekey has nobody who was asked.

One key exchange (diffie-hellman-group-exchange) hides the question: to answer it the privileged sshd reads its file of
groups, about a megabyte, and has then read more than it was asked. What it answered still is exact. So there the
question must be one that goes with the answer, by host key and group, or all of it is taken for traffic; so is the
exchange with SHA-1, and one with a host key that is not in the table. Input beside it is lost only where the sum is
the question of another host key or release, too, and no output came: never a key, of one rekey 51 bytes at least.
(Before OpenSSH 9.8 a session of root has but one sshd. A rekey does not show there, except for that file, which looks
like output.)
"""

from typing import Final, NamedTuple


class _HostKey(NamedTuple):
    """Sizes of what is said about a host key in a group exchange with SHA-256.

    The signature of an ECDSA key has two numbers, each without its leading zeros.
    """

    question: int  # both questions, to choose a group and to sign
    public: int  # what is in the question, too, from OpenSSH 9.8 on
    shortest: int  # the signature
    longest: int


_HOST_KEYS: Final = (
    _HostKey(17, 0, 0, 0),  # none yet: so far the group was chosen
    _HostKey(81, 51, 92, 92),  # ed25519
    _HostKey(82, 279, 285, 285),  # rsa, 2048 bits
    _HostKey(82, 407, 413, 413),  # rsa, 3072 bits
    _HostKey(82, 535, 541, 541),  # rsa, 4096 bits
    _HostKey(89, 104, 106, 110),  # ecdsa, 256 bits
    _HostKey(89, 136, 138, 142),  # ecdsa, 384 bits
    _HostKey(89, 172, 172, 176),  # ecdsa, 521 bits
)
#: Sizes of the answers that give a group of 2048, 3072, 4096, 6144, 7680 or 8192 bits.
_GROUPS: Final = (272, 400, 528, 784, 976, 1040)


def apart(went_in: int, came_out: int, asked: int, answered: int) -> tuple[int, int]:
    """What was delivered into the session and issued by it, of all that sshd wrote and read beside its connection.

    `asked` and `answered` are what the privileged sshd read and wrote in the same time.
    """
    if asked <= went_in:
        went_in -= asked
    elif _chose_groups(went_in, answered):
        went_in = 0
    return went_in, came_out - answered if answered <= came_out else came_out


def _chose_groups(asked: int, answered: int) -> bool:
    """Whether these are the questions and answers of one or more rekeys with group exchange, and nothing else."""
    return any(
        _fits(asked, answered, question, key, group)
        for key in _HOST_KEYS
        for question in (key.question, key.question + key.public)
        for group in _GROUPS
    )


def _fits(asked: int, answered: int, question: int, key: _HostKey, group: int) -> bool:
    rekeys, rest = divmod(asked, question)
    return rekeys > 0 and rest == 0 and rekeys * (key.shortest + group) <= answered <= rekeys * (key.longest + group)
