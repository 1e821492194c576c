"""A peer's address reaches the ledger in one spelling, whatever socket it came over."""

from __future__ import annotations

import pytest

from wellkeep.api.peer import address
from wellkeep.ledger import grammar


@pytest.mark.parametrize(
    ("peer", "told"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("::ffff:7f00:1", "127.0.0.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("2001:DB8::0001", "2001:db8::1"),
    ],
)
def test_an_address_is_told_as_the_ledger_takes_it(peer: str, told: str) -> None:
    assert address({"client": (peer, 1)}) == told
    assert grammar.address(told)


@pytest.mark.parametrize("client", [None, ("/run/socket", 0), ("", 0)])
def test_what_is_no_address_is_told_as_none(client: object) -> None:
    assert address({"client": client}) is None
