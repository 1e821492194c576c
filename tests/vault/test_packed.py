"""A packed row is what the driver would have written: PostgreSQL reads the same columns from both."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest

from vault.stack import Stack
from wellkeep.base.ids import uuid7, uuid7s
from wellkeep.vault.calls import BULK_ROW, CREATE_IN
from wellkeep.vault.packed import bulk_row, create_row, key_columns, state_columns

READ = {
    BULK_ROW: "SELECT r.* FROM unnest($1::vault.bulk_row[]) AS r",
    CREATE_IN: "SELECT r.* FROM unnest($1::vault.create_in[]) AS r",
}
LONG = bytes(5_000)


Whose = tuple[UUID | None, bytes | None, bytes | None, int | None]


def _whose(*, empty: bool) -> Whose:
    return (None, None, None, None) if empty else (uuid7(), b"k" * 16, b"w" * 56, 3)


def _state(*, empty: bool) -> tuple[bytes, tuple[object, ...]]:
    """Return the columns of a state, packed and as the driver takes them."""
    fields, sealed, tags = ((), [], []) if empty else ((7, 300, 0), [b"", b"\x01two", LONG], [b"t" * 17])
    plain, mac, digest = (None, None, bytes(32)) if empty else ('{"7": "ü"}', b"m" * 32, b"d" * 32)
    packed = state_columns(
        field_ids=fields,
        sealed=sealed,
        plain=plain,
        tag_fields=fields[:1],
        tags=tags,
        unique_tags=len(tags),
        content_mac=mac,
        digest=digest,
    )
    return packed, (list(fields), sealed, plain, list(fields[:1]), tags, len(tags), mac, digest)


async def _are_equal(stack: Stack, kind: str, *, packed: bytes, drivers: tuple[object, ...]) -> None:
    """Let PostgreSQL read both, and compare what it read."""
    query = READ[kind]
    async with stack.pool.connection() as connection:
        expected = tuple((await connection.fetch(query, [drivers]))[0])
    async with stack.pool.connection(packed=(kind,)) as connection:
        found = [tuple(got) for got in await connection.fetch(query, [packed, packed])]
    assert found == [expected, expected]


@pytest.mark.parametrize("empty", [True, False])
async def test_postgresql_reads_a_packed_row_as_the_drivers_own(stack: Stack, empty: bool) -> None:  # noqa: FBT001
    record, whose = uuid7(), _whose(empty=empty)
    state, columns = _state(empty=empty)
    row = bulk_row(record, expected=4, keyed=key_columns(2, *whose, lease=not empty), state=state)
    await _are_equal(stack, BULK_ROW, packed=row, drivers=(record, 4, 2, *whose, not empty, *columns))


@pytest.mark.parametrize("empty", [True, False])
@pytest.mark.parametrize(
    "at",
    [
        datetime(1999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 2, 28, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=-7))),
    ],
)
async def test_postgresql_reads_a_packed_element_as_the_drivers_own(stack: Stack, empty: bool, at: datetime) -> None:  # noqa: FBT001
    record, event_id, whose = uuid7(), uuid7(), _whose(empty=empty)
    state, columns = _state(empty=empty)
    credential = None if empty else uuid7()
    claim = (None, None, None) if empty else (b"h" * 32, b"r" * 32, LONG)
    row = create_row(
        "tökén",
        credential=credential,
        event_id=event_id,
        event=b"{}",
        collection=2**31 - 1,
        version=1,
        record=record,
        keyed=key_columns(1, *whose, lease=empty),
        state=state,
        at=at,
        claim=claim,
    )
    begin = ("tökén", credential, event_id, b"{}", 2**31 - 1, 1, record, 1)
    await _are_equal(stack, CREATE_IN, packed=row, drivers=(*begin, *whose, empty, *columns, at, *claim))


def test_ids_made_together_are_all_different_and_of_version_7() -> None:
    made = uuid7s(1_000)
    assert len(set(made)) == len(made)
    assert {(one.version, one.variant) for one in made} == {(7, uuid7().variant)}
    assert uuid7s(0) == []
