"""Records: created, read, changed, deleted.

Rules: what goes in is sealed before it leaves the process; what comes out was entered in the ledger first. A change
names the revision it was made from, seals what it changes and leaves every other ciphertext as it is. A deletion is
soft: tags go, the sealed history stays. An id of another tenant is not found, like one that never was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from uuid import UUID

from wellkeep.base.errors import IntegrityBroken, NotFound, SubjectErased, Unavailable
from wellkeep.base.ids import uuid7
from wellkeep.base.permissions import Permission
from wellkeep.gate.acts import Act, Caller, Decision
from wellkeep.keys.seals import KeyReplaced
from wellkeep.keys.tenant import TenantKeys
from wellkeep.ledger.event import Action
from wellkeep.vault.calls import ReadRecord
from wellkeep.vault.changing import apply, changed_state, deleted_state, repeated
from wellkeep.vault.context import Context
from wellkeep.vault.creating import create_call, create_facts
from wellkeep.vault.definition import Collection
from wellkeep.vault.idempotency import Request, request, stored_answer
from wellkeep.vault.input import changed_payloads, check_subject, must_see, payloads
from wellkeep.vault.keying import for_single_record, keep, refund
from wellkeep.vault.outcomes import RecordView, Written, chosen, id_bytes, settle, view_of
from wellkeep.vault.sealing import seal_state
from wellkeep.vault.stored import Stored, open_fields, stored
from wellkeep.vault.tags import Payload, index_tags, payload_bytes
from wellkeep.vault.values import Value

_RESOURCE = "record"
_NONE = "There is no record of this id"
_TRIES = 4
"""A definition or a key may change under a write; more often than this it is somebody's fault."""


class Records:
    """The service of `/v1/collections/{collection}/records`."""

    def __init__(self, context: Context) -> None:
        """Work within `context`."""
        self._context = context

    async def create(
        self,
        caller: Caller,
        collection: str,
        fields: Mapping[str, Value],
        *,
        subject: UUID | None = None,
        idempotency_key: str | None = None,
    ) -> Written:
        """Make a record, and its subject where the collection says so.

        Raises Validation, NotFound (collection, subject), Conflict (a unique value is taken; another request under this
        key), Forbidden, SubjectErased, and what the gate raises.
        """
        decision = await self._context.gate.decide(
            caller,
            Act(Permission.RECORD_CREATE, Action.RECORD_CREATE, _RESOURCE, subject=subject, collection=collection),
        )
        decision = await self._context.gate.must_reach(decision, subject)
        for _ in range(_TRIES):
            target = await self._context.collection(decision, collection)
            check_subject(target, subject)
            await must_see(self._context.gate, decision, target, fields)
            values = payloads(target, fields)
            keys = await self._context.keys_for(decision.tenant, target)
            asked = await request(
                keys,
                credential=caller.principal.credential,
                idempotency_key=idempotency_key,
                parts=chain((b"create", target.name.encode(), id_bytes(subject)), payload_bytes(values)),
            )
            try:
                done = await self._create(decision, target, keys, values, subject, asked)
            except KeyReplaced:
                await self._context.keyring.renew(keys)
                continue
            if done is not None:
                return done
        raise Unavailable("The collection or the subject is being changed by others; try again", retry_after=1)

    async def _create(
        self,
        decision: Decision,
        target: Collection,
        keys: TenantKeys,
        values: Sequence[Payload],
        subject: UUID | None,
        asked: Request | None,
    ) -> Written | None:
        """Try once; None where the collection or the key is not the current one any more."""
        record, now = uuid7(), self._context.clock.now()
        tags = index_tags(keys, collection=target.id, payloads=values, region=self._context.region)
        keying = await for_single_record(self._context, decision, target, keys, subject=subject, seals=len(values))
        state = seal_state(
            keying.key,
            tenant=decision.tenant,
            collection=target.id,
            record=record,
            revision=1,
            sealed_for=keying.use.subject,
            payloads=values,
            tags=tags,
        )
        answer = Written(record, keying.use.subject, 1, now, now)
        claim = None if asked is None else await asked.claim(keys, answer)
        call = create_call(decision, target, record, keying, state, at=now, claim=claim)
        (row,) = await self._context.gate.change(decision, call, **create_facts(record, keying, values, state))
        status = row["status"]
        if status == "ok":
            keep(self._context, decision, keying)
            return answer
        refund(keying)
        if status == "replay":
            mac, sealed, gate = row["stored_mac"], row["answer"], self._context.gate
            keys = await self._context.keys_opening(keys, (sealed,))
            return await stored_answer(gate, decision, asked, keys=keys, stored_mac=mac, sealed=sealed, shape=Written)
        settle(self._context, decision, target, subject=subject, status=status)
        return None

    async def read(
        self,
        caller: Caller,
        collection: str,
        record: UUID,
        *,
        fields: Sequence[str] | None = None,
        revision: int | None = None,
    ) -> RecordView:
        """Return a record, or an earlier revision of it; of its `fields` the ones asked for and seen.

        Raises NotFound, Validation (an unknown field), SubjectErased, IntegrityBroken, LedgerUnavailable.
        """
        gate = self._context.gate
        act = Act(Permission.RECORD_READ, Action.RECORD_READ, _RESOURCE, resource_id=str(record), collection=collection)
        decision = await gate.decide(caller, act)
        target = await self._context.collection(decision, collection)
        call = ReadRecord(caller.principal.credential, target.id, record, revision or 0)
        found = stored(await gate.read(decision, call))
        if not found:
            await self._context.absent(decision, target, record, NotFound(_NONE))
        (state,) = found
        decision = await gate.must_reach(decision, state.subject)
        seen, withheld = chosen(target, decision, fields)
        keys = await self._context.keys_for(decision.tenant, target)
        keys = await self._context.keys_of(keys, (state,))
        receipt = await gate.disclose(
            decision,
            subject=state.subject,
            records=(record,),
            fields=tuple(field.name for field in seen.values()),
            revision=state.revision,
        )
        try:
            values = open_fields(receipt, keys=keys, collection=target, state=state, seen=seen)
        except (SubjectErased, IntegrityBroken) as error:
            await self._context.unopened(decision, state, error)
        return view_of(state, values, withheld)

    async def change(
        self,
        caller: Caller,
        collection: str,
        record: UUID,
        fields: Mapping[str, Value],
        *,
        expected: int,
        idempotency_key: str | None = None,
    ) -> Written:
        """Set the given fields and clear those that are null, if the record still is at the revision `expected`.

        Raises Validation, NotFound, PreconditionFailed, Conflict, Forbidden, SubjectErased.
        """
        decision = await self._decide(caller, Permission.RECORD_CHANGE, Action.RECORD_CHANGE, collection, record)
        credential = caller.principal.credential
        for _ in range(_TRIES):
            target = await self._context.collection(decision, collection)
            await must_see(self._context.gate, decision, target, fields)
            keys = await self._context.keys_for(decision.tenant, target)
            state = await self._current(decision, target, record)
            place = (b"change", record.bytes, expected.to_bytes(8, "big"))
            if state is None:
                parts = chain(place, payload_bytes(*changed_payloads(target, fields)))
                asked = await request(keys, credential=credential, idempotency_key=idempotency_key, parts=parts)
                return await repeated(self._context, decision, target, keys, record, asked)
            settled = await self._context.gate.must_reach(decision, state.subject)
            if settled is not decision:
                await must_see(self._context.gate, settled, target, fields)
            keys = await self._context.keys_of(keys, (state,))
            plan = await changed_state(self._context, settled, target, keys, state, fields, revision=expected + 1)
            parts = chain(place, payload_bytes(plan.values, plan.cleared))
            asked = await request(keys, credential=credential, idempotency_key=idempotency_key, parts=parts)
            done = await apply(self._context, settled, target, keys, state, plan, expected=expected, asked=asked)
            if done is not None:
                return done
        raise Unavailable("The record is being changed by others; try again", retry_after=1)

    async def delete(self, caller: Caller, collection: str, record: UUID, *, expected: int) -> Written:
        """Delete a record softly, if it still is at the revision `expected`. Raises NotFound, PreconditionFailed."""
        decision = await self._decide(caller, Permission.RECORD_DELETE, Action.RECORD_DELETE, collection, record)
        for _ in range(_TRIES):
            target = await self._context.collection(decision, collection)
            keys = await self._context.keys_for(decision.tenant, target)
            state = await self._current(decision, target, record)
            if state is None:
                await self._context.absent(decision, target, record, NotFound(_NONE))
            settled = await self._context.gate.must_reach(decision, state.subject)
            plan = deleted_state(target, state, revision=expected + 1)
            done = await apply(self._context, settled, target, keys, state, plan, expected=expected, asked=None)
            if done is not None:
                return done
        raise Unavailable("The record is being changed by others; try again", retry_after=1)

    async def _decide(
        self, caller: Caller, permission: Permission, action: Action, collection: str, record: UUID
    ) -> Decision:
        return await self._context.gate.decide(
            caller, Act(permission, action, _RESOURCE, resource_id=str(record), collection=collection)
        )

    async def _current(self, decision: Decision, target: Collection, record: UUID) -> Stored | None:
        call = ReadRecord(decision.caller.principal.credential, target.id, record, whole=True)
        found = stored(await self._context.gate.read(decision, call))
        return found[0] if found else None
