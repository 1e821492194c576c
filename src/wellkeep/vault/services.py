"""The vault put together: one constructor, and the services that the rooms above call."""

from __future__ import annotations

from dataclasses import dataclass

from wellkeep.base.clock import Clock
from wellkeep.findings.findings import Findings
from wellkeep.gate.gate import Gate
from wellkeep.keys.cursors import Cursors
from wellkeep.keys.ring import KeyRing
from wellkeep.vault.batch import Batches
from wellkeep.vault.collections import Collections
from wellkeep.vault.context import Context
from wellkeep.vault.records import Records
from wellkeep.vault.search import Search
from wellkeep.vault.subjects import Subjects
from wellkeep.vault.upsert import Upserts


@dataclass(frozen=True, slots=True)
class Vault:
    """The services of the vault; they share `context` with its caches."""

    context: Context
    collections: Collections
    subjects: Subjects
    records: Records
    batches: Batches
    upserts: Upserts
    search: Search


def build_vault(
    *, gate: Gate, keyring: KeyRing, cursors: Cursors, findings: Findings, clock: Clock, region: str = "US"
) -> Vault:
    """Return the vault over its surroundings; `region` (ISO 3166) reads telephone numbers without a country code."""
    context = Context(gate=gate, keyring=keyring, cursors=cursors, findings=findings, clock=clock, region=region)
    return Vault(
        context=context,
        collections=Collections(context),
        subjects=Subjects(context),
        records=Records(context),
        batches=Batches(context),
        upserts=Upserts(context),
        search=Search(context),
    )
