"""Rules and roles of a tenant over HTTP, for its own administrators, and the question why somebody may or may not."""

from __future__ import annotations

from typing import Any

import msgspec

from wellkeep.access.custom_roles import RoleView, own_role
from wellkeep.access.tenant_rules import Rules
from wellkeep.api import answers, policy_shapes
from wellkeep.api.answers import Answer
from wellkeep.api.routes import COLLECTION_NAME, Call, Route
from wellkeep.assembly.explaining import Explanation, Question
from wellkeep.base.errors import Conflict, NotFound
from wellkeep.base.permissions import Permission

_ROLE = "/v1/roles/{role}"


def _name(call: Call) -> str:
    """Return the role's name in the address; raises NotFound, since what is no name names nothing."""
    name = call.path["role"]
    if COLLECTION_NAME.fullmatch(name) is None:
        raise NotFound
    return name


async def rules_get(call: Call) -> Answer:
    """Return the tenant's rules."""
    return answers.json(await call.runtime.policies.rules.read(call.caller))


async def rules_change(call: Call) -> Answer:
    """Change some of them."""
    body: policy_shapes.RulesInput = call.body
    changes: dict[str, Any] = {
        name: value for name, value in msgspec.structs.asdict(body).items() if value is not msgspec.UNSET
    }
    if "care_team" in changes:
        changes["care_team"] = tuple(changes["care_team"])
    return answers.json(await call.runtime.policies.rules.change(call.caller, **changes))


async def role_list(call: Call) -> Answer:
    """Return all roles there are."""
    return answers.json(policy_shapes.Roles(await call.runtime.policies.roles.list(call.caller)))


async def role_get(call: Call) -> Answer:
    """Return one role."""
    return answers.json(await call.runtime.policies.roles.get(call.caller, _name(call)))


async def role_put(call: Call) -> Answer:
    """Make or replace a role of the tenant's own."""
    body: policy_shapes.RoleInput = call.body
    role = own_role(
        _name(call),
        permissions=body.permissions,
        groups=body.groups,
        purposes=body.purposes,
        default_purpose=body.default_purpose,
        hidden=body.hidden,
    )
    return answers.json(await call.runtime.policies.roles.put(call.caller, role))


async def role_delete(call: Call) -> Answer:
    """Delete a role of the tenant's own."""
    await call.runtime.policies.roles.delete(call.caller, _name(call))
    return Answer(204)


async def explain(call: Call) -> Answer:
    """Say why somebody may do something, or why not."""
    body: policy_shapes.ExplainInput = call.body
    question = Question(**msgspec.structs.asdict(body))
    return answers.json(await call.runtime.policies.explaining.explain(call.caller, question))


POLICIES = (
    Route(
        method="GET",
        path="/v1/rules",
        name="rules_get",
        summary="What the tenant demands of its own people",
        tag="access",
        serve=rules_get,
        permission=Permission.RULES_READ,
        returns=Rules,
    ),
    Route(
        method="PATCH",
        path="/v1/rules",
        name="rules_change",
        summary="Change some of the tenant's rules; they hold within five seconds",
        tag="access",
        serve=rules_change,
        permission=Permission.RULES_CHANGE,
        body=policy_shapes.RulesInput,
        returns=Rules,
        example={"second_factor": True, "care_team": ["clinician"]},
    ),
    Route(
        method="GET",
        path="/v1/roles",
        name="role_list",
        summary="The roles there are: the package's, and the tenant's own",
        tag="access",
        serve=role_list,
        permission=Permission.ROLE_READ,
        returns=policy_shapes.Roles,
    ),
    Route(
        method="GET",
        path=_ROLE,
        name="role_get",
        summary="One role",
        tag="access",
        serve=role_get,
        permission=Permission.ROLE_READ,
        returns=RoleView,
    ),
    Route(
        method="PUT",
        path=_ROLE,
        name="role_put",
        summary="Make or replace a role of the tenant's own; it holds within five seconds",
        tag="access",
        serve=role_put,
        permission=Permission.ROLE_CHANGE,
        body=policy_shapes.RoleInput,
        returns=RoleView,
        problems=(Conflict,),
        example={
            "permissions": ["collection:read", "record:read"],
            "groups": ["clinical"],
            "purposes": ["TREAT"],
            "default_purpose": "TREAT",
            "hidden": ["patients.note"],
        },
    ),
    Route(
        method="DELETE",
        path=_ROLE,
        name="role_delete",
        summary="Delete a role of the tenant's own, and take it from whoever has it",
        tag="access",
        serve=role_delete,
        permission=Permission.ROLE_CHANGE,
        status=204,
    ),
    Route(
        method="POST",
        path="/v1/access/explain",
        name="access_explain",
        summary="Why somebody may do something, or why not, and which fields they would see",
        tag="access",
        serve=explain,
        permission=Permission.ACCESS_EXPLAIN,
        body=policy_shapes.ExplainInput,
        returns=Explanation,
        example={"who": "role:clinician", "action": "record:read", "collection": "patients"},
    ),
)
