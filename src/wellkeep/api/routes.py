"""What a route is: a line in a table that says everything the edge, the documentation and the tests need to know.

Rule: a route names the permission that it needs, or says why it needs none; one that does neither can't be made. The
threat is the address that somebody forgot to protect.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from wellkeep.access.limits import Open
from wellkeep.api import headers, limits
from wellkeep.api.answers import Answer, Stream
from wellkeep.api.query import Parameter
from wellkeep.api.runtime import Runtime
from wellkeep.base.errors import Misconfigured, NotFound, WellkeepError
from wellkeep.base.ids import parse_uuid
from wellkeep.base.permissions import Permission
from wellkeep.gate.acts import Caller

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Listener = Literal["public", "admin", "plain"]
COLLECTION_NAME = re.compile("[a-z][a-z0-9_]{0,62}")
_PART_NUMBER = re.compile("0|[1-9][0-9]{0,5}")


@dataclass(slots=True)
class Call:
    """One request, decoded: what a route's function gets.

    `body` is what the route declares (a Struct, or bytes); `found` are the known headers,
    `query` the declared parameters, `path` those of the address as they were sent, `ip` the peer's address,
    `listener` the one that was asked.
    """

    runtime: Runtime
    request: UUID
    found: dict[bytes, bytes]
    path: dict[str, str]
    raw_path: bytes
    query: dict[str, str]
    body: Any
    identified: Caller | None
    ip: str | None = None
    listener: Listener = "public"

    @property
    def caller(self) -> Caller:
        """Return who asks; a route that is open to all has no caller, so asking for one is our fault."""
        if self.identified is None:
            raise RuntimeError("an open route has no caller")
        return self.identified

    def identifier(self, name: str) -> UUID:
        """Return the id in the address; raises NotFound, since what is no id of ours names nothing."""
        value = parse_uuid(self.path[name])
        if value is None:
            raise NotFound
        return value

    def collection(self) -> str:
        """Return the collection's name in the address; raises NotFound."""
        name = self.path["collection"]
        if COLLECTION_NAME.fullmatch(name) is None:
            raise NotFound
        return name

    def part_number(self) -> int:
        """Return the number of an import's part in the address, from 0; raises NotFound."""
        text = self.path["number"]
        if _PART_NUMBER.fullmatch(text) is None:
            raise NotFound
        return int(text)

    def if_match(self) -> int:
        """Return the revision that `If-Match` names."""
        return headers.if_match(self.found)

    def idempotency_key(self) -> str | None:
        """Return the Idempotency-Key."""
        return headers.idempotency_key(self.found)


Serve = Callable[[Call], Awaitable[Answer | Stream]]
Refuse = Callable[[WellkeepError, str, UUID], Answer]
"""Makes a page of an error, of the address that was asked for and of the request's id."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """One method on one address.

    `permission` is what the gate will demand; where it is None, `open_because` says why. `body` is the Struct that the
    body decodes to, or bytes with `media`. `returns` is the Struct of the answer's body, where it is JSON; `also_media`
    is what else the same address answers in. `weight` is what a request counts for against the rate limit; 0: nothing.
    An open one is `counted` with all others of its address, or apart from them. `refuse` makes the page that a browser
    is shown in the place of a problem document.
    """

    method: Method
    path: str
    name: str
    summary: str
    tag: str
    serve: Serve
    permission: Permission | None = None
    open_because: str = ""
    body: Any = None
    media: str = "application/json"
    query: tuple[Parameter, ...] = ()
    takes: tuple[str, ...] = ()
    returns: Any = None
    status: int = 200
    answer_media: str = "application/json"
    also_media: str = ""
    answer_headers: tuple[str, ...] = ()
    also: tuple[int, ...] = ()
    problems: tuple[type[WellkeepError], ...] = ()
    limit: int = limits.RECORD_BYTES
    seconds: float = limits.REQUEST_SECONDS
    weight: int = 1
    counted: Open = "address"
    refuse: Refuse | None = None
    example: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a route that is neither protected nor declared open."""
        if (self.permission is None) == (not self.open_because):
            raise Misconfigured("A route needs a permission, or a reason why it is open, and not both")

    @property
    def litestar_path(self) -> str:
        """Return the address with the types that Litestar's router wants; ids are checked by `Call`."""
        return re.sub(r"\{(\w+)\}", lambda match: f"{{{match[1]}:{_KINDS.get(match[1], 'str')}}}", self.path)

    @property
    def renders(self) -> bool:
        """Say whether this is a page for people, which brings its own content policy."""
        return "text/html" in {self.answer_media, self.also_media}


_KINDS = {"external_id": "path"}
"""An external id may hold slashes, so it takes the rest of the address."""
