"""The trust page, its JSON twin and `security.txt`: what customers, auditors and whoever found a flaw come for.

Rules: open to all, so nothing of any tenant is in it; no query changes what is shown; the states are worked out by
`prove` and only printed here. The threat is a page that says more than the system does.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from wellkeep.api import answers
from wellkeep.api.answers import CSS, HTML, PLAIN, Answer
from wellkeep.api.routes import Call, Route
from wellkeep.assembly.publishing import Publishing
from wellkeep.base.errors import NotFound, WellkeepError
from wellkeep.prove.claims import load_claims
from wellkeep.prove.documents import StepDocument
from wellkeep.prove.evidence import State, Where
from wellkeep.prove.registry import PROBES
from wellkeep.prove.standing import Standing, published, standings
from wellkeep.web import rendering, trust

POLICY: Final = (
    b"content-security-policy",
    (
        b"default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
        b"form-action 'none'"
    ),
)
_VALID_DAYS: Final = 90


class ClaimShown(msgspec.Struct, frozen=True):
    """A claim as it stands.

    `doubt` says why it is unknown; `days` are its last 90 (UTC), the oldest first, each null where nothing was tried;
    `event` and `entry` (epoch and number) name the root log's entry of the newest trial.
    """

    id: str
    says: str
    proof: str
    maps: tuple[str, ...]
    state: State
    doubt: str | None
    at: datetime | None
    where: Where | None
    missing: str | None
    steps: tuple[StepDocument, ...]
    event: str | None
    entry: tuple[int, int] | None
    days: tuple[State | None, ...]


class CheckpointShown(msgspec.Struct, frozen=True):
    """The root log's newest checkpoint as a signed note (C2SP tlog-checkpoint), and the key that it is checked with."""

    note: str
    vkey: str


class AnchorShown(msgspec.Struct, frozen=True):
    """A place outside that holds the root log's end, or should."""

    name: str
    kind: str
    holds: bool
    at: datetime | None


class TrustShown(msgspec.Struct, frozen=True):
    """Everything that the trust page shows; `hidden` is how many claims this deployment does not publish."""

    name: str
    host: str
    environment: str
    at: datetime
    counts: dict[str, int]
    hidden: int
    claims: tuple[ClaimShown, ...]
    checkpoint: CheckpointShown | None
    anchors: tuple[AnchorShown, ...]


async def _trust(call: Call) -> trust.Trust:
    publishing = call.runtime.publishing
    shown = await publishing.shown()
    now = publishing.clock.now()
    claims = load_claims()
    told = published(claims, publishing.settings.claims)
    return trust.Trust(
        publisher=_publisher(publishing),
        now=now,
        standings=tuple(standings(told.values(), shown.tried, probed=PROBES, now=now, doubted=shown.doubted)),
        hidden=len(claims) - len(told),
        end=shown.end,
        anchors=shown.anchors,
    )


def _publisher(publishing: Publishing) -> trust.Publisher:
    settings = publishing.settings
    return trust.Publisher(
        name=settings.name or publishing.host,
        host=publishing.host,
        environment=publishing.environment,
        contacts=settings.contacts,
        policy=settings.policy,
    )


async def show_page(call: Call) -> Answer:
    """Show all claims that are published."""
    return Answer(200, trust.page(await _trust(call)), media=HTML, headers=(POLICY,))


async def show_claim(call: Call) -> Answer:
    """Show one claim with everything that was tried; one that is not published is not found."""
    told = await _trust(call)
    for standing in told.standings:
        if standing.claim.id == call.path["claim"]:
            return Answer(200, trust.claim_page(told, standing), media=HTML, headers=(POLICY,))
    raise NotFound


def _no_claim(error: WellkeepError, _path: str, request: UUID) -> Answer:
    """Return the page for a claim that is not there, or that is not published."""
    body = trust.missing_page(title=type(error).title, request=str(request))
    return Answer(error.status, body, media=HTML, headers=(POLICY,))


async def show_json(call: Call) -> Answer:
    """Return what the page shows, for programs."""
    told = await _trust(call)
    return answers.json(
        TrustShown(
            name=told.publisher.name,
            host=told.publisher.host,
            environment=told.publisher.environment,
            at=told.now,
            counts={state.value: count for state, count in told.counts.items()},
            hidden=told.hidden,
            claims=tuple(_claim(one) for one in told.standings),
            checkpoint=None if told.end is None else CheckpointShown(told.end.note.decode(), told.end.vkey),
            anchors=tuple(AnchorShown(one.name, one.kind, one.holds, one.at) for one in told.anchors.anchors),
        )
    )


def _claim(one: Standing) -> ClaimShown:
    evidence = one.evidence
    return ClaimShown(
        id=one.claim.id,
        says=one.claim.says,
        proof=one.claim.proof,
        maps=one.claim.maps,
        state=one.state,
        doubt=None if one.doubt is None else one.doubt.value,
        at=None if evidence is None else evidence.at,
        where=None if evidence is None else evidence.where,
        missing=None if evidence is None else evidence.missing,
        steps=()
        if evidence is None
        else tuple(StepDocument(step.tried, step.seen, step.held, step.ours) for step in evidence.steps),
        event=None if one.event is None else str(one.event),
        entry=one.place,
        days=one.days,
    )


async def show_style(_call: Call) -> Answer:
    """Return the style sheet of the pages."""
    return Answer(200, rendering.static("wellkeep.css"), media=CSS)


async def show_logo(call: Call) -> Answer:
    """Return the deployment's logo, or ours where it has none that can be shown.

    It goes under the policy of every answer, so that a drawing that is opened by itself runs and loads nothing.
    """
    body, media = call.runtime.publishing.logo() or (rendering.static("logo.svg"), "image/svg+xml")
    return Answer(200, body, media=media.encode())


async def show_security(call: Call) -> Answer:
    """Return `security.txt` (RFC 9116); raises NotFound where the settings name nobody to tell."""
    publishing = call.runtime.publishing
    settings = publishing.settings
    if not settings.contacts:
        raise NotFound
    until = (publishing.clock.now().astimezone(UTC) + timedelta(days=_VALID_DAYS)).replace(
        hour=0, minute=0, second=0, microsecond=0
    )
    lines = [f"Contact: {contact}" for contact in settings.contacts]
    lines.append(f"Expires: {until:%Y-%m-%dT%H:%M:%SZ}")
    named = (("Encryption", settings.encryption), ("Acknowledgments", settings.acknowledgments))
    lines += [f"{name}: {value}" for name, value in (*named, ("Policy", settings.policy)) if value is not None]
    if settings.languages:
        lines.append(f"Preferred-Languages: {', '.join(settings.languages)}")
    return Answer(200, ("\n".join(lines) + "\n").encode(), media=PLAIN)


_OPEN = "it is what the deployment tells the world: claims, their states and evidence, nothing of any tenant"

TRUST = (
    Route(
        method="GET",
        path="/trust",
        name="trust",
        weight=5,
        summary="Every claim with its live proof, to read",
        tag="trust",
        serve=show_page,
        open_because=_OPEN,
        answer_media="text/html",
    ),
    Route(
        method="GET",
        path="/trust/claims/{claim}",
        name="trust_claim",
        weight=5,
        summary="One claim with everything that was tried, to read",
        tag="trust",
        serve=show_claim,
        open_because=_OPEN,
        answer_media="text/html",
        problems=(NotFound,),
        refuse=_no_claim,
    ),
    Route(
        method="GET",
        path="/trust.json",
        name="trust_json",
        weight=5,
        summary="Every claim with its live proof",
        tag="trust",
        serve=show_json,
        open_because=_OPEN,
        returns=TrustShown,
    ),
    Route(
        method="GET",
        path="/trust/style.css",
        name="trust_style",
        summary="The style sheet of the pages",
        tag="trust",
        serve=show_style,
        weight=0,
        open_because=_OPEN,
        answer_media="text/css",
    ),
    Route(
        method="GET",
        path="/trust/logo",
        name="trust_logo",
        summary="The deployment's logo",
        tag="trust",
        serve=show_logo,
        weight=0,
        open_because=_OPEN,
        answer_media="image/svg+xml",
    ),
    Route(
        method="GET",
        path="/.well-known/security.txt",
        name="security_txt",
        summary="Where a flaw is reported (RFC 9116)",
        tag="trust",
        serve=show_security,
        open_because=_OPEN,
        answer_media="text/plain",
        problems=(NotFound,),
    ),
)
