"""The pages of those who run a deployment, made of what they are handed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from wellkeep.access.api_keys import ApiKey
from wellkeep.access.people import Person
from wellkeep.access.providers import Provider
from wellkeep.access.tenants import Tenant
from wellkeep.assembly.condition import Condition
from wellkeep.assembly.egress_list import Listed
from wellkeep.assembly.verdict import Verdict
from wellkeep.ledger.anchors.status import AnchorStatus
from wellkeep.web import rendering
from wellkeep.web.console import Frame


def tenants(frame: Frame, found: Sequence[Tenant], *, at: datetime) -> bytes:
    """Return the page of all tenants."""
    return rendering.page("tenants.html", frame=frame, tenants=found, ago=lambda when: rendering.age(at - when))


def tenant(
    frame: Frame,
    found: Tenant,
    *,
    keys: Sequence[ApiKey] | None,
    people: Sequence[Person] | None,
    providers: Sequence[Provider] | None,
    at: datetime,
) -> bytes:
    """Return the page of one; what is None is not the reader's to see."""
    return rendering.page(
        "tenant.html",
        frame=frame,
        tenant=found,
        keys=keys,
        people=people,
        providers=providers,
        at=at,
        ago=lambda when: rendering.age(at - when),
    )


def api_keys(frame: Frame, tenant: UUID, *, keys: Sequence[ApiKey], roles: Sequence[str], at: datetime) -> bytes:
    """Return the page of a tenant's own API keys."""
    return rendering.page(
        "apikeys.html",
        frame=frame,
        tenant=tenant,
        keys=keys,
        roles=roles,
        at=at,
        ago=lambda when: rendering.age(at - when),
    )


def settings(
    frame: Frame, condition: Condition, anchors: AnchorStatus, places: Sequence[Listed] | None, *, at: datetime
) -> bytes:
    """Return the page that says how a deployment stands; `places` None: not the reader's to see."""
    return rendering.page(
        "settings.html",
        frame=frame,
        condition=condition,
        anchors=anchors,
        places=places,
        ago=lambda when: rendering.age(at - when),
    )


def doctor(frame: Frame, verdicts: Sequence[Verdict]) -> bytes:
    """Return the page of what stands between a deployment and production, what is not fine first."""
    wrong = [one for one in verdicts if not one.fine]
    return rendering.page("doctor.html", frame=frame, wrong=wrong, fine=[one for one in verdicts if one.fine])
