"""What a room hands to the gate to run in the database: one row of one batched SQL function.

A `BatchedSql` names a SECURITY INVOKER function that takes an array of composites and loops over it; for each element it
enters that element's own signed context (`wk.enter(token)`) before it touches a table. Each result row has a column
`i`: the 1-based position of its element (as PostgreSQL counts arrays); an element has any number of result rows. A
column `status`, where there is one, says what came of the element: `revoked` where the caller's credential stands no
longer.

A change writes its event into `ledger.outbox` in its own transaction when, and only when, its status is `ok`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol
from uuid import UUID

import msgspec

Row = tuple[object, ...]


class BatchedSql(msgspec.Struct, frozen=True):
    """A batched function: its name, the literal that calls it, and whether it changes anything."""

    name: str
    sql: str
    kind: Literal["read", "write"]


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


class Answer(Protocol):
    """One result row, as asyncpg gives it."""

    def __getitem__(self, key: str) -> object:
        """Return the column `key`."""
        ...

    def get(self, key: str, default: object = None) -> object:
        """Return the column `key`, or `default` where there is no such column."""
        ...


Answers = Sequence[Answer]
