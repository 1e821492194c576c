"""Promise: each thing that can be wrong says why it matters, and a report with any of it is no report that holds."""

from __future__ import annotations

from wellkeep.ledger.report import HOLDS, MEANING, TAMPERED, Bad, Report, What


def test_whatever_is_wrong_says_why_it_matters() -> None:
    assert set(MEANING) == set(What)
    for what in What:
        assert Bad("a.test/ledger/root", 0, what).meaning.endswith(".")


def test_what_is_found_later_makes_it_one_that_does_not_hold() -> None:
    report = Report(logs=1, entries=4, seals=1, bad=())
    assert (report.ok, report.exit_code, report.first_bad) == (True, HOLDS, None)
    found = Bad("a.test/ledger/root", 2, What.ANCHOR)
    spoiled = report.with_bad((found,))
    assert (spoiled.ok, spoiled.exit_code, spoiled.first_bad) == (False, TAMPERED, found)
    assert (spoiled.logs, spoiled.entries, report.bad) == (1, 4, ())
