"""A 32-byte key wrapped by another: "WW" | version 1 | nonce 12 | ciphertext 32 | tag 16 (63 bytes).

Rules: AES-256-GCM with AAD = "WW" ‖ version ‖ context; the context names whose key it is, so a wrapped key moved to
another tenant, subject, purpose, epoch or generation does not open. The wrapping key is used directly, for wrapping
alone. Random 96-bit nonces: at 2^32 wraps under one key the collision risk is 2^-33, and epochs end far earlier.
Threat: a database owner who swaps wrapped keys between rows.
"""

from os import urandom

from cryptography.exceptions import InvalidTag

from wellkeep.crypto.canonical import encode
from wellkeep.crypto.errors import Malformed, WrongKey
from wellkeep.crypto.keys import KID_SIZE, SECRET_SIZE, aes_256_gcm

_MARKER = b"WW\x01"
_NONCE_AT = len(_MARKER)
_BODY_AT = _NONCE_AT + 12
WRAPPED_SIZE = _BODY_AT + SECRET_SIZE + 16
_ID_SIZE = 16


class WrapKey:
    """A key that wraps keys: the root key over tenant keys, a tenant's WRAP key over subject keys."""

    __slots__ = ("_aead",)

    def __init__(self, secret: bytes) -> None:
        """Take a 32-byte key; raises `Malformed` for another length."""
        self._aead = aes_256_gcm(secret)

    def __repr__(self) -> str:
        """Show nothing: not even a kid is needed here."""
        return "<WrapKey>"

    def wrap(self, secret: bytes, *, context: bytes) -> bytes:
        """Return the 63 bytes of a wrapped 32-byte secret; raises `Malformed` for any other length."""
        if len(secret) != SECRET_SIZE:
            raise Malformed("a key has 32 bytes")
        return self._wrap_with_unsafe_nonce(secret, context=context, nonce=urandom(12))

    def _wrap_with_unsafe_nonce(self, secret: bytes, *, context: bytes, nonce: bytes) -> bytes:
        """Wrap with the caller's nonce: unsafe, for test vectors alone."""
        return _MARKER + nonce + self._aead.encrypt(nonce, secret, _MARKER + context)

    def unwrap(self, wrapped: bytes, *, context: bytes) -> bytes:
        """Return the secret; raises `Malformed` for what is no wrap, `WrongKey` for another key or context."""
        if len(wrapped) != WRAPPED_SIZE or wrapped[:_NONCE_AT] != _MARKER:
            raise Malformed("not a wrapped key of version 1")
        try:
            return self._aead.decrypt(wrapped[_NONCE_AT:_BODY_AT], wrapped[_BODY_AT:], _MARKER + context)
        except InvalidTag:
            raise WrongKey("wrapped under another key or for another context, or altered") from None


def tenant_key_context(*, deployment: bytes, environment: str, tenant: bytes, purpose: str, epoch: int) -> bytes:
    """Return the context of a tenant key: canonical JSON of the five, as KMS contexts are; ids as hex digits."""
    _check_id(deployment, _ID_SIZE)
    _check_id(tenant, _ID_SIZE)
    return encode(
        {
            "deployment": deployment.hex(),
            "environment": environment,
            "epoch": epoch,
            "purpose": purpose,
            "tenant": tenant.hex(),
        }
    )


def subject_key_context(*, tenant: bytes, subject: bytes, generation: int, kid: bytes) -> bytes:
    """Return the context of a subject key: tenant 16 ‖ subject 16 ‖ generation u32 ‖ kid 16."""
    _check_id(tenant, _ID_SIZE)
    _check_id(subject, _ID_SIZE)
    _check_id(kid, KID_SIZE)
    if not 0 <= generation < 2**32:
        raise Malformed("a generation is an unsigned 32-bit number")
    return tenant + subject + generation.to_bytes(4, "big") + kid


def _check_id(value: bytes, size: int) -> None:
    if len(value) != size:
        raise Malformed("an id has 16 bytes")
