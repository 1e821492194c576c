"""Who logs in past the application is an entry, once; who did not say so is a finding, whoever watches and when."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from assembly.conftest import Installed
from wellkeep.access.operators import this_operator
from wellkeep.assembly.announcing import announce_session, announcing, server_itself
from wellkeep.assembly.core import Core, open_core
from wellkeep.assembly.session_watch import SessionWatch
from wellkeep.base.errors import LedgerUnavailable
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.db.connection import Connection
from wellkeep.db.connection_log import ConnectionLog
from wellkeep.db.dsn import Endpoint
from wellkeep.db.pool import Limits, Pool
from wellkeep.db.provision import connected
from wellkeep.findings.grammar import Kind

_SESSIONS = """
SELECT convert_from(entry, 'UTF8')::jsonb -> 'event' AS event FROM ledger.entry
WHERE tenant_id = $1 AND action = 'operator.session' ORDER BY seq
"""
_REFUSE = """
CREATE FUNCTION ledger.wk_test_refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '53100'; END $$;
CREATE TRIGGER wk_test_refuse BEFORE INSERT ON ledger.entry EXECUTE FUNCTION ledger.wk_test_refuse();
"""
_ACCEPT = "DROP TRIGGER wk_test_refuse ON ledger.entry; DROP FUNCTION ledger.wk_test_refuse();"
_TURN = "SELECT FROM access.session_watch FOR UPDATE"


class Watched:
    """A deployment that is looked at when a test says so."""

    def __init__(self, made: Installed, core: Core, jobs: Pool, data: Path) -> None:
        self.core, self.jobs, self.data, self.database = core, jobs, data, made.database
        self.watch = self.another()

    def another(self) -> SessionWatch:
        """Return a watch that knows nothing, as after a restart."""
        return SessionWatch(core=self.core, jobs=self.jobs, log=ConnectionLog(self.data))

    @property
    def superuser(self) -> Endpoint:
        endpoint = self.database.administrator()
        assert endpoint is not None
        return endpoint

    async def sessions(self) -> list[dict[str, Any]]:
        async with connected(self.superuser) as connection:
            return [json.loads(row["event"]) for row in await connection.fetch(_SESSIONS, PLATFORM_TENANT)]

    async def unannounced(self) -> list[dict[str, Any]]:
        return [one for one in await self.sessions() if one["actor"]["id"] == "watch"]

    async def found(self, what: str) -> int:
        await self.core.findings.flush()
        listed = await self.core.findings.list(PLATFORM_TENANT, open_only=False)
        keys = {one.key: one.count for one in listed if one.kind == Kind.OPERATOR_UNRECORDED}
        return keys.get(f"{Kind.OPERATOR_UNRECORDED.value}:{what}", 0)


@pytest.fixture
async def watched(installed: Installed) -> AsyncIterator[Watched]:
    """Open the deployment, its sessions announced but for those that a test opens; what is there now was seen."""
    assert installed.database.embedded is not None
    async with (
        open_core(installed.home, installed.settings, installed.database) as core,
        Pool(
            installed.database.endpoint("wk_jobs"),
            context_key=None,
            clock=core.clock,
            limits=Limits(min_size=1, max_size=1),
        ) as jobs,
    ):
        installed.database.announce = announcing(core)
        made = Watched(installed, core, jobs, installed.database.embedded.data)
        assert await made.watch.look()
        yield made
        installed.database.announce = None


@asynccontextmanager
async def login(endpoint: Endpoint, name: str | None = None) -> AsyncIterator[Connection]:
    """Log in under `name`, past wellkeep."""

    async def named(_role: str) -> str | None:
        return name

    async with connected(replace(endpoint, announce=named)) as connection:
        yield connection


async def test_a_session_past_wellkeep_is_an_entry_and_a_finding_once(watched: Watched) -> None:
    before, found = len(await watched.unannounced()), await watched.found("wk_admin")
    async with login(watched.superuser):
        await watched.watch.look()
        await watched.watch.look()
        assert await watched.another().look(), "whoever watches next"
    entered = (await watched.unannounced())[before:]
    assert [(one["resource"]["id"], one["error"], one["actor"]["type"]) for one in entered] == [
        ("wk_admin", "unannounced", "system")
    ]
    assert await watched.found("wk_admin") == found + 1


async def test_a_session_that_was_over_before_the_look(watched: Watched) -> None:
    before, found = len(await watched.unannounced()), await watched.found("wk_migrate")
    async with login(watched.database.endpoint("wk_migrate")):
        pass
    await watched.watch.look()
    assert len(await watched.unannounced()) == before + 1
    assert await watched.found("wk_migrate") == found + 1


async def test_what_servers_log_in_as_is_not_watched(watched: Watched) -> None:
    before = len(await watched.sessions())
    for role in ("wk_app", "wk_ledger", "wk_auth", "wk_jobs"):
        async with login(watched.database.endpoint(role)):
            pass
    await watched.another().look()
    assert len([one for one in await watched.sessions() if one["resource"]["id"] != "wk_admin"]) <= before


async def test_one_announcement_is_one_session(watched: Watched) -> None:
    found = await watched.found("wk_admin")
    name = await announce_session(watched.core, this_operator(), "wk_admin", reason="to see")
    before = len(await watched.unannounced())
    async with login(watched.superuser, name):
        await watched.watch.look()
        assert len(await watched.unannounced()) == before
        assert await watched.found("wk_admin") == found
        await watched.another().look()
        assert await watched.found("wk_admin") == found, "bound to this very session, whoever asks"
        async with login(watched.superuser, name):
            await watched.watch.look()
    assert [one["error"] for one in (await watched.unannounced())[before:]] == ["replayed"]
    assert await watched.found("wk_admin") == found + 1
    last = [one for one in await watched.sessions() if "reason" in one][-1]
    bound = [one for one in await watched.sessions() if one["request"] == last["request"]]
    assert [one["outcome"] for one in bound] == ["authorised", "done"]
    assert "to see" not in json.dumps(bound)


async def test_two_at_once_under_one_name(watched: Watched) -> None:
    name = await announce_session(watched.core, server_itself(), "wk_admin")
    before = len(await watched.unannounced())
    async with login(watched.superuser, name), login(watched.superuser, name):
        await watched.watch.look()
    assert [one["error"] for one in (await watched.unannounced())[before:]] == ["replayed"]


async def test_one_watches_at_a_time(watched: Watched) -> None:
    async with connected(watched.superuser) as connection, connection.transaction():
        await connection.execute(_TURN)
        assert not await watched.watch.look()
    assert await watched.watch.look()


async def test_a_ledger_that_is_away_delays_the_entry_and_not_the_finding(watched: Watched) -> None:
    before, found = len(await watched.unannounced()), await watched.found("wk_admin")
    async with connected(watched.superuser) as mending:
        await watched.watch.look()
        await mending.execute(_REFUSE)
        try:
            async with login(watched.superuser):
                pass
            for _ in range(2):
                with pytest.raises(LedgerUnavailable):
                    await watched.watch.look()
            assert await watched.found("wk_admin") == found + 1
        finally:
            await mending.execute(_ACCEPT)
        for _ in range(300):
            try:
                await watched.watch.look()
                break
            except LedgerUnavailable:
                await asyncio.sleep(0.1)
    assert len(await watched.unannounced()) == before + 1
    assert await watched.found("wk_admin") == found + 1


async def test_a_thousand_sessions_at_once(watched: Watched, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    now = datetime.now(UTC)
    lines = [
        {
            "timestamp": f"{now:%Y-%m-%d %H:%M:%S}.999 UTC",
            "session_id": f"{int(now.timestamp()):x}.{100_000 + number:x}",
            "user": 'A "role"; of\nsomebody',
            "remote_host": f"10.0.{number % 256}.7",
            "message": "connection authorized: user=x application_name=psql",
        }
        for number in range(1_000)
    ]
    (tmp_path / "log" / "postgresql-Test.json").write_text("".join(json.dumps(one) + "\n" for one in lines))
    before, found = len(await watched.unannounced()), await watched.found("other")
    watched.data = tmp_path
    watch = watched.another()
    began = asyncio.get_running_loop().time()
    await watch.look()
    assert asyncio.get_running_loop().time() - began < 20
    await watch.look()
    entered = (await watched.unannounced())[before:]
    assert len({one["id"] for one in entered if one["resource"]["id"] == "other"}) == 1_000
    assert await watched.found("other") == found + 1, "one finding a look, that says how many"


async def test_a_server_without_a_log_of_ours(watched: Watched) -> None:
    before = len(await watched.unannounced())
    watch = SessionWatch(core=watched.core, jobs=watched.jobs, log=None)
    async with login(watched.superuser), login(watched.database.endpoint("wk_migrate").at("postgres")):
        await watch.look()
        await watch.look()
    entered = (await watched.unannounced())[before:]
    assert sorted(one["resource"]["id"] for one in entered) == ["wk_admin", "wk_migrate"]


async def test_what_can_not_be_seen_is_said(watched: Watched) -> None:
    async with connected(watched.superuser) as mending:
        await mending.execute("REVOKE pg_read_all_stats FROM wk_owner")
        try:
            await watched.another().look()
        finally:
            await mending.execute("GRANT pg_read_all_stats TO wk_owner")
    assert await watched.found("blind") == 1
