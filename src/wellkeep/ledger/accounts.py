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
from wellkeep.ledger.growth import Claim, Misfit
from wellkeep.ledger.report import Bad, What
from wellkeep.ledger.seal import origin
from wellkeep.ledger.told import Span, Told, opened_id
from wellkeep.ledger.walk import LogWalk

RootAt = Callable[["Walked", int], Awaitable[bytes]]
"""Returns the root that a log's tree had at a size; raises BadProof where there is none."""


@dataclass(slots=True)
class Walked:
    """A log that was walked: the walk, its first entry that was not pruned, and where content began to be read.

    `beyond` are claims of sizes that the log does not reach, `earlier` what entries before `begin` tell, `covers` how
    many covers were checked, `began` where the walk began, `misfits` what is wrong beside the log though all of its
    entries hold.
    """

    walk: LogWalk
    first: int
    begin: int
    began: int = 0
    beyond: list[Claim] = field(default_factory=list)
    earlier: list[Told] = field(default_factory=list)
    covers: int = 0
    misfits: list[Misfit] = field(default_factory=list)

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

    def found(self) -> list[Bad]:
        """Return what is wrong with this log alone."""
        beside = [self.bad(*misfit) for misfit in self.misfits]
        return beside if self.walk.bad is None else [self.walk.bad, *beside]

    def take_in(self, before: Walked) -> None:
        """Make this walk, of a range that goes on where `before` ended, one of both."""
        mine, theirs = self.walk.growth, before.walk.growth
        mine.seals += theirs.seals
        mine.checkpoints += theirs.checkpoints
        mine.vouched = max(mine.vouched, theirs.vouched)
        mine.tile_roots = theirs.tile_roots + mine.tile_roots
        self.walk.told = before.walk.told + self.walk.told
        self.begin, self.began = before.begin, before.began
        self.covers += before.covers
        self.misfits = before.misfits + self.misfits

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


def announcements(
    logs: Sequence[Walked], lost: Iterable[Span], *, known: frozenset[str] = frozenset()
) -> Iterator[Bad]:
    """Find logs that the root log announced and that are gone, and those that it never announced.

    `known` are logs that were found announced before. Where a root log does not hold, nothing is said; where entries of
    it were pruned or lost, what those announced is not known. A log may be gone whose loss as a whole is on record.
    """
    roots = [log for log in logs if log.place[0] == PLATFORM_TENANT]
    if not all(root.holds for root in roots):
        return
    gone = {
        opened_id(PLATFORM_TENANT, origin(_host(roots[0]), span.tenant, span.epoch))
        for span in lost
        if roots and span.first == 0
    }
    present = {opened_id(PLATFORM_TENANT, log.origin): log for log in logs}
    announced = set()
    for root in roots:
        for each in root.told:
            if each.action == Action.LOG_OPENED:
                announced.add(each.id)
                if each.id not in present and each.id not in gone:
                    yield root.bad(each.seq, What.LOG_MISSING)
    if not any(root.first for root in roots) and not any(span.tenant == PLATFORM_TENANT for span in lost):
        unknown = (log for opened, log in present.items() if opened not in announced and log.origin not in known)
        yield from (log.bad(0, What.LOG_UNANNOUNCED) for log in unknown)


def _host(log: Walked) -> str:
    return log.origin.partition("/ledger/")[0]


def losses(logs: Sequence[Walked], *, partial: bool) -> tuple[list[Bad], set[Span]]:
    """Return entries that tell of a loss that can't be, and the losses on record in the log itself and the root log.

    With `partial` the root log may not be there, and the log's own word does.
    """
    by_place = {log.place: log for log in logs}
    bad: list[Bad] = []
    own: set[Span] = set()
    root: set[Span] = set()
    for log, each, span in _said(logs, Action.LEDGER_RESTORED):
        tenant, epoch = log.place
        mine = span is not None and span.tenant == tenant
        if span is None or (mine and span.epoch >= epoch) or not (mine or tenant == PLATFORM_TENANT):
            bad.append(log.bad(each.seq, What.RESTORED))
            continue
        old = by_place.get((span.tenant, span.epoch))
        if old is None and span.first and not partial:
            bad.append(log.bad(each.seq, What.RESTORED))
        elif old is not None and old.holds and old.walk.size < span.first:
            bad.append(old.bad(old.walk.size, What.RESTORED))
        if mine:
            own.add(span)
        if tenant == PLATFORM_TENANT:
            root.add(span)
    return bad, own if partial else own & root


def _said(logs: Iterable[Walked], action: Action) -> Iterator[tuple[Walked, Told, Span | None]]:
    """Yield what entries of logs that hold tell with `action`."""
    for log in logs:
        if log.holds:
            yield from ((log, each, each.lost_or_pruned()) for each in log.told if each.action == action)


def beyond(logs: Iterable[Walked], lost: Iterable[Span]) -> Iterator[Bad]:
    """Find claims of a size that a log does not reach, which no loss on record accounts for."""
    for log in logs:
        claims = sorted(log.beyond, key=lambda claim: claim.size)
        unaccounted = [claim for claim in claims if not accounted(log.place, claim, lost)]
        if unaccounted:
            yield log.bad(log.walk.size, unaccounted[0].what)


def accounted(place: tuple[UUID, int], claim: Claim, lost: Iterable[Span]) -> bool:
    """Say whether what was claimed of the log at `place` was lost on record. What this host remembers never is."""
    if claim.what is What.REMEMBERED:
        return False
    return any(
        span[:2] == place
        and span.first < claim.size <= span.end
        and (claim.size < span.end or claim.root in {span.digest, b""})
        for span in lost
    )


async def prunes(logs: Sequence[Walked], root_at: RootAt, *, partial: bool) -> tuple[list[Bad], list[str]]:
    """Find missing prefixes that are not on record, and records that say another root; and say what can't be told."""
    bad: list[Bad] = []
    notes: list[str] = []
    said = list(_said(logs, Action.LEDGER_PRUNED))
    bad += [log.bad(each.seq, What.PRUNED) for log, each, span in said if span is None]
    holding = [PLATFORM_TENANT] if not partial else []
    for log in logs:
        if not log.holds:
            continue
        about = [(where, each, span) for where, each, span in said if span is not None and span[:2] == log.place]
        for where, each, span in about:
            if not await _is_root(root_at, log, span):
                bad.append(where.bad(each.seq, What.PRUNED))
        for tenant in (log.place[0], *holding):
            holders = _holders(logs, log, tenant)
            reached = _reach([span for where, _, span in about if where in holders], holders)
            if reached < log.first and holders:
                if any(holder.first for holder in holders if holder is not log):
                    notes.append(f"the record of what was pruned of {log.origin} may be pruned itself")
                else:
                    bad.append(log.bad(reached, What.PRUNED))
    return bad, notes


def _holders(logs: Iterable[Walked], log: Walked, tenant: UUID) -> list[Walked]:
    """Return the logs of a tenant that can hold the record of a prune of `log`.

    No earlier epoch of the log itself: else two epochs whose beginnings were deleted would excuse each other. So the
    newest epoch always accounts for its own beginning.
    """
    tenant_of_log, epoch = log.place
    mine = [each for each in logs if each.place[0] == tenant]
    return [each for each in mine if each.place[1] >= epoch] if tenant == tenant_of_log else mine


def uncorroborated(logs: Iterable[Walked]) -> Iterator[Bad]:
    """Find missing prefixes with which nothing outside the log agreed: no cover, no anchor of the root log."""
    return (
        log.bad(0, What.PRUNED) for log in logs if log.holds and not log.begin and log.first > log.walk.growth.vouched
    )


async def _is_root(root_at: RootAt, log: Walked, span: Span) -> bool:
    try:
        return span.end <= log.walk.size and await root_at(log, span.end) == span.digest
    except BadProof:
        return False


def _reach(spans: Iterable[Span], holders: Sequence[Walked]) -> int:
    """Return up to where spans follow each other from the beginning, as far as their records are still there."""
    all_there = not any(holder.first for holder in holders)
    reached = 0
    for span in sorted(spans, key=lambda span: span.first):
        if span.first <= reached or not all_there:
            reached = max(reached, span.end)
    return reached


def lowest(found: Iterable[Bad]) -> tuple[Bad, ...]:
    """Return the first bad place of each log, in the order in which the logs were first found bad."""
    first: dict[str, Bad] = {}
    for bad in found:
        if bad.log not in first or bad.seq < first[bad.log].seq:
            first[bad.log] = bad
    return tuple(first.values())


def told_of(lost: Iterable[Span]) -> list[str]:
    """Say what was lost on record: that it is on record does not make it harmless."""
    return [
        f"recorded as lost: entries {span.first} to before {span.end} of epoch {span.epoch} of {span.tenant}"
        for span in sorted(lost)
    ]
