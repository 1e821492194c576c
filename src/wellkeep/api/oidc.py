"""Signing in at an identity provider, over HTTP: there, back, and out.

Rules: the browser is sent to the provider's own address or to one fixed path of ours, never to one that a request
names. The cookie that binds a sign-in to its browser goes with the answer that ends it. What the provider
adds to the address of the return is taken where it is known, and none of it is shown, logged or passed on.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl

from wellkeep.access import oidc_request
from wellkeep.access.oidc import Returned
from wellkeep.access.oidc_errors import ProviderRefused
from wellkeep.access.oidc_tokens import MOST_BYTES
from wellkeep.access.sign_in import SignedIn
from wellkeep.api import account_shapes as shapes
from wellkeep.api import answers, browser
from wellkeep.api.answers import Answer
from wellkeep.api.console.shown import refused
from wellkeep.api.console.signing_in import ask_factor
from wellkeep.api.headers import wants_html
from wellkeep.api.problems import MalformedRequest
from wellkeep.api.query import Parameter
from wellkeep.api.routes import Call, Route
from wellkeep.api.session import entered, visitor
from wellkeep.base.errors import Conflict, Forbidden, NotFound, RateLimited, Unauthenticated

HOME: Final = "/console"
"""Where a browser goes once it is signed in: always here."""

_FORM = "application/x-www-form-urlencoded"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
_ANY = re.compile(r"[^\x00-\x1f\x7f]{0,3500}")
_SEE_OTHER = 303

_PARAMETERS = (
    Parameter("state", re.compile(r"[0-9a-f.]{1,200}"), "which sign-in this ends", "0198c0de"),
    Parameter("code", _ANY, "what the provider gives for a token", "SplxlOBeZQQYbYS6WxSbIA"),
    Parameter("iss", _ANY, "who sends the browser back (RFC 9207)", "https://login.example.org"),
    Parameter("error", _ANY, "why the provider signed nobody in", "access_denied"),
    *(
        Parameter(name, _ANY, "what some providers add; it means nothing here", "x")
        for name in (
            *("error_description", "error_uri", "error_subcode", "session_state", "scope", "authuser", "hd", "prompt"),
            *("client_info", "correlation_id"),
        )
    ),
)


async def begin(call: Call) -> Answer:
    """Send the browser to the provider."""
    sent = await call.runtime.single_sign_on.sign_in.begin(
        tenant=_name(call, "tenant"), provider=_name(call, "provider"), visitor=visitor(call)
    )
    kept = browser.set_cookie(oidc_request.COOKIE, sent.browser, seconds=oidc_request.COOKIE_SECONDS)
    return Answer(_SEE_OTHER, headers=(_location(sent.address), kept))


async def finish(call: Call) -> Answer:
    """Take the browser back."""
    returned = Returned(
        state=call.query.get("state", ""),
        browser=browser.cookie(call.found, oidc_request.COOKIE),
        code=call.query.get("code"),
        issuer=call.query.get("iss"),
        error=call.query.get("error"),
    )
    done = await call.runtime.single_sign_on.sign_in.finish(returned, visitor=visitor(call))
    gone = browser.no_cookie(oidc_request.COOKIE)
    if isinstance(done, SignedIn):
        return Answer(_SEE_OTHER, headers=(_location(HOME), gone, *await entered(call, done)))
    if wants_html(call.found):
        return ask_factor(done, HOME, headers=(gone,))
    asked = shapes.SignedIn(ticket=done.ticket.reveal(), factors=list(done.factors))
    return answers.json(asked, headers=(gone,))


async def sign_out(call: Call) -> Answer:
    """End the sessions that a provider says are over."""
    try:
        await call.runtime.single_sign_on.sign_in.sign_out(
            tenant=_name(call, "tenant"),
            provider=_name(call, "provider"),
            token=_logout_token(call.body),
            visitor=visitor(call),
        )
    except ProviderRefused:
        raise MalformedRequest("The logout token was not accepted") from None
    return Answer(204)


def _name(call: Call, parameter: str) -> str:
    name = call.path[parameter]
    if _NAME.fullmatch(name) is None:
        raise NotFound
    return name


def _location(address: str) -> tuple[bytes, bytes]:
    return (b"location", address.encode("ascii"))


def _logout_token(body: bytes) -> str:
    """Return the one token of a form. Raises MalformedRequest."""
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=16, errors="strict")
    except ValueError:
        raise MalformedRequest("The body is no form") from None
    found = [value for name, value in pairs if name == "logout_token"]
    if len(found) != 1:
        raise MalformedRequest("The form holds one logout_token")
    return found[0]


SIGN_IN = (
    Route(
        method="GET",
        path=oidc_request.CALLBACK,
        name="sign_in_finish",
        summary="Where the identity provider sends the browser back to",
        tag="session",
        serve=finish,
        open_because="whoever signs in has no credential yet; the state is one, good once, in one browser",
        query=_PARAMETERS,
        returns=shapes.SignedIn,
        also_media="text/html",
        also=(_SEE_OTHER,),
        refuse=refused,
        problems=(Unauthenticated, Forbidden, Conflict, RateLimited),
    ),
    Route(
        method="GET",
        path="/v1/sign-in/{tenant}/{provider}",
        name="sign_in_begin",
        summary="Sign in at a tenant's identity provider: a link for browsers",
        tag="session",
        serve=begin,
        open_because="whoever signs in has no credential yet",
        status=_SEE_OTHER,
        problems=(NotFound, RateLimited),
    ),
    Route(
        method="POST",
        path="/v1/sign-in/{tenant}/{provider}/logout",
        name="sign_in_logout",
        summary="Back-channel logout: for the identity provider",
        tag="session",
        serve=sign_out,
        open_because="the logout token is the credential: the provider signed it",
        body=bytes,
        media=_FORM,
        status=204,
        problems=(NotFound, RateLimited),
        limit=2 * MOST_BYTES,
        counted="logout",
    ),
)
