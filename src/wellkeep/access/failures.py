"""Failed sign-ins, on record without letting an attacker write the record full.

Rules: the first failure from an address in a minute is entered at once, durably; the others of that minute are counted
and entered as one, with the address that was first. An IPv6 network of /64, which one host has whole, counts as one
address. The addresses that are watched at a time are bounded; beyond that they share one count. So a flood of N
failures from A addresses costs at most 2·A entries a minute, and none of the N is lost from the count.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from wellkeep.access.limits import neighbours
from wellkeep.base.clock import Clock
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.principal import ActorType, AuthMethod
from wellkeep.findings.findings import Findings
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.gate.gate import Gate
from wellkeep.ledger.event import Action, Event, Outcome

WINDOW = 60.0
MANY = 20
_ADDRESSES = 1024
_OTHERS = None


@dataclass(slots=True)
class _Window:
    until: float
    ip: str | None
    more: int = 0


class Failures:
    """Counts and enters failed authentications."""

    def __init__(self, *, gate: Gate, findings: Findings, clock: Clock) -> None:
        """Enter into the root log through `gate`; report many of them to `findings`."""
        self._gate = gate
        self._findings = findings
        self._clock = clock
        self._windows: dict[str | None, _Window] = {}

    async def note(self, *, request: UUID, ip: str | None, agent: str | None, key_id: UUID | None) -> None:
        """Enter or count one failure; `key_id` is given where such a key exists. Raises LedgerUnavailable."""
        now = self._clock.monotonic()
        host = None if ip is None else neighbours(ip)[0]
        address = host if host in self._windows or len(self._windows) < _ADDRESSES else _OTHERS
        window = self._windows.get(address)
        if window is not None and now < window.until:
            window.more += 1
            if window.more == MANY:
                self._report()
            return
        count = 1 + (window.more if window is not None else 0)
        # Counted until it is entered: a ledger that refuses now gets it with the next round.
        window = self._windows[address] = _Window(now + WINDOW, None if address is _OTHERS else ip, more=count)
        await self._enter(request=request, ip=ip, agent=agent, key_id=key_id, count=count)
        window.more -= count

    async def flush(self, *, everything: bool = False) -> None:
        """Enter the counts of the minutes that are over, or all; raises LedgerUnavailable and keeps the rest."""
        now = self._clock.monotonic()
        for address, window in list(self._windows.items()):
            if not everything and now < window.until:
                continue
            if window.more:
                await self._enter(request=uuid7(), ip=window.ip, agent=None, key_id=None, count=window.more)
                window.more = 0
            self._windows.pop(address, None)

    def _report(self) -> None:
        self._findings.note(
            PLATFORM_TENANT,
            kind=Kind.AUTH_FAILURES,
            severity=Severity.MEDIUM,
            key=finding_key(Kind.AUTH_FAILURES),
            detail={"count": MANY},
        )

    async def _enter(
        self, *, request: UUID, ip: str | None, agent: str | None, key_id: UUID | None, count: int
    ) -> None:
        entry = Event(
            id=uuid7(),
            action=Action.AUTH_FAILED,
            actor_type=ActorType.ANONYMOUS,
            actor_id="anonymous",
            method=AuthMethod.NONE,
            outcome=Outcome.DENIED,
            request=request,
            ip=ip,
            agent=agent,
            resource_type=None if key_id is None else "api_key",
            resource_id=None if key_id is None else str(key_id),
            count=count,
            error="unauthenticated",
        )
        await self._gate.enter(entry, tenant=PLATFORM_TENANT)
