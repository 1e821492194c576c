"""One's own account over HTTP: password, second factors, recovery codes, sessions."""

from __future__ import annotations

import segno

from wellkeep.api import account_shapes as shapes
from wellkeep.api import answers, browser
from wellkeep.api.answers import Answer
from wellkeep.api.routes import Call, Route
from wellkeep.api.session import renewed
from wellkeep.base.errors import Conflict
from wellkeep.base.permissions import Permission

_BYTES = 64 * 1024


async def show(call: Call) -> Answer:
    """Return the account."""
    accounts, caller = call.runtime.accounts, call.caller
    me = await accounts.account.me(caller)
    return answers.json(shapes.account(me, await accounts.sessions.list(caller), caller.principal.credential))


async def change_password(call: Call) -> Answer:
    """Set another password."""
    body: shapes.PasswordInput = call.body
    account = call.runtime.accounts.account
    return renewed(await account.change_password(call.caller, current=body.current, password=body.password))


async def plan_totp(call: Call) -> Answer:
    """Begin to set up an app."""
    body: shapes.TotpInput = call.body
    planned = await call.runtime.accounts.account.plan_totp(call.caller, name=body.name)
    qr = segno.make_qr(planned.uri, error="m").svg_data_uri(scale=4, light="#fff")
    return answers.json(shapes.TotpPlanned(id=planned.id, secret=planned.secret, uri=planned.uri, qr=qr))


async def confirm_totp(call: Call) -> Answer:
    """Take the app's first code."""
    body: shapes.TotpConfirmation = call.body
    return renewed(await call.runtime.accounts.account.confirm_totp(call.caller, factor=body.id, code=body.code))


async def plan_passkey(call: Call) -> Answer:
    """Ask for a new passkey."""
    return answers.json(shapes.challenge(await call.runtime.accounts.account.plan_passkey(call.caller)))


async def add_passkey(call: Call) -> Answer:
    """Keep a new passkey."""
    body: shapes.PasskeyInput = call.body
    _, begun = await call.runtime.accounts.account.add_passkey(
        call.caller, challenge=body.challenge, credential=body.credential, name=body.name
    )
    return renewed(begun)


async def renew_codes(call: Call) -> Answer:
    """Make recovery codes."""
    codes = await call.runtime.accounts.account.renew_recovery_codes(call.caller)
    return answers.json(shapes.RecoveryCodes(codes=[code.reveal() for code in codes]))


async def remove_factor(call: Call) -> Answer:
    """Remove a factor."""
    return renewed(await call.runtime.accounts.account.remove_factor(call.caller, factor=call.identifier("factor_id")))


async def end_session(call: Call) -> Answer:
    """End one of one's own sessions."""
    session = call.identifier("session_id")
    await call.runtime.accounts.sessions.end(call.caller, session=session)
    here = session == call.caller.principal.credential
    return Answer(204, headers=(browser.no_cookie(),) if here else ())


async def end_others(call: Call) -> Answer:
    """End all of one's own sessions but this one."""
    await call.runtime.accounts.sessions.end_others(call.caller)
    return Answer(204)


ACCOUNT = (
    Route(
        method="GET",
        path="/v1/account",
        name="account_get",
        summary="Your own account: second factors, recovery codes left, sessions",
        tag="account",
        serve=show,
        permission=Permission.ACCOUNT_ENROL,
        returns=shapes.AccountNow,
    ),
    Route(
        method="POST",
        path="/v1/account/password",
        name="account_password",
        summary="Set another password; your other sessions end",
        tag="account",
        serve=change_password,
        permission=Permission.ACCOUNT_USE,
        body=shapes.PasswordInput,
        returns=shapes.SignedIn,
        limit=_BYTES,
        example={"current": "four words nobody says", "password": "another four words entirely"},
    ),
    Route(
        method="POST",
        path="/v1/account/totp",
        name="account_totp_plan",
        summary="Begin to set up an authenticator app; its secret is shown this once",
        tag="account",
        serve=plan_totp,
        permission=Permission.ACCOUNT_ENROL,
        body=shapes.TotpInput,
        returns=shapes.TotpPlanned,
        limit=_BYTES,
        example={"name": "Phone"},
    ),
    Route(
        method="POST",
        path="/v1/account/totp/confirm",
        name="account_totp_confirm",
        summary="Show the app's first code: it counts from then on, and your other sessions end",
        tag="account",
        serve=confirm_totp,
        permission=Permission.ACCOUNT_ENROL,
        body=shapes.TotpConfirmation,
        returns=shapes.SignedIn,
        limit=_BYTES,
        example={"id": "0198c0de-0000-7000-8000-000000000000", "code": "123456"},
    ),
    Route(
        method="POST",
        path="/v1/account/passkeys/challenge",
        name="account_passkey_plan",
        summary="Ask the browser for a new passkey",
        tag="account",
        serve=plan_passkey,
        permission=Permission.ACCOUNT_ENROL,
        returns=shapes.Challenge,
        problems=(Conflict,),
    ),
    Route(
        method="POST",
        path="/v1/account/passkeys",
        name="account_passkey_add",
        summary="Keep a new passkey; your other sessions end",
        tag="account",
        serve=add_passkey,
        permission=Permission.ACCOUNT_ENROL,
        body=shapes.PasskeyInput,
        returns=shapes.SignedIn,
        problems=(Conflict,),
        limit=_BYTES,
        example={"challenge": "0198c0de-0000-7000-8000-000000000000", "credential": {}, "name": "Key"},
    ),
    Route(
        method="POST",
        path="/v1/account/recovery-codes",
        name="account_recovery_codes",
        summary="Make ten recovery codes, shown this once; the old ones are worthless from then on",
        tag="account",
        serve=renew_codes,
        permission=Permission.ACCOUNT_USE,
        returns=shapes.RecoveryCodes,
        problems=(Conflict,),
    ),
    Route(
        method="DELETE",
        path="/v1/account/factors/{factor_id}",
        name="account_factor_remove",
        summary="Remove a second factor; refused for the last one where one must be there",
        tag="account",
        serve=remove_factor,
        permission=Permission.ACCOUNT_USE,
        returns=shapes.SignedIn,
        problems=(Conflict,),
    ),
    Route(
        method="DELETE",
        path="/v1/account/sessions/{session_id}",
        name="account_session_end",
        summary="End one of your sessions",
        tag="account",
        serve=end_session,
        permission=Permission.ACCOUNT_ENROL,
        status=204,
    ),
    Route(
        method="DELETE",
        path="/v1/account/sessions",
        name="account_sessions_end",
        summary="End all of your sessions but this one",
        tag="account",
        serve=end_others,
        permission=Permission.ACCOUNT_ENROL,
        status=204,
    ),
)
