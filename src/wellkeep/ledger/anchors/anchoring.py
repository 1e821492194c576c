"""Anchoring: the root log's end handed to each anchor, read back now and then, and told how it stands.

Rules: a checkpoint that bears no signature of ours goes nowhere; a receipt that does not verify is none; each anchor
has its own time and its own turn (one process at a time, by a lease in the database), so that a dead one delays no
other. What an anchor gives back is held against our own tree: somebody who knows more of the log than we do, or knows
it otherwise, is an alarm. The threat is an anchor that says yes and keeps nothing, and a database that was set back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from wellkeep.base.clock import Clock
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.crypto.errors import BadProof
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.ledger.anchors.anchor import ALARMS, MAX_RECEIPT_BYTES, Anchor, AnchorFailed, Trouble
from wellkeep.ledger.anchors.attempt import ANCHOR_SECONDS, attempted
from wellkeep.ledger.anchors.book import AnchorBook, RootEnd, Standing
from wellkeep.ledger.anchors.reading_back import read_note
from wellkeep.ledger.anchors.status import AnchorStatus, Policy, weigh
from wellkeep.ledger.append import Reporter
from wellkeep.ledger.checkpoint import Checkpoint, CheckpointSigner

_GRACE_SECONDS = 20.0
"""How much longer a turn lasts than an attempt: its end is written down within it."""
_EARLY_SECONDS = 10
"""By how much a minute's clock may be early: else every second turn would be skipped."""

_log = structlog.get_logger("wellkeep.ledger")


class Anchoring:
    """Everything that is done with anchors; safe to share by what is in a process."""

    def __init__(
        self,
        anchors: Sequence[Anchor],
        *,
        book: AnchorBook,
        signers: Sequence[CheckpointSigner],
        policy: Policy,
        reporter: Reporter,
        clock: Clock,
        seconds: float = ANCHOR_SECONDS,
    ) -> None:
        """`signers` are the deployment's keys, the newest first; `seconds` bound each anchor."""
        self.anchors = tuple(anchors)
        self.book = book
        self.signers = tuple(signers)
        self._policy = policy
        self._reporter = reporter
        self._clock = clock
        self._seconds = seconds

    async def status(self) -> AnchorStatus:
        """Return how the anchors stand. Raises DatabaseUnavailable."""
        standings = await self.book.standings([one.name for one in self.anchors])
        return weigh(self.anchors, standings, policy=self._policy, now=self._clock.now())

    async def run(self, *, at_once: bool = False) -> AnchorStatus:
        """Hand the root log's end to each anchor that is due, or `at_once` to all that do not hold it, and read back.

        What goes wrong with an anchor is a finding, and in the status. Raises DatabaseUnavailable.
        """
        # In this order: what an anchor took is no newer than what is read after it, unless the log went back.
        standings = await self.book.standings([one.name for one in self.anchors])
        end = await self.book.root_end()
        if end is not None:
            work = (self._turn(one, how, end, at_once) for one, how in zip(self.anchors, standings, strict=True))
            for ended in await asyncio.gather(*work, return_exceptions=True):
                if isinstance(ended, BaseException):
                    raise ended
        status = await self.status()
        if status.stale:
            self._tell_stale(status)
        return status

    async def _turn(self, anchor: Anchor, standing: Standing, end: RootEnd, at_once: bool) -> None:  # noqa: FBT001
        publish, look = self._due(standing, end, at_once=at_once)
        if not (publish or look) or not await self.book.take(standing, seconds=self._seconds + _GRACE_SECONDS):
            return
        work = self._try(anchor, standing, end, publish=publish, look=look)
        trouble = await attempted(anchor.name, work, seconds=self._seconds)
        failures = await self.book.leave(anchor.name, trouble=trouble, looked=look and trouble is None)
        if trouble is not None:
            self._tell_failed(anchor.name, trouble, failures)

    def _due(self, standing: Standing, end: RootEnd, *, at_once: bool) -> tuple[bool, bool]:
        """Say whether the end is to be handed over, and whether what was taken is to be read back.

        It is read back however fast the log grows, and until that went well: an alarm is not over by handing over more.
        """
        if _ahead(standing, end):
            return False, True
        now, every = self._clock.now(), self._policy.every.total_seconds() - _EARLY_SECONDS
        rested = standing.at is None or (now - standing.at).total_seconds() >= every
        newer = (standing.epoch, standing.size) != (end.epoch, end.checkpoint.size)
        publish = newer and (at_once or rested)
        seen_long_ago = standing.looked_at is None or now - standing.looked_at >= self._policy.stale
        return publish, at_once or seen_long_ago or standing.error in ALARMS

    async def _try(self, anchor: Anchor, standing: Standing, end: RootEnd, *, publish: bool, look: bool) -> None:
        if not end.signed(self.signers):
            raise AnchorFailed(Trouble.NOT_SIGNED)
        if _ahead(standing, end):
            raise AnchorFailed(Trouble.AHEAD)
        if publish:
            await self._publish(anchor, end)
        if look:
            await self._look(anchor, standing, end)

    async def _publish(self, anchor: Anchor, end: RootEnd) -> None:
        receipt = await anchor.publish(end.note, end.checkpoint, self.book.consistency(end))
        if len(receipt) > MAX_RECEIPT_BYTES:
            raise AnchorFailed(Trouble.RUBBISH)
        anchor.check(receipt, end.note)
        await self.book.add(anchor.name, end, at=self._clock.now(), receipt=receipt)

    async def _look(self, anchor: Anchor, standing: Standing, end: RootEnd) -> None:
        """Hold what the outside has against what it took and against our tree. Raises AnchorFailed."""
        found = await anchor.seen(end.checkpoint.origin, end.note)
        if found is None:
            return
        known = [read_note(self.signers, note, origin=end.checkpoint.origin) for note in found.notes]
        size = max([found.size or 0, *(one.size for one in known)])
        newest = await self.book.root_end() or end  # it may have grown, and been taken, meanwhile
        if newest.epoch == end.epoch and size > newest.checkpoint.size:
            raise AnchorFailed(Trouble.AHEAD)
        for one in known:
            await self._compare(newest, one)
        if standing.epoch == end.epoch and size < (standing.size or 0):
            raise AnchorFailed(Trouble.NOT_KEPT)
        if found.trouble is not None:
            raise AnchorFailed(found.trouble)

    async def _compare(self, end: RootEnd, found: Checkpoint) -> None:
        try:
            same = await self.book.root_at(end, found.size) == found.root
        except BadProof:
            same = False
        if not same:
            raise AnchorFailed(Trouble.FORKED)

    def _tell_failed(self, anchor: str, trouble: Trouble, failures: int) -> None:
        _log.warning("anchor_failed", anchor=anchor, error=trouble.value)
        self._reporter.note(
            PLATFORM_TENANT,
            kind=Kind.LEDGER_ANCHOR_FAILED,
            severity=Severity.CRITICAL if trouble in ALARMS else Severity.MEDIUM,
            key=finding_key(Kind.LEDGER_ANCHOR_FAILED, anchor, trouble.value),
            detail={"anchor": anchor, "error": trouble.value, "attempts": failures},
        )

    def _tell_stale(self, status: AnchorStatus) -> None:
        self._reporter.note(
            PLATFORM_TENANT,
            kind=Kind.LEDGER_ANCHORS_STALE,
            severity=Severity.HIGH,
            key=finding_key(Kind.LEDGER_ANCHORS_STALE),
            detail={"count": status.holding, "seconds": max(one.behind_seconds for one in status.anchors)},
        )


def _ahead(standing: Standing, end: RootEnd) -> bool:
    """Say whether an anchor took a later checkpoint than there is now: by our own memory, which went back in part."""
    return (standing.epoch or 0, standing.size or 0) > (end.epoch, end.checkpoint.size)
