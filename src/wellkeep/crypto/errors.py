"""What this room raises: one small tree, each with a stable `code`.

Threat: an error text that reaches a log or a client with plaintext, a key or an index value in it. So no error here
carries a value: its message is a constant sentence and its code is all that a caller may branch on.
"""

from typing import ClassVar


class CryptoError(Exception):
    """Something cryptographic was refused."""

    code: ClassVar[str] = "crypto"


class Malformed(CryptoError):
    """Bytes or arguments that no writer of the format makes: version, suite, flags, lengths, ids, types."""

    code = "malformed"


class WrongKey(CryptoError):
    """The key is not the one the ciphertext, wrap or commitment names."""

    code = "wrong-key"


class SealBroken(CryptoError):
    """Authentication failed: altered, moved to another place, or put together from two ciphertexts."""

    code = "seal-broken"


class BadStream(CryptoError):
    """A stream was cut, reordered, continued past its end, or altered."""

    code = "bad-stream"


class NotNormalisable(CryptoError):
    """A value has no normal form under the index's normaliser, so it has no tag."""

    code = "not-normalisable"


class NotCanonical(CryptoError):
    """A value lies outside the JSON subset, or bytes are not its canonical encoding."""

    code = "not-canonical"


class BadProof(CryptoError):
    """A Merkle proof does not lead from what it claims to the root."""

    code = "bad-proof"


class BadNote(CryptoError):
    """A signed note or a verifier key is malformed, or the known key did not sign it."""

    code = "bad-note"
