"""Reading notes back from where somebody else can put things: ours are found, whatever lies beside and before them.

Rules: a note counts where a key of the deployment signed it for this log and it lies in the place of its own size, so
that an old one under a newer one's name hides nothing; what does not count is told, and takes nothing from what does;
so many are read and no more. The threat is whoever may write there and would have the newest not be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from wellkeep.crypto.errors import BadNote
from wellkeep.ledger.anchors.anchor import ALARMS, NEWEST, AnchorFailed, Seen, Trouble
from wellkeep.ledger.checkpoint import Checkpoint, Verifies

MOST_READ = 8 * NEWEST


def read_note(signers: Sequence[Verifies], note: bytes, *, origin: str) -> Checkpoint:
    """Return the checkpoint of the log `origin` that one of the keys signed. Raises AnchorFailed, `altered`."""
    for signer in signers:
        try:
            return signer.verify(note, origin=origin)
        except BadNote:
            continue
    raise AnchorFailed(Trouble.ALTERED)


class ReadingBack:
    """One reading of what a place holds of one log, in the order in which it lies there, the newest first."""

    def __init__(self, signers: Sequence[Verifies], *, origin: str, place: Callable[[Checkpoint], str]) -> None:
        """`place` says where a checkpoint's note lies."""
        self._signers = signers
        self._origin = origin
        self._place = place
        self._notes: list[bytes] = []
        self._trouble: Trouble | None = None
        self._read = 0

    def more(self) -> bool:
        """Say whether another one is to be read: not where there are enough, and not where too many lay before them."""
        if len(self._notes) == NEWEST:
            return False
        if self._read == MOST_READ:
            self.wrong(Trouble.CROWDED)
            return False
        self._read += 1
        return True

    def take(self, note: bytes, *, at: str) -> None:
        """Keep what lies at `at`, if that is a note of ours and its place."""
        try:
            found = read_note(self._signers, note, origin=self._origin)
        except AnchorFailed as failed:
            self.wrong(failed.trouble)
            return
        if self._place(found) == at:
            self._notes.append(note)
        else:
            self.wrong(Trouble.ALTERED)

    def wrong(self, trouble: Trouble) -> None:
        """Note what is wrong; that not all was read is told first, then the first alarm, then what came first."""
        first = self._trouble is None or (trouble in ALARMS and self._trouble not in ALARMS)
        if first or trouble is Trouble.CROWDED:
            self._trouble = trouble

    def seen(self) -> Seen:
        """Return what was found, and what is wrong beside it. Raises AnchorFailed where there is only that."""
        if self._trouble is not None and not self._notes:
            raise AnchorFailed(self._trouble)
        return Seen(tuple(self._notes), trouble=self._trouble)
