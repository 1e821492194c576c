"""Promise: an erasure takes the files of imports and exports that can hold the patient, and ends what still runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from database import Database
from jobs.transfer import Transfer, joined, spec
from vault.stack import open_stack
from wellkeep.base.errors import WellkeepError
from wellkeep.vault.erasure import Erased, Erasures
from wellkeep.vault.replay import Replay

_PEOPLE = b"id,family\nc1,Ada\nc2,Koepp\n"
_WARDS = b"id,name\nw1,North\n"
_BLOBS = "SELECT kind FROM vault.blob"
_SUBJECT = "SELECT subject_id AS id FROM vault.record WHERE subject_id IS NOT NULL ORDER BY id LIMIT 1"


@pytest.fixture
async def transfer(database: Database, tenant: UUID, other_tenant: UUID) -> AsyncIterator[Transfer]:
    async with open_stack(database, tenant, other_tenant) as stack:
        await stack.declare(spec("patients"), spec("organisations"))
        yield Transfer(stack)


async def erase_one(transfer: Transfer) -> UUID:
    """Erase one of the imported patients."""
    stack = transfer.stack
    (row,) = await stack.as_superuser(_SUBJECT)
    told: list[Erased] = []
    erasures = Erasures(stack.vault.context, remember=told.extend)
    await erasures.erase(stack.caller("privacy_officer"), row["id"])
    return UUID(int=row["id"].int)


async def test_files_that_can_hold_them_go_and_others_stay(transfer: Transfer) -> None:
    done = await transfer.load(_PEOPLE, "patients", "csv")
    elsewhere = await transfer.load(_WARDS, "organisations", "csv")
    waiting = await transfer.upload(_PEOPLE, "patients", "csv")
    made = await transfer.export("patients", "ndjson")
    assert len(made.splitlines()) == 2
    await erase_one(transfer)
    left = [row["kind"] for row in await transfer.stack.as_superuser(_BLOBS)]
    assert sorted(left) == ["import_errors", "import_source"]
    stack = transfer.stack
    stopped = await transfer.run(waiting.id)
    assert (stopped.state, stopped.error) == ("failed", "subject-erased")
    assert (await transfer.imports.read(stack.integration, done.id)).state == "done"
    assert (await transfer.imports.read(stack.integration, elsewhere.id)).state == "done"
    exports = await stack.as_superuser("SELECT id, state FROM vault.export")
    assert [row["state"] for row in exports] == ["done"]
    with pytest.raises(WellkeepError):
        await joined(await transfer.exports.content(stack.integration, exports[0]["id"]))
    assert len((await transfer.export("patients", "ndjson")).splitlines()) == 1
    result = await Replay(stack.vault.context, pool=stack.pool).run(stack.tenant)
    assert result.ok, result.differences


async def test_an_import_of_many_still_checks_after_one_of_them_is_gone(transfer: Transfer) -> None:
    """One entry attests all of a batch: what was erased is in it by the digest that was kept."""
    lines = b"".join(b"c%d,Family%d\n" % (number, number) for number in range(40))
    await transfer.load(b"id,family\n" + lines, "patients", "csv")
    await erase_one(transfer)
    stack = transfer.stack
    result = await Replay(stack.vault.context, pool=stack.pool).run(stack.tenant)
    assert result.ok, result.differences
    await stack.as_superuser("UPDATE vault.erased_state SET first_digest = sha256('x'), digest = sha256('x')")
    result = await Replay(stack.vault.context, pool=stack.pool).run(stack.tenant)
    assert {one.what for one in result.differences} == {"altered"}
