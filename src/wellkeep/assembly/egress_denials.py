"""Refused connections, on record: each an entry of the root log and a finding, and no flood of either.

Rules: the first refusal of a kind in a minute is entered at once, durably; more of the same in that minute are counted
and entered as one, by the next refusal after it or when the process stops. So a place that is tried in a loop costs two
entries a minute, and a stream of the ledger to a refused place does not feed itself. What is watched at a time is
bounded; beyond that refusals of one place and reason share a count, without the digest of where they went. A ledger
that takes no entry does not turn a refusal into anything else: the count waits, and the finding stands. Whoever was
refused may be cancelled while that is entered (its own time was over): it is entered all the same.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

import structlog

from wellkeep.assembly.home import Home
from wellkeep.base.clock import Clock
from wellkeep.base.errors import LedgerUnavailable
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.settings import Settings
from wellkeep.egress.egress import Egress
from wellkeep.egress.errors import Reason
from wellkeep.findings.findings import Findings
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.gate.gate import Gate
from wellkeep.ledger.event import Action, Outcome, system_event

WINDOW = 60.0
_WATCHED = 1024
_NOBODY = "unlisted"
"""In a finding's key, where no place of the list was meant."""

_Key = tuple[str | None, Reason, bytes | None]
_log = structlog.get_logger("wellkeep.egress")


@dataclass(slots=True)
class _Window:
    until: float
    waiting: int = 0


class EgressDenials:
    """Enters and reports what `egress` refused. It raises nothing."""

    def __init__(self, *, gate: Gate, findings: Findings, clock: Clock) -> None:
        """Enter into the root log through `gate`; report to `findings`."""
        self._gate = gate
        self._findings = findings
        self._clock = clock
        self._windows: dict[_Key, _Window] = {}
        self._entering: set[asyncio.Task[None]] = set()

    async def denied(self, place: str | None, reason: Reason, destination: bytes) -> None:
        """Enter or count a refusal, and report it; `destination` is a SHA-256."""
        self._report(place, reason, destination)
        key: _Key = (place, reason, destination)
        if key not in self._windows and len(self._windows) >= _WATCHED:
            key = (place, reason, None)
        window = self._windows.setdefault(key, _Window(until=0.0))
        window.waiting += 1
        entering = asyncio.create_task(self.flush(), name="egress-denial")
        self._entering.add(entering)
        entering.add_done_callback(self._entering.discard)
        await asyncio.shield(entering)

    async def flush(self, *, everything: bool = False) -> None:
        """Enter what is due, or all that waits; what the ledger does not take waits on."""
        now = self._clock.monotonic()
        for key, window in list(self._windows.items()):
            if now < window.until and not everything:
                continue
            if not window.waiting:
                self._windows.pop(key, None)
                continue
            count, window.waiting, window.until = window.waiting, 0, now + WINDOW
            try:
                await self._enter(key, count)
            except LedgerUnavailable:
                window.waiting += count
                window.until = 0.0
                self._windows[key] = window
                _log.warning("egress.denial_not_entered", count=count)

    async def stop(self) -> None:
        """Enter all that waits."""
        await asyncio.gather(*self._entering)
        await self.flush(everything=True)

    def _report(self, place: str | None, reason: Reason, destination: bytes) -> None:
        named = {} if place is None else {"place": place}
        self._findings.note(
            PLATFORM_TENANT,
            kind=Kind.EGRESS_DENIED,
            severity=Severity.HIGH,
            key=finding_key(Kind.EGRESS_DENIED, place or _NOBODY, reason.value),
            detail={**named, "error": reason.value, "digest": destination.hex()},
        )

    async def _enter(self, key: _Key, count: int) -> None:
        place, reason, destination = key
        entry = system_event(
            uuid7(),
            Action.EGRESS_DENIED,
            actor="egress",
            outcome=Outcome.DENIED,
            resource_type="place",
            resource_id=place,
            count=count,
            error=reason.value,
            digest=destination,
        )
        await self._gate.enter(entry, tenant=PLATFORM_TENANT)


class HeldDenials:
    """Refusals of a process whose ledger is not open yet: logged, and held until there is one to enter them into.

    The key management service is asked before anything else can be opened, and it may lie outside.
    """

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._recorder: EgressDenials | None = None
        self._held: list[tuple[str | None, Reason, bytes]] = []

    async def denied(self, place: str | None, reason: Reason, destination: bytes) -> None:
        """Pass a refusal on where somebody enters them; else log it and hold as many as are watched at a time."""
        if self._recorder is not None:
            await self._recorder.denied(place, reason, destination)
            return
        _log.warning("egress.denied_before_ledger", place=place or _NOBODY, reason=reason.value)
        if len(self._held) < _WATCHED:
            self._held.append((place, reason, destination))

    async def record(self, recorder: EgressDenials) -> None:
        """Enter what was held, and pass on what comes, to `recorder`."""
        self._recorder = recorder
        held, self._held = self._held, []
        for one in held:
            await recorder.denied(*one)


def way_out(home: Home, settings: Settings, denials: HeldDenials | None = None) -> Egress:
    """Return the way out to the places of `settings`; connects to nothing. Raises Misconfigured."""
    return Egress(places=settings.egress.places, denials=denials or HeldDenials(), home=home.path)


async def record_denials(
    stack: AsyncExitStack, denials: HeldDenials, *, gate: Gate, findings: Findings, clock: Clock
) -> None:
    """Have refusals entered and reported from now on; all of them are entered by `stack`'s end."""
    recorder = EgressDenials(gate=gate, findings=findings, clock=clock)
    stack.push_async_callback(recorder.stop)
    await denials.record(recorder)
