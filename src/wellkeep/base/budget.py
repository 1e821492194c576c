"""How many records may still be shown to somebody: asked by the gate, answered by whoever counts."""

from __future__ import annotations

from typing import Protocol

from wellkeep.base.principal import Principal


class Budget(Protocol):
    """Counts what is shown, before it is opened."""

    async def spend(self, principal: Principal, *, records: int, blocks: bool) -> int | None:
        """Count `records` and return None; or, where they are too many and it `blocks`, the seconds to wait."""
        ...


class NoBudget:
    """Counts nothing: for what serves no requests."""

    async def spend(self, principal: Principal, *, records: int, blocks: bool) -> int | None:  # noqa: ARG002 -- the port's names
        """Return None."""
        return None
