r"""A witness (c2sp.org/tlog-witness): it cosigns a checkpoint that goes on from the one that it cosigned before.

    old <size>\n  <hash in base64>\n (at most 63)  \n  <checkpoint, a signed note>

| answer | where |
|---|---|
| 200, its signature lines | the checkpoint goes on; it is on the disk before it is signed |
| 400 | the request is not in its form, or the old size is beyond the checkpoint's |
| 403 | no key that it trusts for this origin signed |
| 404 | it does not know the origin |
| 409, the size it is at | the old size is another, or the same size has another root |
| 422 | the proof does not lead from one to the other |

Rules: persisted, then signed; a size never falls, and of one size there is one root. What the log signed and does not
fit is kept as evidence: without a proof that holds, or of the size that it is at with another root, whatever old size
came with it and whoever was quicker. The threat is a log that shows two parties two histories.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from wellkeep.base.clock import Clock
from wellkeep.base.secrets import Secret
from wellkeep.crypto.errors import BadNote, BadProof
from wellkeep.crypto.merkle import EMPTY_ROOT, verify_consistency
from wellkeep.crypto.notes import MAX_NOTE_BYTES, NoteVerifier, cosign_v1, split
from wellkeep.ledger.checkpoint import Checkpoint, parse
from wellkeep.ledger.witness_store import End, WitnessStore

MAX_REQUEST_BYTES = MAX_NOTE_BYTES + 64 * 64
_MOST_HASHES = 63
_HASH_BYTES = 32
_MOST_DIGITS = 16
_PLAIN = "text/plain; charset=utf-8"
_SIZE = "text/x.tlog.size"


class Reply(NamedTuple):
    """What is answered."""

    status: int
    body: bytes = b""
    kind: str = _PLAIN


class _Request(NamedTuple):
    old: int
    proof: list[bytes]
    note: bytes
    checkpoint: Checkpoint


class _RefusedError(Exception):
    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


class Witness:
    """The rules of one witness; safe to call from several threads."""

    def __init__(
        self, *, name: str, seed: Secret[bytes], logs: Iterable[NoteVerifier], store: WitnessStore, clock: Clock
    ) -> None:
        """Cosign as `name` with the key of `seed` what the keys `logs` signed; their names are the logs' origins."""
        self._name = name
        self._seed = seed
        self._store = store
        self._clock = clock
        self._logs: dict[str, list[NoteVerifier]] = {}
        for verifier in logs:
            self._logs.setdefault(verifier.name, []).append(verifier)

    @property
    def origins(self) -> Mapping[str, int]:
        """The logs that are known, and how far each has come; 0 where none was signed."""
        known = {one.origin: one.size for one in self._store.all()}
        return {origin: known.get(origin, 0) for origin in self._logs}

    def add_checkpoint(self, body: bytes) -> Reply:
        """Answer one request; blocks until what was decided is on the disk."""
        try:
            request = _parsed(body)
            self._authentic(request)
            self._advance(request)
            return Reply(200, self._line(request))
        except _RefusedError as refused:
            return refused.reply

    def _authentic(self, request: _Request) -> None:
        keys = self._logs.get(request.checkpoint.origin)
        if keys is None:
            raise _RefusedError(Reply(404, b"unknown log\n"))
        if not any(_signed(key, request.note) for key in keys):
            raise _RefusedError(Reply(403, b"no trusted signature\n"))
        if request.old > request.checkpoint.size:
            raise _RefusedError(Reply(400, b"the old size is beyond the checkpoint\n"))

    def _advance(self, request: _Request) -> None:
        """Put the checkpoint where the log's end was, if it goes on from there."""
        while not self._moved(request):
            continue  # somebody was quicker: it is judged anew, by where the log is now, which is further on

    def _moved(self, request: _Request) -> bool:
        found, new = request.checkpoint, End(request.checkpoint.size, request.checkpoint.root)
        stands = self._store.end(found.origin)
        size = 0 if stands is None else stands.size
        if stands is not None and size == new.size and stands.root != new.root:
            self._keep(request)
            raise _RefusedError(_conflict(size))
        if request.old != size:
            raise _RefusedError(_conflict(size))
        if not _goes_on(stands, new, request.proof):
            self._keep(request)
            raise _RefusedError(Reply(422, b"the proof does not lead to this checkpoint\n"))
        now = int(self._clock.seconds())
        return self._store.move(found.origin, old=stands, new=new, note=request.note, at=now)

    def _keep(self, request: _Request) -> None:
        found = request.checkpoint
        self._store.keep(found.origin, End(found.size, found.root), request.note, at=int(self._clock.seconds()))

    def _line(self, request: _Request) -> bytes:
        text, _ = split(request.note)
        return cosign_v1(name=self._name, seed=self._seed, text=text, timestamp=int(self._clock.seconds()))


def _conflict(size: int) -> Reply:
    return Reply(409, b"%d\n" % size, _SIZE)


def _signed(key: NoteVerifier, note: bytes) -> bool:
    try:
        key.verify(note)
    except BadNote:
        return False
    return True


def _goes_on(old: End | None, new: End, proof: list[bytes]) -> bool:
    if old is None or old.size == 0:
        return not proof and (new.size > 0 or new.root == EMPTY_ROOT)
    try:
        verify_consistency(old_size=old.size, old_root=old.root, new_size=new.size, new_root=new.root, proof=proof)
    except BadProof:
        return False
    return True


def _parsed(body: bytes) -> _Request:
    head, blank, note = body.partition(b"\n\n")
    first, *hashes = head.split(b"\n")
    word, _, digits = first.partition(b" ")
    if not blank or word != b"old" or len(hashes) > _MOST_HASHES or len(body) > MAX_REQUEST_BYTES:
        raise _RefusedError(Reply(400, b"not a request\n"))
    try:
        checkpoint = parse(split(note)[0])
        _decimal(b"%d" % checkpoint.size)
        return _Request(_decimal(digits), [_hash(each) for each in hashes], note, checkpoint)
    except (BadNote, Base64Error, ValueError):
        raise _RefusedError(Reply(400, b"not a request\n")) from None


def _decimal(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > _MOST_DIGITS or (digits[:1] == b"0" and digits != b"0"):
        raise ValueError("not a size")
    return int(digits)


def _hash(line: bytes) -> bytes:
    raw = b64decode(line, validate=True)
    if len(raw) != _HASH_BYTES or b64encode(raw) != line:
        raise ValueError("not a hash")
    return raw
