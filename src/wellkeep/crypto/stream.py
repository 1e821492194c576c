"""Streams (files, backups, import and export blobs): STREAM of Hoang, Reyhanitabar, Rogaway and Vizár, CRYPTO 2015.

    header = "WS" | suite 1 | flags 0 | kid 16 | prefix 7        (27 bytes)
    segment = AES-256-GCM(plaintext ≤ 65,536 bytes) with nonce = prefix 7 | counter u32 | last 1, AAD = header | context

Rules: one random key a stream (wrapped by the caller's key); every segment but the last is full; an empty last segment
stands alone. The counter refuses reordering, the last byte of the nonce truncation and continuation, the context (whose
file it is) moving, and the key swapping between streams.
What `StreamOpener.update` returns is authentic but may be a prefix: act on it only after `finalise` returned.
"""

from collections.abc import Callable
from functools import partial
from os import urandom
from struct import Struct

from cryptography.exceptions import InvalidTag

from wellkeep.crypto.errors import BadStream, Malformed, WrongKey
from wellkeep.crypto.keys import KID_SIZE, aes_256_gcm, commitment, expand

SEGMENT_SIZE = 64 * 1024
_TAG_SIZE = 16
SEALED_SEGMENT_SIZE = SEGMENT_SIZE + _TAG_SIZE
HEADER_SIZE = 27
_MARKER = b"WS\x01\x00"
_PREFIX_AT = len(_MARKER) + KID_SIZE
_MAX_INDEX = 2**32 - 1
_nonce = Struct(">7sIB").pack


class StreamKey:
    """A stream's own key: 32 random bytes, expanded once; `kid` (16) and `commit` (32) as for other keys."""

    __slots__ = ("_aead", "commit", "kid")

    def __init__(self, secret: bytes) -> None:
        """Expand a 32-byte secret once; raises `Malformed` for another length."""
        self.commit = commitment(secret)
        self.kid = self.commit[:KID_SIZE]
        self._aead = aes_256_gcm(expand(secret, info=b"wk1/stream"))

    def __repr__(self) -> str:
        """Show the kid, which is public, and nothing else."""
        return f"<StreamKey kid={self.kid.hex()}>"

    def new_header(self) -> bytes:
        """Return the 27 bytes that a stream begins with; its prefix is random."""
        return _MARKER + self.kid + urandom(7)

    def check_header(self, header: bytes) -> None:
        """Refuse a header that is malformed (`Malformed`) or another key's (`WrongKey`)."""
        if len(header) != HEADER_SIZE or header[: len(_MARKER)] != _MARKER:
            raise Malformed("not the header of a wk1 stream")
        if header[len(_MARKER) : _PREFIX_AT] != self.kid:
            raise WrongKey("sealed under another key")

    def seal_segment(self, index: int, data: bytes, *, header: bytes, context: bytes, last: bool) -> bytes:
        """Seal segment `index` (u32); raises `Malformed` for a segment that breaks the rules of size.

        A writer that resumes at segment n must give the same bytes for a segment it may have written before: two
        different plaintexts at one index of one stream share a nonce, which breaks AES-GCM. Else begin a new stream.
        """
        self.check_header(header)
        _check_segment(index, len(data), last=last)
        return self._aead.encrypt(_nonce(header[_PREFIX_AT:], index, last), data, header + context)

    def open_segment(self, index: int, sealed: bytes, *, header: bytes, context: bytes, last: bool) -> bytes:
        """Open segment `index`; raises `BadStream` where it is not the sealed segment of that place and role."""
        self.check_header(header)
        try:
            _check_segment(index, len(sealed) - _TAG_SIZE, last=last)
            data = self._aead.decrypt(_nonce(header[_PREFIX_AT:], index, last), sealed, header + context)
        except (InvalidTag, Malformed):
            raise BadStream("cut, reordered, continued, altered, or another context's") from None
        return data


class _Segments:
    """Cuts what arrives into segments; the last one is known only when the stream is finished."""

    def __init__(self, segment: Callable[..., bytes], size: int, first: int) -> None:
        self._segment = segment
        self._size = size
        self._index = first
        self._buffer: bytearray | None = bytearray()

    def update(self, data: bytes) -> bytes:
        """Take a piece of any length and return what the segments that are now full become (maybe nothing)."""
        if self._buffer is None:
            raise BadStream("the stream is finished")
        self._buffer += data
        done = []
        # One byte must stay behind: only then is a full segment known not to be the last.
        while len(self._buffer) > self._size:
            done.append(self._segment(self._index, bytes(self._buffer[: self._size]), last=False))
            del self._buffer[: self._size]
            self._index += 1
        return b"".join(done)

    def finalise(self) -> bytes:
        """Return what the last segment becomes; nothing can follow."""
        if self._buffer is None:
            raise BadStream("the stream is finished")
        data, self._buffer = bytes(self._buffer), None
        return self._segment(self._index, data, last=True)


class StreamSealer(_Segments):
    """Seals a stream piece by piece, from segment `first` on when resuming under an earlier `header`.

    The header is not part of what `update` and `finalise` return: the writer puts it first.
    """

    def __init__(self, key: StreamKey, *, context: bytes, header: bytes | None = None, first: int = 0) -> None:
        """Begin; raises as `StreamKey.check_header`."""
        self.header = key.new_header() if header is None else header
        key.check_header(self.header)
        super().__init__(partial(key.seal_segment, header=self.header, context=context), SEGMENT_SIZE, first)


class StreamOpener(_Segments):
    """Opens a stream piece by piece, from segment `first` on; raises `BadStream` unless all of it is there."""

    def __init__(self, key: StreamKey, *, header: bytes, context: bytes, first: int = 0) -> None:
        """Begin; raises as `StreamKey.check_header`."""
        key.check_header(header)
        super().__init__(partial(key.open_segment, header=header, context=context), SEALED_SEGMENT_SIZE, first)


def _check_segment(index: int, size: int, *, last: bool) -> None:
    if not 0 <= index <= _MAX_INDEX:
        raise Malformed("a stream has at most 2^32 segments")
    if not 0 <= size <= SEGMENT_SIZE or (not last and size != SEGMENT_SIZE):
        raise Malformed("every segment but the last is full")
    if last and size == 0 and index > 0:
        raise Malformed("an empty last segment stands alone")
