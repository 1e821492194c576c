"""Promise: the picture of the week says what the counts say, and is never the only way to know."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from wellkeep.assembly.ledger_search import HOURS, Hours
from wellkeep.web import heat

SINCE = datetime(2026, 11, 16, 15, tzinfo=UTC)


def week(**at: int) -> Hours:
    """Return a week with so many entries in the hours that are named by their place."""
    counts = [0] * HOURS
    for place, count in at.items():
        counts[int(place.removeprefix("h"))] = count
    return Hours(SINCE, tuple(counts))


def test_each_hour_stands_once_under_its_day() -> None:
    shown = heat.days(week(h0=5, h9=2, h167=1))
    assert [day.name for day in shown][:2] == ["Mon 16", "Tue 17"]
    assert (len(shown), shown[-1].name) == (8, "Mon 23")
    assert sum(count is not None for day in shown for count in day.counts) == HOURS
    assert shown[0].counts[15] == 5
    assert shown[0].counts[:15] == (None,) * 15
    assert shown[1].counts[0] == 2
    assert (shown[-1].counts[14], shown[-1].counts[15]) == (1, None)
    assert [day.total for day in shown] == [5, 2, 0, 0, 0, 0, 0, 1]
    assert shown[0].busiest == "15:00, 5"


def test_the_label_says_the_total_and_the_busiest_hour() -> None:
    drawn = heat.draw(week(h0=5, h24=12_000, h25=400))
    assert "12,405 entries in the last seven days, the most (12,000) in the hour from 15:00 UTC on Tue 17" in drawn
    assert drawn.count("<rect") == HOURS
    levels = re.findall('class="l(.)"', drawn)
    assert (levels[0], levels[24], levels[25], levels[26]) == ("1", "4", "1", "0")


def test_a_week_without_an_entry_is_drawn_and_said() -> None:
    drawn = heat.draw(week())
    assert 'aria-label="0 entries in the last seven days"' in drawn
    assert set(re.findall('class="l(.)"', drawn)) == {"0"}
    assert all(day.busiest == "none" for day in heat.days(week()))
