"""Anchors of a test, made of what it tells them to do, and an `Anchoring` over them and a real root log."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from anchors.world import Root
from ledger.making import HOST
from ledger.signing import SIGNER
from wellkeep.base.clock import SystemClock
from wellkeep.ledger.anchors.anchor import Anchor, AnchorFailed, Consistency, Evidence, Seen, Trouble
from wellkeep.ledger.anchors.anchoring import Anchoring
from wellkeep.ledger.anchors.book import AnchorBook
from wellkeep.ledger.anchors.status import Policy
from wellkeep.ledger.checkpoint import Checkpoint


@dataclass
class Shelf:
    """An outside in memory: it keeps what it is given, unless a test has it lie."""

    name: str
    kind: str = "file"
    notes: list[bytes] = field(default_factory=list)
    fails: Exception | None = None
    hangs: bool = False
    says: Seen | None = None
    gives_back: bool = True
    proven: bool = True

    async def publish(self, note: bytes, checkpoint: Checkpoint, consistency: Consistency) -> bytes:
        if self.hangs:
            await asyncio.sleep(60)
        if self.fails is not None:
            raise self.fails
        if checkpoint.size > 2:
            assert await consistency(2)
        self.notes.insert(0, note)
        return b"receipt of " + note

    async def seen(self, origin: str, newest: bytes | None) -> Seen | None:  # noqa: ARG002 -- the notes say it
        if self.hangs:
            await asyncio.sleep(60)
        if self.fails is not None:
            raise self.fails
        if self.says is not None:
            return self.says
        mine = tuple(note for note in self.notes if note.startswith(f"{origin}\n".encode()))
        return Seen(mine) if self.gives_back else None

    def check(self, receipt: bytes, note: bytes) -> Evidence:
        if not self.proven or receipt != b"receipt of " + note:
            raise AnchorFailed(Trouble.NOT_PROVEN)
        return Evidence(SystemClock().now(), independent=False)


def anchoring(root: Root, anchors: Sequence[Anchor], *, needed: int | None = None, seconds: float = 0.5) -> Anchoring:
    """Return what anchors the root log of `root` with `anchors`."""
    policy = Policy(
        needed=len(anchors) if needed is None else needed, every=timedelta(minutes=1), stale=timedelta(hours=1)
    )
    return Anchoring(
        anchors,
        book=AnchorBook(root.parts.pool, host=HOST),
        signers=[SIGNER],
        policy=policy,
        reporter=root.reports,
        clock=root.clock,
        seconds=seconds,
    )
