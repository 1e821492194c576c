"""What a command could not enter itself is entered by whoever opens the ledger next, once, and nothing else is."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from assembly.conftest import Installed
from wellkeep.assembly.command_record import CommandRecord
from wellkeep.assembly.core import Core, open_core
from wellkeep.assembly.journal import Journal, Journaled
from wellkeep.base.errors import Forbidden, NotFound
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.findings.grammar import Kind
from wellkeep.ledger.event import Action, Outcome

_EVENTS = "SELECT convert_from(entry, 'UTF8')::jsonb -> 'event' AS event FROM ledger.entry ORDER BY seq"


@pytest.fixture
async def core(installed: Installed) -> AsyncIterator[Core]:
    async with open_core(installed.home, installed.settings, installed.database) as made:
        yield made


async def events(core: Core, command: str) -> list[dict[str, Any]]:
    async with core.app.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
        found = [json.loads(row["event"]) for row in await connection.fetch(_EVENTS)]
    return [one for one in found if one.get("resource", {}).get("id") == command]


def announces(installed: Installed) -> bool:
    return installed.database.announce is not None


def journaled(command: str) -> Journaled:
    return Journaled(
        id=uuid7(),
        action=Action.OPERATOR_COMMAND,
        account="ada",
        outcome=Outcome.AUTHORISED,
        request=uuid7(),
        command=command,
    )


async def test_an_entry_waits_until_it_is_in_the_ledger(installed: Installed, core: Core) -> None:
    journal, one = Journal(installed.home.path), journaled("probe.waits")
    journal.write(one)
    folder = installed.home.path / "journal"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert list(journal.waiting()) == [one.id]
    assert not journal.waiting(older_than=60), "whoever wrote it is about to enter it"
    assert await journal.enter(core) == 1
    assert not journal.waiting()
    (told,) = await events(core, "probe.waits")
    assert (told["actor"]["id"], told["actor"]["type"], told["outcome"]) == ("ada", "operator", "authorised")


async def test_two_that_enter_at_once_make_one_entry(installed: Installed, core: Core) -> None:
    journal = Journal(installed.home.path)
    for _ in range(3):
        journal.write(journaled("probe.twice"))
    await asyncio.gather(journal.enter(core), journal.enter(core))
    assert len(await events(core, "probe.twice")) == 3


def written(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def encoded(path: Path, **changes: Any) -> None:
    """Put an entry in the file `path` that would be of its name but for `changes`."""
    made = msgspec.structs.replace(journaled("probe.bad"), **({"id": UUID(path.stem)} | changes))
    path.write_bytes(msgspec.json.encode(made))


def linked(path: Path) -> None:
    """Put a link there to what would be an entry of its name."""
    encoded(path)
    path.symlink_to(path.rename(path.with_suffix(".aside")))


STRANGE: dict[str, Callable[[Path], None]] = {
    "empty": lambda path: written(path, b""),
    "nothing in it": lambda path: written(path, b"{}"),
    "no text": lambda path: written(path, b"\xff"),
    "endless": lambda path: written(path, b'{"id":"' + b"a" * 10_000),
    "another's entry": lambda path: encoded(path, id=uuid7()),
    "no command's": lambda path: encoded(path, action=Action.RECORD_READ),
    "no account's": lambda path: encoded(path, account="Xk9CanaryZq"),
    "a link": linked,
    "a pipe": os.mkfifo,
    "a directory": Path.mkdir,
}


async def test_what_lies_there_under_its_own_name_is_entered(installed: Installed, core: Core) -> None:
    """The strange ones below differ from this in what is said of them."""
    journal = Journal(installed.home.path)
    journal.write(journaled("probe.first"))
    encoded(installed.home.path / "journal" / f"{uuid7()}.entry")
    assert await journal.enter(core) == 2


@pytest.mark.parametrize("name", STRANGE)
async def test_what_is_no_entry_of_ours_is_a_finding_and_stays(installed: Installed, core: Core, name: str) -> None:
    journal, before = Journal(installed.home.path), await noticed(core)
    journal.write(journaled("probe.before"))
    bad = installed.home.path / "journal" / f"{uuid7()}.entry"
    STRANGE[name](bad)
    journal.write(journaled("probe.after"))
    try:
        assert await journal.enter(core) == 2, "the others are entered"
        assert bad in bad.parent.iterdir()
        assert await noticed(core) == before + 1
    finally:
        bad.rmdir() if bad.is_dir() else bad.unlink()
        bad.with_suffix(".aside").unlink(missing_ok=True)


async def noticed(core: Core) -> int:
    """Return how often something strange was found."""
    await core.findings.flush()
    found = await core.findings.list(PLATFORM_TENANT)
    return sum(one.count for one in found if one.kind == Kind.OPERATOR_UNRECORDED)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (None, ("done", None)),
        (NotFound(), ("failed", "not-found")),
        (Forbidden(), ("denied", "forbidden")),
        (KeyboardInterrupt(), ("failed", "interrupted")),
        (RuntimeError("Xk9CanaryZq"), ("failed", "internal")),
    ],
)
async def test_how_a_command_ended(
    installed: Installed, core: Core, error: BaseException | None, told: tuple[str, str | None]
) -> None:
    name = f"probe.ended_{told[0]}_{(told[1] or 'well').replace('-', '_')}"
    record = CommandRecord(installed.home, name)
    record.begin()
    assert not await events(core, name), "it is in the journal until the ledger is open"
    await record.open(installed.settings, installed.database)
    assert [one["outcome"] for one in await events(core, name)] == ["authorised"]
    assert announces(installed)
    await record.end(installed.settings, installed.database, error)
    await record.close()
    assert not announces(installed)
    first, last = await events(core, name)
    assert first["request"] == last["request"] == str(record.request)
    assert (last["outcome"], last.get("error")) == told
    assert "Canary" not in json.dumps(last)


async def test_nothing_begins_that_can_not_be_written_down(installed: Installed) -> None:
    journal = installed.home.path / "journal"
    moved = journal.rename(journal.with_name("moved"))
    journal.write_bytes(b"")
    try:
        with pytest.raises(OSError):  # noqa: PT011 -- any reason is one
            CommandRecord(installed.home, "probe.never").begin()
    finally:
        journal.unlink()
        moved.rename(journal)
