"""Legal holds from the shell: placed and lifted with a reason that stands nowhere in clear, on record twice."""

from __future__ import annotations

from uuid import uuid4

from cli.conftest import TENANT
from deployments import Deployment

_REASON = "subpoena of the third of May"


def test_a_hold_is_placed_listed_and_lifted(served: Deployment) -> None:
    assert "No legal hold stands" in served.wk("hold", "list").out
    placed = served.wk("hold", "place", "--tenant", TENANT, "--reason", _REASON, "--json")
    assert placed.code == 0, placed.err
    assert _REASON not in placed.all
    hold = placed.json()["hold"]
    everybody = served.wk("hold", "place", "--reason", _REASON)
    assert everybody.code == 0
    assert "this deployment" in everybody.out
    listed = served.wk("hold", "list")
    assert hold in listed.out
    assert TENANT in listed.out
    assert "everybody" in listed.out
    _approved_by_another(served, hold)
    lifted = served.wk("hold", "lift", hold, "--reason", "settled", "--json")
    assert (lifted.code, lifted.json()["hold"]) == (0, hold), lifted.err
    assert lifted.json()["tenant"] == placed.json()["tenant"]
    assert hold not in {one["id"] for one in served.wk("hold", "list", "--json").json()}
    told = served.wk("ledger", "search", "--action", "hold.placed", "--json", key=served.key(TENANT, "privacy_officer"))
    assert told.code == 0, told.err
    assert hold in told.out
    assert "reason" in told.out
    assert "subpoena" not in told.all
    again = served.wk("hold", "lift", hold, "--reason", "settled")
    assert again.code == 1
    assert "No such legal hold" in again.err


def _approved_by_another(served: Deployment, hold: str) -> None:
    """Ask for the lifting, in vain approve it oneself, and have the administrator's key approve it."""
    asked = served.wk("hold", "lift", hold, "--reason", "settled")
    assert (asked.code, "Another person must approve" in asked.err) == (1, True)
    waiting = [one for one in served.wk("approvals", "list", "--json").json() if one["target"] == hold]
    assert [one["state"] for one in waiting] == ["waiting"]
    own = served.wk("approvals", "approve", waiting[0]["id"])
    assert (own.code, "yourself" in own.err) == (1, True)
    with served.client(served.administrator) as client:
        given = client.post(f"/v1/approvals/{waiting[0]['id']}", json={"decision": "approve"})
    assert (given.status_code, given.json()["state"]) == (200, "given"), given.text


def test_a_hold_over_one_patient_is_told(served: Deployment) -> None:
    patient = str(uuid4())
    assert served.wk("hold", "place", "--subject", patient, "--reason", _REASON).code == 2
    placed = served.wk("hold", "place", "--tenant", TENANT, "--subject", patient, "--reason", _REASON, "--json")
    assert placed.json()["subject"] == patient
    assert patient in {one["subject"] for one in served.wk("hold", "list", "--json").json()}


def test_a_reason_is_asked_for(served: Deployment) -> None:
    assert served.wk("hold", "place", "--tenant", TENANT, "--reason", " ").code == 1
    assert served.wk("hold", "place", "--tenant", TENANT).code == 2
    assert served.wk("hold", "lift", str(uuid4()), "--reason", "x").code == 1
