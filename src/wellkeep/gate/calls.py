"""What a room hands to the gate to run in the database: one row of one batched SQL function.

A `BatchedSql` names a SECURITY INVOKER function that takes an array of composites. Each element's own signed context
(`wk.enter(token)`) is entered before a table is touched for it; elements that follow one another with the same token
and credential may be worked off together. Each result row has a column `i`: the 1-based position of its element (as
PostgreSQL counts arrays); an element has any number of result rows. A column `status`, where there is one, says what
came of the element: `revoked` where the caller's credential stands no longer. A change answers each element with at
least one row, and its first row's status decides:

- a status in `done`: the function wrote the event into `ledger.outbox` in the same transaction, and the gate chains it;
- a status in `quiet`: nothing was changed and the room deals with it (it tries again, or answers from what is stored);
- any other: nothing was changed, and the gate enters it as failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol
from uuid import UUID

import msgspec

from wellkeep.db.connection import Record

Row = tuple[object, ...] | bytes
"""One composite: its columns, or all of them packed."""


class BatchedSql(msgspec.Struct, frozen=True):
    """A batched function: its name, the literal that calls it, whether it changes anything, what its statuses mean.

    `packed` names the composite types in its elements whose values come as bytes in PostgreSQL's own binary form.
    """

    name: str
    sql: str
    kind: Literal["read", "write"]
    done: frozenset[str] = frozenset({"ok"})
    quiet: frozenset[str] = frozenset({"replay", "stale_collection", "stale_key", "unchanged"})
    packed: tuple[str, ...] = ()


class ReadCall(Protocol):
    """One element of a batched read."""

    @property
    def batch(self) -> BatchedSql:
        """Return the function that this element is for; a module constant, never built from input."""
        ...

    def row(self, token: str) -> Row:
        """Return the composite, with `token` where the function expects the signed context."""
        ...


class ChangeCall(Protocol):
    """One element of a batched change."""

    @property
    def batch(self) -> BatchedSql:
        """Return the function that this element is for; a module constant, never built from input."""
        ...

    def row(self, token: str, event_id: UUID, event: bytes) -> Row:
        """Return the composite, with the signed context and the outbox row that belongs to the change."""
        ...


Answers = Sequence[Record]
"""The result rows of one element, as the driver gives them."""
