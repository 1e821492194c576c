"""The one-file verifier: each tampering with a file is found, at its log and seq."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from verifiers.exporting import TENANTS, bundle, put
from verifiers.running import FIRST, ROOT, SECOND, THIRD, Run, edit, in_entry, log_of, unbundled

Attack = Callable[[Path], None]


def entries_reordered(top: Path) -> None:
    path = log_of(top, 1) / "tile/entries/000.p/9"
    entries = unbundled(path.read_bytes())
    put(path, bundle([*entries[:3], entries[4], entries[3], *entries[5:]]))


ATTACKS: dict[str, tuple[Attack, tuple[str, int]]] = {
    "an entry edited": (in_entry, (FIRST, 1)),
    "entries reordered": (entries_reordered, (SECOND, 3)),
    "a bundle cut short": (
        lambda top: edit(log_of(top, 0) / "tile/entries/002.p/92", lambda raw: raw[:-1]),
        (FIRST, 603),
    ),
    "a bundle without its last entry": (
        lambda top: edit(log_of(top, 1) / "tile/entries/000.p/9", lambda raw: bundle(unbundled(raw)[:-1])),
        (SECOND, 8),
    ),
    "a bundle longer than it says": (
        lambda top: edit(log_of(top, 1) / "tile/entries/000.p/9", lambda raw: raw + raw[:2]),
        (SECOND, 9),
    ),
    "a bundle lost": (lambda top: (log_of(top, 0) / "tile/entries/001").unlink(), (FIRST, 256)),
    "a tile lost": (lambda top: (log_of(top, 0) / "tile/0/001").unlink(), (FIRST, 256)),
    "a tile altered": (lambda top: edit(log_of(top, 0) / "tile/0/000", lambda raw: bytes(32) + raw[32:]), (FIRST, 0)),
    "a tile cut short": (lambda top: edit(log_of(top, 0) / "tile/0/000", lambda raw: raw[:-32]), (FIRST, 0)),
    "an upper tile altered": (
        lambda top: edit(log_of(top, 0) / "tile/1/000.p/2", lambda raw: raw[:-1] + b"\0"),
        (FIRST, 0),
    ),
    "a bundle of more than the log": (lambda top: put(log_of(top, 1) / "tile/entries/001.p/1", b"\0\1x"), (SECOND, 9)),
    "a file of no log": (lambda top: put(log_of(top, 1) / "note.txt", b"x"), (SECOND, 9)),
    "the checkpoint lost": (lambda top: (log_of(top, 2) / "checkpoint").unlink(), (THIRD, 7)),
    "the checkpoints lost": (lambda top: (log_of(top, 2) / "checkpoints/8").unlink(), (THIRD, 7)),
    "a checkpoint's signature altered": (
        lambda top: edit(log_of(top, 2) / "checkpoints/6", lambda raw: raw[:-8] + b"AAAAAA==\n"[-8:]),
        (THIRD, 7),
    ),
    "a checkpoint of another log": (
        lambda top: put(log_of(top, 2) / "checkpoints/6", (log_of(top, 1) / "checkpoints/5").read_bytes()),
        (THIRD, 7),
    ),
    "a checkpoint under another size": (
        lambda top: put(log_of(top, 2) / "checkpoints/5", (log_of(top, 2) / "checkpoints/6").read_bytes()),
        (THIRD, 5),
    ),
    "an older checkpoint as the newest": (
        lambda top: put(log_of(top, 2) / "checkpoint", (log_of(top, 2) / "checkpoints/6").read_bytes()),
        (THIRD, 7),
    ),
    "a link for a file": (lambda top: linked(log_of(top, 2) / "checkpoint"), (THIRD, 7)),
    "a pipe for a file": (lambda top: piped(log_of(top, 2) / "checkpoint"), (THIRD, 7)),
    "a link to a directory": (lambda top: (log_of(top, 2) / "tile/7").symlink_to(top), (THIRD, 8)),
    "the pairs of a cover lost": (lambda top: covers_of(top)[0].unlink(), (ROOT, 4)),
    "a pair dropped": (lambda top: edit(covers_of(top)[0], lambda raw: raw.partition(b"\n")[2]), (ROOT, 4)),
    "pairs exchanged": (
        lambda top: edit(covers_of(top)[0], lambda raw: b"".join(raw.splitlines(keepends=True)[::-1])),
        (ROOT, 4),
    ),
    "a pair's size as a float": (
        lambda top: edit(covers_of(top)[0], lambda raw: raw.replace(b":4,", b":4.0,").replace(b":4}", b":4.0}")),
        (ROOT, 4),
    ),
    "a pair's key twice": (
        lambda top: edit(covers_of(top)[0], lambda raw: raw.replace(b'{"origin"', b'{"size":1,"origin"', 1)),
        (ROOT, 4),
    ),
    "pairs without an entry": (
        lambda top: put(top / f"covers/{TENANTS[0]}.jsonl", covers_of(top)[0].read_bytes()),
        (ROOT, 6),
    ),
    "a seal of another root": (
        lambda top: edit(
            log_of(top, 2) / "seals.jsonl", lambda raw: re.sub(rb'"root":"....', b'"root":"0000', raw, count=1)
        ),
        (THIRD, 5),
    ),
    "seals exchanged": (
        lambda top: edit(log_of(top, 2) / "seals.jsonl", lambda raw: b"".join(raw.splitlines(keepends=True)[::-1])),
        (THIRD, 5),
    ),
    "the last seal lost": (
        lambda top: edit(log_of(top, 2) / "seals.jsonl", lambda raw: raw.splitlines(keepends=True)[0]),
        (THIRD, 5),
    ),
    "seals of many digits": (
        lambda top: edit(
            log_of(top, 2) / "seals.jsonl", lambda raw: raw.replace(b'"size":6', b'"size":' + b"6" * 5000)
        ),
        (THIRD, 7),
    ),
}


def covers_of(top: Path) -> list[Path]:
    return sorted((top / "covers").iterdir())


def linked(path: Path) -> None:
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent / "elsewhere")


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("name", ATTACKS)
def test_what_was_tampered_with_is_named(name: str, export: Path, run: Run) -> None:
    attack, place = ATTACKS[name]
    attack(export)
    found = run("export", export)
    assert (found.code, found.places[:1]) == (1, [place])


@pytest.mark.parametrize("name", ["logs", f"logs/{TENANTS[0]}", f"logs/{TENANTS[0]}/1/tile", "covers", "anchors"])
def test_no_file_is_read_through_a_link(export: Path, tmp_path: Path, run: Run, name: str) -> None:
    (export / "anchors").mkdir()
    assert run("export", export).code == 0
    (export / name).rename(tmp_path / "elsewhere")
    (export / name).symlink_to(tmp_path / "elsewhere")
    assert run("export", export).code == 1
