"""The person at the machine itself: known by their operating-system account, on record under it.

Rule: an operator runs the deployment and opens no PHI; the role `operator` has no record permission and no field group,
and no key can carry it. All that one command does is told under one request id, the command's own entry included.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import UUID

from wellkeep.base.errors import Forbidden
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.principal import ActorType, AuthMethod, Principal
from wellkeep.gate.acts import Caller

OPERATOR_ROLE = "operator"
_request: ContextVar[UUID | None] = ContextVar("request of the command under way", default=None)
_ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


def operator(os_user: str) -> Principal:
    """Return the principal of the account `os_user`; raises Forbidden where the ledger takes no such name."""
    if _ACCOUNT.fullmatch(os_user) is None:
        raise Forbidden("Local commands need an account name of lower-case letters, digits, - and _")
    return Principal(
        type=ActorType.OPERATOR, id=os_user, tenant=PLATFORM_TENANT, roles=(OPERATOR_ROLE,), method=AuthMethod.LOCAL
    )


def this_operator() -> Caller:
    """Return the caller of a local command: the account that runs this process, whatever $USER says."""
    return Caller(operator(pwd.getpwuid(os.geteuid()).pw_name), None, _request.get() or uuid7())


@contextmanager
def commanding(request: UUID) -> Iterator[None]:
    """Let what `this_operator` does within the block be told under `request`."""
    before = _request.set(request)
    try:
        yield
    finally:
        _request.reset(before)
