"""Signing in and out over HTTP, and showing the second factor once more.

Rules: the session goes into a cookie that no script reads, over TLS alone, and its id is new after each step; a browser
that signs in has that session and no other; what another site's page sends is refused (`browser`); every answer is the
same whatever of the first factor was wrong.
"""

from __future__ import annotations

from wellkeep.access.account_secrets import DEVICE_COOKIE, DEVICE_SECONDS
from wellkeep.access.session_format import COOKIE, csrf_token
from wellkeep.access.sessions import Begun, Visitor
from wellkeep.access.sign_in import Proof, SignedIn
from wellkeep.api import account_shapes as shapes
from wellkeep.api import answers, browser, headers
from wellkeep.api.answers import Answer
from wellkeep.api.routes import Call, Route
from wellkeep.base.errors import Conflict, FieldProblem, RateLimited, Unauthenticated, Validation
from wellkeep.base.permissions import Permission

_BYTES = 64 * 1024
"""Nothing here is long, and who sends it is not known yet."""

_TICKET = f"{'0198c0de':0<32}.{'':0<64}"
_WHO = "whoever signs in has no credential yet"
_OPEN = (Unauthenticated, RateLimited)


def visitor(call: Call) -> Visitor:
    """Return where a request without a credential comes from."""
    return Visitor(request=call.request, ip=call.ip, agent=headers.agent(call.found))


def renewed(begun: Begun) -> Answer:
    """Return the answer that gives a browser its new session."""
    return answers.json(shapes.signed_in(begun), headers=(browser.session_cookie(begun),))


async def entered(call: Call, done: SignedIn) -> tuple[tuple[bytes, bytes], ...]:
    """End the session that this browser had, and return the headers that sign somebody in."""
    await call.runtime.authenticator.replace(browser.cookie(call.found, COOKIE), visitor=visitor(call))
    device = browser.set_cookie(DEVICE_COOKIE, done.device, seconds=DEVICE_SECONDS)
    return (browser.session_cookie(done.begun), device)


async def _signed_in(call: Call, done: SignedIn) -> Answer:
    return answers.json(shapes.signed_in(done.begun), headers=await entered(call, done))


async def begin(call: Call) -> Answer:
    """Sign in by a password."""
    body: shapes.SignInInput = call.body
    done = await call.runtime.accounts.sign_in.with_password(
        tenant=body.tenant,
        email=body.email,
        password=body.password,
        proof=None if body.code is None else Proof(code=body.code),
        device=browser.cookie(call.found, DEVICE_COOKIE),
        visitor=visitor(call),
    )
    if isinstance(done, SignedIn):
        return await _signed_in(call, done)
    return answers.json(shapes.SignedIn(ticket=done.ticket.reveal(), factors=list(done.factors)))


async def show_factor(call: Call) -> Answer:
    """Sign in by the second factor."""
    body: shapes.FactorInput = call.body
    done = await call.runtime.accounts.sign_in.with_factor(
        ticket=body.ticket,
        proof=_proof(body.code, body.recovery_code, body.passkey),
        device=browser.cookie(call.found, DEVICE_COOKIE),
        visitor=visitor(call),
    )
    return await _signed_in(call, done)


async def ask_factor(call: Call) -> Answer:
    """Ask for a passkey as the second factor."""
    body: shapes.TicketInput = call.body
    asked = await call.runtime.accounts.sign_in.factor_challenge(ticket=body.ticket, visitor=visitor(call))
    return answers.json(shapes.challenge(asked))


async def ask_passkey(call: Call) -> Answer:
    """Ask for a passkey that signs in by itself."""
    return answers.json(shapes.challenge(await call.runtime.accounts.sign_in.passkey_challenge(visitor=visitor(call))))


async def show_passkey(call: Call) -> Answer:
    """Sign in by a passkey."""
    body: shapes.PasskeyAnswer = call.body
    done = await call.runtime.accounts.sign_in.with_passkey(
        challenge=body.challenge, credential=body.credential, visitor=visitor(call)
    )
    return await _signed_in(call, done)


async def now(call: Call) -> Answer:
    """Tell whose session it is, and the token that goes with what changes something."""
    who = await call.runtime.accounts.account.me(call.caller)
    principal = call.caller.principal
    if principal.credential is None:
        raise Unauthenticated
    found = shapes.SessionNow(
        session=principal.credential,
        person=who.person,
        tenant=principal.tenant,
        roles=list(principal.roles),
        second_factor=principal.mfa,
        fresh=principal.fresh,
        csrf_token=csrf_token(browser.cookie(call.found, COOKIE) or ""),
    )
    return answers.json(found)


async def end(call: Call) -> Answer:
    """Sign out."""
    await call.runtime.accounts.sessions.end(call.caller)
    return Answer(204, headers=(browser.no_cookie(),))


async def ask_step_up(call: Call) -> Answer:
    """Ask for a passkey once more."""
    return answers.json(shapes.challenge(await call.runtime.accounts.account.step_up_challenge(call.caller)))


async def step_up(call: Call) -> Answer:
    """Take the second factor once more."""
    body: shapes.StepUpInput = call.body
    return renewed(
        await call.runtime.accounts.account.step_up(call.caller, proof=_proof(body.code, None, body.passkey))
    )


async def join(call: Call) -> Answer:
    """Take a link."""
    body: shapes.JoinInput = call.body
    person = await call.runtime.accounts.joining.accept(token=body.token, password=body.password, visitor=visitor(call))
    return answers.json(shapes.Joined(person=person))


def _proof(code: str | None, recovery_code: str | None, passkey: shapes.PasskeyAnswer | None) -> Proof:
    if sum(one is not None for one in (code, recovery_code, passkey)) != 1:
        raise Validation("Show exactly one second factor", fields=(FieldProblem("", "required"),))
    if passkey is None:
        return Proof(code=code, recovery_code=recovery_code)
    return Proof(challenge=passkey.challenge, credential=passkey.credential)


SESSION = (
    Route(
        method="POST",
        path="/v1/session",
        name="session_begin",
        summary="Sign in by a password; the session is in the cookie of the answer",
        tag="session",
        serve=begin,
        open_because=_WHO,
        body=shapes.SignInInput,
        returns=shapes.SignedIn,
        problems=_OPEN,
        limit=_BYTES,
        example={"tenant": "st-elsewhere", "email": "robin@example.org", "password": "four words nobody says"},
    ),
    Route(
        method="POST",
        path="/v1/session/factor",
        name="session_factor",
        summary="Sign in by the second factor, with the ticket that the password got",
        tag="session",
        serve=show_factor,
        open_because=_WHO,
        body=shapes.FactorInput,
        returns=shapes.SignedIn,
        problems=_OPEN,
        limit=_BYTES,
        example={"ticket": _TICKET, "code": "123456"},
    ),
    Route(
        method="POST",
        path="/v1/session/factor/challenge",
        name="session_factor_challenge",
        summary="Ask for a passkey as the second factor",
        tag="session",
        serve=ask_factor,
        open_because=_WHO,
        body=shapes.TicketInput,
        returns=shapes.Challenge,
        problems=_OPEN,
        limit=_BYTES,
        example={"ticket": _TICKET},
    ),
    Route(
        method="POST",
        path="/v1/session/passkey/challenge",
        name="session_passkey_challenge",
        summary="Ask for a passkey that signs in by itself",
        tag="session",
        serve=ask_passkey,
        open_because=_WHO,
        returns=shapes.Challenge,
        problems=_OPEN,
    ),
    Route(
        method="POST",
        path="/v1/session/passkey",
        name="session_passkey",
        summary="Sign in by a passkey alone",
        tag="session",
        serve=show_passkey,
        open_because=_WHO,
        body=shapes.PasskeyAnswer,
        returns=shapes.SignedIn,
        problems=_OPEN,
        limit=_BYTES,
        example={"challenge": "0198c0de-0000-7000-8000-000000000000", "credential": {}},
    ),
    Route(
        method="GET",
        path="/v1/session",
        name="session_get",
        summary="Whose session this is, and the token for X-CSRF-Token",
        tag="session",
        serve=now,
        permission=Permission.ACCOUNT_ENROL,
        returns=shapes.SessionNow,
    ),
    Route(
        method="DELETE",
        path="/v1/session",
        name="session_end",
        summary="Sign out",
        tag="session",
        serve=end,
        permission=Permission.ACCOUNT_ENROL,
        status=204,
    ),
    Route(
        method="POST",
        path="/v1/session/step-up/challenge",
        name="session_step_up_challenge",
        summary="Ask for a passkey once more",
        tag="session",
        serve=ask_step_up,
        permission=Permission.ACCOUNT_USE,
        returns=shapes.Challenge,
    ),
    Route(
        method="POST",
        path="/v1/session/step-up",
        name="session_step_up",
        summary="Show the second factor once more; the session gets a new id",
        tag="session",
        serve=step_up,
        permission=Permission.ACCOUNT_USE,
        body=shapes.StepUpInput,
        returns=shapes.SignedIn,
        limit=_BYTES,
        example={"code": "123456"},
    ),
    Route(
        method="POST",
        path="/v1/invitations/accept",
        name="invitation_accept",
        summary="Set a password by the link of an invitation or of a reset",
        tag="session",
        serve=join,
        open_because="whoever was invited has no credential yet; the link is one, good once",
        body=shapes.JoinInput,
        returns=shapes.Joined,
        problems=(*_OPEN, Conflict),
        limit=_BYTES,
        example={"token": _TICKET, "password": "four words nobody says"},
    ),
)
