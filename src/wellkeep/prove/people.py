"""People for probes: invited over the API like anybody, with a password and, where they set one up, a second factor.

They belong to the probes' synthetic tenants and are disabled at the end of the run. A code of an authenticator app is
taken once, and so is each that came before it: whoever needs two at once says so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import httpx
import pyotp

from wellkeep.access.operators import this_operator
from wellkeep.access.sessions import Via, Visitor
from wellkeep.base.errors import Conflict, NotFound
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.secrets import Secret
from wellkeep.prove.deployment import Unseen, created
from wellkeep.prove.stage import Stage

_SECONDS = 30.0


@dataclass(slots=True)
class Member:
    """Somebody who took an invitation; `app` is their authenticator app, once there is one, `shown` its first code."""

    id: UUID
    tenant: str
    email: str
    password: Secret[str]
    app: pyotp.TOTP | None = None
    shown: str = ""


class Browser:
    """Somebody's browser: it keeps cookies, and sends what our own pages send. An async context manager."""

    def __init__(self, stage: Stage) -> None:
        """Be a browser without a session."""
        self._stage = stage
        self._client = httpx.AsyncClient(
            base_url=stage.public_url,
            verify=stage.trust(),
            timeout=_SECONDS,
            trust_env=False,
            headers={"Sec-Fetch-Site": "same-origin"},
        )

    async def __aenter__(self) -> Self:
        """Open the browser."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        await self._client.aclose()

    async def send(self, method: str, url: str, **more: Any) -> httpx.Response:
        """Send a request; where the answer holds a token against forged requests, the next ones bring it."""
        answer = await self._client.request(method, url, **more)
        if (
            answer.is_success
            and answer.content
            and answer.headers.get("content-type", "").startswith("application/json")
        ):
            token = answer.json().get("csrf_token")
            if token is not None:
                self._client.headers["X-CSRF-Token"] = token
        return answer

    def cookie(self, name: str) -> str | None:
        """Return the value of a cookie that it keeps."""
        return self._client.cookies.get(name)

    async def sign_in(self, member: Member, *, password: str | None = None) -> httpx.Response:
        """Send the password, or another one."""
        body = {"tenant": member.tenant, "email": member.email, "password": password or member.password.reveal()}
        return await self.send("POST", "/v1/session", json=body)

    async def enrol(self, member: Member) -> httpx.Response:
        """Set up an authenticator app and show its first code. Raises Unseen where none can be set up."""
        planned = await self.send("POST", "/v1/account/totp", json={"name": "probe"})
        if not planned.is_success:
            raise Unseen(f"no second factor could be set up (HTTP {planned.status_code})")
        member.app = pyotp.TOTP(planned.json()["secret"])
        member.shown = code(self._stage, member.app)
        body = {"id": planned.json()["id"], "code": member.shown}
        return await self.send("POST", "/v1/account/totp/confirm", json=body)


@asynccontextmanager
async def member(stage: Stage, *roles: str, password: str | None = None) -> AsyncIterator[Member]:
    """Lend a person of the stage's tenant `a` with these roles, invited by its administrator over the API."""
    key = await stage.client(stage.a.keys["administrator"])
    email = f"{uuid7().hex}@wk-probe.test"
    made = await created(key, "/v1/users", {"email": email, "name": "A Probe", "roles": list(roles)})
    chosen = Secret(password or f"{uuid7().hex} says nobody")
    joined = Member(UUID(made["id"]), stage.a.name, email, chosen)
    token = str(made.get("link", "")).partition("#")[2]
    try:
        await created(await stage.client(), "/v1/invitations/accept", {"token": token, "password": chosen.reveal()})
        yield joined
    finally:
        await _disable(stage, stage.a.id, joined.id)


@asynccontextmanager
async def signed_in(
    stage: Stage, *roles: str, platform: bool = False, admin: bool = False, mfa: bool = True
) -> AsyncIterator[tuple[UUID, httpx.AsyncClient]]:
    """Lend a person with these roles, of tenant `a` or of the platform, and a client with their session.

    The session is begun by the operator, who stands at the machine: for probes of what people may do once they are in.
    `admin`: the client is one of the administration listener.
    """
    tenant = PLATFORM_TENANT if platform else stage.a.id
    accounts, operator = stage.operator.accounts, this_operator()
    email = f"{uuid7().hex}@wk-probe.test"
    invited = await accounts.people.invite(operator, tenant=tenant, email=email, name="A Probe", roles=roles)
    visitor = Visitor(request=uuid7())
    try:
        token = invited.invitation.token
        if token is None:
            raise Unseen("links go out by mail here, and the probe has none")
        await accounts.joining.accept(token=token.reveal(), password=f"{uuid7().hex} says nobody", visitor=visitor)
        begun = await accounts.sessions.begin(
            tenant=tenant, person=invited.person, via=Via(method="password"), mfa=mfa, visitor=visitor
        )
        headers = {
            "Cookie": f"__Host-wk_session={begun.cookie.reveal()}",
            "X-CSRF-Token": begun.csrf,
            "Sec-Fetch-Site": "same-origin",
        }
        url = stage.admin_url if admin else stage.public_url
        async with httpx.AsyncClient(
            base_url=url, verify=stage.trust(), timeout=_SECONDS, trust_env=False, headers=headers
        ) as client:
            yield invited.person, client
    finally:
        await _disable(stage, tenant, invited.person)


def code(stage: Stage, app: pyotp.TOTP, *, ahead: int = 0) -> str:
    """Return the code of now, or of so many steps of thirty seconds ahead."""
    return str(app.at(int(stage.operator.core.clock.seconds()), counter_offset=ahead))


async def _disable(stage: Stage, tenant: UUID, person: UUID) -> None:
    try:
        await stage.operator.accounts.people.disable(this_operator(), tenant=tenant, person=person)
    except (Conflict, NotFound):
        return  # somebody was faster
