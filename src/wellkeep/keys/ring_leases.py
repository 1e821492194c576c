"""Leases of seals for tenants' own keys, and a word in time before a budget is used up.

Rule: a key that another one took the place of gets no lease and is told apart from one that has used its budget: the
one is solved by reading the tenant's keys again, the other by a rotation. The threat is a key that seals on past what
its nonces bear because nobody was told.
"""

from __future__ import annotations

from uuid import UUID

from wellkeep.db.pool import Pool
from wellkeep.findings.findings import Findings
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.keys.kms import KeyPurpose
from wellkeep.keys.rows import KeyRow
from wellkeep.keys.seals import DATA_BUDGET, SUBJECT_BUDGET, KeyReplaced, SealBudgetExhausted, TenantMeter

NEAR = 0.8
"""The share of a budget from which on a finding says so."""

_TIERS = {KeyPurpose.DATA: "data --tenant NAME", KeyPurpose.WRAP: "epoch", KeyPurpose.FILE: "epoch"}
"""What `wellkeep keys rotate` is told, by purpose of the key that is used up."""

_LEASE = "SELECT keys.lease_tenant($1, $2, $3)"
_COUNT = "SELECT state, seals FROM keys.tenant_key WHERE purpose = $1 AND kid = $2"


def budget(purpose: KeyPurpose) -> int:
    """Return how many seals a tenant's key of this purpose bears."""
    return DATA_BUDGET if purpose is KeyPurpose.DATA else SUBJECT_BUDGET


def budget_key(row: KeyRow) -> str:
    """Return the deduplication key of findings about the budget of a row's key."""
    return finding_key(Kind.KEYS_BUDGET, row.purpose.value.lower(), row.epoch)


def meter(pool: Pool, findings: Findings, row: KeyRow, *, tenant: UUID) -> TenantMeter:
    """Return the meter of one key of a tenant's."""

    async def lease(block: int) -> bool:
        async with pool.tenant_transaction(tenant=tenant) as connection:
            granted = bool(await connection.fetchval(_LEASE, row.purpose.value, row.kid, block))
            counted = await connection.fetchrow(_COUNT, row.purpose.value, row.kid)
        if counted is None or counted["state"] != "active":
            raise KeyReplaced
        if not granted:
            _report(findings, row, tenant, severity=Severity.HIGH, state="used")
            raise SealBudgetExhausted(_TIERS[row.purpose])
        if counted["seals"] >= NEAR * budget(row.purpose):
            _report(findings, row, tenant, severity=Severity.MEDIUM, state="near")
        return granted

    return TenantMeter(lease)


def _report(findings: Findings, row: KeyRow, tenant: UUID, *, severity: Severity, state: str) -> None:
    findings.note(
        tenant,
        kind=Kind.KEYS_BUDGET,
        severity=severity,
        key=budget_key(row),
        detail={"purpose": row.purpose.value.lower(), "epoch": row.epoch, "state": state},
    )
