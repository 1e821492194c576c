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
  SELECT e.epoch, e.seq, e.leaf, e.entry, e.actor, e.action, e.purpose, e.outcome FROM ledger.entry AS e
  WHERE (<column>, e.epoch, e.seq) < ($7, $1, $2) AND (<column>, e.epoch, e.seq) >= ($7, $3, $4) AND <condition>
    AND e."time" >= $5 AND e."time" < $6
  ORDER BY <column> DESC, e.epoch DESC, e.seq DESC LIMIT 10000
) AS w
WHERE ($8::text IS NULL OR w.actor = $8) AND ($9::text IS NULL OR w.action = $9)
  AND ($10::text IS NULL OR w.purpose = $10) AND ($11::text IS NULL OR w.outcome = $11)
LIMIT $12
"""
_END = """
SELECT e.epoch, e.seq FROM ledger.entry AS e
WHERE (<column>, e.epoch, e.seq) < ($7, $1, $2) AND (<column>, e.epoch, e.seq) >= ($7, $3, $4) AND <condition>
  AND e."time" >= $5 AND e."time" < $6
ORDER BY <column> DESC, e.epoch DESC, e.seq DESC OFFSET 9999 LIMIT 1
"""
_COUNT = """
SELECT count(*) FROM (
  SELECT FROM ledger.entry AS e
  WHERE (<column>, e.epoch, e.seq) < ($7, $1, $2) AND (<column>, e.epoch, e.seq) >= ($7, $3, $4) AND <condition>
    AND e."time" >= $5 AND e."time" < $6
  ORDER BY <column> DESC, e.epoch DESC, e.seq DESC LIMIT 1000
) AS c
"""
_ALL_ROWS = """
SELECT w.epoch, w.seq, w.leaf, w.entry FROM (
  SELECT e.epoch, e.seq, e.leaf, e.entry, e.actor, e.action, e.purpose, e.outcome FROM ledger.entry AS e
  WHERE (e.epoch, e.seq) < ($1, $2) AND (e.epoch, e.seq) >= ($3, $4) AND $7::text IS NULL
    AND e."time" >= $5 AND e."time" < $6
  ORDER BY e.epoch DESC, e.seq DESC LIMIT 10000
) AS w
WHERE ($8::text IS NULL OR w.actor = $8) AND ($9::text IS NULL OR w.action = $9)
  AND ($10::text IS NULL OR w.purpose = $10) AND ($11::text IS NULL OR w.outcome = $11)
LIMIT $12
"""
_ALL_END = """
SELECT e.epoch, e.seq FROM ledger.entry AS e
WHERE (e.epoch, e.seq) < ($1, $2) AND (e.epoch, e.seq) >= ($3, $4) AND $7::text IS NULL
  AND e."time" >= $5 AND e."time" < $6
ORDER BY e.epoch DESC, e.seq DESC OFFSET 9999 LIMIT 1
"""
_SUBJECT_ROWS = """
(SELECT w.epoch, w.seq, w.leaf, w.entry FROM (
   SELECT e.epoch, e.seq, e.leaf, e.entry, e.actor, e.action, e.purpose, e.outcome FROM ledger.entry AS e
   WHERE (e.subject, e.epoch, e.seq) < ($7::uuid, $1, $2) AND (e.subject, e.epoch, e.seq) >= ($7::uuid, $3, $4)
     AND e.subject IS NOT NULL AND e."time" >= $5 AND e."time" < $6
   ORDER BY e.subject DESC, e.epoch DESC, e.seq DESC LIMIT 10000
 ) AS w
 WHERE ($8::text IS NULL OR w.actor = $8) AND ($9::text IS NULL OR w.action = $9)
   AND ($10::text IS NULL OR w.purpose = $10) AND ($11::text IS NULL OR w.outcome = $11)
 LIMIT $12)
UNION ALL
(SELECT w.epoch, w.seq, e.leaf, e.entry FROM (
   SELECT s.epoch, s.seq, s."time" FROM ledger.entry_subject AS s
   WHERE (s.subject, s.epoch, s.seq) < ($7::uuid, $1, $2) AND (s.subject, s.epoch, s.seq) >= ($7::uuid, $3, $4)
     AND s."time" >= $5 AND s."time" < $6
   ORDER BY s.subject DESC, s.epoch DESC, s.seq DESC LIMIT 10000
 ) AS w
 CROSS JOIN LATERAL (
   SELECT n.leaf, n.entry, n.actor, n.action, n.purpose, n.outcome FROM ledger.entry AS n
   WHERE n.epoch = w.epoch AND n.seq = w.seq AND n."time" = w."time" AND n."time" >= $5 AND n."time" < $6 OFFSET 0
 ) AS e
 WHERE ($8::text IS NULL OR e.actor = $8) AND ($9::text IS NULL OR e.action = $9)
   AND ($10::text IS NULL OR e.purpose = $10) AND ($11::text IS NULL OR e.outcome = $11)
 ORDER BY w.epoch DESC, w.seq DESC LIMIT $12)
ORDER BY epoch DESC, seq DESC LIMIT $12
"""
_SUBJECT_END = """
(SELECT e.epoch, e.seq FROM ledger.entry AS e
 WHERE (e.subject, e.epoch, e.seq) < ($7::uuid, $1, $2) AND (e.subject, e.epoch, e.seq) >= ($7::uuid, $3, $4)
   AND e.subject IS NOT NULL AND e."time" >= $5 AND e."time" < $6
 ORDER BY e.subject DESC, e.epoch DESC, e.seq DESC OFFSET 9999 LIMIT 1)
UNION ALL
(SELECT s.epoch, s.seq FROM ledger.entry_subject AS s
 WHERE (s.subject, s.epoch, s.seq) < ($7::uuid, $1, $2) AND (s.subject, s.epoch, s.seq) >= ($7::uuid, $3, $4)
   AND s."time" >= $5 AND s."time" < $6
 ORDER BY s.subject DESC, s.epoch DESC, s.seq DESC OFFSET 9999 LIMIT 1)
ORDER BY epoch DESC, seq DESC LIMIT 1
"""


def _along(column: str, condition: str = "true") -> Walk:
    """Return the walk along the index of `column` under its `condition`, both literals of this module.

    The column stands in the comparisons and in the order, though it never changes: in this order no other index gives
    the entries, so however PostgreSQL estimates, it is this index that it follows.
    """
    rows, end, count = (
        template.replace("<column>", column).replace("<condition>", condition) for template in (_ROWS, _END, _COUNT)
    )
    return Walk(rows, end, count)


ALL: Final = Walk(_ALL_ROWS, _ALL_END, "")
BY_ACTOR: Final = _along("e.actor")
BY_ACTION: Final = _along("e.action")
BY_PURPOSE: Final = _along("e.purpose", "e.purpose NOT IN ('TREAT', 'HOPERAT')")
BY_OUTCOME: Final = _along("e.outcome", "e.outcome IN ('denied', 'failed')")
BY_SUBJECT: Final = Walk(_SUBJECT_ROWS, _SUBJECT_END, "", branches=2)
