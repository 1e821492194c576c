"""`wellkeep user`: people of a tenant invited, given roles, let in no more. A link is printed once, or goes by mail."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

import typer

from wellkeep.access.operators import this_operator
from wellkeep.access.people import Invited, People, Person
from wellkeep.assembly.runtime import Runtime
from wellkeep.cli.console import done, err, out, print_json, table
from wellkeep.cli.leaving import leave
from wellkeep.cli.local import with_runtime
from wellkeep.cli.options import HomeOption, Json
from wellkeep.cli.tenants import find

app = typer.Typer(no_args_is_help=True, help="People who may sign in.")
app.command()(leave)

TenantOption = Annotated[str, typer.Option("--tenant", "-t", help="The tenant's name or id; staff: platform")]
UserArgument = Annotated[UUID, typer.Argument(metavar="USER", help="The person's id")]
RoleArgument = Annotated[str, typer.Argument(help="The role")]


@app.command()
def create(
    email: Annotated[str, typer.Argument(help="What the person signs in with")],
    tenant: TenantOption,
    name: Annotated[str, typer.Option(help="What the person is called")],
    role: Annotated[list[str] | None, typer.Option("--role", "-r", help="May be given more than once")] = None,
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """Invite a person. The link to set a password is printed this once, or goes out by mail.

    Example: wellkeep user create robin@example.org --tenant platform --name "Robin Doe" --role administrator
    """

    async def work(runtime: Runtime) -> tuple[Invited, str | None]:
        accounts, whose = runtime.accounts, await find(runtime, tenant)
        made = await accounts.people.invite(this_operator(), tenant=whose, email=email, name=name, roles=role or ())
        return made, made.invitation.link(accounts.site.authority)

    _say_link(*with_runtime(home, work), json=json, did="is invited")


@app.command(name="list")
def list_users(tenant: TenantOption, home: HomeOption = None, json: Json = False) -> None:
    """List a tenant's people.

    Example: wellkeep user list --tenant st-elsewhere
    """

    async def work(runtime: Runtime) -> list[Person]:
        return await runtime.accounts.people.list(this_operator(), tenant=await find(runtime, tenant))

    found = with_runtime(home, work)
    if json:
        print_json([_told(one) for one in found])
        return
    rows = [(one.email, one.id, ", ".join(one.roles), one.state, ", ".join(one.factors) or "none") for one in found]
    table("People", ("e-mail", "id", "roles", "state", "second factors"), rows)


@app.command()
def show(user: UserArgument, tenant: TenantOption, home: HomeOption = None, json: Json = False) -> None:
    """Show a person: roles, second factors, when last seen.

    Example: wellkeep user show 0198c2f0-… --tenant st-elsewhere
    """

    async def work(runtime: Runtime) -> Person:
        return await runtime.accounts.people.get(this_operator(), tenant=await find(runtime, tenant), person=user)

    found = with_runtime(home, work)
    if json:
        print_json(_told(found))
        return
    table("Person", ("", ""), [(name, value) for name, value in _told(found).items()])


@app.command()
def disable(user: UserArgument, tenant: TenantOption, home: HomeOption = None) -> None:
    """Let a person in no more: their sessions end at once, on every worker.

    Example: wellkeep user disable 0198c2f0-… --tenant st-elsewhere
    """
    _act(home, tenant, lambda people, whose: people.disable(this_operator(), tenant=whose, person=user))
    done(f"{user} is disabled.")
    err.print("  Their sessions ended with it.")


@app.command()
def enable(user: UserArgument, tenant: TenantOption, home: HomeOption = None) -> None:
    """Let a disabled person in again, with the roles that they still hold.

    Example: wellkeep user enable 0198c2f0-… --tenant st-elsewhere
    """
    _act(home, tenant, lambda people, whose: people.enable(this_operator(), tenant=whose, person=user))
    done(f"{user} may sign in again.")


@app.command()
def reset(
    user: UserArgument,
    tenant: TenantOption,
    factors: Annotated[bool, typer.Option("--factors", help="Take the second factors, too")] = False,
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """Take a person's password, end their sessions, and get a link for a new one.

    Example: wellkeep user reset 0198c2f0-… --tenant st-elsewhere --factors
    """

    async def work(runtime: Runtime) -> tuple[Invited, str | None]:
        accounts, whose = runtime.accounts, await find(runtime, tenant)
        made = await accounts.people.reset(this_operator(), tenant=whose, person=user, factors=factors)
        return made, made.invitation.link(accounts.site.authority)

    _say_link(*with_runtime(home, work), json=json, did="has no password any more")


@app.command()
def grant(
    user: UserArgument,
    role: RoleArgument,
    tenant: TenantOption,
    days: Annotated[int | None, typer.Option(min=1, max=3660, help="For so many days; else for good")] = None,
    home: HomeOption = None,
) -> None:
    """Give a person a role.

    Example: wellkeep user grant 0198c2f0-… clinician --tenant st-elsewhere
    """

    async def work(runtime: Runtime) -> None:
        until: datetime | None = None if days is None else runtime.core.clock.now().astimezone(UTC) + timedelta(days)
        whose = await find(runtime, tenant)
        await runtime.accounts.people.grant(this_operator(), tenant=whose, person=user, role=role, until=until)

    with_runtime(home, work)
    done(f"{user} holds the role {role}.")


@app.command()
def revoke(user: UserArgument, role: RoleArgument, tenant: TenantOption, home: HomeOption = None) -> None:
    """Take a role from a person: their sessions end at once, on every worker.

    Example: wellkeep user revoke 0198c2f0-… clinician --tenant st-elsewhere
    """
    _act(home, tenant, lambda people, whose: people.revoke(this_operator(), tenant=whose, person=user, role=role))
    done(f"{user} does not hold the role {role} any more.")
    err.print("  Their sessions ended with it.")


def _act(home: HomeOption, tenant: str, act: Callable[[People, UUID], Awaitable[None]]) -> None:
    async def work(runtime: Runtime) -> None:
        await act(runtime.accounts.people, await find(runtime, tenant))

    with_runtime(home, work)


def _say_link(invited: Invited, link: str | None, *, json: bool, did: str) -> None:
    if json:
        print_json({"id": str(invited.person), "link": link, "expires_at": invited.invitation.expires_at})
        return
    done(f"{invited.person} {did}.")
    if link is None:
        err.print("  The link goes out by mail.")
        return
    done(f"The link to set a password, good until {invited.invitation.expires_at:%Y-%m-%d %H:%M} UTC, this once:")
    out.print(link, style="bold", soft_wrap=True)


def _told(person: Person) -> dict[str, object]:
    return {
        "id": str(person.id),
        "email": person.email,
        "name": person.name,
        "state": person.state,
        "roles": ", ".join(person.roles),
        "factors": ", ".join(person.factors),
        "joined_at": person.joined_at,
        "last_seen_at": person.last_seen_at,
    }
