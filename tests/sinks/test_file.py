"""A file of lines that is whole whatever happens to it: moved, full, torn, taken by somebody else."""

from __future__ import annotations

import asyncio
import fcntl
import os
import resource
import stat
import threading
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from ledger.making import SetClock
from sinks.making import gap
from sinks.receivers import read_lines
from wellkeep.base.sink_settings import FileSink
from wellkeep.ledger.sinks.file import FileReceiver
from wellkeep.ledger.sinks.trouble import SinkTrouble, Trouble


def receiver(path: Path, *, clock: SetClock | None = None, rotate: int = 65_536, daily: bool = True) -> FileReceiver:
    return FileReceiver(
        FileSink(name="siem", path=str(path), rotate_bytes=rotate, daily=daily), path=path, clock=clock or SetClock()
    )


def beside(path: Path) -> list[Path]:
    """Return the files that were moved aside, the oldest first."""
    return sorted(path.parent.glob(f"{path.name}.*Z"))


def firsts(*paths: Path) -> list[int]:
    return [one["from"] for one in read_lines(*paths).gaps]


async def test_lines_are_appended_to_a_file_of_ours_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    made = receiver(path)
    await made.send([gap(1), gap(2)])
    await made.send([gap(3)])
    assert firsts(path) == [1, 2, 3]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_file_that_was_open_to_others_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.touch(0o644)
    made = receiver(path)
    await made.send([gap(1)])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_file_that_was_moved_away_is_left_and_a_new_one_begun(tmp_path: Path) -> None:
    path, moved = tmp_path / "ledger.jsonl", tmp_path / "taken.jsonl"
    made = receiver(path)
    await made.send([gap(1)])
    path.rename(moved)
    await made.send([gap(2)])
    assert (firsts(moved), firsts(path)) == ([1], [2])


async def test_a_file_that_grew_long_is_moved_aside(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    made = receiver(path)
    for first in range(3):
        await made.send([gap(first)] * 300)
    aside = beside(path)
    assert len(aside) == 2
    assert firsts(*aside, path) == [0] * 300 + [1] * 300 + [2] * 300


@pytest.mark.parametrize("daily", [True, False])
async def test_a_file_of_yesterday_is_moved_aside_where_that_is_asked(tmp_path: Path, daily: bool) -> None:  # noqa: FBT001
    path, clock = tmp_path / "ledger.jsonl", SetClock()
    made = receiver(path, clock=clock, daily=daily)
    await made.send([gap(1)])
    clock.off = timedelta(days=1)
    await made.send([gap(2)])
    assert len(beside(path)) == int(daily)
    assert firsts(*beside(path), path) == [1, 2]


async def test_what_a_crash_tore_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    made = receiver(path)
    await made.send([gap(1)])
    with path.open("ab") as stream:
        stream.write(b'{"type":"entry","en' + b"x" * 70_000)
    await made.send([gap(2)])
    assert firsts(path) == [1, 2]
    path.write_bytes(b"no line at all")
    await made.send([gap(3)])
    assert firsts(path) == [3]


async def test_a_full_disk_leaves_no_half_line(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    made = receiver(path, rotate=1_000_000)
    await made.send([gap(1)])
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, hard))
    try:
        with pytest.raises(SinkTrouble) as failed:
            await made.send([gap(2)] * 300)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert failed.value.code == Trouble.NO_SPACE
    assert firsts(path) == [1]
    await made.send([gap(2)])
    assert firsts(path) == [1, 2]


async def test_what_is_no_plain_file_of_ours_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.touch()
    link, hard, pipe = tmp_path / "link", tmp_path / "hard", tmp_path / "pipe"
    link.symlink_to(target)
    hard.hardlink_to(target)
    os.mkfifo(pipe)
    expected = {link: Trouble.NOT_WRITABLE, hard: Trouble.NOT_OURS, pipe: Trouble.NOT_OURS}
    expected[tmp_path / "no" / "directory"] = Trouble.NOT_WRITABLE
    for path, code in expected.items():
        made = receiver(path)
        with pytest.raises(SinkTrouble) as failed:
            await made.send([gap(1)])
        assert failed.value.code == code
        assert str(tmp_path) not in str(failed.value)
    assert not target.read_bytes()


async def test_two_writers_never_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    made = receiver(path)
    with path.open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(SinkTrouble) as failed:
            await made.send([gap(1)])
        assert failed.value.code == Trouble.IN_USE
        fcntl.flock(other, fcntl.LOCK_UN)
        await made.send([gap(1)])
    assert firsts(path) == [1]


async def test_a_file_system_that_hangs_takes_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    met, release = threading.Event(), threading.Event()
    sync = os.fsync

    def hang(descriptor: int) -> None:
        met.set()
        release.wait(60)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", hang)
    made = receiver(tmp_path / "ledger.jsonl")
    hanging = asyncio.create_task(made.send([gap(1)]))
    assert await asyncio.to_thread(met.wait, 60)
    hanging.cancel()
    await asyncio.gather(hanging, return_exceptions=True)
    with pytest.raises(SinkTrouble) as failed:
        await made.send([gap(2)])
    assert failed.value.code == Trouble.TIMED_OUT
    release.set()
    while True:
        with suppress(SinkTrouble):
            await made.send([gap(3)])
            break
        await asyncio.sleep(0.01)
    assert firsts(tmp_path / "ledger.jsonl") == [1, 3]


async def test_a_file_that_somebody_moved_meanwhile_is_not_moved_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    made = receiver(path)
    await made.send([gap(1)])
    held = os.open(path, os.O_RDONLY)
    path.rename(tmp_path / "away")
    made._rotate(held)
    assert not path.exists()
    path.touch()
    made._rotate(held)
    os.close(held)
    assert path.exists()
    assert not beside(path)
