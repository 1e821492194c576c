"""Checkpoints: what a log held at a moment, signed, in the form that tools of others read (C2SP tlog-checkpoint).

Rules: one Ed25519 key of the deployment signs for all its logs, and each signature names the log that it is for: the
key's name is the log's origin, so a checkpoint of one log can't be passed off as another's. The threat is whoever owns
the database but not the key: a tail cut off, a past rewritten, a log deleted, each behind what was signed.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from wellkeep.base.secrets import Secret
from wellkeep.crypto import notes
from wellkeep.crypto.errors import BadNote
from wellkeep.crypto.notes import NoteSigner, NoteVerifier

_LINES = 3
_ROOT_BYTES = 32
_NAMES_KEPT = 10_000


class Checkpoint(NamedTuple):
    """A log at a moment: its origin, how many entries, and the Merkle root over them (RFC 6962)."""

    origin: str
    size: int
    root: bytes

    def body(self) -> str:
        """Return the text that is signed: origin, size, and root in base64, a line each."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode('ascii')}\n"


def parse(body: str) -> Checkpoint:
    """Return the checkpoint that a note's text says; extension lines are ignored. Raises BadNote."""
    lines = body.split("\n")
    if len(lines) <= _LINES or lines[-1]:
        raise BadNote("a checkpoint has at least three lines")
    origin, size, root = lines[:_LINES]
    try:
        raw = b64decode(root, validate=True)
        found = Checkpoint(origin, int(size), raw)
    except (Base64Error, ValueError):
        raise BadNote("a checkpoint says its size in decimal and its root in base64") from None
    if len(raw) != _ROOT_BYTES or not body.startswith(found.body()):
        raise BadNote("a checkpoint is not in its one form")
    return found


class Verifies(Protocol):
    """A key that checkpoints are believed from."""

    def verify(self, note: bytes, *, origin: str) -> Checkpoint:
        """Return the checkpoint of `origin` that this key signed; raises BadNote for any other note."""
        ...


class CheckpointVerifier:
    """A deployment's public key for checkpoints, under the name of whichever log is asked for."""

    def __init__(self, public: bytes) -> None:
        """Take the 32 bytes of an Ed25519 public key."""
        self.public = public

    def verify(self, note: bytes, *, origin: str) -> Checkpoint:
        """Return the checkpoint of `origin` that this key signed; raises BadNote for any other note."""
        found = parse(NoteVerifier(name=origin, public=self.public).verify(note))
        if found.origin != origin:
            raise BadNote("a checkpoint of another log")
        return found


class CheckpointSigner:
    """The deployment's key for checkpoints: signs for each of its logs under that log's name."""

    def __init__(self, seed: Secret[bytes]) -> None:
        """Take the 32-byte seed of an Ed25519 key (RFC 8032)."""
        self._seed = seed
        self._signers: dict[str, NoteSigner] = {}

    def vkey(self, origin: str) -> str:
        """Return the verifier key of a log, to be handed to whoever checks it."""
        return self._signer(origin).vkey

    def signature(self, checkpoint: Checkpoint) -> bytes:
        """Return the 68 bytes that name the key and sign `checkpoint`."""
        return self._signer(checkpoint.origin).signature(checkpoint.body())

    def verify(self, note: bytes, *, origin: str) -> Checkpoint:
        """Return the checkpoint of `origin` that this key signed; raises BadNote for any other note."""
        return CheckpointVerifier(self._signer(origin).public).verify(note, origin=origin)

    def _signer(self, origin: str) -> NoteSigner:
        signer = self._signers.get(origin)
        if signer is None:
            if len(self._signers) >= _NAMES_KEPT:
                self._signers.clear()
            signer = self._signers[origin] = NoteSigner(name=origin, seed=self._seed)
        return signer


def note(checkpoint: Checkpoint, signature: bytes) -> bytes:
    """Return the signed note of a stored checkpoint."""
    return notes.note(checkpoint.body(), checkpoint.origin, signature)


def signed_by(signers: Sequence[Verifies], checkpoint: Checkpoint, signature: bytes) -> bool:
    """Say whether one of the deployment's keys, the newest first, signed `checkpoint` so."""
    for signer in signers:
        try:
            signer.verify(note(checkpoint, signature), origin=checkpoint.origin)
        except BadNote:
            continue
        return True
    return False
