"""A directory elsewhere: a file a size, whole or not at all, never written again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anchors.world import ORIGIN, end, published
from anchors.world import trouble as trouble_of
from wellkeep.base.clock import SystemClock
from wellkeep.ledger.anchors.anchor import AnchorFailed, Trouble
from wellkeep.ledger.anchors.file_drop import FileDrop

FOLDER = "wellkeep.test_ledger_root"


@pytest.fixture
def drop(tmp_path: Path) -> FileDrop:
    return FileDrop(name="drop", path=tmp_path, clock=SystemClock())


async def test_a_note_is_dropped_once_and_nothing_else_lies_there(drop: FileDrop) -> None:
    note, receipt = await published(drop)
    await published(drop)
    file = drop.path / FOLDER / "0000000000000007.note"
    assert file.read_bytes() == note
    assert file.stat().st_mode & 0o777 == 0o444
    assert list((drop.path / FOLDER).iterdir()) == [file]
    assert json.loads(receipt)["file"] == f"{FOLDER}/{file.name}"
    assert not drop.check(receipt, note).independent


async def test_the_newest_are_seen_first_and_other_files_are_none(drop: FileDrop) -> None:
    assert not (await drop.seen(ORIGIN, None)).notes
    for size in range(1, 13):
        await published(drop, size)
    (drop.path / FOLDER / "9.note").write_text("mine")
    (drop.path / FOLDER / ".0000000000000099.note.abc").write_text("half of a not")
    seen = await drop.seen(ORIGIN, None)
    assert [int(note.split(b"\n")[1]) for note in seen.notes] == list(range(12, 4, -1))


async def test_what_is_there_is_never_replaced(drop: FileDrop) -> None:
    note, _ = await published(drop)
    file = drop.path / FOLDER / "0000000000000007.note"
    file.chmod(0o644)
    file.write_bytes(note + b"!")
    assert await trouble_of(drop) is Trouble.ALTERED
    assert file.read_bytes() == note + b"!"


async def test_a_mount_that_is_missing_gets_no_directory_in_its_place(drop: FileDrop) -> None:
    away = FileDrop(name="drop", path=drop.path / "mount", clock=SystemClock())
    assert await trouble_of(away) is Trouble.NO_DIRECTORY
    with pytest.raises(AnchorFailed, match="no-directory"):
        await away.seen(ORIGIN, None)
    assert not (drop.path / "mount").exists()


async def test_a_directory_that_can_t_be_written_or_is_a_link(drop: FileDrop) -> None:
    (drop.path / FOLDER).write_text("a file")
    assert await trouble_of(drop) is Trouble.NOT_WRITTEN
    (drop.path / FOLDER).unlink()
    await published(drop)
    file = drop.path / FOLDER / "0000000000000007.note"
    file.rename(drop.path / "moved")
    file.symlink_to(drop.path / "moved")
    assert await trouble_of(drop) is Trouble.NOT_WRITTEN


async def test_a_receipt_is_for_one_note(drop: FileDrop) -> None:
    _, receipt = await published(drop)
    unzoned = json.dumps(json.loads(receipt) | {"at": "2026-01-01T00:00:00"}).encode()
    for bad, note in ((receipt, end(8)[0]), (b"{}", end()[0]), (unzoned, end()[0])):
        with pytest.raises(AnchorFailed, match="not-proven"):
            drop.check(bad, note)
