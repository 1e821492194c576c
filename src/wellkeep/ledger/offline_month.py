"""Verifying the export of a month: each log ends with its last entry of that month, as covers of that time say.

Rule: what was seen of a log later is of a larger size, and no fault; but nothing that the export itself vouches for may
be missing. Clocks of two processes differ, so a cover of the month's last minutes may vouch for entries of the next.
The threat is an export of everything that was cut short, and calls itself a month's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple
from uuid import UUID

from wellkeep.ledger.accounts import Walked
from wellkeep.ledger.actions import Action
from wellkeep.ledger.checkpoint import Checkpoint
from wellkeep.ledger.report import Bad, What
from wellkeep.ledger.splice import TOLERANCE

APART: Final = 2 * TOLERANCE
"""How far the clocks of two processes can be apart: each may be that far from the database's."""
_DECEMBER = 12


class Month(NamedTuple):
    """From when to before when, UTC."""

    begins: datetime
    ends: datetime


def month_called(name: str) -> Month:
    """Return the month that is written so: 2019-05. Raises ValueError where there is none."""
    begins = datetime.strptime(name, "%Y-%m").replace(tzinfo=UTC)
    year, month = divmod(begins.month, _DECEMBER)
    return Month(begins, begins.replace(year=begins.year + year, month=month + 1))


def out_of_month(logs: Iterable[Walked], month: Month) -> Iterator[Bad]:
    """Find logs whose last entry is not of that month."""
    for log in logs:
        last = log.walk.state.time
        if log.holds and (last is None or not month.begins <= last < month.ends):
            yield log.bad(log.walk.size, What.FILES)


def excuse(logs: Sequence[Walked], pairs: Mapping[UUID, Sequence[Checkpoint]], month: Month) -> None:
    """Let go of what covers of the month's last minutes say of entries that are not in the export any more."""
    late = {
        (pair.origin, pair.size)
        for log in logs
        for told in log.told
        if told.action == Action.LEDGER_COVERED and told.time is not None and told.time >= month.ends - APART
        for pair in pairs.get(told.id, ())
    }
    for log in logs:
        log.beyond = [
            claim for claim in log.beyond if claim.what is not What.COVER or (log.origin, claim.size) not in late
        ]
