"""A witness's key in a file: one line, as Go's `note` writes keys, with the algorithm of cosignatures.

    PRIVATE+KEY+<name>+<hash>+<base64 of 0x04 and the 32-byte seed>

Rule: made with O_EXCL, 0600, durable before its verifier key is told; a key that exists is never replaced.
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from pathlib import Path
from typing import NamedTuple

from wellkeep.base.errors import Misconfigured
from wellkeep.base.secret_files import read_secret
from wellkeep.base.secrets import Secret
from wellkeep.crypto.errors import BadNote
from wellkeep.crypto.notes import COSIGNATURE_V1, NoteSigner, vkey

_PREFIX = "PRIVATE+KEY+"
_SEED_BYTES = 32


class WitnessKey(NamedTuple):
    """A witness's name, its secret, and the verifier key that others are told."""

    name: str
    seed: Secret[bytes]
    vkey: str


def make_key(path: Path, *, name: str) -> WitnessKey:
    """Make a key for the witness `name` in a new file at `path`. Raises Misconfigured where that can't be."""
    made = _key(name, Secret(os.urandom(_SEED_BYTES)))
    hashed = made.vkey.removeprefix(f"{name}+")[:8]
    encoded = b64encode(bytes((COSIGNATURE_V1,)) + made.seed.reveal()).decode("ascii")
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except OSError:
        raise Misconfigured(f"{path} exists already, or its directory does not: no key was made") from None
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(f"{_PREFIX}{name}+{hashed}+{encoded}\n".encode())
        stream.flush()
        os.fsync(descriptor)
    return made


def read_key(path: Path) -> WitnessKey:
    """Return the key in the file at `path`. Raises Misconfigured."""
    text = read_secret(path).reveal().decode("utf-8", "replace")
    name, _, rest = text.removeprefix(_PREFIX).partition("+")
    hashed, _, encoded = rest.partition("+")
    try:
        raw = b64decode(encoded, validate=True)
    except (Base64Error, ValueError):
        raw = b""
    if not text.startswith(_PREFIX) or raw[:1] != bytes((COSIGNATURE_V1,)) or len(raw) != 1 + _SEED_BYTES:
        raise Misconfigured(f"{path} holds no key of a witness. Make one with: wellkeep witness keygen")
    key = _key(name, Secret(raw[1:]))
    if not key.vkey.startswith(f"{name}+{hashed}+"):
        raise Misconfigured(f"The key in {path} is not the one that its line names")
    return key


def _key(name: str, seed: Secret[bytes]) -> WitnessKey:
    try:
        public = NoteSigner(name=name, seed=seed).public
    except BadNote:
        raise Misconfigured("A witness's name has no white space and no plus: witness.example.org/1") from None
    return WitnessKey(name, seed, vkey(name, public, algorithm=COSIGNATURE_V1))
