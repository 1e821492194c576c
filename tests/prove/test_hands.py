"""Promise: each act of the reviewed table is sent by somebody who may do it, so that none is left untried."""

from __future__ import annotations

from wellkeep.access.roles import load
from wellkeep.base.permissions import Permission
from wellkeep.prove.hands import key_role

PERSONS = {"account:enrol", "account:use", "impersonation:start", "impersonation:permit", "glass:break"}
PLATFORMS = {"tenant:create", "tenant:read", "tenant:change", "tenant:erase", "egress:change", "deployment:read"}
OVER_NO_API = {"record:reseal", "prove:run", "deployment:operate"}


def test_whoever_sends_a_request_may_do_what_it_asks() -> None:
    roles = load().roles
    left = {one.value for one in Permission if one not in roles[key_role(one)].permissions}
    assert left == PERSONS | PLATFORMS | OVER_NO_API
