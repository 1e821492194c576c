"""Keys commit to themselves, stay out of every text, and no two purposes share one."""

from __future__ import annotations

import pickle

import pytest

from wellkeep.crypto import keys, stream, wrap
from wellkeep.crypto.blind import BlindIndex
from wellkeep.crypto.errors import Malformed, WrongKey

SECRET = bytes(range(32))


def test_the_commitment_is_checked_whole() -> None:
    commit = keys.commitment(SECRET)
    keys.check_commitment(SECRET, commit=commit)
    for wrong in (commit[:16], commit[:16] + bytes(16), bytes(32), b""):
        with pytest.raises(WrongKey):
            keys.check_commitment(SECRET, commit=wrong)
    with pytest.raises(WrongKey):
        keys.check_commitment(b"x" * 32, commit=commit)


def test_the_kid_is_half_the_commitment() -> None:
    for key in (keys.SubjectKey(SECRET), keys.DataKey(SECRET)):
        assert key.kid == key.commit[:16] == keys.commitment(SECRET)[:16]
        assert key.header[4:] == key.kid


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_a_secret_has_32_bytes(size: int) -> None:
    secret = bytes(size)
    makers = (keys.SubjectKey, keys.DataKey, keys.Xaes256Gcm, keys.aes_256_gcm, stream.StreamKey, wrap.WrapKey)
    for make in makers:
        with pytest.raises(Malformed):
            make(secret)
    with pytest.raises(Malformed):
        keys.index_key(secret, collection=1, field=1, index=1, normaliser="text/1")
    with pytest.raises(Malformed):
        BlindIndex(secret, epoch=1)


def test_an_xaes_nonce_has_24_bytes() -> None:
    aead = keys.Xaes256Gcm(SECRET)
    for function in (aead.encrypt, aead.decrypt):
        with pytest.raises(Malformed):
            function(bytes(12), bytes(32), b"")


def test_no_text_shows_a_secret() -> None:
    index_key = keys.index_key(SECRET, collection=1, field=2, index=1, normaliser="text/1")
    shown = [
        repr(holder)
        for holder in (
            keys.SubjectKey(SECRET),
            keys.DataKey(SECRET),
            stream.StreamKey(SECRET),
            wrap.WrapKey(SECRET),
            BlindIndex(index_key, epoch=3),
        )
    ]
    for text in shown:
        assert SECRET.hex() not in text
        assert repr(SECRET)[2:-1] not in text
    assert shown[0] == f"<SubjectKey kid={keys.commitment(SECRET)[:16].hex()}>"


def test_keys_are_not_pickled() -> None:
    """A key must not travel to another process, a cache or a job queue by accident."""
    for holder in (keys.SubjectKey(SECRET), keys.DataKey(SECRET), stream.StreamKey(SECRET), wrap.WrapKey(SECRET)):
        with pytest.raises(TypeError):
            pickle.dumps(holder)


def test_every_part_of_an_index_key_counts() -> None:
    parts = {"collection": 1, "field": 2, "index": 3, "normaliser": "name/1"}

    def derive(**changed: object) -> bytes:
        return keys.index_key(SECRET, **(parts | changed))  # type: ignore[arg-type]

    made = [derive(), derive(collection=2), derive(field=1), derive(index=2), derive(normaliser="name/2")]
    assert len(set(made)) == 5
    for wrong in ({"collection": -1}, {"field": 2**32}, {"index": 2**32}):
        with pytest.raises(Malformed):
            derive(**wrong)
