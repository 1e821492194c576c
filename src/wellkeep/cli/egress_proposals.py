"""`wellkeep egress propose` and what follows it: places beside those of the settings, which take two people."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from wellkeep.access.operators import this_operator
from wellkeep.assembly.egress_list import Listed, Proposed
from wellkeep.assembly.runtime import Runtime
from wellkeep.base.settings import Place
from wellkeep.cli.console import done, out, print_json, table
from wellkeep.cli.local import with_runtime
from wellkeep.cli.options import HomeOption, Json
from wellkeep.cli.tenants import find

Name = Annotated[str, typer.Argument(metavar="PLACE", help="The place's name, as `wellkeep egress proposals` has it")]


def propose(
    place: Annotated[str, typer.Argument(help="Its name: lower-case letters and _, two digits at the end at most")],
    host: Annotated[str, typer.Option("--host", help="Its host: a name, or an address")],
    port: Annotated[list[int], typer.Option("--port", min=1, max=65535, help="Its port; can be repeated")],
    network: Annotated[
        list[str] | None, typer.Option("--network", help="A private network that it may resolve into; can be repeated")
    ] = None,
    tenant: Annotated[
        list[str] | None, typer.Option("--tenant", "-t", help="Whom it serves, by name or id; can be repeated")
    ] = None,
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """Propose a place to connect to, or a change of one; another person approves it.

    Example: wellkeep egress propose identity --host login.example.org --port 443 --tenant st-elsewhere
    """

    async def work(runtime: Runtime) -> Proposed:
        tenants = tuple([await find(runtime, one) for one in tenant or ()])
        wanted = Place(name=place, host=host, ports=tuple(port), networks=tuple(network or ()), tenants=tenants)
        return await runtime.egress_list.propose(this_operator(), wanted)

    made = with_runtime(home, work)
    if json:
        print_json(made)
    else:
        done(f"{made.place} is proposed. Another person decides: wellkeep egress approve {made.place}")


def approve(place: Name, home: HomeOption = None, json: Json = False) -> None:
    """Approve a place that another person proposed. Every server may connect to it within seconds.

    Example: wellkeep egress approve identity
    """

    async def work(runtime: Runtime) -> Listed:
        return await runtime.egress_list.approve(this_operator(), place)

    made = with_runtime(home, work)
    if json:
        print_json(made)
    else:
        done(f"{made.name} ({made.host}, port {_words(made.ports)}) may be connected to, everywhere within seconds.")


def withdraw(place: Name, home: HomeOption = None) -> None:
    """Take a place off the list, and a proposal of its name; no server connects to it any more, within seconds.

    Example: wellkeep egress withdraw identity
    """

    async def work(runtime: Runtime) -> None:
        await runtime.egress_list.withdraw(this_operator(), place)

    with_runtime(home, work)
    done(f"{place} is off the list, everywhere within seconds.")


def proposals(home: HomeOption = None, json: Json = False) -> None:
    """List the places beside those of the settings: proposed ones, and those that were approved.

    Example: wellkeep egress proposals
    """

    async def work(runtime: Runtime) -> list[Listed]:
        return await runtime.egress_list.listed(this_operator())

    found = [one for one in with_runtime(home, work) if one.state != "settings"]
    if json:
        print_json(found)
    elif not found:
        out.print("Nothing was proposed beside the settings: wellkeep egress propose")
    else:
        heads = ("place", "host", "ports", "serves", "state", "proposed by", "approved by")
        table("Places beside the settings", heads, [_row(one) for one in found])


def _row(one: Listed) -> tuple[object, ...]:
    serves: tuple[UUID, ...] = one.tenants
    ports = _words(one.ports)
    return (one.name, one.host, ports, _words(serves), one.state, one.proposed_by, one.approved_by or "-")


def _words(values: tuple[object, ...]) -> str:
    return ", ".join(map(str, values)) or "-"
