"""The one-file verifier holds the export of a month to its month, and lets go of what was seen only later."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from ledger.test_offline_month import JANUARY, cut
from verifiers.exporting import TENANTS, Deployment, plain, put
from verifiers.running import FIRST, ROOT, SECOND, THIRD, Run


def test_a_month_says_that_it_is_a_part_and_is_held_to_what_was_kept(tmp_path: Path, run: Run) -> None:
    made = plain()
    log = made.of(TENANTS[0])
    top = made.write(tmp_path, month=JANUARY)
    found = run("export", top)
    assert (found.code, len(found.told["notes"])) == (0, 1)
    assert "PARTIAL" in found.told["notes"][0]
    assert run("export", top, "--all-logs").code == 2
    put(tmp_path / "kept", log.note(40, root=bytes(32)))
    assert run("export", top, "--checkpoint", tmp_path / "kept").places == [(FIRST, 39)]


def test_what_was_seen_later_is_no_fault(tmp_path: Path, run: Run) -> None:
    made = plain()
    log = made.of(TENANTS[0])
    put(tmp_path / "kept", log.note(len(log.entries)))
    kept = ("--checkpoint", tmp_path / "kept")
    assert run("export", made.write(tmp_path / "whole", month=JANUARY), *kept).code == 0
    made.covers.clear()
    found = run("export", cut(made, 0, 4).write(tmp_path / "cut", month=JANUARY), *kept)
    assert {place for place in found.places if place[0] != ROOT} == set(), "a kept checkpoint may be of a later month"


def test_all_of_it_cut_short_is_no_month(tmp_path: Path, run: Run) -> None:
    assert run("export", cut(plain(), 1, 5).write(tmp_path / "one", month=JANUARY)).places == [(SECOND, 5)]
    both = cut(cut(plain(), 1, 5), 0, 4).write(tmp_path / "two", month=JANUARY)
    assert run("export", both).places == [(FIRST, 4), (SECOND, 5)]


@pytest.mark.parametrize("month", ["2025-12", "2026-02"])
def test_another_month_s_logs(tmp_path: Path, run: Run, month: str) -> None:
    found = run("export", plain().write(tmp_path, month=month))
    assert set(found.places) == {(log.origin, len(log.entries)) for log in plain().logs.values()}
    assert {origin for origin, _ in found.places} == {ROOT, FIRST, SECOND, THIRD}


def test_a_log_of_which_nothing_is_in_the_month(tmp_path: Path, run: Run) -> None:
    made = plain()
    log = made.of(TENANTS[2])
    log.first = len(log.entries)
    assert run("export", made.write(tmp_path, month=JANUARY)).places == [(THIRD, log.first)]


@pytest.mark.parametrize(("minute", "holds"), [(51, True), (49, False)])
def test_clocks_that_differ_at_the_turn(tmp_path: Path, run: Run, minute: int, *, holds: bool) -> None:
    made = Deployment()
    made.now = datetime(2026, 1, 31, 23, 40, tzinfo=UTC)
    made.step(TENANTS[0], 3)
    made.now = datetime(2026, 2, 1, tzinfo=UTC)
    made.step(TENANTS[0], 2)
    made.now = datetime(2026, 1, 31, 23, minute, tzinfo=UTC)
    made.cover()
    found = run("export", cut(made, 0, 4).write(tmp_path, month=JANUARY))
    assert found.places == ([] if holds else [(FIRST, 4)])


@pytest.mark.parametrize("month", ["2026-00", "2026-13", "0000-01", "9999-12"])
def test_there_is_no_such_month(tmp_path: Path, run: Run, month: str) -> None:
    assert run("export", plain().write(tmp_path, month=month)).code == 2
