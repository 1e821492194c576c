"""Known answers of NIST, RFC 5869, C2SP and Wycheproof through the functions that our formats are made of."""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.hashes import SHAKE128, XOFHash

from wellkeep.crypto import blind, keys
from wellkeep.crypto.errors import Malformed

GCM_KEY = "feffe9928665731c6d6a8f9467308308" * 2
GCM_TEXT = (
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
)
GCM_SEALED = (
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
    "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
)
CMAC_TEXT = (
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)
NIST_GCM = [
    ("00" * 32, "00" * 12, "", "", "530f8afbc74536b9a963b4f1c4cb738b"),
    ("00" * 32, "00" * 12, "00" * 16, "", "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"),
    (
        GCM_KEY,
        "cafebabefacedbaddecaf888",
        GCM_TEXT,
        "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        GCM_SEALED + "76fc6ece0f4e1768cddf8853bb2d551b",
    ),
]


@pytest.mark.parametrize(("key", "nonce", "plaintext", "aad", "sealed"), NIST_GCM)
def test_nist_aes_256_gcm(key: str, nonce: str, plaintext: str, aad: str, sealed: str) -> None:
    """Test cases 13, 14 and 16 of the GCM submission to NIST."""
    aead = keys.aes_256_gcm(bytes.fromhex(key))
    assert aead.encrypt(bytes.fromhex(nonce), bytes.fromhex(plaintext), bytes.fromhex(aad)).hex() == sealed


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("", "028962f61b7bf89efc6b551f4667d983"),
        ("6bc1bee22e409f96e93d7e117393172a", "28a7023f452e8f82bd4bf28d8c37c35c"),
        (
            CMAC_TEXT,
            "e1992190549f6ed5696a2c056c315410",
        ),
    ],
)
def test_nist_aes_256_cmac(message: str, expected: str) -> None:
    """SP 800-38B, AES-256, on the very object that derives XAES subkeys."""
    key = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    mac = keys.Xaes256Gcm(key)._cmac.copy()
    mac.update(bytes.fromhex(message))
    assert mac.finalize().hex() == expected


XAES = [
    (b"\x01", b"", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
    (b"\x03", b"c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"),
]


@pytest.mark.parametrize(("byte", "aad", "sealed"), XAES)
def test_xaes_vectors(byte: bytes, aad: bytes, sealed: str) -> None:
    """Both vectors of c2sp.org/XAES-256-GCM: the first bit of L is 0 in one and 1 in the other."""
    aead = keys.Xaes256Gcm(byte * 32)
    nonce = b"ABCDEFGHIJKLMNOPQRSTUVWX"
    assert aead.encrypt(nonce, b"XAES-256-GCM", aad).hex() == sealed
    assert aead.decrypt(nonce, bytes.fromhex(sealed), aad) == b"XAES-256-GCM"
    with pytest.raises(InvalidTag):
        aead.decrypt(nonce, bytes.fromhex(sealed), aad + b"x")


def xaes_accumulated(iterations: int) -> str:
    """Run C2SP's randomised test: every input from one SHAKE-128 stream, every ciphertext into another."""
    source = XOFHash(SHAKE128(digest_size=sys.maxsize))
    sink = hashlib.shake_128()
    for _ in range(iterations):
        key, nonce = source.squeeze(32), source.squeeze(24)
        length = source.squeeze(1)[0]
        plaintext = source.squeeze(length) if length else b""
        length = source.squeeze(1)[0]
        aad = source.squeeze(length) if length else b""
        aead = keys.Xaes256Gcm(key)
        sealed = aead.encrypt(nonce, plaintext, aad)
        assert aead.decrypt(nonce, sealed, aad) == plaintext
        sink.update(sealed)
    return sink.hexdigest(32)


def test_xaes_ten_thousand() -> None:
    assert xaes_accumulated(10_000) == "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"


@pytest.mark.soak
def test_xaes_one_million() -> None:
    assert xaes_accumulated(1_000_000) == "2163ae1445985a30b60585ee67daa55674df06901b890593e824b8a7c885ab15"


def wycheproof(samples: Path, name: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield (group, test) with the hexadecimal values decoded."""
    for group in json.loads((samples / "wycheproof" / f"{name}_test.json").read_text())["testGroups"]:
        for test in group["tests"]:
            texts = {"comment", "result"}
            decoded = {k: bytes.fromhex(v) if isinstance(v, str) and k not in texts else v for k, v in test.items()}
            yield group, decoded


@pytest.mark.samples
def test_wycheproof_aes_gcm(samples: Path) -> None:
    """Ours takes 256-bit keys and 96-bit nonces; the other keys are refused, the other nonces are counted."""
    ran = refused_keys = other_nonces = 0
    for group, test in wycheproof(samples, "aes_gcm"):
        if group["keySize"] != 256:
            with pytest.raises(Malformed):
                keys.aes_256_gcm(test["key"])
            refused_keys += 1
            continue
        if group["ivSize"] != 96:
            other_nonces += 1
            continue
        ran += 1
        aead = keys.aes_256_gcm(test["key"])
        sealed = test["ct"] + test["tag"]
        if test["result"] == "valid":
            assert aead.encrypt(test["iv"], test["msg"], test["aad"]) == sealed
            assert aead.decrypt(test["iv"], sealed, test["aad"]) == test["msg"]
        else:
            with pytest.raises(InvalidTag):
                aead.decrypt(test["iv"], sealed, test["aad"])
    assert (ran, refused_keys, other_nonces) == (66, 211, 39)


@pytest.mark.samples
def test_wycheproof_hkdf(samples: Path) -> None:
    """Ours is the expand half: the extract half (RFC 5869, 2.2) is one HMAC, made here."""
    ran = 0
    for _, test in wycheproof(samples, "hkdf_sha256"):
        prk = hmac.digest(test["salt"] or bytes(32), test["ikm"], "sha256")
        if test["result"] == "valid":
            assert keys.expand(prk, info=test["info"], length=test["size"]) == test["okm"]
        else:
            with pytest.raises(ValueError, match="larger"):
                keys.expand(prk, info=test["info"], length=test["size"])
        ran += 1
    assert ran == 86


@pytest.mark.samples
def test_wycheproof_hmac(samples: Path) -> None:
    """Ours takes 256-bit keys and text and gives 128 bits; other sizes, and messages that are no text, are counted."""
    ran = filtered = 0
    for group, test in wycheproof(samples, "hmac_sha256"):
        text = test["msg"].decode("utf-8", errors="ignore")
        if (group["keySize"], group["tagSize"]) != (256, 128) or not text or text.encode() != test["msg"]:
            filtered += 1
            continue
        tag = blind.BlindIndex(test["key"], epoch=1).tag(text)
        assert (tag[1:] == test["tag"]) == (test["result"] == "valid")
        ran += 1
    assert (ran, filtered) == (29, 145)
