"""The one-file verifier: a proof is of one entry, in one log, under one key, or of nothing."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from verifiers import exporting
from verifiers.exporting import HOST, TENANTS, Deployment, plain, proof, put, vkey
from verifiers.running import FIRST, SECOND, THIEF, Run
from wellkeep.crypto import merkle


@pytest.fixture(scope="module")
def made() -> Deployment:
    return plain()


def test_each_proof_of_a_log_holds(made: Deployment, tmp_path: Path, run: Run) -> None:
    log = made.of(TENANTS[1])
    for size in range(1, len(log.entries) + 1):
        for index in range(size):
            put(tmp_path / "proof", proof(log, index, size))
            found = run("proof", tmp_path / "proof")
            assert (found.code, found.told["seq"], found.told["size"]) == (0, index, size)


def test_a_proof_is_of_one_event(made: Deployment, tmp_path: Path, run: Run) -> None:
    log, path = made.of(TENANTS[0]), tmp_path / "proof"
    put(path, proof(log, 400))
    event = json.loads(log.entries[400])["event"]["id"]
    assert run("proof", path, "--event", event).told["event"] == event
    assert run("proof", path, "--event", str(TENANTS[0])).places == [(FIRST, 400)]


def test_a_proof_without_its_entry_needs_it_from_elsewhere(made: Deployment, tmp_path: Path, run: Run) -> None:
    log, path = made.of(TENANTS[0]), tmp_path / "proof"
    put(path, re.sub(rb"extra .*\n", b"", proof(log, 400)))
    assert run("proof", path).code == 2
    for index, code in ((400, 0), (399, 1)):
        put(tmp_path / "entry", log.entries[index])
        assert run("proof", path, "--entry", tmp_path / "entry").code == code
    put(tmp_path / "entry", b"x" * 40_000)
    assert run("proof", path, "--entry", tmp_path / "entry").code == 2


def test_a_proof_without_a_pinned_key_shows_nothing_unless_it_names_one_and_then_says_so(
    made: Deployment, tmp_path: Path, run: Run
) -> None:
    log, path = made.of(TENANTS[0]), tmp_path / "proof"
    put(path, proof(log, 400))
    assert run("proof", path, pinned=False).code == 2
    assert run("proof", path, "--vkey", vkey("elsewhere.example/ledger/root"), pinned=False).code == 2
    hashes = [b64encode(each).decode() for each in merkle.inclusion_proof(log.leaves(), index=400)]
    told = {"entry": b64encode(log.entries[400]).decode(), "index": 400, "size": 604, "hashes": hashes, "log": FIRST}
    told |= {"checkpoint": log.note(604).decode(), "vkey": vkey(FIRST)}
    put(path, json.dumps(told).encode())
    assert run("proof", path).told["notes"] == []
    assert "NOT PINNED" in run("proof", path, pinned=False).told["notes"][0]
    for key, size in (("size", 603), ("log", SECOND)):
        put(path, json.dumps(told | {key: size}).encode())
        assert run("proof", path).code == 1
    for key, value in (("hashes", 1), ("hashes", [1]), ("checkpoint", 1), ("index", 1.5), ("entry", None), ("more", 1)):
        put(path, json.dumps(told | {key: value}).encode())
        assert run("proof", path).code == 2


def lines_swapped(raw: bytes) -> bytes:
    lines = raw.split(b"\n")
    lines[3], lines[4] = lines[4], lines[3]
    return b"\n".join(lines)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda raw: raw.replace(b"index 400", b"index 401"), 1),
        (lambda raw: raw.replace(b"index 400", b"index 604"), 1),
        (lambda raw: raw.replace(b"index 400", b"index 4.5"), 2),
        (lambda raw: raw.replace(b"index 400", b"index 0400"), 2),
        (lambda raw: raw.replace(b"index 400\n", b""), 2),
        (lines_swapped, 1),
        (lambda raw: raw.replace(b"\n604\n", b"\n603\n"), 1),
        (lambda raw: re.sub(rb"(index 400\n)[^\n]*\n", rb"\1", raw), 1),
        (lambda raw: re.sub(rb"(index 400\n)", rb"\1" + b64encode(bytes(32)) + b"\n", raw), 1),
        (lambda raw: re.sub(rb"(index 400\n)", rb"\1" + b64encode(bytes(31)) + b"\n", raw), 1),
        (lambda raw: re.sub(rb"(index 400\n)", rb"\1" + (b64encode(bytes(32)) + b"\n") * 99, raw), 1),
        (lambda raw: re.sub(rb"(index 400\n)", rb"\1!\n", raw), 2),
        (lambda raw: raw.replace(b"@v1", b"@v2"), 2),
        (lambda raw: raw[:-20], 1),
        (lambda raw: raw.partition(b"\n\n")[0], 2),
        (lambda raw: raw[:0], 2),
        (lambda raw: b"\xff" + raw, 2),
        (lambda raw: raw.replace(HOST.encode(), b"elsewhere.example"), 2),
    ],
)
def test_a_proof_that_was_altered_proves_nothing(
    change: Callable[[bytes], bytes], code: int, made: Deployment, tmp_path: Path, run: Run
) -> None:
    put(tmp_path / "proof", change(proof(made.of(TENANTS[0]), 400)))
    assert run("proof", tmp_path / "proof").code == code


def test_a_proof_of_another_s_entry_or_key_proves_nothing(made: Deployment, tmp_path: Path, run: Run) -> None:
    mine, other, path = made.of(TENANTS[0]), made.of(TENANTS[1]), tmp_path / "proof"
    extra = re.compile(rb"extra [^\n]*")
    for entry in (mine.entries[399], other.entries[4]):
        put(path, extra.sub(b"extra " + b64encode(entry), proof(mine, 400)))
        assert run("proof", path).code == 1
    put(path, proof(mine, 400).partition(b"\n\n")[0] + b"\n\n" + other.note(9))
    assert run("proof", path).code == 1
    thief = plain().of(TENANTS[0])
    thief.seed = THIEF
    put(path, proof(thief, 400))
    assert run("proof", path).code == 1
    moved = exporting.MadeLog(FIRST, TENANTS[0], 1, list(other.entries))
    put(path, proof(moved, 4))
    assert run("proof", path).code == 1
