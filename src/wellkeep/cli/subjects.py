"""`wellkeep subject`: what there is to say to one patient, through the API with a key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from wellkeep.cli.client import ApiClient, Url, connect
from wellkeep.cli.console import counted, done, erased, print_json, table
from wellkeep.cli.moments import Since, Until, moment
from wellkeep.cli.new_file import new_file, refuse_unless_new
from wellkeep.cli.options import HomeOption, Json

app = typer.Typer(no_args_is_help=True, help="Patients.")

_PAGE = 200

Subject = Annotated[UUID, typer.Argument(metavar="SUBJECT", help="The patient's id")]
Purpose = Annotated[str | None, typer.Option("--purpose", help="Why it is asked for, e.g. PATRQT")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", dir_okay=False, help="A page to print; it must not exist")
]


@app.callback()
def subject() -> None:
    """Work for one patient."""


@app.command()
def disclosures(
    subject: Subject,
    output: Output = None,
    since: Since = None,
    until: Until = None,
    purpose: Purpose = None,
    home: HomeOption = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Account for disclosures: who saw or changed a patient's data, when and why, over six years unless told otherwise.

    With -o it is one page in plain words, to print and to hand over. Asking is an entry, too.

    Example: wellkeep subject disclosures 0198c2f0-… -o report.html --purpose PATRQT
    """
    if output is not None:
        refuse_unless_new(output)
    given = {"since": moment(since), "until": moment(until)}
    span = {name: value for name, value in given.items() if value is not None}
    headers = _for(purpose)
    where = f"/v1/subjects/{subject}/disclosures"
    with connect(home, url=url) as api:
        if output is not None:
            page = api.request("GET", where, params=span | {"format": "html"}, headers=headers).content
        else:
            found = _gather(api, where, span, headers)
    if output is not None:
        _write(output, page, as_json=json)
    elif json:
        print_json(found)
    else:
        rows = [_row(one) for one in found["disclosures"]]
        table(f"{counted(len(rows), 'entry')} since {found['since'][:10]}, the newest first", _COLUMNS, rows)


@app.command()
def erase(
    subject: Subject,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask")] = False,
    purpose: Purpose = None,
    home: HomeOption = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Erase a patient: keys, records, history, search tags, files of imports and exports. It can't be undone.

    The answer is the certificate; what old backups still open ends when the epoch's key is destroyed.

    Example: wellkeep subject erase 0198c2f0-… --purpose PATRQT
    """
    if not yes:
        typer.confirm(f"Erase the patient {subject}? Nothing of theirs will ever open again.", abort=True)
    with connect(home, url=url) as api:
        found = api.json("DELETE", f"/v1/subjects/{subject}", headers=_for(purpose))
    _certificate(found, as_json=json)


@app.command()
def erasure(
    subject: Subject,
    output: Output = None,
    purpose: Purpose = None,
    home: HomeOption = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Show the certificate of an erasure: what it covered, what not, and from when on no backup opens.

    With -o it is one page in plain words, to print and to hand over.

    Example: wellkeep subject erasure 0198c2f0-… -o certificate.html
    """
    if output is not None:
        refuse_unless_new(output)
    where = f"/v1/subjects/{subject}/erasure"
    with connect(home, url=url) as api:
        if output is None:
            found = api.json("GET", where, headers=_for(purpose))
        else:
            page = api.request("GET", where, params={"format": "html"}, headers=_for(purpose)).content
    if output is None:
        _certificate(found, as_json=json)
    else:
        _write(output, page, as_json=json, what="certificate")


def _for(purpose: str | None) -> dict[str, str]:
    return {} if purpose is None else {"X-Purpose-Of-Use": purpose}


def _certificate(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    rows = [(name, number) for name, number in sorted(found["covered"].items())]
    table(f"Erased {found['erased_at'][:19].replace('T', ' ')} UTC", ("what", "how many"), rows)
    effective = found["effective"]
    erased(effective["words"], certain=effective["state"] == "effective", entry=found["entry"]["verify"])


def _write(output: Path, page: bytes, *, as_json: bool, what: str = "accounting") -> None:
    with new_file(output) as stream:
        stream.write(page)
    if as_json:
        print_json({"file": str(output), "bytes": len(page)})
    else:
        done(f"The {what} is in {output}, readable by you alone. Open it in a browser to print it.")


_COLUMNS = ("time (UTC)", "who", "what", "for", "entry")


def _row(one: dict[str, Any]) -> tuple[object, ...]:
    when = one["time"][:19].replace("T", " ")
    return when, one["who"]["words"], one["what"]["words"], one["why"]["words"], f"{one['epoch']}/{one['seq']}"


def _gather(api: ApiClient, where: str, span: dict[str, str], headers: dict[str, str]) -> dict[str, Any]:
    """Return the accounting with the disclosures of all its pages."""
    asked = span | {"limit": str(_PAGE)}
    whole = api.json("GET", where, params=asked, headers=headers)
    while whole["cursor"] is not None:
        page = api.json("GET", where, params=asked | {"cursor": whole["cursor"]}, headers=headers)
        whole["disclosures"] += page["disclosures"]
        whole["cursor"] = page["cursor"]
    return whole
