"""Everything that `wellkeep keys status` says: epochs, roots, each tenant's keys and state, rotations under way.

Rule: a state is what came of opening the tenant's keys just now, in this process, by way of its ring: so a key service
that has withdrawn is seen here as requests see it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from wellkeep.assembly import keys_status
from wellkeep.assembly.key_rotations import KeyRotations
from wellkeep.assembly.keys_status import EpochStatus, KeyStatus
from wellkeep.base.errors import KeysUnavailable, WellkeepError
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.gate.acts import Caller
from wellkeep.keys.inventory import KnownKey
from wellkeep.keys.kms import DEPLOYMENT_PURPOSES
from wellkeep.keys.ring import KeyRing
from wellkeep.keys.ring_states import TenantState
from wellkeep.keys.rotation import Rotation


@dataclass(frozen=True, slots=True)
class RootUse:
    """A root key that rows name: by how many, and of those how many should name another; `driver` of the settings."""

    root: str
    driver: str | None
    rows: int
    to_move: int


@dataclass(frozen=True, slots=True)
class TenantKeyState:
    """A tenant's keys as they stand."""

    tenant: UUID
    state: str
    keys: Sequence[KeyStatus]


@dataclass(frozen=True, slots=True)
class Overview:
    """How the keys of a deployment stand."""

    epochs: Sequence[EpochStatus]
    roots: Sequence[RootUse]
    tenants: Sequence[TenantKeyState]
    rotations: Sequence[Rotation]

    @property
    def well(self) -> bool:
        """Whether every tenant's keys open, nothing is overdue, and no rotation is kept from going on."""
        return (
            all(one.state == TenantState.OK for one in self.tenants)
            and not any(one.overdue for one in self.epochs)
            and not any(key.overdue for one in self.tenants for key in one.keys)
            and not any(one.error for one in self.rotations if one.state == "running")
        )


async def overview(
    rotations: KeyRotations, caller: Caller, *, tenant: UUID | None = None, rows: bool = False
) -> Overview:
    """Return how the keys stand, of `tenant` or of all; with `rows`, how many rows carry each is counted."""
    core = rotations.core
    known = await rotations.keys(caller)
    whose = sorted({key.tenant for key in known}) if tenant is None else [tenant]
    return Overview(
        epochs=await rotations.epochs(),
        roots=_roots(rotations, known),
        tenants=[
            TenantKeyState(one, await _state(core.ring, one), await keys_status.tenant_keys(core, one, rows=rows))
            for one in whose
        ],
        rotations=[one for one in await rotations.all() if tenant in {None, one.tenant}],
    )


def _roots(rotations: KeyRotations, known: Sequence[KnownKey]) -> list[RootUse]:
    used = Counter(key.root for key in known)
    to_move = Counter(key.root for key in known if key.root != rotations.root.root_of(key))
    return [RootUse(root, _driver(rotations, known, root), used[root], to_move[root]) for root in sorted(used)]


def _driver(rotations: KeyRotations, known: Sequence[KnownKey], root: str) -> str | None:
    """Return which driver the settings have for a root that rows name; None where they do not allow it."""
    for key in known:
        if key.root != root:
            continue
        whose = PLATFORM_TENANT if key.purpose in DEPLOYMENT_PURPOSES else key.tenant
        try:
            described = rotations.core.roots.named(whose, root).describe()
        except KeysUnavailable:
            continue
        if described.root == root:
            return described.driver
    return None


async def _state(ring: KeyRing, tenant: UUID) -> str:
    try:
        await ring.load(tenant)
    except WellkeepError as refused:
        return ring.state(tenant) or refused.code
    return ring.state(tenant) or TenantState.OK
