"""The part of the reviewed table that is about people: a tenant's users, and everybody's own account.

What is about one's own account is no role's and no key's to do: no key gets anywhere with `own_account`.
"""

from __future__ import annotations

from uuid import UUID

from wellkeep.base.ids import uuid7

Line = tuple[str, str, str, str, dict[str, object] | None, bool]
"""Operation, permission, method, address, body, and whether it leaves an entry."""


def users(user: UUID, *, base: str, prefix: str, name: str | None) -> list[Line]:
    """Return the requests about the people below `base`; `name` None: nothing is to be made."""
    one = f"{base}/{user}"
    made: dict[str, object] = {
        "email": f"{name or 'nobody'}@example.org",
        "name": "Probe",
        "roles": [] if name else ["nobody"],
    }
    read, change = "user:read", "user:change"
    return [
        (f"{prefix}_list", read, "GET", base, None, True),
        (f"{prefix}_get", read, "GET", one, None, True),
        (f"{prefix}_create", "user:create", "POST", base, made, True),
        (f"{prefix}_change", change, "PATCH", one, {"name": "Probe"}, True),
        (f"{prefix}_grant", change, "POST", f"{one}/roles", {"role": "billing"}, True),
        (f"{prefix}_revoke", change, "DELETE", f"{one}/roles/billing", None, True),
        (f"{prefix}_disable", change, "POST", f"{one}/disable", None, True),
        (f"{prefix}_enable", change, "POST", f"{one}/enable", None, True),
        (f"{prefix}_reset", change, "POST", f"{one}/reset", {}, True),
    ]


def own_account() -> list[Line]:
    """Return one well-formed request for each operation about one's own account."""
    account, enrol, use = "/v1/account", "account:enrol", "account:use"
    passkey: dict[str, object] = {"challenge": str(uuid7()), "credential": {}}
    return [
        ("session_get", enrol, "GET", "/v1/session", None, False),
        ("account_get", enrol, "GET", account, None, False),
        ("session_end", enrol, "DELETE", "/v1/session", None, True),
        ("session_step_up_challenge", use, "POST", "/v1/session/step-up/challenge", None, False),
        ("session_step_up", use, "POST", "/v1/session/step-up", {"code": "000000"}, True),
        ("account_password", use, "POST", f"{account}/password", {"current": "x", "password": "y"}, True),
        ("account_totp_plan", enrol, "POST", f"{account}/totp", {}, True),
        ("account_totp_confirm", enrol, "POST", f"{account}/totp/confirm", {"id": str(uuid7()), "code": "1"}, True),
        ("account_passkey_plan", enrol, "POST", f"{account}/passkeys/challenge", None, False),
        ("account_passkey_add", enrol, "POST", f"{account}/passkeys", passkey, True),
        ("account_recovery_codes", use, "POST", f"{account}/recovery-codes", None, True),
        ("account_factor_remove", use, "DELETE", f"{account}/factors/{uuid7()}", None, True),
        ("account_session_end", enrol, "DELETE", f"{account}/sessions/{uuid7()}", None, True),
        ("account_sessions_end", enrol, "DELETE", f"{account}/sessions", None, True),
    ]


def own_pages() -> list[Line]:
    """Return one request for each page that everybody may open who is signed in."""
    enrol = "account:enrol"
    return [
        ("console_now", enrol, "GET", "/console", None, False),
        ("console_account", enrol, "GET", "/console/account", None, False),
        ("console_design", enrol, "GET", "/console/design", None, False),
        ("console_search", enrol, "POST", "/console/search", {"text": "ledger"}, False),
    ]
