"""`wellkeep egress`: the places that may be connected to, and whether one can be reached."""

from __future__ import annotations

from typing import Annotated

import typer

from wellkeep.assembly.core import open_core
from wellkeep.assembly.egress_denials import way_out
from wellkeep.assembly.home import Home
from wellkeep.base.errors import KeysRevoked, KeysUnavailable, WellkeepError
from wellkeep.cli.console import FAILED, done, out, print_json, refuse_error, table
from wellkeep.cli.local import run, started
from wellkeep.cli.options import HomeOption, Json, locate
from wellkeep.egress.examination import Examined
from wellkeep.egress.places import destinations, oddities


def list_places(home: HomeOption = None, json: Json = False) -> None:
    """List the places of the settings, and what is odd about them; `egress proposals` lists those beside them.

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


def examine(
    place: Annotated[str, typer.Argument(help="The name of a place, as `wellkeep egress list` has it")],
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """Resolve a place, judge its addresses, dial it, check its certificate; nothing is sent. Exit 1 where that fails.

    A refusal is an entry of the root log and a finding, like any other. It works without the key service too, which may
    be what is looked for: then nothing can be entered, and a refusal is logged.

    Example: wellkeep egress test siem
    """
    found = run(_examined(locate(home), place))
    if json:
        print_json(found)
    else:
        for one in found:
            _tell(place, one)
    if not all(one.reached for one in found):
        raise typer.Exit(FAILED)


async def _examined(home: Home, place: str) -> list[Examined]:
    async with started(home) as (settings, database):
        try:
            async with open_core(home, settings, database) as core:
                return await core.egress.examine(place)
        except (KeysUnavailable, KeysRevoked):
            return await way_out(home, settings).examine(place)


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
