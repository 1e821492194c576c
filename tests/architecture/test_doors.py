"""Who acts for a caller goes through the gate, which asks whether the caller's key still stands.

A tenant's transaction by itself asks nothing: a request that opened one would answer a key that was revoked.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2] / "src/wellkeep"
SEARCHED = (
    *sorted((ROOT / "vault").rglob("*.py")),
    ROOT / "assembly/ledger_search.py",
    ROOT / "assembly/disclosures.py",
    *sorted((ROOT / "api").rglob("*.py")),
)
RUNNERS = {"imports_run.py", "imports_plan.py", "imports_source.py", "exports_run.py", "replay.py"}
"""What jobs run: they hold a decision of their own and ask for the starter's key with each batch."""


def test_only_jobs_open_a_tenants_transaction_by_themselves() -> None:
    found = {
        path.name
        for path in SEARCHED
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr in {"tenant_transaction", "transaction", "connection"}
        and isinstance(node.value, ast.Attribute | ast.Name)
        and "pool" in (node.value.attr if isinstance(node.value, ast.Attribute) else node.value.id)
    }
    assert found == RUNNERS
