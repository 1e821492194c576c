"""Whose keys these are: the deployment and its environment, which every driver binds into what it wraps.

Rule: a wrapped key opens in its own deployment and environment alone, also where two of them were given the same root
key, or a database was copied from one to the other. The threat is production's data opened by a test system.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

_CONTEXT = frozenset({"tenant", "purpose", "epoch"})


@dataclass(frozen=True, slots=True)
class Scope:
    """A deployment and its environment, as its settings name them."""

    deployment: UUID
    environment: str

    def bound(self, context: Mapping[str, str]) -> dict[str, str]:
        """Return {tenant, purpose, epoch} with this scope's two names; any other context is a fault of ours."""
        if set(context) != _CONTEXT:
            raise ValueError("an encryption context names tenant, purpose and epoch")
        return {**context, "deployment": self.deployment.hex, "environment": self.environment}
