"""`wellkeep provider`: identity providers of a tenant. The client's secret is read from a file, never an argument."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from wellkeep.access.oidc_errors import ProviderUnusable
from wellkeep.access.oidc_request import CALLBACK
from wellkeep.access.oidc_roles import Mapping
from wellkeep.access.operators import this_operator
from wellkeep.access.providers import NewProvider, Provider, Tried
from wellkeep.assembly.runtime import Runtime
from wellkeep.base.errors import Misconfigured
from wellkeep.base.secrets import Secret
from wellkeep.cli.console import done, print_json, table
from wellkeep.cli.local import with_runtime
from wellkeep.cli.options import HomeOption, Json
from wellkeep.cli.tenants import find

app = typer.Typer(no_args_is_help=True, help="Identity providers that people sign in with.")

TenantOption = Annotated[str, typer.Option("--tenant", "-t", help="The tenant's name or id; staff: platform")]
ProviderArgument = Annotated[UUID, typer.Argument(metavar="PROVIDER", help="The provider's id")]


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits and dashes; stands in the link")],
    tenant: TenantOption,
    issuer: Annotated[str, typer.Option(help="The issuer, letter by letter as the provider says it")],
    client_id: Annotated[str, typer.Option(help="What the provider knows us as")],
    place: Annotated[list[str], typer.Option(help="A place of the egress list; may be given more than once")],
    role: Annotated[list[str] | None, typer.Option(help="CLAIM=VALUE:ROLE; may be given more than once")] = None,
    second_factor: Annotated[list[str] | None, typer.Option(help="What of amr or acr says that one was shown")] = None,
    scope: Annotated[list[str] | None, typer.Option(help="Asked for beside openid")] = None,
    secret_file: Annotated[Path | None, typer.Option(help="The client's secret; - for standard input")] = None,
    discovery: Annotated[str | None, typer.Option(help="Where the document is, if not where it usually is")] = None,
    prompt: Annotated[str | None, typer.Option(help="login, or select_account")] = None,
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """Let a tenant's people sign in at their identity provider.

    Example: wellkeep provider add entra -t st-elsewhere --issuer https://… --client-id … --place entra
    """
    new = NewProvider(
        name=name,
        issuer=issuer,
        client_id=client_id,
        places=tuple(place),
        secret=None if secret_file is None else _secret(secret_file),
        discovery=discovery,
        scopes=tuple(scope or ()),
        second_factor=tuple(second_factor or ()),
        prompt=prompt,
        roles=tuple(_line(text) for text in role or ()),
    )

    async def work(runtime: Runtime) -> tuple[UUID, str]:
        whose = await find(runtime, tenant)
        made = await runtime.single_sign_on.providers.create(this_operator(), tenant=whose, new=new)
        return made, f"https://{runtime.accounts.site.authority}"

    _say(*with_runtime(home, work), name=name, tenant=tenant, json=json)


@app.command(name="list")
def list_providers(tenant: TenantOption, home: HomeOption = None, json: Json = False) -> None:
    """List a tenant's identity providers.

    Example: wellkeep provider list --tenant st-elsewhere
    """

    async def work(runtime: Runtime) -> list[Provider]:
        return await runtime.single_sign_on.providers.list(this_operator(), tenant=await find(runtime, tenant))

    found = with_runtime(home, work)
    if json:
        print_json([{"id": str(one.id), "name": one.name, "issuer": one.issuer} for one in found])
        return
    rows = [(one.name, one.id, one.issuer, ", ".join(one.places), str(len(one.roles))) for one in found]
    table("Identity providers", ("name", "id", "issuer", "places", "role lines"), rows)


@app.command(name="test")
def examine(provider: ProviderArgument, tenant: TenantOption, home: HomeOption = None, json: Json = False) -> None:
    """Ask a provider for its document and keys, as a sign-in would.

    Example: wellkeep provider test 0198c2f0-… --tenant st-elsewhere
    """

    async def work(runtime: Runtime) -> Tried | str:
        providers = runtime.single_sign_on.providers
        try:
            return await providers.examine(this_operator(), tenant=await find(runtime, tenant), provider=provider)
        except ProviderUnusable as unusable:
            return unusable.reason

    tried = with_runtime(home, work)
    if json:
        reason, keys = (tried, 0) if isinstance(tried, str) else (None, tried.keys)
        print_json({"usable": reason is None, "reason": reason, "keys": keys})
    if isinstance(tried, str):
        raise Misconfigured(f"The provider is of no use as it is: {tried}. See docs/how-to/single-sign-on.md")
    if not json:
        done(f"It answers: {tried.keys} keys, sign-in at {tried.authorization_endpoint}")


@app.command()
def remove(provider: ProviderArgument, tenant: TenantOption, home: HomeOption = None) -> None:
    """Remove a provider: its sessions end, the roles that came from it go.

    Example: wellkeep provider remove 0198c2f0-… --tenant st-elsewhere
    """

    async def work(runtime: Runtime) -> None:
        whose = await find(runtime, tenant)
        await runtime.single_sign_on.providers.remove(this_operator(), tenant=whose, provider=provider)

    with_runtime(home, work)
    done(f"The provider {provider} is gone, and the sessions that began there.")


def _say(made: UUID, site: str, *, name: str, tenant: str, json: bool) -> None:
    redirect = site + CALLBACK
    if json:
        print_json({"id": str(made), "redirect_uri": redirect})
        return
    done(f"The provider {name} is there: {made}")
    done(f"Enter there as redirect address: {redirect}")
    done(f"As back-channel logout address: {site}/v1/sign-in/TENANT/{name}/logout")
    done(f"Try it: wellkeep provider test {made} --tenant {tenant}")


def _secret(file: Path) -> Secret[str]:
    text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    return Secret(text.strip())


def _line(text: str) -> Mapping:
    claim, equals, rest = text.partition("=")
    value, colon, role = rest.rpartition(":")
    if not (equals and colon and claim and value and role):
        raise typer.BadParameter("write it CLAIM=VALUE:ROLE", param_hint="--role")
    return Mapping(claim, value, role)
