"""What the policy asks about people and patients, and the low rooms can't know: handed in by the composition root.

Rule: an answer is what holds now, in the database; nothing is guessed, and who can't be asked about has nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol
from uuid import UUID


class Attributes(Protocol):
    """Relationships between persons and patients of one tenant."""

    async def care_team(self, *, tenant: UUID, person: UUID, subjects: Collection[UUID]) -> frozenset[UUID]:
        """Return those of `subjects` whose care team `person` belongs to. Raises DatabaseUnavailable."""
        ...

    async def broken_glass(self, *, tenant: UUID, person: UUID) -> frozenset[UUID]:
        """Return the patients whose glass `person` broke, while it is open. Raises DatabaseUnavailable."""
        ...


class NoAttributes:
    """Knows of no relationship: what is bound to one is refused."""

    async def care_team(self, *, tenant: UUID, person: UUID, subjects: Collection[UUID]) -> frozenset[UUID]:  # noqa: ARG002 -- the port's names
        """Return nobody."""
        return frozenset()

    async def broken_glass(self, *, tenant: UUID, person: UUID) -> frozenset[UUID]:  # noqa: ARG002 -- the port's names
        """Return nobody."""
        return frozenset()
