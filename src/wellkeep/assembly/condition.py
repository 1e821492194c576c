"""How a deployment stands, for those who run it: what it is made of, what is fit for production, and what is not.

Rules: shown to the platform's own people alone, at the gate and on record; looking changes nothing; a look that does
not end within its time is a refusal and not an empty list. The threat is a shortcoming that somebody could have seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final, Protocol

from wellkeep.assembly.database import Database
from wellkeep.assembly.diagnosis import diagnose
from wellkeep.assembly.home import Home
from wellkeep.assembly.verdict import Verdict
from wellkeep.base.errors import Unavailable
from wellkeep.base.permissions import Permission
from wellkeep.base.settings import Settings
from wellkeep.db import migrate
from wellkeep.db.pool import Pool
from wellkeep.gate.acts import Act, Caller
from wellkeep.gate.gate import Gate
from wellkeep.ledger.actions import Action

_ACT: Final = Act(Permission.DEPLOYMENT_READ, Action.DEPLOYMENT_READ, "deployment")
_SECONDS: Final = 20.0


class Parts(Protocol):
    """What the service stands on, and how it stands (`assembly.readiness`)."""

    async def check(self) -> Mapping[str, bool]:
        """Return each part by name, and whether it holds."""
        ...

    async def findings(self) -> Mapping[str, int]:
        """Return how many findings are open in the deployment, by severity."""
        ...

    def keys(self) -> Mapping[str, int]:
        """Return how many tenants' keys stand how in this process."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """How it stands at a moment. `parts` are those of `/readyz`, `keys` how many tenants' keys stand how.

    `roots` are the drivers that root keys are kept by, `listening` the addresses by listener, `migrations` the newest
    first.
    """

    version: str
    environment: str
    host: str
    embedded: bool
    parts: Mapping[str, bool]
    keys: Mapping[str, int]
    findings: Mapping[str, int]
    listening: Mapping[str, str]
    migrations: Sequence[migrate.Status]


class Conditions:
    """Says it."""

    def __init__(
        self, *, gate: Gate, pool: Pool, parts: Parts, home: Home, settings: Settings, database: Database
    ) -> None:
        """Look at the deployment of `home`, through this process."""
        self._gate = gate
        self._pool = pool
        self._parts = parts
        self._home = home
        self._settings = settings
        self._database = database

    async def read(self, caller: Caller) -> Condition:
        """Return how it stands. Raises Forbidden, DatabaseUnavailable."""
        await self._enter(caller)
        settings = self._settings
        async with self._pool.connection() as connection:
            migrations = await migrate.status(connection)
        return Condition(
            version=version("wellkeep"),
            environment=settings.environment,
            host=settings.host,
            embedded=self._database.embedded is not None,
            parts=await self._parts.check(),
            keys=self._parts.keys(),
            findings=await self._parts.findings(),
            listening={
                "public": settings.listen.public,
                "administration": settings.listen.admin,
                "plain": settings.listen.plain,
            },
            migrations=migrations[::-1],
        )

    async def examine(self, caller: Caller) -> list[Verdict]:
        """Return what stands between the deployment and production, as `wellkeep doctor` says it.

        Raises Forbidden, Unavailable where it took too long.
        """
        await self._enter(caller)
        try:
            async with asyncio.timeout(_SECONDS):
                return await diagnose(self._home, self._settings, self._database)
        except TimeoutError:
            raise Unavailable("Looking took too long; try wellkeep doctor at the machine") from None

    async def _enter(self, caller: Caller) -> None:
        decision = await self._gate.decide(caller, _ACT)
        async with self._gate.reading(decision):  # where it is asked once more who this is
            pass
        await self._gate.disclose(decision, count=1)
