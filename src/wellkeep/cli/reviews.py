"""`wellkeep review`: who has access, looked over by somebody else, at the machine itself.

The operator decides upon what they did not grant themselves; a tenant's own people decide over the API.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from wellkeep.access.operators import this_operator
from wellkeep.access.review_shapes import Item, Review, Shown
from wellkeep.access.reviews import DUE_DAYS, LONGEST_DAYS
from wellkeep.access.unused import Idle
from wellkeep.assembly import review_report
from wellkeep.assembly.runtime import Runtime
from wellkeep.cli.console import counted, done, partly_done, print_json, table
from wellkeep.cli.local import with_runtime
from wellkeep.cli.new_file import new_file, refuse_unless_new
from wellkeep.cli.options import HomeOption, Json
from wellkeep.cli.tenants import find

app = typer.Typer(no_args_is_help=True, help="Who has access: looked over by somebody else, kept or revoked.")

TenantOption = Annotated[
    str, typer.Option("--tenant", "-t", help="The tenant's name or id; platform: the deployment's")
]
Which = Annotated[UUID, typer.Argument(metavar="REVIEW", help="The review's id, as `wellkeep review list` shows it")]


@app.command(name="open")
def open_review(
    tenant: TenantOption = "platform",
    days: Annotated[int, typer.Option(min=1, max=LONGEST_DAYS, help="Until it is due")] = DUE_DAYS,
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """Open a review of every grant and every API key that stands now.

    Example: wellkeep review open --tenant st-elsewhere
    """

    async def work(runtime: Runtime) -> UUID:
        reviews = runtime.reviewing.reviews
        return await reviews.open(this_operator(), tenant=await find(runtime, tenant), days=days)

    review = with_runtime(home, work)
    if json:
        print_json({"id": str(review)})
        return
    done(f"Review {review} is open. See what it is about: wellkeep review show {review} --tenant {tenant}")


@app.command(name="list")
def list_reviews(tenant: TenantOption = "platform", home: HomeOption = None, json: Json = False) -> None:
    """List the reviews of a tenant and how they stand.

    Example: wellkeep review list --tenant st-elsewhere
    """

    async def work(runtime: Runtime) -> list[Review]:
        return await runtime.reviewing.reviews.listed(this_operator(), tenant=await find(runtime, tenant))

    found = with_runtime(home, work)
    if json:
        print_json(found)
    elif not found:
        done("Nothing was reviewed yet. Begin: wellkeep review open")
    else:
        rows = [
            (one.id, one.opened_at.date(), one.due_at.date(), _state(one), one.kept, one.revoked, one.undecided)
            for one in found
        ]
        table("Reviews of access", ("review", "opened", "due", "state", "kept", "revoked", "undecided"), rows)


@app.command()
def show(review: Which, tenant: TenantOption = "platform", home: HomeOption = None, json: Json = False) -> None:
    """Show a review with its items, those that wait first.

    Example: wellkeep review show 0198d7b2-0000-7000-8000-0000000000aa --tenant st-elsewhere
    """
    shown = _shown(review, tenant, home)
    if json:
        print_json(shown)
        return
    rows = [
        (one.id, review_report.who(one), ", ".join(one.roles), _day(one.last_used_at), _word(one))
        for one in shown.items
    ]
    table(f"Review of access, {_state(shown.review)}", ("item", "who or what", "roles", "last used", "decision"), rows)
    stuck = sum(one.stuck for one in shown.items)
    if stuck:
        partly_done(
            f"{counted(stuck, 'item')} can be decided by nobody of this tenant: decide here, if you did not grant it"
        )


@app.command()
def decide(
    review: Which,
    item: Annotated[UUID, typer.Argument(metavar="ITEM", help="The item's id, as `wellkeep review show` shows it")],
    keep: Annotated[bool, typer.Option("--keep/--revoke", help="What becomes of it")],
    tenant: TenantOption = "platform",
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """Keep what an item is about, or revoke it here and now.

    Example: wellkeep review decide 0198d7b2-0000-7000-8000-0000000000aa 0198d7b2-0000-7000-8000-0000000000ab --revoke
    """

    async def work(runtime: Runtime) -> Review:
        reviews, where = runtime.reviewing.reviews, await find(runtime, tenant)
        return await reviews.decide(this_operator(), tenant=where, review=review, item=item, keep=keep)

    stands = with_runtime(home, work)
    if json:
        print_json(stands)
        return
    done("Kept." if keep else "Revoked: it ended with this decision, on every worker.")
    done("The review is closed." if stands.closed_at else f"{counted(stands.undecided, 'item')} left to decide.")


@app.command()
def report(
    review: Which,
    tenant: TenantOption = "platform",
    form: Annotated[str, typer.Option("--format", help="csv, markdown or json")] = "markdown",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A new file; without it, stdout")] = None,
    home: HomeOption = None,
) -> None:
    """Write a review as a report to file or print.

    Example: wellkeep review report 0198d7b2-0000-7000-8000-0000000000aa --format csv -o review.csv
    """
    if form not in {"csv", "markdown", "json"}:
        raise typer.BadParameter("it is csv, markdown or json", param_hint="--format")
    if output is not None:
        refuse_unless_new(output)
    written = _written(_shown(review, tenant, home), form)
    if output is None:
        sys.stdout.write(written.decode())
        return
    with new_file(output) as stream:
        stream.write(written)
    done(f"Written to {output}.")


@app.command()
def unused(tenant: TenantOption = "platform", home: HomeOption = None, json: Json = False) -> None:
    """List grants and keys unused for 90 days, and keys never used for 30.

    Example: wellkeep review unused --tenant st-elsewhere
    """

    async def work(runtime: Runtime) -> list[Idle]:
        return await runtime.reviewing.unused.listed(this_operator(), tenant=await find(runtime, tenant))

    found = with_runtime(home, work)
    if json:
        print_json(found)
    elif not found:
        done("All access that stands is used.")
    else:
        rows = [
            (one.kind, one.id, one.name, ", ".join(one.roles), one.granted_at.date(), _day(one.last_used_at))
            for one in found
        ]
        table("Access that nobody uses", ("what", "id", "whose", "roles", "since", "last used"), rows)


def _shown(review: UUID, tenant: str, home: Path | None) -> Shown:
    async def work(runtime: Runtime) -> Shown:
        reviews = runtime.reviewing.reviews
        return await reviews.shown(this_operator(), tenant=await find(runtime, tenant), review=review)

    return with_runtime(home, work)


def _written(shown: Shown, form: str) -> bytes:
    if form == "csv":
        return review_report.as_csv(shown)
    return review_report.as_markdown(shown) if form == "markdown" else review_report.as_json(shown)


def _word(item: Item) -> str:
    """Return one word for what became of an item, so that its id fits beside it."""
    return item.outcome or ("stuck" if item.stuck else "waits")


def _state(review: Review) -> str:
    return "open" if review.closed_at is None else f"closed {review.closed_at.date()}"


def _day(at: object) -> object:
    return "never" if at is None else f"{at:%Y-%m-%d}"
