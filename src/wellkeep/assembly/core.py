"""The core of one process: pools, findings, ledger writer, key ring and gate, wired and checked before anything acts.

Start-up stops where the schema, the database's owner, the server's settings or the keys are not what they must be.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

from wellkeep.access import roles
from wellkeep.access.attributes import StoredAttributes
from wellkeep.assembly.anchors import open_anchoring
from wellkeep.assembly.database import Database
from wellkeep.assembly.egress_denials import HeldDenials, record_denials, way_out
from wellkeep.assembly.egress_watch import follow_list
from wellkeep.assembly.home import Home
from wellkeep.assembly.kms import open_epochs, open_roots
from wellkeep.assembly.limiting import Limiting, open_limiting
from wellkeep.assembly.recording import Recording, open_recording
from wellkeep.assembly.seal_keys import seal_keys
from wellkeep.base.clock import Clock, SystemClock
from wellkeep.base.process import close_to_others
from wellkeep.base.settings import Settings
from wellkeep.db import deployment, guard, migrate
from wellkeep.db.context import ContextKey
from wellkeep.db.pool import Limits, Pool
from wellkeep.db.provision import connected
from wellkeep.egress.egress import Egress
from wellkeep.findings.findings import Findings
from wellkeep.gate.gate import Gate
from wellkeep.gate.policy import Policy
from wellkeep.keys.calling import Counted
from wellkeep.keys.deployment import DeploymentKeys, load_deployment
from wellkeep.keys.kms import EpochKeys
from wellkeep.keys.reasons import Reasons
from wellkeep.keys.ring import KeyRing
from wellkeep.keys.roots import PinnedRoots
from wellkeep.keys.signals import Signals
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
    signals: Signals
    roots: PinnedRoots
    epochs: EpochKeys
    recording: Recording
    reasons: Reasons
    gate: Gate
    limiting: Limiting
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
    close_to_others()
    home.check()
    await check(database, settings, migrated=migrated)
    clock = SystemClock()
    denials = HeldDenials()
    egress = way_out(home, settings, denials)
    looks = Counted()
    roots = open_roots(home, settings, egress=egress, clock=clock, counted=looks)
    epochs = open_epochs(home, settings, egress=egress, clock=clock, counted=looks)
    async with connected(database.endpoint("wk_app")) as connection:
        keys = await load_deployment(connection, roots)
    async with AsyncExitStack() as stack:
        context_key = ContextKey(keys.context.secret)
        pools = await _open_pools(stack, database, clock, context_key)
        findings = Findings(pools.app, clock=clock)
        stack.push_async_callback(findings.stop)
        ring = KeyRing(pools.app, roots, epochs, findings, clock=clock)
        ring.calls.include(looks)
        stack.push_async_callback(ring.stop)
        signals = await _opened_signals(stack, database, ring, clock=clock, migrated=migrated)
        keyed = _Keyed(keys, ring, signals, roots, epochs, context_key)
        recording = await open_recording(
            home, settings, pools.ledger, keys=keys, clock=clock, findings=findings, behind=behind
        )
        await recording.start(stack)
        parts = _Parts(pools, findings, keyed, recording, egress)
        core = _wired(stack, home, settings, parts, clock=clock)
        await record_denials(stack, denials, gate=core.gate, findings=findings, clock=clock)
        if migrated:
            await follow_list(stack, pools.app, egress, clock=clock)
        yield core


def _wired(stack: AsyncExitStack, home: Home, settings: Settings, parts: _Parts, *, clock: Clock) -> Core:
    """Put what acts upon what keeps and records."""
    pools, findings, keyed, recording, egress = parts
    policy = Policy(roles.load())
    limiting = open_limiting(settings, findings=findings, clock=clock)
    gate = Gate(
        pool=pools.app,
        writer=recording.writer,
        policy=policy,
        findings=findings,
        clock=clock,
        attributes=StoredAttributes(pool=pools.app),
        budget=limiting.records,
    )
    stack.push_async_callback(gate.stop)
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
        limiting=limiting,
        egress=egress,
        anchoring=anchoring,
        **pools._asdict(),
        **keyed._asdict(),
    )


class _Keyed(NamedTuple):
    """Keys, and what opens them."""

    keys: DeploymentKeys
    ring: KeyRing
    signals: Signals
    roots: PinnedRoots
    epochs: EpochKeys
    context_key: ContextKey


class _Parts(NamedTuple):
    """What keeps and records, and the way out."""

    pools: _Pools
    findings: Findings
    keyed: _Keyed
    recording: Recording
    egress: Egress


class _Pools(NamedTuple):
    """Connections of each role that a process uses."""

    app: Pool
    auth: Pool
    ledger: Pool


async def _opened_signals(
    stack: AsyncExitStack, database: Database, ring: KeyRing, *, clock: Clock, migrated: bool
) -> Signals:
    """Return the ear of this process, listening where the schema is known to have what it listens to."""
    limits = Limits(min_size=0, max_size=1)
    pool = await stack.enter_async_context(
        Pool(database.endpoint("wk_app"), context_key=None, clock=clock, limits=limits)
    )
    signals = Signals(pool, ring, clock=clock)
    if migrated:
        await signals.start()
        stack.push_async_callback(signals.stop)
    return signals


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
