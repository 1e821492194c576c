"""The scan finds each shape of each piece of a canary, says how much it saw, and finds nothing where nothing is."""

from __future__ import annotations

import secrets
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wellkeep.prove.canary import WINDOW, Canary
from wellkeep.prove.scan import Scanner

CANARY = Canary.make("planted")
SCANNER = Scanner([CANARY, Canary.digits("number", length=16)])

ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "raw": bytes,
    "hex": lambda text: text.hex().encode(),
    "HEX": lambda text: text.hex().upper().encode(),
    "base64": b64encode,
    "base64url": urlsafe_b64encode,
    "utf-16-le": lambda text: text.decode("latin-1").encode("utf-16-le"),
    "utf-16-be": lambda text: text.decode("latin-1").encode("utf-16-be"),
}


@settings(max_examples=60, deadline=None)
@given(
    start=st.integers(0, len(CANARY.value) - WINDOW),
    before=st.text("abcdefgh", max_size=7),
    after=st.text("abcdefgh", max_size=7),
    encoding=st.sampled_from(sorted(ENCODINGS)),
)
def test_each_window_in_each_encoding_and_alignment_is_found(
    start: int, before: str, after: str, encoding: str
) -> None:
    piece = before + CANARY.value[start : start + WINDOW] + after
    found = SCANNER.stream("store", [secrets.token_bytes(100), ENCODINGS[encoding](piece.encode())])
    assert found.found(["planted"]) == {"planted"}


def test_a_match_across_two_chunks_is_found() -> None:
    half = len(CANARY.value) // 2
    found = SCANNER.stream("store", [CANARY.value[: half - 4].encode()[-4:], CANARY.value[half - 4 :].encode()[:4]])
    assert found.found(["planted"]) == {"planted"}


def test_what_was_never_planted_is_not_found_and_the_bytes_are_counted() -> None:
    found = SCANNER.stream("store", [secrets.token_bytes(1_000_000)])
    assert not found.hits
    assert found.bytes == 1_000_000


def test_files_are_scanned_and_what_cannot_be_read_is_unseen(tmp_path: Path) -> None:
    (tmp_path / "leak").write_text("x" * 99 + CANARY.value)
    (tmp_path / "folder").mkdir()
    found = SCANNER.files("store", [tmp_path / "leak", tmp_path / "gone", tmp_path / "folder"])
    assert found.found(["planted", "number"]) == {"planted"}
    assert found.unseen == ["store: a file could not be read"]


@pytest.mark.parametrize("length", [15, 16])
def test_a_canary_of_digits_is_looked_for_whole(length: int) -> None:
    canary = Canary.digits("number", length=length)
    scanner = Scanner([canary])
    assert scanner.stream("store", [b"9" * 50 + canary.value.encode()]).hits
    assert not scanner.stream("store", [canary.value[:-1].encode()]).hits
