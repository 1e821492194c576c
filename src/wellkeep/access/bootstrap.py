"""The first administrator: one key, made by the operator at the machine, shown once."""

from __future__ import annotations

from uuid import UUID

from wellkeep.access.api_keys import ApiKeys, IssuedKey
from wellkeep.gate.acts import Caller

ADMINISTRATOR_ROLE = "administrator"


async def bootstrap_administrator(
    api_keys: ApiKeys, caller: Caller, *, tenant: UUID, name: str = "first-administrator"
) -> IssuedKey:
    """Issue an administrator's key of `tenant`, on record as made by `caller`, an operator.

    The platform tenant's administrator manages tenants; a tenant's manages collections and keys there. Raises as
    `ApiKeys.create` does.
    """
    return await api_keys.create(caller, tenant=tenant, name=name, roles=(ADMINISTRATOR_ROLE,))
