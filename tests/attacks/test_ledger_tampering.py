"""The matrix of `docs/spec/ledger.md`: each tampering that chain and seals find, and the ones that they don't.

The attacker owns the database: every attack runs as its administrator. What the attacker lacks is the seal key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

from attacks.rechaining import chained
from database import Database
from ledger.making import KEYS, SEAL_KEY, change, into_outbox, prepared, verified, writing
from wellkeep.base.clock import SystemClock
from wellkeep.base.errors import LedgerUnavailable
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.secrets import Secret
from wellkeep.crypto.merkle import Frontier
from wellkeep.ledger.report import TAMPERED, What
from wellkeep.ledger.seal import SealKey
from wellkeep.ledger.verify import verify

BATCHES = 4
PER_BATCH = 5
ENTRIES = 1 + BATCHES * PER_BATCH  # log.opened, then the batches

TABLES = ("log", "entry", "seal", "entry_subject")

Attack = Callable[[Database, UUID], Awaitable[None]]


def sql(*statements: str) -> Attack:
    """Return the attack that runs these statements, with the tenant as $1."""

    async def attack(database: Database, tenant: UUID) -> None:
        for statement in statements:
            await change(database, statement, *[tenant] * ("$1" in statement))

    return attack


async def rows_of(database: Database, tenant: UUID) -> list[dict[str, Any]]:
    async with database.connect() as connection:
        rows = await connection.fetch("SELECT * FROM ledger.entry WHERE tenant_id = $1 ORDER BY seq", tenant)
    return [dict(row) for row in rows]


async def rebuild(database: Database, tenant: UUID, rows: list[dict[str, Any]]) -> None:
    """Put these entries in the place of all there were and mend everything that follows, as far as it needs no key.

    New are seq, prev and leaves, columns, subjects and the head; of the seals only what they say.
    """
    leaves = chained(rows)
    frontier = Frontier()
    frontier.extend(leaves)
    async with database.connect() as connection, connection.transaction():
        several = await connection.fetch(
            "SELECT e.event_id, s.* FROM ledger.entry_subject AS s "
            "JOIN ledger.entry AS e USING (tenant_id, epoch, seq) WHERE s.tenant_id = $1",
            tenant,
        )
        for statement in CLEARED:
            await connection.execute(statement, tenant)
        await connection.executemany(RESTORED, [tuple(row.values()) for row in rows])
        places = {row["event_id"]: row["seq"] for row in rows}
        await connection.executemany(
            "INSERT INTO ledger.entry_subject VALUES ($1, $2, 1, $3, $4)",
            [
                (tenant, row["subject"], places[row["event_id"]], row["time"])
                for row in several
                if row["event_id"] in places
            ],
        )
        await connection.execute("DELETE FROM ledger.seal WHERE tenant_id = $1 AND size > $2", tenant, len(rows))
        await connection.execute(
            "UPDATE ledger.seal AS s SET leaf = e.leaf FROM ledger.entry AS e "
            "WHERE s.tenant_id = $1 AND e.tenant_id = $1 AND e.seq = s.size - 1",
            tenant,
        )
        await connection.execute(
            'UPDATE ledger.log SET size = $2, leaf = $3, frontier = $4, "time" = $5 WHERE tenant_id = $1',
            tenant,
            len(rows),
            leaves[-1],
            frontier.hashes,
            rows[-1]["time"],
        )


CLEARED = (
    "DELETE FROM ledger.entry WHERE tenant_id = $1",
    "DELETE FROM ledger.entry_subject WHERE tenant_id = $1",
)
RESTORED = "INSERT INTO ledger.entry VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"


async def edit_and_recompute(database: Database, tenant: UUID) -> None:
    rows = await rows_of(database, tenant)
    rows[8]["entry"] = rows[8]["entry"].replace(b'"count":1', b'"count":2')
    await rebuild(database, tenant, rows)


async def drop_and_recompute(database: Database, tenant: UUID) -> None:
    rows = await rows_of(database, tenant)
    await rebuild(database, tenant, rows[:8] + rows[9:])


async def insert_and_recompute(database: Database, tenant: UUID) -> None:
    rows = await rows_of(database, tenant)
    made_up = dict(rows[8], event_id=uuid7())
    made_up["entry"] = made_up["entry"].replace(str(rows[8]["event_id"]).encode(), str(made_up["event_id"]).encode())
    made_up["subject"] = None
    made_up["entry"] = made_up["entry"].replace(f',"subject":"{rows[8]["subject"]}"'.encode(), b"")
    await rebuild(database, tenant, [*rows[:8], made_up, *rows[8:]])


async def reorder_and_recompute(database: Database, tenant: UUID) -> None:
    rows = await rows_of(database, tenant)
    rows[8], rows[9] = rows[9], rows[8]
    await rebuild(database, tenant, rows)


async def rewrite_after_the_last_seal_but_one(database: Database, tenant: UUID) -> None:
    rows = await rows_of(database, tenant)
    rows[-1]["entry"] = rows[-1]["entry"].replace(b'"count":1', b'"count":2')
    await rebuild(database, tenant, rows)


async def cut(database: Database, tenant: UUID, size: int) -> None:
    """Cut the log off after `size` entries in every table and mend the head."""
    await rebuild(database, tenant, (await rows_of(database, tenant))[:size])


async def cut_inside_a_batch(database: Database, tenant: UUID) -> None:
    await cut(database, tenant, ENTRIES - 2)


async def another_log(database: Database, tenant: UUID) -> None:
    """Move the seals and entries of this log below another's name."""
    await change(database, "UPDATE ledger.log SET origin = 'elsewhere.test/ledger' WHERE tenant_id = $1", tenant)


async def ids_exchanged(database: Database, tenant: UUID) -> None:
    rows = await rows_of(database, tenant)
    put = "UPDATE ledger.entry SET event_id = $2 WHERE tenant_id = $1 AND seq = $3"
    for seq, event_id in ((4, uuid7()), (5, rows[4]["event_id"]), (4, rows[5]["event_id"])):
        await change(database, put, tenant, event_id, seq)


def without_event_index() -> str:
    return f"DROP INDEX ledger.entry_{SystemClock().now():%Y_%m}_tenant_id_event_id_idx"


async def an_id_twice(database: Database, tenant: UUID) -> None:
    await change(database, without_event_index())
    twice = "UPDATE ledger.entry AS e SET event_id = o.event_id FROM ledger.entry AS o "
    await change(database, twice + "WHERE e.tenant_id = $1 AND o.tenant_id = $1 AND e.seq = 12 AND o.seq = 4", tenant)


ONE_HIDDEN = (
    "DELETE FROM ledger.entry_subject AS s WHERE s.tenant_id = $1 AND s.seq = 3 AND s.subject = "
    "(SELECT max(subject::text)::uuid FROM ledger.entry_subject WHERE tenant_id = $1 AND seq = 3)"
)

FOUND: list[tuple[str, Attack, int, What]] = [
    (
        "an entry edited",
        sql(r"UPDATE ledger.entry SET entry = overlay(entry PLACING 'x' FROM 24) WHERE tenant_id = $1 AND seq = 7"),
        7,
        What.CONTENT,
    ),
    (
        "an entry edited, its leaf with it",
        sql(
            "UPDATE ledger.entry SET entry = overlay(entry PLACING 'x' FROM 24) WHERE tenant_id = $1 AND seq = 7",
            r"UPDATE ledger.entry SET leaf = sha256('\x00' || entry) WHERE tenant_id = $1 AND seq = 7",
        ),
        7,
        What.COLUMNS,
    ),
    ("an entry dropped", sql("DELETE FROM ledger.entry WHERE tenant_id = $1 AND seq = 7"), 7, What.SEQ),
    ("the first dropped", sql("DELETE FROM ledger.entry WHERE tenant_id = $1 AND seq = 0"), 0, What.SEQ),
    ("the last dropped", sql("DELETE FROM ledger.entry WHERE tenant_id = $1 AND seq = 20"), 20, What.SEQ),
    ("all dropped", sql("DELETE FROM ledger.entry WHERE tenant_id = $1"), 0, What.SEQ),
    (
        "one inserted at the end",
        sql(
            "INSERT INTO ledger.entry SELECT tenant_id, epoch, 21, gen_random_uuid(), time, actor, action, purpose,"
            " resource_type, resource_id, subject, outcome, request, leaf, entry FROM ledger.entry"
            " WHERE tenant_id = $1 AND seq = 20"
        ),
        21,
        What.SEQ,
    ),
    (
        "two exchanged",
        sql(
            "UPDATE ledger.entry SET seq = 1000 + seq WHERE tenant_id = $1 AND seq IN (7, 8)",
            "UPDATE ledger.entry SET seq = 1015 - seq WHERE tenant_id = $1 AND seq > 1000",
        ),
        7,
        What.SEQ,
    ),
    ("edited and recomputed", edit_and_recompute, 6, What.SEAL),
    ("dropped and recomputed", drop_and_recompute, 6, What.SEAL),
    ("inserted and recomputed", insert_and_recompute, 6, What.SEAL),
    ("reordered and recomputed", reorder_and_recompute, 6, What.SEAL),
    ("the last batch rewritten", rewrite_after_the_last_seal_but_one, 16, What.SEAL),
    ("the tail cut off inside a batch, head mended", cut_inside_a_batch, 16, What.UNSEALED),
    ("moved to another name", another_log, 0, What.LOG),
    (
        "a seal dropped at the end",
        sql("DELETE FROM ledger.seal WHERE tenant_id = $1 AND size = 21"),
        16,
        What.UNSEALED,
    ),
    (
        "a seal of a key that is not ours",
        sql("UPDATE ledger.seal SET key_id = 'theirs' WHERE tenant_id = $1 AND size = 11"),
        6,
        What.SEAL,
    ),
    ("a seal forged", sql("UPDATE ledger.seal SET mac = sha256(mac) WHERE tenant_id = $1 AND size = 11"), 6, What.SEAL),
    (
        "a seal beyond the end",
        sql(
            "INSERT INTO ledger.seal SELECT tenant_id, epoch, 90000, key_id, leaf, root, mac FROM ledger.seal "
            "WHERE tenant_id = $1 AND size = 21"
        ),
        21,
        What.SEQ,
    ),
    ("the head moved", sql("UPDATE ledger.log SET size = 20 WHERE tenant_id = $1"), 21, What.HEAD),
    ("the frontier moved", sql("UPDATE ledger.log SET frontier = '{}' WHERE tenant_id = $1"), 21, What.HEAD),
    (
        "the head's time moved",
        sql("UPDATE ledger.log SET time = time - interval '1 day' WHERE tenant_id = $1"),
        21,
        What.HEAD,
    ),
    (
        "a time column",
        sql("UPDATE ledger.entry SET time = time - interval '1 h' WHERE tenant_id = $1 AND seq = 9"),
        9,
        What.TIME,
    ),
    (
        "a later time column",
        sql("UPDATE ledger.entry SET time = time + interval '1 s' WHERE tenant_id = $1 AND seq = 20"),
        20,
        What.TIME,
    ),
    (
        "two event ids exchanged",
        ids_exchanged,
        4,
        What.COLUMNS,
    ),
    (
        "an event id twice, the index gone",
        an_id_twice,
        12,
        What.COLUMNS,
    ),
    (
        "who saw this patient: one access hidden",
        sql("UPDATE ledger.entry SET subject = NULL WHERE tenant_id = $1 AND seq = 13"),
        13,
        What.COLUMNS,
    ),
    (
        "who saw this patient: one access made up",
        sql(
            "INSERT INTO ledger.entry_subject "
            'SELECT tenant_id, gen_random_uuid(), epoch, seq, "time" FROM ledger.entry '
            "WHERE tenant_id = $1 AND seq = 13"
        ),
        13,
        What.ENTRY_SUBJECT,
    ),
    (
        "who saw this patient: one access told twice",
        sql(
            'INSERT INTO ledger.entry_subject SELECT tenant_id, subject, epoch, seq, "time" FROM ledger.entry '
            "WHERE tenant_id = $1 AND seq = 13"
        ),
        13,
        What.ENTRY_SUBJECT,
    ),
    (
        "who saw this patient: one of several told twice, the key gone",
        sql(
            "ALTER TABLE ledger.entry_subject DROP CONSTRAINT entry_subject_pkey",
            "INSERT INTO ledger.entry_subject SELECT * FROM ledger.entry_subject WHERE tenant_id = $1 AND seq = 3",
        ),
        3,
        What.ENTRY_SUBJECT,
    ),
    ("who saw this patient: one of several hidden", sql(ONE_HIDDEN), 3, What.ENTRY_SUBJECT),
    (
        "who saw this patient: one of several put elsewhere",
        sql(ONE_HIDDEN.replace("DELETE FROM", "UPDATE").replace(" WHERE", " SET seq = 5 WHERE", 1)),
        3,
        What.ENTRY_SUBJECT,
    ),
    (
        "who saw this patient: one of several put into another month",
        sql(
            ONE_HIDDEN.replace("DELETE FROM", "UPDATE").replace(
                " WHERE", " SET \"time\" = now() - interval '1 year' WHERE", 1
            )
        ),
        3,
        What.ENTRY_SUBJECT,
    ),
    (
        "one of several hidden, and a column before it",
        sql(ONE_HIDDEN, "UPDATE ledger.entry SET actor = 'root' WHERE tenant_id = $1 AND seq = 2"),
        2,
        What.COLUMNS,
    ),
    (
        "one of several hidden, and a column after it",
        sql(ONE_HIDDEN, "UPDATE ledger.entry SET actor = 'root' WHERE tenant_id = $1 AND seq = 4"),
        3,
        What.ENTRY_SUBJECT,
    ),
]

FOUND += [
    (
        f"the column {column}",
        sql(f"UPDATE ledger.entry SET {column} = {value} WHERE tenant_id = $1 AND seq = 12"),  # noqa: S608 -- ours
        12,
        What.COLUMNS,
    )
    for column, value in (
        ("event_id", "gen_random_uuid()"),
        ("actor", "'root'"),
        ("action", "'log.opened'"),
        ("purpose", "'TREAT'"),
        ("resource_type", "'files'"),
        ("resource_type", "NULL"),
        ("resource_id", "NULL"),
        ("subject", "gen_random_uuid()"),
        ("subject", "NULL"),
        ("outcome", "'denied'"),
        ("request", "gen_random_uuid()"),
    )
]


@pytest.fixture
async def written(database: Database, tenant: UUID) -> Database:
    """Return a database whose tenant has a log of four batches."""
    async with writing(database) as writer:
        for batch in range(BATCHES):
            events = prepared(PER_BATCH)
            if batch == 0:
                events[2:3] = prepared(subject=None, subjects=(uuid7(), uuid7()))
            await writer.append(tenant, events)
    assert (await verified(database)).ok
    return database


@pytest.mark.parametrize(("attack", "seq", "what"), [case[1:] for case in FOUND], ids=[case[0] for case in FOUND])
async def test_found_and_located(written: Database, tenant: UUID, attack: Attack, seq: int, what: What) -> None:
    await attack(written, tenant)
    report = await verified(written)
    assert report.exit_code == TAMPERED
    assert report.first_bad is not None
    assert (report.first_bad.seq, report.first_bad.what) == (seq, what)
    alone = await verified(written, tenant=tenant)
    assert alone.first_bad == report.first_bad


async def test_an_event_entered_twice_for_want_of_the_index(written: Database, tenant: UUID) -> None:
    """Sealed with our own key, for the writer asks the database whether an event is chained already."""
    events = prepared(2)
    async with writing(written) as writer:
        await writer.append(tenant, events)
        await change(written, without_event_index())
        assert (await verified(written)).ok
        await writer.append(tenant, events[1:])
        await change(written, "INSERT INTO ledger.entry_subject VALUES ($1, gen_random_uuid(), 1, 24, now())", tenant)
    report = await verified(written)
    assert report.first_bad is not None
    assert (report.first_bad.seq, report.first_bad.what) == (ENTRIES + 2, What.EVENT_ID)


async def test_the_wrong_seal_key_holds_nothing(written: Database) -> None:
    other = {name: SealKey(name, Secret(b"\xff" * 32)) for name in KEYS}
    async with written.connect("wk_migrate") as connection:
        report = await verify(connection, keys=other)
    assert report.first_bad is not None
    assert report.first_bad.what is What.SEAL


async def test_a_whole_log_deleted_shows_in_the_root(written: Database, tenant: UUID) -> None:
    for table in TABLES:
        await change(written, f"DELETE FROM ledger.{table} WHERE tenant_id = $1", tenant)  # noqa: S608 -- ours
    report = await verified(written)
    assert report.first_bad is not None
    assert (report.first_bad.log, report.first_bad.what) == ("wellkeep.test/ledger/root", What.LOG_MISSING)


async def test_the_root_log_deleted_shows(written: Database) -> None:
    for table in TABLES:
        await change(written, f"DELETE FROM ledger.{table} WHERE tenant_id = $1", PLATFORM_TENANT)  # noqa: S608 -- ours
    report = await verified(written)
    assert [bad.what for bad in report.bad] == [What.LOG_UNANNOUNCED]


async def test_a_head_deleted_leaves_orphans(written: Database, tenant: UUID) -> None:
    await change(written, "DELETE FROM ledger.log WHERE tenant_id = $1", tenant)
    report = await verified(written)
    assert [bad.what for bad in report.bad] == [What.ORPHAN, What.LOG_MISSING]


async def test_an_outbox_row_changed_before_it_is_chained(written: Database, tenant: UUID) -> None:
    """The entry would hold another event than the change committed: refused, and nothing is chained."""
    events, others = prepared(), prepared()
    async with writing(written) as writer:
        await into_outbox(written, tenant, events)
        forged = SEAL_KEY.outboxed(tenant=tenant, event=others[0].encoded)
        await change(written, "UPDATE ledger.outbox SET event = $1", forged)
        with pytest.raises(LedgerUnavailable):
            await writer.append(tenant, events, outbox=True)
    assert (await verified(written)).entries == ENTRIES + 2


async def test_not_found_without_checkpoints_a_cut_at_the_end_of_a_batch(written: Database, tenant: UUID) -> None:
    """The honest ✗: later seals cut too, chain and seals hold. Checkpoints and anchors are what finds this."""
    await cut(written, tenant, ENTRIES - PER_BATCH)
    report = await verified(written)
    assert report.ok
    assert report.entries == ENTRIES - PER_BATCH + 2


async def test_not_found_without_anchors_an_old_state_put_back(written: Database, tenant: UUID) -> None:
    """The honest ✗: an old backup of every table verifies, for it was true once."""
    for table in TABLES:
        await change(written, f"CREATE TABLE public.{table} AS SELECT * FROM ledger.{table}")  # noqa: S608 -- ours
    async with writing(written) as writer:
        await writer.append(tenant, prepared(3))
    for table in TABLES:
        await change(written, f"DELETE FROM ledger.{table}")  # noqa: S608 -- ours
        await change(written, f"INSERT INTO ledger.{table} SELECT * FROM public.{table}")  # noqa: S608 -- ours
    report = await verified(written)
    assert report.ok
    assert report.entries == ENTRIES + 2
