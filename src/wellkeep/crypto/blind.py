"""Blind-index tags: tag = epoch(1) ‖ HMAC-SHA-256(index key, normalised)[:16], equal values give equal tags.

Rules: the key (`keys.index_key`) belongs to one collection, field, index kind and normaliser, so tags of two indexes
never compare. Prefix tags are per word, its first 2 to 12 characters and, where it is longer, the whole: what matches
is what is returned, nothing is opened to filter. No slow hash: the key protects, and 300,000 rows must not take ten
hours.
Threats: a dictionary run over unkeyed hashes; counting equal tags (why fields with few values get no index at all).
"""

from enum import IntEnum

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from wellkeep.crypto.errors import Malformed, NotNormalisable
from wellkeep.crypto.keys import SECRET_SIZE

MIN_PREFIX = 2
MAX_PREFIX = 12
TAG_SIZE = 17
_MAX_EPOCH = 255


class IndexKind(IntEnum):
    """What a tag answers; the number goes into the index key."""

    EXACT = 1
    UNIQUE = 2
    PREFIX = 3


class BlindIndex:
    """One index's key in one epoch (1 to 255), ready to tag."""

    __slots__ = ("_epoch", "_hmac")

    def __init__(self, key: bytes, *, epoch: int) -> None:
        """Take a 32-byte index key; raises `Malformed` for another length or epoch."""
        if len(key) != SECRET_SIZE or not 1 <= epoch <= _MAX_EPOCH:
            raise Malformed("an index key has 32 bytes, an epoch is 1 to 255")
        self._epoch = bytes((epoch,))
        self._hmac = HMAC(key, SHA256())

    def __repr__(self) -> str:
        """Show the epoch, never the key."""
        return f"<BlindIndex epoch={self._epoch[0]}>"

    def tag(self, normalised: str) -> bytes:
        """Return the 17-byte tag of a normal form; raises `NotNormalisable` for an empty one or a lone surrogate."""
        if not normalised:
            raise NotNormalisable("an empty value has no tag")
        try:
            message = normalised.encode()
        except UnicodeEncodeError:
            raise NotNormalisable("not valid Unicode") from None
        # Copying this object measured 0.8 µs a tag; hmac.digest 2.3, a copied hmac.HMAC 1.5.
        mac = self._hmac.copy()
        mac.update(message)
        return self._epoch + mac.finalize()[:16]


class Mac:
    """HMAC-SHA-256 (RFC 2104) under one key that was set up once, for whoever asks for many: a third of a call."""

    __slots__ = ("_hmac",)

    def __init__(self, key: bytes) -> None:
        """Take a 32-byte key; raises `Malformed` for another length."""
        if len(key) != SECRET_SIZE:
            raise Malformed("a key has 32 bytes")
        self._hmac = HMAC(key, SHA256())

    def __repr__(self) -> str:
        """Show that it is one, never the key."""
        return "<Mac>"

    def of(self, message: bytes) -> bytes:
        """Return the 32 bytes over `message`."""
        mac = self._hmac.copy()
        mac.update(message)
        return mac.finalize()


def tokens(kind: IndexKind, normalised: str) -> list[str]:
    """Return what is tagged when a value is stored: itself, or its words' distinct prefixes and its long words."""
    if kind is not IndexKind.PREFIX:
        return [normalised]
    words = normalised.split()
    prefixes = {word[:length] for word in words for length in range(MIN_PREFIX, min(len(word), MAX_PREFIX) + 1)}
    return sorted(prefixes.union(word for word in words if len(word) > MAX_PREFIX))


def query_tokens(kind: IndexKind, normalised: str) -> list[str]:
    """Return what is tagged when a value is searched for; all must match.

    For a prefix index a word of 2 to 12 characters finds the words that begin with it, a longer one the words that are
    equal to it. Raises `NotNormalisable` for a shorter one, which is not stored.
    """
    if kind is not IndexKind.PREFIX:
        return [normalised]
    words = sorted(set(normalised.split()))
    if not words or any(len(word) < MIN_PREFIX for word in words):
        raise NotNormalisable("a word of a prefix search has at least 2 characters")
    return words
