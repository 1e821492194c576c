"""A tenant's own ledger, page by page: the search is an entry itself, and durable before anything is shown."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from wellkeep.base.errors import FieldProblem, Validation
from wellkeep.base.permissions import Permission
from wellkeep.gate.acts import Act, Caller
from wellkeep.gate.gate import Gate
from wellkeep.keys.cursors import Cursors
from wellkeep.ledger.actions import Action
from wellkeep.ledger.search import Place, search

_NO_COLLECTION: Final = 0
_EPOCH_BYTES: Final = 4
_SEQ_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class EntryPage:
    """One page of entries, newest first, each the stored entry's own JSON; `cursor` is None on the last."""

    entries: list[msgspec.Raw]
    cursor: str | None


class LedgerSearch:
    """Searches entries for whoever may read the ledger of their tenant."""

    def __init__(self, *, gate: Gate, cursors: Cursors) -> None:
        """Read through `gate`; `cursors` sign where a page ends."""
        self._gate = gate
        self._cursors = cursors

    async def search(
        self,
        caller: Caller,
        *,
        actor: str | None = None,
        subject: UUID | None = None,
        action: str | None = None,
        since: datetime | None = None,
        limit: int,
        cursor: str | None = None,
    ) -> EntryPage:
        """Return one page.

        Raises Forbidden, LedgerUnavailable, and Validation for an action that does not exist or a cursor of another
        query.
        """
        act = Act(Permission.LEDGER_READ, Action.LEDGER_READ, "ledger", subject=subject)
        decision = await self._gate.decide(caller, act)
        wanted = _action(action)
        query = _query(actor, subject, wanted, since)
        tenant = decision.tenant
        before = None
        if cursor is not None:
            position = self._cursors.verify(cursor, tenant=tenant, collection=_NO_COLLECTION, query=query)
            before = _place(position)
        async with self._gate.reading(decision) as connection:
            found = await search(
                connection, actor=actor, subject=subject, action=wanted, since=since, before=before, limit=limit
            )
        await self._gate.disclose(decision, count=len(found), subject=subject)
        following = None
        if len(found) == limit:
            following = self._cursors.sign(
                _position(found[-1].place), tenant=tenant, collection=_NO_COLLECTION, query=query
            )
        return EntryPage([msgspec.Raw(one.entry) for one in found], following)


def _action(name: str | None) -> Action | None:
    if name is None:
        return None
    try:
        return Action(name)
    except ValueError:
        raise Validation(fields=(FieldProblem("query/action", "not-one-of"),)) from None


def _query(actor: str | None, subject: UUID | None, action: Action | None, since: datetime | None) -> bytes:
    parts = ("ledger", actor, subject, action, since and since.isoformat())
    return hashlib.sha256(msgspec.json.encode(parts)).digest()


def _position(place: Place) -> bytes:
    return place.epoch.to_bytes(_EPOCH_BYTES, "big") + place.seq.to_bytes(_SEQ_BYTES, "big")


def _place(position: bytes) -> Place:
    return Place(int.from_bytes(position[:_EPOCH_BYTES], "big"), int.from_bytes(position[_EPOCH_BYTES:], "big"))
