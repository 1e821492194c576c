"""`wellkeep setup`: the first run in the browser, and then the deployment that it made is served."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import typer

from wellkeep.api.listeners import ListenerServer, bind_one
from wellkeep.api.setup.application import SetupApplication
from wellkeep.api.setup.door import Door
from wellkeep.api.setup.journey import Journey, Order
from wellkeep.assembly.database import Database
from wellkeep.assembly.first_people import Administrator, FirstPeople
from wellkeep.assembly.first_run import FirstRun, Stage
from wellkeep.assembly.home import Home
from wellkeep.assembly.installation import initialise
from wellkeep.assembly.key_recovery import recovery_shares
from wellkeep.assembly.runtime import open_runtime
from wellkeep.base.errors import Misconfigured
from wellkeep.base.secrets import Secret
from wellkeep.base.settings import Settings
from wellkeep.cli import prove
from wellkeep.cli.console import err, out
from wellkeep.cli.demo import usual_or_free
from wellkeep.cli.local import left_as_found, once_more, run, started
from wellkeep.cli.options import Directory, locate
from wellkeep.cli.setup_sample import load_sample
from wellkeep.keys.recovery import Split
from wellkeep.prove.deployment import Unseen
from wellkeep.prove.evidence import Evidence
from wellkeep.prove.probe import Probe
from wellkeep.prove.server import PROGRAM
from wellkeep.web.trust import WORDS

_ADDRESS = "127.0.0.1:{}"


def setup(
    directory: Directory = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the first run's own server, on loopback")] = 0,
    claim: Annotated[list[str] | None, typer.Option(help="Try these alone at first [default: all]")] = None,
) -> None:
    """Make a deployment in the browser: keys, first administrator, first proof; then serve it.

    It prints an address with a one-time secret. Interrupted, it goes on where it was when it is started again.

    Example: wellkeep setup /srv/wellkeep
    """
    home = locate(directory)
    run(_whole(home, port, prove.choose(claim or [])))
    sys.stdout.flush()
    os.execv(sys.executable, [*PROGRAM, "serve", str(home.path)])  # noqa: S606 -- ours, as `serve` demands to start


async def _whole(home: Home, port: int, probes: list[Probe]) -> None:
    journey = Journey(FirstRun(home))
    async with _shown(journey, port), left_as_found(home):
        if journey.run.stage is Stage.BEGIN:
            await journey.work(lambda order: _begin(journey, order), until=Stage.SHARES)
        if journey.run.stage < Stage.PROOF:
            async with started(home) as (settings, database):
                await _people(journey, settings, database)
        async with started(home, apart=True) as (settings, database):
            await journey.work(lambda order: _last(journey, order, settings, database, probes), until=Stage.OVER)


@asynccontextmanager
async def _shown(journey: Journey, port: int) -> AsyncIterator[None]:
    """Serve the pages meanwhile, on loopback alone, and print where."""
    try:
        bound = bind_one(_ADDRESS.format(port))
    except OSError:
        raise Misconfigured("This port is taken. Name another: --port") from None
    door = Door(_ADDRESS.format(bound.getsockname()[1]))
    server = ListenerServer(SetupApplication(journey, door), tls=None)
    serving = asyncio.create_task(server.serve([bound]))
    await server.listening.wait()
    out.print("Open this in a browser on this machine; it is good once:")
    out.print(f"  {door.link.reveal()}", markup=False, soft_wrap=True)
    try:
        yield
    finally:
        server.should_exit = True
        await serving
        bound.close()


async def _begin(journey: Journey, order: Order) -> None:
    """Make the deployment, as `init` does."""
    run_, form = journey.run, order.form
    home, dsn = run_.home, form.get("dsn", "").strip()
    split = form.get("split", "")
    Split.parse(split)
    environment, host = form.get("environment", ""), form.get("host", "").strip()
    if environment not in {"development", "staging", "production"} or not host:
        raise Misconfigured("Choose what it is for, and the name that clients will use")
    run_.note(split=split)
    async with once_more(home) as announce:
        await initialise(
            home,
            environment=environment,
            host=host,
            listen=usual_or_free(),
            administrator_dsn=Secret(dsn) if dsn else None,
            announce=announce,
            tell=journey.told.append,
        )
    run_.note(Stage.SHARES)


async def _people(journey: Journey, settings: Settings, database: Database) -> None:
    """Show the shares, and make the first administrator."""
    run_ = journey.run
    async with open_runtime(run_.home, settings, database) as runtime:
        people = FirstPeople(run_, runtime)
        await people.take_unseen_key()
        if run_.stage is Stage.SHARES:
            split = Split.parse(run_.noted.split)
            journey.shares = recovery_shares(run_.home, settings, split)
            if not journey.shares:
                run_.note(Stage.ADMINISTRATOR)  # the root key is not in a file: there is nothing to share

        async def do(order: Order) -> None:
            await _person(journey, people, order)
            journey.planned = people.planned

        await journey.work(do, until=Stage.PROOF)


async def _person(journey: Journey, people: FirstPeople, order: Order) -> None:
    form, ip = order.form, order.ip
    match order.stage:
        case Stage.SHARES:
            journey.shares = ()
            journey.run.note(Stage.ADMINISTRATOR)
        case Stage.ADMINISTRATOR:
            who = {name: form.get(name, "").strip() for name in ("tenant", "name", "email")}
            await people.appoint(Administrator(password=Secret(form.get("password", "")), **who), ip=ip)
        case Stage.FACTOR if "password" in form:
            await people.sign_in(Secret(form["password"]), ip=ip)
        case Stage.FACTOR:
            await people.confirm(form.get("code", "").replace(" ", ""), ip=ip)
        case _:
            journey.run.note(Stage.PROOF)


async def _last(journey: Journey, order: Order, settings: Settings, database: Database, probes: list[Probe]) -> None:
    """Load the sample, try the claims, or end the run."""
    run_ = journey.run
    if order.stage is Stage.PROVEN:
        run_.end()
        return
    journey.told.clear()
    try:
        if order.form.get("sample") == "yes" and not run_.noted.sample:
            journey.told.append("Loading made-up patients into sample-clinic")
            await load_sample(run_.home)
            run_.note(sample=True)
        evidence = await prove.gather(run_.home.path, probes, quiet=True, seen=lambda one: _tell(journey, one))
    except Unseen as unseen:
        raise Misconfigured(f"This did not work: {unseen}. Try it again.") from None
    await prove.keep(run_.home, settings, database, evidence)
    run_.note(Stage.PROVEN)
    err.print(f"  {len(evidence)} claims were tried.")


def _tell(journey: Journey, one: Evidence) -> None:
    journey.told.append(f"{WORDS[one.state]}: {one.claim}, {one.seconds:.1f} s")
