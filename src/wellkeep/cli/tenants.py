"""`wellkeep tenant`: customers made, listed and closed by the operator at the machine, on record in the root log."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

import typer

from wellkeep.access.operators import this_operator
from wellkeep.access.tenants import Tenant
from wellkeep.assembly.runtime import Runtime
from wellkeep.base.errors import NotFound
from wellkeep.base.ids import parse_uuid
from wellkeep.cli.console import done, erased, print_json, table
from wellkeep.cli.local import with_runtime
from wellkeep.cli.options import HomeOption, Json
from wellkeep.vault.erasure_certificate import Certificate

app = typer.Typer(no_args_is_help=True, help="Customers, each behind a wall of its own.")

Name = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's name or id")]


async def find(runtime: Runtime, name: str) -> UUID:
    """Return the id of the tenant called `name`, or `name` itself where it is an id. Raises NotFound."""
    wanted = parse_uuid(name)
    for tenant in await runtime.tenants.list(this_operator()):
        if tenant.name == name or tenant.id == wanted:
            return tenant.id
    raise NotFound("There is no such tenant. List them with: wellkeep tenant list")


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits and dashes")],
    kind: Annotated[str, typer.Option(help="live, or synthetic for made-up data")] = "live",
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """Make a tenant with keys and a log of its own.

    Example: wellkeep tenant create st-elsewhere
    """
    if kind not in {"live", "synthetic"}:
        raise typer.BadParameter("it is live or synthetic", param_hint="--kind")
    chosen: Literal["live", "synthetic"] = "synthetic" if kind == "synthetic" else "live"

    async def work(runtime: Runtime) -> UUID:
        return await runtime.tenants.create(this_operator(), name=name, kind=chosen)

    made = with_runtime(home, work)
    if json:
        print_json({"id": str(made), "name": name, "kind": kind})
        return
    done(f"Tenant {name} is there: {made}")
    done(f"Next, a key for it: wellkeep apikey create --tenant {name} --role integration")


@app.command(name="list")
def list_tenants(home: HomeOption = None, json: Json = False) -> None:
    """List all tenants, the deployment's own included.

    Example: wellkeep tenant list --json
    """

    async def work(runtime: Runtime) -> list[Tenant]:
        return await runtime.tenants.list(this_operator())

    found = with_runtime(home, work)
    if json:
        print_json(found)
        return
    rows = [(one.name, one.id, one.kind, one.state, one.created_at.date()) for one in found]
    table("Tenants", ("name", "id", "kind", "state", "since"), rows)


@app.command(name="set")
def set_tenant(
    name: Name,
    purpose_required: Annotated[
        bool,
        typer.Option(
            "--purpose-required/--no-purpose-required", help="Whether each read must say why: X-Purpose-Of-Use"
        ),
    ],
    home: HomeOption = None,
) -> None:
    """Change a tenant's settings, on record. It holds on every server within five seconds; again changes nothing.

    Example: wellkeep tenant set st-elsewhere --purpose-required
    """

    async def work(runtime: Runtime) -> None:
        tenant = await find(runtime, name)
        await runtime.tenants.demand_purpose(this_operator(), tenant=tenant, demanded=purpose_required)

    with_runtime(home, work)
    done(f"Tenant {name}: reads {'must' if purpose_required else 'need not'} declare a purpose of use.")


@app.command()
def close(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask")] = False,
    home: HomeOption = None,
) -> None:
    """Close a tenant: its keys stop working at once; its data and its log stay.

    Example: wellkeep tenant close st-elsewhere
    """
    if not yes:
        typer.confirm(f"Close the tenant {name}? Every request of its programs will be refused.", abort=True)

    async def work(runtime: Runtime) -> None:
        await runtime.tenants.close(this_operator(), tenant=await find(runtime, name))

    with_runtime(home, work)
    done(f"Tenant {name} is closed.")


@app.command()
def erase(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask")] = False,
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """Erase a closed tenant: all keys and data; its ledger stays. It takes two: one asks, another approves.

    Example: wellkeep tenant erase st-elsewhere
    """
    if not yes:
        typer.confirm(f"Erase the tenant {name}? Nothing of it will ever open again.", abort=True)

    async def work(runtime: Runtime) -> Certificate:
        tenant = await find(runtime, name)
        await runtime.erasing.tenants.erase(this_operator(), tenant)
        await runtime.erasing.sweeper.all(tenant)
        return await runtime.erasing.certificates.of_tenant(this_operator(), tenant)

    _show_erasure(with_runtime(home, work), name, as_json=json)


@app.command()
def erasure(name: Name, home: HomeOption = None, json: Json = False) -> None:
    """Show the certificate of a tenant's erasure.

    Example: wellkeep tenant erasure st-elsewhere --json
    """

    async def work(runtime: Runtime) -> Certificate:
        return await runtime.erasing.certificates.of_tenant(this_operator(), await find(runtime, name))

    _show_erasure(with_runtime(home, work), name, as_json=json)


def _show_erasure(found: Certificate, name: str, *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    done(f"Tenant {name} was erased on {found.erased_at:%Y-%m-%d %H:%M} UTC, {sum(found.covered.values()):,} things.")
    effective = found.effective
    erased(effective.words, certain=effective.state == "effective", entry=found.entry.verify)
