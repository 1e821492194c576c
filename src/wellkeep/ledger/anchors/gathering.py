"""What verification compares the ledger with: all that the outside holds now, and every receipt that proves itself.

Rule: what is handed on was signed by the deployment and names the root log; an anchor that could not be asked, or gave
something else, is named with its code, because silence is no agreement; what it gave beside that is handed on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from wellkeep.base.turns import give_way
from wellkeep.ledger.anchors.anchor import ALARMS, Anchor, AnchorFailed, Trouble
from wellkeep.ledger.anchors.anchoring import Anchoring
from wellkeep.ledger.anchors.attempt import ANCHOR_SECONDS, attempted
from wellkeep.ledger.anchors.book import Kept, RootEnd
from wellkeep.ledger.anchors.reading_back import read_note

_EPOCHS = 4
RECEIPTS = 2_000
_AT_ONCE = 4
"""So many receipts are checked before others have their turn: a time stamp takes a millisecond."""


@dataclass(frozen=True, slots=True)
class AnchoredNote:
    """A checkpoint of the root log that an anchor holds, or took: `note` is None where it tells its size alone.

    `from_outside` says that the outside told it just now; else it is our own memory with a receipt that `independent`
    parties signed, or did not. `at` is when it was taken, as far as the receipt says.
    """

    anchor: str
    epoch: int
    size: int
    note: bytes | None
    from_outside: bool
    independent: bool = False
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Gathered:
    """What there is, and by anchor the code of what kept one from being asked, or believed."""

    notes: tuple[AnchoredNote, ...]
    failed: Mapping[str, str]


async def gather(anchoring: Anchoring, *, most: int = RECEIPTS) -> Gathered:
    """Ask every anchor, and read back `most` receipts of each, the newest. Raises DatabaseUnavailable."""
    end = await anchoring.book.root_end()
    if end is not None and not end.signed(anchoring.signers):
        end = None
    notes: list[AnchoredNote] = []
    failed: dict[str, str] = {}
    outside = await asyncio.gather(*(_asked(anchoring, one, end) for one in anchoring.anchors))
    for anchor, asked in zip(anchoring.anchors, outside, strict=True):
        troubles = list(asked.troubles)
        for number, one in enumerate(await anchoring.book.kept(anchor.name, most=most)):
            if number % _AT_ONCE == 0:
                await give_way()
            try:
                notes.append(_receipt(anchoring, anchor, one))
            except AnchorFailed as trouble:
                troubles.append(trouble.trouble)
        notes += asked.notes
        if troubles:
            failed[anchor.name] = next((one for one in troubles if one in ALARMS), troubles[0]).value
    return Gathered(tuple(notes), failed)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What came of asking an anchor: what it told before it failed is told."""

    notes: list[AnchoredNote] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)


async def _asked(anchoring: Anchoring, anchor: Anchor, end: RootEnd | None) -> _Asked:
    asked = _Asked()
    trouble = await attempted(anchor.name, _ask(anchoring, anchor, end, asked), seconds=ANCHOR_SECONDS)
    if trouble is not None:
        asked.troubles.append(trouble)
    return asked


async def _ask(anchoring: Anchoring, anchor: Anchor, end: RootEnd | None, asked: _Asked) -> None:
    """Ask what an anchor holds of the last epochs, and of one more: we may be the one that was set back."""
    last = 1 if end is None else end.epoch
    for epoch in range(max(1, last - _EPOCHS + 1), last + 2):
        origin = anchoring.book.origin(epoch)
        newest = end.note if end is not None and epoch == end.epoch else None
        found = await anchor.seen(origin, newest)
        if found is None:
            continue
        if found.trouble is not None:
            asked.troubles.append(found.trouble)
        for note in found.notes:
            try:
                size = read_note(anchoring.signers, note, origin=origin).size
            except AnchorFailed as failed:
                asked.troubles.append(failed.trouble)
            else:
                asked.notes.append(AnchoredNote(anchor.name, epoch, size, note, from_outside=True))
        if found.size is not None and found.size > 0 and not found.notes:
            asked.notes.append(AnchoredNote(anchor.name, epoch, found.size, None, from_outside=True))


def _receipt(anchoring: Anchoring, anchor: Anchor, kept: Kept) -> AnchoredNote:
    """Return a stored receipt that holds over a note of ours which says what its row says. Raises AnchorFailed."""
    checkpoint = read_note(anchoring.signers, kept.note, origin=anchoring.book.origin(kept.epoch))
    if (checkpoint.size, checkpoint.root) != (kept.size, kept.root):
        raise AnchorFailed(Trouble.NOT_PROVEN)
    evidence = anchor.check(kept.receipt, kept.note)
    return AnchoredNote(
        anchor.name,
        kept.epoch,
        kept.size,
        kept.note,
        from_outside=False,
        independent=evidence.independent,
        at=evidence.at,
    )
