"""The ledger arrives outside: all of it, in order, at least once; and what can't arrive is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import asyncpg
import msgspec
import pytest

from database import Database
from egress.outside import Certificates, Manner, Noted, place, serving, silent, way_out
from ledger.making import Reports, change, event, prepared, writing
from sinks.receivers import TOKEN, Collector, Syslog, Taken, read_lines
from sinks.streaming import OUT, PACE, ROOT, fill, log, streaming, until
from wellkeep.base.clock import SystemClock
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.sink_settings import FileSink, HecSink, SyslogSink
from wellkeep.db.pool import Limits
from wellkeep.findings.grammar import Kind
from wellkeep.ledger.actions import Action
from wellkeep.ledger.event import prepare
from wellkeep.ledger.sinks.desk import Desk, standings
from wellkeep.ledger.sinks.records import Record
from wellkeep.ledger.sinks.state import metrics, states
from wellkeep.ledger.sinks.stream import Pace, Stream


def file_sink(name: str = "lines", **more: object) -> FileSink:
    return FileSink(name=name, path=f"{name}.jsonl", **more)  # type: ignore[arg-type]


def taken(home: Path, name: str = "lines") -> Taken:
    path = home / f"{name}.jsonl"
    return read_lines(path) if path.exists() else Taken()


def give_token(home: Path) -> None:
    (home / "secrets").mkdir()
    (home / "secrets" / "token").write_text(TOKEN)
    (home / "secrets" / "token").chmod(0o600)


async def test_a_file_gets_the_logs_of_all_tenants_and_not_the_root_log(
    database: Database, tenant: UUID, other_tenant: UUID, tmp_path: Path
) -> None:
    async with streaming(database, file_sink(), home=tmp_path):
        sizes = {one: await fill(database, one, 700) for one in (tenant, other_tenant)}
        await until(lambda: all(taken(tmp_path).whole(log(one), size) for one, size in sizes.items()))
        size = await fill(database, tenant, 3)
        await until(lambda: taken(tmp_path).whole(log(tenant), size))
    got = taken(tmp_path)
    assert set(got.logs) == {log(tenant), log(other_tenant)}
    assert got.check() == size + sizes[other_tenant]
    assert len(got.entries) == got.check(), "nothing twice without a fault"
    assert not got.gaps


async def test_a_sink_gets_the_tenants_that_it_names_and_the_root_log_where_asked(
    database: Database, tenant: UUID, other_tenant: UUID, tmp_path: Path
) -> None:
    sinks = [
        file_sink("one", tenants=(tenant,)),
        file_sink("roots", tenants=(), root=True),
        file_sink("both", root=True),
    ]
    sizes = {one: await fill(database, one, 5) for one in (tenant, other_tenant)}
    async with streaming(database, *sinks, home=tmp_path):
        await until(lambda: taken(tmp_path, "one").whole(log(tenant), sizes[tenant]))
        await until(lambda: taken(tmp_path, "roots").whole(ROOT, 3))
        await until(lambda: len(taken(tmp_path, "both").entries) == 3 + sum(sizes.values()))
    assert taken(tmp_path, "one").logs == [log(tenant)]
    assert taken(tmp_path, "roots").logs == [ROOT]
    assert {log(tenant), log(other_tenant), ROOT} == set(taken(tmp_path, "both").logs)


async def test_a_new_sink_begins_where_it_is_told_to_and_goes_on_where_it_was(
    database: Database, tenant: UUID, other_tenant: UUID, tmp_path: Path
) -> None:
    before = await fill(database, tenant, 5)
    sink = file_sink(begin="now")
    async with streaming(database, sink, home=tmp_path):
        await until(lambda: known(database))
        new = await fill(database, other_tenant, 2)  # its log is opened later: from its beginning
        after = await fill(database, tenant, 2)
        await until(lambda: taken(tmp_path).whole(log(tenant), after, start=before))
        await until(lambda: taken(tmp_path).whole(log(other_tenant), new))
    last = await fill(database, tenant, 2)  # nobody delivers
    async with streaming(database, sink, home=tmp_path):
        await until(lambda: taken(tmp_path).whole(log(tenant), last, start=before))
    assert not taken(tmp_path).gaps


async def known(database: Database) -> object:
    async with database.connect() as connection:
        return await connection.fetchval("SELECT count(*) FROM ledger.sink")


@pytest.mark.parametrize("format_", ["raw", "ocsf"])
async def test_a_syslog_receiver_gets_everything(
    database: Database, tenant: UUID, tmp_path: Path, certificates: Certificates, noted: Noted, format_: str
) -> None:
    syslog = Syslog()
    size = await fill(database, tenant, 60)
    async with serving(syslog.manner, certificates.context()) as server:
        egress = way_out(noted, place(server, certificates), limits=OUT)
        sink = SyslogSink(name="siem", place="siem", format=format_)  # type: ignore[arg-type]
        async with streaming(database, sink, home=tmp_path, egress=egress):
            await until(lambda: syslog.taken.whole(log(tenant), size))
    assert syslog.taken.check() == size


async def test_a_collector_that_has_bad_times_gets_everything_in_the_end(
    database: Database, tenant: UUID, tmp_path: Path, certificates: Certificates, noted: Noted
) -> None:
    give_token(tmp_path)
    busy = (503, b"Retry-After: 0\r\n", b"")
    collector = Collector(answers=[busy, (429, b"Retry-After: 1\r\n", b""), None, (200, b"", b'{"code":9}'), busy])
    size = await fill(database, tenant, 300)
    began = asyncio.get_running_loop().time()
    async with serving(collector.manner, certificates.context()) as server:
        egress = way_out(noted, place(server, certificates), limits=OUT)
        sink = HecSink(name="splunk", place="siem", token="token")
        async with streaming(database, sink, home=tmp_path, egress=egress):
            await until(lambda: collector.taken.whole(log(tenant), size))
    assert asyncio.get_running_loop().time() - began >= 1.0, "it asked us to wait"
    assert collector.taken.check() == size
    assert not collector.answers


@pytest.mark.parametrize("fate", ["drip", "resets"])
async def test_a_slow_or_moody_receiver_gets_on_with_smaller_batches(
    database: Database, tenant: UUID, tmp_path: Path, certificates: Certificates, noted: Noted, fate: str
) -> None:
    """One takes a few entries a second; another resets the connection in the middle, two times out of three."""
    syslog, connections = Syslog(), 0

    async def manner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        if fate == "resets" and connections % 3:
            for _ in range(4):
                await syslog.one(reader)
            writer.transport.abort()
            return
        while await syslog.one(reader):  # noqa: ASYNC110 -- what it waits for is how slow it is
            await asyncio.sleep(0.05 if fate == "drip" else 0)
        writer.close()

    size = await fill(database, tenant, 40)
    async with serving(manner, certificates.context()) as server:
        egress = way_out(noted, place(server, certificates), limits=OUT)
        sink = SyslogSink(name="siem", place="siem")
        async with streaming(database, sink, home=tmp_path, egress=egress):
            await until(lambda: syslog.taken.whole(log(tenant), size))
    assert syslog.taken.check() == size


@pytest.mark.parametrize("trust", [True, False])
async def test_a_dead_sink_is_a_finding_and_nobody_else_s_matter(
    database: Database,
    tenant: UUID,
    tmp_path: Path,
    certificates: Certificates,
    other_certificates: Certificates,
    noted: Noted,
    trust: bool,  # noqa: FBT001
) -> None:
    """It never answers, or it is somebody else."""
    reports, size = Reports(), await fill(database, tenant, 30)
    manner: Manner = silent
    async with serving(manner, (certificates if trust else other_certificates).context()) as server:
        egress = way_out(noted, place(server, certificates), limits=OUT)
        give_token(tmp_path)
        dead = HecSink(name="dead", place="siem", token="token")
        async with streaming(database, dead, file_sink(), home=tmp_path, egress=egress, reports=reports):
            await until(lambda: taken(tmp_path).whole(log(tenant), size), seconds=60)
            await until(lambda: Kind.LEDGER_SINK_FAILED in reports.kinds)
            more = await fill(database, tenant, 30)
            await until(lambda: taken(tmp_path).whole(log(tenant), more), seconds=60)
    detail = reports.details[reports.kinds.index(Kind.LEDGER_SINK_FAILED)]
    assert detail["sink"] == "dead"
    assert detail["error"] == ("timed-out" if trust else "egress-refused")


async def test_nothing_that_a_receiver_says_and_no_secret_is_told_on(
    database: Database,
    tenant: UUID,
    tmp_path: Path,
    certificates: Certificates,
    noted: Noted,
    capsys: pytest.CaptureFixture[str],
) -> None:
    canary = b"Xk9CanaryZq"
    answers = [
        (code, b"X-Said: " + canary + b"\r\n", b'{"code":9,"text":"' + canary + b'"}') for code in (400, 403, 500, 200)
    ]
    collector, reports = Collector(answers=[*answers, *answers]), Reports()
    size = await fill(database, tenant, 3)
    give_token(tmp_path)
    async with serving(collector.manner, certificates.context()) as server:
        egress = way_out(noted, place(server, certificates), limits=OUT)
        sink = HecSink(name="splunk", place="siem", token="token")
        async with streaming(
            database, sink, home=tmp_path, egress=egress, reports=reports, pace=replace(PACE, failing=0.0)
        ):
            await until(lambda: collector.taken.whole(log(tenant), size))
    said = capsys.readouterr()
    everything = said.out + said.err + repr(reports.details)
    assert "ledger.sink_failed" in everything
    assert "rejected" in everything
    for secret in (canary.decode(), TOKEN, "clinician", str(tmp_path)):
        assert secret not in everything


async def test_a_sink_that_is_far_behind_is_a_finding(database: Database, tenant: UUID, tmp_path: Path) -> None:
    """One every five minutes, however often it is measured meanwhile."""
    reports = Reports()
    await fill(database, tenant, 3)
    await change(
        database, """UPDATE ledger.entry SET "time" = "time" - interval '1 hour' WHERE tenant_id = $1""", tenant
    )
    (tmp_path / "lines.jsonl").mkdir()
    pace = replace(PACE, failing=60.0)
    async with streaming(database, file_sink(max_lag_seconds=600), home=tmp_path, reports=reports, pace=pace):
        await until(lambda: reports.kinds)
        await asyncio.sleep(1.0)
    (detail,) = reports.details
    assert reports.kinds == [Kind.LEDGER_SINK_FAILED]
    assert (detail["error"], detail["count"]) == ("behind", 4)
    assert int(detail["seconds"]) >= 3590


async def test_what_was_pruned_before_it_was_sent_is_told(database: Database, tenant: UUID, tmp_path: Path) -> None:
    """In the stream, with the log and from where to where, and as a finding; once each, and then it goes on."""
    reports, size = Reports(), await fill(database, tenant, 30)
    await change(database, "DELETE FROM ledger.entry WHERE tenant_id = $1 AND (seq < 10 OR seq = 20)", tenant)
    async with streaming(database, file_sink(), home=tmp_path, reports=reports):
        await until(lambda: size - 1 in taken(tmp_path).seqs(log(tenant)))
    got = taken(tmp_path)
    assert [(one["log"], one["from"], one["to"], one["reason"]) for one in got.gaps] == [
        (log(tenant), 0, 10, "missing"),
        (log(tenant), 20, 21, "missing"),
    ]
    assert got.check() == size - 11
    assert reports.kinds == [Kind.LEDGER_SINK_GAP] * 2
    assert reports.details[0] == {
        "sink": "lines",
        "log": str(tenant),
        "epoch": 1,
        "seq": 0,
        "count": 10,
        "what": "missing",
    }


async def test_a_log_that_ended_before_all_was_sent_is_told(database: Database, tenant: UUID, tmp_path: Path) -> None:
    """Its end is gone and another epoch has begun: what is left of the first goes out first."""
    size = await fill(database, tenant, 10)
    await change(database, "DELETE FROM ledger.entry WHERE tenant_id = $1 AND seq >= 8", tenant)
    await change(
        database,
        """INSERT INTO ledger.log SELECT tenant_id, 2, $2, 1, leaf, "time", frontier FROM ledger.log
        WHERE tenant_id = $1""",
        tenant,
        log(tenant, 2),
    )
    await change(
        database,
        """INSERT INTO ledger.entry SELECT tenant_id, 2, 0, uuidv7_like, "time", actor, action, purpose, resource_type,
        resource_id, subject, outcome, request, leaf, entry
        FROM ledger.entry, gen_random_uuid() AS uuidv7_like WHERE tenant_id = $1 AND seq = 0""",
        tenant,
    )
    async with streaming(database, file_sink(), home=tmp_path):
        await until(lambda: log(tenant, 2) in taken(tmp_path).logs)
    got = taken(tmp_path)
    assert got.whole(log(tenant), 8)
    assert [(one["log"], one["from"], one["to"]) for one in got.gaps] == [(log(tenant), 8, size)]


async def test_a_database_that_went_back_is_told_and_sent_again(
    database: Database, tenant: UUID, other_tenant: UUID, tmp_path: Path
) -> None:
    reports = Reports()
    async with streaming(database, file_sink(), home=tmp_path, reports=reports):
        size = await fill(database, tenant, 10)
        gone = await fill(database, other_tenant, 10)
        await until(lambda: taken(tmp_path).whole(log(tenant), size))
        await until(lambda: taken(tmp_path).whole(log(other_tenant), gone))
        await change(database, "DELETE FROM ledger.entry WHERE tenant_id = $1 AND seq >= 6", tenant)
        await change(
            database,
            """UPDATE ledger.log AS l SET size = 6, leaf = e.leaf FROM ledger.entry AS e
            WHERE l.tenant_id = $1 AND e.tenant_id = $1 AND e.seq = 5""",
            tenant,
        )
        await change(database, "DELETE FROM ledger.log WHERE tenant_id = $1", other_tenant)
        await until(lambda: len(taken(tmp_path).gaps) == 2)
        await until(lambda: [seq for _, seq, *_ in taken(tmp_path).entries].count(5) == 3)
    told = {(one["log"], one["from"], one["to"], one["reason"]) for one in taken(tmp_path).gaps}
    assert told == {(log(tenant), 6, size, "rewound"), (log(other_tenant), 0, gone, "rewound")}
    assert reports.kinds == [Kind.LEDGER_SINK_GAP] * 2


async def test_what_a_restore_lost_is_told(database: Database, tenant: UUID, tmp_path: Path) -> None:
    told = event(
        action=Action.LEDGER_RESTORED,
        resource_type="log",
        resource_id=str(tenant),
        span=(1, 7, 9),
        subject=None,
        count=None,
    )
    async with streaming(database, file_sink(), home=tmp_path), writing(database) as writer:
        await writer.append(tenant, [prepare(told)])
        await until(lambda: taken(tmp_path).gaps)
    (lost,) = taken(tmp_path).gaps
    assert (lost["log"], lost["from"], lost["to"], lost["reason"]) == (log(tenant), 7, 9, "restored")


class Faulty:
    """A receiver of a test: it breaks, or hangs, as often as it is told to."""

    def __init__(self, *, breaks: int = 0, hangs: bool = False) -> None:
        self.breaks = breaks
        self.hangs = hangs
        self.begun = 0
        self.got: list[Record] = []

    async def send(self, batch: Sequence[Record]) -> None:
        self.begun += 1
        if self.hangs:
            await asyncio.sleep(60)
        if self.begun <= self.breaks:
            raise ValueError(batch)
        self.got += batch


@asynccontextmanager
async def delivering(database: Database, faulty: Faulty, reports: Reports, *, pace: Pace = PACE) -> AsyncIterator[None]:
    """Run one stream to a receiver of a test."""
    async with database.pool("wk_ledger", limits=Limits(max_size=2)) as pool:
        desk = Desk(pool, sink=file_sink(), holder=uuid7(), hold=pace.hold)
        stream = Stream(file_sink(), desk=desk, receiver=faulty, clock=SystemClock(), reporter=reports, pace=pace)
        running = asyncio.create_task(stream.run())
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await stream.stop()


async def test_a_fault_of_ours_is_a_code_and_the_stream_goes_on(
    database: Database, tenant: UUID, capsys: pytest.CaptureFixture[str]
) -> None:
    size, faulty = await fill(database, tenant, 3), Faulty(breaks=2)
    async with delivering(database, faulty, Reports()):
        await until(lambda: len(faulty.got) == size)
    said = capsys.readouterr()
    assert "ValueError" in said.out + said.err
    assert '"prev"' not in said.out + said.err


async def test_a_delivery_that_hangs_is_left_after_its_time(database: Database, tenant: UUID) -> None:
    size, hanging = await fill(database, tenant, 3), Faulty(hangs=True)
    async with delivering(database, hanging, Reports(), pace=replace(PACE, send=0.2)):
        await until(lambda: hanging.begun == 2)
        async with database.connect("wk_ledger") as connection:
            assert (await standings(connection))["lines"].error == "timed-out"
        hanging.hangs = False
        await until(lambda: len(hanging.got) == size)


async def test_a_gap_is_reported_once_however_often_it_is_sent(database: Database, tenant: UUID) -> None:
    size, faulty, reports = await fill(database, tenant, 5), Faulty(breaks=3), Reports()
    await change(database, "DELETE FROM ledger.entry WHERE tenant_id = $1 AND seq < 2", tenant)
    async with delivering(database, faulty, reports, pace=replace(PACE, failing=60.0)):
        await until(lambda: len(faulty.got) == 1 + size - 2)
    assert reports.kinds == [Kind.LEDGER_SINK_GAP]


async def test_a_database_that_refuses_is_tried_again(database: Database, tenant: UUID) -> None:
    size, faulty = await fill(database, tenant, 3), Faulty()
    await change(database, "ALTER FUNCTION ledger.sink_take(text, uuid, double precision) RENAME TO gone")
    async with delivering(database, faulty, Reports()):
        await asyncio.sleep(0.3)
        assert not faulty.got
        await change(database, "ALTER FUNCTION ledger.gone(text, uuid, double precision) RENAME TO sink_take")
        await until(lambda: len(faulty.got) == size)


async def test_how_a_sink_stands_is_told_and_measured(database: Database, tenant: UUID) -> None:
    size, faulty = await fill(database, tenant, 3), Faulty(hangs=True)
    async with database.connect("wk_ledger") as connection:
        (before,) = await states(connection, [file_sink()])
        assert (before.kind, before.logs, before.entries, before.held) == ("file", 1, size, False)
        assert before.fine
        assert not msgspec.structs.replace(before, lag_seconds=901.0).fine
        async with delivering(
            database, faulty, Reports(), pace=replace(PACE, send=0.2, longest_pause=5.0, first_pause=5.0)
        ):
            await until(lambda: failing(database))
            (during,) = await states(connection, [file_sink()])
    assert (during.error, during.failures, during.fine) == ("timed-out", 1, False)
    lines = metrics([during]).splitlines()
    assert f'wellkeep_ledger_sink_lag_entries{{sink="lines"}} {size}' in lines
    assert len(lines) == 9
    assert not metrics([])


async def failing(database: Database) -> object:
    async with database.connect() as connection:
        return await connection.fetchval("SELECT failures FROM ledger.sink")


async def test_a_batch_costs_the_same_whatever_the_backlog(database: Database, tenant: UUID) -> None:
    """A sink that was away for a month catches up batch by batch; none of them reads the month."""
    for _ in range(8):
        size = await fill(database, tenant, 500)
    read = {}
    async with database.connect() as connection:
        await connection.execute("ANALYZE ledger.entry")
        for ahead in (size, 60, size):  # the first one plans as well
            (found,) = json.loads(await connection.fetchval(_EXPLAINED, tenant, ahead, 50))
            assert found["Plan"]["Actual Rows"] == 50
            read[ahead] = found["Plan"]["Shared Hit Blocks"] + found["Plan"]["Shared Read Blocks"]
    assert read[size] < read[60] + 20


_EXPLAINED = """
EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)
SELECT seq FROM ledger.sink_entries(ARRAY[ROW($1::uuid, 1, 0, $2::bigint, NULL)]::ledger.sink_run[], $3)
"""


async def test_only_the_ledger_s_role_moves_cursors(database: Database) -> None:
    for role in ("wk_app", "wk_auth", "wk_jobs"):
        async with database.connect(role) as connection:
            for call in ("ledger.sink_states()", "ledger.sink_lag('x', NULL, true)", "ledger.sink_open('x', false)"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.fetch(f"SELECT {call}")
    async with database.connect("wk_ledger") as connection:
        for table in ("ledger.sink", "ledger.sink_cursor", "ledger.entry"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch(f"SELECT FROM {table}")


async def test_a_turn_that_is_lost_moves_no_cursor(database: Database, tenant: UUID) -> None:
    """In the middle of a delivery, and between delivery and cursor: somebody else has it by now."""
    await fill(database, tenant, 3)
    async with database.pool("wk_ledger", limits=Limits(max_size=2)) as pool:
        hanging = Faulty(hangs=True)
        desk = Desk(pool, sink=file_sink(), holder=uuid7(), hold=5)
        stream = Stream(file_sink(), desk=desk, receiver=hanging, clock=SystemClock(), reporter=Reports(), pace=PACE)
        running = asyncio.create_task(stream.run())
        await until(lambda: hanging.begun)
        await change(
            database,
            "UPDATE ledger.sink SET holder = $1, held_until = clock_timestamp() + interval '1 minute'",
            PLATFORM_TENANT,
        )
        assert not await desk.moved([])
        await asyncio.sleep(PACE.keep * 2)
        begun = hanging.begun
        hanging.hangs = False
        await asyncio.sleep(PACE.wait * 3)
        assert (hanging.begun, hanging.got) == (begun, [])
        assert await desk.failed("timed-out", pause=1) == 0.0
        await change(database, "UPDATE ledger.sink SET held_until = clock_timestamp()")
        await until(lambda: hanging.got)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_turn_lost_between_delivery_and_cursor_is_left(database: Database, tenant: UUID) -> None:
    size = await fill(database, tenant, 3)

    class Thief(Faulty):
        async def send(self, batch: Sequence[Record]) -> None:
            await super().send(batch)
            if self.begun == 1:
                await change(database, "UPDATE ledger.sink SET holder = $1", PLATFORM_TENANT)

    thief = Thief()
    async with database.pool("wk_ledger", limits=Limits(max_size=2)) as pool:
        desk = Desk(pool, sink=file_sink(), holder=uuid7(), hold=1)
        stream = Stream(file_sink(), desk=desk, receiver=thief, clock=SystemClock(), reporter=Reports(), pace=PACE)
        running = asyncio.create_task(stream.run())
        await until(lambda: len(thief.got) == 2 * size)  # at least once: again, when the other's turn is over
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_database_that_is_away_is_waited_for(database: Database, tenant: UUID, tmp_path: Path) -> None:
    async with streaming(database, file_sink(), home=tmp_path):
        size = await fill(database, tenant, 3)
        await until(lambda: taken(tmp_path).whole(log(tenant), size))
        for _ in range(3):
            await change(
                database,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'wk_ledger' AND datname = $1",
                database.name,
            )
            await asyncio.sleep(0.1)
        size = await fill(database, tenant, 3)
        await until(lambda: taken(tmp_path).whole(log(tenant), size))
        await change(database, "ALTER FUNCTION ledger.sink_release(text, uuid) RENAME TO gone")
    assert taken(tmp_path).check() == size


async def test_a_fault_beside_the_delivery_does_not_end_the_stream(
    database: Database, tenant: UUID, tmp_path: Path
) -> None:
    class Broken(SystemClock):
        broken = True

        def monotonic(self) -> float:
            if self.broken:
                raise ZeroDivisionError
            return super().monotonic()

    clock, size = Broken(), await fill(database, tenant, 3)
    async with streaming(database, file_sink(), home=tmp_path, clock=clock):
        await asyncio.sleep(0.3)
        assert not taken(tmp_path).entries
        clock.broken = False
        await until(lambda: taken(tmp_path).whole(log(tenant), size))


async def test_appends_take_no_longer_while_a_sink_hangs(
    database: Database, tenant: UUID, tmp_path: Path, certificates: Certificates, noted: Noted
) -> None:
    """Measured one after the other: without a sink, and with one that reads nothing and one that never answers."""

    async def appended(count: int) -> float:
        times = []
        async with writing(database) as writer:
            await writer.append(tenant, prepared(1))
            for _ in range(count):
                began = asyncio.get_running_loop().time()
                await writer.append(tenant, prepared(5))
                times.append(asyncio.get_running_loop().time() - began)
        return sorted(times)[count // 2]

    async def never_read(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(60)

    give_token(tmp_path)
    alone = await appended(150)
    async with (
        serving(never_read, certificates.context()) as deaf,
        serving(silent, certificates.context()) as dumb,
    ):
        places = place(deaf, certificates, name="deaf"), place(dumb, certificates, name="dumb")
        sinks = SyslogSink(name="deaf", place="deaf"), HecSink(name="dumb", place="dumb", token="token")
        async with streaming(database, *sinks, home=tmp_path, egress=way_out(noted, *places, limits=OUT)):
            await until(lambda: deaf.connections and dumb.connections)
            beside = await appended(150)
    assert beside < 5 * alone + 0.01, (alone, beside)
