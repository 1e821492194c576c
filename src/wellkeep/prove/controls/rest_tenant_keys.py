"""rest.tenant_keys: each tenant's rows open under its own keys alone.

The key table holds wrapped keys and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from wellkeep.assembly.core import Core
from wellkeep.base.errors import WellkeepError
from wellkeep.db.connection import Connection, Record
from wellkeep.keys.kms import KeyPurpose, key_context
from wellkeep.keys.rows import KeyRow, open_row
from wellkeep.prove.canary import Pattern, shapes
from wellkeep.prove.deployment import Unseen, created
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.probe import Probe
from wellkeep.prove.sample import PEOPLE, person
from wellkeep.prove.scan import Scanner
from wellkeep.prove.stores import scan_database
from wellkeep.prove.world import World

_TENANT_KEYS = """
SELECT tenant_id, purpose, epoch, kid, commit_hash, wrapped, root, state FROM keys.tenant_key
WHERE tenant_id = ANY($1::uuid[])
"""
_SUBJECT_KEY = """
SELECT k.subject_id, k.generation, k.kid, k.wrapped, k.wrap_epoch FROM keys.subject_key k
JOIN vault.record r ON r.tenant_id = k.tenant_id AND r.subject_id = k.subject_id WHERE r.id = $1
"""


@dataclass(frozen=True, slots=True)
class _KeyCanary:
    """A key that must stand nowhere: looked for whole, in every encoding."""

    name: str
    key: bytes

    def patterns(self) -> Iterator[Pattern]:
        """Yield the key's shapes."""
        for encoding, needle in shapes(self.key):
            yield Pattern(canary=self.name, encoding=encoding, needle=needle)


async def run(world: World, notes: Notes) -> None:
    """Unwrap both tenants' keys as the operator can, then use each where it does not belong (which raises alarms)."""
    scratch = await world.scratch()
    core = scratch.operator.core
    records = []
    for tenant in (scratch.a, scratch.b):
        client = await scratch.client(tenant.keys["integration"])
        records.append(await created(client, f"/v1/collections/{PEOPLE}/records", person()))
    try:
        async with scratch.as_superuser() as connection:
            rows = await connection.fetch(_TENANT_KEYS, [scratch.a.id, scratch.b.id])
            await _scan(core, connection, notes, rows)
            subjects = [await connection.fetchrow(_SUBJECT_KEY, UUID(record["id"])) for record in records]
    except Unseen as unseen:
        notes.blind("look into the key table", why=str(unseen))
        return
    await _contexts(core, notes, rows, {scratch.a.id: scratch.b.id, scratch.b.id: scratch.a.id})
    await _subjects(core, notes, (scratch.a.id, scratch.b.id), subjects)


async def _scan(core: Core, connection: Connection, notes: Notes, rows: list[Record]) -> None:
    opened = [await open_row(_row(row), core.kms, core.epochs, tenant=row["tenant_id"]) for row in rows]
    keys = [_KeyCanary(f"{key.row.purpose} {number}", key.secret) for number, key in enumerate(opened)]
    control = _KeyCanary("control", rows[0]["wrapped"])
    found = await scan_database(connection, Scanner([*keys, control]))
    leaked = found.found(key.name for key in keys)
    notes.check(
        f"unwrapped {len(keys)} keys of two tenants and looked for them in every table",
        held=bool(keys) and not leaked and len({key.key for key in keys}) == len(keys),
        seen=f"{len(leaked)} of {len(keys)} in {found.bytes:,} bytes; no two are the same",
    )
    notes.check(
        "positive control: looked for a wrapped key",
        held=bool(found.found(["control"])),
        seen="found" if found.found(["control"]) else "not found, so the scan is blind",
    )


async def _contexts(core: Core, notes: Notes, rows: list[Record], other: dict[UUID, UUID]) -> None:
    """Ask the key management service to unwrap each key under another tenant's, purpose's and epoch's context."""
    opened, tried = [], 0
    for row in rows:
        if KeyPurpose(row["purpose"]) is KeyPurpose.WRAP:
            continue  # made of two shares; tried through the ring below
        purpose, epoch, tenant = KeyPurpose(row["purpose"]), row["epoch"], row["tenant_id"]
        wrong = {
            "another tenant's": key_context(other[tenant], purpose, epoch),
            "another purpose's": key_context(
                tenant, KeyPurpose.BACKUP if purpose is KeyPurpose.DATA else KeyPurpose.DATA, epoch
            ),
            "another epoch's": key_context(tenant, purpose, epoch + 1),
        }
        for name, context in wrong.items():
            tried += 1
            try:
                await core.kms.unwrap(row["wrapped"], context=context)
            except WellkeepError:
                continue
            opened.append(f"{purpose} under {name}")
    notes.check(
        f"asked for {tried} unwrappings under another tenant's, purpose's or epoch's context",
        held=tried > 0 and not opened,
        seen="each was refused" if not opened else f"opened: {', '.join(opened[:4])}",
    )


async def _subjects(core: Core, notes: Notes, tenants: tuple[UUID, UUID], rows: list[Record | None]) -> None:
    """Open each tenant's subject key with each tenant's ring."""
    wrong, right = 0, 0
    for mine, row in enumerate(rows):
        if row is None:
            raise Unseen("the probe's records have no subject key")
        for holder, tenant in enumerate(tenants):
            keys = await core.ring.load(tenant)
            try:
                keys.subject_key(
                    kid=row["kid"],
                    wrapped=row["wrapped"],
                    wrap_epoch=row["wrap_epoch"],
                    subject=row["subject_id"],
                    generation=row["generation"],
                )
            except WellkeepError:
                continue
            right += holder == mine
            wrong += holder != mine
    notes.check(
        "opened a patient's key of each tenant with each tenant's ring",
        held=wrong == 0 and right == len(tenants),
        seen=f"{right} of {len(tenants)} under their own, {wrong} under the other's",
    )


def _row(record: Record) -> KeyRow:
    return KeyRow(
        purpose=KeyPurpose(record["purpose"]),
        epoch=record["epoch"],
        kid=record["kid"],
        commit=record["commit_hash"],
        wrapped=record["wrapped"],
        root=record["root"],
        state=record["state"],
    )


PROBE = Probe(claim="rest.tenant_keys", where=Where.SCRATCH, run=run)
