"""Asking a provider: its document, its keys, the token for a code. All of it through `egress`, bounded, never twice.

Rules: a request goes to a place that the provider was registered with, and to no other; a redirect is no answer; what
comes back is bounded in bytes and seconds. Document and keys are kept for an hour. A token with an unknown kid has the
keys fetched anew, at most once a minute for a provider: tokens of a forger's making are no way to make us ask.
Many who need the same ask once. A provider that is down is spared for fifteen seconds, in which everybody is told so at
once; then one asks again, and the others are told the same until that one knows better.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote_plus, urlencode
from uuid import UUID

from wellkeep.access import oidc_keys, oidc_metadata, oidc_tokens
from wellkeep.access.oidc_errors import ProviderRefused, ProviderUnusable
from wellkeep.access.oidc_json import NotJson, read_object
from wellkeep.access.oidc_keys import SigningKey
from wellkeep.access.oidc_metadata import Metadata
from wellkeep.access.oidc_tokens import Claims, Unverified
from wellkeep.base.clock import Clock
from wellkeep.base.secrets import Secret
from wellkeep.egress.dialling import Limits
from wellkeep.egress.egress import Egress
from wellkeep.egress.errors import EgressRefused, EgressUnreachable

KEPT: Final = 3_600.0
REFRESH: Final = 60.0
SPARED: Final = 15.0
_MOST_BYTES = 256 * 1024
_MOST_KEPT = 1_000
_LIMITS = Limits(resolve=3.0, connect=5.0, read=5.0, total=10.0, answer=_MOST_BYTES)
_OK, _BAD, _SERVER = 200, 400, 500
_FORM = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """What is registered of a provider; `secret` is None for a public client."""

    tenant: UUID
    id: UUID
    issuer: str
    discovery: str
    client_id: str
    secret: Secret[str] | None
    places: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a code was exchanged for."""

    id_token: str
    access_token: str | None


@dataclass(slots=True)
class _Kept:
    """What is known of one provider, until when (monotonic seconds), and when its keys were last asked for."""

    metadata: Metadata
    keys: tuple[SigningKey, ...]
    until: float
    asked: float
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(slots=True)
class _State:
    """How it stands with one provider: what is kept, when it last answered, until when it is spared and why."""

    kept: _Kept | None = None
    heard: float = float("-inf")
    spared: float | None = None
    reason: str = ""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class ProviderClient:
    """One per process."""

    def __init__(self, *, egress: Egress, clock: Clock, limits: Limits = _LIMITS) -> None:
        """Ask nothing yet."""
        self._egress = egress
        self._clock = clock
        self._limits = limits
        self._states: dict[tuple[UUID, UUID], _State] = {}

    async def metadata(self, provider: Registered) -> Metadata:
        """Return the provider's document. Raises ProviderUnusable."""
        return (await self._kept(provider)).metadata

    async def examine(self, provider: Registered) -> tuple[Metadata, tuple[SigningKey, ...]]:
        """Ask for document and keys anew. Raises as `metadata`."""
        self.forget(provider.tenant, provider.id)
        kept = await self._kept(provider)
        return kept.metadata, kept.keys

    def forget(self, tenant: UUID, provider: UUID) -> None:
        """Forget what is known of a provider."""
        self._states.pop((tenant, provider), None)

    def heard(self, tenant: UUID, provider: UUID) -> float:
        """Return when a provider last answered as it should, in monotonic seconds; minus infinity: never yet."""
        state = self._states.get((tenant, provider))
        return float("-inf") if state is None else state.heard

    async def exchange(self, provider: Registered, *, code: str, redirect_uri: str, verifier: Secret[str]) -> Tokens:
        """Return what `code` is good for. Raises ProviderRefused, ProviderUnusable."""
        metadata = await self.metadata(provider)
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier.reveal(),
        }
        headers = dict(_FORM)
        way = oidc_metadata.authentication(metadata, secret=provider.secret is not None)
        secret = "" if provider.secret is None else provider.secret.reveal()
        if way == "client_secret_basic":  # each part encoded as a form's, RFC 6749, section 2.3.1
            pair = f"{quote_plus(provider.client_id)}:{quote_plus(secret)}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode("ascii")).decode("ascii")
        else:
            form["client_id"] = provider.client_id
            if way == "client_secret_post":
                form["client_secret"] = secret
        with self._watched(self._state(provider), alone="unreachable"):
            found = await self._ask(provider, metadata.token_endpoint, form=form, headers=headers)
        id_token, access_token = found.get("id_token"), found.get("access_token")
        if not isinstance(id_token, str) or not isinstance(access_token, str | None):
            raise ProviderRefused("no-token")
        return Tokens(id_token, access_token)

    async def verified(self, provider: Registered, token: str) -> tuple[Claims, Unverified]:
        """Return the claims of a token that the provider signed, none of them checked yet, and its header.

        Raises ProviderRefused, ProviderUnusable.
        """
        read = oidc_tokens.parse(token)
        kept = await self._kept(provider)
        if read.algorithm not in kept.metadata.algorithms:
            raise ProviderRefused("algorithm")
        key = oidc_keys.fitting(kept.keys, kid=read.kid, algorithm=read.algorithm)
        if key is None:
            await self._refresh(provider, kept)
            key = oidc_keys.fitting(kept.keys, kid=read.kid, algorithm=read.algorithm)
        return oidc_tokens.verified(read, key), read

    async def _kept(self, provider: Registered) -> _Kept:
        state = self._state(provider)
        if state.kept is None or self._clock.monotonic() >= state.kept.until:
            async with state.turn:
                if state.kept is None or self._clock.monotonic() >= state.kept.until:
                    with self._watched(state):
                        state.kept = await self._fetched(provider)
        return state.kept

    async def _fetched(self, provider: Registered) -> _Kept:
        document = await self._ask(provider, provider.discovery)
        metadata = oidc_metadata.read_metadata(document, issuer=provider.issuer)
        keys = oidc_keys.read_keys(await self._ask(provider, metadata.jwks_uri))
        now = self._clock.monotonic()
        return _Kept(metadata, keys, now + KEPT, asked=now - REFRESH)

    def _state(self, provider: Registered) -> _State:
        place = provider.tenant, provider.id
        state = self._states.get(place)
        if state is None:
            while len(self._states) >= _MOST_KEPT:
                self._states.pop(next(iter(self._states)))
            state = self._states[place] = _State()
        return state

    @contextmanager
    def _watched(self, state: _State, *, alone: str | None = None) -> Iterator[None]:
        """Spare a provider that failed just now, and remember whether it does (for the reason `alone`, or for any).

        Raises ProviderUnusable at once where it is spared.
        """
        now = self._clock.monotonic()
        if state.spared is not None:
            if now < state.spared:
                raise ProviderUnusable(state.reason)
            state.spared = now + self._limits.total  # one asks, the others are told meanwhile
        try:
            yield
        except ProviderUnusable as failed:
            down = alone in {None, failed.reason}
            state.spared, state.reason = (self._clock.monotonic() + SPARED if down else None), failed.reason
            raise
        except ProviderRefused:
            state.spared = None
            raise
        state.spared, state.heard = None, self._clock.monotonic()

    async def _refresh(self, provider: Registered, kept: _Kept) -> None:
        async with kept.turn:
            now = self._clock.monotonic()
            if now - kept.asked < REFRESH:
                return
            kept.asked = now
            kept.keys = oidc_keys.read_keys(await self._ask(provider, kept.metadata.jwks_uri))

    async def _ask(
        self,
        provider: Registered,
        address: str,
        *,
        form: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """Return the JSON object that a GET, or a POST of `form`, is answered with."""
        place = self._place(provider, address)
        content = None if form is None else urlencode(form).encode("ascii")
        try:
            async with self._egress.http(place, limits=self._limits, tenant=provider.tenant) as client:
                answer = await client.request(
                    "GET" if form is None else "POST", address, content=content, headers=headers
                )
        except EgressUnreachable as error:
            raise ProviderUnusable("unreachable") from error
        except EgressRefused as error:
            raise ProviderUnusable("no-place") from error
        if form is not None and _BAD <= answer.status_code < _SERVER:
            raise ProviderRefused("code")
        if answer.status_code != _OK:
            raise ProviderUnusable("status")
        try:
            return read_object(answer.content, most=_MOST_BYTES)
        except NotJson:
            raise ProviderUnusable("malformed") from None

    def _place(self, provider: Registered, address: str) -> str:
        """Return the provider's place that `address` lies at; what lies at none is the first's to refuse, on record."""
        host, port = oidc_metadata.authority(address)
        for name in provider.places:
            found = self._egress.places.get(name)
            if found is not None and found.host == host and port in found.ports and not found.clear:
                return name
        return provider.places[0]
