"""What a verification came to, in words and for programs: each place, why it matters, and what stands outside."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NoReturn

from wellkeep.assembly.ledger_check import Checked
from wellkeep.cli.console import counted, done, err, out, partly_done, print_json, refuse
from wellkeep.ledger.anchors.status import AnchorStatus
from wellkeep.ledger.report import COULD_NOT_VERIFY, Report

_MOST = 50
_WHAT_TO_DO = """\
  1. Stop the servers: every further entry goes on top of it.
  2. Keep a copy of the database as it is, and of the home apart from it. 3. Look who could write there.
  More: docs/how-to/verify-the-ledger.md"""


def show(checked: Checked, *, as_json: bool) -> None:
    """Tell what came of a verification of this deployment."""
    report, anchors = checked.report, checked.anchors
    if as_json:
        told = None if anchors is None else {"status": anchors, "unasked": checked.unasked}
        said = document(report, exit_code=checked.exit_code, notes=checked.notes)
        print_json(said | {"holds": checked.holds, "schema": checked.schema, "anchors": told})
        return
    tell(report, notes=checked.notes)
    _changed(checked)
    if anchors is None:
        out.print(
            "  [dim]One tenant's logs alone: what the root log and the anchors say of others was not looked at.[/]"
        )
    else:
        _outside(anchors, checked)


def document(report: Report, *, exit_code: int, notes: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return a report as programs read it."""
    return {
        "holds": report.ok,
        "exit_code": exit_code,
        "logs": report.logs,
        "entries": report.entries,
        "seals": report.seals,
        "checkpoints": report.checkpoints,
        "covers": report.covers,
        "bad": [{"log": bad.log, "seq": bad.seq, "what": bad.what, "means": bad.meaning} for bad in report.bad],
        "notes": [*notes, *report.notes],
    }


def tell(report: Report, *, notes: tuple[str, ...] = ()) -> None:
    """Say in words whether it holds, and where it does not."""
    numbers = {"entry": report.entries, "seal": report.seals, "checkpoint": report.checkpoints, "cover": report.covers}
    seen = f"{', '.join(counted(number, of) for of, number in numbers.items())} in {counted(report.logs, 'log')}"
    if report.ok:
        done(f"The ledger holds: {seen}.")
    else:
        err.print(f"[bold red]✗[/] The ledger does not hold ({seen}):")
        for bad in report.bad[:_MOST]:
            err.print(f"  {bad.log} at seq {bad.seq}: {bad.what.value}. {bad.meaning}", markup=False)
        if len(report.bad) > _MOST:
            err.print(f"  … and {counted(len(report.bad) - _MOST, 'more log')}; all of them with --json.")
        err.print(_WHAT_TO_DO, markup=False)
    for note in (*notes, *report.notes):
        out.print(f"  Note: {note}.", markup=False)


def unverified(what: str, error: Exception) -> NoReturn:
    """Say that there is no verdict on `what`, and why: exit 1 would say tampered, whatever the error was."""
    from wellkeep.cli.wording import words  # noqa: PLC0415 -- it knows the errors of every library

    message, hint = words(error)
    refuse(f"{what} was not verified. {message}", hint=hint, code=COULD_NOT_VERIFY)


def _changed(checked: Checked) -> None:
    """Name what is not as the migrations make it."""
    if not checked.schema:
        return
    err.print("[bold red]✗[/] The database is not as the migrations make it: somebody may be shown less than there is.")
    for one in checked.schema[:_MOST]:
        err.print(f"  {one}", markup=False)
    if len(checked.schema) > _MOST:
        err.print(f"  … and {len(checked.schema) - _MOST:,} more; all of them with --json.")


def _outside(anchors: AnchorStatus, checked: Checked) -> None:
    if not anchors.anchors:
        out.print("  No anchor is configured: whoever owns database and keys could still rewrite all of it unseen.")
        out.print("  Name one in [[ledger.anchors]]: docs/how-to/anchor-the-ledger.md", markup=False)
        return
    age = anchors.newest_age_seconds
    newest = "none has taken a checkpoint yet" if age is None else f"the newest is {timedelta(seconds=age)} old"
    counted = f"{anchors.holding} of {len(anchors.anchors)} anchors hold the root log, {anchors.needed} must; {newest}"
    if anchors.stale:
        partly_done(f"Stale: {counted}. See: wellkeep ledger anchors")
    else:
        done(f"{counted}.")
    for name, error in checked.unasked.items():
        out.print(f"  {name} could not be asked ({error}); what it took before was compared.", markup=False)
