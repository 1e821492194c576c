"""What stands between a deployment and production: each shortcoming with what mends it, and nothing glossed over."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Awaitable
from datetime import timedelta
from pathlib import Path

import asyncpg
from cryptography import x509

from wellkeep.assembly.anchors import read_status
from wellkeep.assembly.database import Database
from wellkeep.assembly.diagnosis_keys import answering, stated
from wellkeep.assembly.diagnosis_volumes import volume_verdicts
from wellkeep.assembly.home import Home
from wellkeep.assembly.sinks import sink_states, what_to_do
from wellkeep.assembly.verdict import Verdict
from wellkeep.base.anchor_settings import FileAnchor
from wellkeep.base.apart import Apart
from wellkeep.base.clock import SystemClock
from wellkeep.base.errors import WellkeepError
from wellkeep.base.settings import PRODUCTION, Settings
from wellkeep.db import deployment, guard, migrate, schema, shared_functions
from wellkeep.db.connection import Connection
from wellkeep.db.provision import connected, unreachable
from wellkeep.egress.places import destinations, oddities

_SOON = timedelta(days=30)
_MOST_NAMED = 20


async def diagnose(home: Home, settings: Settings, database: Database) -> list[Verdict]:
    """Look at files, certificate, keys and database."""
    keys, volumes, anchors, sinks, stored = await asyncio.gather(
        answering(home, settings, database),
        volume_verdicts(home, settings),
        _anchors(home, settings, database),
        _sinks(settings, database),
        _database(settings, database),
    )
    return [
        *_files(home),
        _certificate(home, settings),
        *_certificates_of_hosts(home, settings),
        Verdict(
            "The environment is named production",
            settings.environment == PRODUCTION,
            "This deployment calls itself otherwise; make the real one with: wellkeep init --environment production",
        ),
        *stated(home, settings),
        keys,
        _memory(home, settings, database),
        *volumes,
        *anchors,
        *sinks,
        *_places(home, settings),
        *stored,
    ]


def _files(home: Home) -> list[Verdict]:
    try:
        home.check()
        secrets = Verdict(f"Only this account reads {home.secrets}", fine=True)
    except WellkeepError as error:
        secrets = Verdict(f"Only this account reads {home.secrets}", fine=False, mend=error.message)
    readable = [path.name for path in sorted(home.secrets.glob("*.key")) if stat.S_IMODE(path.stat().st_mode) & 0o077]
    return [
        secrets,
        Verdict("Key files have mode 0600", not readable, f"chmod 600 {home.secrets}/*.key"),
        Verdict(
            "wellkeep runs under an account of its own",
            os.geteuid() != 0,
            "Make one (adduser --system wellkeep), give it this directory, and start wellkeep as it",
        ),
    ]


_MOUNT_SECONDS = 2.0
_ANCHORED = "The ledger is anchored outside this machine"


async def _anchors(home: Home, settings: Settings, database: Database) -> list[Verdict]:
    """Tell whether enough anchors hold the root log's end, what is wrong with each, and which one lies here anyway."""
    named = settings.ledger.anchors
    if not named:
        mend = "Name one in [[ledger.anchors]]; until then a rewrite by whoever owns database and keys is not found"
        return [Verdict(_ANCHORED, fine=False, mend=mend)]
    beside = [one for one in named if isinstance(one, FileAnchor) and await _lies_here(home, home.resolve(one.path))]
    verdicts = [
        Verdict(
            f"The anchor {one.name} lies on another volume than the database",
            fine=False,
            mend=f"Mount one there that this machine's owner can't rewrite, or choose another kind: {one.path}",
        )
        for one in beside
    ]
    if await unreachable(database.endpoint("wk_ledger")) is not None:
        return [*verdicts, Verdict(_ANCHORED, fine=False, mend="The database does not say: see below")]
    try:
        return [*verdicts, *await _anchor_states(settings, database)]
    except WellkeepError:
        return [*verdicts, Verdict(_ANCHORED, fine=False, mend="The database does not say: wellkeep db migrate")]


async def _anchor_states(settings: Settings, database: Database) -> list[Verdict]:
    status = await read_status(settings, database.endpoint("wk_ledger"), now=SystemClock().now())
    few = f"{status.holding} of {len(status.anchors)} hold its end, {status.needed} must: wellkeep ledger anchors --now"
    verdicts = [Verdict(_ANCHORED, not status.stale and status.holding >= status.needed, few)]
    return verdicts + [
        Verdict(f"The anchor {one.name} takes checkpoints", fine=False, mend=f"{one.error}, {one.failures} in a row")
        for one in status.anchors
        if one.error is not None
    ]


def _memory(home: Home, settings: Settings, database: Database) -> Verdict:
    """Tell whether what this host remembers of the ledger would survive what takes the database back."""
    path = home.resolve(settings.ledger.memory)
    return Verdict(
        "What this host remembers of the ledger lies on another volume than the database",
        database.embedded is None or not _same_volume(home, path.parent),
        f"A snapshot that is put back takes both back: name another volume's file in ledger.memory (now {path})",
    )


async def _lies_here(home: Home, path: Path) -> bool:
    """Say whether an anchor's directory lies on the home's volume; a mount that hangs is told of by its anchor."""
    looking = Apart(name="doctor").submit(lambda: _same_volume(home, path))
    try:
        return await asyncio.wait_for(asyncio.wrap_future(looking), _MOUNT_SECONDS)
    except TimeoutError:
        return False


def _same_volume(home: Home, path: Path) -> bool:
    """Say whether a directory lies on the volume of the home, which holds an embedded database too."""
    try:
        return path.stat().st_dev == home.path.stat().st_dev
    except OSError:
        return False


def _places(home: Home, settings: Settings) -> list[Verdict]:
    """Tell each place that may be connected to, and what is odd about it; fewer are better, none is fine."""
    try:
        found = destinations(settings.egress.places, home=home.path)
    except WellkeepError as error:
        return [Verdict("The list of places to connect to holds together", fine=False, mend=error.message)]
    if not found:
        return [Verdict("Nothing outside is connected to: no place is listed", fine=True)]
    verdicts = []
    for one in found.values():
        odd = oddities(one)
        ports = ", ".join(map(str, one.ports))
        verdicts.append(
            Verdict(f"The place {one.name} ({one.host}, port {ports}) is listed narrowly", not odd, "; ".join(odd))
        )
    return verdicts


def _certificate(home: Home, settings: Settings) -> Verdict:
    what = "The TLS certificate is an authority's and lasts another month"
    path = home.resolve(settings.tls.certificate)
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return Verdict(what, fine=False, mend=f"There is no readable certificate at {path}")
    if path.with_suffix(".ca.crt").exists():
        return Verdict(
            what, fine=False, mend=f"It is the development certificate: put your own chain and key at {path}"
        )
    lasts = certificate.not_valid_after_utc - SystemClock().now()
    return Verdict(what, lasts > _SOON, f"It ends in {max(lasts.days, 0)} days: renew it")


def _certificates_of_hosts(home: Home, settings: Settings) -> list[Verdict]:
    """Tell of each host's own certificate whether it lasts."""
    verdicts = []
    for host in settings.tls.hosts or ():
        what, path = f"The TLS certificate of {host.name} lasts another month", home.resolve(host.certificate)
        try:
            lasts = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc - SystemClock().now()
        except (OSError, ValueError):
            verdicts.append(Verdict(what, fine=False, mend=f"There is no readable certificate at {path}"))
        else:
            verdicts.append(Verdict(what, lasts > _SOON, f"It ends in {max(lasts.days, 0)} days: renew it"))
    return verdicts


async def _sinks(settings: Settings, database: Database) -> list[Verdict]:
    """Tell whether each sink gets the ledger in time."""
    try:
        found = await sink_states(settings, database)
    except WellkeepError as error:
        return [Verdict("The ledger's sinks get it in time", fine=False, mend=error.message)]
    except asyncpg.PostgresError:
        return [
            Verdict("The ledger's sinks get it in time", fine=False, mend="The schema is not this program's: see below")
        ]
    return [Verdict(f"The sink {one.sink} gets the ledger in time", one.fine, what_to_do(one)) for one in found]


_SEES = "SELECT access.sees_sessions()"


async def _sessions(connection: Connection) -> Verdict:
    """Tell whether log-ins past the application can be seen: PostgreSQL shows sessions of others to few."""
    try:
        seen = bool(await connection.fetchval(_SEES))
    except asyncpg.PostgresError:
        return Verdict("Log-ins of administrators are seen", fine=False, mend="The schema does not say: see below")
    return Verdict(
        "Log-ins of administrators are seen",
        seen,
        "As a superuser: ALTER ROLE wk_owner INHERIT; GRANT pg_read_all_stats TO wk_owner; (or: wellkeep init)",
    )


async def _schema(connection: Connection) -> Verdict:
    """Tell what decides who sees what and is not as the migrations make it."""
    found = await schema.differences(connection)
    more = f"; and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return Verdict(
        "Tables, policies, triggers, functions and rights are as the migrations make them",
        not found,
        f"Find out who did this and put it back: {'; '.join(map(str, found[:_MOST_NAMED]))}{more}. "
        "See docs/how-to/verify-the-ledger.md",
    )


async def _functions(connection: Connection) -> Verdict:
    still_open = await shared_functions.still_open(connection)
    return Verdict(
        "PostgreSQL's functions that reach past the tenant wall are closed",
        not still_open,
        "As a superuser, in this database: REVOKE EXECUTE ON FUNCTION … FROM PUBLIC, for each signature of "
        f"{', '.join(still_open)}; advisory locks GRANTed to wk_migrate and wk_jobs",
    )


async def _database(settings: Settings, database: Database) -> list[Verdict]:
    verdicts = [
        Verdict(
            "PostgreSQL is run, replicated and backed up on its own",
            database.embedded is None,
            "The embedded one is for one machine: wellkeep init --database with the DSN of a PostgreSQL you look after",
        )
    ]
    if (said := await unreachable(database.endpoint("wk_app"))) is not None:
        mend = f"{said} Where the set-up did not come to its end, finish it: wellkeep init"
        return [*verdicts, Verdict("PostgreSQL answers", fine=False, mend=mend)]
    async with connected(database.endpoint("wk_app")) as connection:
        problems = await guard.problems(connection)
        verdicts += [Verdict("PostgreSQL's settings keep what is promised", fine=False, mend=one) for one in problems]
        if not problems:
            verdicts.append(Verdict("PostgreSQL's settings keep what is promised", fine=True))
        verdicts += [await _sessions(connection), await _functions(connection)]
        current = await _tried("The schema is this program's", migrate.assert_current(connection))
        belongs = await _tried(
            "The database is this deployment's",
            deployment.assert_belongs(connection, deployment=settings.deployment, environment=settings.environment),
        )
        verdicts += [current, belongs]
        if current.fine:
            verdicts.append(await _schema(connection))
    return verdicts


async def _tried(what: str, check: Awaitable[None]) -> Verdict:
    try:
        await check
    except WellkeepError as error:
        return Verdict(what, fine=False, mend=error.message)
    except asyncpg.PostgresError:
        return Verdict(what, fine=False, mend="It was never set up: wellkeep init")
    return Verdict(what, fine=True)
