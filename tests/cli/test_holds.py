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
    lifted = served.wk("hold", "lift", hold, "--reason", "settled", "--json")
    assert (lifted.code, lifted.json()["hold"]) == (0, hold), lifted.err
    assert lifted.json()["tenant"] == placed.json()["tenant"]
    assert [one["id"] != hold for one in served.wk("hold", "list", "--json").json()] == [True]
    told = served.wk("ledger", "search", "--action", "hold.placed", "--json", key=served.key(TENANT, "privacy_officer"))
    assert told.code == 0, told.err
    assert hold in told.out
    assert "reason" in told.out
    assert "subpoena" not in told.all
    again = served.wk("hold", "lift", hold, "--reason", "settled")
    assert again.code == 1
    assert "No such legal hold" in again.err


def test_a_reason_is_asked_for(served: Deployment) -> None:
    assert served.wk("hold", "place", "--tenant", TENANT, "--reason", " ").code == 1
    assert served.wk("hold", "place", "--tenant", TENANT).code == 2
    assert served.wk("hold", "lift", str(uuid4()), "--reason", "x").code == 1
