"""`wellkeep hold`: legal holds, under which nothing of a tenant is pruned and nothing they are over is erased."""

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

app = typer.Typer(no_args_is_help=True, help="Legal holds: nothing is pruned or erased while one stands.")

Reason = Annotated[str, typer.Option("--reason", "-r", help="Why: kept sealed; the ledger holds its hash")]


@app.command()
def place(
    reason: Reason,
    tenant: Annotated[str | None, typer.Option("--tenant", "-t", help="Whose data (default: everybody's)")] = None,
    subject: Annotated[UUID | None, typer.Option("--subject", help="One patient of that tenant alone")] = None,
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """Put a patient, a tenant, or the whole deployment, under a legal hold.

    Example: wellkeep hold place --tenant st-elsewhere --reason "subpoena of 3 May"
    """
    if subject is not None and tenant is None:
        raise typer.BadParameter("name the patient's tenant, too: --tenant", param_hint="--subject")

    async def work(runtime: Runtime) -> tuple[UUID, UUID]:
        held = PLATFORM_TENANT if tenant is None else await find(runtime, tenant)
        caller = this_operator()
        return await ledger_holds.place(runtime.core, caller, tenant=held, reason=reason, subject=subject), held

    hold, held = with_runtime(home, work)
    if json:
        print_json({"hold": hold, "tenant": held, "subject": subject})
    else:
        over = f"patient {subject} of {tenant}" if subject is not None else tenant or "this deployment"
        done(f"The hold stands: {hold}. Nothing of {over} is pruned or erased until it is lifted.")


@app.command()
def lift(
    hold: Annotated[UUID, typer.Argument(help="The hold's id, as `wellkeep hold list` shows it")],
    reason: Reason,
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """Lift a legal hold: asked for by one person, approved by another, then given once more.

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
        table("Legal holds", ("hold", "of", "patient", "since"), [_row(one, named) for one in found])


def _row(one: Hold, named: dict[UUID, str]) -> tuple[object, ...]:
    held = "everybody" if one.tenant == PLATFORM_TENANT else named.get(one.tenant, one.tenant)
    return one.id, held, one.subject or "all", f"{one.placed_at:%Y-%m-%d %H:%M}"
