"""Tools of others agree with us: Go's checksum database packages on an export, pymerkle on every small tree."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pymerkle  # type: ignore[import-untyped]
import pytest

from verifiers.exporting import TENANTS, Deployment, plain, put, vkey
from wellkeep.crypto import merkle, notes

SOURCE = Path(__file__).parents[2] / "verifiers" / "go" / "main.go"
PACKAGES = Path("/usr/share/gocode")


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the verifier in Go, with the packages of Debian's golang-golang-x-mod-dev."""
    go = shutil.which("go")
    if go is None or not (PACKAGES / "src/golang.org/x/mod/sumdb/tlog").is_dir():
        missing = "this machine has no Go, or not golang.org/x/mod (scripts/system-packages: golang-golang-x-mod-dev)"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    place = tmp_path_factory.mktemp("go")
    built = place / "verify"
    settings = {"GO111MODULE": "off", "GOPATH": str(PACKAGES), "GOCACHE": str(place / "cache"), "GOFLAGS": ""}
    subprocess.run([go, "build", "-o", built, SOURCE], env={**os.environ, **settings}, check=True, timeout=240)  # noqa: S603
    return built


def verified(program: Path, directory: Path, key: str) -> tuple[int, str]:
    done = subprocess.run([program, directory, key], capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    return done.returncode, done.stdout or done.stderr


@pytest.fixture(scope="module")
def made() -> Deployment:
    return plain()


def test_go_verifies_each_log_of_an_export(program: Path, written: Path, made: Deployment) -> None:
    for log in made.logs.values():
        code, told = verified(program, written / log.path, vkey(log.origin))
        assert (code, told) == (
            0,
            f"holds: {log.origin}, entries {len(log.entries)}, checkpoints {len({*log.sizes})}\n",
        )


def test_go_finds_what_was_tampered_with(program: Path, export: Path, made: Deployment) -> None:
    first, second = made.of(TENANTS[0]), made.of(TENANTS[1])
    place, key = export / first.path, vkey(first.origin)
    assert verified(program, place, vkey(second.origin))[0] == 1
    assert verified(program, place, key[:-4])[0] == 1
    for path in ("tile/entries/001", "tile/0/001", "tile/1/000.p/2", "checkpoint", "checkpoints/4"):
        raw = (place / path).read_bytes()
        for changed in (raw[:-40], raw[:-40] + b"\0" * 40, raw.replace(b"4", b"5").replace(b"\xff", b"\xfe")):
            put(place / path, changed)
            assert verified(program, place, key)[0] == (0 if changed == raw else 1), path
        put(place / path, raw)
    put(place / "checkpoints/4", first.note(4, root=bytes(32)))
    assert verified(program, place, key)[0] == 1
    put(place / "checkpoints/4", second.note(4))
    assert verified(program, place, key)[0] == 1


def test_go_reads_our_cosigned_notes_and_passes_over_the_witness(program: Path, export: Path, made: Deployment) -> None:
    log = made.of(TENANTS[0])
    note = log.note(len(log.entries))
    text = notes.split(note)[0]
    line = notes.cosign_v1(name="witness.example/w1", seed=log.seed, text=text, timestamp=1_800_000_000)
    put(export / log.path / "checkpoint", note + line)
    assert verified(program, export / log.path, vkey(log.origin))[0] == 0


def test_pymerkle_has_our_roots_and_proofs() -> None:
    entries = [b"entry %d" % number for number in range(70)]
    leaves = [merkle.leaf_hash(entry) for entry in entries]
    theirs = pymerkle.InmemoryTree(algorithm="sha256")
    for entry in entries:
        theirs.append_entry(entry)
    for size in range(1, len(entries) + 1):
        root = merkle.root(leaves[:size])
        assert theirs.get_root(size) == root
        for index in {0, size - 1, size // 2, size // 3}:
            proof = theirs.prove_inclusion(index + 1, size)
            assert proof.path == [leaves[index], *merkle.inclusion_proof(leaves[:size], index=index)]
            proof.path[1:] = merkle.inclusion_proof(leaves[:size], index=index)
            pymerkle.verify_inclusion(leaves[index], root, proof, index=index + 1, size=size)
        for old in {1, size, (size + 1) // 2, (size + 2) // 3}:
            # Their consistency proofs are laid out in another way than RFC 6962's; the roots that they join are ours.
            proof = theirs.prove_consistency(old, size)
            pymerkle.verify_consistency(merkle.root(leaves[:old]), root, proof, prior_size=old, later_size=size)
