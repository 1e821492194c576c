"""The bodies of what a tenant decides about access: rules, roles of its own, care teams, and questions why."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from wellkeep.access.care_team import Member
from wellkeep.access.custom_roles import RoleView
from wellkeep.api.shapes import Input, Name
from wellkeep.base.permissions import Permission
from wellkeep.base.purpose import Purpose

Who = Annotated[
    str,
    Meta(
        pattern=r"^(role:[a-z][a-z0-9_]{0,62}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$(?!\n)",
        description="the id of a person or of a key, or role:NAME",
    ),
]
Hidden = Annotated[
    str, Meta(pattern=r"^[a-z][a-z0-9_]{0,62}\.[a-z][a-z0-9_]{0,62}$(?!\n)", description="collection.field")
]


class RulesInput(Input, frozen=True, kw_only=True):
    """The rules that change; what is left out stays."""

    second_factor: bool | UnsetType = UNSET
    care_team: Annotated[list[Name], Meta(max_length=64)] | UnsetType = UNSET
    session_idle_minutes: Annotated[int, Meta(ge=1, le=1440)] | UnsetType = UNSET
    session_minutes: Annotated[int, Meta(ge=5, le=43_200)] | UnsetType = UNSET
    glass_minutes: Annotated[int, Meta(ge=5, le=1440)] | UnsetType = UNSET
    glass_unreviewed: Annotated[int, Meta(ge=1, le=100)] | UnsetType = UNSET
    review_days: Annotated[int, Meta(ge=7, le=366)] | UnsetType = UNSET


class RoleInput(Input, frozen=True, kw_only=True):
    """What a role of the tenant's own holds, as a whole."""

    permissions: Annotated[list[Permission], Meta(min_length=1, max_length=128)]
    groups: Annotated[tuple[Name, ...], Meta(max_length=16)] = ()
    purposes: Annotated[list[Purpose], Meta(min_length=1, max_length=16)]
    default_purpose: Purpose
    hidden: Annotated[tuple[Hidden, ...], Meta(max_length=500)] = ()


class MemberInput(Input, frozen=True, kw_only=True):
    """A person for a patient's care team, until taken out or until a time."""

    person: UUID
    until: Annotated[datetime, Meta(tz=True)] | None = None


class ExplainInput(Input, frozen=True, kw_only=True):
    """Who would do what, and to what: a collection, a record in it, or a patient."""

    who: Who
    action: Permission
    collection: Name | None = None
    record: UUID | None = None
    subject: UUID | None = None
    purpose: Purpose | None = None
    tenant: UUID | None = None


class Roles(msgspec.Struct, frozen=True):
    """The roles that there are in a tenant."""

    roles: list[RoleView]


class CareTeam(msgspec.Struct, frozen=True):
    """Who treats a patient now."""

    members: list[Member]
