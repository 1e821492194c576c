"""`wellkeep review` and `wellkeep user leave` as processes, by the operator at the machine."""

from __future__ import annotations

import json
from pathlib import Path

from deployments import Deployment

OF = ("--tenant", "reviewed")


def test_a_review_at_the_machine_from_its_opening_to_the_paper(served: Deployment, tmp_path: Path) -> None:
    assert served.wk("tenant", "create", "reviewed").code == 0
    key = json.loads(served.wk("apikey", "create", *OF, "--role", "administrator", "--json").out)["id"]
    review = json.loads(served.wk("review", "open", *OF, "--days", "3", "--json").out)["id"]
    shown = served.wk("review", "show", review, *OF).out
    assert key in shown
    assert "stuck" in shown
    refused = served.wk("review", "decide", review, key, "--keep", *OF)
    assert refused.code == 1, "whoever made the key"
    assert "granted this yourself" in " ".join(refused.err.split())
    paper = tmp_path / "review.csv"
    assert served.wk("review", "report", review, *OF, "--format", "csv", "-o", paper).code == 0
    assert key in paper.read_text()


def test_a_leaver_at_the_machine(served: Deployment) -> None:
    who = ("leaver@example.org", "--tenant", "platform", "--name", "Lee", "--role", "support")
    person = json.loads(served.wk("user", "create", *who, "--json").out)["id"]
    left = json.loads(served.wk("user", "leave", person, "--json").out)
    assert (left["disabled"], left["roles"], left["keys"]) == (True, ["support"], [])
    again = served.wk("user", "leave", person)
    assert again.code == 0
    assert "could not sign in before" in " ".join(again.out.split())
