"""`wellkeep hold`: legal holds, under which nothing of a tenant is pruned."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from wellkeep.access.operators import this_operator
from wellkeep.assembly import ledger_holds
from wellkeep.assembly.ledger_holds import Hold
from wellkeep.assembly.runtime import Runtime
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.cli.console import done, print_json, table
from wellkeep.cli.local import with_runtime
from wellkeep.cli.options import HomeOption, Json
from wellkeep.cli.tenants import find

app = typer.Typer(no_args_is_help=True, help="Legal holds: nothing of the tenant is pruned while one stands.")

Reason = Annotated[str, typer.Option("--reason", "-r", help="Why: kept sealed; the ledger holds its hash")]


@app.command()
def place(
    reason: Reason,
    tenant: Annotated[str | None, typer.Option("--tenant", "-t", help="Whose data (default: everybody's)")] = None,
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """Put a tenant, or the whole deployment, under a legal hold.

    Example: wellkeep hold place --tenant st-elsewhere --reason "subpoena of 3 May"
    """

    async def work(runtime: Runtime) -> tuple[UUID, UUID]:
        held = PLATFORM_TENANT if tenant is None else await find(runtime, tenant)
        return await ledger_holds.place(runtime.core, this_operator(), tenant=held, reason=reason), held

    hold, held = with_runtime(home, work)
    if json:
        print_json({"hold": hold, "tenant": held})
    else:
        done(f"The hold stands: {hold}. Nothing of {tenant or 'this deployment'} is pruned until it is lifted.")


@app.command()
def lift(
    hold: Annotated[UUID, typer.Argument(help="The hold's id, as `wellkeep hold list` shows it")],
    reason: Reason,
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """Lift a legal hold.

    Example: wellkeep hold lift 0198d7b2-0000-7000-8000-0000000000aa --reason "case closed"
    """

    async def work(runtime: Runtime) -> UUID:
        return await ledger_holds.lift(runtime.core, this_operator(), hold=hold, reason=reason)

    tenant = with_runtime(home, work)
    if json:
        print_json({"hold": hold, "tenant": tenant})
    else:
        done("The hold is lifted.")


@app.command(name="list")
def list_holds(home: HomeOption = None, json: Json = False) -> None:
    """List the legal holds that stand.

    Example: wellkeep hold list --json
    """

    async def work(runtime: Runtime) -> tuple[list[Hold], dict[UUID, str]]:
        named = {one.id: one.name for one in await runtime.tenants.list(this_operator())}
        return await ledger_holds.holds(runtime.core), named

    found, named = with_runtime(home, work)
    if json:
        print_json(found)
    elif not found:
        done("No legal hold stands.")
    else:
        table("Legal holds", ("hold", "of", "since"), [_row(one, named) for one in found])


def _row(one: Hold, named: dict[UUID, str]) -> tuple[object, ...]:
    held = "everybody" if one.tenant == PLATFORM_TENANT else named.get(one.tenant, one.tenant)
    return one.id, held, f"{one.placed_at:%Y-%m-%d %H:%M}"
