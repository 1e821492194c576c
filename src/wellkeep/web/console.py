"""The console's pages, made of what they are handed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from wellkeep.access.account import Me
from wellkeep.access.sessions import Session
from wellkeep.assembly.desk import Waiting
from wellkeep.assembly.ledger_search import Hours
from wellkeep.base.permissions import Permission
from wellkeep.base.purpose import Purpose
from wellkeep.ledger.actions import Action, Outcome
from wellkeep.ledger.proof import EntryProof
from wellkeep.ledger.search import Found
from wellkeep.prove.evidence import State
from wellkeep.prove.standing import Standing
from wellkeep.web import heat, rendering, strips
from wellkeep.web.trust import WORDS

_COLOURS: Final = ("ground", "sheet", "ink", "soft", "line", "link", "good", "some", "bad", "dim", "none")
_IN_DOUBT: Final = frozenset({State.FAILED, State.UNMET})


@dataclass(frozen=True, slots=True)
class Place:
    """A page of the navigation and the permission that opens it; `offered` to whoever may do that, else to all such."""

    name: str
    path: str
    permission: Permission
    offered: Permission | None = None

    def is_for(self, offers: Collection[Permission]) -> bool:
        """Say whether it is offered to somebody who may do what `offers` says."""
        return (self.offered or self.permission) in offers


PLACES: Final = (
    Place("Now", "/console", Permission.ACCOUNT_ENROL),
    Place("Ledger", "/console/ledger", Permission.LEDGER_READ),
    Place("Access", "/console/access", Permission.IMPERSONATION_READ),
    Place("Break-glass", "/console/break-glass", Permission.ACCOUNT_ENROL, offered=Permission.GLASS_BREAK),
    Place("Records", "/console/records", Permission.COLLECTION_READ),
    Place("People", "/console/people", Permission.USER_READ),
    Place("Account", "/console/account", Permission.ACCOUNT_ENROL),
)

ADMINISTRATION: Final = (
    Place("Now", "/console", Permission.ACCOUNT_ENROL),
    Place("Tenants", "/console/tenants", Permission.TENANT_READ),
    Place("API keys", "/console/apikeys", Permission.APIKEY_READ),
    Place("Keys", "/console/keys", Permission.KEYS_READ),
    Place("Settings", "/console/settings", Permission.DEPLOYMENT_READ),
    Place("Account", "/console/account", Permission.ACCOUNT_ENROL),
)
"""Where one may go on the administration listener."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What stands around a page: where one is, where one may go, and the token of the session for acts.

    `administration`: it is served on the administration listener.
    """

    nonce: str
    here: str = ""
    administration: bool = False
    places: tuple[Place, ...] = ()
    csrf: str = ""
    signed_in: bool = False
    host: str = ""
    environment: str = "production"
    offers: frozenset[Permission] = frozenset()


@dataclass(frozen=True, slots=True)
class Line:
    """An entry of the ledger as a line of a table; `who` is a name where there is one, else an id."""

    id: str
    at: datetime
    who: str
    kind: str
    on_behalf_of: str | None
    action: str
    resource: str
    subject: str | None
    purpose: str | None
    outcome: str
    rule: str | None


def sign_in(frame: Frame, *, back: str = "", wrong: str = "", tenant: str = "", email: str = "") -> bytes:
    """Return the page to sign in on; `wrong` says what was not right, `back` is the page that was asked for."""
    return rendering.page("sign_in.html", frame=frame, back=back, wrong=wrong, tenant=tenant, email=email)


def factor(frame: Frame, *, ticket: str, factors: Sequence[str], back: str, wrong: str = "") -> bytes:
    """Return the page that asks for the second factor."""
    return rendering.page("factor.html", frame=frame, ticket=ticket, factors=factors, back=back, wrong=wrong)


def provider(frame: Frame, *, tenant: str, provider: str) -> bytes:
    """Return the page that leads to the identity provider of a tenant, or asks which it is."""
    return rendering.page("provider.html", frame=frame, tenant=tenant, provider=provider)


def invitation(frame: Frame) -> bytes:
    """Return the page that takes the link of an invitation or of a reset."""
    return rendering.page("invitation.html", frame=frame)


def problem(frame: Frame, *, title: str, detail: str, code: str, request: str) -> bytes:
    """Return the page that says why there is no page."""
    return rendering.page("problem.html", frame=frame, title=title, detail=detail, code=code, request=request)


def now(frame: Frame, me: Me, waiting: Waiting, standings: Sequence[Standing], *, at: datetime) -> bytes:
    """Return the page that says whether anything is wrong, and whose turn it is."""
    wrong = [one for one in standings if one.state in _IN_DOUBT]
    counts = {WORDS[state]: sum(one.state is state for one in standings) for state in State}
    return rendering.page(
        "now.html",
        frame=frame,
        me=me,
        waiting=waiting,
        wrong=[(one.claim, WORDS[one.state], strips.css_class(one.state)) for one in wrong],
        counts=counts,
        total=len(standings),
        bad=len(wrong) + len(waiting.findings or ()),
        at=at,
        ago=lambda when: rendering.age(at - when),
        left=lambda when: max(timedelta(), when - at).seconds,
    )


def ledger(
    frame: Frame, lines: Sequence[Line], *, filters: Mapping[str, str], older: str | None, hours: Hours | None
) -> bytes:
    """Return a page of entries; `older` is the address of the next, None on the last; `hours` are drawn where given."""
    return rendering.page(
        "ledger.html",
        frame=frame,
        lines=lines,
        filters=filters,
        older=older,
        days=None if hours is None else heat.days(hours),
        heat=None if hours is None else heat.draw(hours),
        actions=[one.value for one in Action],
        outcomes=[one.value for one in Outcome],
        purposes=[one.value for one in Purpose],
    )


def entry(
    frame: Frame,
    line: Line,
    proof: EntryProof,
    *,
    event: Mapping[str, Any],
    beside: Sequence[tuple[Line, Found] | None],
) -> bytes:
    """Return the page of one entry: all that it says, and how it stands in its log, `beside` whom."""
    return rendering.page(
        "entry.html",
        frame=frame,
        line=line,
        facts=list(_facts(event)),
        beside=beside,
        proof=proof,
        end=proof.signed.checkpoint,
    )


def account(frame: Frame, me: Me, sessions: Sequence[Session], *, current: UUID | None, at: datetime) -> bytes:
    """Return the page of one's own account."""
    return rendering.page(
        "account.html",
        frame=frame,
        me=me,
        sessions=sessions,
        current=current,
        at=at,
        ago=lambda when: rendering.age(at - when),
    )


def design(frame: Frame) -> bytes:
    """Return the page that shows every part that pages are made of."""
    return rendering.page("design.html", frame=frame, colours=_COLOURS)


def _facts(event: Mapping[str, Any], path: str = "") -> list[tuple[str, str]]:
    """Return each value that an entry holds under its path, in the entry's own order."""
    found: list[tuple[str, str]] = []
    for name, value in event.items():
        if isinstance(value, Mapping):
            found += _facts(value, f"{path}{name}.")
        else:
            found.append((path + name, ", ".join(map(_said, value)) if isinstance(value, list) else _said(value)))
    return found


def _said(value: object) -> str:
    """Write a value as JSON does, a text as it is."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
