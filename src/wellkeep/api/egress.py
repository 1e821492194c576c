"""Where the deployment connects to, over HTTP: shown to whom it serves, changed under administration alone."""

from __future__ import annotations

import re
from typing import Annotated
from uuid import UUID

import msgspec

from wellkeep.api import answers
from wellkeep.api.answers import Answer
from wellkeep.api.routes import Call, Route
from wellkeep.api.shapes import Input
from wellkeep.assembly.egress_list import Listed
from wellkeep.base.errors import Conflict, NotFound
from wellkeep.base.permissions import Permission
from wellkeep.base.settings import Place

_ALL = "/v1/egress"
_ONE = _ALL + "/{place}"
_NAME = r"^[a-z][a-z_]{0,60}[0-9]{0,2}$(?!\n)"
_HOST = r"^([0-9A-Za-z]([0-9A-Za-z._-]{0,251}[0-9A-Za-z.])?|[0-9A-Fa-f:.]{2,45})$(?!\n)"

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Network = Annotated[str, msgspec.Meta(max_length=64)]


class EgressInput(Input, frozen=True, kw_only=True):
    """A place to connect to; `networks` are the private ones that it may resolve into, `tenants` whom it serves."""

    name: Annotated[str, msgspec.Meta(pattern=_NAME)]
    host: Annotated[str, msgspec.Meta(pattern=_HOST)]
    ports: Annotated[tuple[Port, ...], msgspec.Meta(min_length=1, max_length=16)]
    networks: Annotated[tuple[Network, ...], msgspec.Meta(max_length=16)] = ()
    tenants: Annotated[tuple[UUID, ...], msgspec.Meta(max_length=1000)] = ()


class EgressProposed(msgspec.Struct, frozen=True, kw_only=True):
    """A proposal that waits for another person."""

    place: str
    approval: UUID


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """The places that may be connected to."""

    places: list[Listed]


async def list_all(call: Call) -> Answer:
    """Return the places: all to the platform, to a tenant those that are bound to it."""
    return answers.json(Places(places=await call.runtime.egress_list.listed(call.caller)))


async def propose(call: Call) -> Answer:
    """Propose a place."""
    body: EgressInput = call.body
    place = Place(name=body.name, host=body.host, ports=body.ports, networks=body.networks, tenants=body.tenants)
    made = await call.runtime.egress_list.propose(call.caller, place)
    return answers.json(EgressProposed(place=made.place, approval=made.approval), status=201)


async def approve(call: Call) -> Answer:
    """Approve what somebody else proposed."""
    return answers.json(await call.runtime.egress_list.approve(call.caller, _name(call)))


async def withdraw(call: Call) -> Answer:
    """Take a place off the list."""
    await call.runtime.egress_list.withdraw(call.caller, _name(call))
    return Answer(204)


def _name(call: Call) -> str:
    name = call.path["place"]
    if re.fullmatch(_NAME, name) is None:
        raise NotFound
    return name


EGRESS_SHOWN = (
    Route(
        method="GET",
        path=_ALL,
        name="egress_list",
        summary="Where the deployment connects to: all of it to the platform, to a tenant what serves it",
        tag="egress",
        serve=list_all,
        permission=Permission.EGRESS_READ,
        returns=Places,
    ),
)
EGRESS = (
    *EGRESS_SHOWN,
    Route(
        method="POST",
        path=_ALL,
        name="egress_propose",
        summary="Propose a place to connect to; another person approves it",
        tag="egress",
        serve=propose,
        permission=Permission.EGRESS_CHANGE,
        body=EgressInput,
        returns=EgressProposed,
        status=201,
        problems=(Conflict,),
        example={"name": "identity", "host": "login.example.org", "ports": [443]},
    ),
    Route(
        method="POST",
        path=_ONE + "/approve",
        name="egress_approve",
        summary="Approve a place that somebody else proposed; it is in force within seconds",
        tag="egress",
        serve=approve,
        permission=Permission.EGRESS_CHANGE,
        returns=Listed,
        problems=(Conflict,),
    ),
    Route(
        method="POST",
        path=_ONE + "/withdraw",
        name="egress_withdraw",
        summary="Take a place off the list, within seconds",
        tag="egress",
        serve=withdraw,
        permission=Permission.EGRESS_CHANGE,
        status=204,
        problems=(Conflict,),
    ),
)
