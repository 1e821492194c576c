"""A packed row is what the driver would have written: PostgreSQL reads the same columns from both."""

from __future__ import annotations

from uuid import UUID

import pytest

from vault.stack import Stack
from wellkeep.base.ids import uuid7, uuid7s
from wellkeep.vault.calls import BULK_ROW
from wellkeep.vault.packed import bulk_row, key_columns

READ = "SELECT r.* FROM unnest($1::vault.bulk_row[]) AS r"
LONG = bytes(5_000)


@pytest.mark.parametrize("empty", [True, False])
async def test_postgresql_reads_a_packed_row_as_the_drivers_own(stack: Stack, empty: bool) -> None:  # noqa: FBT001
    record, subject = uuid7(), uuid7()
    fields, sealed, tags = ((), [], []) if empty else ((7, 300, 0), [b"", b"\x01two", LONG], [b"t" * 17])
    plain, mac, digest = (None, None, bytes(32)) if empty else ('{"7": "ü"}', b"m" * 32, b"d" * 32)
    whose: tuple[UUID | None, bytes | None, bytes | None, int | None] = (
        (None, None, None, None) if empty else (subject, b"k" * 16, b"w" * 56, 3)
    )
    keyed = key_columns(2, *whose, lease=not empty)
    row = bulk_row(
        record,
        expected=4,
        keyed=keyed,
        field_ids=fields,
        sealed=sealed,
        plain=plain,
        tag_fields=fields[:1],
        tags=tags,
        unique_tags=len(tags),
        content_mac=mac,
        digest=digest,
    )
    drivers = (
        *(record, 4, 2, *whose, not empty, list(fields), sealed, plain, list(fields[:1]), tags, len(tags)),
        *(mac, digest),
    )
    async with stack.pool.connection() as connection:
        expected = tuple((await connection.fetch(READ, [drivers]))[0])
    async with stack.pool.connection(packed=(BULK_ROW,)) as connection:
        found = [tuple(got) for got in await connection.fetch(READ, [row, row])]
    assert found == [expected, expected]


def test_ids_made_together_are_all_different_and_of_version_7() -> None:
    made = uuid7s(1_000)
    assert len(set(made)) == len(made)
    assert {(one.version, one.variant) for one in made} == {(7, uuid7().variant)}
    assert uuid7s(0) == []
