# SPDX-License-Identifier: LGPL-2.1-or-later
"""A rekey is no traffic, whatever was agreed on; and what is sent beside it is, to the byte."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

import pytest

from tests.guest.rekeys import DONE, GROUP_EXCHANGE, NOT_TOLD_APART, TELLING, Rekeying, taken_for_traffic
from tests.terminal.bench import until

from .server import Login, Server, offered
from .test_evidence import Since, acknowledged, cat, settle, type_and_see

#: Not to be found in what the client says about a rekey.
KEYS = "%&{"


def rekeying(login: Login) -> Rekeying:
    return Rekeying(login.client, login.look)


def wrong(server: Server, user: str, ways: Mapping[str, tuple[str, ...]]) -> list[str]:
    """In which ways of agreeing on keys a rekey is taken for traffic; all are tried side by side.

    One look can fall into the moment in which a question was written and not yet read; so what seems wrong is tried
    once more.
    """
    once = _wrong(server, user, ways)
    return _wrong(server, user, {way: ways[way] for way in once}) if once else []


def _wrong(server: Server, user: str, ways: Mapping[str, tuple[str, ...]]) -> list[str]:
    with ExitStack() as stack:
        logins = {way: stack.enter_context(server.login(user, "-N", *TELLING, *ways[way], expect=DONE)) for way in ways}
        return taken_for_traffic({way: rekeying(login) for way, login in logins.items()})


def host_key(name: str, kex: str) -> tuple[str, ...]:
    return ("-o", f"HostKeyAlgorithms={name}", "-o", f"KexAlgorithms={kex}")


def test_with_every_key_exchange(server: Server, user: str) -> None:
    ways = {kex: ("-o", f"KexAlgorithms={kex}") for kex in offered("kex") if kex not in NOT_TOLD_APART}
    if user == "root":
        del ways[GROUP_EXCHANGE]  # the file of groups is read by the one sshd there is
    assert wrong(server, user, ways) == []


@pytest.mark.parametrize("kex", ["curve25519-sha256", GROUP_EXCHANGE])
def test_with_every_kind_of_host_key(server: Server, kex: str) -> None:
    kinds = ["ssh-ed25519", "rsa-sha2-256", "rsa-sha2-512", *(f"ecdsa-sha2-nistp{bits}" for bits in (256, 384, 521))]
    assert wrong(server, "nobody", {kind: host_key(kind, kex) for kind in kinds}) == []


@pytest.mark.parametrize("bits", [2048, 4096])
def test_with_rsa_keys_of_other_sizes(possible: None, bits: int) -> None:
    ways = {kex: host_key("rsa-sha2-512", kex) for kex in ("curve25519-sha256", GROUP_EXCHANGE)}
    with Server(rsa=bits) as server:
        assert wrong(server, "nobody", ways) == []


@pytest.mark.parametrize("kex", ["curve25519-sha256", "ecdh-sha2-nistp384"])
def test_keys_are_counted_beside_rekeys(server: Server, user: str, kex: str) -> None:
    with cat(server, user, *TELLING, "-o", f"KexAlgorithms={kex}") as login:
        settle(login)
        since, asked = Since(login), login.look().asked
        for number, key in enumerate(KEYS, 1):
            login.client.expect(DONE)
            type_and_see(login, key)
            until(lambda: since.now()[:2] == (number, number))  # noqa: B023  # one look may fall into a rekey
        assert login.look().asked > asked or asked == 0


@pytest.mark.parametrize("kex", ["curve25519-sha256", GROUP_EXCHANGE])
def test_bytes_beside_a_rekey_are_traffic(server: Server, kex: str) -> None:
    silent = ("stty -echo; echo rea''dy; exec cat >/dev/null",)
    options = (*TELLING, "-o", f"KexAlgorithms={kex}")
    with server.login("nobody", "-tt", *options, run=silent, expect="ready") as login:
        acknowledged(login)
        one = rekeying(login)
        before, since, done = one.at_rest(1), Since(login), one.done
        login.client.type("x")
        until(lambda: since.now().delivered > 0)
        assert one.is_traffic_since(before, done + 1)
