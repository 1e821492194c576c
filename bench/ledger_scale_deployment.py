"""The long ledger's deployment: its PostgreSQL, its pools, its writer with the checkpointer, and what is in it.

Everything is derived from numbers, so that a build that goes on, and a measure, know the same people.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import UUID

import msgspec

from ledger_recording import recording
from wellkeep.base.clock import SystemClock
from wellkeep.base.ids import uuid7
from wellkeep.base.principal import ActorType, AuthMethod
from wellkeep.base.purpose import Purpose
from wellkeep.base.secrets import Secret
from wellkeep.db import provision
from wellkeep.db.context import ContextKey
from wellkeep.db.embedded import EmbeddedServer
from wellkeep.db.pool import Limits, Pool
from wellkeep.ledger.actions import Action, Outcome
from wellkeep.ledger.checkpoint import CheckpointSigner
from wellkeep.ledger.checkpointer import Checkpointer
from wellkeep.ledger.event import Event, PreparedEvent, prepare
from wellkeep.ledger.seal import SealKey
from wellkeep.ledger.writer import LedgerWriter

HOST = "scale.bench.test"
ENVIRONMENT = "bench"
TENANTS, SHARE = 40, 0.82
"""The first tenant has this share of all entries; the others have less and less of the rest."""
PATIENTS, BUSY, NAMED = 30_000, 20, 100
"""In the first tenant; the busy ones are looked at again and again, the named ones stand in others' searches too."""
ACTORS = 300

SEAL = SealKey("scale", Secret(b"k" * 32))
SIGNER = CheckpointSigner(Secret(b"s" * 32))


def made_up(kind: str, number: int) -> UUID:
    """Return the id of somebody or something of that number."""
    return UUID(bytes=sha256(f"{kind}/{number}".encode()).digest()[:16], version=4)


def tenants() -> list[UUID]:
    """Return all tenants, the largest first."""
    return [made_up("tenant", number) for number in range(TENANTS)]


def _patient(chance: random.Random) -> int:
    luck = chance.random()
    if luck < 0.10:
        return chance.randrange(BUSY)
    if luck < 0.12:
        return PATIENTS + chance.randrange(NAMED)
    return BUSY + int(chance.random() ** 3 * (PATIENTS - BUSY))


class Accesses:
    """An endless row of accesses, each with its tenant; of the same seed the same ones, but for their ids."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - made-up accesses
        self._tenants = tenants()
        rest = [1 / place for place in range(1, TENANTS)]
        self._weights = [SHARE, *((1 - SHARE) * each / sum(rest) for each in rest)]

    def take(self, count: int, *, new_id: Callable[[], UUID] = uuid7) -> list[tuple[UUID, PreparedEvent]]:
        """Return the next `count` accesses."""
        chosen = self._chance.choices(self._tenants, self._weights, k=count)
        return [(tenant, prepare(self._event(new_id))) for tenant in chosen]

    def _event(self, new_id: Callable[[], UUID]) -> Event:
        chance = self._chance
        patient, luck = _patient(chance), chance.random()
        actor = made_up("actor", 0 if chance.random() < 0.4 else chance.randrange(ACTORS))
        action, outcome, purpose = Action.RECORD_READ, Outcome.AUTHORISED, Purpose.TREATMENT
        subjects: tuple[UUID, ...] = ()
        if luck < 0.05:
            action = Action.RECORD_SEARCH
            subjects = tuple({made_up("patient", PATIENTS + chance.randrange(NAMED)) for _ in range(8)})
        elif luck < 0.15:
            action = Action.RECORD_CHANGE
        elif luck < 0.17:
            action, outcome = Action.ACCESS_DENIED, Outcome.DENIED
        elif luck < 0.172:
            purpose = Purpose.BREAK_GLASS
        return Event(
            id=new_id(),
            action=action,
            actor_type=ActorType.PERSON,
            actor_id=str(actor),
            roles=("clinician",),
            method=AuthMethod.API_KEY,
            outcome=outcome,
            purpose=purpose,
            request=new_id(),
            resource_type="patient_contacts",
            resource_id=str(made_up("record", patient)),
            subject=None if outcome is Outcome.DENIED or subjects else made_up("patient", patient),
            subjects=subjects,
            rule="role:clinician/record:read",
        )


class Noted(msgspec.Struct):
    """What is remembered beside the database: its keys, how much was built, and of that how much is past."""

    deployment: UUID
    context_key: bytes
    wanted: int
    past: int = 0
    entries: int = 0
    verified: bool = False

    @staticmethod
    def read(home: Path) -> Noted | None:
        """Return what is noted in `home`."""
        path = home / "noted.json"
        return msgspec.json.decode(path.read_bytes(), type=Noted) if path.exists() else None

    @staticmethod
    def finished(home: Path) -> bool:
        """Say whether the deployment in `home` is built."""
        noted = Noted.read(home)
        return noted is not None and noted.verified

    def write(self, home: Path) -> None:
        """Write this down; a build that is stopped goes on from here."""
        staging = home / "noted.new"
        staging.touch(mode=0o600)
        staging.write_bytes(msgspec.json.encode(self))
        staging.replace(home / "noted.json")


class Deployment:
    """The database in `home`, started; a context manager that stops it."""

    def __init__(self, home: Path, *, wanted: int = 0) -> None:
        """Describe it; `wanted` entries where it is to be made."""
        home.mkdir(mode=0o711, parents=True, exist_ok=True)
        self.home = home
        self.noted = Noted.read(home) or Noted(uuid7(), secrets.token_bytes(32), wanted)
        self.clock = SystemClock()
        self.context_key = ContextKey(Secret(self.noted.context_key))
        self.server = EmbeddedServer(
            home, ENVIRONMENT, deployment=self.noted.deployment, settings={"max_connections": "50"}
        )

    def __enter__(self) -> Self:
        """Start PostgreSQL."""
        self.noted.write(self.home)
        self.server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop PostgreSQL."""
        self.server.stop()

    @property
    def postmaster(self) -> int:
        """PostgreSQL's first process."""
        pid = self.server.pid
        assert pid is not None
        return pid

    async def provision(self) -> None:
        """Bring the database to the program's schema."""
        await provision.provision(
            self.server.endpoint(database="postgres"),
            database="wellkeep",
            passwords=self.server.passwords,
            deployment_id=self.noted.deployment,
            environment=ENVIRONMENT,
            context_key=self.context_key,
        )

    def pool(self, role: str, *, size: int = 3) -> Pool:
        """Return a pool of `role`'s; what is built in bulk may take its time."""
        limits = Limits(min_size=1, max_size=size, command_seconds=60)
        context_key = self.context_key if role == "wk_app" else None
        return Pool(self.server.endpoint(role), context_key=context_key, limits=limits)

    @asynccontextmanager
    async def recording(self, *, signing: bool = True) -> AsyncIterator[tuple[LedgerWriter, Checkpointer]]:
        """Run a writer and the checkpointer beside it, as every process has them; unsigned where `signing` is false."""
        async with (
            self.pool("wk_ledger") as pool,
            recording(pool, self.home, host=HOST, seal=SEAL, signer=SIGNER, signing=signing) as both,
        ):
            yield both
