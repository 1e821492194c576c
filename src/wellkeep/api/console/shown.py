"""How a page of the console goes out: under its own policy, with what its frame says, and refusals in words.

The policy lets the one script run that carries this answer's own nonce (CSP 3), which makes no text into markup
(Trusted Types), lets forms and requests go to our own origin, and nothing else.
"""

from __future__ import annotations

import secrets
from typing import Final
from uuid import UUID

from wellkeep.access.session_format import COOKIE, csrf_token
from wellkeep.api import browser
from wellkeep.api.answers import HTML, Answer, Headers
from wellkeep.api.routes import Call
from wellkeep.base.errors import Internal, PurposeRequired, Unauthenticated, WellkeepError
from wellkeep.base.permissions import Permission
from wellkeep.web import console, console_records
from wellkeep.web.console import Frame

HOME: Final = "/console"
_NONCE_BYTES = 16
_POLICY = (
    "default-src 'none'; script-src 'nonce-{}'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


def policy(nonce: str) -> tuple[bytes, bytes]:
    """Return the header that lets the script of `nonce` run, and nothing else."""
    return (b"content-security-policy", _POLICY.format(nonce).encode("ascii"))


def answer(page: bytes, frame: Frame, *, error: WellkeepError | None = None, headers: Headers = ()) -> Answer:
    """Return `page` as it goes out, under the policy of its frame's nonce; `error` is what it says in words."""
    sent = [policy(frame.nonce), *headers]
    if error is not None and error.retry_after is not None:
        sent.append((b"retry-after", b"%d" % error.retry_after))
    return Answer(200 if error is None else error.status, page, media=HTML, headers=sent)


def outside() -> Frame:
    """Return the frame of a page for whoever has not signed in."""
    return Frame(nonce=secrets.token_urlsafe(_NONCE_BYTES))


async def inside(call: Call, here: str) -> Frame:
    """Return the frame of the page `here` for who asks: where they may go, and the token that goes with acts."""
    offers = await call.runtime.desk.offers(call.caller)
    publishing = call.runtime.publishing
    administration = call.listener == "admin"
    places = console.ADMINISTRATION if administration else console.PLACES
    return Frame(
        nonce=secrets.token_urlsafe(_NONCE_BYTES),
        here=here,
        administration=administration,
        places=tuple(place for place in places if place.is_for(offers)),
        csrf=csrf_token(browser.cookie(call.found, COOKIE) or ""),
        signed_in=True,
        host=publishing.host,
        environment=publishing.environment,
        offers=offers,
    )


def refused(error: WellkeepError, path: str, request: UUID) -> Answer:
    """Return the page that says why there is no page; who has no session is asked to sign in, and comes back here."""
    frame = outside()
    if error.status == Unauthenticated.status:
        inside = path.startswith(HOME)
        page = console.sign_in(frame, back=path if inside else "", wrong="" if inside else error.message)
    elif isinstance(error, PurposeRequired):
        page = console_records.purpose(frame, path)
    else:
        words = type(error).title if error.code != Internal.code else Internal.title
        detail = "" if error.code == Internal.code else error.message
        page = console.problem(frame, title=words, detail=detail, code=error.code, request=str(request))
    return answer(page, frame, error=error)


SEEN_BY_ALL: Final = Permission.ACCOUNT_ENROL
"""The permission of pages that everybody who is signed in may open."""
