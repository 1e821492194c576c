"""Adding up what logs tell of each other: opened, announced, lost, pruned. Pure, for the database and for exports.

Rules: each log was announced in the root log, and each that was announced is there; it begins with what opens it; a
later epoch says what was lost; what is claimed of a log beyond its end was lost on record, in the log itself and in the
root log, or it is tampering; what is missing at a log's beginning was pruned on record, in both, with the root that the
tree has there, and something outside the log agreed with that tree. The threat is a loss or a deletion that looks like
an accident, and a log that is begun anew.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.crypto.errors import BadProof
from wellkeep.ledger.actions import Action
from wellkeep.ledger.growth import Claim
from wellkeep.ledger.report import Bad, What
from wellkeep.ledger.told import Span, Told, opened_id
from wellkeep.ledger.walk import LogWalk

RootAt = Callable[["Walked", int], Awaitable[bytes]]
"""Returns the root that a log's tree had at a size; raises BadProof where there is none."""


@dataclass(slots=True)
class Walked:
    """A log that was walked: the walk, its first entry that was not pruned, and where content began to be read.

    `beyond` are claims of sizes that the log does not reach, `earlier` what entries before `begin` tell, `covers` how
    many covers were checked.
    """

    walk: LogWalk
    first: int
    begin: int
    beyond: list[Claim] = field(default_factory=list)
    earlier: list[Told] = field(default_factory=list)
    covers: int = 0

    @property
    def place(self) -> tuple[UUID, int]:
        """The log's tenant and epoch."""
        return self.walk.head.tenant, self.walk.head.epoch

    @property
    def origin(self) -> str:
        """The log's name."""
        return self.walk.head.origin

    @property
    def told(self) -> list[Told]:
        """What its entries tell, where all of it holds."""
        return self.earlier + self.walk.told

    @property
    def holds(self) -> bool:
        """Whether the walk found nothing wrong."""
        return self.walk.bad is None

    def bad(self, seq: int, what: What) -> Bad:
        """Return a bad place of this log."""
        return Bad(self.origin, seq, what)


def openings(logs: Iterable[Walked]) -> Iterator[Bad]:
    """Find logs that do not begin with what opens them, and later epochs that do not say what was lost."""
    for log in logs:
        if not log.holds or log.begin or log.first:
            continue
        tenant, epoch = log.place
        told = log.walk.told
        first = told[0] if told else None
        if first is None or (first.seq, first.id, first.about) != (0, opened_id(tenant, log.origin), str(tenant)):
            yield log.bad(0, What.OPENING)
        elif epoch > 1 and not (first.span == (epoch, 0, 0) and _says_what_was_lost(told, tenant, epoch)):
            yield log.bad(1, What.OPENING)


def _says_what_was_lost(told: Sequence[Told], tenant: UUID, epoch: int) -> bool:
    """Say whether the first entry that opens no log tells of a loss in an earlier epoch of this log."""
    opened = next((number for number, each in enumerate(told) if each.action != Action.LOG_OPENED), len(told))
    if opened == len(told) or [each.seq for each in told[: opened + 1]] != list(range(opened + 1)):
        return False
    span = told[opened].lost_or_pruned()
    lost = told[opened].action == Action.LEDGER_RESTORED and span is not None
    return lost and span is not None and span.tenant == tenant and span.epoch < epoch


def announcements(logs: Sequence[Walked], *, known: frozenset[str] = frozenset()) -> Iterator[Bad]:
    """Find logs that the root log announced and that are gone, and those that it never announced.

    `known` are logs that were found announced before. Where a root log does not hold, nothing is said.
    """
    roots = [log for log in logs if log.place[0] == PLATFORM_TENANT]
    if not all(root.holds for root in roots):
        return
    unannounced = {opened_id(PLATFORM_TENANT, log.origin): log for log in logs if log.origin not in known}
    for root in roots:
        for each in root.told:
            if each.action == Action.LOG_OPENED and unannounced.pop(each.id, None) is None:
                yield root.bad(each.seq, What.LOG_MISSING)
    if not any(root.first for root in roots):
        yield from (log.bad(0, What.LOG_UNANNOUNCED) for log in unannounced.values())


def losses(logs: Sequence[Walked], *, partial: bool) -> tuple[list[Bad], set[Span]]:
    """Return entries that tell of a loss that can't be, and the losses on record in the log itself and the root log.

    With `partial` the root log is not there, and the log's own word does.
    """
    by_place = {log.place: log for log in logs}
    bad: list[Bad] = []
    own: set[Span] = set()
    root: set[Span] = set()
    for log in logs:
        for each in log.told:
            if not log.holds or each.action != Action.LEDGER_RESTORED:
                continue
            span = each.lost_or_pruned()
            if span is None or log.place[0] not in {span.tenant, PLATFORM_TENANT}:
                bad.append(log.bad(each.seq, What.RESTORED))
                continue
            old = by_place.get((span.tenant, span.epoch))
            if old is None and span.first and not partial:
                bad.append(log.bad(each.seq, What.RESTORED))
            elif old is not None and old.holds and old.walk.size < span.first:
                bad.append(old.bad(old.walk.size, What.RESTORED))
            (own if log.place[0] == span.tenant else root).add(span)
            if log.place[0] == PLATFORM_TENANT:
                root.add(span)
    return bad, own if partial else own & root


def beyond(logs: Iterable[Walked], lost: Iterable[Span]) -> Iterator[Bad]:
    """Find claims of a size that a log does not reach, which no loss on record accounts for."""
    for log in logs:
        spans = [span for span in lost if (span.tenant, span.epoch) == log.place]
        claims = sorted(log.beyond, key=lambda claim: claim.size)
        unaccounted = [claim for claim in claims if not any(_accounts(span, claim) for span in spans)]
        if unaccounted:
            yield log.bad(log.walk.size, unaccounted[0].what)


def _accounts(span: Span, claim: Claim) -> bool:
    if claim.what is What.REMEMBERED or not span.first < claim.size <= span.end:
        return False
    return claim.size < span.end or claim.root == span.digest


async def prunes(logs: Sequence[Walked], root_at: RootAt, *, partial: bool) -> list[Bad]:
    """Find missing prefixes that are not on record in both logs, and records that say another root."""
    bad: list[Bad] = []
    told = [
        (log, each, span)
        for log in logs
        for each in log.told
        if log.holds and each.action == Action.LEDGER_PRUNED
        for span in [each.lost_or_pruned()]
    ]
    bad += [log.bad(each.seq, What.PRUNED) for log, each, span in told if span is None]
    for log in logs:
        if not log.holds:
            continue
        about = [(where, each, span) for where, each, span in told if span is not None and span[:2] == log.place]
        for where, each, span in about:
            if not await _is_root(root_at, log, span):
                bad.append(where.bad(each.seq, What.PRUNED))
        tenants = {log.place[0]} if partial else {log.place[0], PLATFORM_TENANT}
        reached = min(_reach(span for where, _, span in about if where.place[0] == tenant) for tenant in tenants)
        if reached < log.first or (not log.begin and log.first > log.walk.growth.vouched):
            bad.append(log.bad(min(reached, log.first), What.PRUNED))
    return bad


async def _is_root(root_at: RootAt, log: Walked, span: Span) -> bool:
    try:
        return span.end <= log.walk.size and await root_at(log, span.end) == span.digest
    except BadProof:
        return False


def _reach(spans: Iterable[Span]) -> int:
    """Return up to where spans follow each other from the beginning."""
    reached = 0
    for span in sorted(spans, key=lambda span: span.first):
        if span.first <= reached:
            reached = max(reached, span.end)
    return reached


def lowest(found: Iterable[Bad]) -> tuple[Bad, ...]:
    """Return the first bad place of each log, in the order in which the logs were first found bad."""
    first: dict[str, Bad] = {}
    for bad in found:
        if bad.log not in first or bad.seq < first[bad.log].seq:
            first[bad.log] = bad
    return tuple(first.values())
