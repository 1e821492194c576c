"""How keys stand: of a tenant, of the deployment, and its epochs. Read only, and nothing here opens a key.

Rules: what is shown of a key is its name, its age against the day it is due, its seals against what its nonces bear,
and where it is wrapped; never a wrapped byte. Rows that still carry a key are counted when asked for, by a statement of
up to a minute each: on a big tenant it reads every row. A key that some rows carry can't be retired, so the count says
how far a rotation is. The threat is an old key that lives on because nobody sees it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from wellkeep.assembly.core import Core
from wellkeep.assembly.erasing import waits_of
from wellkeep.base.errors import KeysUnavailable, WellkeepError
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.db.connection import Connection, Record
from wellkeep.keys.kms import DEPLOYMENT_PURPOSES, KeyPurpose
from wellkeep.keys.ring_leases import budget
from wellkeep.vault.erasure_certificate import end_of_key

ROTATED = (KeyPurpose.WRAP, KeyPurpose.DATA, KeyPurpose.INDEX, KeyPurpose.FILE)
"""Purposes whose keys are replaced by new ones; the others are wrapped anew, by root and epoch."""

SEALING = (KeyPurpose.WRAP, KeyPurpose.DATA, KeyPurpose.FILE)
"""Purposes whose seals are counted against a budget."""

_KEYS = """
SELECT purpose, epoch, kid, kms_epoch, root, state, seals, created_at
FROM keys.tenant_key ORDER BY purpose, epoch
"""
_EPOCHS = """
SELECT e.epoch, e.state, e.created_at, e.retired_at, e.destroy_at, e.destroyed_at, e.ordered_at,
       keys.epoch_rows(e.epoch) AS rows
FROM keys.epochs() AS e
"""
_WRAPPED = """
SELECT wrap_epoch AS epoch, count(*) AS rows FROM keys.subject_key WHERE state <> 'destroyed' GROUP BY wrap_epoch
"""
_STREAMS = "SELECT epoch, count(*) AS rows FROM vault.blob GROUP BY epoch"
_TAGGED = "SELECT get_byte(tag, 0) AS epoch, count(*) AS rows FROM vault.tag GROUP BY 1"
# The kid of an envelope is bytes 5 to 20; DATA keys seal what is of no patient, in suite 2 (the third byte).
_SEALED = """
SELECT k.epoch, count(*) AS rows FROM keys.tenant_key AS k JOIN (
    SELECT (SELECT array_agg(DISTINCT substring(e FROM 5 FOR 16)) FROM unnest(s.sealed::bytea[]) AS e
            WHERE get_byte(e, 2) = 2) AS kids
    FROM (SELECT sealed::bytea[] FROM vault.record WHERE sealed_for IS NULL
          UNION ALL SELECT sealed::bytea[] FROM vault.revision WHERE sealed_for IS NULL
          UNION ALL SELECT ARRAY[answer::bytea] FROM vault.idempotency) AS s
) AS named ON k.kid = ANY(named.kids)
WHERE k.purpose = 'DATA' GROUP BY k.epoch
"""
_PATIENCE = "SET LOCAL statement_timeout = '50s'"
_COUNT_SECONDS = 55.0
"""A tenant's context holds so long."""

_COUNTS: Mapping[KeyPurpose, str] = {
    KeyPurpose.WRAP: _WRAPPED,
    KeyPurpose.FILE: _STREAMS,
    KeyPurpose.INDEX: _TAGGED,
    KeyPurpose.DATA: _SEALED,
}


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """One key. `due` is when the next one is to be made; `rows` is None where nobody counted.

    `driver` is None where the settings do not allow the root that the row names: then the key does not open.
    """

    tenant: UUID
    purpose: KeyPurpose
    epoch: int
    kid: str
    state: str
    created_at: datetime
    age_days: int
    due: datetime | None
    overdue: bool
    seals: int | None
    used_percent: float | None
    kms_epoch: int
    root: str
    driver: str | None
    rows: int | None


@dataclass(frozen=True, slots=True)
class EpochStatus:
    """One epoch of the deployment. `outside` is how its key stands where it is kept: usable, pending, gone, unknown.

    `destroy_at` is when nothing opens under it any more, as certificates of erasures say it: with what a cloud waits.
    """

    epoch: int
    state: str
    outside: str
    rows: int
    created_at: datetime
    age_days: int
    due: datetime | None
    overdue: bool
    retired_at: datetime | None
    destroy_at: datetime | None
    destroyed_at: datetime | None


async def tenant_keys(core: Core, tenant: UUID, *, rows: bool = False) -> list[KeyStatus]:
    """Return the keys of a tenant, by purpose and epoch; with `rows`, how many rows carry each.

    Under the platform's tenant these are its own and the deployment's. Raises DatabaseUnavailable.
    """
    counted: Counter[tuple[KeyPurpose, int]] = Counter()
    async with core.app.tenant_transaction(tenant=tenant) as connection:
        records = await connection.fetch(_KEYS)
    if rows:
        for purpose in _COUNTS:
            async with core.app.tenant_transaction(tenant=tenant) as connection:
                counted.update(await _count(connection, purpose))
    return [key_status(core, tenant, record, counted=counted if rows else None) for record in records]


def key_status(
    core: Core, tenant: UUID, record: Record, *, counted: Mapping[tuple[KeyPurpose, int], int] | None = None
) -> KeyStatus:
    """Return how the key of a row stands: purpose, epoch, kid, kms_epoch, root, state, seals and created_at of it."""
    purpose = KeyPurpose(record["purpose"])
    due = None
    if purpose in ROTATED and record["state"] == "active":
        due = record["created_at"] + timedelta(days=core.settings.keys.rotate_days)
    now = core.clock.now()
    seals = record["seals"] if purpose in SEALING else None
    return KeyStatus(
        tenant=tenant,
        purpose=purpose,
        epoch=record["epoch"],
        kid=record["kid"].hex(),
        state=record["state"],
        created_at=record["created_at"],
        age_days=(now - record["created_at"]).days,
        due=due,
        overdue=due is not None and now >= due,
        seals=seals,
        used_percent=None if seals is None else round(100 * seals / budget(purpose), 6),
        kms_epoch=record["kms_epoch"],
        root=record["root"],
        driver=_driver(core, tenant, purpose, record["root"]),
        rows=None if counted is None or purpose not in _COUNTS else counted.get((purpose, record["epoch"]), 0),
    )


async def epochs(core: Core) -> list[EpochStatus]:
    """Return the deployment's epochs, the oldest first, with how many keys of all tenants each carries.

    Raises DatabaseUnavailable; an outside that does not answer is `unknown`.
    """
    async with core.app.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
        records = await connection.fetch(_EPOCHS)
    return [await _epoch_status(core, record) for record in records]


async def _epoch_status(core: Core, record: Record) -> EpochStatus:
    due = None
    if record["state"] == "active":
        due = record["created_at"] + timedelta(days=core.settings.keys.rotate_days)
    now = core.clock.now()
    try:
        outside = str(await core.epochs.state(record["epoch"]))
    except WellkeepError:
        outside = "unknown"
    return EpochStatus(
        epoch=record["epoch"],
        state=record["state"],
        outside=outside,
        rows=record["rows"],
        created_at=record["created_at"],
        age_days=(now - record["created_at"]).days,
        due=due,
        overdue=due is not None and now >= due,
        retired_at=record["retired_at"],
        destroy_at=end_of_key(record, waits=waits_of(core.settings.keys), now=now),
        destroyed_at=record["destroyed_at"],
    )


async def _count(connection: Connection, purpose: KeyPurpose) -> dict[tuple[KeyPurpose, int], int]:
    await connection.execute(_PATIENCE)
    records = await connection.fetch(_COUNTS[purpose], timeout=_COUNT_SECONDS)
    return {(purpose, record["epoch"]): record["rows"] for record in records}


def _driver(core: Core, tenant: UUID, purpose: KeyPurpose, root: str) -> str | None:
    try:
        kms = core.roots.deployment if purpose in DEPLOYMENT_PURPOSES else core.roots.named(tenant, root)
    except KeysUnavailable:
        return None
    description = kms.describe()
    return description.driver if description.root == root else None
