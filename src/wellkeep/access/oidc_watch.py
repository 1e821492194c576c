"""Telling of a provider that is of no use, and closing that when it answers again.

Rule: the finding is open as long as the last thing heard of the provider was nothing, or what it must not be. Whichever
process it answers to closes what any of them reported: at once where it reported itself, else within a minute.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final
from uuid import UUID

from wellkeep.base.clock import Clock
from wellkeep.base.errors import WellkeepError
from wellkeep.findings.findings import Findings
from wellkeep.findings.grammar import Kind, Severity, finding_key

_SETTLED_EVERY: Final = 60.0


class ProviderWatch:
    """One per process; holds a number for each provider that somebody signed in with."""

    def __init__(self, findings: Findings, *, clock: Clock) -> None:
        """Report to `findings`."""
        self._findings = findings
        self._clock = clock
        self._next: dict[UUID, float] = {}

    def failed(self, tenant: UUID, provider: UUID, *, reason: str) -> None:
        """Report a provider that is of no use; `reason` is a code."""
        self._next[provider] = self._clock.monotonic()
        self._findings.note(
            tenant,
            kind=Kind.PROVIDER_UNREACHABLE,
            severity=Severity.HIGH,
            key=finding_key(Kind.PROVIDER_UNREACHABLE, provider),
            detail={"provider": str(provider), "error": reason},
        )

    async def answered(self, tenant: UUID, provider: UUID, *, heard: float) -> None:
        """Close what was reported of a provider that answered at `heard` (monotonic seconds), if it did since."""
        if heard < self._next.get(provider, heard):
            return
        self._next[provider] = heard + _SETTLED_EVERY
        with suppress(WellkeepError):  # it stays open then, and the next answer closes it
            await self._findings.settle(tenant, keys=[finding_key(Kind.PROVIDER_UNREACHABLE, provider)])
