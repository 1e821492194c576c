"""Reviews of access that wait for one last decision: the stage's tenant's, and one that the platform sees to."""

from __future__ import annotations

from uuid import UUID, uuid4

from wellkeep.access.operators import operator as account
from wellkeep.access.operators import this_operator
from wellkeep.access.reviews import Reviews
from wellkeep.base.ids import uuid7
from wellkeep.gate.acts import Caller
from wellkeep.prove.deployment import Unseen
from wellkeep.prove.review_requests import Looked
from wellkeep.prove.stage import Stage

_ROLE = "auditor"
"""Whose key the last decision is about; it decides nothing itself."""


async def looked(stage: Stage, tenant: UUID) -> Looked:
    """Return a review of `tenant` in which all is decided but one key, and a person who leaves. Raises Unseen."""
    operator, services = this_operator(), stage.operator
    people = services.accounts.people
    email = f"{uuid4().hex}@example.org"
    leaver = await people.invite(operator, tenant=tenant, email=email, name="Probe", roles=())
    reviews = services.reviewing.reviews
    await end_open(stage, tenant)
    review = await reviews.open(operator, tenant=tenant)
    items = (await reviews.shown(operator, tenant=tenant, review=review)).items
    left = next((one.id for one in items if one.kind == "key" and one.roles == (_ROLE,)), None)
    if left is None:
        raise Unseen("there is no key to be reviewed")
    await _keep(reviews, tenant, review, besides=left)
    return Looked(review, left, leaver.person, opens=True)


async def end_open(stage: Stage, tenant: UUID) -> None:
    """Decide whatever waits in the open review of `tenant`, if there is one, so that another can be opened."""
    reviews = stage.operator.reviewing.reviews
    for before in await reviews.listed(this_operator(), tenant=tenant):
        if before.closed_at is None and before.undecided:
            await _keep(reviews, tenant, before.id, besides=None)
        elif before.closed_at is None:
            await reviews.close(tenant=tenant, review=before.id)


async def _keep(reviews: Reviews, tenant: UUID, review: UUID, *, besides: UUID | None) -> None:
    """Keep whatever waits in a review but one item, as another operator than the one who granted it."""
    second = Caller(account("second"), None, uuid7())
    for one in (await reviews.shown(second, tenant=tenant, review=review)).items:
        if one.outcome is None and one.id != besides:
            await reviews.decide(second, tenant=tenant, review=review, item=one.id, keep=True)


async def another_tenant(stage: Stage) -> UUID:
    """Return a tenant of made-up data with one key, which the operator made."""
    operator, services = this_operator(), stage.operator
    tenant = await services.tenants.create(operator, name=f"wk-prove-{uuid4().hex[:12]}", kind="synthetic")
    await services.api_keys.create(operator, tenant=tenant, name="prove-reviewed", roles=(_ROLE,), days=1)
    return tenant
