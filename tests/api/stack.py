"""A whole process behind the edge, over the test's own PostgreSQL: nothing of ours is replaced."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from uuid import UUID

import httpx
import msgspec
import structlog

from database import ENVIRONMENT, Database
from local_keys import a_root, epoch_keys
from wellkeep.access.account_secrets import AccountSecrets
from wellkeep.access.accounts import Accounts, Site, open_accounts
from wellkeep.access.api_keys import ApiKeys
from wellkeep.access.approvals import Approvals
from wellkeep.access.attributes import StoredAttributes
from wellkeep.access.authenticator import Authenticator
from wellkeep.access.breached import Breached
from wellkeep.access.limits import RateLimits
from wellkeep.access.operators import this_operator
from wellkeep.access.roles import load
from wellkeep.access.single_sign_on import SingleSignOn, open_single_sign_on
from wellkeep.access.tenants import Tenants
from wellkeep.api import logs
from wellkeep.api.application import Application, build
from wellkeep.assembly.anchors import policy_of
from wellkeep.assembly.condition import Conditions
from wellkeep.assembly.desk import Desk
from wellkeep.assembly.disclosures import Disclosures
from wellkeep.assembly.egress_denials import HeldDenials
from wellkeep.assembly.egress_list import EgressList
from wellkeep.assembly.emergencies import Emergencies, open_emergencies
from wellkeep.assembly.erasing import Erasing
from wellkeep.assembly.home import Home
from wellkeep.assembly.key_rotations import KeyRotations
from wellkeep.assembly.ledger_proofs import LedgerProofs
from wellkeep.assembly.ledger_search import LedgerSearch
from wellkeep.assembly.limiting import open_limiting
from wellkeep.assembly.policies import Policies, open_policies
from wellkeep.assembly.publishing import Publishing
from wellkeep.assembly.reviewing import Reviewing, open_reviewing
from wellkeep.assembly.sweeping import Sweeper
from wellkeep.assembly.tombstones import Tombstones
from wellkeep.assembly.trials import Trials
from wellkeep.assembly.verdict import Verdict
from wellkeep.base.clock import Clock, SystemClock
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.key_settings import KeySettings
from wellkeep.base.permissions import Permission
from wellkeep.base.secrets import Secret
from wellkeep.base.settings import LedgerSettings, Settings
from wellkeep.db.pool import Pool
from wellkeep.egress.egress import Egress
from wellkeep.findings.findings import Findings
from wellkeep.gate import brake
from wellkeep.gate.acts import Caller
from wellkeep.gate.gate import Gate
from wellkeep.gate.policy import Policy
from wellkeep.keys.cursors import Cursors
from wellkeep.keys.deployment import DeploymentKey
from wellkeep.keys.kms import OneRoot
from wellkeep.keys.reasons import Reasons
from wellkeep.keys.ring import KeyRing
from wellkeep.ledger.anchors.anchoring import Anchoring
from wellkeep.ledger.anchors.book import AnchorBook
from wellkeep.ledger.checkpoint import CheckpointSigner
from wellkeep.ledger.checkpointer import Checkpointer
from wellkeep.ledger.memory import Memory
from wellkeep.ledger.seal import SealKey
from wellkeep.ledger.writer import LedgerWriter
from wellkeep.vault.batch import Batches
from wellkeep.vault.collections import Collections
from wellkeep.vault.context import Context
from wellkeep.vault.erasure import Erasures
from wellkeep.vault.erasure_certificate import Certificates
from wellkeep.vault.erasure_tenant import TenantErasures
from wellkeep.vault.exports import Exports
from wellkeep.vault.imports import Imports
from wellkeep.vault.records import Records
from wellkeep.vault.search import Search
from wellkeep.vault.services import build_vault
from wellkeep.vault.subjects import Subjects
from wellkeep.vault.upsert import Upserts

NOTES = {
    "name": "notes",
    "subject": "none",
    "fields": [
        {"name": "title", "type": "string", "class": "pii", "index": "exact", "group": "administrative"},
        {"name": "body", "type": "text", "class": "phi"},
        {"name": "mood", "type": "string", "class": "plain", "enum": ["good", "bad"]},
        {"name": "priority", "type": "integer", "class": "plain"},
    ],
}


@dataclass
class StackReadiness:
    """What /readyz asks in these tests: the parts as the test sets them."""

    parts: dict[str, bool] = field(default_factory=lambda: {"database": True, "keys": True, "ledger": True})

    async def check(self) -> Mapping[str, bool]:
        return self.parts

    async def findings(self) -> Mapping[str, int]:
        return {"high": 2}

    def keys(self) -> Mapping[str, int]:
        return {"ok": 3, "stale": 1, "locked": 0, "revoked": 0}

    async def metrics(self) -> str:
        return "wellkeep_more 1\n"


class StackConditions(Conditions):
    """As it is, but for the doctor: that one looks at a home, and these tests have none."""

    async def examine(self, caller: Caller) -> list[Verdict]:
        await self._enter(caller)
        return [Verdict("It is looked at", fine=True), Verdict("It is fit", fine=False, mend="Make it so")]


_Core: Any = SimpleNamespace
"""What of a core the rotations stand on."""


@dataclass
class Stack:
    """One process: its services, and what the test looks at from outside."""

    database: Database
    gate: Gate
    authenticator: Authenticator
    tenants: Tenants
    api_keys: ApiKeys
    accounts: Accounts
    single_sign_on: SingleSignOn
    collections: Collections
    subjects: Subjects
    records: Records
    batches: Batches
    upserts: Upserts
    search: Search
    imports: Imports
    exports: Exports
    ledger_search: LedgerSearch
    ledger_proofs: LedgerProofs
    checkpointer: Checkpointer
    disclosures: Disclosures
    emergencies: Emergencies
    reviewing: Reviewing
    erasing: Erasing
    egress_list: EgressList
    key_rotations: KeyRotations
    policies: Policies
    publishing: Publishing
    findings: Findings
    limits: RateLimits
    conditions: Conditions
    log: io.StringIO
    readiness: StackReadiness = field(default_factory=StackReadiness)

    @property
    def operator(self) -> Caller:
        """Whoever runs the tests, as the operator of this deployment."""
        return this_operator()

    @property
    def desk(self) -> Desk:
        """What people begin their day with."""
        return Desk(gate=self.gate, approvals=self.erasing.approvals, emergencies=self.emergencies)

    async def tenant(self, name: str) -> UUID:
        """Make a tenant with keys and a log."""
        return await self.tenants.create(self.operator, name=name)

    async def key(self, tenant: UUID, *roles: str, scopes: tuple[Permission, ...] | None = None) -> str:
        """Return a new key of `tenant`."""
        issued = await self.api_keys.create(self.operator, tenant=tenant, name="a-test", roles=roles, scopes=scopes)
        return issued.key.reveal()

    async def platform_key(self) -> str:
        """Return a key of the platform's administrator."""
        return await self.key(PLATFORM_TENANT, "administrator")

    def application(self, listener: str = "public") -> Application:
        """Return the application of a listener over this process."""
        return build(self, listener="admin" if listener == "admin" else "public")

    def client(self, key: str | None = None, *, listener: str = "public") -> httpx.AsyncClient:
        """Return a client that talks to a listener's application without a socket."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        transport = httpx.ASGITransport(self.application(listener).asgi)  # type: ignore[arg-type]
        return httpx.AsyncClient(transport=transport, base_url="https://localhost", headers=headers)


@contextmanager
def logged() -> Iterator[io.StringIO]:
    """Write this process's log into memory, and leave logging as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure(stream=stream)
    try:
        yield stream
    finally:
        structlog.reset_defaults()
        logging.captureWarnings(False)
        root.handlers[:] = handlers
        root.setLevel(level)


@asynccontextmanager
async def stack(
    database: Database, *, egress: Egress | None = None, clock: Clock | None = None
) -> AsyncIterator[Stack]:
    """Open everything that the edge stands on."""
    clock = clock or SystemClock()
    async with AsyncExitStack() as opened:
        opened.enter_context(patch.object(brake, "OLDEST", 60.0))  # a slow machine is none whose ledger is away
        app = await opened.enter_async_context(database.pool("wk_app"))
        auth = await opened.enter_async_context(database.pool("wk_auth"))
        ledger = await opened.enter_async_context(database.pool("wk_ledger"))
        findings = Findings(app)
        opened.push_async_callback(findings.stop)
        seal = SealKey("test", Secret(os.urandom(32)))
        signer = CheckpointSigner(Secret(os.urandom(32)))
        memory = Path(opened.enter_context(TemporaryDirectory())) / "remembered"
        checkpointer = Checkpointer(
            ledger,
            signer=signer,
            seal_keys={seal.key_id: seal},
            memory=Memory(memory),
            clock=clock,
            reporter=findings,
            period=0.05,
        )
        await checkpointer.start()
        opened.push_async_callback(checkpointer.stop)
        writer = LedgerWriter(
            ledger, host="localhost", seal_key=seal, clock=clock, reporter=findings, grown=checkpointer.grown
        )
        await writer.start()
        opened.push_async_callback(writer.stop)
        roots, epochs = OneRoot(a_root()), epoch_keys(1)
        ring = KeyRing(app, roots, epochs, findings, clock=clock)
        opened.push_async_callback(ring.stop)
        told = Settings(version=1, deployment=uuid7(), environment=ENVIRONMENT)
        limiting = open_limiting(told, findings=findings, clock=clock)
        gate = Gate(
            pool=app, writer=writer, policy=Policy(load()), findings=findings, clock=clock, budget=limiting.records
        )
        gate._attributes = StoredAttributes(pool=app)
        opened.push_async_callback(gate.stop)
        await ring.provision(PLATFORM_TENANT)
        cursors = Cursors([DeploymentKey(key_id="00" * 16, epoch=1, secret=Secret(os.urandom(32)))])
        vault = build_vault(gate=gate, keyring=ring, cursors=cursors, findings=findings, clock=clock)
        authenticator = Authenticator(
            auth_pool=auth, app_pool=app, gate=gate, findings=findings, clock=clock, environment=ENVIRONMENT
        )
        core = _Core(
            app=app,
            gate=gate,
            ring=ring,
            roots=roots,
            epochs=epochs,
            findings=findings,
            clock=clock,
            settings=SimpleNamespace(keys=KeySettings()),
        )
        accounts = open_accounts(
            gate=gate,
            auth_pool=auth,
            app_pool=app,
            findings=findings,
            failures=authenticator.failures,
            secrets=AccountSecrets((DeploymentKey("00", 1, Secret(os.urandom(32))),)),
            breached=Breached(),
            cost=12,
            site=Site(host="localhost"),
        )
        opened.callback(accounts.stop)
        proofs = LedgerProofs(gate=gate, app=app, ledger=ledger, signers=(signer,), findings=findings, clock=clock)
        anchoring = Anchoring(
            (),
            book=AnchorBook(ledger, host="localhost"),
            signers=(signer,),
            policy=policy_of(LedgerSettings()),
            reporter=findings,
            clock=clock,
        )
        log = opened.enter_context(logged())
        yield Stack(
            database=database,
            gate=gate,
            authenticator=authenticator,
            tenants=Tenants(gate=gate, provision=ring.provision, environment=ENVIRONMENT),
            api_keys=ApiKeys(gate=gate, clock=clock, environment=ENVIRONMENT),
            accounts=accounts,
            single_sign_on=open_single_sign_on(
                gate=gate, accounts=accounts, egress=egress or Egress(places=(), denials=HeldDenials()), clock=clock
            ),
            collections=vault.collections,
            subjects=vault.subjects,
            records=vault.records,
            batches=vault.batches,
            upserts=vault.upserts,
            search=vault.search,
            imports=Imports(context=vault.context),
            exports=Exports(context=vault.context),
            ledger_search=LedgerSearch(gate=gate, cursors=cursors),
            ledger_proofs=proofs,
            checkpointer=checkpointer,
            disclosures=Disclosures(gate=gate, cursors=cursors, clock=clock),
            key_rotations=KeyRotations(core, vault.context),
            policies=open_policies(core, vault.context),
            publishing=Publishing(
                Home(memory.parent),
                told,
                trials=Trials(gate=gate, app=app, clock=clock),
                proofs=proofs,
                anchoring=anchoring,
                findings=findings,
                clock=clock,
            ),
            reviewing=open_reviewing(gate=gate, findings=findings, clock=clock),
            emergencies=open_emergencies(vault.context, reasons=Reasons([_deployment_key()])),
            erasing=_erasing(gate, vault.context, app, memory),
            egress_list=_egress_list(gate),
            findings=findings,
            limits=limiting.requests,
            conditions=StackConditions(
                gate=gate,
                pool=app,
                parts=StackReadiness(),
                home=Home(memory.parent),
                settings=told,
                database=_Core(embedded=None),
            ),
            log=log,
        )


def _deployment_key() -> DeploymentKey:
    return DeploymentKey(key_id="00" * 16, epoch=1, secret=Secret(os.urandom(32)))


def _egress_list(gate: Gate) -> EgressList:
    clock = SystemClock()
    way_out = Egress(places=(), denials=HeldDenials())
    return EgressList(gate=gate, approvals=Approvals(gate=gate, clock=clock), egress=way_out, settled=(), clock=clock)


def _erasing(gate: Gate, context: Context, pool: Pool, memory: Path) -> Erasing:
    """Return what erases, with tombstones beside the ledger's memory."""
    clock = SystemClock()
    approvals = Approvals(gate=gate, clock=clock)
    stones = Tombstones(memory.with_name("erased"), keys=(SealKey("test", Secret(os.urandom(32))),))
    return Erasing(
        subjects=Erasures(context, remember=stones.note),
        tenants=TenantErasures(gate=gate, approvals=approvals, clock=clock, remember=stones.note),
        sweeper=Sweeper(pool),
        certificates=Certificates(gate=gate, clock=clock),
        approvals=approvals,
        tombstones=stones,
    )


async def entries(opened: Stack, tenant: UUID) -> list[dict[str, object]]:
    """Return the events of a tenant's log, oldest first."""
    async with opened.database.entered(tenant) as connection:
        rows = await connection.fetch("SELECT entry FROM ledger.entry ORDER BY seq")
    return [msgspec.json.decode(row["entry"])["event"] for row in rows]
