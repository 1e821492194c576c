"""`wellkeep egress`: the places that may be connected to, and whether one can be reached."""

from __future__ import annotations

from typing import Annotated

import typer

from wellkeep.base.errors import WellkeepError
from wellkeep.cli.console import FAILED, done, out, print_json, refuse_error, table
from wellkeep.cli.local import with_runtime
from wellkeep.cli.options import HomeOption, Json, locate
from wellkeep.egress.examination import Examined
from wellkeep.egress.places import destinations, oddities

app = typer.Typer(no_args_is_help=True, help="The one way out: what may be connected to.")


@app.command(name="list")
def list_places(home: HomeOption = None, json: Json = False) -> None:
    """List the places that may be connected to, and what is odd about them. Nothing else can be.

    Example: wellkeep egress list
    """
    where = locate(home)
    try:
        settings = where.settings()
        found = destinations(settings.egress.places, home=where.path).values()
    except WellkeepError as error:
        refuse_error(error)
    if json:
        odd = {one.name: oddities(one) for one in found}
        print_json([{"place": place, "odd": odd[place.name]} for place in settings.egress.places])
    elif not found:
        done("No place is listed, so nothing is connected to. Add one to [[egress.places]] in wellkeep.toml")
    else:
        rows = [
            (one.name, one.host, _words(one.ports), _words(one.networks), "; ".join(oddities(one)) or "-")
            for one in found
        ]
        table("Places", ("place", "host", "ports", "networks of ours", "odd"), rows)


@app.command(name="test")
def examine(
    place: Annotated[str, typer.Argument(help="The name of a place, as `wellkeep egress list` has it")],
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """Resolve a place, judge its addresses, dial it, check its certificate; nothing is sent. Exit 1 where that fails.

    A refusal is an entry of the root log and a finding, like any other.

    Example: wellkeep egress test siem
    """
    found = with_runtime(home, lambda runtime: runtime.core.egress.examine(place))
    if json:
        print_json(found)
    else:
        for one in found:
            _tell(place, one)
    if not all(one.reached for one in found):
        raise typer.Exit(FAILED)


def _tell(place: str, seen: Examined) -> None:
    if seen.reached:
        done(f"{place}, port {seen.port}: reached at {seen.dialled}, {seen.tls or 'without TLS'}")
    else:
        out.print(f"[bold red]✗[/] port {seen.port}: {seen.said}")
    for one in seen.addresses:
        out.print(f"  resolves to {one.address}: {one.kind}{', on its list' if one.listed else ''}")
    if seen.names:
        out.print(f"  certificate of {', '.join(seen.names)}, good until {seen.until}", markup=False)


def _words(values: tuple[object, ...]) -> str:
    return ", ".join(map(str, values)) or "-"
