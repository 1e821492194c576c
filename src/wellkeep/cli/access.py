"""`wellkeep access`: who may do what and why, and what a tenant demands of its people; through the API with a key.

The key is of the tenant's own administrator or privacy officer: what is asked, and what is changed, is on record there.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import typer

from wellkeep.cli.client import Url, connect
from wellkeep.cli.console import WRONG_USAGE, done, err, out, print_json, refuse, table
from wellkeep.cli.options import HomeOption, Json

ADMINISTRATOR = "administrator"
_NEEDS = {
    "second-factor": "a second factor at sign-in",
    "step-up": "the second factor shown again, within the last ten minutes",
    "purpose": "a purpose of use that is declared",
    "care-team": "to be in the patient's care team",
    "break-glass": "the glass of this patient, broken and open",
}
Subject = Annotated[UUID, typer.Argument(metavar="SUBJECT", help="The patient's id")]
Person = Annotated[UUID, typer.Argument(metavar="PERSON", help="The person's id, as `wellkeep user list` shows it")]


def explain(
    who: Annotated[str, typer.Argument(metavar="WHO", help="The id of a person or of a key, or role:NAME")],
    action: Annotated[str, typer.Argument(metavar="ACTION", help="A permission, e.g. record:read")],
    what: Annotated[
        str | None, typer.Argument(metavar="[WHAT]", help="COLLECTION, COLLECTION/RECORD or a patient's id")
    ] = None,
    purpose: Annotated[str | None, typer.Option("--purpose", help="For which purpose of use, e.g. TREAT")] = None,
    home: HomeOption = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Say why somebody may do something, or why not, and which fields they would see. Nothing is opened.

    Example: wellkeep access explain role:clinician record:read patients
    """
    question: dict[str, Any] = {"who": who, "action": action} | _about(what)
    if purpose is not None:
        question["purpose"] = purpose
    with connect(home, url=url, role=ADMINISTRATOR) as api:
        told = api.json("POST", "/v1/access/explain", json=question)
    if json:
        print_json(told)
        return
    if told["allowed"]:
        done(f"Yes: {told['rule']}")
    else:
        err.print(f"No: {told['rule']}", style="bold red")
    out.print(f"  {told['words']}")
    rows = [(name, text) for name, text in _lines(told) if text]
    table("Why", ("", ""), rows)


def _about(what: str | None) -> dict[str, str]:
    """Return which part of a question `what` is."""
    if what is None:
        return {}
    collection, slash, record = what.partition("/")
    if slash:
        return {"collection": collection, "record": record}
    try:
        return {"subject": str(UUID(what))}
    except ValueError:
        return {"collection": collection}


def _lines(told: dict[str, Any]) -> list[tuple[str, str]]:
    lines = [("roles", ", ".join(told["roles"])), ("purpose", told["purpose"] or "")]
    reach = {"all": "every patient", "care-team": "their own patients", "break-glass": "patients whose glass is broken"}
    lines.append(("reaches", reach[told["reach"]]))
    if told["reached"] is not None and told["reach"] != "all":
        since = f", in the care team since {told['since'][:10]}" if told["since"] else ""
        lines.append(("this patient", f"within reach{since}" if told["reached"] else "out of reach"))
    for name, sight in (("sees", told["shows"]), ("sees of others", told["beyond"])):
        if sight is not None:
            lines.append((name, ", ".join(sight["groups"]) or "no field"))
            lines.append(("  fields", ", ".join(sight["seen"] or ())))
            lines.append(("  withheld", ", ".join(sight["withheld"] or ())))
    lines.append(("needs", "; ".join(_NEEDS[code] for code in told["needs"])))
    return lines


def rules(
    second_factor: Annotated[
        bool | None,
        typer.Option("--second-factor/--no-second-factor", help="Of everybody, not of administrators alone"),
    ] = None,
    care_team: Annotated[
        list[str] | None,
        typer.Option("--care-team", help="A role that reaches its own patients alone; `none` for none"),
    ] = None,
    idle: Annotated[int | None, typer.Option(min=1, max=1440, help="Minutes until an idle session ends")] = None,
    session: Annotated[int | None, typer.Option(min=5, max=43_200, help="Minutes until any session ends")] = None,
    glass: Annotated[int | None, typer.Option(min=5, max=1440, help="Minutes that a broken glass lasts")] = None,
    unreviewed: Annotated[int | None, typer.Option(min=1, max=100, help="Unreviewed uses that block the next")] = None,
    review: Annotated[int | None, typer.Option(min=7, max=366, help="Days between reviews of access")] = None,
    home: HomeOption = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Show what the tenant demands of its people; with options, change that. It holds within five seconds.

    Example: wellkeep access rules --second-factor --care-team clinician
    """
    given = {
        "second_factor": second_factor,
        "care_team": [] if care_team == ["none"] else care_team,
        "session_idle_minutes": idle,
        "session_minutes": session,
        "glass_minutes": glass,
        "glass_unreviewed": unreviewed,
        "review_days": review,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    with connect(home, url=url, role=ADMINISTRATOR) as api:
        found = api.json("PATCH", "/v1/rules", json=changes) if changes else api.json("GET", "/v1/rules")
    if json:
        print_json(found)
        return
    shown = found | {"care_team": ", ".join(found["care_team"]) or "no role"}
    table("Rules", ("rule", "is"), shown.items())


def team(subject: Subject, home: HomeOption = None, url: Url = None, json: Json = False) -> None:
    """Show who treats a patient.

    Example: wellkeep access team 0198c2f0-…
    """
    with connect(home, url=url, role=ADMINISTRATOR) as api:
        found = api.json("GET", f"/v1/subjects/{subject}/care-team")["members"]
    if json:
        print_json(found)
    elif not found:
        done("Nobody: who has a role that is bound to the care team does not reach this patient.")
    else:
        rows = [(one["person"], one["since"], one["until"], one["added_by"]) for one in found]
        table("Care team", ("person", "since", "until", "put there by"), rows)


def team_add(
    subject: Subject,
    person: Person,
    until: Annotated[
        str | None, typer.Option("--until", help="When that ends by itself, e.g. 2027-01-31T18:00Z")
    ] = None,
    home: HomeOption = None,
    url: Url = None,
) -> None:
    """Put a person into a patient's care team.

    Example: wellkeep access team-add 0198c2f0-… 0198c2f1-…
    """
    member = {"person": str(person)}
    if until is not None:
        member["until"] = _moment(until)
    with connect(home, url=url, role=ADMINISTRATOR) as api:
        api.request("POST", f"/v1/subjects/{subject}/care-team", json=member)
    done(f"{person} treats {subject} from now on.")


def team_remove(subject: Subject, person: Person, home: HomeOption = None, url: Url = None) -> None:
    """Take a person out of a patient's care team, from their next request on.

    Example: wellkeep access team-remove 0198c2f0-… 0198c2f1-…
    """
    with connect(home, url=url, role=ADMINISTRATOR) as api:
        api.request("DELETE", f"/v1/subjects/{subject}/care-team/{person}")
    done(f"{person} treats {subject} no more.")


def _moment(text: str) -> str:
    """Return a time with its zone, as the API takes it; ends the command where it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        refuse("--until is a time with its zone, like 2027-01-31T18:00Z.", code=WRONG_USAGE)
    return moment.isoformat()
