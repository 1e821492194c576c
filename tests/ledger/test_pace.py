"""A clock is held against the seconds that pass: it may drift and sleep, and not jump ahead."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from wellkeep.base.clock import SystemClock
from wellkeep.ledger.pace import Pace

MINUTE = timedelta(minutes=1)


class Told(SystemClock):
    """A clock whose time, and whose seconds that passed, a test tells."""

    def __init__(self) -> None:
        self.shown = datetime(2026, 5, 1, tzinfo=UTC)
        self.passed = 100.0

    def now(self) -> datetime:
        return self.shown

    def monotonic(self) -> float:
        return self.passed

    def go(self, shown: timedelta, passed: timedelta | None = None) -> None:
        self.shown += shown
        self.passed += (shown if passed is None else passed).total_seconds()


def test_a_jump_ahead_stays_one_until_the_clock_is_right_again() -> None:
    clock = Told()
    pace = Pace(clock, tolerance=5 * MINUTE)
    clock.go(timedelta(days=60), MINUTE)
    for _ in range(2):
        shown, ahead = pace.look()
        assert (shown, ahead) == (clock.shown, timedelta(days=60) - MINUTE)
        clock.go(MINUTE)
    clock.go(-timedelta(days=60), MINUTE)
    assert pace.look()[1] == timedelta()


def test_time_that_passed_is_no_jump() -> None:
    clock = Told()
    pace = Pace(clock, tolerance=5 * MINUTE)
    for _ in range(100):
        clock.go(timedelta(days=3))  # idle, or asleep
        assert pace.look() == (clock.shown, timedelta())
        clock.go(4 * MINUTE, MINUTE)  # slewed
        assert pace.look() == (clock.shown, timedelta())


def test_a_clock_set_back_and_right_again_is_no_jump_ahead() -> None:
    clock = Told()
    pace = Pace(clock, tolerance=5 * MINUTE)
    clock.go(-timedelta(days=2), MINUTE)
    assert pace.look()[1] == timedelta()
    clock.go(timedelta(days=2), MINUTE)
    assert pace.look()[1] == timedelta()


def test_the_machine_s_own_clock_keeps_pace() -> None:
    assert Pace(SystemClock(), tolerance=MINUTE).look()[1] == timedelta()
