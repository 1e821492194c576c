"""A patient erased from the shell, and the certificate of it, as JSON, in words and as a page to print."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from cli.conftest import TENANT
from deployments import Deployment


@pytest.fixture
def patient(served: Deployment) -> str:
    """Make a patient over the API and return their id."""
    with served.client(served.key(TENANT, "integration")) as client:
        made = client.post("/v1/subjects")
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


def test_a_patient_is_erased_and_certified(served: Deployment, patient: str, tmp_path: Path) -> None:
    officer = served.key(TENANT, "privacy_officer")
    before = served.wk("subject", "erasure", patient, key=officer)
    assert (before.code, "HTTP 404" in before.err) == (1, True)
    others = served.wk("subject", "erase", patient, "--yes", key=served.key(TENANT, "integration"))
    assert (others.code, "HTTP 403" in others.err) == (1, True)
    erased = served.wk("subject", "erase", patient, "--yes", "--json", key=officer)
    assert erased.code == 0, erased.err
    certificate = erased.json()
    assert certificate["covered"]["keys"] == 1
    assert certificate["effective"]["state"] == "recoverable"
    again = served.wk("subject", "erase", patient, "--yes", "--json", key=officer).json()
    assert again["entry"]["id"] == certificate["entry"]["id"]
    words = served.wk("subject", "erasure", patient, key=officer)
    assert "Still recoverable from backups until" in words.out
    page = tmp_path / "certificate.html"
    written = served.wk("subject", "erasure", patient, "-o", page, key=officer)
    assert written.code == 0, written.err
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    text = page.read_text("utf-8")
    assert "Certificate of erasure" in text
    assert "Still recoverable from backups" in text
    assert certificate["entry"]["id"] in text
    assert "<script" not in text
    proof = served.wk("ledger", "proof", certificate["entry"]["id"], "--json")
    assert proof.code == 0, proof.err
    with served.client(officer) as client:
        gone = client.get(f"/v1/subjects/{patient}")
    assert (gone.status_code, gone.json()["type"].rpartition("/")[2]) == (410, "subject-erased")


def test_a_tenant_is_erased_by_two(served: Deployment) -> None:
    name = "wk-doomed"
    assert served.wk("tenant", "create", name).code == 0
    open_still = served.wk("tenant", "erase", name, "--yes")
    assert (open_still.code, "wellkeep tenant close" in open_still.err) == (1, True)
    assert served.wk("tenant", "close", name, "--yes").code == 0
    asked = served.wk("tenant", "erase", name, "--yes")
    assert (asked.code, "Another person must approve" in asked.err) == (1, True)
    (waiting,) = [one for one in served.wk("approvals", "list", "--json").json() if one["action"] == "tenant.erase"]
    assert served.wk("approvals", "refuse", waiting["id"]).code == 1  # nobody decides upon their own
    with served.client(served.administrator) as client:
        listed = client.get("/v1/approvals").json()["approvals"]
        assert waiting["id"] in {one["id"] for one in listed}
        given = client.post(f"/v1/approvals/{waiting['id']}", json={"decision": "approve"})
    assert given.status_code == 200, given.text
    erased = served.wk("tenant", "erase", name, "--yes", "--json")
    assert erased.code == 0, erased.err
    assert erased.json()["swept"]
    assert served.wk("tenant", "erasure", name).code == 0
    assert served.wk("tenant", "erase", name, "--yes").code == 0
    verified = served.wk("ledger", "verify", "--json")
    assert verified.json()["holds"], verified.out
