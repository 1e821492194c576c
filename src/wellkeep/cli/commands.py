"""Which command is which function, and nothing else."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from wellkeep.cli import (
    anchors,
    api_keys,
    collections,
    database,
    demo,
    deployment,
    egress,
    exports,
    findings,
    holds,
    imports,
    ledger,
    ledger_export,
    ledger_proof,
    ledger_prune,
    ledger_restore,
    ledger_search,
    prove,
    sinks,
    subjects,
    tenants,
    witness,
)
from wellkeep.cli.console import out

app = typer.Typer(
    name="wellkeep",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="The self-hosted security core for health software that proves itself.",
)
app.command()(demo.demo)
app.command()(deployment.init)
app.command()(deployment.serve)
app.command()(deployment.doctor)
app.command(name="import")(imports.import_file)
app.command(name="export")(exports.export_file)
app.command(name="prove")(prove.prove_claims)
app.add_typer(tenants.app, name="tenant")
app.add_typer(api_keys.app, name="apikey")
app.add_typer(collections.app, name="collections")
app.add_typer(subjects.app, name="subject")
ledger.app.command(name="search")(ledger_search.search)
ledger.app.command(name="export")(ledger_export.export)
ledger.app.command(name="proof")(ledger_proof.proof)
ledger.app.command(name="checkpoint")(ledger_proof.checkpoint)
ledger.app.command(name="anchors")(anchors.anchors)
ledger.app.command(name="sinks")(sinks.sinks)
app.add_typer(ledger.app, name="ledger")
app.add_typer(witness.app, name="witness")
ledger.app.command(name="accept-restore")(ledger_restore.accept_restore)
ledger.app.command(name="prune")(ledger_prune.prune)
app.add_typer(holds.app, name="hold")
app.add_typer(findings.app, name="findings")
app.add_typer(egress.app, name="egress")
app.add_typer(database.app, name="db")


@app.callback(invoke_without_command=True)
def root(
    ask_version: Annotated[
        bool, typer.Option("--version", help="Say which version this is, and end", is_eager=True)
    ] = False,
) -> None:
    """Keep patients' data in a vault, record every access to it, and prove it."""
    if ask_version:
        out.print(version("wellkeep"))
        raise typer.Exit
