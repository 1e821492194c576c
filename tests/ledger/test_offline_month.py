"""Promise: what calls itself the export of a month is one, and not all of it cut short."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from ledger.test_offline_accounts import verified
from verifiers.exporting import TENANTS, Deployment, plain
from verifiers.running import FIRST, ROOT, SECOND, THIRD
from wellkeep.ledger.export_files import NoExport
from wellkeep.ledger.offline import PARTIAL
from wellkeep.ledger.offline_month import Month, month_called
from wellkeep.ledger.report import What

JANUARY = "2026-01"


def cut(made: Deployment, number: int, size: int) -> Deployment:
    """Leave of a tenant's log the first entries."""
    log = made.of(TENANTS[number])
    del log.entries[size:]
    log.sizes, log.seals = [each for each in log.sizes if each <= size], log.seals[: log.sizes.index(size) + 1]
    return made


async def found(made: Deployment, top: Path, month: str = JANUARY) -> list[tuple[str, int, What]]:
    report = await verified(made.write(top, month=month))
    assert report.notes == (PARTIAL,)
    return [(bad.log, bad.seq, bad.what) for bad in report.bad]


async def test_a_month_holds(tmp_path: Path) -> None:
    assert await found(plain(), tmp_path) == []


async def test_all_of_it_cut_short_is_no_month(tmp_path: Path) -> None:
    assert await found(cut(plain(), 1, 5), tmp_path / "one") == [(SECOND, 5, What.COVER)]
    assert await found(cut(cut(plain(), 1, 5), 0, 4), tmp_path / "two") == [
        (FIRST, 4, What.COVER),
        (SECOND, 5, What.COVER),
    ]


@pytest.mark.parametrize("month", ["2025-12", "2026-02"])
async def test_another_month_s_logs(tmp_path: Path, month: str) -> None:
    ends = {(log.origin, len(log.entries), What.FILES) for log in plain().logs.values()}
    assert set(await found(plain(), tmp_path, month)) == ends
    assert {origin for origin, _, _ in ends} == {ROOT, FIRST, SECOND, THIRD}


async def test_a_log_of_which_nothing_is_in_the_month(tmp_path: Path) -> None:
    made = plain()
    log = made.of(TENANTS[2])
    log.first = len(log.entries)
    assert await found(made, tmp_path) == [(THIRD, log.first, What.FILES)]


@pytest.mark.parametrize(("minute", "holds"), [(51, True), (49, False)])
@pytest.mark.parametrize("covered", [True, False])
async def test_clocks_that_differ_at_the_turn(tmp_path: Path, minute: int, *, holds: bool, covered: bool) -> None:
    """A cover by a process whose clock is behind vouches for entries of the next month."""
    made = Deployment()
    made.now = datetime(2026, 1, 31, 23, 40, tzinfo=UTC)
    made.step(TENANTS[0], 3)
    made.now = datetime(2026, 2, 1, tzinfo=UTC)
    made.step(TENANTS[0], 2)
    made.now = datetime(2026, 1, 31, 23, minute, tzinfo=UTC)
    cover = made.cover()
    if not covered:
        made.covers[str(cover)][0]["size"] = 7
    bad = await found(cut(made, 0, 4), tmp_path)
    if covered:
        assert bad == ([] if holds else [(FIRST, 4, What.COVER)])
    else:
        assert (ROOT, 2, What.COVER) in bad, "the pairs are not those of the cover"


@pytest.mark.parametrize("month", ["2026-00", "2026-13", "0000-01", "9999-12"])
async def test_there_is_no_such_month(tmp_path: Path, month: str) -> None:
    with pytest.raises(NoExport, match="no such month"):
        await verified(plain().write(tmp_path, month=month))


def test_a_year_turns_with_december() -> None:
    assert month_called("2019-12") == Month(datetime(2019, 12, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC))
    assert month_called("2020-02") == Month(datetime(2020, 2, 1, tzinfo=UTC), datetime(2020, 3, 1, tzinfo=UTC))
