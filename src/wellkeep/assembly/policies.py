"""What a tenant decides about access, put together: rules, roles of its own, care teams, and why they answer so."""

from __future__ import annotations

from dataclasses import dataclass

from wellkeep.access.attributes import StoredAttributes
from wellkeep.access.care_team import CareTeams
from wellkeep.access.custom_roles import CustomRoles
from wellkeep.access.tenant_rules import TenantRules
from wellkeep.assembly.core import Core
from wellkeep.assembly.explaining import Explaining
from wellkeep.vault.context import Context


@dataclass(frozen=True, slots=True)
class Policies:
    """The services of `/v1/rules`, `/v1/roles`, care teams and `/v1/access/explain`."""

    rules: TenantRules
    roles: CustomRoles
    teams: CareTeams
    explaining: Explaining


def open_policies(core: Core, context: Context) -> Policies:
    """Return the services over `core`; `context` knows the collections."""
    gate, clock = core.gate, core.clock
    attributes = StoredAttributes(pool=core.app)
    return Policies(
        rules=TenantRules(gate=gate, clock=clock),
        roles=CustomRoles(gate=gate, clock=clock),
        teams=CareTeams(gate=gate, clock=clock),
        explaining=Explaining(gate=gate, context=context, attributes=attributes, clock=clock),
    )
