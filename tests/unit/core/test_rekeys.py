# SPDX-License-Identifier: LGPL-2.1-or-later
"""Rekeys as recorded with OpenSSH 9.2 and 10.0: bytes in and out, and what the privileged sshd read and wrote."""

from typing import Final

import pytest

from idled.core.rekeys import apart

#: delivered, issued, read, written
PLAIN: Final = [
    (52, 92, 52, 92),  # 9.2: ed25519, SHA-1
    (64, 92, 64, 92),  # SHA-256
    (80, 92, 80, 92),  # SHA-384
    (96, 92, 96, 92),  # SHA-512
    (65, 285, 65, 285),  # rsa, 2048 bits
    (65, 541, 65, 541),  # rsa, 4096 bits
    (144, 218, 144, 218),  # ecdsa, 256 bits, twice
    (104, 140, 104, 140),  # ecdsa, 384 bits
    (72, 175, 72, 175),  # ecdsa, 521 bits
    (115, 92, 115, 92),  # 10.0: ed25519, SHA-256
]
GROUP_EXCHANGE: Final = [
    (81, 1132, 1_086_009, 1132),  # 9.2: ed25519
    (82, 1325, 1_012_282, 1325),  # rsa, 2048 bits
    (82, 1453, 1_012_282, 1453),  # rsa, 3072 bits
    (82, 1581, 1_110_586, 1581),  # rsa, 4096 bits
    (89, 1149, 1_126_977, 1149),  # ecdsa, 256 bits
    (89, 1182, 1_012_289, 1182),  # ecdsa, 384 bits
    (89, 1215, 1_053_249, 1215),  # ecdsa, 521 bits
    (162, 2264, 2_172_018, 2264),  # two
    (17, 1040, 1_086_000, 1040),  # the group is chosen, nothing signed yet
    (132, 1132, 1_086_060, 1132),  # 10.0: ed25519
]


def string(size: int) -> int:
    """Of so many bytes, in a message (RFC 4251, 5)."""
    return 4 + size


def mpint(size: int) -> int:
    """Of so many bytes and one for the sign, as where the first bit is set."""
    return string(size + 1)


#: Of each kind of host key: the names of its signature and of the key, and the sizes of the public key's own part and
#: of the shortest and longest signature that is recognized (RFC 4253, 6.6; RFC 5656, 3.1; RFC 8709, 4 and 6).
KEYS: Final = {
    "ed25519": ("ssh-ed25519", "ssh-ed25519", string(32), 64, 64),
    "rsa 2048": ("rsa-sha2-512", "ssh-rsa", string(3) + mpint(256), 256, 256),
    "rsa 3072": ("rsa-sha2-512", "ssh-rsa", string(3) + mpint(384), 384, 384),
    "rsa 4096": ("rsa-sha2-512", "ssh-rsa", string(3) + mpint(512), 512, 512),
    "ecdsa 256": ("ecdsa-sha2-nistp256",) * 2 + (string(8) + string(65), 2 * string(31), 2 * mpint(32)),
    "ecdsa 384": ("ecdsa-sha2-nistp384",) * 2 + (string(8) + string(97), 2 * string(47), 2 * mpint(48)),
    "ecdsa 521": ("ecdsa-sha2-nistp521",) * 2 + (string(8) + string(133), 2 * string(64), 2 * string(66)),
}
HEADER: Final = 4 + 1  # length and type of a message between the two, as in OpenSSH's monitor.c
CHOICE: Final = HEADER + 3 * 4  # the least, the wanted and the most bits of a group
READS: Final = 1_000_000  # of the file of groups


@pytest.mark.parametrize("bits", [2048, 3072, 4096, 6144, 7680, 8192])
@pytest.mark.parametrize("release", ["9.2", "10.0"])
@pytest.mark.parametrize("key", KEYS)
def test_the_sizes_are_those_of_the_messages(key: str, release: str, bits: int) -> None:
    """The question names the key by its number, from OpenSSH 9.8 on by itself."""
    signs, name, own, shortest, longest = KEYS[key]
    by = 4 if release == "9.2" else string(string(len(name)) + own)
    question = CHOICE + HEADER + by + string(32) + string(len(signs)) + 4
    group = HEADER + 1 + mpint(bits // 8) + string(1)
    for signature in (shortest, longest):
        answer = group + HEADER + string(string(len(signs)) + string(signature))
        assert apart(question, answer, question + READS, answer) == (0, 0)
        for other in (question - 1, question + 1):
            assert apart(other, answer, other + READS, answer)[0] == other
    for size in (shortest - 1, longest + 1) if bits == 2048 else ():  # of others it may be what another key has
        answer = group + HEADER + string(string(len(signs)) + string(size))
        assert apart(question, answer, question + READS, answer)[0] == question


@pytest.mark.parametrize("bits", [2048, 3072, 4096, 6144, 7680, 8192])
def test_a_group_that_was_chosen_and_not_signed_yet(bits: int) -> None:
    answer = HEADER + 1 + mpint(bits // 8) + string(1)
    assert apart(CHOICE, answer, CHOICE + READS, answer) == (0, 0)
    assert apart(CHOICE, answer + 1, CHOICE + READS, answer + 1)[0] == CHOICE
    assert apart(CHOICE, answer - 1, CHOICE + READS, answer - 1)[0] == CHOICE


@pytest.mark.parametrize("talk", PLAIN + GROUP_EXCHANGE)
def test_what_they_say_to_each_other_is_nothing(talk: tuple[int, int, int, int]) -> None:
    assert apart(*talk) == (0, 0)


@pytest.mark.parametrize("talk", PLAIN)
@pytest.mark.parametrize(("into", "out"), [(1, 0), (0, 1), (5, 93), (40_000, 0), (0, 40_000)])
def test_what_was_sent_in_the_same_time_is_left(talk: tuple[int, int, int, int], into: int, out: int) -> None:
    assert apart(talk[0] + into, talk[1] + out, *talk[2:]) == (into, out)


@pytest.mark.parametrize("talk", GROUP_EXCHANGE)
@pytest.mark.parametrize("into", [*range(1, 51), 1_000])
def test_beside_a_group_exchange_too(talk: tuple[int, int, int, int], into: int) -> None:
    went_in, came_out = apart(talk[0] + into, talk[1] + 7, *talk[2:])
    assert went_in >= into
    assert came_out == 7


@pytest.mark.parametrize("talk", PLAIN + GROUP_EXCHANGE)
def test_a_transfer_of_that_size_is_one(talk: tuple[int, int, int, int]) -> None:
    assert apart(*talk[:2], 0, 0) == talk[:2]


def test_what_the_privileged_one_does_by_itself_hides_nothing() -> None:
    assert apart(3, 4, 7_000, 384) == (3, 4)
    assert apart(0, 0, 7_000, 384) == (0, 0)


def test_less_than_nothing_stays() -> None:
    assert apart(-4_131, -5, 0, 0) == (-4_131, -5)
