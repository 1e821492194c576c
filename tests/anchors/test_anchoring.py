"""Anchoring a real root log: each anchor by itself, N of M by policy, nothing believed that is not so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from anchors.standing import Shelf, anchoring
from anchors.world import ENDED, ORIGIN, Root, end, root_log
from database import Database
from ledger.making import change
from ledger.signing import SIGNER
from wellkeep.base.errors import WellkeepError
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.secrets import Secret
from wellkeep.db.queue import QueuedJob
from wellkeep.findings.grammar import Kind
from wellkeep.jobs.anchoring import ANCHOR, PERIODIC, AnchoringJob
from wellkeep.ledger.anchors.anchor import (
    MAX_RECEIPT_BYTES,
    AnchorFailed,
    Consistency,
    Evidence,
    Seen,
    Trouble,
)
from wellkeep.ledger.anchors.status import AnchorStatus, metrics
from wellkeep.ledger.checkpoint import Checkpoint, CheckpointSigner, note


@pytest.fixture
async def root(database: Database, tmp_path: Path) -> AsyncIterator[Root]:
    async with root_log(database, tmp_path) as opened:
        yield opened


def sizes(shelf: Shelf) -> list[int]:
    return [int(each.split(b"\n")[1]) for each in shelf.notes]


def errors(status: AnchorStatus) -> list[str | None]:
    return [one.error for one in status.anchors]


def later(root: Root, **by: int) -> None:
    root.clock.off += timedelta(**by)


async def test_without_a_checkpoint_or_an_anchor_there_is_nothing_to_do(root: Root) -> None:
    status = await anchoring(root, [Shelf("a")]).run()
    assert (status.holding, status.stale, status.newest_age_seconds) == (0, False, None)
    await root.grow()
    status = await anchoring(root, []).run()
    assert (status.needed, status.stale, status.anchors) == (0, False, ())


async def test_each_anchor_gets_the_newest_checkpoint_once(root: Root) -> None:
    a, b = Shelf("a"), Shelf("b", gives_back=False)
    work = anchoring(root, [a, b])
    await root.grow(3)
    for _ in range(2):
        status = await work.run()
        assert (status.holding, status.stale, errors(status)) == (2, False, [None, None])
    assert (sizes(a), sizes(b)) == ([4], [4])
    assert SIGNER.verify(a.notes[0], origin=ORIGIN).size == 4
    await root.grow()
    await work.run()
    assert sizes(a) == [4], "not before a minute is over"
    later(root, seconds=55)
    assert (await work.run()).anchors[0].size == 5
    assert sizes(a) == sizes(b) == [5, 4]
    await root.grow()
    await work.run(at_once=True)
    assert sizes(a) == [6, 5, 4]


async def test_a_dead_anchor_delays_no_other_and_is_told_with_its_code(root: Root) -> None:
    good, slow, dead = Shelf("good"), Shelf("slow", hangs=True), Shelf("dead", fails=AnchorFailed(Trouble.UNREACHABLE))
    odd, liar = Shelf("odd", fails=RuntimeError("with a value")), Shelf("liar", proven=False)
    work = anchoring(root, [slow, dead, odd, liar, good], needed=1, seconds=1.0)
    await root.grow()
    async with asyncio.timeout(30):
        status = await work.run()
    assert errors(status) == ["timed-out", "unreachable", "internal", "not-proven", None]
    assert (status.holding, status.stale) == (1, False)
    assert root.reports.kinds == [Kind.LEDGER_ANCHOR_FAILED] * 4
    assert {detail["anchor"]: detail["error"] for detail in root.reports.details} == {
        "slow": "timed-out",
        "dead": "unreachable",
        "odd": "internal",
        "liar": "not-proven",
    }
    again = await work.run()
    assert [one.failures for one in again.anchors] == [2, 2, 2, 2, 0]
    dead.fails = None
    assert [one.failures for one in (await work.run()).anchors][1] == 0


@pytest.mark.parametrize(("needed", "stale"), [(1, False), (2, True)])
async def test_n_of_m_decides_whether_it_is_stale(root: Root, needed: int, stale: bool) -> None:  # noqa: FBT001
    good, dead = Shelf("good"), Shelf("dead", fails=AnchorFailed(Trouble.UNREACHABLE))
    work = anchoring(root, [good, dead], needed=needed)
    await root.grow()
    assert not (await work.run()).stale, "an hour is given"
    later(root, minutes=61)
    status = await work.run()
    assert (status.stale, status.holding) == (stale, 1)
    assert (Kind.LEDGER_ANCHORS_STALE in root.reports.kinds) is stale
    assert status.anchors[1].late
    assert status.anchors[1].behind_seconds > 3_600
    assert status.newest_age_seconds is not None


async def test_a_log_at_rest_does_not_become_stale(root: Root) -> None:
    work = anchoring(root, [Shelf("a")])
    await root.grow()
    await work.run()
    later(root, days=3)
    status = await work.run()
    assert (status.stale, status.holding, status.anchors[0].behind_seconds) == (False, 1, 0)
    assert status.anchors[0].age_seconds is not None
    assert status.anchors[0].age_seconds >= 3 * 86_400


async def test_it_is_told_to_whoever_watches(root: Root) -> None:
    work = anchoring(root, [Shelf("a"), Shelf("b", fails=AnchorFailed(Trouble.UNREACHABLE))], needed=1)
    await root.grow()
    told = metrics(await work.run()).splitlines()
    assert told[:3] == ["wellkeep_anchors_needed 1", "wellkeep_anchors_holding 1", "wellkeep_anchors_stale 0"]
    assert 'wellkeep_anchor_failures{anchor="b",kind="file"} 1' in told
    assert sum("wellkeep_anchor_age_seconds" in line for line in told) == 1


async def test_what_no_key_of_ours_signed_goes_nowhere(root: Root) -> None:
    a = Shelf("a")
    work = anchoring(root, [a])
    work.signers = (CheckpointSigner(Secret(b"o" * 32)),)
    await root.grow()
    status = await work.run()
    assert (errors(status), a.notes, status.stale) == (["not-signed"], [], True)


async def test_one_process_at_a_time_and_a_dead_one_s_turn_ends(root: Root, database: Database) -> None:
    a = Shelf("a")
    work = anchoring(root, [a])
    await root.grow()
    (standing,) = await work.book.standings(["a"])
    assert await work.book.take(standing, seconds=60)
    assert not await work.book.take(standing, seconds=60)
    await work.run()
    assert not a.notes
    await change(database, "UPDATE ledger.anchor_state SET busy_until = now() - interval '1 second'")
    await asyncio.gather(work.run(), anchoring(root, [a]).run())
    assert len(a.notes) == 1


async def looked(root: Root, shelf: Shelf) -> str | None:
    """Have the anchor read back, and return the code that came of it."""
    return errors(await anchoring(root, [shelf]).run(at_once=True))[0]


async def test_what_an_anchor_gives_back_is_held_against_the_tree(root: Root) -> None:
    a = Shelf("a")
    await root.grow(2)
    work = anchoring(root, [a])
    await work.run()
    await root.grow()
    await work.run(at_once=True)
    assert await looked(root, a) is None
    kept = list(a.notes)
    for notes, expected in (
        (kept[1:], "not-kept"),
        ([], "not-kept"),
        ([end(4, root=b"x" * 32)[0], *kept], "forked"),
        ([end(99)[0], *kept], "ahead"),
        ([f"{ORIGIN}\n99\n".encode(), *kept], "altered"),
    ):
        a.notes = notes
        assert await looked(root, a) == expected
        assert (await work.status()).stale, "an alarm holds nothing"
    a.notes = kept
    assert await looked(root, a) is None
    assert not (await work.status()).stale
    a.gives_back = False
    assert await looked(root, a) is None


async def test_an_anchor_that_tells_its_size_alone(root: Root) -> None:
    a = Shelf("a")
    await root.grow(2)
    await anchoring(root, [a]).run()
    for size, expected in ((3, None), (2, "not-kept"), (4, "ahead")):
        a.says = Seen(size=size)
        assert await looked(root, a) == expected


async def test_what_is_wrong_beside_the_notes_is_told_after_what_they_prove(root: Root) -> None:
    a = Shelf("a")
    await root.grow(2)
    await anchoring(root, [a]).run()
    for notes, expected in ((a.notes, "crowded"), ([end(99)[0]], "ahead"), ([], "not-kept")):
        a.says = Seen(tuple(notes), trouble=Trouble.CROWDED)
        assert await looked(root, a) == expected


async def test_it_is_read_back_once_an_hour(root: Root) -> None:
    a = Shelf("a")
    work = anchoring(root, [a])
    await root.grow(2)
    await work.run()
    assert errors(await work.run()) == [None]
    a.notes.clear()
    assert errors(await work.run()) == [None]
    later(root, minutes=61)
    assert errors(await work.run()) == ["not-kept"]


async def test_it_is_read_back_however_fast_the_log_grows(root: Root) -> None:
    """A log that grows every minute is handed over every minute: what lies there is looked at all the same."""
    a = Shelf("a")
    work = anchoring(root, [a])
    for _ in range(3):
        await root.grow()
        assert errors(await work.run()) == [None]
        later(root, seconds=60)
    a.notes.append(end(2, root=b"x" * 32)[0])
    await root.grow()
    assert errors(await work.run()) == [None], "not an hour after the last time"
    later(root, minutes=61)
    await root.grow()
    assert (errors(await work.run()), sizes(a)[:2]) == (["forked"], [6, 5])


async def test_an_alarm_lasts_until_what_lies_there_was_read_and_is_right(root: Root) -> None:
    a = Shelf("a")
    work = anchoring(root, [a])
    await root.grow()
    await work.run()
    a.notes.append(end(2, root=b"x" * 32)[0])
    assert await looked(root, a) == "forked"
    for _ in range(2):
        later(root, seconds=60)
        await root.grow()
        status = await work.run()
        assert (errors(status), status.holding) == (["forked"], 0), "handing over more does not end it"
    a.notes.pop()
    later(root, seconds=60)
    await root.grow()
    assert errors(await work.run()) == [None]


async def test_a_receipt_that_is_too_long_is_none(root: Root) -> None:
    class Wordy(Shelf):
        """An anchor whose receipts hold, however long they are."""

        async def publish(self, note: bytes, checkpoint: Checkpoint, consistency: Consistency) -> bytes:
            return await super().publish(note, checkpoint, consistency) + bytes(MAX_RECEIPT_BYTES)

        def check(self, receipt: bytes, note: bytes) -> Evidence:
            return super().check(receipt.rstrip(b"\0"), note)

    await root.grow()
    work = anchoring(root, [Wordy("a")])
    assert errors(await work.run()) == ["rubbish"]
    assert not await work.book.kept("a", most=1)


async def test_what_was_taken_and_not_written_down_is_handed_over_again(root: Root, database: Database) -> None:
    """As where a process is killed in between: its turn ends, and the anchor is asked once more."""
    a = Shelf("a")
    work = anchoring(root, [a])
    await root.grow()
    await change(database, "ALTER FUNCTION ledger.add_anchored RENAME TO gone")
    with pytest.raises(WellkeepError):
        await work.run()
    await change(database, "ALTER FUNCTION ledger.gone RENAME TO add_anchored")
    assert errors(await work.run()) == [None], "whose turn it was has not ended it"
    assert len(a.notes) == 1
    await change(database, "UPDATE ledger.anchor_state SET busy_until = now() - interval '1 second'")
    assert (await work.run()).holding == 1
    assert len(a.notes) == 2


async def test_a_database_that_was_set_back_behind_its_anchor(root: Root, database: Database) -> None:
    a = Shelf("a")
    await root.grow(2)
    await root.grow(2)
    await anchoring(root, [a]).run()
    await change(database, "DELETE FROM ledger.checkpoint WHERE size > 3")
    await change(database, "DELETE FROM ledger.anchored")
    assert errors(await anchoring(root, [a]).run()) == [None], "what is not known here is handed over"
    assert await looked(root, a) == "ahead"
    assert root.reports.kinds == [Kind.LEDGER_ANCHOR_FAILED, Kind.LEDGER_ANCHORS_STALE]


async def test_checkpoints_that_an_anchor_took_and_that_are_gone(root: Root, database: Database) -> None:
    a = Shelf("a", gives_back=False)
    await root.grow(2)
    await root.grow(2)
    work = anchoring(root, [a])
    await work.run()
    await change(database, "DELETE FROM ledger.checkpoint WHERE size > 3")
    assert errors(await work.run()) == ["ahead"]
    assert len(a.notes) == 1


async def test_entries_cut_off_behind_the_anchor(root: Root, database: Database) -> None:
    a = Shelf("a")
    await root.grow(2)
    await anchoring(root, [a]).run()
    await change(database, "DELETE FROM ledger.entry WHERE seq > 0")
    assert await looked(root, a) == "forked"


async def test_an_older_epoch_s_anchor_is_due_again(root: Root, database: Database) -> None:
    a = Shelf("a")
    await root.grow()
    work = anchoring(root, [a])
    await work.run()
    _, found = end(1, name=f"{ORIGIN}/2")
    await change(database, ENDED, PLATFORM_TENANT, 2, 1, found.root, SIGNER.signature(found))
    status = await work.run(at_once=True)
    assert (status.anchors[0].epoch, status.anchors[0].size) == (2, 1)
    assert a.notes[0] == note(found, SIGNER.signature(found))


async def test_the_job_runs_each_minute_and_fails_only_with_the_database(root: Root, database: Database) -> None:
    a = Shelf("a", fails=AnchorFailed(Trouble.UNREACHABLE))
    await root.grow()
    job = AnchoringJob(anchoring(root, [a])).handlers()[ANCHOR]
    queued = QueuedJob(PLATFORM_TENANT, uuid7(), ANCHOR, None, 1)
    await job(queued, lambda: False)
    assert [one.expression for one in PERIODIC] == ["* * * * *"]
    a.fails = None
    await change(database, "ALTER FUNCTION ledger.add_anchored RENAME TO gone")
    with pytest.raises(WellkeepError):
        await job(queued, lambda: False)
