"""Lines of a file are whole or not there, whatever tore the last one or kept the next from fitting."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from wellkeep.base.durable import append_lines, cut_torn_line, sync_directory


@contextmanager
def opened(path: Path) -> Iterator[int]:
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        yield file
    finally:
        os.close(file)


@pytest.mark.parametrize("torn", [b"", b"half", bytes(511), bytes(70_000), b"x" * 200_000])
def test_what_was_torn_is_cut_off_however_long_it_is(tmp_path: Path, torn: bytes) -> None:
    """After a power failure a file may end in zeros that nobody wrote."""
    path = tmp_path / "lines"
    for whole in (b"", b"one\n", b"one\n\ntwo\n" + b"y" * 65_535 + b"\n"):
        path.write_bytes(whole + torn)
        with opened(path) as file:
            assert cut_torn_line(file) == len(whole)
            append_lines(file, len(whole), b"next\n")
        assert path.read_bytes() == whole + b"next\n"


def test_what_does_not_fit_is_taken_back_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with opened(path) as file:
        append_lines(file, 0, b"one\n")
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))
        try:
            with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
                append_lines(file, 4, b"two\n" * 500)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert path.read_bytes() == b"one\n"
        append_lines(file, 4, b"two\n" * 500)
    assert path.read_bytes() == b"one\n" + b"two\n" * 500


def test_only_a_directory_is_synced_as_one(tmp_path: Path) -> None:
    sync_directory(tmp_path)
    with pytest.raises(NotADirectoryError):
        sync_directory(Path(__file__))
