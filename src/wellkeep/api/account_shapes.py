"""The bodies of sign-in, of one's own account and of the people of a tenant.

Rule: as in `shapes`: unknown keys are refused, every string and list is bounded. What is shown once stands in the
answer that makes it and nowhere else.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from wellkeep.access.account import Me
from wellkeep.access.passkeys import Asked
from wellkeep.access.people import Invited, Person
from wellkeep.access.sessions import Begun, Session
from wellkeep.api.shapes import Input, Name

Text = Annotated[str, Meta(max_length=320)]
Password = Annotated[str, Meta(min_length=1, max_length=4096, description="12 to 1,024 code points where it is new")]
Value = Annotated[str, Meta(max_length=128)]
Code = Annotated[str, Meta(max_length=32, description="six digits of an authenticator app")]
Label = Annotated[str, Meta(min_length=1, max_length=120, description="what the owner calls it")]
Credential = Annotated[dict[str, Any], Meta(max_length=16, description="what navigator.credentials gave, as JSON")]


class PasskeyAnswer(Input, frozen=True, kw_only=True):
    """A signed challenge."""

    challenge: UUID
    credential: Credential


class SignInInput(Input, frozen=True, kw_only=True):
    """Who signs in; `code` with it where there is an authenticator app."""

    tenant: Annotated[str, Meta(max_length=63)]
    email: Text
    password: Password
    code: Code | None = None


class FactorInput(Input, frozen=True, kw_only=True):
    """The second factor: exactly one of `code`, `recovery_code` and `passkey`."""

    ticket: Value
    code: Code | None = None
    recovery_code: Value | None = None
    passkey: PasskeyAnswer | None = None


class TicketInput(Input, frozen=True, kw_only=True):
    """The ticket that the password got."""

    ticket: Value


class StepUpInput(Input, frozen=True, kw_only=True):
    """The second factor once more: `code` or `passkey`."""

    code: Code | None = None
    passkey: PasskeyAnswer | None = None


class JoinInput(Input, frozen=True, kw_only=True):
    """The part of the link after `#`, and the password to be."""

    token: Value
    password: Password


class PasswordInput(Input, frozen=True, kw_only=True):
    """The password that is, and the one to be."""

    current: Password
    password: Password


class TotpInput(Input, frozen=True, kw_only=True):
    """An authenticator app to be set up."""

    name: Label = "Authenticator app"


class TotpConfirmation(Input, frozen=True, kw_only=True):
    """The first code of an app."""

    id: UUID
    code: Code


class PasskeyInput(Input, frozen=True, kw_only=True):
    """A new passkey."""

    challenge: UUID
    credential: Credential
    name: Label = "Passkey"


class UserInput(Input, frozen=True, kw_only=True):
    """A new person."""

    email: Text
    name: Annotated[str, Meta(max_length=400)]
    roles: Annotated[list[Name], Meta(max_length=8)] = msgspec.field(default_factory=list)


class UserChange(Input, frozen=True, kw_only=True):
    """What changes."""

    email: Text | None = None
    name: Annotated[str, Meta(max_length=400)] | None = None


class GrantInput(Input, frozen=True, kw_only=True):
    """A role to give, for good or until then."""

    role: Name
    until: Annotated[datetime, Meta(tz=True)] | None = None


class ResetInput(Input, frozen=True, kw_only=True):
    """Whether the second factors are taken, too."""

    factors: bool = False


class SignedIn(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A session, in the cookie; or a ticket, where a second factor is asked for: one of `factors`."""

    session: UUID | None = None
    person: UUID | None = None
    tenant: UUID | None = None
    second_factor: bool = False
    csrf_token: str | None = None
    expires_at: datetime | None = None
    ticket: str | None = None
    factors: list[str] = msgspec.field(default_factory=list)


class SessionNow(msgspec.Struct, frozen=True, kw_only=True):
    """The session in use; `fresh`: the second factor was shown within the last ten minutes."""

    session: UUID
    person: UUID
    tenant: UUID
    roles: list[str]
    second_factor: bool
    fresh: bool
    csrf_token: str


class OneSession(msgspec.Struct, frozen=True, kw_only=True):
    """One of the caller's sessions."""

    id: UUID
    method: str
    second_factor: bool
    created_at: datetime
    expires_at: datetime
    idle_until: datetime
    ip: str | None
    current: bool


class OneFactor(msgspec.Struct, frozen=True, kw_only=True):
    """One second factor."""

    id: UUID
    kind: str
    name: str
    created_at: datetime
    last_used_at: datetime | None


class AccountNow(msgspec.Struct, frozen=True, kw_only=True):
    """The caller's own account."""

    person: UUID
    tenant: str
    email: str
    name: str
    factors: list[OneFactor]
    recovery_codes_left: int
    sessions: list[OneSession]


class TotpPlanned(msgspec.Struct, frozen=True, kw_only=True):
    """What an authenticator app is told, this once; `qr` is a picture of `uri` as a QR code, an SVG as a data URL."""

    id: UUID
    secret: str
    uri: str
    qr: str


class Challenge(msgspec.Struct, frozen=True, kw_only=True):
    """What the browser's navigator.credentials takes; `challenge` goes back with its answer."""

    challenge: UUID
    options: dict[str, Any]


class RecoveryCodes(msgspec.Struct, frozen=True, kw_only=True):
    """Ten codes, shown this once."""

    codes: list[str]


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """Who may sign in now."""

    person: UUID


class UserMade(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A person, and the link to send them, shown this once; none where it goes out by mail."""

    id: UUID
    expires_at: datetime
    link: str | None = None


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A person; `roles` are those that stand, `factors` the kinds of second factors that are set up."""

    id: UUID
    email: str
    name: str
    state: str
    roles: list[str]
    factors: list[str]
    created_at: datetime
    joined_at: datetime | None
    disabled_at: datetime | None
    last_seen_at: datetime | None


class Users(msgspec.Struct, frozen=True):
    """People."""

    users: list[User]


def signed_in(begun: Begun) -> SignedIn:
    """Return what is told of a session that was begun."""
    return SignedIn(
        session=begun.id,
        person=begun.person,
        tenant=begun.tenant,
        second_factor=begun.mfa,
        csrf_token=begun.csrf,
        expires_at=begun.expires_at,
    )


def challenge(asked: Asked) -> Challenge:
    """Return what is told of a challenge."""
    return Challenge(challenge=asked.id, options=asked.options)


def account(me: Me, sessions: list[Session], current: UUID | None) -> AccountNow:
    """Return what people are told of their own account."""
    return AccountNow(
        person=me.person,
        tenant=me.tenant,
        email=me.email,
        name=me.name,
        factors=[
            OneFactor(id=one.id, kind=one.kind, name=one.name, created_at=one.created_at, last_used_at=one.last_used_at)
            for one in me.factors
        ],
        recovery_codes_left=me.recovery_codes,
        sessions=[_session(one, current) for one in sessions],
    )


def made(invited: Invited, site: str) -> UserMade:
    """Return what is told of an invitation."""
    link = invited.invitation.link(site)
    return UserMade(id=invited.person, expires_at=invited.invitation.expires_at, link=link)


def user(person: Person) -> User:
    """Return what administrators are told of a person."""
    return User(
        id=person.id,
        email=person.email,
        name=person.name,
        state=person.state,
        roles=list(person.roles),
        factors=list(person.factors),
        created_at=person.created_at,
        joined_at=person.joined_at,
        disabled_at=person.disabled_at,
        last_seen_at=person.last_seen_at,
    )


def _session(one: Session, current: UUID | None) -> OneSession:
    return OneSession(
        id=one.id,
        method=one.method,
        second_factor=one.mfa,
        created_at=one.created_at,
        expires_at=one.expires_at,
        idle_until=one.idle_until,
        ip=one.ip,
        current=one.id == current,
    )
