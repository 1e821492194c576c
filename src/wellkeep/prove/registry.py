"""Which probe tries which claim."""

from __future__ import annotations

from wellkeep.prove.controls import (
    access_passwords,
    access_roles,
    access_tenant_wall,
    build_migrations,
    ledger_complete,
    ledger_no_phi,
    ledger_operators,
    ledger_tamper_evident,
    ledger_verifiable,
    rest_bound,
    rest_fields,
    rest_places,
    rest_tenant_keys,
    transport_no_cache,
)
from wellkeep.prove.probe import Probe

PROBES: dict[str, Probe] = {
    module.PROBE.claim: module.PROBE
    for module in (
        transport_no_cache,
        rest_fields,
        rest_bound,
        rest_tenant_keys,
        rest_places,
        access_tenant_wall,
        access_roles,
        access_passwords,
        ledger_complete,
        ledger_tamper_evident,
        ledger_verifiable,
        ledger_no_phi,
        ledger_operators,
        build_migrations,
    )
}
