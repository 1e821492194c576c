"""Reviews of access over HTTP: a tenant's own on the public listener, the platform's view of any on its own."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from wellkeep.access.leaving import Left
from wellkeep.access.review_shapes import Review, Shown
from wellkeep.access.reviews import DUE_DAYS, LONGEST_DAYS
from wellkeep.access.unused import Idle
from wellkeep.api import answers, shapes
from wellkeep.api.answers import Answer, location
from wellkeep.api.query import Parameter
from wellkeep.api.routes import Call, Route
from wellkeep.assembly import review_report
from wellkeep.base.errors import Conflict
from wellkeep.base.permissions import Permission

_OWN = "/v1"
_OF_TENANT = "/v1/tenants/{tenant_id}"
_CSV = b"text/csv; charset=utf-8; header=present"
_MARKDOWN = b"text/markdown; charset=utf-8"
_FORMAT = Parameter("format", re.compile("csv|markdown"), "CSV for a spreadsheet, or Markdown to print", "csv")


class ReviewInput(shapes.Input, frozen=True, kw_only=True):
    """A new review: in how many days it is due."""

    days: Annotated[int, Meta(ge=1, le=366, description=f"until it is due, {LONGEST_DAYS} at most")] = DUE_DAYS


class ReviewOpened(msgspec.Struct, frozen=True):
    """The review that was opened."""

    id: UUID


class ReviewList(msgspec.Struct, frozen=True):
    """The reviews, the newest first."""

    reviews: list[Review]


class ReviewDecision(shapes.Input, frozen=True, kw_only=True):
    """What is decided about one grant or key."""

    decision: Literal["keep", "revoke"]


class UnusedList(msgspec.Struct, frozen=True):
    """Grants and keys that nobody uses, the longest unused first."""

    unused: list[Idle]


def _tenant(call: Call) -> UUID:
    """Return whose access the address is about: a named tenant's, else the caller's own."""
    return call.identifier("tenant_id") if "tenant_id" in call.path else call.caller.principal.tenant


async def open_one(call: Call) -> Answer:
    """Open one."""
    body: ReviewInput = call.body
    review = await call.runtime.reviewing.reviews.open(call.caller, tenant=_tenant(call), days=body.days)
    where = location(call.raw_path.decode("ascii"), review)
    return answers.json(ReviewOpened(review), status=201, headers=(where,))


async def list_all(call: Call) -> Answer:
    """Return all of them."""
    return answers.json(ReviewList(await call.runtime.reviewing.reviews.listed(call.caller, tenant=_tenant(call))))


async def show(call: Call) -> Answer:
    """Return one with its items."""
    return answers.json(await _shown(call))


async def report(call: Call) -> Answer:
    """Return one as a document to file."""
    shown = await _shown(call)
    if call.query.get(_FORMAT.name) == "markdown":
        return Answer(200, review_report.as_markdown(shown), media=_MARKDOWN)
    return Answer(200, review_report.as_csv(shown), media=_CSV)


async def decide(call: Call) -> Answer:
    """Keep or revoke what one item is about."""
    body: ReviewDecision = call.body
    stands = await call.runtime.reviewing.reviews.decide(
        call.caller,
        tenant=_tenant(call),
        review=call.identifier("review_id"),
        item=call.identifier("item_id"),
        keep=body.decision == "keep",
    )
    return answers.json(stands)


async def unused(call: Call) -> Answer:
    """Return what nobody uses."""
    return answers.json(UnusedList(await call.runtime.reviewing.unused.listed(call.caller, tenant=_tenant(call))))


async def leave(call: Call) -> Answer:
    """End everything that a person could do."""
    person = call.identifier("user_id")
    return answers.json(await call.runtime.reviewing.leaving.leave(call.caller, tenant=_tenant(call), person=person))


async def _shown(call: Call) -> Shown:
    review = call.identifier("review_id")
    return await call.runtime.reviewing.reviews.shown(call.caller, tenant=_tenant(call), review=review)


def _routes(base: str, prefix: str, whose: str) -> tuple[Route, ...]:
    return (
        *_of_reviews(f"{base}/reviews", prefix, whose),
        *_of_one(f"{base}/reviews/{{review_id}}", prefix),
        Route(
            method="POST",
            path=f"{base}/users/{{user_id}}/leave",
            name=f"{prefix}user_leave",
            summary="A person leaves: sessions, roles, the keys they made and what they asked for end in one act",
            tag="users",
            serve=leave,
            permission=Permission.USER_CHANGE,
            returns=Left,
        ),
    )


def _of_reviews(reviews: str, prefix: str, whose: str) -> tuple[Route, ...]:
    return (
        Route(
            method="POST",
            path=reviews,
            name=f"{prefix}review_open",
            summary=f"Open a review of who has access in {whose}: every grant and every API key that stands now",
            tag="reviews",
            serve=open_one,
            permission=Permission.REVIEW_OPEN,
            body=ReviewInput,
            returns=ReviewOpened,
            status=201,
            answer_headers=("Location",),
            problems=(Conflict,),
            example={"days": DUE_DAYS},
        ),
        Route(
            method="GET",
            path=reviews,
            name=f"{prefix}review_list",
            summary=f"The reviews of {whose} and how they stand",
            tag="reviews",
            serve=list_all,
            permission=Permission.REVIEW_READ,
            returns=ReviewList,
        ),
        Route(
            method="GET",
            path=f"{reviews}/unused",
            name=f"{prefix}review_unused",
            summary="Grants and keys unused for 90 days, and keys never used for 30",
            tag="reviews",
            serve=unused,
            permission=Permission.REVIEW_READ,
            returns=UnusedList,
        ),
    )


def _of_one(one: str, prefix: str) -> tuple[Route, ...]:
    return (
        Route(
            method="GET",
            path=one,
            name=f"{prefix}review_get",
            summary="A review with its items, those that wait first",
            tag="reviews",
            serve=show,
            permission=Permission.REVIEW_READ,
            returns=Shown,
        ),
        Route(
            method="GET",
            path=f"{one}/report",
            name=f"{prefix}review_report",
            summary="A review as a report to file: CSV that no spreadsheet runs, or Markdown",
            tag="reviews",
            serve=report,
            permission=Permission.REVIEW_READ,
            query=(_FORMAT,),
            answer_media="text/csv",
            also_media="text/markdown",
        ),
        Route(
            method="POST",
            path=f"{one}/items/{{item_id}}",
            name=f"{prefix}review_decide",
            summary="Keep what an item is about, or revoke it here and now; never one's own",
            tag="reviews",
            serve=decide,
            permission=Permission.REVIEW_DECIDE,
            body=ReviewDecision,
            returns=Review,
            problems=(Conflict,),
            example={"decision": "keep"},
        ),
    )


REVIEWS = _routes(_OWN, "", "your tenant")
TENANT_REVIEWS = _routes(_OF_TENANT, "tenant_", "a tenant")
