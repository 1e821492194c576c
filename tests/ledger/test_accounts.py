"""Promise: what logs tell of each other adds up, or the place where it does not is named. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import pytest

from ledger.making import HOST
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.crypto.errors import BadProof
from wellkeep.ledger import accounts
from wellkeep.ledger.accounts import Walked
from wellkeep.ledger.actions import Action
from wellkeep.ledger.growth import Claim
from wellkeep.ledger.report import Bad, State, What
from wellkeep.ledger.seal import origin
from wellkeep.ledger.splice import Head
from wellkeep.ledger.told import Span, Told, opened_id
from wellkeep.ledger.walk import LogWalk

ONE, TWO = UUID("0198d7b2-0000-7000-8000-000000000001"), UUID("0198d7b2-0000-7000-8000-000000000002")
NOW = datetime(2026, 5, 4, tzinfo=UTC)
ROOT = bytes([7]) * 32


def opened(seq: int, log: UUID, of: UUID, epoch: int = 1) -> Told:
    span = None if epoch == 1 else (epoch, 0, 0)
    return Told(seq, Action.LOG_OPENED, opened_id(log, origin(HOST, of, epoch)), str(of), span, b"", None)


def gone(action: Action, seq: int, of: UUID, epoch: int, first: int, end: int) -> Told:
    return Told(seq, action, uuid7(), str(of), (epoch, first, end), ROOT, None)


def lost(seq: int, of: UUID, epoch: int, first: int, end: int) -> Told:
    return gone(Action.LEDGER_RESTORED, seq, of, epoch, first, end)


def pruned(seq: int, of: UUID, epoch: int, first: int, end: int) -> Told:
    return gone(Action.LEDGER_PRUNED, seq, of, epoch, first, end)


def log_that(
    told: Sequence[Told], *, tenant: UUID = ONE, epoch: int = 1, size: int = 9, first: int = 0, begin: int = 0
) -> Walked:
    """Return a log of `size` entries that holds, of which `told` is all that its entries tell."""
    name, frontier = origin(HOST, tenant, epoch), (bytes(32),) * size.bit_count()
    head = Head(tenant, epoch, name, size, bytes(32), NOW, frontier)
    walk = LogWalk(head, keys=None, start=State(size, frontier, bytes(32), NOW))
    walk.told = list(told)
    return Walked(walk, first=first, begin=begin)


def root_log(*told: Told, first: int = 0, epoch: int = 1) -> Walked:
    return log_that([opened(0, PLATFORM_TENANT, PLATFORM_TENANT, epoch), *told], tenant=PLATFORM_TENANT, first=first)


def places(found: Sequence[Bad]) -> list[tuple[str, int, What]]:
    return [(bad.log, bad.seq, bad.what) for bad in found]


# -------------------------------------------------------------------------------------------------------- openings


def test_a_log_that_does_not_begin_with_what_opens_it() -> None:
    right = opened(0, ONE, ONE)
    assert list(accounts.openings([log_that([right])])) == []
    for wrong in ([], [right._replace(seq=1)], [right._replace(id=uuid7())], [right._replace(about=str(TWO))]):
        assert [(bad.seq, bad.what) for bad in accounts.openings([log_that(wrong)])] == [(0, What.OPENING)]


@pytest.mark.parametrize(
    "told",
    [
        [],
        [lost(2, ONE, 1, 3, 6)],
        [pruned(1, ONE, 1, 3, 6)],
        [lost(1, ONE, 2, 3, 6)],
        [lost(1, TWO, 1, 3, 6)],
        [lost(1, ONE, 1, 6, 3)],
    ],
    ids=["nothing", "later", "a prune", "of itself", "of another", "a span that is none"],
)
def test_a_later_epoch_that_does_not_say_what_was_lost(told: list[Told]) -> None:
    log = log_that([opened(0, ONE, ONE, 2), *told], epoch=2)
    assert places(list(accounts.openings([log]))) == [(origin(HOST, ONE, 2), 1, What.OPENING)]
    begun_later = log_that(told, epoch=2, begin=4)
    assert list(accounts.openings([begun_later])) == [], "what was verified before is not judged again"


def test_a_later_epoch_that_says_what_was_lost_and_names_itself() -> None:
    told = [opened(0, ONE, ONE, 2), lost(1, ONE, 1, 3, 6)]
    assert list(accounts.openings([log_that(told, epoch=2)])) == []
    unnamed = [told[0]._replace(span=None), told[1]]
    assert [bad.what for bad in accounts.openings([log_that(unnamed, epoch=2)])] == [What.OPENING]


# --------------------------------------------------------------------------------------------------- announcements


def test_a_log_that_was_announced_and_is_gone() -> None:
    root = root_log(opened(1, PLATFORM_TENANT, ONE), opened(2, PLATFORM_TENANT, TWO))
    assert places(list(accounts.announcements([root, log_that([])], ()))) == [(root.origin, 2, What.LOG_MISSING)]
    whole, tail = Span(TWO, 1, 0, 5, ROOT), Span(TWO, 1, 2, 5, ROOT)
    assert list(accounts.announcements([root, log_that([])], {whole})) == []
    assert [bad.seq for bad in accounts.announcements([root, log_that([])], {tail})] == [2]


def test_a_log_that_nobody_announced() -> None:
    root, log = root_log(), log_that([])
    assert places(list(accounts.announcements([root, log], ()))) == [(log.origin, 0, What.LOG_UNANNOUNCED)]
    assert list(accounts.announcements([root, log], (), known=frozenset({log.origin}))) == []
    assert list(accounts.announcements([root, log], {Span(PLATFORM_TENANT, 1, 3, 5, ROOT)})) == []
    assert list(accounts.announcements([root_log(first=2), log], ())) == []
    root.walk.refuse(3, What.CHAIN)
    assert list(accounts.announcements([root, log], ())) == [], "of a root log that does not hold nothing is believed"


# ---------------------------------------------------------------------------------------------------------- losses


def test_a_loss_on_record_in_both_logs() -> None:
    old, new = log_that([], size=3), log_that([lost(1, ONE, 1, 3, 6)], epoch=2)
    span = Span(ONE, 1, 3, 6, ROOT)
    assert accounts.losses([root_log(lost(4, ONE, 1, 3, 6)), old, new], partial=False) == ([], {span})
    assert accounts.losses([root_log(), old, new], partial=False) == ([], set())
    assert accounts.losses([old, new], partial=True) == ([], {span})


@pytest.mark.parametrize(
    "told",
    [lost(4, TWO, 1, 3, 6), lost(4, ONE, 2, 3, 6), lost(4, ONE, 1, 6, 3), lost(4, ONE, 3, 3, 6)],
    ids=["of another", "of itself", "no span", "of a later epoch"],
)
def test_a_loss_that_can_not_be(told: Told) -> None:
    log = log_that([told], epoch=2)
    assert places(accounts.losses([log], partial=True)[0]) == [(log.origin, 4, What.RESTORED)]
    assert accounts.losses([log], partial=True)[1] == set()


def test_a_loss_of_a_log_that_is_not_there() -> None:
    log = log_that([lost(1, ONE, 1, 3, 6)], epoch=2)
    assert places(accounts.losses([log], partial=False)[0]) == [(log.origin, 1, What.RESTORED)]
    assert accounts.losses([log], partial=True)[0] == []
    whole = log_that([lost(1, ONE, 1, 0, 6)], epoch=2)
    assert accounts.losses([whole], partial=False)[0] == [], "nothing of it may be left"


def test_a_loss_that_begins_beyond_the_end() -> None:
    """More is gone than was accepted: what stood before the run is missing as well."""
    old, new = log_that([], size=2), log_that([lost(1, ONE, 1, 3, 6)], epoch=2)
    assert places(accounts.losses([old, new], partial=True)[0]) == [(old.origin, 2, What.RESTORED)]


def test_a_claim_beyond_the_end_is_accounted_for_by_its_own_loss_alone() -> None:
    log, span = log_that([], size=3), Span(ONE, 1, 3, 6, ROOT)
    for claim, found in (
        (Claim(5, b"", What.COVER), []),
        (Claim(6, ROOT, What.ANCHOR), []),
        (Claim(6, b"", What.ANCHOR), []),
        (Claim(6, bytes(32), What.CHECKPOINT), [What.CHECKPOINT]),
        (Claim(7, ROOT, What.COVER), [What.COVER]),
        (Claim(5, ROOT, What.REMEMBERED), [What.REMEMBERED]),
    ):
        log.beyond = [claim]
        assert [(bad.seq, bad.what) for bad in accounts.beyond([log], {span})] == [(3, what) for what in found], claim


def test_the_first_place_of_each_log_is_what_is_reported() -> None:
    later, first, other = Bad("a", 5, What.SEAL), Bad("a", 2, What.COVER), Bad("b", 9, What.TILE)
    assert accounts.lowest([later, other, first]) == (first, other)
    assert accounts.told_of({Span(ONE, 1, 3, 6, ROOT)}) == [
        f"recorded as lost: entries 3 to before 6 of epoch 1 of {ONE}"
    ]


# ---------------------------------------------------------------------------------------------------------- prunes


async def same_root(log: Walked, size: int) -> bytes:
    if size > log.walk.size:
        raise BadProof("beyond the end")
    return ROOT


async def other_root(log: Walked, size: int) -> bytes:
    assert size <= log.walk.size
    return bytes(32)


async def no_root(log: Walked, size: int) -> bytes:
    raise BadProof(f"no leaves of {log.origin} before {size}")


async def test_a_prefix_that_is_gone_on_record_in_both_logs() -> None:
    log, root = log_that([pruned(7, ONE, 1, 0, 3)], first=3), root_log(pruned(4, ONE, 1, 0, 3))
    assert await accounts.prunes([root, log], same_root, partial=False) == ([], [])
    assert await accounts.prunes([log], same_root, partial=True) == ([], [])


async def test_a_prefix_that_only_one_log_tells_of() -> None:
    for log, root in (
        (log_that([], first=3), root_log(pruned(4, ONE, 1, 0, 3))),
        (log_that([pruned(7, ONE, 1, 0, 3)], first=3), root_log()),
    ):
        bad, _ = await accounts.prunes([root, log], same_root, partial=False)
        assert places(bad) == [(log.origin, 0, What.PRUNED)]


async def test_a_prefix_longer_than_what_is_on_record() -> None:
    told = [pruned(7, ONE, 1, 0, 3), pruned(8, ONE, 1, 4, 6)]
    log, root = log_that(told, first=6), root_log(*told)
    bad, _ = await accounts.prunes([root, log], same_root, partial=False)
    assert set(places(bad)) == {(log.origin, 3, What.PRUNED)}, "what stood between the two runs"


@pytest.mark.parametrize("root_at", [other_root, no_root])
async def test_a_record_that_says_another_root(root_at: accounts.RootAt) -> None:
    log = log_that([pruned(7, ONE, 1, 0, 3)], first=3)
    bad, _ = await accounts.prunes([log], root_at, partial=True)
    assert (log.origin, 7, What.PRUNED) in places(bad)


async def test_a_record_that_is_none_and_one_of_more_than_there_is() -> None:
    log = log_that([pruned(7, ONE, 1, 3, 0), pruned(8, ONE, 1, 0, 10)])
    bad, _ = await accounts.prunes([log], same_root, partial=True)
    assert places(bad) == [(log.origin, 7, What.PRUNED), (log.origin, 8, What.PRUNED)]


async def test_a_log_that_does_not_hold_is_not_judged() -> None:
    log = log_that([], first=3)
    log.walk.refuse(5, What.CHAIN)
    assert await accounts.prunes([log], same_root, partial=True) == ([], [])
    assert list(accounts.uncorroborated([log])) == []


def test_a_prefix_with_which_nothing_outside_agreed() -> None:
    log = log_that([], first=3)
    assert places(list(accounts.uncorroborated([log]))) == [(log.origin, 0, What.PRUNED)]
    log.walk.growth.vouched = 3
    assert list(accounts.uncorroborated([log])) == []


async def test_a_record_that_may_be_pruned_itself_is_no_tampering_and_said() -> None:
    told = pruned(7, ONE, 1, 0, 3)
    log, root = log_that([told], first=3), root_log(pruned(8, PLATFORM_TENANT, 1, 0, 5), first=5)
    bad, notes = await accounts.prunes([root, log], same_root, partial=False)
    assert bad == []
    assert notes == [f"the record of what was pruned of {log.origin} may be pruned itself"]
    kept = root_log(pruned(8, PLATFORM_TENANT, 1, 0, 5), pruned(9, ONE, 1, 2, 3), first=5)
    assert await accounts.prunes([kept, log], same_root, partial=False) == ([], []), "the older record went, this stays"


async def test_two_epochs_whose_beginnings_are_gone_do_not_excuse_each_other() -> None:
    one, two = log_that([], first=3), log_that([], epoch=2, first=3)
    bad, _ = await accounts.prunes([one, two], same_root, partial=True)
    assert places(bad) == [(two.origin, 0, What.PRUNED)]


def test_other_entries_of_the_root_log_announce_nothing() -> None:
    root = root_log(lost(1, ONE, 1, 0, 6), pruned(2, ONE, 1, 0, 6))
    assert list(accounts.announcements([root], ())) == []
