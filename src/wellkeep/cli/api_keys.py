"""`wellkeep apikey`: keys made, rotated, bound, listed and revoked. A key is printed once; only its digest is kept."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated
from uuid import UUID

import typer

from wellkeep.access import scopes
from wellkeep.access.api_keys import DEFAULT_DAYS, ApiKey, Bounds, IssuedKey
from wellkeep.access.operators import this_operator
from wellkeep.assembly.runtime import Runtime
from wellkeep.cli.console import done, err, out, print_json, refuse, table
from wellkeep.cli.local import with_runtime
from wellkeep.cli.options import HomeOption, Json
from wellkeep.cli.tenants import find

app = typer.Typer(no_args_is_help=True, help="Keys for programs.")

TenantOption = Annotated[str, typer.Option("--tenant", "-t", help="The tenant's name or id")]
KeyArgument = Annotated[UUID, typer.Argument(help="The key's id")]
Networks = Annotated[
    list[str] | None, typer.Option("--network", help="Where the key may come from (CIDR); may be given more than once")
]
Requests = Annotated[int | None, typer.Option(min=1, help="Weighted requests a minute; else the settings'")]
Records = Annotated[int | None, typer.Option(min=1, help="Records an hour; else the settings'")]

_SPAN = re.compile(r"([0-9]{1,5})(m|h|d)")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


@app.command()
def create(
    tenant: TenantOption,
    role: Annotated[list[str], typer.Option("--role", "-r", help="May be given more than once")],
    name: Annotated[str, typer.Option(help="What the key is for")] = "command-line",
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="Narrow the roles, e.g. record:read or system/patients.rs")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=400, help="Until it expires")] = DEFAULT_DAYS,
    network: Networks = None,
    requests: Requests = None,
    records: Records = None,
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """Make a key and print it, once.

    Example: wellkeep apikey create --tenant st-elsewhere --role clinician --name ward-3
    """
    if not all(scopes.known(one) for one in scope or ()):
        refuse("A scope is unknown.", hint="A permission (record:read), or system/<collection or *>.<cruds>", code=2)
    bounds = Bounds(tuple(network or ()), requests, records)

    async def work(runtime: Runtime) -> IssuedKey:
        return await runtime.api_keys.create(
            this_operator(),
            tenant=await find(runtime, tenant),
            name=name,
            roles=role,
            scopes=scope or None,
            days=days,
            bounds=bounds,
        )

    _show_once(with_runtime(home, work), json=json)


@app.command()
def rotate(
    key: KeyArgument,
    tenant: TenantOption,
    overlap: Annotated[str, typer.Option(help="How long the old key goes on working: 30m, 24h, 7d")] = "24h",
    days: Annotated[int | None, typer.Option(min=1, max=400, help="Until the new one expires")] = None,
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """Make a key like another, which ends after the overlap, and print it, once.

    Example: wellkeep apikey rotate 0198c2f0-… --tenant st-elsewhere --overlap 24h
    """
    span = _SPAN.fullmatch(overlap)
    if span is None:
        refuse("The overlap is a number and m, h or d.", hint="--overlap 24h", code=2)
    lasting = timedelta(**{_UNITS[span[2]]: int(span[1])})

    async def work(runtime: Runtime) -> IssuedKey:
        return await runtime.api_keys.rotate(
            this_operator(), tenant=await find(runtime, tenant), key_id=key, overlap=lasting, days=days
        )

    _show_once(with_runtime(home, work), json=json)


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
def show(key: KeyArgument, tenant: TenantOption, home: HomeOption = None, json: Json = False) -> None:
    """Show one key: roles, scopes, bounds and how long it works, without its secret.

    Example: wellkeep apikey show 0198c2f0-… --tenant st-elsewhere
    """

    async def work(runtime: Runtime) -> ApiKey:
        return await runtime.api_keys.read(this_operator(), tenant=await find(runtime, tenant), key_id=key)

    _tell(with_runtime(home, work), json=json)


@app.command(name="set")
def set_bounds(
    key: KeyArgument,
    tenant: TenantOption,
    network: Networks = None,
    requests: Requests = None,
    records: Records = None,
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """Give a key its bounds, all of them anew: what is left out is what the settings say.

    Example: wellkeep apikey set 0198c2f0-… --tenant st-elsewhere --network 192.0.2.0/24 --requests 600 --records 5000
    """
    bounds = Bounds(tuple(network or ()), requests, records)

    async def work(runtime: Runtime) -> ApiKey:
        return await runtime.api_keys.change(
            this_operator(), tenant=await find(runtime, tenant), key_id=key, bounds=bounds
        )

    _tell(with_runtime(home, work), json=json)


@app.command()
def revoke(key: KeyArgument, tenant: TenantOption, home: HomeOption = None) -> None:
    """Revoke a key: every worker refuses it from the next request on.

    Example: wellkeep apikey revoke 0198c2f0-… --tenant st-elsewhere
    """

    async def work(runtime: Runtime) -> None:
        await runtime.api_keys.revoke(this_operator(), tenant=await find(runtime, tenant), key_id=key)

    with_runtime(home, work)
    done(f"Key {key} is revoked.")
    err.print("  It is refused from the next request on.")


def _show_once(issued: IssuedKey, *, json: bool) -> None:
    about = issued.about
    if json:
        shown = {"id": str(about.id), "key": issued.key.reveal(), "expires_at": about.expires_at}
        print_json(shown if issued.old_ends is None else {**shown, "old_ends": issued.old_ends})
        return
    done(f"Key {about.id}, good until {about.expires_at.date()}. It is shown this once:")
    out.print(issued.key.reveal(), style="bold")
    if issued.old_ends is not None:
        err.print(f"  The old key works until {issued.old_ends:%Y-%m-%d %H:%M} UTC.")


def _tell(key: ApiKey, *, json: bool) -> None:
    if json:
        print_json(key)
        return
    bounds = key.bounds
    rows = (
        ("name", key.name),
        ("roles", ", ".join(key.roles)),
        ("scopes", "all that the roles permit" if key.scopes is None else ", ".join(key.scopes)),
        ("networks", ", ".join(bounds.networks) or "anywhere"),
        ("requests a minute", bounds.requests or "as the settings say"),
        ("records an hour", bounds.records or "as the settings say"),
        ("state", _state(key)),
    )
    table(f"Key {key.id}", ("what", "value"), rows)


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return f"revoked {key.revoked_at.date()}"
    return f"until {key.expires_at.date()}" + (", replaced" if key.replaced_by is not None else "")
