"""Splicing is pure: dense, chained, sealed, and never back in time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.making import HOST, KEYS, SEAL_KEY, prepared
from wellkeep.base.errors import Misconfigured
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.secrets import Secret
from wellkeep.ledger.seal import Seal, SealKey, origin
from wellkeep.ledger.splice import TOLERANCE, Head, Splicer, Submitted
from wellkeep.ledger.walk import LogWalk

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
TENANTS = [uuid7() for _ in range(3)]
SPLICER = Splicer(host=HOST, seal_key=SEAL_KEY)


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from([*TENANTS, PLATFORM_TENANT]), min_size=1, max_size=9), st.integers(-200, 200)
        ),
        min_size=1,
        max_size=6,
    )
)
def test_whatever_is_spliced_verifies(batches: list[tuple[list[UUID], int]]) -> None:
    heads: dict[UUID, Head] = {}
    rows: dict[UUID, list[tuple[object, ...]]] = {}
    seals: dict[UUID, list[Seal]] = {}
    for tenants, seconds in batches:
        batch = [Submitted(tenant, prepared()[0], outbox=False) for tenant in tenants]
        spliced = SPLICER.splice(heads, batch, now=NOW + timedelta(seconds=seconds))
        assert not spliced.refused or max(spliced.refused.values()) > TOLERANCE.total_seconds()
        heads.update(spliced.heads)
        for step, seq, *columns, leaf, entry in spliced.entries:
            tenant, *_, time, _, _, _, _ = spliced.steps[step - 1]
            text = [None if value is None else str(value) for value in columns]
            rows.setdefault(tenant, []).append((seq, leaf, entry, time, *text))
        for tenant, *_, size, leaf, _, _, key_id, root, mac in spliced.steps:
            seals.setdefault(tenant, []).append(Seal(size, key_id, leaf, root, mac))
    for tenant, head in heads.items():
        walk = LogWalk(head, keys=KEYS)
        walk.expect(seals[tenant])
        walk.entries(rows[tenant])
        assert walk.finish() is None
        assert walk.seals == len(seals[tenant])


def test_a_root_log_ahead_of_the_clock_opens_no_log() -> None:
    opened = SPLICER.splice({}, [Submitted(PLATFORM_TENANT, prepared()[0], outbox=False)], now=NOW)
    batch = [Submitted(TENANTS[0], prepared()[0], outbox=False)]
    later = SPLICER.splice(opened.heads, batch, now=NOW - timedelta(minutes=6))
    assert later.refused == {PLATFORM_TENANT: 360, TENANTS[0]: 360}
    assert not later.entries


def test_names_of_logs() -> None:
    assert origin(HOST, TENANTS[0], 2) == f"{HOST}/ledger/{TENANTS[0]}/2"
    assert origin(HOST, PLATFORM_TENANT, 1) == f"{HOST}/ledger/root"
    assert origin(HOST, PLATFORM_TENANT, 2) == f"{HOST}/ledger/root/2"


@pytest.mark.parametrize(("key_id", "secret"), [("a\nb", bytes(32)), ("", bytes(32)), ("a", bytes(31))])
def test_a_seal_key_that_is_none_is_refused(key_id: str, secret: bytes) -> None:
    with pytest.raises(Misconfigured):
        SealKey(key_id, Secret(secret))


def test_a_seal_key_shows_nothing() -> None:
    assert "redacted" in repr(SEAL_KEY)
