"""A new deployment, from nothing: settings, keys, database, certificate, first administrator.

Each step is idempotent and is skipped where it has been done, so an interrupted `init` is simply run again. A secret is
shown once, by the caller, and kept nowhere in clear but in the files of `secrets/`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from wellkeep.access.api_keys import IssuedKey
from wellkeep.access.bootstrap import bootstrap_administrator
from wellkeep.access.operators import this_operator
from wellkeep.assembly.certificate import ensure_certificate
from wellkeep.assembly.core import Core
from wellkeep.assembly.database import Database
from wellkeep.assembly.definitions import announce
from wellkeep.assembly.egress_denials import way_out
from wellkeep.assembly.home import Home
from wellkeep.assembly.key_recovery import recovery_shares, root_key_file
from wellkeep.assembly.kms import make_local_keys, open_roots
from wellkeep.assembly.runtime import open_runtime
from wellkeep.base.clock import SystemClock
from wellkeep.base.errors import Misconfigured
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.listen_settings import ListenSettings
from wellkeep.base.secrets import Secret
from wellkeep.base.settings import DatabaseSettings, Settings
from wellkeep.db import context, dsn
from wellkeep.db.context import ContextKey
from wellkeep.db.dsn import Announce, Endpoint
from wellkeep.db.provision import assert_usable, connected, provision
from wellkeep.gate.acts import Caller
from wellkeep.keys.deployment import provision_deployment
from wellkeep.keys.recovery import Split
from wellkeep.ledger.event import Action, Event, Outcome

_MAINTENANCE = "postgres"
"""The database that every server has, and that nobody keeps anything in."""

_EPOCH_UNUSED = "SELECT e FROM keys.current_epoch() AS e WHERE keys.epoch_rows(e) = 0"
_WATCH_FROM_NOW = "SELECT access.watch_from_now()"

_ANOTHER_DATABASE = {
    "embedded": "{} is of a deployment with its own PostgreSQL, which holds its data. Choose another directory.",
    "external": "{} names another database than this DSN. Where the deployment's database has moved, let the section "
    "[database] there say what the DSN says (host, port, name, sslrootcert). For a new one choose another directory.",
}

Tell = Callable[[str], None]
"""Told each step in words as it begins, for a progress display."""


@dataclass(frozen=True, slots=True)
class Installed:
    """What came of it. `administrator` is the first administrator's key, or None where there was one already.

    `shares` are the root key's, where this run made it; none where they were declined or a service holds it.
    """

    settings: Settings
    administrator: IssuedKey | None
    shares: tuple[Secret[str], ...] = ()


async def initialise(
    home: Home,
    *,
    environment: str,
    host: str = "localhost",
    listen: ListenSettings | None = None,
    administrator_dsn: Secret[str] | None = None,
    announce: Announce | None = None,
    recovery: Split | None = None,
    tell: Tell = lambda _: None,
) -> Installed:
    """Make the deployment in `home`, or finish one that was begun.

    `administrator_dsn` names an external PostgreSQL by an account that may create roles and databases; it is used here
    and not kept. `announce` says on record who logs in to do so, where there is a ledger already. `recovery` asks for
    shares of the root key. Raises Misconfigured where what exists belongs to something else.
    """
    tell("Directories and settings")
    administrator = None if administrator_dsn is None else replace(dsn.parse(administrator_dsn), announce=announce)
    where = DatabaseSettings()
    if administrator is not None:
        where = _external(administrator)
        await assert_usable(administrator.at(_MAINTENANCE), database=where.name)
    settings = _settings(home, environment, host, listen, where)
    tell("Root key and epoch key")
    before = root_key_file(home, settings)
    anew = before is not None and not before.exists()
    make_local_keys(home, settings)
    ensure_certificate(home, settings)
    database = Database(home, settings)
    database.announce = announce
    tell("PostgreSQL")
    database.start()
    await prepare_database(home, settings, database, administrator, tell)
    tell("Ledger and first administrator")
    issued = await _first_administrator(home, settings, database)
    made = anew or issued is not None  # an earlier run may have ended between the key and the administrator
    shares = recovery_shares(home, settings, recovery) if made and recovery is not None else ()
    return Installed(settings=settings, administrator=issued, shares=shares)


def _settings(
    home: Home, environment: str, host: str, listen: ListenSettings | None, where: DatabaseSettings
) -> Settings:
    home.make()
    if home.settings_file.exists():
        settings = home.settings()
        if settings.environment != environment:
            raise Misconfigured(
                f"{home.path} holds a deployment of the environment {settings.environment}. Choose another directory."
            )
        if where.mode == "external" and settings.database != where:
            raise Misconfigured(_ANOTHER_DATABASE[settings.database.mode].format(home.settings_file))
        return settings
    settings = Settings(
        version=1,
        deployment=uuid7(),
        environment=environment,
        host=host,
        database=where,
        listen=listen or ListenSettings(),
    )
    home.write_settings(settings)
    return settings


def _external(administrator: Endpoint) -> DatabaseSettings:
    """Return where the deployment's own roles find what `administrator` sets up: its database, unless it has none."""
    return DatabaseSettings(
        mode="external",
        host=administrator.host,
        port=administrator.port,
        name=DatabaseSettings().name if administrator.database == _MAINTENANCE else administrator.database,
        sslrootcert=dict(administrator.tls).get("sslrootcert"),
    )


async def prepare_database(
    home: Home, settings: Settings, database: Database, administrator: Endpoint | None, tell: Tell
) -> None:
    """Bring the database to this program's schema and keys. Raises Misconfigured."""
    tell("Roles, schema and the deployment's own keys")
    administrator = administrator or database.administrator()
    if administrator is None:
        raise Misconfigured("Name the external PostgreSQL by an administrator's DSN: wellkeep init --database DSN")
    await provision(
        administrator.at(_MAINTENANCE),
        database=settings.database.name,
        passwords=database.passwords,
        deployment_id=settings.deployment,
        environment=settings.environment,
    )
    roots = open_roots(home, settings, egress=way_out(home, settings), clock=SystemClock())
    async with connected(database.endpoint("wk_migrate")) as connection:
        keys = await provision_deployment(connection, roots)
        await context.install(connection, ContextKey(keys.context.secret))


async def _first_administrator(home: Home, settings: Settings, database: Database) -> IssuedKey | None:
    operator = this_operator()
    async with open_runtime(home, settings, database) as runtime:
        await _ensure_epoch(runtime.core)
        await runtime.core.ring.provision(PLATFORM_TENANT)
        if await runtime.api_keys.list(operator, tenant=PLATFORM_TENANT):
            return None
        await announce(runtime.core)
        issued = await bootstrap_administrator(runtime.api_keys, operator, tenant=PLATFORM_TENANT)
        await runtime.core.gate.enter(_made(operator), tenant=PLATFORM_TENANT)
    async with connected(database.endpoint("wk_migrate")) as connection:
        await connection.execute(_WATCH_FROM_NOW)
    return issued


async def _ensure_epoch(core: Core) -> None:
    """Make the current epoch's key while nothing is wrapped under it yet; later it is only ever rolled."""
    async with core.app.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
        epoch = await connection.fetchval(_EPOCH_UNUSED)
    if epoch is not None:
        await core.epochs.create(epoch)


def _made(caller: Caller) -> Event:
    """Return the entry that the deployment was made; what made it could not be entered before there was a ledger."""
    return Event(
        id=uuid7(),
        action=Action.DEPLOYMENT_INIT,
        actor_type=caller.principal.type,
        actor_id=caller.principal.id,
        method=caller.principal.method,
        outcome=Outcome.DONE,
        request=caller.request,
        resource_type="command",
        resource_id="init",
    )
