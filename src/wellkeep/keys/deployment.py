"""The deployment's own keys: SEAL and CHECKPOINT (ledger), REASON (why), CONTEXT (tokens), CURSOR (pages).

Rules: they are the platform tenant's rows, wrapped by the deployment's root key, never by a customer's, and outlive
every tenant. They are read before any tenant context can be signed, through `keys.deployment_keys()`, which returns
these wrapped rows and no others. They are loaded once at start and held: an administrator always gets in to mend the
KMS. A row that does not open stops the start.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from wellkeep.base.errors import IntegrityBroken, KeysUnavailable, Misconfigured
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.secrets import Secret
from wellkeep.db.connection import Connection
from wellkeep.keys.kms import DEPLOYMENT_PURPOSES, KeyPurpose, Roots
from wellkeep.keys.rows import KeyRow, OpenedKey, key_row, new_row, open_rows

_SELECT = "SELECT purpose, epoch, kid, commit_hash, wrapped, 0 AS kms_epoch, root, state FROM keys.deployment_keys()"
_INSERT = "SELECT keys.add_deployment_key($1, $2, $3, $4, $5, $6)"
_START_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class DeploymentKey:
    """One key of the deployment: its public id (32 hex digits of its kid), epoch and 32 secret bytes."""

    key_id: str
    epoch: int
    secret: Secret[bytes]


@dataclass(frozen=True, slots=True)
class DeploymentKeys:
    """The current key of each purpose; where there are several, the older epochs too, newest first.

    A CHECKPOINT key's secret is the seed of an Ed25519 key (RFC 8032).
    """

    seals: tuple[DeploymentKey, ...]
    checkpoints: tuple[DeploymentKey, ...]
    reasons: tuple[DeploymentKey, ...]
    context: DeploymentKey
    cursors: tuple[DeploymentKey, ...]

    @property
    def seal(self) -> DeploymentKey:
        """The key that seals the ledger now."""
        return self.seals[0]


async def provision_deployment(connection: Connection, roots: Roots) -> DeploymentKeys:
    """Make the keys that are missing and return them all; doing it again, or twice at once, changes nothing.

    `connection` is wk_migrate's. The CONTEXT key must then be installed by `db.context.install`.
    """
    have = {row.purpose for row in await _rows(connection)}
    for purpose in DEPLOYMENT_PURPOSES:
        if purpose not in have:
            row = await new_row(roots.deployment, None, tenant=PLATFORM_TENANT, purpose=purpose, epoch=1, kms_epoch=0)
            await connection.execute(_INSERT, row.purpose.value, row.epoch, row.kid, row.commit, row.wrapped, row.root)
    return await load_deployment(connection, roots)


async def load_deployment(connection: Connection, roots: Roots) -> DeploymentKeys:
    """Return the deployment's keys; `connection` is any role's that serves, no tenant context is needed.

    Raises Misconfigured where keys are missing, were wrapped by another root key, or do not open: nothing can start on
    that. KeysUnavailable and KeysRevoked pass, for a start may be tried again.
    """
    rows = [row for row in await _rows(connection) if row.state in {"active", "decrypt_only"}]
    if not all(_may_open(roots, name) for name in {row.root for row in rows}):
        raise Misconfigured(
            "The root key is not the one that this database's keys were wrapped with. Put the right one in place: "
            "secrets/root.key, or WELLKEEP_ROOT_KEY."
        )
    try:
        named = partial(roots.named, PLATFORM_TENANT)
        opened = await open_rows(rows, named, None, tenant=PLATFORM_TENANT, seconds=_START_SECONDS)
    except IntegrityBroken:
        raise Misconfigured(
            "The deployment's own keys do not open: their rows in keys.tenant_key were changed. Restore the database."
        ) from None
    return DeploymentKeys(
        seals=_newest_first(opened, KeyPurpose.SEAL),
        checkpoints=_newest_first(opened, KeyPurpose.CHECKPOINT),
        reasons=_newest_first(opened, KeyPurpose.REASON),
        context=_newest_first(opened, KeyPurpose.CONTEXT)[0],
        cursors=_newest_first(opened, KeyPurpose.CURSOR),
    )


def _may_open(roots: Roots, name: str) -> bool:
    """Say whether the settings hold the root key of this name: the current one, or while keys move the one before."""
    try:
        return roots.named(PLATFORM_TENANT, name).describe().root == name
    except KeysUnavailable:
        return False


async def _rows(connection: Connection) -> list[KeyRow]:
    return [key_row(record) for record in await connection.fetch(_SELECT)]


def _newest_first(opened: list[OpenedKey], purpose: KeyPurpose) -> tuple[DeploymentKey, ...]:
    keys = [
        DeploymentKey(key_id=key.row.kid.hex(), epoch=key.row.epoch, secret=Secret(key.secret))
        for key in sorted(opened, key=lambda key: (key.row.state == "active", key.row.epoch), reverse=True)
        if key.row.purpose is purpose
    ]
    if not keys or not any(key.row.state == "active" and key.row.purpose is purpose for key in opened):
        raise Misconfigured("This database holds no keys of a deployment yet. Run: wellkeep init")
    return tuple(keys)
