"""Signing in at an identity provider (OpenID Connect, code flow with PKCE), and signing out from there.

Rules: a sign-in ends in the browser that began it, once, within ten minutes, with a token that this provider signed for
us and for this very sign-in; then the person has a session here like any other, or is asked for the second factor. A
second factor of the provider's counts where it is registered what says so, and it was shown just now. A provider that
can't be reached is said to be so, and is a finding; who has a password here gets in with it. What is not accepted is a
failed sign-in on record; where a token was forged it is a finding, too.

The code, the state and every token are in no log, entry, finding or error.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NoReturn
from uuid import UUID

from wellkeep.access import oidc_request, oidc_tokens, providers, session_format
from wellkeep.access.oidc_accounts import ProviderAccounts, identity_digest
from wellkeep.access.oidc_client import ProviderClient
from wellkeep.access.oidc_errors import ProviderRefused, ProviderUnusable
from wellkeep.access.oidc_request import Asking, Bound
from wellkeep.access.oidc_roles import shows_second_factor
from wellkeep.access.oidc_tokens import Claims, Expected, Logout
from wellkeep.access.oidc_watch import ProviderWatch
from wellkeep.access.persons import at_the_door, own
from wellkeep.access.providers import Provider
from wellkeep.access.sessions import Via, Visitor
from wellkeep.access.sign_in import Doors, FactorAsked, SignedIn, SignIn
from wellkeep.base.clock import Clock
from wellkeep.base.errors import NotFound, Unauthenticated
from wellkeep.base.ids import uuid7
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.ledger.event import Action

_NOT_FORGED: Final = frozenset({"code", "no-token", "denied"})
"""What refuses a sign-in without anybody having made up a token."""
_MOST_CODE = 3_000

_TENANT = "SELECT id FROM wk.tenants WHERE name = $1 AND state = 'active'"
_FORGET = "DELETE FROM access.pending_sign_in WHERE expires_at < clock_timestamp()"
_BEGIN = """
INSERT INTO access.pending_sign_in (tenant_id, id, provider_id, state, browser, created_at, expires_at)
SELECT wk.tenant(), $1, $2, $3, $4, now, now + interval '10 minutes' FROM (SELECT clock_timestamp() AS now) AS at
"""
_WHOSE = "SELECT tenant_id FROM access.pending_sign_in WHERE id = $1"
_TAKE = """
DELETE FROM access.pending_sign_in
WHERE id = $1 AND state = $2 AND browser = $3
  AND clock_timestamp() BETWEEN created_at AND expires_at
RETURNING provider_id, clock_timestamp() AS taken
"""
_FORGET_TOKENS = "DELETE FROM access.logout_token WHERE expires_at < clock_timestamp()"
_REMEMBER = """
INSERT INTO access.logout_token (tenant_id, provider_id, digest, identity, provider_session, seen_at, expires_at)
VALUES (wk.tenant(), $1, $2, $4, $5, clock_timestamp(), to_timestamp($3)) ON CONFLICT DO NOTHING RETURNING digest
"""
_HOLD = "SELECT FROM access.provider WHERE id = $1 FOR NO KEY UPDATE"
"""Who signs in there meanwhile waits, or is waited for: a sign-in either sees the logout, or is seen by it."""
_HOLDER = """
SELECT id, person_id FROM access.session WHERE provider_id = $1 AND provider_session = $2
UNION ALL SELECT id, person_id FROM access.ticket WHERE provider_id = $1 AND provider_session = $2
ORDER BY id DESC LIMIT 1
"""
_END = """
UPDATE access.session SET ended_at = clock_timestamp(), ended_because = 'provider'
WHERE person_id = $1 AND provider_id = $2 AND ($3::text IS NULL OR provider_session = $3) AND ended_at IS NULL
RETURNING id
"""
_END_TICKETS = """
DELETE FROM access.ticket WHERE person_id = $1 AND provider_id = $2 AND ($3::text IS NULL OR provider_session = $3)
"""


@dataclass(frozen=True, slots=True)
class Sent:
    """Where the browser goes, and the cookie that it keeps until it comes back."""

    address: str
    browser: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """What a browser brings back from a provider (OAuth 2.0, section 4.1.2; RFC 9207)."""

    state: str
    browser: str | None
    code: str | None = None
    issuer: str | None = None
    error: str | None = None


class ProviderSignIn:
    """Signs people in, and out, through the providers of their tenants."""

    def __init__(self, doors: Doors, *, client: ProviderClient, sign_in: SignIn, clock: Clock, authority: str) -> None:
        """Sign in by what `doors` offers; `authority` is the host, with its port, that browsers reach us by."""
        self._on = doors
        self._client = client
        self._sign_in = sign_in
        self._clock = clock
        self._watch = ProviderWatch(doors.findings, clock=clock)
        self._redirect = f"https://{authority}{oidc_request.CALLBACK}"
        self._accounts = ProviderAccounts(gate=doors.gate, pool=doors.app_pool)

    async def begin(self, *, tenant: str, provider: str, visitor: Visitor) -> Sent:
        """Begin a sign-in. Raises NotFound, RateLimited, ProviderUnusable."""
        await self._on.throttle.link(ip=visitor.ip)
        found = await self._named(tenant, provider)
        async with self._reported(found):
            metadata = await self._client.metadata(found.registered(self._on.secrets))
        identifier, browser = uuid7(), oidc_request.new_browser()
        state = session_format.new_secret(identifier).reveal()
        binding = oidc_request.bound(self._on.secrets, sign_in=identifier, browser=browser)
        async with self._on.app_pool.tenant_transaction(tenant=found.tenant) as connection:
            await connection.execute(_FORGET)
            digest = session_format.digest(state)
            await connection.execute(_BEGIN, identifier, found.id, digest, binding.digest)
        asking = Asking(
            client_id=found.client_id,
            redirect_uri=self._redirect,
            scopes=found.scopes,
            second_factor=found.second_factor,
            prompt=found.prompt,
        )
        address = oidc_request.authorisation_address(metadata, asking, state=state, binding=binding)
        return Sent(address, browser)

    async def finish(self, returned: Returned, *, visitor: Visitor) -> SignedIn | FactorAsked:
        """End a sign-in: a session, or what the second factor goes with.

        Raises Unauthenticated, always with the same words, ProviderUnusable, Forbidden and Conflict as the accounts do.
        """
        tried = await self._on.throttle.link(ip=visitor.ip)
        pending = await self._pending(returned)
        if pending is None:
            await self._refuse(ProviderRefused("state"), visitor, None)
        found, binding, taken = pending
        try:
            async with self._reported(found):
                claims = await self._claims(found, returned, binding)
        except ProviderRefused as refused:
            await self._refuse(refused, visitor, found)
        person = await self._accounts.person(found, claims, visitor=visitor)
        await self._on.throttle.right(tried, begun=1)
        session = oidc_tokens.name(claims, "sid")
        via = Via(
            method="provider",
            provider=found.id,
            provider_session=_hidden(session),
            subject=identity_digest(found.issuer, claims["sub"]),
            since=taken,
        )
        if shows_second_factor(claims, found.second_factor):
            begun = await self._on.sessions.begin(
                tenant=found.tenant, person=person, via=via, mfa=True, visitor=visitor
            )
            return SignedIn(begun, self._on.secrets.device(tenant=found.tenant, person=person))
        return await self._sign_in.admit(tenant=found.tenant, person=person, via=via, visitor=visitor)

    async def sign_out(self, *, tenant: str, provider: str, token: str, visitor: Visitor) -> int:
        """End the sessions that a logout token names; returns how many they were.

        No lane slows it down, since a provider sends it once: by its address it is counted like any open request.
        Raises NotFound, ProviderRefused, ProviderUnusable.
        """
        found = await self._named(tenant, provider)
        registered = found.registered(self._on.secrets)
        try:
            async with self._reported(found):
                claims, read = await self._client.verified(registered, token)
                told = oidc_tokens.check_logout_token(
                    claims, read, issuer=found.issuer, client_id=found.client_id, now=self._clock.seconds()
                )
            return await self._signed_out(found, told, visitor)
        except ProviderRefused as refused:
            await self._note(refused, visitor, found)
            raise

    async def _claims(self, found: Provider, returned: Returned, binding: Bound) -> Claims:
        """Return the claims of who comes back, every one of them checked."""
        registered = found.registered(self._on.secrets)
        metadata = await self._client.metadata(registered)
        if returned.issuer != found.issuer and (returned.issuer is not None or metadata.announces_issuer):
            raise ProviderRefused("mixed-up")
        if returned.error is not None or returned.code is None or len(returned.code) > _MOST_CODE:
            raise ProviderRefused("denied")
        tokens = await self._client.exchange(
            registered, code=returned.code, redirect_uri=self._redirect, verifier=binding.verifier
        )
        claims, read = await self._client.verified(registered, tokens.id_token)
        expected = Expected(
            issuer=found.issuer,
            client_id=found.client_id,
            nonce=binding.nonce,
            access_token=tokens.access_token,
            most_age=oidc_tokens.FRESH if found.second_factor else None,
        )
        oidc_tokens.check_id_token(claims, read, expected, now=self._clock.seconds())
        return claims

    async def _named(self, tenant: str, provider: str) -> Provider:
        """Return a provider by its tenant's name and its own; what is not there looks the same whichever it is."""
        async with self._on.auth_pool.connection() as connection:
            home: UUID | None = await connection.fetchval(_TENANT, tenant)
        if home is None:
            raise NotFound
        async with self._on.app_pool.tenant_transaction(tenant=home) as connection:
            found = await providers.by_name(connection, provider)
        if found is None:
            raise NotFound
        return found

    async def _pending(self, returned: Returned) -> tuple[Provider, Bound, datetime] | None:
        """Use up the sign-in that `returned` belongs to; None where there is none of this state in this browser."""
        presented = session_format.read(returned.state)
        if presented is None or returned.browser is None:
            return None
        async with self._on.auth_pool.connection() as connection:
            tenant = await connection.fetchval(_WHOSE, presented.id)
        if tenant is None:
            return None
        binding = oidc_request.bound(self._on.secrets, sign_in=presented.id, browser=returned.browser)
        async with self._on.app_pool.tenant_transaction(tenant=tenant) as connection:
            row = await connection.fetchrow(_TAKE, presented.id, presented.digest, binding.digest)
            found = None if row is None else await providers.by_id(connection, row["provider_id"])
        return None if found is None or row is None else (found, binding, row["taken"])

    async def _signed_out(self, found: Provider, told: Logout, visitor: Visitor) -> int:
        session, subject = _hidden(told.session), None
        digest = hashlib.sha256(told.id.encode("utf-8", "surrogatepass")).digest()
        person = None
        if told.subject is not None:
            subject = identity_digest(found.issuer, told.subject)
            person = await self._accounts.known(found.tenant, subject)
        remembered = (found.id, digest, told.expires, subject, session)
        async with self._on.app_pool.tenant_transaction(tenant=found.tenant) as connection:
            await connection.execute(_HOLD, found.id)
            if told.subject is None:
                holder = await connection.fetchrow(_HOLDER, found.id, session)
                person = None if holder is None else holder["person_id"]
            await connection.execute(_FORGET_TOKENS)
            if person is None and await connection.fetchval(_REMEMBER, *remembered) is None:
                raise ProviderRefused("replayed")
        if person is None:
            return 0
        caller = at_the_door(
            tenant=found.tenant, person=person, request=visitor.request, ip=visitor.ip, agent=visitor.agent
        )
        decision = await self._on.gate.decide(caller, own(Action.SESSION_ENDED, person, enrolling=True))
        async with self._on.gate.transaction(decision) as work:
            await work.connection.execute(_HOLD, found.id)
            if await work.connection.fetchval(_REMEMBER, *remembered) is None:
                raise ProviderRefused("replayed")
            await work.connection.execute(_END_TICKETS, person, found.id, session)
            ended = len(await work.connection.fetch(_END, person, found.id, session))
            work.record(count=ended)
        return ended

    @asynccontextmanager
    async def _reported(self, found: Provider) -> AsyncIterator[None]:
        """Report a provider that is of no use, and close that where it answered."""
        try:
            yield
        except ProviderUnusable as unusable:
            self._watch.failed(found.tenant, found.id, reason=unusable.reason)
            raise
        heard = self._client.heard(found.tenant, found.id)
        await self._watch.answered(found.tenant, found.id, heard=heard)

    async def _refuse(self, refused: ProviderRefused, visitor: Visitor, found: Provider | None) -> NoReturn:
        await self._note(refused, visitor, found)
        raise Unauthenticated(refused.message) from None

    async def _note(self, refused: ProviderRefused, visitor: Visitor, found: Provider | None) -> None:
        await self._on.failures.note(request=visitor.request, ip=visitor.ip, agent=visitor.agent, key_id=None)
        if found is not None and refused.reason not in _NOT_FORGED:
            self._on.findings.note(
                found.tenant,
                kind=Kind.PROVIDER_FORGED,
                severity=Severity.HIGH,
                key=finding_key(Kind.PROVIDER_FORGED, found.id, refused.reason),
                detail={"provider": str(found.id), "error": refused.reason},
            )


def _hidden(session: str | None) -> str | None:
    """Return what is kept of the id of a provider's session: its digest, in hexadecimal."""
    return None if session is None else hashlib.sha256(session.encode("utf-8", "surrogatepass")).hexdigest()
