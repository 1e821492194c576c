"""How a new record becomes one element of the batched write, and what its entry says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from wellkeep.gate.acts import Decision
from wellkeep.gate.events import Facts
from wellkeep.vault.calls import Claim, CreateRecord, SealedState
from wellkeep.vault.definition import Collection
from wellkeep.vault.keying import Keying
from wellkeep.vault.tags import Payload


def create_call(
    decision: Decision,
    target: Collection,
    record: UUID,
    keying: Keying,
    state: SealedState,
    *,
    at: datetime,
    claim: Claim | None,
) -> CreateRecord:
    """Return the element that stores `state` as revision 1 of `record`; `claim` is its idempotency key's row."""
    return CreateRecord(
        credential=decision.caller.principal.credential,
        collection=target.id,
        version=target.version,
        record=record,
        use=keying.use,
        state=state,
        at=at,
        claim=claim,
    )


def create_facts(record: UUID, keying: Keying, values: Sequence[Payload], state: SealedState) -> Facts:
    """Return what the entry of a new record says: ids, field names and the digest of its ciphertexts."""
    return Facts(
        resource_id=str(record),
        subject=keying.use.subject,
        records=(record,),
        fields=tuple(field.name for field, _ in values),
        digest=state.digest,
        revision=1,
    )
