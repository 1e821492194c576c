"""ledger.tamper_evident: each way to change the past is found and located; the whole matrix of the ledger's design.

Most is found in the database, by the deployment's keys. What is in perfect order by itself (an old state put back, a
tail cut off before anybody vouched for it, all of it rebuilt with stolen keys) is found by what lies outside: this
host's memory, the anchors, a witness.
"""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from uuid import UUID

from wellkeep.assembly.ledger_check import Extent, check
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.secrets import Secret
from wellkeep.crypto.notes import NoteVerifier
from wellkeep.db.connection import Connection
from wellkeep.ledger.checkpoint import Checkpoint, note
from wellkeep.ledger.event import Action, prepare, system_event
from wellkeep.ledger.report import Report, What
from wellkeep.ledger.verify_covers import UNCOVERED_AFTER
from wellkeep.ledger.witness import Witness
from wellkeep.ledger.witness_store import WitnessStore
from wellkeep.prove import tampering
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.forging import leave_out_with, rebuild_with
from wellkeep.prove.ledger_scene import Scene, scene
from wellkeep.prove.probe import Probe
from wellkeep.prove.server import opened_apart
from wellkeep.prove.world import World

_MONTH = """
SELECT c.relname FROM pg_inherits AS p JOIN pg_class AS c ON c.oid = p.inhrelid
WHERE p.inhparent = 'ledger.entry'::regclass AND c.relname = 'entry_' || to_char((
    SELECT max("time") FROM ledger.entry WHERE tenant_id = $1) AT TIME ZONE 'UTC', 'YYYY_MM')
"""
_ROOT_END = "SELECT size, root, signature FROM ledger.checkpoint WHERE tenant_id = $1 ORDER BY size DESC LIMIT 1"
_FORGE_OUTBOX = """
INSERT INTO ledger.outbox (tenant_id, event_id, event, created_at)
SELECT $1, $2, $3, clock_timestamp() - interval '1 minute'
"""
_UNQUARANTINE = "DELETE FROM ledger.quarantine WHERE tenant_id = $1 AND event_id = $2"
_KEEP_ENTRY = "SELECT entry, actor FROM ledger.entry WHERE tenant_id = $1 AND epoch = 1 AND seq = $2"
_RESTORE_ENTRY = "UPDATE ledger.entry SET entry = $3, actor = $4 WHERE tenant_id = $1 AND epoch = 1 AND seq = $2"
_FOUND = """
SELECT count(*) FROM findings.finding
WHERE kind = 'ledger.broken' AND severity = 'critical' AND detail ->> 'what' = $1 AND detail ->> 'seq' = $2
"""
_MINUTES = UNCOVERED_AFTER + timedelta(minutes=1)
_ACCEPTED = 200
_CONFLICT = 409


async def run(world: World, notes: Notes) -> None:
    """Fill the ledger, then attack it in each way of the matrix and look who finds it, and where."""
    scratch = await world.scratch()
    async with scene(scratch) as stage:
        untouched = await stage.verify(memory=True, anchors=True)
        notes.check(
            "verified the untouched ledger, with what this host remembers and what the anchor holds",
            held=untouched.ok and untouched.covers > 0 and untouched.checkpoints > 0,
            seen=_counted(untouched),
        )
        for name, attack in tampering.ATTACKS.items():
            await _in_the_database(stage, notes, name, attack)
        await _month_dropped(stage, notes)
        await _tenant_deleted(stage, notes)
        await _left_out(stage, notes)
        await _cut_off(stage, notes)
        await _old_backup(stage, notes)
        await _stolen_keys(stage, notes)
        await _two_views(stage, notes)
        await _outbox_forged(stage, notes)
        await _five_minutes_later(stage, notes)
        await _start_refused(stage, notes)
        after = await stage.verify(memory=True, anchors=True)
        notes.check("undid everything and verified again", held=after.ok, seen=_counted(after))


async def _in_the_database(stage: Scene, notes: Notes, name: str, attack: tampering.Attack) -> None:
    seen = await stage.attacked(attack)
    place = stage.place(seen.inside, seen.touched)
    elsewhere = next(iter(seen.inside.bad), None)
    told = "the ledger still verifies" if elsewhere is None else f"found elsewhere: {elsewhere.log} {elsewhere.seq}"
    notes.check(
        name,
        held=place is not None,
        seen=f"found: seq {place.seq} for {seen.touched}, by {place.what.value}" if place else told,
    )


async def _month_dropped(stage: Scene, notes: Notes) -> None:
    """Drop the month that holds the entries: every log must be named."""

    async def attack(connection: Connection, tenant: UUID, _seq: int) -> int:
        name = await connection.fetchval(_MONTH, tenant)
        await connection.execute(f"DROP TABLE ledger.{name}")
        return 0

    seen = await stage.attacked(attack)
    named = {bad.log for bad in seen.inside.bad}
    place = next((bad for bad in seen.inside.bad if bad.log == stage.origin), None)
    notes.check(
        "dropped a month of entries without a prune on record",
        held=place is not None and stage.root in named,
        seen=f"found in {len(named)} of {seen.inside.logs} logs: seq {place.seq}, by {place.what.value}"
        if place
        else "the ledger still verifies",
    )


async def _tenant_deleted(stage: Scene, notes: Notes) -> None:
    async def attack(connection: Connection, tenant: UUID, _seq: int) -> int:
        await tampering.remove(connection, tenant)
        return 0

    seen = await stage.attacked(attack, memory=True)
    place = stage.root_place(seen.inside, What.LOG_MISSING)
    gone = any(one.remembered.origin == stage.origin for one in seen.refused)
    notes.check(
        "deleted a whole tenant's log",
        held=place is not None and gone,
        seen=f"found: the root log announced it at seq {place.seq}; this host remembers {len(stage.remembered)} logs"
        if place
        else "the ledger still verifies",
    )


async def _left_out(stage: Scene, notes: Notes) -> None:
    """Have the root log pass a log over, with stolen keys: all of it fits, but for what was not said in time."""

    async def attack(connection: Connection, tenant: UUID, _seq: int) -> int:
        return await leave_out_with(stage.stolen, connection, tenant, _MINUTES)

    seen = await stage.attacked(attack)
    place = stage.place(seen.inside, seen.touched)
    alone = place is not None and place.what is What.UNCOVERED and len(seen.inside.bad) == 1
    told = "found otherwise" if seen.inside.bad else "the ledger still verifies"
    notes.check(
        "left a log out of what the root log vouches for, with stolen keys",
        held=alone,
        seen=f"found: from seq {seen.touched} on nothing vouches for it, while others were covered" if alone else told,
    )


async def _cut_off(stage: Scene, notes: Notes) -> None:
    """Cut off what nobody in the database vouches for yet: this host remembers it."""
    seen = await stage.attacked(tampering.cut_after_cover, memory=True)
    place = stage.place(seen.outside, seen.touched)
    refused = any(one.remembered.origin == stage.origin and one.size == seen.touched for one in seen.refused)
    notes.check(
        "cut off what no cover vouches for yet, later seals and checkpoints too",
        held=place is not None and refused,
        seen=f"found: seq {place.seq} for {seen.touched}, by {place.what.value}; a start is refused. {_inside(seen[1])}"
        if place
        else "the ledger still verifies",
    )


async def _old_backup(stage: Scene, notes: Notes) -> None:
    """Put an old state of every table back, first with this host's memory, then without it: an anchor knows more."""

    async def attack(_connection: Connection, _tenant: UUID, _seq: int) -> int:
        await stage.put_old_back()
        return 0

    seen = await stage.attacked(attack, memory=True)
    place = next((bad for bad in seen.outside.bad if bad.log == stage.origin), None)
    notes.check(
        "put an old backup of every table back",
        held=place is not None and place.what is What.REMEMBERED and bool(seen.refused),
        seen=f"found: from seq {place.seq}, by {place.what.value}; a start is refused: {seen.refused[0].how.value}. "
        f"{_inside(seen.inside)}"
        if place and seen.refused
        else "the ledger still verifies",
    )
    seen = await stage.attacked(attack, anchors=True)
    place = stage.root_place(seen.outside, What.ANCHOR)
    notes.check(
        "put an old backup of every table back, and this host's memory too",
        held=place is not None,
        seen=f"found: the root log from seq {place.seq}, by anchor" if place else "the ledger still verifies",
    )


async def _stolen_keys(stage: Scene, notes: Notes) -> None:
    """Rebuild everything with the stolen keys of seals and checkpoints, the memory too: only the anchor is left."""

    async def attack(connection: Connection, tenant: UUID, seq: int) -> int:
        await rebuild_with(stage.stolen, connection, tenant, seq)
        return seq

    seen = await stage.attacked(attack, anchors=True)
    place = stage.root_place(seen.outside, What.ANCHOR)
    notes.check(
        "rebuilt everything with stolen keys, before the last anchor",
        held=place is not None,
        seen=f"found: the root log at seq {place.seq}, by anchor. {_inside(seen.inside)}"
        if place
        else "the ledger still verifies",
    )


async def _two_views(stage: Scene, notes: Notes) -> None:
    """Show a witness the root log as it is, and then the same size with another root, signed with our own key."""
    core, home = stage.scratch.operator.core, stage.scratch.home.path
    verifier = NoteVerifier.from_vkey(core.checkpoint_signer.vkey(stage.root))
    store = WitnessStore(home / "probe-witness" / uuid7().hex)
    witness = Witness(
        name="probe.example/witness", seed=Secret(os.urandom(32)), logs=[verifier], store=store, clock=core.clock
    )
    row = await stage.connection.fetchrow(_ROOT_END, PLATFORM_TENANT)
    size, root, signature = row or (0, b"", b"")
    shown = note(Checkpoint(stage.root, size, root), signature)
    other = Checkpoint(stage.root, size, os.urandom(32))
    forged = note(other, core.checkpoint_signer.signature(other))
    first = witness.add_checkpoint(b"old 0\n\n" + shown)
    second = witness.add_checkpoint(b"old %d\n\n" % size + forged)
    notes.check(
        "showed a witness two views of the root log, both signed with our key",
        held=first.status == _ACCEPTED and second.status == _CONFLICT,
        seen=f"the first was cosigned ({first.status}), the second refused ({second.status})",
    )


async def _outbox_forged(stage: Scene, notes: Notes) -> None:
    """Write an event into the outbox as if a change had left it there."""
    forged, connection = uuid7(), stage.connection
    made_up = prepare(system_event(forged, Action.RECORD_READ, actor="somebody"))
    event = os.urandom(32) + made_up.encoded
    await connection.execute(_FORGE_OUTBOX, stage.tenant, forged, event)
    await stage.scratch.operator.core.writer.drain_outbox(older_than=0.0)
    report = await stage.verify()
    await connection.execute(_UNQUARANTINE, stage.tenant, forged)
    place = next((bad for bad in report.bad if bad.what is What.QUARANTINE), None)
    notes.check(
        "wrote an event into the outbox past wellkeep",
        held=place is not None and place.log == stage.origin,
        seen=f"found: not chained, {report.quarantined} in quarantine, named at the log's end (seq {place.seq})"
        if place
        else "it was chained, or nobody noticed",
    )


async def _five_minutes_later(stage: Scene, notes: Notes) -> None:
    """Edit an entry that came since the last verification, and verify as the job of every five minutes does."""
    connection, seq = stage.connection, stage.size - 1
    row = await connection.fetchrow(_KEEP_ENTRY, stage.tenant, seq)
    entry, actor = row or (b"", "")
    await tampering.edit(connection, stage.tenant, seq)
    try:
        core = stage.scratch.operator.core
        checked = await check(core, stage.scratch.database, Extent(since_last=True))
        findings = await connection.fetchval(_FOUND, What.CONTENT.value, str(seq))
    finally:
        await connection.execute(_RESTORE_ENTRY, stage.tenant, seq, entry, actor)
    notes.check(
        "edited a new entry and ran the verification of every five minutes",
        held=not checked.report.ok and findings > 0,
        seen=f"a critical finding, ledger.broken, names seq {seq}" if findings else "no finding",
    )


async def _start_refused(stage: Scene, notes: Notes) -> None:
    """Put the old state back for good, and start a process of ours on it."""
    await stage.scratch.operator.core.checkpointer.sign_now()
    async with tampering.kept(stage.connection, "wk_probe_new") as put_back:
        await stage.put_old_back()
        try:
            opened, said = await asyncio.to_thread(opened_apart, stage.scratch.home.path)
        finally:
            await put_back()
    refused = not opened and "accept-restore" in said
    notes.check(
        "started a process on the old backup",
        held=refused,
        seen="it refused to open the deployment" if refused else "it opened the deployment",
    )


def _counted(report: Report) -> str:
    if not report.ok:
        return "it does not hold"
    return (
        f"it holds: {report.entries} entries, {report.seals} seals, {report.checkpoints} checkpoints, "
        f"{report.covers} covers in {report.logs} logs"
    )


def _inside(report: Report) -> str:
    """Say what the database alone shows."""
    return "The database alone would not tell." if report.ok else "The database alone tells, too."


PROBE = Probe(claim="ledger.tamper_evident", where=Where.SCRATCH, run=run)
