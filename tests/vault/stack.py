"""The whole house over a test's own database: real pools, gate, ledger and keys, and callers of several roles."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from database import Database
from local_keys import a_root, epoch_keys
from wellkeep.access.roles import load
from wellkeep.base.clock import SystemClock
from wellkeep.base.ids import uuid7
from wellkeep.base.principal import ActorType, AuthMethod, Principal
from wellkeep.base.purpose import Purpose
from wellkeep.db.connection import Record
from wellkeep.db.pool import Limits, Pool
from wellkeep.findings.findings import Finding, Findings
from wellkeep.gate.acts import Caller
from wellkeep.gate.gate import Gate
from wellkeep.gate.policy import Policy
from wellkeep.keys.cursors import Cursors
from wellkeep.keys.deployment import provision_deployment
from wellkeep.keys.kms import OneRoot
from wellkeep.keys.ring import KeyRing
from wellkeep.ledger.seal import SealKey
from wellkeep.ledger.writer import LedgerWriter
from wellkeep.vault.declaration import CollectionSpec, FieldSpec
from wellkeep.vault.services import Vault, build_vault


def field(name: str, kind: str = "string", **more: object) -> FieldSpec:
    """Return a declared field; `cls` is its class (phi)."""
    field_class = str(more.pop("cls", "phi"))
    return FieldSpec(name=name, type=kind, field_class=field_class, **more)  # type: ignore[arg-type]


PATIENTS = CollectionSpec(
    name="patients",
    subject="self",
    fields=(
        field("ssn", cls="pii", index="unique", normaliser="digits", group="identifier"),
        field("family", cls="pii", index="prefix", normaliser="name"),
        field("phone", cls="pii", index="exact", normaliser="phone", group="contact"),
        field("birth_date", "date", cls="pii", index="exact"),
        field("gender", cls="pii", enum=("male", "female", "other")),
        field("note", "text"),
        field("resource", "json"),
        field("weight", "decimal"),
        field("visits", "integer"),
        field("active", "boolean", cls="plain"),
        field("seen", "datetime"),
        field("balance", "decimal", cls="pii", group="financial"),
    ),
)
NOTES = CollectionSpec(name="notes", subject="required", fields=(field("text", "text"), field("code", index="exact")))
WARDS = CollectionSpec(
    name="wards", subject="none", fields=(field("title", required=True, index="unique"), field("beds", "integer"))
)


@dataclass
class Stack:
    """Everything, and one tenant with its callers."""

    database: Database
    pool: Pool
    gate: Gate
    writer: LedgerWriter
    keyring: KeyRing
    findings: Findings
    vault: Vault
    clock: SystemClock
    tenant: UUID
    other: UUID

    def caller(self, role: str, *, tenant: UUID | None = None, purpose: Purpose | None = None) -> Caller:
        """Return a caller of that role, in the first tenant unless told otherwise."""
        principal = Principal(
            type=ActorType.API_KEY,
            id=str(uuid7()),
            tenant=tenant or self.tenant,
            roles=(role,),
            method=AuthMethod.API_KEY,
        )
        return Caller(principal, purpose, uuid7(), "192.0.2.7", "0123456789abcdef")

    @property
    def administrator(self) -> Caller:
        return self.caller("administrator")

    @property
    def clinician(self) -> Caller:
        return self.caller("clinician")

    @property
    def integration(self) -> Caller:
        return self.caller("integration")

    @property
    def billing(self) -> Caller:
        return self.caller("billing")

    async def declare(self, *specs: CollectionSpec, tenant: UUID | None = None) -> None:
        """Make these collections."""
        for spec in specs:
            await self.vault.collections.create(self.caller("administrator", tenant=tenant), spec)

    async def entries(self, action: str) -> list[Record]:
        """Return the ledger's entries of that action in the first tenant, oldest first."""
        query = (
            "SELECT e.*, convert_from(e.entry, 'UTF8') AS text FROM ledger.entry e "
            "WHERE tenant_id = $1 AND action = $2 ORDER BY epoch, seq"
        )
        return await self.as_superuser(query, self.tenant, action)

    async def as_superuser(self, query: str, *arguments: object) -> list[Record]:
        """Run SQL that no policy binds: what an attacker with the database would do."""
        async with self.database.connect() as connection:
            await connection.execute("SET session_replication_role = replica")
            return list(await connection.fetch(query, *arguments))

    async def found(self) -> Sequence[Finding]:
        """Return the tenant's open findings."""
        await self.findings.flush()
        return await self.findings.list(self.tenant)


@asynccontextmanager
async def open_stack(database: Database, tenant: UUID, other: UUID) -> AsyncIterator[Stack]:
    """Open the house and provide both tenants with keys."""
    clock = SystemClock()
    kms, epochs = a_root(), epoch_keys(1)
    async with database.connect("wk_migrate") as connection:
        deployment = await provision_deployment(connection, OneRoot(kms))
    limits = Limits(min_size=0, max_size=8, acquire_seconds=60.0, connect_seconds=60.0)
    async with database.pool("wk_app", limits=limits) as pool, database.pool("wk_ledger") as ledger_pool:
        findings = Findings(pool, clock=clock)
        seal = SealKey(deployment.seal.key_id, deployment.seal.secret)
        writer = LedgerWriter(ledger_pool, host="localhost", seal_key=seal, clock=clock, reporter=findings)
        await writer.start()
        gate = Gate(pool=pool, writer=writer, policy=Policy(load()), findings=findings, clock=clock)
        keyring = KeyRing(pool, OneRoot(kms), epochs, findings, clock=clock)
        vault = build_vault(
            gate=gate, keyring=keyring, cursors=Cursors(deployment.cursors), findings=findings, clock=clock
        )
        for one in (tenant, other):
            await keyring.provision(one)
        try:
            yield Stack(database, pool, gate, writer, keyring, findings, vault, clock, tenant, other)
        finally:
            await gate.stop()
            await keyring.stop()
            await writer.stop()
            await findings.stop()
