"""Steps and entries written by hand: PostgreSQL reads from them what the driver would have told it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from database import Database
from wellkeep.base.ids import uuid7
from wellkeep.ledger.packed import ENTRY_IN, KINDS, STEP, entry_row, step_row

_SEEN = {
    STEP: "SELECT to_jsonb(s) FROM unnest($1::ledger.step[]) AS s",
    ENTRY_IN: "SELECT to_jsonb(s) FROM unnest($1::ledger.entry_in[]) AS s",
}
_WHEN = datetime(2026, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC)
_HASHES = [bytes([number]) * 32 for number in range(4)]


def step(**changes: Any) -> tuple[Any, ...]:
    whole = {
        "tenant": uuid7(),
        "epoch": 2,
        "origin": "wellkeep.test/ledger/é/2",
        "old_size": 2**40,
        "old_leaf": _HASHES[0],
        "size": 2**40 + 3,
        "leaf": _HASHES[1],
        "time": _WHEN,
        "frontier": _HASHES,
        "key_id": "seal-1",
        "root": _HASHES[2],
        "mac": _HASHES[3],
    }
    return tuple((whole | changes).values())


def entry(**changes: Any) -> tuple[Any, ...]:
    whole = {
        "step": 7,
        "seq": 2**41,
        "event_id": uuid7(),
        "actor": "an actor",
        "action": "record.read",
        "purpose": "TREAT",
        "resource_type": "patients",
        "resource_id": "a record",
        "subject": uuid7(),
        "outcome": "authorised",
        "request": uuid7(),
        "leaf": _HASHES[1],
        "entry": b"{}",
    }
    return tuple((whole | changes).values())


async def seen(database: Database, kind: str, rows: list[Any], *, packed: bool) -> list[str]:
    """Return what PostgreSQL understood of `rows`."""
    kinds = KINDS if packed else ()
    async with database.pool("wk_ledger") as pool, pool.connection(packed=kinds) as connection:
        return [row[0] for row in await connection.fetch(_SEEN[kind], rows)]


@pytest.mark.parametrize(
    "row",
    [
        step(),
        step(frontier=[], epoch=1, old_size=0, size=1),
        step(frontier=_HASHES[:1], tenant=UUID(int=0)),
        step(time=datetime(1999, 12, 31, 23, 0, tzinfo=UTC) - timedelta(microseconds=1)),
    ],
)
async def test_a_step_is_what_the_driver_would_have_written(database: Database, row: tuple[Any, ...]) -> None:
    assert await seen(database, STEP, [step_row(*row)] * 2, packed=True) == await seen(
        database, STEP, [row] * 2, packed=False
    )


@pytest.mark.parametrize(
    "row",
    [
        entry(),
        entry(purpose=None, resource_type=None, resource_id=None, subject=None),
        entry(entry=bytes(range(256)) * 128, resource_id="ü" * 300, seq=0),
    ],
)
async def test_an_entry_is_what_the_driver_would_have_written(database: Database, row: tuple[Any, ...]) -> None:
    assert await seen(database, ENTRY_IN, [entry_row(*row)] * 2, packed=True) == await seen(
        database, ENTRY_IN, [row] * 2, packed=False
    )
