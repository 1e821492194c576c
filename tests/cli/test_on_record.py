"""What an operator types is in the root log, before and after; psql as the administrator is announced."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deployments import Deployment, deployment
from wellkeep.assembly.database import Database
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.db.connection import Connection
from wellkeep.db.provision import connected

CANARY = "Xk9CanaryZq"
_EVENTS = """
SELECT convert_from(entry, 'UTF8')::jsonb -> 'event' AS event FROM ledger.entry WHERE tenant_id = $1 ORDER BY seq
"""
_REFUSE = """
CREATE FUNCTION ledger.wk_test_refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '53100'; END $$;
CREATE TRIGGER wk_test_refuse BEFORE INSERT ON ledger.entry EXECUTE FUNCTION ledger.wk_test_refuse();
"""
_ACCEPT = "DROP TRIGGER wk_test_refuse ON ledger.entry; DROP FUNCTION ledger.wk_test_refuse();"
_SECONDS = 60.0
NOBODY = ("--tenant", "nobody-of-this-name")
COMMANDS: dict[str, tuple[tuple[str, ...], tuple[str, str | None]]] = {
    "tenant.create": (("tenant", "create", "on-record"), ("done", None)),
    "tenant.list": (("tenant", "list"), ("done", None)),
    "apikey.create": (("apikey", "create", *NOBODY, "--role", "auditor"), ("failed", "not-found")),
    "ledger.anchors": (("ledger", "anchors"), ("done", None)),
    "ledger.accept_restore": (("ledger", "accept-restore", "--reason", CANARY), ("failed", "conflict")),
    "findings.resolve": (("findings", "resolve", CANARY), ("failed", "not-found")),
    "egress.test": (("egress", "test", "nowhere"), ("failed", "egress-refused")),
    "db.rollback": (("db", "rollback", "--yes"), ("done", None)),
    "db.migrate": (("db", "migrate"), ("done", None)),
    "doctor": (("doctor",), ("done", None)),
}


@pytest.fixture(scope="module")
def made() -> Iterator[Deployment]:
    """Make a deployment that nobody serves, its database held by the test."""
    with deployment() as one, kept(one):
        database(one)
        yield one


@pytest.fixture(scope="module")
def watched() -> Iterator[Deployment]:
    """Make one that is served."""
    with deployment(serve=()) as one, kept(one):
        yield one


_DATABASES: dict[Path, Database] = {}


@contextmanager
def kept(made: Deployment) -> Iterator[None]:
    """Stop, at the end, the database that the tests may have started."""
    found = _DATABASES[made.path] = Database(made.home, made.home.settings())
    try:
        yield
    finally:
        found.stop()


def database(made: Deployment) -> Database:
    found = _DATABASES[made.path]
    found.start()
    return found


def events(made: Deployment) -> list[dict[str, Any]]:
    """Return the events of the root log, in order, read past wellkeep."""

    async def read() -> list[dict[str, Any]]:
        endpoint = database(made).administrator()
        assert endpoint is not None
        async with connected(endpoint) as connection:
            return [json.loads(row["event"]) for row in await connection.fetch(_EVENTS, PLATFORM_TENANT)]

    return asyncio.run(read())


def of(made: Deployment, name: str) -> list[tuple[str, str, str | None]]:
    return [
        (one["action"], one["outcome"], one.get("error"))
        for one in events(made)
        if one.get("resource") == {"type": "command", "id": name}
    ]


def execute(made: Deployment, sql: str) -> None:
    async def work() -> None:
        endpoint = database(made).administrator()
        assert endpoint is not None
        async with connected(endpoint) as connection:
            own: Connection = connection
            await own.execute(sql)

    asyncio.run(work())


def until(look: Any, done: Any) -> Any:
    """Look until `done`, for some seconds."""
    began = time.monotonic()
    while not done(seen := look()) and time.monotonic() - began < _SECONDS:
        time.sleep(0.2)
    return seen


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_entered_before_and_after(made: Deployment, name: str) -> None:
    words, ended = COMMANDS[name]
    before = len(events(made))
    made.wk(*words)
    told = events(made)[before:]
    own = [one for one in told if one.get("resource") == {"type": "command", "id": name}]
    assert [(one["outcome"], one.get("error")) for one in own] == [("authorised", None), ended]
    assert {one["action"] for one in own} == {"operator.command"}
    assert {one["actor"]["type"] for one in own} == {"operator"}
    assert len({one["request"] for one in told if one["actor"]["type"] == "operator"}) == 1, "all under one request"
    assert CANARY not in json.dumps(told)


def test_what_the_ledger_does_not_take_waits_in_the_journal(made: Deployment) -> None:
    before = of(made, "findings")
    execute(made, _REFUSE)
    try:
        said = made.wk("findings")
        assert said.code == 0, "what is wrong can be looked at all the same"
    finally:
        execute(made, _ACCEPT)
    journal = made.path / "journal"
    assert len(list(journal.iterdir())) == 2
    assert of(made, "findings") == before
    assert made.wk("tenant", "list").code == 0
    assert [outcome for _, outcome, _ in of(made, "findings")[len(before) :]] == ["authorised", "done"]
    assert not list(journal.iterdir())


def test_psql_is_announced_with_a_reason(watched: Deployment) -> None:
    said = watched.wk("db", "shell", "--reason", f"to look, {CANARY}", "--", "-Atc", "SELECT current_user")
    assert (said.code, said.out) == (0, "wk_admin\n"), said.err
    told = until(lambda: sessions(watched), lambda found: [one["outcome"] for one in found].count("done") > 0)
    assert [one["outcome"] for one in told] == ["authorised", "done"]
    assert [("reason" in one) for one in told] == [True, False]
    assert CANARY not in json.dumps(events(watched))
    log = b"".join(path.read_bytes() for path in (watched.path / "postgres" / "data" / "log").iterdir())
    assert CANARY.encode() not in log


def sessions(made: Deployment) -> list[dict[str, Any]]:
    """Return the administrator's sessions that were said to be, and what is on record of them."""
    return [
        one
        for one in events(made)
        if one["action"] == "operator.session"
        and one["actor"]["type"] == "operator"
        and one["resource"]["id"] == "wk_admin"
    ]


def test_psql_ends_as_it_ends(watched: Deployment) -> None:
    failed = watched.wk("db", "shell", "--reason", "to fail", "--", "-c", "SELECT nonsense")
    assert failed.code == 1
    assert of(watched, "db.shell")[-1] == ("operator.command", "done", None)


@pytest.mark.parametrize(("options", "code"), [((), 2), (("--reason", " "), 1), (("--reason", "x" * 2_001), 1)])
def test_without_a_reason_there_is_no_session(watched: Deployment, options: tuple[str, ...], code: int) -> None:
    # By request: what the watcher enters of an earlier session, a moment after it, is under that one's own.
    before = {one["request"] for one in sessions(watched)}
    said = watched.wk("db", "shell", *options, "--", "-c", "SELECT 1")
    assert (said.code, "1 row" in said.out) == (code, False)
    assert {one["request"] for one in sessions(watched)} == before


def test_a_second_session_from_there_is_not_announced(watched: Deployment) -> None:
    said = watched.wk("db", "shell", "--reason", "twice", "--", "-c", r"\connect -", "-c", "SELECT 1")
    assert said.code == 0

    def replayed() -> list[dict[str, Any]]:
        return [one for one in events(watched) if one.get("error") == "replayed"]

    (one,) = until(replayed, bool)
    assert (one["actor"], one["resource"]["id"]) == ({"id": "watch", "type": "system"}, "wk_admin")


def test_start_and_stop_of_a_server_are_entered(watched: Deployment) -> None:
    assert of(watched, "serve") == [("deployment.started", "authorised", None)]
    assert watched.stop() == 0
    assert of(watched, "serve")[-1] == ("deployment.stopped", "done", None)
    watched.start()
    assert watched.process is not None
    os.killpg(watched.process.pid, signal.SIGKILL)
    watched.process.wait()
    watched.process = None
    assert of(watched, "serve")[-1] == ("deployment.started", "authorised", None), "a start without a stop was killed"
    watched.start()
    assert [action for action, _, _ in of(watched, "serve")] == [
        *("deployment.started", "deployment.stopped", "deployment.started", "deployment.started")
    ]
