"""Cursors: of one tenant, collection and query, or refused."""

from __future__ import annotations

import base64
import os
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wellkeep.base.errors import Validation
from wellkeep.base.secrets import Secret
from wellkeep.keys.cursors import Cursors
from wellkeep.keys.deployment import DeploymentKey

KEYS = [DeploymentKey(key_id=f"{epoch:032x}", epoch=epoch, secret=Secret(os.urandom(32))) for epoch in (2, 1)]
CURSORS = Cursors(KEYS)
TENANT = uuid4()


@given(st.binary(min_size=1, max_size=64), st.binary(max_size=50), st.integers(0, 2**32 - 1))
def test_a_cursor_comes_back_as_it_was(position: bytes, query: bytes, collection: int) -> None:
    cursor = CURSORS.sign(position, tenant=TENANT, collection=collection, query=query)
    assert cursor.isascii()
    assert CURSORS.verify(cursor, tenant=TENANT, collection=collection, query=query) == position


@pytest.mark.parametrize("change", [{"tenant": uuid4()}, {"collection": 2}, {"query": b"other"}])
def test_a_cursor_of_another_place_is_refused(change: dict[str, object]) -> None:
    place = {"tenant": TENANT, "collection": 1, "query": b"all"}
    cursor = CURSORS.sign(b"position", **place)  # type: ignore[arg-type]
    with pytest.raises(Validation) as refusal:
        CURSORS.verify(cursor, **(place | change))  # type: ignore[arg-type]
    assert refusal.value.fields[0].path == "/cursor"


@given(st.data())
def test_a_cursor_altered_anywhere_is_refused(data: st.DataObject) -> None:
    cursor = CURSORS.sign(uuid4().bytes, tenant=TENANT, collection=1, query=b"")
    place = data.draw(st.integers(0, len(cursor) - 1))
    letter = data.draw(st.sampled_from("ABCxyz019-_="))
    altered = cursor[:place] + letter + cursor[place + 1 :]
    if altered == cursor:
        return
    with pytest.raises(Validation):
        CURSORS.verify(altered, tenant=TENANT, collection=1, query=b"")


@given(
    st.one_of(st.text(max_size=300), st.binary(max_size=120).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
)
def test_rubbish_is_refused_and_never_fails(cursor: str) -> None:
    with pytest.raises(Validation):
        CURSORS.verify(cursor, tenant=TENANT, collection=1, query=b"")


def test_an_older_epoch_verifies_until_it_is_taken_away() -> None:
    old = Cursors(KEYS[1:]).sign(b"p", tenant=TENANT, collection=1, query=b"")
    assert CURSORS.verify(old, tenant=TENANT, collection=1, query=b"") == b"p"
    with pytest.raises(Validation):
        Cursors(KEYS[:1]).verify(old, tenant=TENANT, collection=1, query=b"")
    with pytest.raises(ValueError, match="64 bytes"):
        CURSORS.sign(b"", tenant=TENANT, collection=1, query=b"")
