"""`wellkeep apikey`: keys made, listed and revoked. A key is printed once, and only its digest is kept."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from wellkeep.access.api_keys import DEFAULT_DAYS, ApiKey, IssuedKey
from wellkeep.access.operators import this_operator
from wellkeep.assembly.runtime import Runtime
from wellkeep.base.permissions import Permission
from wellkeep.cli.console import done, err, out, print_json, refuse, table
from wellkeep.cli.local import with_runtime
from wellkeep.cli.options import HomeOption, Json
from wellkeep.cli.tenants import find

app = typer.Typer(no_args_is_help=True, help="Keys for programs.")

TenantOption = Annotated[str, typer.Option("--tenant", "-t", help="The tenant's name or id")]


@app.command()
def create(
    tenant: TenantOption,
    role: Annotated[list[str], typer.Option("--role", "-r", help="May be given more than once")],
    name: Annotated[str, typer.Option(help="What the key is for")] = "command-line",
    scope: Annotated[list[str] | None, typer.Option("--scope", help="Narrow the roles, e.g. record:read")] = None,
    days: Annotated[int, typer.Option(min=1, max=400, help="Until it expires")] = DEFAULT_DAYS,
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """Make a key and print it, once.

    Example: wellkeep apikey create --tenant st-elsewhere --role clinician --name ward-3
    """
    try:
        scopes = [Permission(one) for one in scope] if scope else None
    except ValueError:
        refuse("A scope is not one of the permissions.", hint=f"They are: {', '.join(Permission)}", code=2)

    async def work(runtime: Runtime) -> IssuedKey:
        return await runtime.api_keys.create(
            this_operator(), tenant=await find(runtime, tenant), name=name, roles=role, scopes=scopes, days=days
        )

    issued = with_runtime(home, work)
    if json:
        print_json({"id": str(issued.about.id), "key": issued.key.reveal(), "expires_at": issued.about.expires_at})
        return
    done(f"Key {issued.about.id}, good until {issued.about.expires_at.date()}. It is shown this once:")
    out.print(issued.key.reveal(), style="bold")


@app.command(name="list")
def list_keys(tenant: TenantOption, home: HomeOption = None, json: Json = False) -> None:
    """List a tenant's keys, without their secrets.

    Example: wellkeep apikey list --tenant st-elsewhere
    """

    async def work(runtime: Runtime) -> list[ApiKey]:
        return await runtime.api_keys.list(this_operator(), tenant=await find(runtime, tenant))

    found = with_runtime(home, work)
    if json:
        print_json(found)
        return
    rows = [
        (one.name, one.id, ", ".join(one.roles), _state(one), one.last_used_at and one.last_used_at.date())
        for one in found
    ]
    table("API keys", ("name", "id", "roles", "state", "last used"), rows)


@app.command()
def revoke(
    key: Annotated[UUID, typer.Argument(help="The key's id")], tenant: TenantOption, home: HomeOption = None
) -> None:
    """Revoke a key: every worker refuses it from the next request on.

    Example: wellkeep apikey revoke 0198c2f0-… --tenant st-elsewhere
    """

    async def work(runtime: Runtime) -> None:
        await runtime.api_keys.revoke(this_operator(), tenant=await find(runtime, tenant), key_id=key)

    with_runtime(home, work)
    done(f"Key {key} is revoked.")
    err.print("  It is refused from the next request on.")


def _state(key: ApiKey) -> str:
    return f"revoked {key.revoked_at.date()}" if key.revoked_at else f"until {key.expires_at.date()}"
