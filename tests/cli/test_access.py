"""`wellkeep access` as processes: rules, roles of a tenant's own, care teams, and why somebody may or may not."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import uuid4

import pytest

from deployments import Deployment, command

NURSE = """
[roles.nurse]
permissions = ["collection:read", "record:read", "team:read"]
groups = ["clinical"]
purposes = ["TREAT"]
default_purpose = "TREAT"
hidden = ["notes.title"]
"""


@pytest.fixture(scope="module")
def administrator(served: Deployment) -> str:
    """Return a key of a new tenant's administrator."""
    assert served.wk("tenant", "create", "policies").code == 0
    made = served.wk("apikey", "create", "--tenant", "policies", "--role", "administrator", "--json")
    key: str = json.loads(made.out)["key"]
    return key


def test_a_role_is_set_from_a_file_explained_and_deleted(
    served: Deployment, administrator: str, tmp_path: Path
) -> None:
    file = tmp_path / "nurse.toml"
    file.write_text(NURSE)
    assert "revision 1" in served.wk("access", "role-set", file, key=administrator).out
    told = served.wk("access", "explain", "role:nurse", "record:read", key=administrator)
    assert "role:nurse/record:read" in told.out
    refused = json.loads(served.wk("access", "explain", "role:nurse", "user:read", "--json", key=administrator).out)
    assert (refused["allowed"], refused["rule"]) == (False, "deny:no-role")
    assert "No: deny:no-role" in served.wk("access", "explain", "role:nurse", "user:read", key=administrator).err
    assert "own, revision 1" in served.wk("access", "roles", key=administrator).out
    cells = json.loads(served.wk("access", "matrix", "--json", key=administrator).out)
    (cell,) = [one for one in cells if (one["role"], one["permission"]) == ("nurse", "record:read")]
    assert (cell["allowed"], cell["groups"], cell["hidden"]) == (True, ["clinical"], ["notes.title"])
    assert served.wk("access", "role-delete", "nurse", key=administrator).code == 0
    assert served.wk("access", "role-delete", "nurse", key=administrator).code == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("roles = 3", "defines no roles"),
        ("[role.x]\na = 1", "defines no roles"),
        ("[roles.x]\nissuable = true", "no role has"),
        ("[roles", "TOML"),
        (NURSE.replace('"record:read"', '"record:read", "role:change"'), "opens-and-administers"),
    ],
)
def test_a_file_that_makes_no_role(
    served: Deployment, administrator: str, tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "roles.toml"
    file.write_text(text)
    answer = served.wk("access", "role-set", file, key=administrator)
    assert answer.code in {1, 2}
    assert said in " ".join(answer.err.split())


def test_rules_and_teams(served: Deployment, administrator: str) -> None:
    shown = served.wk("access", "rules", "--care-team", "clinician", "--glass", "30", "--json", key=administrator)
    assert (json.loads(shown.out)["care_team"], json.loads(shown.out)["glass_minutes"]) == (["clinician"], 30)
    assert "clinician" in served.wk("access", "rules", key=administrator).out
    assert (
        json.loads(served.wk("access", "rules", "--care-team", "none", "--json", key=administrator).out)["care_team"]
        == []
    )
    assert served.wk("access", "rules", "--care-team", "nobody", key=administrator).code == 1
    nobody = str(uuid4())
    for arguments in (("team", nobody), ("team-add", nobody, nobody), ("team-remove", nobody, nobody)):
        refused = served.wk("access", *arguments, key=administrator)
        assert (refused.code, "HTTP 404" in refused.err) == (1, True)
    assert served.wk("access", "team-add", nobody, nobody, "--until", "tomorrow", key=administrator).code == 2


def test_the_matrix_of_the_package_needs_no_deployment() -> None:
    shown = command("access", "matrix", "--json")
    cells = json.loads(shown.out)
    assert {one["role"] for one in cells} >= {"administrator", "clinician", "keeper"}
    assert not any(
        one["allowed"] for one in cells if (one["role"], one["permission"]) == ("administrator", "record:read")
    )
    assert "Who sees what" in command("access", "matrix").out
