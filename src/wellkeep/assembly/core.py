"""The core of one process: pools, findings, ledger writer, key ring and gate, wired and checked before anything acts.

Start-up stops where the schema, the database's owner, the server's settings or the keys are not what they must be.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

from wellkeep.access import roles
from wellkeep.assembly.anchors import open_anchoring
from wellkeep.assembly.database import Database
from wellkeep.assembly.egress_denials import open_egress
from wellkeep.assembly.home import Home
from wellkeep.assembly.kms import open_epochs, open_kms
from wellkeep.assembly.recording import Recording, open_recording
from wellkeep.assembly.seal_keys import seal_keys
from wellkeep.base.clock import Clock, SystemClock
from wellkeep.base.settings import Settings
from wellkeep.db import deployment, guard, migrate
from wellkeep.db.context import ContextKey
from wellkeep.db.pool import Limits, Pool
from wellkeep.db.provision import connected
from wellkeep.egress.egress import Egress
from wellkeep.findings.findings import Findings
from wellkeep.gate.gate import Gate
from wellkeep.gate.policy import Policy
from wellkeep.keys.deployment import DeploymentKeys, load_deployment
from wellkeep.keys.kms import EpochKeys, Kms
from wellkeep.keys.reasons import Reasons
from wellkeep.keys.ring import KeyRing
from wellkeep.ledger.anchors.anchoring import Anchoring
from wellkeep.ledger.checkpoint import CheckpointSigner
from wellkeep.ledger.checkpointer import Checkpointer
from wellkeep.ledger.memory import Memory
from wellkeep.ledger.seal import SealKey
from wellkeep.ledger.setback import Setback
from wellkeep.ledger.writer import LedgerWriter

_APP_CONNECTIONS = 8
_FEW_CONNECTIONS = 3


@dataclass(frozen=True, slots=True)
class Core:
    """What every service of one process stands on."""

    settings: Settings
    clock: Clock
    app: Pool
    auth: Pool
    ledger: Pool
    findings: Findings
    keys: DeploymentKeys
    ring: KeyRing
    kms: Kms
    epochs: EpochKeys
    recording: Recording
    reasons: Reasons
    gate: Gate
    egress: Egress
    anchoring: Anchoring
    context_key: ContextKey

    @property
    def writer(self) -> LedgerWriter:
        """What chains entries."""
        return self.recording.writer

    @property
    def checkpointer(self) -> Checkpointer:
        """What signs the logs that grew."""
        return self.recording.checkpointer

    @property
    def checkpoint_signers(self) -> tuple[CheckpointSigner, ...]:
        """The keys that checkpoints were signed with, the newest first."""
        return self.recording.signers

    @property
    def memory(self) -> Memory:
        """What this host remembers of the ledger."""
        return self.recording.memory

    @property
    def setbacks(self) -> list[Setback]:
        """In what the database is behind what this host remembers; empty in a core that serves."""
        return self.recording.setbacks

    @property
    def checkpoint_signer(self) -> CheckpointSigner:
        """The key that signs checkpoints now."""
        return self.checkpoint_signers[0]

    @property
    def seal_keys(self) -> dict[str, SealKey]:
        """Every SEAL key that verification may meet, by id."""
        return seal_keys(self.keys)

    @property
    def seal_key(self) -> SealKey:
        """The key that seals now."""
        return self.seal_keys[self.keys.seal.key_id]


async def check(database: Database, settings: Settings, *, migrated: bool = True) -> None:
    """Raise Misconfigured unless the server is fit, the schema is this program's, and the database is ours."""
    async with connected(database.endpoint("wk_app")) as connection:
        await guard.assert_fit(connection)
        await guard.assert_bound(connection)
        if migrated:
            await migrate.assert_current(connection)
        await deployment.assert_belongs(connection, deployment=settings.deployment, environment=settings.environment)


@asynccontextmanager
async def open_core(
    home: Home, settings: Settings, database: Database, *, behind: bool = False, migrated: bool = True
) -> AsyncIterator[Core]:
    """Open everything, and close it in the reverse order: the writer empties itself before its pool goes.

    Raises LedgerBehind where the database's ledger is not what this host remembers of it. With `behind` it is opened
    all the same, to be looked at: `setbacks` says what is wrong, and nothing is appended. Without `migrated` the schema
    may be an older program's, or a newer's: good for entering that it is about to be changed.
    """
    home.check()
    await check(database, settings, migrated=migrated)
    clock = SystemClock()
    kms = open_kms(home, settings)
    async with connected(database.endpoint("wk_app")) as connection:
        keys = await load_deployment(connection, kms)
    async with AsyncExitStack() as stack:
        context_key = ContextKey(keys.context.secret)
        pools = await _open_pools(stack, database, clock, context_key)
        findings = Findings(pools.app, clock=clock)
        stack.push_async_callback(findings.stop)
        epochs = open_epochs(home, settings)
        ring = KeyRing(pools.app, kms, epochs, findings, clock=clock)
        stack.push_async_callback(ring.stop)
        keyed = _Keyed(keys, ring, kms, epochs, context_key)
        recording = await open_recording(
            home, settings, pools.ledger, keys=keys, clock=clock, findings=findings, behind=behind
        )
        await recording.start(stack)
        yield _wired(
            stack, home, settings, clock=clock, pools=pools, findings=findings, keyed=keyed, recording=recording
        )


def _wired(
    stack: AsyncExitStack,
    home: Home,
    settings: Settings,
    *,
    clock: Clock,
    pools: _Pools,
    findings: Findings,
    keyed: _Keyed,
    recording: Recording,
) -> Core:
    """Put what acts upon what keeps and records."""
    policy = Policy(roles.load())
    gate = Gate(pool=pools.app, writer=recording.writer, policy=policy, findings=findings, clock=clock)
    stack.push_async_callback(gate.stop)
    egress = open_egress(stack, home=home, settings=settings, gate=gate, findings=findings, clock=clock)
    anchoring = open_anchoring(
        home, settings, pools.ledger, egress=egress, signers=recording.signers, reporter=findings, clock=clock
    )
    return Core(
        settings=settings,
        clock=clock,
        findings=findings,
        recording=recording,
        reasons=Reasons(keyed.keys.reasons),
        gate=gate,
        egress=egress,
        anchoring=anchoring,
        **pools._asdict(),
        **keyed._asdict(),
    )


class _Keyed(NamedTuple):
    """Keys, and what opens them."""

    keys: DeploymentKeys
    ring: KeyRing
    kms: Kms
    epochs: EpochKeys
    context_key: ContextKey


class _Pools(NamedTuple):
    """Connections of each role that a process uses."""

    app: Pool
    auth: Pool
    ledger: Pool


async def _open_pools(stack: AsyncExitStack, database: Database, clock: Clock, context_key: ContextKey) -> _Pools:
    return _Pools(
        app=await stack.enter_async_context(_pool(database, "wk_app", clock, _APP_CONNECTIONS, context_key)),
        auth=await stack.enter_async_context(_pool(database, "wk_auth", clock)),
        ledger=await stack.enter_async_context(_pool(database, "wk_ledger", clock)),
    )


def _pool(
    database: Database, role: str, clock: Clock, most: int = _FEW_CONNECTIONS, context_key: ContextKey | None = None
) -> Pool:
    limits = Limits(min_size=1, max_size=most)
    return Pool(database.endpoint(role), context_key=context_key, clock=clock, limits=limits)
