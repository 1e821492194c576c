"""The services of one process, wired over the core: what the HTTP edge, the command line and the probes are handed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from wellkeep.access.api_keys import ApiKeys
from wellkeep.access.authenticator import Authenticator
from wellkeep.access.tenants import Tenants
from wellkeep.assembly.core import Core, open_core
from wellkeep.assembly.database import Database
from wellkeep.assembly.disclosures import Disclosures
from wellkeep.assembly.home import Home
from wellkeep.assembly.ledger_proofs import LedgerProofs
from wellkeep.assembly.ledger_search import LedgerSearch
from wellkeep.assembly.readiness import Readiness
from wellkeep.base.settings import Settings
from wellkeep.findings.findings import Findings
from wellkeep.keys.cursors import Cursors
from wellkeep.vault.batch import Batches
from wellkeep.vault.collections import Collections
from wellkeep.vault.context import Context
from wellkeep.vault.exports import Exports
from wellkeep.vault.imports import Imports
from wellkeep.vault.records import Records
from wellkeep.vault.replay import Replay
from wellkeep.vault.search import Search
from wellkeep.vault.services import Vault, build_vault
from wellkeep.vault.subjects import Subjects
from wellkeep.vault.upsert import Upserts


@dataclass(frozen=True, slots=True)
class Runtime:
    """Everything that a process offers."""

    core: Core
    authenticator: Authenticator
    tenants: Tenants
    api_keys: ApiKeys
    collections: Collections
    subjects: Subjects
    records: Records
    batches: Batches
    upserts: Upserts
    search: Search
    replay: Replay
    imports: Imports
    exports: Exports
    vault_context: Context
    ledger_search: LedgerSearch
    ledger_proofs: LedgerProofs
    disclosures: Disclosures
    findings: Findings
    readiness: Readiness


@asynccontextmanager
async def open_runtime(home: Home, settings: Settings, database: Database) -> AsyncIterator[Runtime]:
    """Open the services of this process over a database that runs, and close them again."""
    async with AsyncExitStack() as stack:
        core = await stack.enter_async_context(open_core(home, settings, database))
        authenticator = await _authenticator(core, stack)
        cursors = Cursors(core.keys.cursors)
        vault = _vault(core, cursors)
        yield Runtime(
            core=core,
            authenticator=authenticator,
            tenants=Tenants(gate=core.gate, provision=core.ring.provision, environment=settings.environment),
            api_keys=ApiKeys(gate=core.gate, clock=core.clock, environment=settings.environment),
            collections=vault.collections,
            subjects=vault.subjects,
            records=vault.records,
            batches=vault.batches,
            upserts=vault.upserts,
            search=vault.search,
            replay=Replay(vault.context, pool=core.app),
            imports=Imports(context=vault.context),
            exports=Exports(context=vault.context),
            vault_context=vault.context,
            ledger_search=LedgerSearch(gate=core.gate, cursors=cursors),
            ledger_proofs=_proofs(core),
            disclosures=Disclosures(gate=core.gate, cursors=cursors, clock=core.clock),
            findings=core.findings,
            readiness=Readiness(core),
        )


def _vault(core: Core, cursors: Cursors) -> Vault:
    return build_vault(
        gate=core.gate,
        keyring=core.ring,
        cursors=cursors,
        findings=core.findings,
        clock=core.clock,
        region=core.settings.default_region,
    )


def _proofs(core: Core) -> LedgerProofs:
    return LedgerProofs(
        gate=core.gate,
        app=core.app,
        ledger=core.ledger,
        signers=core.checkpoint_signers,
        findings=core.findings,
        clock=core.clock,
    )


async def _authenticator(core: Core, stack: AsyncExitStack) -> Authenticator:
    made = Authenticator(
        auth_pool=core.auth,
        app_pool=core.app,
        gate=core.gate,
        findings=core.findings,
        clock=core.clock,
        environment=core.settings.environment,
    )
    await made.start()
    stack.push_async_callback(made.stop)
    return made
