r"""A C2SP witness (c2sp.org/tlog-witness): somebody who signs only what goes on from all that they signed before.

    POST <path>/add-checkpoint        "old " size "\n", a proof's hashes in base64, a line each, "\n", the signed note

Rules: what comes back counts by the signature of the key that the settings name, over this very note, at a time near
ours; a size that the witness tells is taken once. A witness that is ahead of us, or that takes no proof of ours, has
seen another history of this log: an alarm, and no outage.
"""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime

from wellkeep.base.clock import Clock
from wellkeep.base.errors import Misconfigured
from wellkeep.crypto.errors import BadNote, BadProof
from wellkeep.crypto.notes import CosignatureVerifier, split
from wellkeep.ledger.anchors.anchor import CLOCKS_APART, AnchorFailed, Consistency, Evidence, Seen, Trouble
from wellkeep.ledger.anchors.outside import Answer, Outside
from wellkeep.ledger.checkpoint import Checkpoint, parse

_OK, _CONFLICT, _NO_PROOF = 200, 409, 422
_MOST_DIGITS = 16


class Witnessing:
    """An anchor of kind `witness`."""

    kind = "witness"

    def __init__(self, outside: Outside, *, name: str, path: str, verifier: CosignatureVerifier, clock: Clock) -> None:
        """Ask below `path`; `verifier` is what `read_vkey` returns."""
        self.name = name
        self._outside = outside
        self._path = path
        self._verifier = verifier
        self._clock = clock
        self._sizes: dict[str, int] = {}

    async def publish(self, note: bytes, checkpoint: Checkpoint, consistency: Consistency) -> bytes:
        """Have the checkpoint cosigned, and return the witness's line."""
        old = self._sizes.get(checkpoint.origin, 0)
        answer = await self._add(note, checkpoint, old, consistency)
        if answer.status == _CONFLICT:
            told = _size(answer)
            if told == old:
                raise AnchorFailed(Trouble.FORKED)
            answer = await self._add(note, checkpoint, told, consistency)
        line = self._cosigned(answer, note)
        self._sizes[checkpoint.origin] = checkpoint.size
        return line

    async def seen(self, origin: str, newest: bytes | None) -> Seen:
        """Return what the witness knows: our newest note, cosigned again, or the size that it is at.

        It is asked as if it were at our own size, which never moves it.
        """
        if newest is None:
            return Seen()
        checkpoint = parse(split(newest)[0])
        answer = await self._send(newest, checkpoint.size, [])
        if answer.status == _CONFLICT:
            size = _size(answer)
            if size == checkpoint.size:
                raise AnchorFailed(Trouble.FORKED)
            self._sizes[origin] = size
            return Seen(size=size)
        self._cosigned(answer, newest)
        return Seen((newest,), checkpoint.size)

    def check(self, receipt: bytes, note: bytes) -> Evidence:
        """Return the time that the witness signed."""
        try:
            at = datetime.fromtimestamp(self._verifier.verify(note + receipt), UTC)
        except (BadNote, ValueError, OverflowError, OSError):  # a time that no calendar has
            raise AnchorFailed(Trouble.NOT_PROVEN) from None
        return Evidence(at, independent=True)

    async def _add(self, note: bytes, checkpoint: Checkpoint, old: int, consistency: Consistency) -> Answer:
        if old > checkpoint.size:
            raise AnchorFailed(Trouble.AHEAD)
        try:
            proof = await consistency(old) if 0 < old < checkpoint.size else []
        except BadProof:
            raise AnchorFailed(Trouble.FORKED) from None
        return await self._send(note, old, proof)

    async def _send(self, note: bytes, old: int, proof: list[bytes]) -> Answer:
        lines = "".join(f"{b64encode(each).decode('ascii')}\n" for each in proof)
        body = f"old {old}\n{lines}\n".encode() + note
        headers = {"content-type": "text/plain; charset=utf-8"}
        return await self._outside.exchange("POST", f"{self._path}/add-checkpoint", headers=headers, body=body)

    def _cosigned(self, answer: Answer, note: bytes) -> bytes:
        """Return the witness's lines where they are a signature of this note, made now."""
        if answer.status in {_NO_PROOF, _CONFLICT}:
            raise AnchorFailed(Trouble.FORKED)
        if answer.status != _OK:
            raise AnchorFailed(Trouble.UNREACHABLE if answer.later else Trouble.REFUSED)
        evidence = self.check(answer.body, note)
        if abs(evidence.at - self._clock.now()) > CLOCKS_APART:
            raise AnchorFailed(Trouble.TIME_OFF)
        return answer.body


def _size(answer: Answer) -> int:
    text = answer.body.decode("ascii", "replace").removesuffix("\n")
    if not text.isascii() or not text.isdecimal() or len(text) > _MOST_DIGITS:
        raise AnchorFailed(Trouble.RUBBISH)
    return int(text)


def read_vkey(text: str, *, name: str) -> CosignatureVerifier:
    """Return what checks a witness's signatures. Raises Misconfigured, naming the anchor."""
    try:
        return CosignatureVerifier.from_vkey(text)
    except BadNote:
        raise Misconfigured(f"The vkey of the anchor {name} is no key of a witness (cosignature/v1)") from None
