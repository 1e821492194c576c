"""Idempotency-Key: a repeated request gets the first one's answer, and changes nothing again.

Rules: per credential, for 24 hours. The row is written in the transaction of the change, so an answer is there if and
only if the change is. Key and request are stored as keyed MACs (a bare hash of a body would confirm a guess), the
answer is sealed. The same key with another request is a conflict. Of two twins at the same moment one executes, the
other waits for its commit and gets its answer.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

import msgspec

from wellkeep.base.errors import Conflict, FieldProblem, IntegrityBroken, Validation
from wellkeep.base.turns import give_way
from wellkeep.crypto import envelope
from wellkeep.crypto.padding import ValueType
from wellkeep.gate.acts import Decision
from wellkeep.gate.gate import Gate
from wellkeep.keys.tenant import TenantKeys
from wellkeep.ledger.event import Action
from wellkeep.vault.calls import Claim
from wellkeep.vault.context import NOT_OPENED

T = TypeVar("T")

_NO_COLLECTION = 0
_ANSWER_FIELD = 0
_RESOURCE = "answer"
LONGEST_KEY = 255
_PARTS_AT_ONCE = 400


@dataclass(frozen=True, slots=True)
class Request:
    """A request that carries an Idempotency-Key, ready to be claimed or compared."""

    key_hash: bytes
    mac: bytes

    @property
    def place(self) -> UUID:
        """The id that the stored answer is bound to."""
        return UUID(bytes=self.key_hash[:16])

    async def claim(self, keys: TenantKeys, answer: msgspec.Struct) -> Claim:
        """Return what is stored with the change: `answer` sealed in its place."""
        key = await keys.data_key(seals=1)
        sealed = envelope.seal_one(
            key,
            (_ANSWER_FIELD, ValueType.JSON, msgspec.json.encode(answer), False),
            tenant=keys.tenant.bytes,
            collection=_NO_COLLECTION,
            record=self.place.bytes,
        )
        return Claim(self.key_hash, self.mac, sealed)


async def request(
    keys: TenantKeys, *, credential: UUID | None, idempotency_key: str | None, parts: Iterable[bytes]
) -> Request | None:
    """Return the request of `parts` (all that tells it from another) under its key, or None where there is no key.

    Raises Validation for a key that is empty or longer than 255 characters.
    """
    if idempotency_key is None:
        return None
    if not 1 <= len(idempotency_key) <= LONGEST_KEY or not idempotency_key.isascii():
        raise Validation(fields=(FieldProblem("/Idempotency-Key", "malformed"),))
    holder = b"" if credential is None else credential.bytes
    key_hash = hmac.digest(keys.mac_key("idempotency/1"), holder + idempotency_key.encode(), "sha256")
    mac = hmac.new(keys.mac_key("request/1"), digestmod="sha256")
    for number, part in enumerate(parts, start=1):
        if number % _PARTS_AT_ONCE == 0:
            await give_way()
        mac.update(len(part).to_bytes(8, "big") + part)
    return Request(key_hash, mac.digest())


async def stored_answer(
    gate: Gate,
    decision: Decision,
    asked: Request | None,
    *,
    keys: TenantKeys,
    stored_mac: bytes,
    sealed: bytes,
    shape: type[T],
) -> T:
    """Return the first request's answer, entered and opened. Raises Conflict where that was another request."""
    if asked is None or not hmac.compare_digest(asked.mac, stored_mac):
        await gate.failed(decision, error=Conflict.code)
        raise Conflict("This Idempotency-Key was used for another request")
    receipt = await gate.disclose(
        decision, shown=0, resource_type=_RESOURCE, resource_id=str(asked.place), records=(asked.place,)
    )
    try:
        ((_, _, payload),) = keys.open_record(
            receipt,
            collection=_NO_COLLECTION,
            record=asked.place,
            keys=keys.data_keys,
            field_ids=[_ANSWER_FIELD],
            sealed=[sealed],
        )
    except IntegrityBroken:
        await gate.failed(
            decision,
            action=Action.OPEN_FAILED,
            error=NOT_OPENED,
            resource_type=_RESOURCE,
            resource_id=str(asked.place),
            records=(asked.place,),
        )
        raise
    return msgspec.json.decode(payload, type=shape)
