"""A new file is whole or not there, and takes nobody's name: also one that was taken at the last instant."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import typer

from deployments import command
from wellkeep.cli.new_file import new_file


def write(output: Path, *, meanwhile: str | None = None) -> None:
    with new_file(output) as stream:
        stream.write(b"ours")
        if meanwhile is not None:
            output.write_text(meanwhile)


def without_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand on a file system that has no links."""

    def link(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)


@pytest.mark.parametrize("links", [True, False])
def test_it_is_whole_and_its_owner_s_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, links: bool) -> None:
    if not links:
        without_links(monkeypatch)
    write(tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"ours"
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("links", [True, False])
def test_a_name_that_was_taken_meanwhile_stays_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, links: bool
) -> None:
    if not links:
        without_links(monkeypatch)
    with pytest.raises(typer.Exit):
        write(tmp_path / "out", meanwhile="theirs")
    assert (tmp_path / "out").read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_link_that_leads_nowhere_is_a_name_too(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "nowhere")
    with pytest.raises(typer.Exit):
        write(tmp_path / "out")
    assert not (tmp_path / "nowhere").exists()


def test_a_full_disk_is_told_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("month", ["20195", "2019-13", "2019-5", "may", ""])
def test_a_month_that_is_none_is_wrong_usage(month: str, tmp_path: Path) -> None:
    said = command("ledger", "prune", "--month", month, "--export", tmp_path, home=tmp_path / "home")
    assert (said.code, "2019-05" in said.err) == (2, True)
