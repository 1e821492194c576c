"""The core of one process: pools, findings, ledger writer, key ring and gate, wired and checked before anything acts.

Start-up stops where the schema, the database's owner, the server's settings or the keys are not what they must be.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from wellkeep.access import roles
from wellkeep.assembly.anchors import open_anchoring
from wellkeep.assembly.database import Database
from wellkeep.assembly.egress_denials import open_egress
from wellkeep.assembly.home import Home
from wellkeep.assembly.kms import open_epochs, open_kms
from wellkeep.assembly.recording import open_recording
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
    writer: LedgerWriter
    checkpointer: Checkpointer
    checkpoint_signers: tuple[CheckpointSigner, ...]
    memory: Memory
    setbacks: list[Setback]
    reasons: Reasons
    gate: Gate
    egress: Egress
    anchoring: Anchoring
    context_key: ContextKey

    @property
    def checkpoint_signer(self) -> CheckpointSigner:
        """The key that signs checkpoints now."""
        return self.checkpoint_signers[0]

    @property
    def seal_keys(self) -> dict[str, SealKey]:
        """Every SEAL key that verification may meet, by id."""
        return {key.key_id: SealKey(key_id=key.key_id, secret=key.secret) for key in self.keys.seals}


async def check(database: Database, settings: Settings) -> None:
    """Raise Misconfigured unless the server is fit, the schema is this program's, and the database is ours."""
    async with connected(database.endpoint("wk_app")) as connection:
        await guard.assert_fit(connection)
        await guard.assert_bound(connection)
        await migrate.assert_current(connection)
        await deployment.assert_belongs(connection, deployment=settings.deployment, environment=settings.environment)


@asynccontextmanager
async def open_core(home: Home, settings: Settings, database: Database, *, behind: bool = False) -> AsyncIterator[Core]:
    """Open everything, and close it in the reverse order: the writer empties itself before its pool goes.

    Raises LedgerBehind where the database's ledger is not what this host remembers of it. With `behind` it is opened
    all the same, to be looked at: `setbacks` says what is wrong, and nothing is appended.
    """
    home.check()
    await check(database, settings)
    clock = SystemClock()
    kms, epochs = open_kms(home, settings), open_epochs(home, settings)
    async with connected(database.endpoint("wk_app")) as connection:
        keys = await load_deployment(connection, kms)
    context_key = ContextKey(keys.context.secret)
    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(_pool(database, "wk_app", clock, _APP_CONNECTIONS, context_key))
        auth = await stack.enter_async_context(_pool(database, "wk_auth", clock))
        ledger = await stack.enter_async_context(_pool(database, "wk_ledger", clock))
        findings = Findings(app, clock=clock)
        stack.push_async_callback(findings.stop)
        ring = KeyRing(app, kms, epochs, findings, clock=clock)
        stack.push_async_callback(ring.stop)
        recording = await open_recording(
            home, settings, ledger, keys=keys, clock=clock, findings=findings, behind=behind
        )
        if not recording.setbacks:
            await recording.checkpointer.start()
            stack.push_async_callback(recording.checkpointer.stop)
            await recording.writer.start()
            stack.push_async_callback(recording.writer.stop)
        writer = recording.writer
        gate = Gate(pool=app, writer=writer, policy=Policy(roles.load()), findings=findings, clock=clock)
        stack.push_async_callback(gate.stop)
        egress = open_egress(stack, home=home, settings=settings, gate=gate, findings=findings, clock=clock)
        yield Core(
            settings=settings,
            clock=clock,
            app=app,
            auth=auth,
            ledger=ledger,
            findings=findings,
            keys=keys,
            ring=ring,
            kms=kms,
            epochs=epochs,
            writer=writer,
            checkpointer=recording.checkpointer,
            checkpoint_signers=recording.signers,
            memory=recording.memory,
            setbacks=recording.setbacks,
            reasons=Reasons(keys.reasons),
            gate=gate,
            egress=egress,
            anchoring=open_anchoring(
                home,
                settings,
                ledger,
                egress=egress,
                signers=recording.signers,
                reporter=findings,
                clock=clock,
            ),
            context_key=context_key,
        )


def _pool(
    database: Database, role: str, clock: Clock, most: int = _FEW_CONNECTIONS, context_key: ContextKey | None = None
) -> Pool:
    limits = Limits(min_size=1, max_size=most)
    return Pool(database.endpoint(role), context_key=context_key, clock=clock, limits=limits)
