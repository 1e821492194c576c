"""What an operator does: make a deployment, look it over, change its schema, verify its record, mend it."""

from __future__ import annotations

import asyncio
import json
import re
import stat
from collections.abc import Iterator

import msgspec
import pytest

from deployments import Deployment, deployment
from wellkeep.assembly.database import Database
from wellkeep.base.anchor_settings import FileAnchor
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.settings import LedgerSettings
from wellkeep.db.connection import Connection
from wellkeep.db.embedded import EmbeddedServer
from wellkeep.db.provision import connected
from wellkeep.prove.tampering import edit

_NOTICED = """
INSERT INTO findings.finding (tenant_id, id, key, kind, severity, detail, count, first_seen, last_seen)
SELECT $1, gen_random_uuid(), 'integrity_broken:test', 'integrity_broken', 'critical', '{"revision": 3}',
       2, now(), now()
"""
_QUARANTINED = """
INSERT INTO ledger.quarantine (tenant_id, event_id, event, reason, created_at)
VALUES ($1, $2, convert_to('{"ssn":"999-12-3456"}', 'UTF8'), 'form', now())
"""
_AN_HOUR = """UPDATE ledger.checkpoint SET "time" = "time" - interval '1 hour' WHERE tenant_id = $1"""
_LAST = "SELECT size - 2 FROM ledger.log WHERE tenant_id = $1"


@pytest.fixture(scope="module")
def made() -> Iterator[Deployment]:
    """Make a deployment that nobody serves."""
    with deployment() as one:
        yield one


def embedded(made: Deployment) -> EmbeddedServer:
    server = Database(made.home, made.home.settings()).embedded
    assert server is not None
    return server


def test_init_again_changes_nothing(made: Deployment) -> None:
    kept = [made.home.settings_file, *made.home.secrets.iterdir()]
    before = {path: path.read_bytes() for path in kept}
    again = made.wk("init", made.path, "--environment", "test", "--json")
    assert (again.code, again.json()["administrator_key"]) == (0, None)
    assert {path: path.read_bytes() for path in kept} == before
    assert embedded(made).pid is None, "a server that it started is stopped again"
    other = made.wk("init", made.path, "--environment", "production")
    assert (other.code, "Choose another directory" in other.err) == (1, True)
    assert {path: path.read_bytes() for path in kept} == before


def test_a_root_key_that_others_can_read(made: Deployment) -> None:
    key = made.home.secrets / "root.key"
    key.chmod(0o644)
    refused = made.wk("tenant", "list")
    assert (refused.code, f"chmod 600 {key}" in refused.err) == (1, True)
    key.chmod(0o600)
    assert made.wk("tenant", "list").code == 0


@pytest.mark.parametrize(
    ("command", "old", "new", "told"),
    [
        ("doctor", "public =", 'pubic = "Xk9CanaryZq"\npublic =', "listen.pubic"),
        ("serve", "[trust]", '[trust]\nclaims = ["rest.canary_field"]', "rest.canary_field"),
        ("doctor", "[trust]", '[trust]\nname = "Xk9CanaryZq"\n[trust]', "not valid TOML at line"),
    ],
    ids=["a key", "a claim", "a table twice"],
)
def test_a_setting_that_is_misspelt(made: Deployment, command: str, old: str, new: str, told: str) -> None:
    text = made.home.settings_file.read_text()
    made.home.settings_file.write_text(text.replace(old, new, 1))
    try:
        refused = made.wk(command)
    finally:
        made.home.settings_file.write_text(text)
    assert (refused.code, told in refused.err, "Xk9Canary" in refused.all) == (1, True, False), refused.all


@pytest.fixture
def awake(made: Deployment) -> Iterator[None]:
    """Let the database run meanwhile: a command that finds it running neither starts nor stops it."""
    database = Database(made.home, made.home.settings())
    database.start()
    yield
    database.stop()


@pytest.mark.usefixtures("awake")
def test_the_schema_back_and_forth(made: Deployment) -> None:
    whole = made.wk("db", "status", "--json").json()
    assert {one["state"] for one in whole} == {"applied"}
    last = f"{whole[-1]['number']:04}_{whole[-1]['name']}"
    asked = made.wk("db", "rollback")
    assert asked.code != 0, "nobody answered the question"
    undone = made.wk("db", "rollback", "--yes")
    assert (undone.code, f"Undone {last}" in undone.out) == (0, True)
    refused = made.wk("tenant", "list")
    assert (refused.code, "wellkeep db migrate" in refused.err) == (1, True)
    assert f"Applied {last}" in made.wk("db", "migrate").out
    assert "Nothing was pending" in made.wk("db", "migrate").out
    assert made.wk("db", "status", "--json").json() == whole


@pytest.mark.usefixtures("awake")
def test_the_doctor_says_what_to_mend(made: Deployment) -> None:
    said = made.wk("doctor", "--json")
    wrong = [one for one in said.json() if not one["fine"]]
    assert (said.code, bool(wrong)) == (1, True)
    assert all(one["mend"] for one in wrong)
    assert max(map(len, made.wk("doctor").out.splitlines())) <= 100


@pytest.mark.usefixtures("awake")
def test_findings_are_listed_in_100_columns(made: Deployment) -> None:
    assert "Nothing was noticed" in made.wk("findings").out

    async def notice(connection: Connection) -> None:
        await connection.execute(_NOTICED, PLATFORM_TENANT)

    as_superuser(made, notice)
    listed = made.wk("findings")
    assert (listed.code, "integrity_broken" in listed.out, "revision=3" in listed.out) == (0, True, True)
    assert max(map(len, listed.out.splitlines())) <= 100
    assert [one["kind"] for one in made.wk("findings", "--json").json()] == ["integrity_broken"]


@pytest.mark.usefixtures("awake")
def test_findings_are_resolved_on_record(made: Deployment) -> None:
    async def notice(connection: Connection) -> None:
        for tenant in (PLATFORM_TENANT, uuid7()):
            await connection.execute(_NOTICED.replace(":test", ":both"), tenant)
        await connection.execute(_NOTICED.replace(":test", ":one"), PLATFORM_TENANT)

    as_superuser(made, notice)
    found = made.wk("findings", "--json").json()
    for names, said in (
        (("Xk9CanaryZq", "integrity_broken:one"), "no finding"),
        (("integrity_broken:both",), "its id"),
    ):
        refused = made.wk("findings", "resolve", *names)
        assert (refused.code, said in refused.err, "Canary" in refused.all) == (1, True, False)
    assert made.wk("findings", "--json").json() == found, "all are looked up before one is touched"
    platform = next(one for one in found if one["key"].endswith("both") and one["tenant"] == str(PLATFORM_TENANT))
    done = made.wk("findings", "resolve", "integrity_broken:one", platform["id"], "--json")
    assert sorted(one["key"] for one in done.json()) == ["integrity_broken:both", "integrity_broken:one"]
    again = made.wk("findings", "resolve", "integrity_broken:one", platform["id"])
    assert (again.code, "resolved before" in again.out) == (0, True)
    left = [one["key"] for one in made.wk("findings", "--json").json()]
    assert "integrity_broken:one" not in left
    assert left.count("integrity_broken:both") == 1

    async def entered(connection: Connection) -> int:
        found: int = await connection.fetchval("SELECT count(*) FROM ledger.entry WHERE action = 'finding.resolve'")
        return found

    assert as_superuser(made, entered) == 2, "one entry for each"


@pytest.mark.usefixtures("awake")
def test_what_can_never_be_entered_is_told_without_what_it_holds(made: Deployment) -> None:
    none = made.wk("ledger", "quarantine", "--json")
    assert (none.code, none.json()) == (0, [])
    event = uuid7()

    async def spoil(connection: Connection) -> None:
        await connection.execute(_QUARANTINED, PLATFORM_TENANT, event)

    async def clean(connection: Connection) -> None:
        await connection.execute("DELETE FROM ledger.quarantine")

    as_superuser(made, spoil)
    try:
        listed, told = (
            made.wk("ledger", "quarantine", "--json"),
            made.wk("ledger", "quarantine", "--tenant", "platform"),
        )
        assert made.wk("ledger", "verify").code == 1
    finally:
        as_superuser(made, clean)
    assert listed.code == told.code == 1
    assert [(one["tenant"], one["event"], one["reason"], one["size"]) for one in listed.json()] == [
        (str(PLATFORM_TENANT), str(event), "form", 21)
    ]
    assert "Keep a copy of the database" in told.err
    assert "999-12-3456" not in listed.all + told.all
    assert max(map(len, told.out.splitlines())) <= 100


@pytest.mark.usefixtures("awake")
def test_what_an_auditor_is_handed(made: Deployment) -> None:
    assert made.wk("tenant", "create", "audited").code == 0
    told = made.wk("ledger", "verify").out
    assert "No anchor is configured" in told
    again = made.wk("ledger", "verify", "--since-last", "--jobs", "2", "--json").json()
    assert (again["holds"], again["exit_code"], again["anchors"]["status"]["newest_age_seconds"]) == (True, 0, None)
    top = made.path / "handed-over"
    written = made.wk("ledger", "export", top, "--json")
    assert written.code == 0, written.err
    vkey = written.json()["vkey"]
    refused = made.wk("ledger", "export", top)
    assert (refused.code, "is not empty" in refused.err) == (1, True)
    offline = made.wk("ledger", "verify", "--offline", top, "--vkey", vkey, "--json")
    assert (offline.code, offline.json()["holds"], offline.json()["entries"] > 0) == (0, True, True)
    with_seals = made.wk("ledger", "verify", "--offline", top, "--home", made.path)
    assert (with_seals.code, "no key was given" in with_seals.out) == (0, True)
    assert made.wk("ledger", "verify", "--offline", made.path / "nothing").code == 2
    assert made.wk("ledger", "verify", "--offline", top, "--since-last").code == 2
    shown = made.wk("ledger", "checkpoint", "--json").json()
    assert shown["vkey"] == vkey
    assert "Verifier key: " in made.wk("ledger", "checkpoint", "--tenant", "audited").out
    entry = next((top / "logs" / "root" / "1" / "tile" / "entries").rglob("*"))
    entry = next(path for path in [entry, *entry.rglob("*")] if path.is_file())
    event = re.findall(rb'"id":"([0-9a-f-]{36})","outcome"', entry.read_bytes())[1].decode()
    proof = made.wk("ledger", "proof", event, "-o", made.path / "one.proof")
    assert proof.code == 0, proof.err
    assert (made.path / "one.proof").read_text().startswith("c2sp.org/tlog-proof@v1\n")
    assert made.wk("ledger", "proof", event, "--json").json()["vkey"] == vkey
    assert made.wk("ledger", "proof", str(uuid7())).code == 1


@pytest.mark.usefixtures("awake")
def test_a_ledger_that_holds_and_is_not_anchored_in_time_has_an_exit_code_of_its_own(made: Deployment) -> None:
    drop = made.path.parent / "drop"
    drop.mkdir()
    kept = made.home.settings()
    ledger = LedgerSettings(anchors=(FileAnchor(name="drop", path=str(drop)),), anchors_stale_seconds=1_800)
    made.home.write_settings(msgspec.structs.replace(kept, ledger=ledger))

    async def wait(connection: Connection) -> None:
        await connection.execute(_AN_HOUR, PLATFORM_TENANT)

    try:
        waits = made.wk("ledger", "verify")
        as_superuser(made, wait)
        late, told = made.wk("ledger", "verify", "--json"), made.wk("ledger", "verify")
        assert made.wk("ledger", "anchors", "--now").code == 0
        taken = made.wk("ledger", "verify")
    finally:
        made.home.write_settings(kept)
    assert (waits.code, "none has taken a checkpoint yet" in waits.out) == (0, True)
    assert (late.code, late.json()["exit_code"], late.json()["holds"]) == (3, 3, True)
    assert (late.json()["anchors"]["status"]["stale"], late.json()["bad"]) == (True, [])
    assert (told.code, "The ledger holds" in told.out, "Stale: 0 of 1" in told.out) == (3, True, True)
    assert (taken.code, "1 of 1 anchors hold the root log" in taken.out) == (0, True)


def test_the_ledger_holds_then_does_not_then_can_t_be_seen(made: Deployment) -> None:
    holds = made.wk("ledger", "verify", "--json")
    assert (holds.code, holds.json()["holds"], holds.json()["bad"]) == (0, True, [])
    unknown = made.wk("ledger", "verify", "--tenant", "nobody")
    assert (unknown.code, "tenant list" in unknown.err) == (2, True)

    async def tamper(connection: Connection) -> int:
        return await edit(connection, PLATFORM_TENANT, await connection.fetchval(_LAST, PLATFORM_TENANT))

    seq = as_superuser(made, tamper)
    broken = made.wk("ledger", "verify", "--json")
    assert (broken.code, broken.json()["holds"]) == (1, False)
    assert [one["seq"] for one in broken.json()["bad"]] == [seq]
    told = made.wk("ledger", "verify")
    assert (told.code, f"at seq {seq}" in told.err) == (1, True)
    away = made.path / "postgres" / "data"
    away.rename(away.with_name("aside"))
    away.mkdir()
    try:
        unseen = made.wk("ledger", "verify")
    finally:
        away.rmdir()
        away.with_name("aside").rename(away)
    assert (unseen.code, "was not verified" in unseen.err) == (2, True)


def as_superuser(made: Deployment, work: object) -> int:
    """Run `work` on a superuser's connection, as whoever owns the machine could."""
    database = Database(made.home, made.home.settings())
    awake = embedded(made).pid is not None
    database.start()
    try:
        administrator = database.administrator()
        assert administrator is not None

        async def whole() -> int:
            async with connected(administrator) as connection:
                return await work(connection)  # type: ignore[operator,no-any-return]

        return asyncio.run(whole())
    finally:
        if not awake:
            database.stop()


def test_log_lines_go_to_a_file_or_to_stdout(made: Deployment) -> None:
    made.start("--workers", "2")
    assert made.stop() == 0
    log = made.home.log / "server.jsonl"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["event"] for line in lines].count("serving") == 2
    before = log.read_bytes()
    assert "{" not in (made.home.log / "serve.out").read_text(), "people read words, programs the file"
    output = made.path / "stdout.jsonl"
    made.start("--log-to-stdout", output=output)
    running = made.wk("init", made.path, "--environment", "test")
    assert (running.code, embedded(made).pid is not None) == (0, True), "a server that serves is left alone"
    assert made.stop() == 0
    assert {json.loads(line)["event"] for line in output.read_text().splitlines()} >= {"serving", "stopping"}
    assert log.read_bytes() == before
