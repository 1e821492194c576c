"""`wellkeep ledger search`: who did what, to whom, when and why, through the API with a key.

Rule: what is shown is what the entries say, ids and codes; it goes through the API like everything about patients, so
whoever looks is an entry as well.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn

from wellkeep.cli.client import ApiClient, Url, connect
from wellkeep.cli.console import counted, done, err, print_json, table
from wellkeep.cli.moments import Since, Until, moment
from wellkeep.cli.options import HomeOption, Json

_PAGE = 200


def search(
    actor: Annotated[str | None, typer.Option("--actor", help="The id of who acted")] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="The id of the patient")] = None,
    action: Annotated[str | None, typer.Option("--action", help="What was done, e.g. record.read")] = None,
    purpose: Annotated[str | None, typer.Option("--purpose", help="Why, e.g. BTG")] = None,
    outcome: Annotated[str | None, typer.Option("--outcome", help="authorised, done, denied or failed")] = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most, the newest first")] = 50,
    home: HomeOption = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Find entries of the key's tenant, by any filters together, the newest first. Looking is an entry, too.

    Example: wellkeep ledger search --purpose BTG --since 2026-05-01
    """
    filters = {
        "actor": actor,
        "subject": subject,
        "action": action,
        "purpose": purpose,
        "outcome": outcome,
        "since": moment(since),
        "until": moment(until),
    }
    with connect(home, url=url) as api:
        found, more = _gather(api, {name: value for name, value in filters.items() if value is not None}, limit)
    if json:
        print_json({"entries": found, "more": more})
    elif not found:
        done("No entry fits.")
    else:
        table(f"{counted(len(found), 'entry')}, the newest first", _COLUMNS, map(_row, found))
        if more:
            err.print(f"  There are more: raise --limit above {limit}, or narrow the search.")


def _gather(api: ApiClient, filters: dict[str, str], limit: int) -> tuple[list[dict[str, Any]], bool]:
    """Return up to `limit` entries, page by page, and whether there are more."""
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), console=err, transient=True) as progress:
        task = progress.add_task("looking through the ledger", total=None)
        while len(found) < limit:
            asked = filters | {"limit": str(min(_PAGE, limit - len(found)))}
            page = api.json("GET", "/v1/ledger/entries", params=asked if cursor is None else asked | {"cursor": cursor})
            found += page["entries"]
            cursor = page["cursor"]
            progress.update(task, description=f"looking through the ledger: {len(found):,} found")
            if cursor is None:
                break
    return found, cursor is not None


_COLUMNS = ("time (UTC)", "seq", "what", "who, whose, and the event", "why")


def _row(entry: dict[str, Any]) -> tuple[object, ...]:
    """Return some lines for one entry: each id must be there as a whole, to be copied."""
    event = entry["event"]
    subject, several = event.get("subject"), len(event.get("subjects", ()))
    whose = f"patient {subject}" if subject else f"{several:,} patients" if several else ""
    outcome = event["outcome"] + (f": {event['error']}" if "error" in event else "")
    return (
        entry["time"][:19].replace("T", " "),
        entry["seq"],
        f"{event['action']}\n{outcome}",
        "\n".join(filter(None, (f"{event['actor']['type']} {event['actor']['id']}", whose, f"event {event['id']}"))),
        event.get("purpose"),
    )
