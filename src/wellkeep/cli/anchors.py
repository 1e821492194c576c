"""`wellkeep ledger anchors`: what the outside holds of the root log, how old that is, and what went wrong."""

from __future__ import annotations

from typing import Annotated

import typer

from wellkeep.assembly.runtime import Runtime
from wellkeep.cli.console import FAILED, done, err, out, print_json, table
from wellkeep.cli.local import with_runtime
from wellkeep.cli.options import HomeOption, Json
from wellkeep.ledger.anchors.status import AnchorState, AnchorStatus


def anchors(
    now: Annotated[bool, typer.Option("--now", help="Hand the root log's end over at once, and read it back")] = False,
    home: HomeOption = None,
    json: Json = False,
) -> None:
    """List the anchors: what each took, how old that is, what failed. Exit 1 where fewer hold than are needed.

    The verifier key is what a witness is given, and whoever checks the notes that lie outside.

    Example: wellkeep ledger anchors --now
    """

    async def work(runtime: Runtime) -> tuple[AnchorStatus, str]:
        anchoring = runtime.core.anchoring
        await runtime.core.checkpointer.sign_now()
        status = await (anchoring.run(at_once=True) if now else anchoring.status())
        end = await anchoring.book.root_end()
        return status, anchoring.signers[0].vkey(anchoring.book.origin(1 if end is None else end.epoch))

    status, vkey = with_runtime(home, work)
    if json:
        print_json({"vkey": vkey, "status": status})
    else:
        _show(status, vkey)
    raise typer.Exit(FAILED if status.stale or not status.anchors else 0)


def _show(status: AnchorStatus, vkey: str) -> None:
    if not status.anchors:
        err.print("[bold red]✗[/] No anchor is configured: a rewrite by whoever owns database and keys is not found.")
        err.print("  Name one in [[ledger.anchors]]: docs/how-to/anchor-the-ledger.md", markup=False)
    else:
        rows = [
            (one.name, one.kind, _held(one), _age(one.age_seconds), _behind(one), _wrong(one)) for one in status.anchors
        ]
        table("Anchors of the root log", ("anchor", "kind", "holds", "taken", "behind", "wrong"), rows)
        counted = f"{status.holding} of {len(status.anchors)} hold it; {status.needed} must"
        if status.stale:
            err.print(f"[bold red]✗[/] Stale: {counted}.")
        else:
            done(f"{counted}.")
    out.print(f"  Verifier key: {vkey}", markup=False)


def _held(state: AnchorState) -> str:
    if state.size is None:
        return "-"
    return f"{state.size:,}" if state.epoch == 1 else f"{state.size:,} (epoch {state.epoch})"


def _age(seconds: int | None) -> str:
    if seconds is None:
        return "never"
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} s ago"


def _behind(state: AnchorState) -> str:
    return _age(state.behind_seconds).removesuffix(" ago") if state.behind_seconds else "-"


def _wrong(state: AnchorState) -> str:
    return "-" if state.error is None else f"{state.error}, {state.failures} in a row"
