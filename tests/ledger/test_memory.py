"""What this host remembers: whole lines, synced, from several processes at once, and never a guess."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import resource
from pathlib import Path

import pytest

from wellkeep.base.errors import Misconfigured
from wellkeep.ledger.checkpoint import Checkpoint
from wellkeep.ledger.memory import Memory


def of(size: int, log: str = "a.test/ledger/root", root: int = 1) -> Checkpoint:
    return Checkpoint(log, size, bytes([root]) * 32)


def test_the_newest_of_each_log_is_remembered(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "made" / "remembered")
    assert memory.load() == {}
    assert not memory.path.exists()
    memory.note([of(1), of(7, "b.test/ledger/root")])
    memory.note([of(3), of(2)])
    assert memory.load() == {"a.test/ledger/root": of(3), "b.test/ledger/root": of(7, "b.test/ledger/root")}
    assert memory.path.stat().st_mode & 0o777 == 0o600


def test_a_torn_line_is_no_line(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "remembered")
    memory.note([of(1)])
    with memory.path.open("a") as stream:
        stream.write("a.test/ledger/root 9 0101")
    assert memory.load() == {"a.test/ledger/root": of(1)}
    memory.note([of(2)])
    assert memory.load() == {"a.test/ledger/root": of(2)}


@pytest.mark.parametrize(
    "text",
    [
        "garbage\n",
        "a.test/ledger/root 0 " + "00" * 32 + "\n",
        "\n",
        "a.test/ledger/root 3 " + "02" * 32 + "\n",
        "a.test/ledger/root 9999999999999999 " + "02" * 32 + "\n",
        "a.test/ledger/root/999999999 5 " + "02" * 32 + "\n",
        "a.test/elsewhere/root 5 " + "02" * 32 + "\n",
        "\xe9\n",
    ],
)
def test_what_is_none_of_ours_is_not_believed(tmp_path: Path, text: str) -> None:
    memory = Memory(tmp_path / "remembered")
    memory.note([of(3)])
    with memory.path.open("a", encoding="latin-1") as stream:
        stream.write(text)
    with pytest.raises(Misconfigured, match="accept-restore"):
        memory.load()
    assert memory.salvage() == ({"a.test/ledger/root": of(3)}, 1)


def test_a_long_file_is_written_anew(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "remembered", compact_bytes=1_000)
    for size in range(1, 40):
        memory.note([of(size)])
    assert memory.path.stat().st_size < 1_100
    assert memory.path.stat().st_mode & 0o777 == 0o600
    assert memory.load() == {"a.test/ledger/root": of(39)}
    Memory(memory.path, compact_bytes=10).note([of(40)])  # longer than that, but all of it is needed
    assert memory.load() == {"a.test/ledger/root": of(40)}


def test_a_file_with_a_line_of_others_is_left_as_it_is(tmp_path: Path) -> None:
    """It is evidence; the next start and the next verification tell of it. Until then it is written to."""
    memory = Memory(tmp_path / "remembered", compact_bytes=200)
    memory.note([of(1)])
    with memory.path.open("a") as stream:
        stream.write("not a line of ours\n")
    for size in range(2, 20):
        memory.note([of(size)])
    assert memory.path.read_text().count("\n") == 20
    assert memory.salvage() == ({"a.test/ledger/root": of(19)}, 1)


def test_a_disk_that_is_full_leaves_what_was_remembered(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "remembered", compact_bytes=1_500)
    memory.note([of(size) for size in range(1, 11)])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_200, hard))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            memory.note([of(size) for size in range(11, 21)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert memory.load() == {"a.test/ledger/root": of(10)}
    memory.note([of(11)])
    assert memory.load() == {"a.test/ledger/root": of(11)}


def test_what_a_crash_left_of_writing_it_anew_is_no_hindrance(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "remembered", compact_bytes=200)
    (tmp_path / ".remembered.new").write_bytes(b"half a li")
    for size in range(1, 10):
        memory.note([of(size)])
    assert memory.path.stat().st_size < 600
    assert memory.load() == {"a.test/ledger/root": of(9)}


def test_replacing_keeps_the_old_file_aside(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "remembered")
    memory.note([of(9)])
    memory.replace([of(4, root=2)])
    memory.replace([of(5, root=2)])
    assert memory.load() == {"a.test/ledger/root": of(5, root=2)}
    assert Memory(tmp_path / "remembered.before").load() == {"a.test/ledger/root": of(4, root=2)}


def _note_many(path: Path, log: str) -> None:
    memory = Memory(path, compact_bytes=2_000)
    for size in range(1, 60):
        memory.note([of(size, log)])


def test_several_processes_lose_nothing(tmp_path: Path) -> None:
    """They append, and each writes the file anew now and then."""
    logs = [f"host{number}.test/ledger/root" for number in range(4)]
    context = multiprocessing.get_context("fork")
    started = [context.Process(target=_note_many, args=(tmp_path / "remembered", log)) for log in logs]
    for each in started:
        each.start()
    for each in started:
        each.join(60)
        assert each.exitcode == 0
    assert {log: found.size for log, found in Memory(tmp_path / "remembered").load().items()} == dict.fromkeys(logs, 59)


def test_a_file_of_which_all_is_needed_is_left_as_it_is(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "remembered", compact_bytes=10)
    memory.note([of(1)])
    before = memory.path.stat().st_ino
    memory.note([of(2)])
    assert memory.path.stat().st_ino == before
    assert memory.path.read_text().count("\n") == 2


@pytest.mark.parametrize("gone", [False, True])
def test_whoever_waited_for_a_file_that_was_replaced_writes_to_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, gone: bool
) -> None:
    """Another process compacts it, or an operator takes it away, while this one waits for the lock."""
    memory = Memory(tmp_path / "remembered")
    memory.note([of(1)])
    lock = fcntl.flock
    waited: list[int] = []

    def flock(file: int, operation: int) -> None:
        if not waited:
            waited.append(file)
            memory.path.rename(tmp_path / "aside")
            if not gone:
                memory.path.write_text((tmp_path / "aside").read_text())
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    memory.note([of(2)])
    assert waited
    assert (tmp_path / "aside").read_text().count("\n") == 1, "nothing went where nobody looks any more"
    assert memory.path.read_text().count("\n") == (1 if gone else 2)
    assert memory.load() == {"a.test/ledger/root": of(2)}
