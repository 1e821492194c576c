"""rest.tenant_keys: each tenant's rows open under its own keys alone.

The key table holds wrapped keys and nothing else. What is taken apart is a scratch deployment's; the key services that
the live deployment names are asked the same of its synthetic tenants, whichever drivers they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from wellkeep.assembly.core import Core
from wellkeep.base.errors import WellkeepError
from wellkeep.db.connection import Connection, Record
from wellkeep.keys.kms import KeyPurpose, key_context
from wellkeep.keys.rows import key_row, open_row, shares
from wellkeep.prove.canary import Pattern, shapes
from wellkeep.prove.deployment import Unseen, created
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.probe import Probe
from wellkeep.prove.sample import PEOPLE, person
from wellkeep.prove.scan import Scanner
from wellkeep.prove.stage import Stage
from wellkeep.prove.stores import scan_database
from wellkeep.prove.world import World

_LOCAL = "local"
_TENANT_KEYS = """
SELECT tenant_id, purpose, epoch, kid, commit_hash, wrapped, kms_epoch, root, state FROM keys.tenant_key
WHERE tenant_id = ANY($1::uuid[]) AND state <> 'destroyed'
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
    await _contexts(core, notes, rows, (scratch.a.id, scratch.b.id), whose="")
    await _subjects(core, notes, (scratch.a.id, scratch.b.id), subjects)
    await _live(await world.live(), notes)


async def _live(stage: Stage, notes: Notes) -> None:
    """Ask the key services of the live deployment, and look where its root keys lie."""
    core = stage.operator.core
    rows = []
    for tenant in (stage.a.id, stage.b.id):
        async with core.app.tenant_transaction(tenant=tenant) as connection:
            rows += await connection.fetch(_TENANT_KEYS, [tenant])
    await _contexts(core, notes, rows, (stage.a.id, stage.b.id), whose=" the live deployment's")
    drivers = sorted({core.roots.named(row["tenant_id"], row["root"]).describe().driver for row in rows})
    notes.ground(
        "looked where the live deployment's root key lies",
        held=_LOCAL not in drivers,
        seen=f"driver {', '.join(drivers)}: "
        + ("a file of this machine, not a key service" if _LOCAL in drivers else "it never leaves the service"),
    )


async def _scan(core: Core, connection: Connection, notes: Notes, rows: list[Record]) -> None:
    opened = [
        await open_row(
            key_row(row), core.roots.named(row["tenant_id"], row["root"]), core.epochs, tenant=row["tenant_id"]
        )
        for row in rows
    ]
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


async def _contexts(core: Core, notes: Notes, rows: list[Record], tenants: tuple[UUID, UUID], *, whose: str) -> None:
    """Ask root and epoch key to unwrap their shares under another tenant's, purpose's and epoch's context."""
    other = dict(zip(tenants, reversed(tenants), strict=True))
    opened, tried = [], 0
    for row in rows:
        purpose, epoch, tenant = KeyPurpose(row["purpose"]), row["epoch"], row["tenant_id"]
        root, (first, second) = core.roots.named(tenant, row["root"]), shares(key_row(row))
        wrong = {
            "another tenant's": key_context(other[tenant], purpose, epoch),
            "another purpose's": key_context(
                tenant, KeyPurpose.BACKUP if purpose is KeyPurpose.DATA else KeyPurpose.DATA, epoch
            ),
            "another epoch's": key_context(tenant, purpose, epoch + 1),
        }
        for name, context in wrong.items():
            for holder, unwrapping in (
                ("root", root.unwrap(first, context=context)),
                ("epoch", core.epochs.unwrap(second, epoch=row["kms_epoch"], context=context)),
            ):
                tried += 1
                try:
                    await unwrapping
                except WellkeepError:
                    continue
                opened.append(f"{purpose}'s share of the {holder} key under {name}")
    notes.check(
        f"asked{whose} root and epoch keys for {tried} unwrappings under another tenant, purpose or epoch",
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


PROBE = Probe(claim="rest.tenant_keys", where=Where.SCRATCH, run=run)
