"""Promise: rows that somebody hides, without changing one of them, are found: by verify, by the doctor, by the jobs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256

import pytest

from assembly.conftest import Installed
from deployments import command
from wellkeep.access.operators import this_operator
from wellkeep.assembly.core import open_core
from wellkeep.assembly.diagnosis import diagnose
from wellkeep.assembly.ledger_check import Checked, Extent, verify_on_record
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.db.provision import connected
from wellkeep.db.schema import Difference, How
from wellkeep.findings.grammar import Kind, Severity
from wellkeep.ledger.report import ANCHORS_STALE, HOLDS, TAMPERED

HIDE = (
    "CREATE POLICY hide ON ledger.entry AS RESTRICTIVE FOR SELECT TO wk_app USING (outcome <> 'denied')",
    "DROP POLICY hide ON ledger.entry",
)
SHOW = (
    "CREATE POLICY show ON vault.record FOR SELECT TO wk_app USING (true)",
    "DROP POLICY show ON vault.record",
)
_EACH = "DO $$ BEGIN FOR i IN {} LOOP EXECUTE format('{} TABLE wk.t%s {}', i); END LOOP; END $$"
MANY = (_EACH.format("1 .. 20", "CREATE", "()"), _EACH.format("1 .. 20", "DROP", ""))
MORE = (_EACH.format("21 .. 60", "CREATE", "()"), _EACH.format("21 .. 60", "DROP", ""))
ANOTHER = (
    "UPDATE wk.migration SET name = 'another' WHERE number = 3",
    "UPDATE wk.migration SET name = 'ledger' WHERE number = 3",
)
HIDDEN, SHOWN = (
    Difference("policy", "ledger.entry.hide", How.ADDED),
    Difference("policy", "vault.record.show", How.ADDED),
)
_LAST = "SELECT outcome FROM ledger.entry WHERE action = 'ledger.verified' ORDER BY seq DESC LIMIT 1"
_DOCTOR = "Tables, policies, triggers, functions and rights are as the migrations make them"


def digest(name: str) -> str:
    return sha256(name.encode()).hexdigest()


@asynccontextmanager
async def done(installed: Installed, *attacks: tuple[str, str]) -> AsyncIterator[None]:
    """Do what a superuser can, and undo it: pairs of statements."""
    administrator = installed.database.administrator()
    assert administrator is not None
    async with connected(administrator) as connection:
        for sql, _ in attacks:
            await connection.execute(sql)
        try:
            yield
        finally:
            for _, undo in attacks:
                await connection.execute(undo)


async def verified(installed: Installed, extent: Extent) -> tuple[Checked, str, list[tuple[str | int, ...]]]:
    """Return what verification says, how that is entered, and which changes of the schema are findings after it."""
    async with open_core(installed.home, installed.settings, installed.database) as core:
        checked = await verify_on_record(core, installed.database, this_operator(), extent)
        found = [one for one in await core.findings.list(PLATFORM_TENANT) if one.kind == Kind.SCHEMA_CHANGED]
        for one in found:
            assert await core.findings.resolve(PLATFORM_TENANT, one.id)
    assert all(one.severity == Severity.CRITICAL for one in found)
    administrator = installed.database.administrator()
    assert administrator is not None
    async with connected(administrator) as connection:
        entered = await connection.fetchval(_LAST)
    told = [tuple(one.detail[name] for name in ("what", "state", "place", "digest")) for one in found]
    return checked, entered, told


@pytest.mark.parametrize("extent", [Extent(), Extent(since_last=True), Extent(tenant=PLATFORM_TENANT)])
async def test_rows_of_the_ledger_that_are_hidden(installed: Installed, extent: Extent) -> None:
    checked, entered, found = await verified(installed, Extent())
    assert (checked.holds, checked.exit_code % ANCHORS_STALE, checked.schema, entered, found) == (
        True,
        0,
        (),
        "done",
        [],
    )
    async with done(installed, HIDE):
        checked, entered, found = await verified(installed, extent)
    assert (checked.report.ok, checked.holds, checked.exit_code, checked.schema) == (True, False, TAMPERED, (HIDDEN,))
    assert (entered, found) == ("failed", [("policy", "added", "ledger", digest("ledger.entry.hide"))])
    assert (await verified(installed, extent))[0].holds


async def test_what_is_not_the_ledger_s_is_told_and_leaves_the_ledger_as_it_is(installed: Installed) -> None:
    async with done(installed, SHOW):
        checked, entered, found = await verified(installed, Extent())
    assert (checked.holds, checked.exit_code, checked.schema, entered) == (True, HOLDS, (SHOWN,), "done")
    assert found == [("policy", "added", "vault", digest("vault.record.show"))]


async def test_the_doctor_names_each(installed: Installed) -> None:
    async def said() -> tuple[bool, str]:
        found = await diagnose(installed.home, installed.settings, installed.database)
        return next((one.fine, one.mend) for one in found if one.what == _DOCTOR)

    assert (await said())[0], await said()
    async with done(installed, HIDE, SHOW):
        fine, mend = await said()
        assert not fine
        assert f"put it back: {HIDDEN}; {SHOWN}. " in mend
        async with done(installed, MANY):
            assert "; and 2 more. " in (await said())[1]


async def test_the_doctor_compares_no_other_program_s_schema(installed: Installed) -> None:
    async with done(installed, ANOTHER):
        found = {one.what: one for one in await diagnose(installed.home, installed.settings, installed.database)}
    assert _DOCTOR not in found
    assert not found["The schema is this program's"].fine


async def test_the_command_names_each(installed: Installed) -> None:
    async with done(installed, HIDE, SHOW):
        said = command("ledger", "verify", home=installed.home.path)
        assert (said.code, f"{HIDDEN}" in said.all, f"{SHOWN}" in said.all) == (TAMPERED, True, True)
        said = command("ledger", "verify", "--json", home=installed.home.path)
        told = json.loads(said.out)
        assert (said.code, told["holds"], told["exit_code"], told["bad"]) == (TAMPERED, False, TAMPERED, [])
        assert told["schema"] == [
            {"kind": "policy", "name": "ledger.entry.hide", "how": "added"},
            {"kind": "policy", "name": "vault.record.show", "how": "added"},
        ]
        async with done(installed, MANY), done(installed, MORE):
            assert " more; all of them with --json." in command("ledger", "verify", home=installed.home.path).all
