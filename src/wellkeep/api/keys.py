"""Keys over HTTP, on the administration listener alone: what there is of them, and their rotations.

Rule: nothing that a key wraps, and nothing that wraps one, is ever an answer.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec

from wellkeep.api import answers
from wellkeep.api.answers import Answer, location
from wellkeep.api.routes import Call, Route
from wellkeep.api.shapes import Input
from wellkeep.base.permissions import Permission
from wellkeep.keys import inventory, rotation

_KEYS = "/v1/keys"
_ALL = _KEYS + "/rotations"
_ONE = _ALL + "/{rotation_id}"

TierName = Literal["root", "epoch", "subject", "data", "index"]


class RotationInput(Input, frozen=True, kw_only=True):
    """Which tier is rotated, and whose where it is not everybody's: root for one tenant or all, epoch for all."""

    tier: Annotated[TierName, msgspec.Meta(description="root, epoch, subject, data or index")]
    tenant: UUID | None = None


class Rotation(msgspec.Struct, frozen=True):
    """A rotation; `done` and `total` count rows, `error` is what keeps it from going on at the moment."""

    id: UUID
    tenant: UUID
    tier: str
    state: str
    target: int | None
    done: int
    total: int | None
    conflicts: int
    error: str | None
    requested_by: str
    started_at: datetime
    updated_at: datetime
    finished_at: datetime | None


class Rotations(msgspec.Struct, frozen=True):
    """Rotations: those under way first, then the newest."""

    rotations: list[Rotation]


class Key(msgspec.Struct, frozen=True):
    """A key that is not destroyed; `kms_epoch` is the deployment's epoch that it needs, 0 for the deployment's own."""

    tenant: UUID
    purpose: str
    epoch: int
    kid: str
    state: str
    kms_epoch: int
    root: str
    seals: int
    created_at: datetime


class Epoch(msgspec.Struct, frozen=True):
    """An epoch of the deployment: how its key stands outside, when it is destroyed, how many of the keys need it."""

    epoch: int
    state: str
    outside: str
    rows: int
    created_at: datetime
    retired_at: datetime | None
    destroy_at: datetime | None
    destroyed_at: datetime | None


class KeyList(msgspec.Struct, frozen=True):
    """Keys, and the epochs that they need."""

    keys: list[Key]
    epochs: list[Epoch]


async def list_keys(call: Call) -> Answer:
    """Return the keys: the caller's tenant's, or to the platform those of all."""
    service = call.runtime.key_rotations
    keys = await service.keys(call.caller)
    epochs = [
        Epoch(
            one.epoch,
            one.state,
            one.outside,
            one.rows,
            one.created_at,
            one.retired_at,
            one.destroy_at,
            one.destroyed_at,
        )
        for one in await service.epochs_for(call.caller, keys)
    ]
    return answers.json(KeyList([_key(one) for one in keys], epochs))


async def start(call: Call) -> Answer:
    """Begin a rotation, or return the one that runs."""
    body: RotationInput = call.body
    found = await call.runtime.key_rotations.start(call.caller, rotation.Tier(body.tier), tenant=body.tenant)
    return answers.json(_rotation(found), status=202, headers=(location(_ALL, found.id),))


async def list_rotations(call: Call) -> Answer:
    """Return the rotations."""
    found = await call.runtime.key_rotations.listed(call.caller)
    return answers.json(Rotations([_rotation(one) for one in found]))


async def read_rotation(call: Call) -> Answer:
    """Return how a rotation stands."""
    found = await call.runtime.key_rotations.one(call.caller, call.identifier("rotation_id"))
    return answers.json(_rotation(found))


def _rotation(one: rotation.Rotation) -> Rotation:
    return Rotation(
        id=one.id,
        tenant=one.tenant,
        tier=one.tier.value,
        state=one.state,
        target=one.target,
        done=one.done,
        total=one.total,
        conflicts=one.conflicts,
        error=one.error,
        requested_by=one.requested_by,
        started_at=one.started_at,
        updated_at=one.updated_at,
        finished_at=one.finished_at,
    )


def _key(one: inventory.KnownKey) -> Key:
    return Key(
        tenant=one.tenant,
        purpose=one.purpose,
        epoch=one.epoch,
        kid=one.kid.hex(),
        state=one.state,
        kms_epoch=one.kms_epoch,
        root=one.root,
        seals=one.seals,
        created_at=one.created_at,
    )


KEYS = (
    Route(
        method="GET",
        path=_KEYS,
        name="keys_list",
        summary="All keys and epochs, without what they wrap",
        tag="keys",
        serve=list_keys,
        permission=Permission.KEYS_READ,
        returns=KeyList,
    ),
    Route(
        method="POST",
        path=_ALL,
        name="keys_rotate",
        summary="Rotate a tier of keys; the one that runs already is returned",
        tag="keys",
        serve=start,
        permission=Permission.KEYS_ROTATE,
        body=RotationInput,
        returns=Rotation,
        status=202,
        answer_headers=("Location",),
        example={"tier": "epoch"},
    ),
    Route(
        method="GET",
        path=_ALL,
        name="keys_rotations",
        summary="Rotations: those under way first, then the newest",
        tag="keys",
        serve=list_rotations,
        permission=Permission.KEYS_READ,
        returns=Rotations,
    ),
    Route(
        method="GET",
        path=_ONE,
        name="keys_rotation",
        summary="How a rotation stands",
        tag="keys",
        serve=read_rotation,
        permission=Permission.KEYS_READ,
        returns=Rotation,
    ),
)
