"""Changing a stored record: which envelopes stay, which are sealed anew, and the compare-and-swap that stores it.

Rules: what a change does not name keeps its ciphertext; a change of nothing but plain fields seals nothing. New values
are sealed under the newest active key of the person the record was sealed for. What was sealed anew meanwhile is read
again and changed then: its revision is the same, so no condition of the caller's has failed. The content MAC of an
imported record goes with a change, so that the next import of its file sees a difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from wellkeep.base.errors import NotFound, PreconditionFailed
from wellkeep.crypto import envelope
from wellkeep.gate.acts import Decision
from wellkeep.gate.events import Facts
from wellkeep.keys.tenant import TenantKeys
from wellkeep.ledger.event import Action
from wellkeep.vault.calls import ChangeRecord, Claim, KeyUse, SealedState
from wellkeep.vault.context import Context
from wellkeep.vault.definition import EXTERNAL_ID, Collection
from wellkeep.vault.idempotency import Request, stored_answer
from wellkeep.vault.input import changed_payloads
from wellkeep.vault.keying import MODE_EXISTING, MODE_NONE, Keying, refund
from wellkeep.vault.outcomes import Written, settle
from wellkeep.vault.sealing import Kept, state_of
from wellkeep.vault.stored import Stored, subject_keys
from wellkeep.vault.tags import Payload, Tag, index_tags
from wellkeep.vault.values import Value, kind_of


@dataclass(frozen=True, slots=True)
class Plan:
    """A change, ready to be stored: the new state, the key it was sealed with (None: nothing sealed), what it names."""

    state: SealedState
    keying: Keying | None
    values: Sequence[Payload] = ()
    cleared: AbstractSet[int] = frozenset()
    names: tuple[str, ...] = ()
    deleted: bool = False


class Place(NamedTuple):
    """Where a change goes to that was made from no state."""

    id: UUID
    resealed: UUID | None


async def changed_state(
    context: Context,
    decision: Decision,
    target: Collection,
    keys: TenantKeys,
    current: Stored,
    fields: Mapping[str, Value],
    *,
    revision: int,
) -> Plan:
    """Return the plan to set and clear `fields` as `revision`. Raises Validation, SubjectErased, IntegrityBroken."""
    values, cleared = changed_payloads(target, fields)
    named = cleared | {field.id for field, _ in values}
    sealing = [(field.id, kind_of(field), payload, field.enum is not None) for field, payload in values if field.sealed]
    keying = await key_for(context, decision, keys, current, seals=len(sealing)) if sealing else None
    kept = [pair for pair in zip(current.field_ids, current.sealed, strict=True) if pair[0] not in named]
    added = (
        envelope.seal_record(
            keying.key, tenant=decision.tenant.bytes, collection=target.id, record=current.id.bytes, items=sealing
        )
        if keying is not None
        else []
    )
    plain = {number: text for number, text in current.plain.items() if number not in named}
    plain |= {field.id: payload.decode() for field, payload in values if not field.sealed}
    new_tags = index_tags(keys, collection=target.id, payloads=values, region=context.region)
    state = state_of(
        collection=target.id,
        record=current.id,
        revision=revision,
        sealed_for=current.sealed_for,
        field_ids=[number for number, _ in kept] + [item[0] for item in sealing],
        sealed=[sealed for _, sealed in kept] + added,
        plain=plain,
        tags=[tag for tag in stored_tags(target, current) if tag.field not in named] + new_tags,
        mac=None,
    )
    return Plan(state=state, keying=keying, values=values, cleared=cleared, names=tuple(fields))


def deleted_state(target: Collection, current: Stored, *, revision: int) -> Plan:
    """Return the plan that deletes as `revision`: the ciphertexts stay as history, the tags go."""
    state = state_of(
        collection=target.id,
        record=current.id,
        revision=revision,
        sealed_for=current.sealed_for,
        field_ids=current.field_ids,
        sealed=current.sealed,
        plain=current.plain,
        tags=(),
        mac=None,
    )
    return Plan(state=state, keying=None, deleted=True)


def met(current: Stored) -> Facts:
    """Return what the entry of a refusal says of the record that it was about."""
    return Facts(resource_id=str(current.id), subject=current.subject, records=(current.id,))


def stored_tags(target: Collection, current: Stored) -> list[Tag]:
    """Return the tags that `current` has in the database."""
    return [
        Tag(number, tag, number == EXTERNAL_ID or target.by_id[number].index == "unique")
        for number, tag in zip(current.tag_fields, current.tags, strict=True)
    ]


def kept_unseen(target: Collection, current: Stored, decision: Decision) -> Kept:
    """Return what `current` holds in fields that `decision` shows not: who can't see them replaces the rest alone."""
    unseen = target.by_id.keys() - target.view(decision.groups, decision.hidden).fields.keys()
    return Kept(
        envelopes=[pair for pair in zip(current.field_ids, current.sealed, strict=True) if pair[0] in unseen],
        plain={number: text for number, text in current.plain.items() if number in unseen},
        tags=[tag for tag in stored_tags(target, current) if tag.field in unseen],
    )


async def key_for(context: Context, decision: Decision, keys: TenantKeys, current: Stored, *, seals: int) -> Keying:
    """Return the key that new values of an existing record are sealed under. Raises SubjectErased, IntegrityBroken."""
    if current.sealed_for is None:
        return Keying(await keys.data_key(seals=seals), KeyUse(MODE_NONE))
    active = [row for row in current.key_rows if row.state == "active"]
    if not active:
        erased = await context.keyless(decision, current.sealed_for)
        await context.refuse(decision, erased, **met(current))
    newest = max(active, key=lambda row: row.generation)
    key = subject_keys(keys, subject=current.sealed_for, rows=(newest,))[newest.kid]
    lease = key.meter.take(seals)
    return Keying(key, KeyUse(MODE_EXISTING, current.sealed_for, key.kid, lease=lease), seals, key.meter)


async def apply(
    context: Context,
    decision: Decision,
    target: Collection,
    keys: TenantKeys,
    current: Stored,
    plan: Plan,
    *,
    expected: int,
    asked: Request | None = None,
    action: Action | None = None,
) -> Written | None:
    """Store `plan` on the revision `expected`; None where it must be tried again on fresh knowledge.

    Raises PreconditionFailed, NotFound, Conflict, and what the gate raises.
    """
    if expected != current.revision and asked is None:
        _give_back(plan)
        await context.refuse(decision, PreconditionFailed(), **met(current))
    answer = Written(current.id, current.subject, expected + 1, current.created_at, context.clock.now())
    claim = None if asked is None else await asked.claim(keys, answer)
    call = _call(decision, target, current, plan, expected=expected, at=answer.updated_at, claim=claim)
    facts = _facts(current, plan, revision=expected + 1, action=action or decision.act.action)
    (row,) = await context.gate.change(decision, call, **facts)
    status = row["status"]
    if status == "ok":
        return answer
    _give_back(plan)
    if status == "replay":
        mac, sealed = row["stored_mac"], row["answer"]
        keys = await context.keys_opening(keys, (sealed,))
        return await stored_answer(
            context.gate, decision, asked, keys=keys, stored_mac=mac, sealed=sealed, shape=Written
        )
    settle(context, decision, target, subject=current.sealed_for, status=status)
    return None


async def repeated(
    context: Context, decision: Decision, target: Collection, keys: TenantKeys, record: UUID, asked: Request | None
) -> Written:
    """Return the answer to the first request of `asked`, made before `record` was deleted. Raises NotFound, on record.

    The database is asked for a change that it can't make, of revision 0, for it is what knows the key of the request.
    """
    none = NotFound("There is no record of this id")
    if asked is None:
        await context.absent(decision, target, record, none)
    now = context.clock.now()
    empty = state_of(
        collection=target.id,
        record=record,
        revision=1,
        sealed_for=None,
        field_ids=[],
        sealed=[],
        plain={},
        tags=[],
        mac=None,
    )
    nothing = Plan(empty, keying=None)
    claim = await asked.claim(keys, Written(record, None, 0, now, now))
    call = _call(decision, target, Place(record, None), nothing, expected=0, at=now, claim=claim)
    (row,) = await context.gate.change(decision, call)
    if row["status"] != "replay":
        raise none
    keys = await context.keys_opening(keys, (row["answer"],))
    return await stored_answer(
        context.gate,
        decision,
        asked,
        keys=keys,
        stored_mac=row["stored_mac"],
        sealed=row["answer"],
        shape=Written,
    )


def _facts(current: Stored, plan: Plan, *, revision: int, action: Action) -> Facts:
    return Facts(
        action=action,
        resource_id=str(current.id),
        subject=current.subject,
        records=(current.id,),
        fields=plan.names,
        digest=plan.state.digest,
        revision=revision,
    )


def _call(
    decision: Decision,
    target: Collection,
    met: Stored | Place,
    plan: Plan,
    *,
    expected: int,
    at: datetime,
    claim: Claim | None,
) -> ChangeRecord:
    keying = plan.keying
    return ChangeRecord(
        credential=decision.caller.principal.credential,
        collection=target.id,
        version=target.version,
        record=met.id,
        expected=expected,
        resealed=met.resealed,
        kid=None if keying is None else keying.use.kid,
        lease=keying is not None and keying.use.lease,
        state=plan.state,
        at=at,
        deleted=plan.deleted,
        claim=claim,
    )


def _give_back(plan: Plan) -> None:
    if plan.keying is not None:
        refund(plan.keying)
