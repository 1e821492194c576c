"""A second reader of format wk1, written from docs/spec/wk1.md with `cryptography` primitives alone.

It imports nothing of wellkeep: two implementations that agree on the vectors make the document a specification.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC


class Refused(Exception):
    """The specification tells a reader to refuse."""


def hkdf_expand(secret: bytes, info: bytes) -> bytes:
    """RFC 5869, section 2.3, for 32 bytes: one block."""
    return hmac.digest(secret, info + b"\x01", "sha256")


def commit(secret: bytes) -> bytes:
    return hkdf_expand(secret, b"wk1/commit")


def cmac(key: bytes, message: bytes) -> bytes:
    mac = CMAC(AES(key))
    mac.update(message)
    return mac.finalize()


def open_envelope(
    secret: bytes, envelope: bytes, *, tenant: bytes, collection: int, field: int, record: bytes
) -> tuple[int, bytes]:
    """Section "Opening": returns (type, payload)."""
    if envelope[:2] != b"WK" or envelope[2:3] not in {b"\x01", b"\x02"} or envelope[3:4] != b"\x01":
        raise Refused
    if envelope[4:20] != commit(secret)[:16]:
        raise Refused
    aad = envelope[:20] + tenant + collection.to_bytes(4, "big") + field.to_bytes(4, "big") + record
    if envelope[2] == 1:
        key, nonce, body = hkdf_expand(secret, b"wk1/enc"), envelope[20:32], envelope[32:]
    else:
        outer, half = hkdf_expand(secret, b"wk1/xaes"), envelope[20:32]
        key = cmac(outer, b"\x00\x01X\x00" + half) + cmac(outer, b"\x00\x02X\x00" + half)
        nonce, body = envelope[32:44], envelope[44:]
    plaintext = AESGCM(key).decrypt(nonce, body, aad)
    end = len(plaintext) - 1
    while end >= 0 and plaintext[end] == 0:
        end -= 1
    if end < 1 or plaintext[end] != 0x80 or not 1 <= plaintext[0] <= 9:
        raise Refused
    return plaintext[0], plaintext[1:end]


def revision_digest(record: bytes, items: list[tuple[int, bytes]]) -> bytes:
    """Section "Digest of a revision"."""
    state = hashlib.sha256(b"wk1/digest" + record + len(items).to_bytes(4, "big"))
    for field, envelope in sorted(items):
        state.update(field.to_bytes(4, "big") + len(envelope).to_bytes(4, "big") + envelope)
    return state.digest()


def unwrap(kek: bytes, wrapped: bytes, *, context: bytes) -> bytes:
    """Section "Wrapped keys"."""
    if wrapped[:3] != b"WW\x01" or len(wrapped) != 63:
        raise Refused
    return AESGCM(kek).decrypt(wrapped[3:15], wrapped[15:], b"WW\x01" + context)


def key_context(entry: dict[str, str]) -> bytes:
    """Section "Wrapped keys": the canonical JSON of a tenant's key."""
    text = '{{"deployment":"{deployment}","environment":"{environment}","epoch":{epoch},'
    return (text + '"purpose":"{purpose}","tenant":"{tenant}"}}').format_map(entry).encode()


def open_tenant_key(root: bytes, epoch_key: bytes | None, stored: bytes, *, context: bytes) -> bytes:
    """Section "Root and epoch"; without an epoch's key it is a deployment's own."""
    if epoch_key is None:
        return unwrap(root, stored, context=context)
    end = 2 + int.from_bytes(stored[:2], "big")
    first, second = unwrap(root, stored[2:end], context=context), unwrap(epoch_key, stored[end:], context=context)
    return bytes(a ^ b for a, b in zip(first, second, strict=True))


def open_part(secret: bytes, number: int, part: bytes, *, context: bytes) -> bytes:
    """Section "Blobs", for a part of one segment."""
    header, segment = part[:27], part[27:]
    if header[:4] != b"WS\x01\x00" or header[4:20] != commit(secret)[:16]:
        raise Refused
    nonce = header[20:] + (128 * number).to_bytes(4, "big") + b"\x01"
    return AESGCM(hkdf_expand(secret, b"wk1/stream")).decrypt(nonce, segment, header + context)


def open_stream(secret: bytes, header: bytes, sealed: bytes, *, context: bytes) -> bytes:
    """Section "Streams"."""
    if header[:4] != b"WS\x01\x00" or len(header) != 27 or header[4:20] != commit(secret)[:16]:
        raise Refused
    aead = AESGCM(hkdf_expand(secret, b"wk1/stream"))
    pieces = [sealed[start : start + 65552] for start in range(0, len(sealed), 65552)]
    plaintext = b""
    for counter, piece in enumerate(pieces):
        last = b"\x01" if counter == len(pieces) - 1 else b"\x00"
        plaintext += aead.decrypt(header[20:] + counter.to_bytes(4, "big") + last, piece, header + context)
    return plaintext


def tag(index_secret: bytes, token: str, *, ids: tuple[int, int, int], normaliser: str, epoch: int) -> bytes:
    """Section "Blind indexes"; `ids` are collection, field and index."""
    info = b"wk1/idx" + b"".join(number.to_bytes(4, "big") for number in ids) + normaliser.encode()
    return bytes([epoch]) + hmac.digest(hkdf_expand(index_secret, info), token.encode(), "sha256")[:16]
