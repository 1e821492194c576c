"""How many records may still be shown to somebody: asked by the gate, answered by whoever counts."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from wellkeep.base.principal import Principal


class Short(NamedTuple):
    """What was asked for does not fit: the seconds until it would, None where it never does, however long one waits."""

    wait: int | None


class Budget(Protocol):
    """Counts what is shown, before it is opened."""

    async def spend(self, principal: Principal, *, records: int, blocks: bool) -> Short | None:
        """Count `records` and return None; or, where they are too many and it `blocks`, by what."""
        ...


class NoBudget:
    """Counts nothing: for what serves no requests."""

    async def spend(self, principal: Principal, *, records: int, blocks: bool) -> Short | None:  # noqa: ARG002 -- the port's names
        """Return None."""
        return None
