"""A directory elsewhere: a file a size, whole or not at all, never written again."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from anchors.world import ORIGIN, end, published
from anchors.world import trouble as trouble_of
from ledger.signing import SIGNER
from wellkeep.base.clock import SystemClock
from wellkeep.ledger.anchors.anchor import NEWEST, AnchorFailed, Seen, Trouble
from wellkeep.ledger.anchors.file_drop import FileDrop
from wellkeep.ledger.anchors.reading_back import MOST_READ

FOLDER = "wellkeep.test_ledger_root"


@pytest.fixture
def drop(tmp_path: Path) -> FileDrop:
    return made(tmp_path)


def made(path: Path) -> FileDrop:
    return FileDrop(name="drop", path=path, signers=[SIGNER], clock=SystemClock())


def name(size: int) -> str:
    return f"{size:016d}.note"


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
    (drop.path / FOLDER / "notes").mkdir()
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
    away = made(drop.path / "mount")
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
    assert await trouble_of(drop) is Trouble.ALTERED
    (drop.path / FOLDER).rename(drop.path / "elsewhere")
    (drop.path / FOLDER).symlink_to(drop.path / "elsewhere")
    assert await trouble_of(drop, 9) is Trouble.NOT_WRITTEN
    with pytest.raises(AnchorFailed, match="not-written"):
        await drop.seen(ORIGIN, None)
    assert not (drop.path / "elsewhere" / name(9)).exists()


def a_link(path: Path) -> None:
    path.symlink_to(path.with_name(name(7)))


def a_directory(path: Path) -> None:
    path.mkdir()


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the path of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)


def an_old_note(path: Path) -> None:
    path.write_bytes(end(7)[0])


def a_forged_note(path: Path) -> None:
    path.write_bytes(f"{ORIGIN}\n{int(path.stem)}\n".encode())


def another_log_s(path: Path) -> None:
    path.write_bytes(end(int(path.stem), name=f"{ORIGIN}/2")[0])


def opened() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


BESIDE: list[Callable[[Path], None]] = [
    a_link,
    a_directory,
    a_pipe,
    a_socket,
    an_old_note,
    a_forged_note,
    another_log_s,
]


@pytest.mark.parametrize("put", BESIDE, ids=lambda put: put.__name__)
async def test_what_somebody_puts_beside_and_before_our_notes_hides_none_of_them(
    drop: FileDrop, put: Callable[[Path], None]
) -> None:
    old, newest = [(await published(drop, size))[0] for size in (7, 14)]
    before = opened()
    for number in range(NEWEST + 1):
        put(drop.path / FOLDER / name(20 + number))
    assert await drop.seen(ORIGIN, None) == Seen((newest, old), trouble=Trouble.ALTERED)
    assert opened() == before, "nothing stays open"
    for file in (name(7), name(14)):
        (drop.path / FOLDER / file).unlink()
    with pytest.raises(AnchorFailed, match="altered"):
        await drop.seen(ORIGIN, None)


async def test_so_many_files_are_read_and_no_more(drop: FileDrop) -> None:
    ours, _ = await published(drop)
    for number in range(MOST_READ):
        a_forged_note(drop.path / FOLDER / name(20 + number))
    with pytest.raises(AnchorFailed, match="crowded"):
        await drop.seen(ORIGIN, None)
    (drop.path / FOLDER / name(20)).unlink()
    assert await drop.seen(ORIGIN, None) == Seen((ours,), trouble=Trouble.ALTERED)


async def test_a_file_that_goes_while_it_is_looked_at_is_told(drop: FileDrop, monkeypatch: pytest.MonkeyPatch) -> None:
    old, _ = [(await published(drop, size))[0] for size in (7, 14)]
    read = os.open

    def racing(path: object, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == name(14):
            os.unlink(path, dir_fd=dir_fd)
        return read(path, flags, mode, dir_fd=dir_fd)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", racing)
    assert await drop.seen(ORIGIN, None) == Seen((old,), trouble=Trouble.NOT_KEPT)


async def test_a_file_that_can_t_be_read_for_now_is_no_alarm(drop: FileDrop, monkeypatch: pytest.MonkeyPatch) -> None:
    await published(drop)
    read = os.open

    def stale(path: object, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == name(7):
            raise OSError(116, "Stale file handle")
        return read(path, flags, mode, dir_fd=dir_fd)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", stale)
    with pytest.raises(AnchorFailed, match="not-written"):
        await drop.seen(ORIGIN, None)


async def test_a_full_disk_leaves_nothing_there(drop: FileDrop, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    (drop.path / FOLDER).mkdir()
    monkeypatch.setattr(os, "fsync", full)
    assert await trouble_of(drop) is Trouble.NOT_WRITTEN
    assert not list((drop.path / FOLDER).iterdir())


async def test_a_mount_that_hangs_is_left_and_gets_its_note_when_it_is_back(
    drop: FileDrop, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, sync = threading.Event(), os.fsync

    def hang(descriptor: int) -> None:
        release.wait(10)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", hang)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(published(drop), 0.05)
    assert sum(one.name == "anchor-file" for one in threading.enumerate()) == 1
    release.set()
    note, _ = await published(drop)
    assert (await drop.seen(ORIGIN, None)).notes == (note,)


async def test_a_receipt_is_for_one_note(drop: FileDrop) -> None:
    _, receipt = await published(drop)
    unzoned = json.dumps(json.loads(receipt) | {"at": "2026-01-01T00:00:00"}).encode()
    for bad, note in ((receipt, end(8)[0]), (b"{}", end()[0]), (unzoned, end()[0])):
        with pytest.raises(AnchorFailed, match="not-proven"):
            drop.check(bad, note)
