"""What the edge is handed: the services of one process, already wired.

The composition root builds it; the edge knows only these names, so that no route can reach past a service into the
database, the keys or the ledger. Inputs are Python values, refusals are `base.errors`. Every service decides at the
gate; the edge decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from wellkeep.access.accounts import Accounts
from wellkeep.access.api_keys import ApiKeys
from wellkeep.access.authenticator import Authenticator
from wellkeep.access.limits import RateLimits
from wellkeep.access.single_sign_on import SingleSignOn
from wellkeep.access.tenants import Tenants
from wellkeep.assembly.condition import Conditions
from wellkeep.assembly.desk import Desk
from wellkeep.assembly.disclosures import Disclosures
from wellkeep.assembly.egress_list import EgressList
from wellkeep.assembly.emergencies import Emergencies
from wellkeep.assembly.erasing import Erasing
from wellkeep.assembly.key_rotations import KeyRotations
from wellkeep.assembly.ledger_proofs import LedgerProofs
from wellkeep.assembly.ledger_search import LedgerSearch
from wellkeep.assembly.policies import Policies
from wellkeep.assembly.publishing import Publishing
from wellkeep.assembly.reviewing import Reviewing
from wellkeep.findings.findings import Findings
from wellkeep.vault.batch import Batches
from wellkeep.vault.collections import Collections
from wellkeep.vault.exports import Exports
from wellkeep.vault.imports import Imports
from wellkeep.vault.records import Records
from wellkeep.vault.search import Search
from wellkeep.vault.subjects import Subjects
from wellkeep.vault.upsert import Upserts

RawFields = Mapping[str, msgspec.Raw]


class Readiness(Protocol):
    """Whether what the service stands on holds."""

    async def check(self) -> Mapping[str, bool]:
        """Return each part by name: database, keys, ledger, detectors."""
        ...

    async def findings(self) -> Mapping[str, int]:
        """Return how many findings are open in the deployment, by severity."""
        ...

    def keys(self) -> Mapping[str, int]:
        """Return how many tenants' keys stand how in this process: ok, stale, locked, revoked."""
        ...

    async def metrics(self) -> str:
        """Return lines for `/metrics` about what is more than one process, each with its line feed."""
        ...


class Runtime(Protocol):
    """The services of one process."""

    @property
    def authenticator(self) -> Authenticator: ...  # noqa: D102  # each is described at its own protocol
    @property
    def limits(self) -> RateLimits: ...  # noqa: D102
    @property
    def collections(self) -> Collections: ...  # noqa: D102
    @property
    def subjects(self) -> Subjects: ...  # noqa: D102
    @property
    def records(self) -> Records: ...  # noqa: D102
    @property
    def batches(self) -> Batches: ...  # noqa: D102
    @property
    def upserts(self) -> Upserts: ...  # noqa: D102
    @property
    def search(self) -> Search: ...  # noqa: D102
    @property
    def imports(self) -> Imports: ...  # noqa: D102
    @property
    def exports(self) -> Exports: ...  # noqa: D102
    @property
    def ledger_search(self) -> LedgerSearch: ...  # noqa: D102
    @property
    def ledger_proofs(self) -> LedgerProofs: ...  # noqa: D102
    @property
    def disclosures(self) -> Disclosures: ...  # noqa: D102
    @property
    def egress_list(self) -> EgressList: ...  # noqa: D102
    @property
    def emergencies(self) -> Emergencies: ...  # noqa: D102
    @property
    def erasing(self) -> Erasing: ...  # noqa: D102
    @property
    def key_rotations(self) -> KeyRotations: ...  # noqa: D102
    @property
    def reviewing(self) -> Reviewing: ...  # noqa: D102
    @property
    def policies(self) -> Policies: ...  # noqa: D102
    @property
    def publishing(self) -> Publishing: ...  # noqa: D102
    @property
    def desk(self) -> Desk: ...  # noqa: D102
    @property
    def tenants(self) -> Tenants: ...  # noqa: D102
    @property
    def api_keys(self) -> ApiKeys: ...  # noqa: D102
    @property
    def accounts(self) -> Accounts: ...  # noqa: D102
    @property
    def single_sign_on(self) -> SingleSignOn: ...  # noqa: D102
    @property
    def findings(self) -> Findings: ...  # noqa: D102
    @property
    def readiness(self) -> Readiness: ...  # noqa: D102
    @property
    def conditions(self) -> Conditions: ...  # noqa: D102


RuntimeFactory = Callable[[], AbstractAsyncContextManager[Runtime]]
"""Makes the runtime of one process and gives it back at the end: the ledger writer is emptied, then pools close."""
