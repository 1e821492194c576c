"""The ledger as its tenant reads it: entries by filter, in pages; each look is itself an entry.

Rule: a cursor is bound to the tenant and the filters it was made for, so it can't be carried to another query.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from wellkeep.base.errors import FieldProblem, Validation
from wellkeep.base.permissions import Permission
from wellkeep.gate.acts import Act, Caller
from wellkeep.gate.gate import Gate
from wellkeep.keys.cursors import Cursors
from wellkeep.ledger.event import Action
from wellkeep.ledger.search import Place, search

_EPOCH_BYTES = 4
_SEQ_BYTES = 8


class EntryPage(msgspec.Struct, frozen=True):
    """One page of entries, newest first, each as the JSON that is stored and hashed."""

    entries: list[msgspec.Raw]
    cursor: str | None


class LedgerSearch:
    """The service of `/v1/ledger/entries`."""

    def __init__(self, *, gate: Gate, cursors: Cursors) -> None:
        """Search through `gate`; `cursors` signs where a page ended."""
        self._gate = gate
        self._cursors = cursors

    async def search(
        self,
        caller: Caller,
        *,
        actor: str | None,
        subject: UUID | None,
        action: str | None,
        since: datetime | None,
        limit: int,
        cursor: str | None,
    ) -> EntryPage:
        """Return one page; raises Forbidden, Validation (an unknown action, a cursor of another query)."""
        tenant = caller.principal.tenant
        decision = await self._gate.decide(
            caller, Act(Permission.LEDGER_READ, Action.LEDGER_READ, "ledger", subject=subject)
        )
        query = msgspec.json.encode((actor, subject, action, since))
        before = None
        if cursor is not None:
            before = _place(self._cursors.verify(cursor, tenant=tenant, collection=0, query=query))
        async with self._gate.transaction(decision) as work:
            found = await search(
                work.connection,
                actor=actor,
                subject=subject,
                action=_action(action),
                since=since,
                before=before,
                limit=limit,
            )
            work.record(count=len(found))
        following = None
        if len(found) == limit:
            last = found[-1].place
            position = last.epoch.to_bytes(_EPOCH_BYTES, "big") + last.seq.to_bytes(_SEQ_BYTES, "big")
            following = self._cursors.sign(position, tenant=tenant, collection=0, query=query)
        return EntryPage([msgspec.Raw(one.entry) for one in found], following)


def _action(text: str | None) -> Action | None:
    try:
        return None if text is None else Action(text)
    except ValueError:
        raise Validation(fields=(FieldProblem("query/action", "not-allowed"),)) from None


def _place(position: bytes) -> Place:
    return Place(int.from_bytes(position[:_EPOCH_BYTES], "big"), int.from_bytes(position[_EPOCH_BYTES:], "big"))
