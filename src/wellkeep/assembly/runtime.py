"""The services of one process, wired over the core: what the HTTP edge, the command line and the probes are handed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from wellkeep.access.accounts import Accounts
from wellkeep.access.api_keys import ApiKeys
from wellkeep.access.authenticator import Authenticator
from wellkeep.access.limits import RateLimits
from wellkeep.access.single_sign_on import SingleSignOn, open_single_sign_on
from wellkeep.access.tenants import Tenants
from wellkeep.assembly.accounts import accounts
from wellkeep.assembly.condition import Conditions
from wellkeep.assembly.core import Core, open_core
from wellkeep.assembly.database import Database
from wellkeep.assembly.desk import Desk
from wellkeep.assembly.disclosures import Disclosures
from wellkeep.assembly.egress_list import EgressList
from wellkeep.assembly.emergencies import Emergencies, open_emergencies
from wellkeep.assembly.erasing import Erasing, open_erasing, reconcile
from wellkeep.assembly.home import Home
from wellkeep.assembly.key_rotations import KeyRotations
from wellkeep.assembly.ledger_proofs import LedgerProofs
from wellkeep.assembly.ledger_search import LedgerSearch
from wellkeep.assembly.policies import Policies, open_policies
from wellkeep.assembly.publishing import Publishing
from wellkeep.assembly.readiness import Readiness
from wellkeep.assembly.reviewing import Reviewing, open_reviewing
from wellkeep.assembly.tombstones import FILE_NAME, Tombstones
from wellkeep.assembly.trials import Trials
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
    accounts: Accounts
    single_sign_on: SingleSignOn
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
    emergencies: Emergencies
    erasing: Erasing
    egress_list: EgressList
    erased_again: int
    reviewing: Reviewing
    key_rotations: KeyRotations
    policies: Policies
    publishing: Publishing
    findings: Findings
    readiness: Readiness
    conditions: Conditions

    @property
    def limits(self) -> RateLimits:
        """What counts the requests of this process, or of all workers."""
        return self.core.limiting.requests

    @property
    def desk(self) -> Desk:
        """What people begin their day with."""
        return Desk(gate=self.core.gate, approvals=self.erasing.approvals, emergencies=self.emergencies)


@asynccontextmanager
async def open_runtime(home: Home, settings: Settings, database: Database) -> AsyncIterator[Runtime]:
    """Open the services of this process over a database that runs, and close them again."""
    async with AsyncExitStack() as stack:
        core = await stack.enter_async_context(open_core(home, settings, database))
        authenticator = await _authenticator(core, stack)
        cursors, readiness = Cursors(core.keys.cursors), Readiness(core)
        vault, people = _vault(core, cursors), _people(home, core, authenticator, stack)
        erasing = open_erasing(core, vault.context, _tombstones(home, core))
        yield Runtime(
            core=core,
            authenticator=authenticator,
            tenants=Tenants(gate=core.gate, provision=core.ring.provision, environment=settings.environment),
            api_keys=ApiKeys(gate=core.gate, clock=core.clock, environment=settings.environment),
            accounts=people,
            single_sign_on=open_single_sign_on(gate=core.gate, accounts=people, egress=core.egress, clock=core.clock),
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
            emergencies=open_emergencies(vault.context, reasons=core.reasons),
            erasing=erasing,
            egress_list=_egress_list(core, erasing),
            erased_again=await reconcile(core, erasing),
            reviewing=open_reviewing(gate=core.gate, findings=core.findings, clock=core.clock),
            key_rotations=KeyRotations(core, vault.context),
            policies=open_policies(core, vault.context),
            publishing=_publishing(home, core),
            findings=core.findings,
            readiness=readiness,
            conditions=_conditions(home, database, core, readiness),
        )


def _conditions(home: Home, database: Database, core: Core, parts: Readiness) -> Conditions:
    return Conditions(gate=core.gate, pool=core.app, parts=parts, home=home, settings=core.settings, database=database)


def _people(home: Home, core: Core, authenticator: Authenticator, stack: AsyncExitStack) -> Accounts:
    made = accounts(home, core, authenticator)
    stack.callback(made.stop)
    return made


def _vault(core: Core, cursors: Cursors) -> Vault:
    return build_vault(
        gate=core.gate,
        keyring=core.ring,
        cursors=cursors,
        findings=core.findings,
        clock=core.clock,
        region=core.settings.default_region,
    )


def _publishing(home: Home, core: Core) -> Publishing:
    return Publishing(
        home,
        core.settings,
        trials=Trials(gate=core.gate, app=core.app, clock=core.clock),
        proofs=_proofs(core),
        anchoring=core.anchoring,
        findings=core.findings,
        clock=core.clock,
    )


def _egress_list(core: Core, erasing: Erasing) -> EgressList:
    return EgressList(
        gate=core.gate,
        approvals=erasing.approvals,
        egress=core.egress,
        settled=core.settings.egress.places,
        clock=core.clock,
    )


def _tombstones(home: Home, core: Core) -> Tombstones:
    beside = home.resolve(core.settings.ledger.memory)
    return Tombstones(beside.with_name(FILE_NAME), keys=(core.seal_key, *core.seal_keys.values()))


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
