"""A million seals by eight processes that were forked from one: no key meets a nonce twice.

The threat is a buffer of random bytes, or a generator's state, that a fork hands to both sides: two plaintexts under
one nonce give the authentication key of AES-GCM away. So the parent seals first, then the children go on with its very
objects: a patient's key, the tenant's DATA key, and a stream's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wellkeep.crypto import envelope
from wellkeep.crypto.keys import DataKey, SealingKey, SubjectKey
from wellkeep.crypto.stream import StreamKey
from wellkeep.crypto.wrap import WrapKey

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
"""The children touch nothing that another thread could hold."""

CHILDREN = 8
FIELDS = 20
TENANT, RECORD = bytes(16), bytes(range(16))
NONCE_AT = 20
STREAM_PREFIX = slice(20, 27)
WRAP_NONCE = slice(3, 15)
Sealer = Callable[[int], bytes]
"""Makes so many seals and returns their nonces, one after the other."""


def fields_of(key: SealingKey) -> Sealer:
    """Return what seals records of twenty fields under `key`, as the vault does."""
    items = [(number, 1, b"value", False) for number in range(1, FIELDS + 1)]
    end = NONCE_AT + key.nonce_size

    def seal(count: int) -> bytes:
        nonces = bytearray()
        for _ in range(count // FIELDS):
            for sealed in envelope.seal_record(key, tenant=TENANT, collection=1, record=RECORD, items=items):
                nonces += sealed[NONCE_AT:end]
        return bytes(nonces)

    return seal


def streams_of(key: StreamKey) -> Sealer:
    """Return what begins streams under one key: each header's prefix is the nonce's random part."""
    return lambda count: b"".join(key.new_header()[STREAM_PREFIX] for _ in range(count))


def wraps_of(key: WrapKey) -> Sealer:
    """Return what wraps keys under one key."""
    return lambda count: b"".join(key.wrap(bytes(32), context=b"place")[WRAP_NONCE] for _ in range(count))


def in_children(seal: Sealer, each: int, folder: Path) -> Iterator[bytes]:
    """Fork, have each child seal, and yield what each wrote."""
    children = []
    for number in range(CHILDREN):
        child = os.fork()
        if child == 0:  # nothing of pytest's may run here
            code = 1
            try:
                folder.joinpath(str(number)).write_bytes(seal(each))
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    for number, child in enumerate(children):
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        yield folder.joinpath(str(number)).read_bytes()


def assert_none_twice(seal: Sealer, *, size: int, total: int, folder: Path) -> None:
    before = seal(FIELDS)
    raw = before + b"".join(in_children(seal, total // CHILDREN, folder))
    nonces = {raw[at : at + size] for at in range(0, len(raw), size)}
    assert len(raw) == size * (total // CHILDREN * CHILDREN + FIELDS)
    assert len(nonces) * size == len(raw), "two seals have one nonce"


@pytest.mark.skipif(sys.platform != "linux", reason="fork is what is tried")
@pytest.mark.parametrize("key", [SubjectKey(os.urandom(32)), DataKey(os.urandom(32))], ids=["patient", "data"])
def test_a_million_seals_of_fields_by_eight_forked_processes(key: SealingKey, tmp_path: Path) -> None:
    assert_none_twice(fields_of(key), size=key.nonce_size, total=1_000_000, folder=tmp_path)


@pytest.mark.parametrize("what", ["streams", "wraps"])
def test_streams_and_wrapped_keys_of_forked_processes(what: str, tmp_path: Path) -> None:
    """A stream's prefix has 56 bits: 80,000 of them meet twice once in 20 million runs."""
    if what == "streams":
        assert_none_twice(streams_of(StreamKey(os.urandom(32))), size=7, total=80_000, folder=tmp_path)
    else:
        assert_none_twice(wraps_of(WrapKey(os.urandom(32))), size=12, total=80_000, folder=tmp_path)


def test_this_test_sees_a_nonce_that_comes_twice(tmp_path: Path) -> None:
    """Its negative control: nonces from a buffer that was filled before the fork."""
    buffer = iter([os.urandom(12) for _ in range(20_000)])
    with pytest.raises(AssertionError, match="one nonce"):
        assert_none_twice(
            lambda count: b"".join(next(buffer) for _ in range(count)), size=12, total=8_000, folder=tmp_path
        )
