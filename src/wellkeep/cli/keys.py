"""`wellkeep keys`: what keys there are, how old they are and what carries them; rotating them, and ending an epoch.

Rule: a rotation is worked off by a server where one serves, else by the command itself; the command says which. Killed
or stopped anywhere, the same command given again goes on.
"""

from __future__ import annotations

import asyncio
from typing import Annotated
from uuid import UUID

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from wellkeep.access.operators import this_operator
from wellkeep.assembly.key_rotations import Destroyed, KeyRotations
from wellkeep.assembly.keys_overview import Overview, overview
from wellkeep.assembly.runtime import Runtime
from wellkeep.cli.console import FAILED, done, err, out, print_json, refuse, table
from wellkeep.cli.keys_words import (
    ended_words,
    epoch_row,
    key_row,
    root_row,
    rotation_row,
    tenant_row,
    used,
)
from wellkeep.cli.local import with_runtime
from wellkeep.cli.options import HomeOption, Json
from wellkeep.cli.tenants import find
from wellkeep.keys.rotation import Rotation, Tier

Tenant = Annotated[str | None, typer.Option("--tenant", "-t", help="One tenant, by name or id (default: all)")]
_POLL_SECONDS = 0.3
_COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())


def list_keys(tenant: Tenant = None, home: HomeOption = None, json: Json = False) -> None:
    """List all keys that are not destroyed: of which tenant, for what, how old, in which state, wrapped by what.

    Example: wellkeep keys list --tenant st-elsewhere
    """

    async def work(runtime: Runtime) -> tuple[Overview, dict[UUID, str]]:
        return await _overview(runtime, tenant, rows=False)

    found, named = with_runtime(home, work)
    keys = [key for one in found.tenants for key in one.keys if key.state != "destroyed"]
    if json:
        print_json(keys)
        return
    columns = ("tenant", "purpose", "no.", "state", "age", "due", "epoch", "root")
    table("Keys", columns, [key_row(one, named) for one in keys])


def status(
    tenant: Tenant = None,
    rows: Annotated[
        bool, typer.Option("--rows", help="Count the rows that still carry each key; reads them all")
    ] = False,
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """Say how the keys stand: epochs, roots, each tenant's keys, rotations under way. Exit 1 where something is wrong.

    Wrong is: keys that do not open, a key or an epoch that is overdue, a rotation that can't go on.

    Example: wellkeep keys status --rows
    """

    async def work(runtime: Runtime) -> tuple[Overview, dict[UUID, str]]:
        return await _overview(runtime, tenant, rows=rows)

    found, named = with_runtime(home, work)
    if json:
        print_json({"well": found.well, "overview": found})
    else:
        _show(found, named, rows=rows)
    raise typer.Exit(0 if found.well else FAILED)


def rotate(
    tier: Annotated[Tier, typer.Argument(metavar="TIER", help="root, epoch, subject, data or index")],
    tenant: Tenant = None,
    wait: Annotated[bool, typer.Option("--wait", help="Stay until it is done, where a server does the work")] = False,
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """Rotate a tier of keys: what wraps them (root, epoch), or what seals the data (subject, data, index).

    A server that serves does the work; where none does, this command does it. Given again it goes on with the one that
    runs. An epoch is always the whole deployment's; subject, data and index are one tenant's.

    Example: wellkeep keys rotate epoch --wait
    """
    _check_whose(tier, tenant)

    async def work(runtime: Runtime) -> tuple[Rotation, bool]:
        whose = None if tenant is None else await find(runtime, tenant)
        rotations = runtime.key_rotations
        begun = await rotations.start(this_operator(), tier, tenant=whose)
        served = await rotations.served()
        if served:
            await rotations.queue(begun)
        by = "A server works it off." if served else "No server serves: this command works it off."
        err.print(f"[dim]· Rotation {begun.id}. {by}[/]")
        if served and not wait:
            return begun, served
        return await _followed(rotations, begun, work=not served), served

    found, served = with_runtime(home, work)
    if json:
        print_json({"rotation": found, "by": "server" if served else "command"})
    elif found.state == "done":
        done(ended_words(found))
    elif found.state == "running":
        done("Under way. Follow it with: wellkeep keys status")
    if found.state in {"failed", "stopped"}:
        refuse(
            f"The rotation {found.state}: {found.error}.", hint="See: wellkeep findings; then give the command again"
        )


def _check_whose(tier: Tier, tenant: str | None) -> None:
    if tier is Tier.FIELD:
        raise typer.BadParameter("a field is sealed by a change of its collection", param_hint="TIER")
    if tier is Tier.EPOCH and tenant is not None:
        raise typer.BadParameter("an epoch is the whole deployment's", param_hint="--tenant")
    if tier in {Tier.SUBJECT, Tier.DATA, Tier.INDEX} and tenant is None:
        raise typer.BadParameter(f"name the tenant whose {tier.value} keys are rotated", param_hint="--tenant")


def destroy(
    epoch: Annotated[int, typer.Option("--epoch", min=1, help="The retired epoch whose key is to end")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask")] = False,
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """Destroy the key of a retired epoch before its time: nothing that an old backup holds under it opens again.

    Asked for by one person, approved by another (`wellkeep approvals`), then given once more. It destroys itself when
    its time has come; then no second person is needed.

    Example: wellkeep keys destroy --epoch 3
    """
    if not yes:
        typer.confirm(f"Destroy the key of epoch {epoch}? No backup from before its end opens again.", abort=True)

    async def work(runtime: Runtime) -> Destroyed:
        return await runtime.key_rotations.destroy(this_operator(), epoch)

    found = with_runtime(home, work)
    if json:
        print_json(found)
    elif found.at is not None:
        done(f"Nothing opens under epoch {epoch} from {found.at:%Y-%m-%d %H:%M:%S} UTC on.")
    if found.at is None:
        refuse(
            f"Another person must approve it: {found.approval}.",
            hint="They give: wellkeep approvals approve ID. Then give this command again.",
        )


async def _overview(runtime: Runtime, tenant: str | None, *, rows: bool) -> tuple[Overview, dict[UUID, str]]:
    whose = None if tenant is None else await find(runtime, tenant)
    named = {one.id: one.name for one in await runtime.tenants.list(this_operator())}
    return await overview(runtime.key_rotations, this_operator(), tenant=whose, rows=rows), named


async def _followed(rotations: KeyRotations, begun: Rotation, *, work: bool) -> Rotation:
    """Show the bar of a rotation until it ends; work it off meanwhile where nobody else does."""
    going = asyncio.create_task(rotations.run(begun.id, lambda: False)) if work else None
    with Progress(*_COLUMNS, console=err, transient=True) as shown:
        bar = shown.add_task(begun.tier.value, total=None)
        try:
            while True:
                found = await rotations.stored(begun.id)
                shown.update(bar, completed=found.done, total=found.total)
                ended = going.done() if going is not None else found.state != "running"
                if ended:
                    break
                await asyncio.sleep(_POLL_SECONDS)
        finally:
            if going is not None and not going.done():
                going.cancel()
    if going is not None:
        await going
    return await rotations.stored(begun.id)


def _show(found: Overview, named: dict[UUID, str], *, rows: bool) -> None:
    table("Epochs", ("epoch", "state", "keys", "outside", "age", "due or destroyed"), map(epoch_row, found.epochs))
    out.print()
    table("Root keys", ("root", "driver", "keys", "to move"), map(root_row, found.roots))
    out.print()
    table(
        "Tenants", ("tenant", "state", "keys", "oldest", "overdue"), [tenant_row(one, named) for one in found.tenants]
    )
    if rows:
        out.print()
        carried = [key for one in found.tenants for key in one.keys if key.rows is not None]
        cells = [(*key_row(one, named)[:5], f"{one.rows:,}", used(one.used_percent)) for one in carried]
        table("What carries which key", ("tenant", "purpose", "no.", "state", "age", "rows", "% of seals"), cells)
    shown = [one for one in found.rotations if one.state == "running"] or list(found.rotations[:5])
    if shown:
        out.print()
        columns = ("tier", "of", "state", "progress", "since (UTC)", "trouble")
        table("Rotations", columns, [rotation_row(one, named) for one in shown])
