"""A command imports what it needs: nothing that serves, proves or makes people up.

Promise: a command begins in a moment. Imports are most of what a short one does, and they creep in from below.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

SERVES, PROVES, MAKES_UP = {"litestar", "pgqueuer", "uvicorn"}, {"hyperscan"}, {"faker"}
WORKS_ON_DATA = {"asyncpg", "cryptography", "phonenumbers"}
GOES_OUT = {"httpcore", "httpx"}
HEAVY = SERVES | PROVES | MAKES_UP | WORKS_ON_DATA | GOES_OUT

OF_THE_OPERATOR = (
    *("anchors", "api_keys", "database", "deployment", "egress", "findings", "holds", "ledger_export"),
    *("ledger_proof", "ledger_prune", "ledger_quarantine", "ledger_restore", "ledger_verify", "sinks", "tenants"),
)
BY_THE_API = ("collections", "exports", "imports", "ledger_search", "subjects")


def imported(*modules: str) -> set[str]:
    """Return which of the heavy packages are imported together with `modules`, in a process of their own."""
    program = f"import sys, {', '.join(modules)}\nprint(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    return HEAVY & {name.partition(".")[0] for name in said.stdout.split()}


def of(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"wellkeep.cli.{name}" for name in names)


@pytest.mark.parametrize(
    ("modules", "allowed"),
    [
        (("wellkeep.cli.main", "wellkeep.cli.commands", "wellkeep.cli.quiet"), set()),
        (of(OF_THE_OPERATOR), WORKS_ON_DATA),
        (of(BY_THE_API), {"httpcore", "httpx"}),
        (of(("prove",)), HEAVY - SERVES - MAKES_UP),
        (of(("demo",)), HEAVY - SERVES - MAKES_UP),
    ],
    ids=("the command line itself", "what the operator does", "what goes over the API", "prove", "demo"),
)
def test_no_more_is_imported_than_is_needed(modules: tuple[str, ...], allowed: set[str]) -> None:
    assert imported(*modules) <= allowed


def test_the_test_sees_what_is_imported() -> None:
    assert imported("wellkeep.cli.serving", "wellkeep.api.application", "wellkeep.prove.scan") >= SERVES - {"uvicorn"}
    assert imported("wellkeep.egress.transport") >= GOES_OUT
