"""What verification is given: all that the outside holds, every receipt that proves itself, and who was not asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from anchors.standing import Shelf, anchoring
from anchors.world import ENDED, ORIGIN, Root, end, root_log
from database import Database
from ledger.making import change
from wellkeep.base.errors import WellkeepError
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.secrets import Secret
from wellkeep.ledger.anchors import gathering
from wellkeep.ledger.anchors.anchor import AnchorFailed, Seen, Trouble
from wellkeep.ledger.anchors.gathering import AnchoredNote, gather
from wellkeep.ledger.checkpoint import CheckpointSigner


@pytest.fixture
async def root(database: Database, tmp_path: Path) -> AsyncIterator[Root]:
    async with root_log(database, tmp_path) as opened:
        yield opened


def outside(notes: tuple[AnchoredNote, ...]) -> list[tuple[str, int, int, bool]]:
    return [(one.anchor, one.epoch, one.size, one.note is not None) for one in notes if one.from_outside]


def remembered(notes: tuple[AnchoredNote, ...]) -> list[tuple[str, int, bool]]:
    return [(one.anchor, one.size, one.at is not None) for one in notes if not one.from_outside]


async def test_what_is_held_outside_and_what_was_answered(root: Root) -> None:
    shelves = [Shelf("a"), Shelf("b", gives_back=False), Shelf("c", says=Seen(size=2)), Shelf("d", says=Seen(size=0))]
    work = anchoring(root, shelves)
    for _ in range(2):
        await root.grow()
        await work.run(at_once=True)
    found = await gather(work)
    assert outside(found.notes)[:2] == [("a", 1, 3, True), ("a", 1, 2, True)]
    assert ("c", 1, 2, False) in outside(found.notes)
    assert remembered(found.notes) == [(name, size, True) for name in "abcd" for size in (3, 2)]
    assert not found.failed
    assert len(remembered((await gather(work, most=1)).notes)) == 4


async def test_nothing_was_checkpointed_yet(root: Root) -> None:
    found = await gather(anchoring(root, [Shelf("a", notes=[end(7)[0]])]))
    assert outside(found.notes) == [("a", 1, 7, True)], "the outside knows more than we do"


async def test_a_database_that_lost_its_last_epoch(root: Root) -> None:
    await root.grow()
    found = await gather(anchoring(root, [Shelf("a", notes=[end(7, name=f"{ORIGIN}/2")[0]])]))
    assert outside(found.notes) == [("a", 2, 7, True)]


async def test_who_can_t_be_asked_or_believed_is_named(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "ANCHOR_SECONDS", 0.2)
    dead, slow = Shelf("dead", fails=AnchorFailed(Trouble.UNREACHABLE)), Shelf("slow", hangs=True)
    liar = Shelf("liar", notes=[f"{ORIGIN}\n99\n".encode()])
    odd = Shelf("odd", fails=ValueError("what a library makes of a strange answer"))
    await root.grow()
    async with asyncio.timeout(5):
        found = await gather(anchoring(root, [dead, slow, liar, odd]))
    assert found.notes == ()
    assert found.failed == {"dead": "unreachable", "slow": "timed-out", "liar": "altered", "odd": "internal"}


async def test_a_database_that_is_away_is_no_fault_of_an_anchor(root: Root, database: Database) -> None:
    class Asking(Shelf):
        """An anchor that needs the database meanwhile."""

        async def seen(self, origin: str, newest: bytes | None) -> Seen | None:
            await change(database, "ALTER FUNCTION ledger.root_end RENAME TO gone")
            await work.book.root_end()
            return await super().seen(origin, newest)

    work = anchoring(root, [Asking("a")])
    with pytest.raises(WellkeepError):
        await gather(work)


async def test_what_is_wrong_beside_them_takes_no_notes_away(root: Root) -> None:
    await root.grow()
    ours = end(7)[0]
    beside = Shelf("beside", says=Seen((ours,), trouble=Trouble.CROWDED))
    among = Shelf("among", notes=[f"{ORIGIN}\n99\n".encode(), ours])
    found = await gather(anchoring(root, [beside, among]))
    assert outside(found.notes)[0] == ("beside", 1, 7, True)
    assert ("among", 1, 7, True) in outside(found.notes)
    assert found.failed["beside"] in {"crowded", "altered"}
    assert found.failed["among"] == "altered"


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("UPDATE ledger.anchored SET receipt = 'forged'", "not-proven"),
        ("UPDATE ledger.anchored SET note = 'forged'", "altered"),
        ("UPDATE ledger.anchored SET size = size + 1", "not-proven"),
        ("UPDATE ledger.anchored SET root = sha256('x')", "not-proven"),
    ],
)
async def test_a_receipt_that_somebody_changed(root: Root, database: Database, sql: str, code: str) -> None:
    work = anchoring(root, [Shelf("a")])
    await root.grow()
    await work.run()
    await change(database, sql)
    found = await gather(work)
    assert (remembered(found.notes), found.failed) == ([], {"a": code})


async def test_an_end_that_nobody_signed_is_shown_to_no_anchor(root: Root, database: Database) -> None:
    _, found = end(9)
    stranger = CheckpointSigner(Secret(b"o" * 32))
    await root.grow()
    await change(database, ENDED, PLATFORM_TENANT, 1, 9, found.root, stranger.signature(found))
    asked: list[bytes | None] = []

    class Asking(Shelf):
        """An anchor that notes what it is shown."""

        async def seen(self, origin: str, newest: bytes | None) -> Seen | None:
            asked.append(newest)
            return await super().seen(origin, newest)

    await gather(anchoring(root, [Asking("a")]))
    assert set(asked) == {None}
