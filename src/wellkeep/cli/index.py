"""`wellkeep index`: what the blind indexes tell whoever reads the database."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from wellkeep.access.operators import this_operator
from wellkeep.assembly.index_leaks import IndexLeak, leaks
from wellkeep.assembly.runtime import Runtime
from wellkeep.cli.console import done, print_json, refuse, table
from wellkeep.cli.local import with_runtime
from wellkeep.cli.options import HomeOption, Json
from wellkeep.cli.tenants import find

app = typer.Typer(no_args_is_help=True, help="What the blind indexes tell whoever reads the database.")

_HEAD = ("index", "rows", "values", "largest", "top 10", "reversible", "bits", "verdict")


@app.callback()
def _group() -> None:
    """Keep `leak` a command of the group while it is the only one."""


@app.command()
def leak(
    collection: Annotated[str | None, typer.Option("--collection", "-c", help="One collection's [all]")] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", "-t", help="One tenant's [everybody's]")] = None,
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """Measure how much each index tells by the frequencies of its tags; exit 1 where one is past a limit.

    Only counts are shown. Each index past a limit is a finding as well.

    Example: wellkeep index leak --tenant st-elsewhere --collection patients
    """

    async def work(runtime: Runtime) -> tuple[list[IndexLeak], dict[UUID, str]]:
        named = {one.id: one.name for one in await runtime.tenants.list(this_operator())}
        chosen = sorted(named) if tenant is None else [await find(runtime, tenant)]
        return [one async for one in leaks(runtime.core, chosen, collection=collection)], named

    found, named = with_runtime(home, work)
    if json:
        print_json(found)
    elif found:
        for whose in dict.fromkeys(one.tenant for one in found):
            rows = [_row(one) for one in found if one.tenant == whose]
            table(f"What the indexes of {named.get(whose, whose)} tell", _HEAD, rows)
    elif collection is not None:
        refuse(f"No collection {collection} has an index.", hint="See them with: wellkeep index leak")
    else:
        done("There is no index.")
    if any(one.leak.verdict.skewed for one in found):
        raise typer.Exit(1)


def _row(one: IndexLeak) -> tuple[object, ...]:
    leak = one.leak
    shares = (_percent(share) for share in (leak.largest_share, leak.top_ten_share, leak.reversible))
    bits = "-" if leak.bits is None else f"{leak.bits:.1f}"
    name = f"{one.collection}.{one.field} ({one.index})"
    return name, f"{leak.entries:,}", f"{leak.distinct:,}", *shares, bits, leak.verdict.value


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
