"""A database that was put back to an older state is not served, and gone on from only with a reason, on record."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from assembly.conftest import Installed
from deployments import command
from wellkeep.access.operators import this_operator
from wellkeep.assembly.core import Core, open_core
from wellkeep.assembly.ledger_check import Extent, verify_on_record
from wellkeep.assembly.ledger_restore import accept_restore
from wellkeep.assembly.runtime import open_runtime
from wellkeep.base.errors import Conflict, IntegrityBroken, LedgerUnavailable, Validation
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.db.provision import connected
from wellkeep.findings.grammar import Kind, finding_key
from wellkeep.ledger.actions import Action
from wellkeep.ledger.setback import LedgerBehind

_REASON = "SELECT event_id, sealed FROM ledger.reason"
_RESTORED = "SELECT entry FROM ledger.entry WHERE tenant_id = $1 AND action = $2"


def _copy(source: Path, target: Path) -> None:
    """Copy with owners and modes, as a backup of files does."""
    subprocess.run(["/bin/cp", "-a", str(source), str(target)], check=True)  # noqa: S603  # paths of ours


@pytest.fixture
def put_back(installed: Installed, tmp_path: Path) -> str:
    """Write to the ledger, and put the files of the database back to what they were before."""
    data = installed.home.path / "postgres"
    installed.database.stop()
    _copy(data, tmp_path / "backup")
    installed.database.start()
    name = f"clinic-{uuid7().hex[-8:]}"
    said = command("tenant", "create", name, "--home", installed.home.path)
    assert said.code == 0, said.err
    installed.database.stop()
    shutil.rmtree(data)
    _copy(tmp_path / "backup", data)
    installed.database.start()
    return name


async def test_a_backup_put_back_is_refused_until_it_is_accepted(installed: Installed, put_back: str) -> None:
    where = (installed.home, installed.settings, installed.database)
    with pytest.raises(LedgerBehind, match="shorter"):
        async with open_runtime(*where):
            pass
    refused = command("tenant", "list", "--home", installed.home.path)
    assert refused.code == 1
    assert "accept-restore" in refused.err
    looked = command("ledger", "verify", "--json", "--home", installed.home.path)
    assert looked.code == 1, looked.err
    assert {one["what"] for one in looked.json()["bad"]} == {"remembered"}
    async with open_core(*where, behind=True) as core:
        assert core.setbacks[0].tenant == PLATFORM_TENANT
        with pytest.raises(LedgerUnavailable):
            await core.writer.drain_outbox()
        with pytest.raises(Validation):
            await accept_restore(core, this_operator(), reason="  ")
    said = command("ledger", "accept-restore", "--reason", "the disk died", "--json", "--home", installed.home.path)
    assert said.code == 0, said.err
    assert {(one["how"], one["epoch"]) for one in said.json()} <= {("shorter", 2), ("gone", 2)}
    async with open_core(*where) as core:
        with pytest.raises(Conflict):
            await accept_restore(core, this_operator(), reason="again")
        async with connected(installed.database.endpoint("wk_migrate")) as connection:
            await connection.execute("SET ROLE wk_owner")
            [kept] = await connection.fetch(_REASON)
            entries = await connection.fetch(_RESTORED, PLATFORM_TENANT, Action.LEDGER_RESTORED)
        told = [msgspec.json.decode(row["entry"])["event"] for row in entries]
        assert {event["request"] for event in told} == {str(kept["event_id"])}
        reason = {"tenant": PLATFORM_TENANT, "event": kept["event_id"], "digest": bytes.fromhex(told[0]["reason"])}
        assert core.reasons.open(kept["sealed"], **reason) == "the disk died"
        for change in ({"event": uuid7()}, {"digest": bytes(32)}):
            with pytest.raises(IntegrityBroken):
                core.reasons.open(kept["sealed"], **reason | change)
        assert b"disk died" not in entries[0]["entry"]
        assert Kind.LEDGER_BEHIND in {one.kind for one in await core.findings.list(PLATFORM_TENANT)}
    assert command("tenant", "list", "--home", installed.home.path).code == 0


@pytest.mark.parametrize("left", [None, b"", b"half a li"], ids=["taken away", "emptied", "torn"])
async def test_a_host_that_remembers_nothing_says_so_and_begins(installed: Installed, left: bytes | None) -> None:
    async with open_core(installed.home, installed.settings, installed.database) as core:
        told = await _times_unremembered(core)
    memory = installed.home.resolve(installed.settings.ledger.memory)
    memory.unlink()
    if left is not None:
        memory.write_bytes(left)
    async with open_core(installed.home, installed.settings, installed.database) as core:
        assert core.memory.load()
        assert core.setbacks == []
        assert await _times_unremembered(core) == told + 1
    said = command("findings", "--json", "--home", installed.home.path)
    assert "ledger.behind" in said.out


async def _times_unremembered(core: Core) -> int:
    """Return how often a host was found to remember nothing."""
    await core.findings.flush()
    found = await core.findings.list(PLATFORM_TENANT)
    return sum(one.count for one in found if one.key == finding_key(Kind.LEDGER_BEHIND, "unremembered"))


async def test_what_can_not_be_read_of_the_memory_is_gone_on_from_too(installed: Installed) -> None:
    """A forged or damaged line must not lock the operator out of the very command that the refusal names."""
    memory = installed.home.resolve(installed.settings.ledger.memory)
    kept = memory.read_text()
    memory.write_text(f"{kept}localhost/ledger/root/999999999 5 {'00' * 32}\nnot a line of ours\n")
    refused = command("tenant", "list", "--home", installed.home.path)
    assert refused.code == 1
    assert "2 lines" in refused.err
    said = command("ledger", "accept-restore", "--reason", "a stray editor", "--home", installed.home.path)
    assert said.code == 0, said.err
    assert command("tenant", "list", "--home", installed.home.path).code == 0
    async with open_core(installed.home, installed.settings, installed.database) as core:
        assert core.setbacks == []
        checked = await verify_on_record(core, installed.database, this_operator(), Extent())
        assert checked.report.ok, checked.report.bad


async def test_a_crash_between_an_acceptance_and_what_is_remembered_costs_a_second_one(
    installed: Installed, put_back: str
) -> None:
    """It is committed, and the file still says what was there before: that is behind again, and accepted again."""
    memory = installed.home.resolve(installed.settings.ledger.memory)
    kept = memory.read_bytes()
    where = (installed.home, installed.settings, installed.database)
    opened = []
    for _ in range(2):
        memory.write_bytes(kept)
        async with open_core(*where, behind=True) as core:
            reopened = await accept_restore(core, this_operator(), reason="the disk died, and then the power")
            opened.append({one.tenant: one.epoch for one in reopened})
    first, second = opened
    assert second == {tenant: epoch + 1 for tenant, epoch in first.items()}
    async with open_core(*where) as core:
        assert core.setbacks == []
        checked = await verify_on_record(core, installed.database, this_operator(), Extent())
        assert checked.report.ok, checked.report.bad
    assert command("tenant", "create", f"again-{uuid7().hex[-8:]}", "--home", installed.home.path).code == 0, put_back


def test_a_reason_that_is_no_text_is_refused(installed: Installed) -> None:
    for reason in (b"\xff\xfe".decode("utf-8", "surrogateescape"), "x" * 2_001):
        said = command("hold", "place", "--reason", reason, "--home", installed.home.path)
        assert said.code == 1
        assert "fault of ours" not in said.all
