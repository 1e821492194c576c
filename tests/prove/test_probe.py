"""A probe that breaks proves nothing, and says nothing of what it read."""

from __future__ import annotations

from pathlib import Path

from wellkeep.assembly.home import Home
from wellkeep.base.clock import SystemClock
from wellkeep.prove.deployment import Unseen
from wellkeep.prove.evidence import Notes, State, Where
from wellkeep.prove.probe import Probe, prove
from wellkeep.prove.world import World

SECRET = "Okafor"


async def broken(_world: World, notes: Notes) -> None:
    notes.check("read a record", held=True, seen="200")
    raise ValueError(SECRET)


async def blind(_world: World, _notes: Notes) -> None:
    raise Unseen("the database is an external server")


async def held(_world: World, notes: Notes) -> None:
    notes.check("read a record", held=True, seen="200")


async def test_what_breaks_is_unknown_and_only_its_kind_is_told(tmp_path: Path) -> None:
    evidence = await prove(Probe("rest.fields", Where.LIVE, broken), World(Home(tmp_path)), SystemClock())
    assert evidence.state is State.UNKNOWN
    assert "ValueError" in evidence.steps[-1].seen
    assert SECRET not in repr(evidence)


async def test_what_cannot_be_seen_is_unknown_and_says_why(tmp_path: Path) -> None:
    evidence = await prove(Probe("rest.fields", Where.LIVE, blind), World(Home(tmp_path)), SystemClock())
    assert evidence.state is State.UNKNOWN
    assert evidence.steps[-1].seen == "the database is an external server"


async def test_a_probe_of_a_part_is_partial(tmp_path: Path) -> None:
    probe = Probe("rest.fields", Where.LIVE, held, missing="backups")
    assert (await prove(probe, World(Home(tmp_path)), SystemClock())).state is State.PARTIAL
