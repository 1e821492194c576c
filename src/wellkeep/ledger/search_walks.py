"""The walks of a search: which index is followed, newest first, and what is asked of each entry on the way.

Every walk is one literal with the condition of its index put in; values are parameters alone:

    $1 $2   before this place           $7            the value that the index is followed for (all: null)
    $3 $4   from this place on          $8 $9 $10 $11 actor, action, purpose, outcome; null: any
    $5 $6   from this time, before that $12           how many

The times repeat what the places say: by them PostgreSQL leaves out the months that can't hold anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from wellkeep.base.purpose import Purpose
from wellkeep.ledger.actions import Outcome

BUDGET: Final = 10_000
"""How many entries one page looks at, at most (one such row costs a few microseconds)."""

COUNTED: Final = 1_000
"""How far the entries of an index are counted to find the rarest; beyond it all are common."""

INDEXED_PURPOSES: Final = frozenset(Purpose) - {Purpose.TREATMENT, Purpose.OPERATIONS}
INDEXED_OUTCOMES: Final = frozenset({Outcome.DENIED, Outcome.FAILED})
"""What the partial indexes of the table hold; the conditions below repeat theirs, word for word."""


@dataclass(frozen=True, slots=True)
class Walk:
    """Three statements: the `rows` of a page, the `end` of its budget (no row: not reached), the index's `count`."""

    rows: str
    end: str
    count: str
    branches: int = 1


_ROWS = """
SELECT w.epoch, w.seq, w.leaf, w.entry FROM (
  SELECT epoch, seq, leaf, entry, actor, action, purpose, outcome FROM ledger.entry
  WHERE <window> ORDER BY <order> LIMIT <budget>
) AS w
WHERE ($8::text IS NULL OR w.actor = $8) AND ($9::text IS NULL OR w.action = $9)
  AND ($10::text IS NULL OR w.purpose = $10) AND ($11::text IS NULL OR w.outcome = $11)
LIMIT $12
"""
_END = "SELECT epoch, seq FROM ledger.entry WHERE <window> ORDER BY <order> OFFSET <budget> - 1 LIMIT 1"
_COUNT = "SELECT count(*) FROM (SELECT FROM ledger.entry WHERE <window> ORDER BY <order> LIMIT <counted>) AS c"

# The further patients of entries that name several. Each row says in which month its entry lies.
_NAMED_ROWS = """
SELECT w.epoch, w.seq, e.leaf, e.entry FROM (
  SELECT subject, epoch, seq, "time" FROM ledger.entry_subject WHERE <window> ORDER BY <order> LIMIT <budget>
) AS w
CROSS JOIN LATERAL (
  SELECT n.leaf, n.entry, n.actor, n.action, n.purpose, n.outcome FROM ledger.entry AS n
  WHERE n.epoch = w.epoch AND n.seq = w.seq AND n."time" = w."time" AND n."time" >= $5 AND n."time" < $6 OFFSET 0
) AS e
WHERE ($8::text IS NULL OR e.actor = $8) AND ($9::text IS NULL OR e.action = $9)
  AND ($10::text IS NULL OR e.purpose = $10) AND ($11::text IS NULL OR e.outcome = $11)
ORDER BY w.subject DESC, w.epoch DESC, w.seq DESC LIMIT $12
"""
_NAMED_END = "SELECT epoch, seq FROM ledger.entry_subject WHERE <window> ORDER BY <order> OFFSET <budget> - 1 LIMIT 1"

_EVERY = """
(epoch, seq) < ($1, $2) AND (epoch, seq) >= ($3, $4) AND $7::text IS NULL AND "time" >= $5 AND "time" < $6
"""
_OF_ONE = """
(<column>, epoch, seq) < ($7, $1, $2) AND (<column>, epoch, seq) >= ($7, $3, $4) AND <condition>
AND "time" >= $5 AND "time" < $6
"""
_NEWEST = "epoch DESC, seq DESC"
_BOTH = "(<one>) UNION ALL (<other>) ORDER BY epoch DESC, seq DESC LIMIT <most>"


def _over(template: str, window: str, order: str) -> str:
    statement = template.replace("<window>", window).replace("<order>", order)
    return statement.replace("<budget>", str(BUDGET)).replace("<counted>", str(COUNTED))


def _along(column: str, condition: str = "true", *, rows: str = _ROWS, end: str = _END) -> Walk:
    """Return the walk along the index of `column` under its `condition`, both literals of this module.

    The column stands in the comparisons and in the order, though it never changes: in this order no other index gives
    the entries, so however PostgreSQL estimates, it is this index that it follows.
    """
    window = _OF_ONE.replace("<column>", column).replace("<condition>", condition)
    order = f"{column} DESC, {_NEWEST}"
    return Walk(_over(rows, window, order), _over(end, window, order), _over(_COUNT, window, order))


def _both(one: Walk, other: Walk) -> Walk:
    """Return the walk along two indexes at once."""
    rows = _BOTH.replace("<one>", one.rows).replace("<other>", other.rows).replace("<most>", "$12")
    end = _BOTH.replace("<one>", one.end).replace("<other>", other.end).replace("<most>", "1")
    return Walk(rows, end, "", branches=2)


ALL: Final = Walk(_over(_ROWS, _EVERY, _NEWEST), _over(_END, _EVERY, _NEWEST), "")
BY_ACTOR: Final = _along("actor")
BY_ACTION: Final = _along("action")
BY_PURPOSE: Final = _along("purpose", "purpose NOT IN ('TREAT', 'HOPERAT')")
BY_OUTCOME: Final = _along("outcome", "outcome IN ('denied', 'failed')")
BY_SUBJECT: Final = _both(_along("subject", "subject IS NOT NULL"), _along("subject", rows=_NAMED_ROWS, end=_NAMED_END))
