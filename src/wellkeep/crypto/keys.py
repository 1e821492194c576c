"""Key objects: derivation (HKDF-Expand), commitment (kid) and the two AEADs of wk1.

Rules: a secret is 32 random bytes and is expanded once, when the key is loaded; no KDF and no new key object per field.
The kid is the first half of a 32-byte commitment to the secret: one ciphertext opens under one key only, which AES-GCM
alone does not give (Dodis et al., CRYPTO 2018). All 32 bytes are compared when a key is loaded.
Threats: partitioning oracles and swapped keys (commitment); nonce collisions under a tenant-wide key (XAES-256-GCM's
192-bit nonces, https://c2sp.org/XAES-256-GCM); secrets in logs (no repr shows one, no attribute holds one).
"""

import hmac
from collections.abc import Callable
from typing import Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from wellkeep.crypto.errors import Malformed, WrongKey

SECRET_SIZE = 32
KID_SIZE = 16
HEADER_SIZE = 20
PADDED = 1
"""Bit 0 of the envelope's flags."""

_MAX_U32 = 2**32 - 1

Aead = Callable[[bytes, bytes, bytes], bytes]


def expand(secret: bytes, *, info: bytes, length: int = SECRET_SIZE) -> bytes:
    """Return `length` bytes of HKDF-Expand-SHA-256 over a 32-byte (or longer) secret (RFC 5869, section 2.3)."""
    return HKDFExpand(algorithm=SHA256(), length=length, info=info).derive(secret)


def aes_256_gcm(key: bytes) -> AESGCM:
    """Return the AEAD of NIST SP 800-38D over a 32-byte key; shorter AES keys are refused with `Malformed`."""
    if len(key) != SECRET_SIZE:
        raise Malformed("a key has 32 bytes")
    return AESGCM(key)


def commitment(secret: bytes) -> bytes:
    """Return the 32 bytes that commit to a secret; the first 16 are its kid."""
    if len(secret) != SECRET_SIZE:
        raise Malformed("a key has 32 bytes")
    return expand(secret, info=b"wk1/commit")


def check_commitment(secret: bytes, *, commit: bytes) -> None:
    """Compare a freshly unwrapped secret with the stored 32-byte commitment in constant time; raise `WrongKey`."""
    if not hmac.compare_digest(commitment(secret), commit):
        raise WrongKey("the unwrapped key is not the one that was committed to")


class SealingKey(Protocol):
    """What the envelope needs of a key: who it is and how it seals."""

    header: bytes
    nonce_size: int
    body_at: int
    encrypt: Aead
    decrypt: Aead


class _FieldKey:
    """What both suites share: `commit` (32), `kid` (16), and `header`, the first 20 bytes of each envelope."""

    __slots__ = ("body_at", "commit", "decrypt", "encrypt", "header", "kid", "nonce_size")

    def __init__(self, secret: bytes, suite: int, nonce_size: int, aead: "AESGCM | Xaes256Gcm") -> None:
        self.commit = commitment(secret)
        self.kid = self.commit[:KID_SIZE]
        self.header = b"WK" + bytes((suite, PADDED)) + self.kid
        self.nonce_size = nonce_size
        self.body_at = HEADER_SIZE + nonce_size
        self.encrypt: Aead = aead.encrypt
        self.decrypt: Aead = aead.decrypt

    def __repr__(self) -> str:
        """Show the kid, which is public, and nothing else."""
        return f"<{type(self).__name__} kid={self.kid.hex()}>"


class SubjectKey(_FieldKey):
    """Suite 1: AES-256-GCM under one patient's key, 96-bit random nonces."""

    __slots__ = ()

    def __init__(self, secret: bytes) -> None:
        """Expand a 32-byte secret once; raises `Malformed` for another length."""
        super().__init__(secret, 1, 12, aes_256_gcm(expand(secret, info=b"wk1/enc")))


class DataKey(_FieldKey):
    """Suite 2: XAES-256-GCM under a tenant-wide key, 192-bit random nonces; for records of no patient."""

    __slots__ = ()

    def __init__(self, secret: bytes) -> None:
        """Expand a 32-byte secret once; raises `Malformed` for another length."""
        super().__init__(secret, 2, 24, Xaes256Gcm(expand(secret, info=b"wk1/xaes")))


class Xaes256Gcm:
    """XAES-256-GCM: a 32-byte key, 24-byte nonces; the names follow https://c2sp.org/XAES-256-GCM."""

    __slots__ = ("_cmac",)

    def __init__(self, key: bytes) -> None:
        """Take a 32-byte key; raises `Malformed` for another length."""
        if len(key) != SECRET_SIZE:
            raise Malformed("a key has 32 bytes")
        self._cmac = CMAC(AES256(key))

    def encrypt(self, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
        """Return ciphertext ‖ 16-byte tag."""
        return self._subkey(nonce).encrypt(nonce[12:], plaintext, aad)

    def decrypt(self, nonce: bytes, ciphertext: bytes, aad: bytes) -> bytes:
        """Return the plaintext; raises `cryptography.exceptions.InvalidTag`, as AESGCM does."""
        return self._subkey(nonce).decrypt(nonce[12:], ciphertext, aad)

    def _subkey(self, nonce: bytes) -> AESGCM:
        # SP 800-108r1 in counter mode, label "X"; one CMAC block each, so the two halves are independent PRF outputs.
        if len(nonce) != 24:  # noqa: PLR2004 - the algorithm's own constant
            raise Malformed("an XAES-256-GCM nonce has 24 bytes")
        halves = []
        for counter in (b"\x00\x01", b"\x00\x02"):
            mac = self._cmac.copy()
            mac.update(counter + b"X\x00" + nonce[:12])
            halves.append(mac.finalize())
        return AESGCM(halves[0] + halves[1])


def index_key(index_secret: bytes, *, collection: int, field: int, index: int, normaliser: str) -> bytes:
    """Return the 32-byte key of one blind index.

    `collection`, `field` and `index` are u32 ids (`index` may be a `blind.IndexKind`), `normaliser` its versioned name
    such as "name/1". Widths are fixed and the name stands last, so no two indexes share an encoding.
    """
    if len(index_secret) != SECRET_SIZE:
        raise Malformed("a key has 32 bytes")
    if any(not 0 <= number <= _MAX_U32 for number in (collection, field, index)):
        raise Malformed("ids are unsigned 32-bit numbers")
    ids = b"".join(number.to_bytes(4, "big") for number in (collection, field, index))
    return expand(index_secret, info=b"wk1/idx" + ids + normaliser.encode("ascii"))
