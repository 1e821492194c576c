"""Upsert by external id: the same content twice changes nothing, whoever repeats it.

Rules: the external id is sealed as field 0 and found by its blind tag, unique in its collection. Whether anything
changed is told by the stored content MAC, so nothing is opened to compare. What is put replaces the whole record that
its caller can see: fields of other groups stay as they are stored. A subject is looked up before the external id, and
what is refused is on record with the record that was met: else a name of nobody would tell which external ids exist.
Who sees no identifiers puts nothing by one. Whoever is bound to some patients changes what these have, and makes
nothing that could be a patient's: an external id out of reach and one that is not there are answered alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

import msgspec

from wellkeep.base.errors import Conflict, NotFound, PreconditionFailed, SubjectErased, Unavailable
from wellkeep.base.ids import uuid7
from wellkeep.base.permissions import Permission
from wellkeep.gate.acts import Act, Caller, Decision
from wellkeep.keys.seals import KeyReplaced
from wellkeep.keys.tenant import TenantKeys
from wellkeep.ledger.event import Action
from wellkeep.vault.calls import NIL, SealedState, SearchRecords
from wellkeep.vault.changing import Plan, apply, kept_unseen, key_for, met
from wellkeep.vault.context import Context
from wellkeep.vault.creating import create_call, create_facts
from wellkeep.vault.definition import EXTERNAL_ID, IDENTIFIER, Collection, SubjectMode
from wellkeep.vault.input import check_external_id, check_subject, must_see, must_see_identifiers, payloads
from wellkeep.vault.keying import Keying, for_single_record, keep, refund
from wellkeep.vault.outcomes import Written, settle
from wellkeep.vault.sealing import NOTHING_KEPT, Kept, content_mac, seal_state
from wellkeep.vault.stored import Stored, stored
from wellkeep.vault.tags import Payload, Tag, external_tags, index_tags
from wellkeep.vault.values import Value

_RESOURCE = "record"
_TRIES = 8
"""Whoever loses a race reads the winner's state and puts again; so often only where many put at once."""


class Upserted(NamedTuple):
    """What was written, and whether that was `created`, `updated` or `unchanged`."""

    written: Written
    outcome: str


class Upserts:
    """The service of `PUT …/records/by-external-id/{external_id}`."""

    def __init__(self, context: Context) -> None:
        """Work within `context`."""
        self._context = context

    async def put(
        self,
        caller: Caller,
        collection: str,
        external_id: str,
        fields: Mapping[str, Value],
        *,
        subject: UUID | None = None,
    ) -> Upserted:
        """Make the record of this external id, or replace its content where it differs.

        Raises Validation, NotFound, Conflict (a unique value is taken, another subject is named), Forbidden.
        """
        decision = await self._naming(caller, collection)
        check_external_id(external_id)
        for _ in range(_TRIES):
            target = await self._context.collection(decision, collection)
            check_subject(target, subject)
            await self._must_reach_named(decision, subject)
            await must_see(self._context.gate, decision, target, fields)
            values = payloads(target, fields)
            await self._must_exist(decision, subject)
            keys = await self._context.keys_for(decision.tenant, target)
            current = await self._located(decision, target, keys, external_id)
            if current is None:
                await self._may_make(decision, target)
                try:
                    done = await self._create(caller, target, keys, values, external_id, subject)
                except KeyReplaced:
                    await self._context.keyring.renew(keys)
                    continue
            else:
                keys = await self._context.keys_of(keys, (current,))
                done = await self._replace(decision, target, keys, current, values, external_id, subject)
            if done is not None:
                return done
        raise Unavailable("The record is being changed by others; try again", retry_after=1)

    async def _naming(self, caller: Caller, collection: str) -> Decision:
        """Return the decision to change what an external id names, without what of it sees no identifiers."""
        decision = await self._decide(caller, Permission.RECORD_CHANGE, Action.RECORD_CHANGE, collection)
        await must_see_identifiers(self._context.gate, decision)
        if decision.beyond is not None and IDENTIFIER not in decision.beyond.groups:
            return msgspec.structs.replace(decision, beyond=None)
        return decision

    async def _may_make(self, decision: Decision, target: Collection) -> None:
        """Refuse, as if it were out of reach, to make what could as well be there and be another patient's."""
        if target.subject is not SubjectMode.NONE:
            await self._context.gate.must_reach_all(decision)

    async def _must_reach_named(self, decision: Decision, subject: UUID | None) -> None:
        """Refuse a named patient out of reach before anything is looked up: else the answer would tell of them."""
        if subject is not None:
            await self._context.gate.must_reach(decision, subject)

    async def _must_exist(self, decision: Decision, subject: UUID | None) -> None:
        if subject is None:
            return
        try:
            await self._context.person(decision, subject)
        except (NotFound, SubjectErased) as refused:
            await self._context.refuse(decision, refused, subject=subject)

    async def _create(
        self,
        caller: Caller,
        target: Collection,
        keys: TenantKeys,
        values: Sequence[Payload],
        external_id: str,
        subject: UUID | None,
    ) -> Upserted | None:
        decision = await self._decide(caller, Permission.RECORD_CREATE, Action.RECORD_CREATE, target.name)
        context, record, now = self._context, uuid7(), self._context.clock.now()
        decision = await self._settled(decision, target, values, subject)
        await must_see_identifiers(context.gate, decision)
        keying = await for_single_record(context, decision, target, keys, subject=subject, seals=len(values) + 1)
        owner = keying.use.subject if target.subject is SubjectMode.REQUIRED else None
        state = _sealed(context, target, keys, keying, (record, 1), values, external_id, owner)
        call = create_call(decision, target, record, keying, state, at=now, claim=None)
        (row,) = await context.gate.change(decision, call, **create_facts(record, keying, values, state))
        if row["status"] == "ok":
            keep(context, decision, keying)
            return Upserted(Written(record, keying.use.subject, 1, now, now), "created")
        refund(keying)
        if row["status"] == "conflict" and await self._located(decision, target, keys, external_id) is not None:
            return None
        settle(context, decision, target, subject=subject, status=row["status"])
        return None

    async def _replace(
        self,
        decision: Decision,
        target: Collection,
        keys: TenantKeys,
        current: Stored,
        values: Sequence[Payload],
        external_id: str,
        subject: UUID | None,
    ) -> Upserted | None:
        context = self._context
        decision = await self._settled(decision, target, values, current.subject)
        if subject is not None and subject not in (current.subject, current.sealed_for):
            await context.refuse(
                decision,
                Conflict("This external id belongs to a record of another subject"),
                **met(current),
            )
        kept = kept_unseen(target, current, decision)
        owner = current.subject if target.subject is SubjectMode.REQUIRED else None
        mac = content_mac(
            keys, collection=target.id, external_id=external_id, payloads=values, subject=owner, kept=kept
        )
        if mac == current.content_mac:
            await context.gate.disclose(
                decision, shown=0, resource_id=str(current.id), subject=current.subject, records=(current.id,), count=0
            )
            same = Written(current.id, current.subject, current.revision, current.created_at, current.updated_at)
            return Upserted(same, "unchanged")
        keying = await key_for(context, decision, keys, current, seals=len(values) + 1)
        place = (current.id, current.revision + 1)
        state = _sealed(context, target, keys, keying, place, values, external_id, owner, kept)
        names = tuple(field.name for field, _ in values)
        plan = Plan(state=state, keying=keying, values=values, names=names)
        try:
            done = await apply(context, decision, target, keys, current, plan, expected=current.revision)
        except (PreconditionFailed, NotFound):
            return None  # another put or a deletion came first: no condition of the caller's has failed
        return None if done is None else Upserted(done, "updated")

    async def _settled(
        self, decision: Decision, target: Collection, values: Sequence[Payload], subject: UUID | None
    ) -> Decision:
        """Return the decision as it holds for this patient, who may be out of the reach of some roles."""
        settled = await self._context.gate.must_reach(decision, subject)
        if settled is not decision:
            await must_see(self._context.gate, settled, target, {field.name: None for field, _ in values})
        return settled

    async def _located(
        self, decision: Decision, target: Collection, keys: TenantKeys, external_id: str
    ) -> Stored | None:
        newest, *older = external_tags(keys, collection=target.id, external_id=external_id)
        call = SearchRecords(
            credential=decision.caller.principal.credential,
            collection=target.id,
            first_field=EXTERNAL_ID,
            first_tag=newest,
            unique=True,
            more_tags=None,
            subject=None,
            after=NIL,
            most=1,
            whole=True,
            older=tuple(older),
        )
        found = stored(await self._context.gate.read(decision, call))
        return found[0] if found else None

    async def _decide(self, caller: Caller, permission: Permission, action: Action, collection: str) -> Decision:
        return await self._context.gate.decide(caller, Act(permission, action, _RESOURCE, collection=collection))


def _sealed(
    context: Context,
    target: Collection,
    keys: TenantKeys,
    keying: Keying,
    place: tuple[UUID, int],
    values: Sequence[Payload],
    external_id: str,
    owner: UUID | None,
    kept: Kept = NOTHING_KEPT,
) -> SealedState:
    """Seal what is put at `place`: the record's id, and the revision that it will be."""
    record, revision = place
    named = external_tags(keys, collection=target.id, external_id=external_id)
    tags = [Tag(EXTERNAL_ID, tag, unique=True) for tag in named]
    tags += index_tags(keys, collection=target.id, payloads=values, region=context.region)
    return seal_state(
        keying.key,
        tenant=keys.tenant,
        collection=target.id,
        record=record,
        revision=revision,
        sealed_for=keying.use.subject,
        payloads=values,
        tags=tags,
        external_id=external_id,
        mac=content_mac(keys, collection=target.id, external_id=external_id, payloads=values, subject=owner, kept=kept),
        kept=kept,
    )
