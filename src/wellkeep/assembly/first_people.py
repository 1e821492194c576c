"""The first customer and its first administrator, by the services that make anybody's: invited, joined, second factor.

Rules: nothing is done here that a service does not do; the password and the code are looked at by the same rules as on
every later day. The session that the second factor is set up in lives in this process alone and is ended once it is
there. A run that was cut off finds the tenant and the person that it made, and goes on with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from wellkeep.access.invitations import Invitation
from wellkeep.access.operators import this_operator
from wellkeep.access.session_door import Presented
from wellkeep.access.sessions import Visitor
from wellkeep.access.sign_in import FactorAsked
from wellkeep.access.totp import Planned
from wellkeep.assembly.first_run import FirstRun, Stage
from wellkeep.assembly.runtime import Runtime
from wellkeep.base.errors import Conflict, Misconfigured, StepUpRequired, Validation
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.secrets import Secret
from wellkeep.gate.acts import Caller

_ROLES: Final = ("administrator",)
"""What the first one is: who runs the tenant, and sees no PHI."""
_APP: Final = "Phone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Administrator:
    """Who is to be the first one, as typed."""

    tenant: str
    name: str
    email: str
    password: Secret[str]


class FirstPeople:
    """Makes them."""

    def __init__(self, run: FirstRun, runtime: Runtime) -> None:
        """Note in `run` what is done by the services of `runtime`."""
        self._run = run
        self._runtime = runtime
        self._cookie: Secret[str] | None = None
        self.planned: Planned | None = None

    async def take_unseen_key(self) -> None:
        """Revoke the key that `init` made for a first administrator: nobody was shown it, a person takes its place."""
        operator, keys = this_operator(), self._runtime.api_keys
        for one in await keys.list(operator, tenant=PLATFORM_TENANT):
            if one.revoked_at is None:
                await keys.revoke(operator, tenant=PLATFORM_TENANT, key_id=one.id)

    async def appoint(self, who: Administrator, *, ip: str | None) -> None:
        """Make the tenant and the person, set the password, and plan the second factor.

        Raises Validation, Conflict where the tenant's name is taken, LedgerUnavailable.
        """
        doors = self._runtime.accounts.doors
        about = (who.email, who.name, who.tenant)
        await doors.passwords.check(who.password.reveal(), about=about)
        tenant = await self._tenant(who.tenant)
        invitation = await self._invited(tenant, who)
        if invitation is not None:
            await self._join(invitation, who.password, ip=ip)
        self._run.note(Stage.FACTOR)
        await self.sign_in(who.password, ip=ip)

    async def _tenant(self, name: str) -> UUID:
        noted, tenants = self._run.noted, self._runtime.tenants
        if noted.tenant is not None:
            return noted.tenant
        try:
            made = await tenants.create(this_operator(), name=name)
        except Conflict:  # nobody else makes tenants here yet: it is the one of a run that ended before it noted it
            known = [one for one in await tenants.list(this_operator()) if one.id != PLATFORM_TENANT]
            if [one.name for one in known if one.state == "active"] != [name]:
                raise
            made = known[0].id
        self._run.note(tenant=made, tenant_name=name)
        return made

    async def _invited(self, tenant: UUID, who: Administrator) -> Invitation | None:
        """Return a link for the person, made now or before; None for one who has joined already."""
        operator, people = this_operator(), self._runtime.accounts.people
        known = await people.list(operator, tenant=tenant)
        if not known:
            made = await people.invite(operator, tenant=tenant, email=who.email, name=who.name, roles=_ROLES)
            self._run.note(person=made.person)
            return made.invitation
        first = known[-1]
        self._run.note(person=first.id)
        if first.state != "invited":
            return None
        await people.change(operator, tenant=tenant, person=first.id, name=who.name, email=who.email)
        return (await people.reset(operator, tenant=tenant, person=first.id)).invitation

    async def _join(self, invitation: Invitation, password: Secret[str], *, ip: str | None) -> None:
        if invitation.token is None:
            raise Misconfigured("The link of the invitation went out by mail. Take it there, then: wellkeep serve")
        await self._runtime.accounts.joining.accept(
            token=invitation.token.reveal(), password=password.reveal(), visitor=Visitor(request=uuid7(), ip=ip)
        )

    async def sign_in(self, password: Secret[str], *, ip: str | None) -> None:
        """Sign the first administrator in, and plan an authenticator app. Raises Unauthenticated, RateLimited."""
        noted, accounts = self._run.noted, self._runtime.accounts
        if noted.tenant is None or noted.person is None:
            raise Misconfigured("Nobody was invited yet")
        person = await accounts.people.get(this_operator(), tenant=noted.tenant, person=noted.person)
        done = await accounts.sign_in.with_password(
            tenant=noted.tenant_name,
            email=person.email,
            password=password.reveal(),
            proof=None,
            device=None,
            visitor=Visitor(request=uuid7(), ip=ip),
        )
        if isinstance(done, FactorAsked):  # the app was taken by a run that ended before it noted it
            self._run.note(Stage.PROVIDER)
            return
        self._cookie = done.begun.cookie
        self.planned = await accounts.account.plan_totp(await self._caller(ip), name=_APP)

    async def confirm(self, code: str, *, ip: str | None) -> None:
        """Take the app's first code; its session ends, and the person signs in by both from then on.

        Raises Validation where the code is wrong, RateLimited, StepUpRequired where signing in was too long ago.
        """
        if self.planned is None or self._cookie is None:
            raise StepUpRequired
        account = self._runtime.accounts.account
        try:
            begun = await account.confirm_totp(await self._caller(ip), factor=self.planned.id, code=code)
        except StepUpRequired:
            self.planned = self._cookie = None
            raise
        except Validation:
            raise Validation("This is not what the app shows now. Wait for its next six digits.") from None
        self._run.note(Stage.PROVIDER)
        self._cookie, self.planned = begun.cookie, None
        await self._runtime.accounts.sessions.end(await self._caller(ip), session=begun.id)
        self._cookie = None

    async def _caller(self, ip: str | None) -> Caller:
        request, cookie = uuid7(), self._cookie
        if cookie is None:
            raise StepUpRequired
        session = Presented(cookie=cookie.reveal(), changes=False)
        principal = await self._runtime.authenticator.authenticate(None, request=request, ip=ip, session=session)
        return Caller(principal, None, request, ip, None)
