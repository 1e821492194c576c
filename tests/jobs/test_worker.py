"""The queue: jobs of one tenant, taken over from the dead, and no text of an exception in any table."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from uuid import UUID

import asyncpg
import pytest

from database import Database
from jobs.killing import in_a_fork
from wellkeep.base.errors import Conflict, DatabaseUnavailable, TenantContextRefused
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.db.connection import Connection
from wellkeep.db.pool import Pool
from wellkeep.db.queue import QueueBook, QueuedJob, Stopping, enqueue
from wellkeep.jobs.handlers import GiveUp, Handler, Periodic
from wellkeep.jobs.queuer import MAX_STARTS, settings
from wellkeep.jobs.worker import Pace, Worker

CANARY = "Canary-999-12-3456"
PACE = Pace(poll=0.2, takeover=1.0, leave=5.0, reconnect=0.1)
WAIT = 10.0


@pytest.fixture
async def app(database: Database) -> AsyncIterator[Pool]:
    """Open wk_app's pool."""
    async with database.pool("wk_app") as pool:
        yield pool


@asynccontextmanager
async def working(
    database: Database,
    handlers: dict[str, Handler],
    *,
    periodic: tuple[Periodic, ...] = (),
    give_up: dict[str, GiveUp] | None = None,
) -> AsyncIterator[list[tuple[str, str]]]:
    """Run a worker; yields what it reported."""
    reported: list[tuple[str, str]] = []

    async def connect() -> Connection:
        made: Connection = await asyncpg.connect(**database.endpoint("wk_jobs").arguments())
        return made

    async with database.pool("wk_jobs") as pool:
        worker = Worker(
            connect=connect,
            book=QueueBook(pool),
            handlers=handlers,
            give_up=give_up,
            periodic=periodic,
            pace=PACE,
            report=lambda what, kind: reported.append((what, kind)),
        )
        await worker.start()
        try:
            yield reported
        finally:
            await worker.stop()
            assert not worker.running


async def put(app: Pool, tenant: UUID, kind: str, resource: UUID | None = None) -> bool:
    """Enqueue a job of the tenant's."""
    async with app.tenant_transaction(tenant=tenant) as connection:
        return await enqueue(connection, kind=kind, resource=resource or uuid7())


async def until(true: Callable[[], bool]) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(WAIT):
        while not true():  # noqa: ASYNC110 -- what is waited for is in the database
            await asyncio.sleep(0.02)


async def tables(database: Database) -> str:
    """Return everything that the queue's tables hold, as text."""
    async with database.connect() as connection:
        texts = [
            str(await connection.fetchval(f"SELECT json_agg(t)::text FROM queue.{name} t"))  # noqa: S608
            for name in ("job", "pgqueuer", "pgqueuer_log", "pgqueuer_schedules", "pgqueuer_statistics")
        ]
    return "\n".join(texts)


async def test_a_job_is_its_tenants_and_runs_once(database: Database, app: Pool, tenant: UUID) -> None:
    seen: list[QueuedJob] = []

    async def note(job: QueuedJob, _stopping: Stopping) -> None:
        seen.append(job)

    resource = uuid7()
    assert await put(app, tenant, "note", resource)
    assert not await put(app, tenant, "note", resource)
    async with working(database, {"note": note}):
        await until(lambda: bool(seen))
    assert [(job.tenant, job.resource, job.starts) for job in seen] == [(tenant, resource, 1)]


def _both_failed(text: str) -> bool:
    """Say whether two jobs ended as failed, each with the code of its own error, in the runner's tables too."""
    return text.count('"failed"') >= 4 and '"error":"internal"' in text and '"error":"conflict"' in text


async def test_no_text_of_an_exception_reaches_a_table(database: Database, app: Pool, tenant: UUID) -> None:
    async def fail(_job: QueuedJob, _stopping: Stopping) -> None:
        try:
            raise ValueError(CANARY)  # noqa: TRY301 -- a chain of two is what is tried
        except ValueError as error:
            raise RuntimeError(CANARY) from error

    async def refuse(_job: QueuedJob, _stopping: Stopping) -> None:
        raise Conflict(CANARY)

    async with working(database, {"fail": fail, "refuse": refuse}) as reported:
        await put(app, tenant, "fail")
        await put(app, tenant, "refuse")
        async with asyncio.timeout(WAIT):
            while not _both_failed(text := await tables(database)):  # noqa: ASYNC110 -- as above
                await asyncio.sleep(0.05)
    assert CANARY not in text
    assert ("fail", "RuntimeError") in reported


async def test_what_passes_is_tried_again_and_a_loop_is_held(database: Database, app: Pool, tenant: UUID) -> None:
    tries: list[int] = []

    async def flaky(job: QueuedJob, _stopping: Stopping) -> None:
        tries.append(job.starts)
        if len(tries) < 2:
            raise DatabaseUnavailable

    await put(app, tenant, "flaky")
    await put(app, tenant, "loop")
    async with database.connect() as connection:
        await connection.execute("UPDATE queue.job SET starts = $1 WHERE kind = 'loop'", MAX_STARTS)

    async def never(_job: QueuedJob, _stopping: Stopping) -> None:
        tries.append(-1)

    async with working(database, {"flaky": flaky, "loop": never}):
        await until(lambda: len(tries) == 2)
        async with asyncio.timeout(WAIT):
            while "too-many-starts" not in await tables(database):  # noqa: ASYNC110 -- as above
                await asyncio.sleep(0.05)
    assert tries == [1, 2]


async def test_whoever_a_held_job_stands_for_is_told_even_where_the_first_try_fails(
    database: Database, app: Pool, tenant: UUID
) -> None:
    told: list[tuple[str, str]] = []

    async def fall(_job: QueuedJob, _stopping: Stopping) -> None:
        raise RuntimeError(CANARY)

    async def note(job: QueuedJob, error: str) -> None:
        told.append((job.kind, error))
        if len(told) == 1:
            raise DatabaseUnavailable

    await put(app, tenant, "fall")
    await put(app, tenant, "loop")
    async with database.connect() as connection:
        await connection.execute("UPDATE queue.job SET starts = $1 WHERE kind = 'loop'", MAX_STARTS)
    async with working(database, {"fall": fall, "loop": fall}, give_up={"fall": note, "loop": note}):
        await until(lambda: {("fall", "internal"), ("loop", "too-many-starts")} <= set(told) and len(told) > 2)
        async with asyncio.timeout(WAIT):
            while (text := await tables(database)).count('"failed"') < 4:  # noqa: ASYNC110 -- as above
                await asyncio.sleep(0.05)
    assert CANARY not in text


@pytest.mark.fault
async def test_the_job_of_a_worker_killed_is_taken_over(database: Database, app: Pool, tenant: UUID) -> None:
    async def die(_job: QueuedJob, _stopping: Stopping) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    async def doomed() -> None:
        async with working(database, {"heavy": die}):
            await asyncio.sleep(WAIT)

    await put(app, tenant, "heavy")
    assert in_a_fork(doomed) == -signal.SIGKILL
    seen: list[int] = []

    async def note(job: QueuedJob, _stopping: Stopping) -> None:
        seen.append(job.starts)

    async with working(database, {"heavy": note}):
        await until(lambda: bool(seen))
    assert seen == [2]


async def test_a_worker_whose_connection_is_cut_goes_on(database: Database, app: Pool, tenant: UUID) -> None:
    seen: list[UUID | None] = []

    async def note(job: QueuedJob, _stopping: Stopping) -> None:
        seen.append(job.resource)

    async with working(database, {"note": note}):
        await put(app, tenant, "note")
        await until(lambda: len(seen) == 1)
        async with database.connect() as connection:
            await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'wk_jobs'")
        await put(app, tenant, "note")
        await until(lambda: len(seen) == 2)


async def test_the_clock_enqueues_for_the_deployment(database: Database) -> None:
    seen: list[QueuedJob] = []

    async def tick(job: QueuedJob, _stopping: Stopping) -> None:
        seen.append(job)

    async with working(database, {"tick": tick}, periodic=(Periodic("tick", "* * * * * *"),)):
        await until(lambda: bool(seen))
    assert seen[0].tenant == PLATFORM_TENANT


async def test_the_application_reaches_the_queue_through_its_function_alone(
    database: Database, app: Pool, tenant: UUID, other_tenant: UUID
) -> None:
    await put(app, tenant, "note")
    async with app.tenant_transaction(tenant=other_tenant) as connection:
        assert await connection.fetch("SELECT * FROM queue.job") == []
    for statement in (
        "SELECT * FROM queue.pgqueuer",
        "SELECT queue.add($1, $1, 'note', $1)",
        "SELECT queue.enqueue_periodic($1, 'note')",
    ):
        arguments = (tenant,) if "$1" in statement else ()
        with pytest.raises(TenantContextRefused):
            async with app.tenant_transaction(tenant=tenant) as connection:
                await connection.fetch(statement, *arguments)


def test_the_migration_is_what_the_installed_release_declares() -> None:
    from pgqueuer.adapters.persistence.schema_ddl import render_install  # noqa: PLC0415 -- only this test needs it

    text = (files("wellkeep.db.migrations") / "0008_queue.up.sql").read_text("utf-8")
    ours = text.split("-- begin pgqueuer\n")[1].split("-- end pgqueuer")[0]
    theirs = render_install(settings(), create_schema=False)
    statements = [line for line in theirs.replace("OR REPLACE ", "").splitlines() if not line.startswith("--")]
    assert ours.replace(" SET search_path = pg_catalog, pg_temp;", ";").split() == " ".join(statements).split()
