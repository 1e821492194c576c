"""The two customers of the demo, and a key for each role that the tour plays."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from wellkeep.access.operators import this_operator
from wellkeep.assembly.runtime import open_runtime
from wellkeep.base.secrets import Secret
from wellkeep.cli.console import done
from wellkeep.prove.deployment import Deployment, created
from wellkeep.vault.templates import template

TENANTS = ("northside-clinic", "harbour-health")
COLLECTIONS = ("patients", "encounters", "observations")
_PERSON = ("administrator", "privacy_officer")
_ROLES = ("administrator", "clinician", "billing", "integration", "privacy_officer")


@dataclass(slots=True)
class DemoTenant:
    """A customer of the demo: the SSN of a made-up patient to search for, and the patient whom the tour looked at.

    `link` lets a person in, once.
    """

    id: UUID
    name: str
    keys: dict[str, Secret[str]]
    known_ssn: str = ""
    known_subject: str = ""
    link: str = field(default="", repr=False)


async def make_tenants(deployment: Deployment) -> list[DemoTenant]:
    """Make the tenants, their keys, and their collections from the built-in templates."""
    operator = this_operator()
    made = []
    async with open_runtime(deployment.home, deployment.settings, deployment.database) as runtime:
        for name in TENANTS:
            made_id = await runtime.tenants.create(operator, name=name, kind="synthetic")
            keys = {}
            for role in _ROLES:
                issued = await runtime.api_keys.create(operator, tenant=made_id, name=f"demo-{role}", roles=(role,))
                keys[role] = issued.key
            invited = await runtime.accounts.people.invite(
                operator, tenant=made_id, email=f"robin@{name}.example", name="Robin Doe", roles=_PERSON
            )
            link = invited.invitation.link(runtime.accounts.site.authority)
            made.append(DemoTenant(id=made_id, name=name, keys=keys, link=link or ""))
    for tenant in made:
        client = await deployment.client(tenant.keys["administrator"])
        for collection in COLLECTIONS:
            await created(client, "/v1/collections", template(collection).definition())
    done(f"Two tenants behind a wall each: {', '.join(TENANTS)}, with the collections {', '.join(COLLECTIONS)}")
    return made
