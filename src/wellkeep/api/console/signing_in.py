"""Signing in on a page: the same steps as at `/v1/session`, with a form, so that it works without scripts.

Rules: what came is shown again but for what is secret; wherever one wanted to go is a page of the console, or its
first; a form of another site's page is refused (`browser`) before it is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from wellkeep.access.account_secrets import DEVICE_COOKIE
from wellkeep.access.sign_in import FactorAsked, Proof, SignedIn
from wellkeep.api import browser
from wellkeep.api.answers import Answer, Headers
from wellkeep.api.console import shown
from wellkeep.api.problems import MalformedRequest
from wellkeep.api.query import Parameter
from wellkeep.api.routes import Call, Route
from wellkeep.api.session import entered, visitor
from wellkeep.base.errors import RateLimited, Unauthenticated, WellkeepError
from wellkeep.base.secrets import Secret
from wellkeep.web import console

FORM: Final = "application/x-www-form-urlencoded"
_BYTES: Final = 16 * 1024
_SEE_OTHER: Final = 303
_BACK: Final = re.compile(r"/console(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_WHO: Final = "whoever signs in has no credential yet"
_NAME: Final = re.compile("[a-z][a-z0-9-]{0,62}")
_PROVIDER: Final = (
    Parameter("tenant", _NAME, "the tenant's short name", "st-elsewhere"),
    Parameter("provider", _NAME, "what the tenant calls its identity provider", "keycloak"),
)
_LONGEST: Final = {"tenant": 63, "email": 320, "password": 4096, "ticket": 128, "code": 32, "recovery_code": 128}


async def ask(_call: Call) -> Answer:
    """Show the page to sign in on."""
    frame = shown.outside()
    return shown.answer(console.sign_in(frame), frame)


async def begin(call: Call) -> Answer:
    """Take the first factor."""
    form = _form(call.body, "tenant", "email", "password", "back")
    try:
        done = await call.runtime.accounts.sign_in.with_password(
            tenant=form["tenant"].strip(),
            email=form["email"],
            password=form["password"],
            proof=None,
            device=browser.cookie(call.found, DEVICE_COOKIE),
            visitor=visitor(call),
        )
    except (Unauthenticated, RateLimited) as error:
        frame = shown.outside()
        told = {"tenant": form["tenant"], "email": form["email"], "back": back(form)}
        return shown.answer(console.sign_in(frame, wrong=error.message, **told), frame, error=error)
    if isinstance(done, FactorAsked):
        return ask_factor(done, back(form))
    return await _signed_in(call, done, form)


async def show_factor(call: Call) -> Answer:
    """Take the second factor."""
    form = _form(call.body, "ticket", "code", "recovery_code", "back")
    code, recovery = form["code"].replace(" ", ""), form["recovery_code"].strip()
    proof = Proof(code=code) if code else Proof(recovery_code=recovery)
    try:
        done = await call.runtime.accounts.sign_in.with_factor(
            ticket=form["ticket"],
            proof=proof,
            device=browser.cookie(call.found, DEVICE_COOKIE),
            visitor=visitor(call),
        )
    except (Unauthenticated, RateLimited) as error:
        again = FactorAsked(Secret(form["ticket"]), ("totp", "passkey", "recovery_code"))
        return ask_factor(again, back(form), error=error)
    return await _signed_in(call, done, form)


async def invite(_call: Call) -> Answer:
    """Show the page that takes a link."""
    frame = shown.outside()
    return shown.answer(console.invitation(frame), frame)


def back(form: Mapping[str, str]) -> str:
    """Return where somebody wanted to go: a page of the console, else its first."""
    wanted = form["back"]
    return wanted if _BACK.fullmatch(wanted) else shown.HOME


def ask_factor(asked: FactorAsked, wanted: str, *, error: WellkeepError | None = None, headers: Headers = ()) -> Answer:
    """Return the page that asks for the second factor; it leads to `wanted`. `error`: what was shown is not right."""
    frame, wrong = shown.outside(), "" if error is None else error.message
    page = console.factor(frame, ticket=asked.ticket.reveal(), factors=asked.factors, back=wanted, wrong=wrong)
    return shown.answer(page, frame, error=error, headers=headers)


async def choose_provider(call: Call) -> Answer:
    """Show the way to a tenant's identity provider: a link, since a form may lead to our own pages alone."""
    frame, given = shown.outside(), call.query
    return shown.answer(
        console.provider(frame, tenant=given.get("tenant", ""), provider=given.get("provider", "")), frame
    )


async def _signed_in(call: Call, done: SignedIn, form: Mapping[str, str]) -> Answer:
    location = (b"location", back(form).encode("ascii"))
    return Answer(_SEE_OTHER, headers=(location, *await entered(call, done)))


def _form(body: bytes, *names: str) -> dict[str, str]:
    """Return the members `names` of a form, empty where they are not there. Raises MalformedRequest."""
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=16, errors="strict")
    except ValueError:
        raise MalformedRequest("The body is no form") from None
    given = dict(pairs)
    if len(given) != len(pairs) or not given.keys() <= set(names):
        raise MalformedRequest("The form has a member twice, or one that it does not take")
    if any(len(value) > _LONGEST.get(name, 256) for name, value in given.items()):
        raise MalformedRequest("A member of the form is too long")
    return {name: given.get(name, "") for name in names}


SIGNING_IN = (
    Route(
        method="GET",
        path="/sign-in",
        name="console_sign_in",
        summary="The page to sign in on",
        tag="console",
        serve=ask,
        open_because=_WHO,
        answer_media="text/html",
    ),
    Route(
        method="POST",
        path="/sign-in",
        name="console_sign_in_begin",
        summary="Sign in by a password, by the page's form",
        tag="console",
        serve=begin,
        open_because=_WHO,
        body=bytes,
        media=FORM,
        answer_media="text/html",
        also=(_SEE_OTHER,),
        problems=(Unauthenticated, RateLimited),
        limit=_BYTES,
        refuse=shown.refused,
    ),
    Route(
        method="POST",
        path="/sign-in/factor",
        name="console_sign_in_factor",
        summary="Sign in by the second factor, by the page's form",
        tag="console",
        serve=show_factor,
        open_because=_WHO,
        body=bytes,
        media=FORM,
        answer_media="text/html",
        also=(_SEE_OTHER,),
        problems=(Unauthenticated, RateLimited),
        limit=_BYTES,
        refuse=shown.refused,
    ),
    Route(
        method="GET",
        path="/sign-in/provider",
        name="console_sign_in_provider",
        summary="The way to a tenant's identity provider, by the page's form",
        tag="console",
        serve=choose_provider,
        open_because=_WHO,
        query=_PROVIDER,
        answer_media="text/html",
        refuse=shown.refused,
    ),
    Route(
        method="GET",
        path="/invitation",
        name="console_invitation",
        summary="The page that takes the link of an invitation, or of a reset",
        tag="console",
        serve=invite,
        open_because="whoever was invited has no credential yet; the link stays in the browser",
        answer_media="text/html",
    ),
)
