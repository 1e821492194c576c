r"""Signed notes: a text and lines that sign it, as https://c2sp.org/signed-note and /tlog-cosignature define them.

    text, ends in "\n"
    <empty line>
    — <key name> base64(key hash 4 | signature)        one line each, at most 100; the whole note at most 128 KiB

Rules: a note is UTF-8 without control characters but "\n"; base64 stands in its one canonical form; the key hash is
computed from name, algorithm and public key, never believed. A line of an unknown key is passed over (keys rotate,
witnesses sign too); a line of the known key that does not verify condemns the note, and so does its absence. Two
algorithms: 1 is Ed25519 over the text, 4 a cosignature, Ed25519 over a time and the text (`cosignature/v1`).
Threat: a text that nobody signed, or signed as something else: whoever cosigns must use another key than the log's.
"""

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from hashlib import sha256
from typing import ClassVar, NamedTuple, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from wellkeep.base.secrets import Secret
from wellkeep.crypto.errors import BadNote

ED25519 = 1
COSIGNATURE_V1 = 4
MAX_NOTE_BYTES = 131_072
MAX_SIGNATURES = 100

_KEY_SIZE = 32
_HASH_SIZE = 4
_TIME_SIZE = 8
_MAX_TIME = 2**63 - 1
_DASH = "— "
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


class SignatureLine(NamedTuple):
    """One line below a note: who claims to have signed, the first 4 bytes of their key's hash, the signature."""

    name: str
    key_hash: bytes
    signature: bytes


def key_hash(name: str, public: bytes, *, algorithm: int = ED25519) -> bytes:
    r"""Return the 4 bytes SHA-256(name ‖ "\n" ‖ algorithm ‖ public key) begins with; raises `BadNote`."""
    return sha256(_named(name).encode() + b"\n" + _encoded_key(public, algorithm)).digest()[:_HASH_SIZE]


def vkey(name: str, public: bytes, *, algorithm: int = ED25519) -> str:
    """Return a verifier key: `name+hash+base64(algorithm ‖ public key)`.

    A name is one character or more, without white space and "+"; a public key has 32 bytes; else raises `BadNote`.
    """
    hashed = key_hash(name, public, algorithm=algorithm).hex()
    return f"{name}+{hashed}+{_base64(_encoded_key(public, algorithm))}"


def split(note: bytes) -> tuple[str, list[SignatureLine]]:
    """Return a note's text and its lines of signatures, none of them verified; raises `BadNote` on what is no note."""
    if len(note) > MAX_NOTE_BYTES:
        raise BadNote("a note is longer than 128 KiB")
    try:
        whole = note.decode("utf-8")
    except UnicodeDecodeError:
        raise BadNote("a note is UTF-8") from None
    text, blank, lines = whole.rpartition("\n\n")
    if not blank or not lines.endswith("\n"):
        raise BadNote("a note ends in an empty line and lines of signatures")
    _checked(text + "\n")
    signatures = lines[:-1].split("\n")
    if len(signatures) > MAX_SIGNATURES:
        raise BadNote("a note has more than 100 signatures")
    return text + "\n", [_line(_checked(each)) for each in signatures]


class NoteSigner:
    """A name and an Ed25519 key that sign notes."""

    __slots__ = ("_hash", "_key", "name", "public", "vkey")

    def __init__(self, *, name: str, seed: Secret[bytes]) -> None:
        """Take the key's name and its 32-byte seed (RFC 8032); raises `BadNote` on a name or seed that is none."""
        self._key = _private(seed)
        self.name = name
        self.public = self._key.public_key().public_bytes_raw()
        self.vkey = vkey(name, self.public)
        self._hash = key_hash(name, self.public)

    def sign(self, text: str) -> bytes:
        """Return the note of `text`, which ends in a line feed, with one signature; raises `BadNote` on other texts."""
        return note(text, self.name, self.signature(text))

    def signature(self, text: str) -> bytes:
        """Return what a signature line says in base64, 68 bytes: the hash of the key, then the signature of `text`."""
        return self._hash + self._key.sign(_note_text(text))


def note(text: str, name: str, signature: bytes) -> bytes:
    """Return the note of `text` with one line: the key's name, and the 68 bytes of `NoteSigner.signature`."""
    line = SignatureLine(_named(name), signature[:_HASH_SIZE], signature[_HASH_SIZE:])
    return _note_text(text) + b"\n" + _written(line)


def cosign_v1(*, name: str, seed: Secret[bytes], text: str, timestamp: int) -> bytes:
    """Return the line, with its line feed, by which a witness cosigns a checkpoint's `text` at a POSIX `timestamp`.

    The seed (32 bytes) must be of a key that signs nothing else. Raises `BadNote`. Source: c2sp.org/tlog-cosignature.
    """
    key = _private(seed)
    hashed = key_hash(name, key.public_key().public_bytes_raw(), algorithm=COSIGNATURE_V1)
    signature = key.sign(_cosigned(_note_text(text), timestamp))
    return _written(SignatureLine(name, hashed, timestamp.to_bytes(_TIME_SIZE, "big") + signature))


class _Verifier:
    """A known key: its name, its 32 public bytes, and the lines of a note that claim to be its."""

    __slots__ = ("_key", "key_hash", "name", "public")

    algorithm: ClassVar[int]

    def __init__(self, *, name: str, public: bytes) -> None:
        """Take a key that is trusted; raises `BadNote` on a name or key that is none."""
        self.key_hash = key_hash(name, public, algorithm=self.algorithm)
        self.name = name
        self.public = public
        self._key = Ed25519PublicKey.from_public_bytes(public)

    @classmethod
    def from_vkey(cls, text: str) -> Self:
        """Read a verifier key; raises `BadNote` where it is malformed, its hash wrong or its algorithm another."""
        name, _, rest = text.partition("+")
        _, _, encoded = rest.partition("+")
        raw = _decoded(encoded)
        if raw[:1] != bytes((cls.algorithm,)):
            raise BadNote("a verifier key of another algorithm")
        verifier = cls(name=name, public=raw[1:])
        if verifier.vkey != text:
            raise BadNote("a verifier key whose hash is wrong")
        return verifier

    @property
    def vkey(self) -> str:
        """Return the verifier key."""
        return vkey(self.name, self.public, algorithm=self.algorithm)

    def _claimed(self, note: bytes) -> tuple[str, list[bytes]]:
        text, lines = split(note)
        mine = [line.signature for line in lines if (line.name, line.key_hash) == (self.name, self.key_hash)]
        if not mine:
            raise BadNote("the known key did not sign this note")
        return text, mine

    def _check(self, signature: bytes, message: bytes) -> None:
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            raise BadNote("a signature of the known key does not verify") from None


class NoteVerifier(_Verifier):
    """A key whose notes are believed."""

    __slots__ = ()

    algorithm = ED25519

    def verify(self, note: bytes) -> str:
        """Return the text of a note that this key signed; raises `BadNote` otherwise."""
        text, signatures = self._claimed(note)
        for signature in signatures:
            self._check(signature, text.encode())
        return text


class CosignatureVerifier(_Verifier):
    """A witness whose cosignatures count."""

    __slots__ = ()

    algorithm = COSIGNATURE_V1

    def verify(self, note: bytes) -> int:
        """Return when (POSIX seconds, the latest) this witness cosigned the note; raises `BadNote` otherwise."""
        text, signatures = self._claimed(note)
        times = []
        for each in signatures:
            timestamp = int.from_bytes(each[:_TIME_SIZE], "big")
            self._check(each[_TIME_SIZE:], _cosigned(text.encode(), timestamp))
            times.append(timestamp)
        return max(times)


def _private(seed: Secret[bytes]) -> Ed25519PrivateKey:
    try:
        return Ed25519PrivateKey.from_private_bytes(seed.reveal())
    except ValueError:
        raise BadNote("a seed has 32 bytes") from None


def _encoded_key(public: bytes, algorithm: int) -> bytes:
    if len(public) != _KEY_SIZE:
        raise BadNote("a public key has 32 bytes")
    return bytes((algorithm,)) + public


def _named(name: str) -> str:
    if not name or "+" in name or any(character.isspace() for character in name):
        raise BadNote("a key's name has neither white space nor a plus")
    _utf8(_checked(name))
    return name


def _checked(text: str) -> str:
    if _CONTROL.search(text) is not None:
        raise BadNote("a note has no control character but the line feed")
    return text


def _note_text(text: str) -> bytes:
    if not text.endswith("\n"):
        raise BadNote("a note's text ends in a line feed")
    return _utf8(_checked(text))


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadNote("a note is UTF-8") from None


def _cosigned(text: bytes, timestamp: int) -> bytes:
    if not 0 <= timestamp <= _MAX_TIME:
        raise BadNote("a time is a number of seconds below 2^63")
    return b"cosignature/v1\ntime %d\n" % timestamp + text


def _line(line: str) -> SignatureLine:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    raw = _decoded(encoded)
    if not line.startswith(_DASH) or len(raw) <= _HASH_SIZE:
        raise BadNote("not a line of a signature")
    return SignatureLine(_named(name), raw[:_HASH_SIZE], raw[_HASH_SIZE:])


def _written(line: SignatureLine) -> bytes:
    return f"{_DASH}{line.name} {_base64(line.key_hash + line.signature)}\n".encode()


def _base64(raw: bytes) -> str:
    return b64encode(raw).decode("ascii")


def _decoded(text: str) -> bytes:
    try:
        raw = b64decode(text, validate=True)
    except (Base64Error, ValueError):
        raise BadNote("not base64") from None
    if _base64(raw) != text:
        raise BadNote("base64 in another than its canonical form")
    return raw
