"""The page of the keys: how old each is, what is being replaced, and what was destroyed."""

from __future__ import annotations

import re
from typing import Final
from uuid import UUID

from wellkeep.api.answers import Answer
from wellkeep.api.console import shown
from wellkeep.api.query import Parameter
from wellkeep.api.routes import Call, Route
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.permissions import Permission
from wellkeep.web import console_keys

_UUID: Final = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_WHOSE: Final = Parameter("whose", _UUID, "whose keys", "01980000-0000-7000-8000-000000000001")


async def keys(call: Call) -> Answer:
    """Show the keys: to the platform those of all, or of the tenant that it asks for; to a tenant its own."""
    frame = await shown.inside(call, "Keys")
    service, caller = call.runtime.key_rotations, call.caller
    found = await service.keys(caller)
    epochs = await service.epochs_for(caller, found)
    rotations = await service.listed(caller)
    names = {}
    if Permission.TENANT_READ in frame.offers:
        names = {one.id: one.name for one in await call.runtime.tenants.list(caller)}
    wanted = UUID(call.query["whose"]) if "whose" in call.query else None
    page = console_keys.page(
        frame,
        [one for one in found if wanted in {None, one.tenant}],
        epochs,
        [one for one in rotations if wanted in {None, one.tenant}],
        names=names,
        limit=service.limit,
        all_tenants=caller.principal.tenant == PLATFORM_TENANT,
        whose=wanted,
        at=call.runtime.publishing.clock.now(),
    )
    return shown.answer(page, frame)


KEY_PAGES: Final = (
    Route(
        method="GET",
        path="/console/keys",
        name="console_keys",
        summary="Keys, their ages, and rotations, to read",
        tag="console",
        serve=keys,
        permission=Permission.KEYS_READ,
        query=(_WHOSE,),
        answer_media="text/html",
        refuse=shown.refused,
    ),
)
