"""The policy: the full matrix of role, permission, purpose and field group, cell by cell."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate.trial import caller
from wellkeep.access.roles import load, matrix
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.permissions import Permission
from wellkeep.base.purpose import Purpose
from wellkeep.gate.acts import Act, TenantSettings
from wellkeep.gate.policy import FIELD_GROUPS, Policy
from wellkeep.ledger.event import Action

ROLES = load()
POLICY = Policy(ROLES)
OPEN = TenantSettings()
TENANT = uuid7()

SEES = {
    "administrator": {"administrative"},
    "privacy_officer": set(FIELD_GROUPS),
    "clinician": FIELD_GROUPS - {"financial"},
    "coach": FIELD_GROUPS - {"financial", "identifier"},
    "billing": FIELD_GROUPS - {"clinical"},
    "auditor": set(),
    "integration": set(FIELD_GROUPS),
    "operator": set(),
}


def act(permission: Permission, **more: object) -> Act:
    return Act(permission, Action.RECORD_READ, "record", **more)  # type: ignore[arg-type]


def test_every_role_has_the_groups_that_were_promised() -> None:
    assert {name: set(role.groups) for name, role in ROLES.roles.items()} == SEES


@pytest.mark.parametrize("role", ["administrator", "operator", "auditor"])
def test_who_runs_or_audits_the_place_opens_no_record(role: str) -> None:
    assert not ROLES.roles[role].permissions & ROLES.phi
    assert not ROLES.roles[role].groups - {"administrative"}


@pytest.mark.parametrize("cell", matrix(ROLES), ids=lambda cell: f"{cell.role}-{cell.permission}")
def test_each_cell_answers_as_the_file_says(cell: object) -> None:
    role = ROLES.roles[cell.role]  # type: ignore[attr-defined]
    permission: Permission = cell.permission  # type: ignore[attr-defined]
    for purpose in (None, *Purpose):
        for home in (TENANT, PLATFORM_TENANT):
            decision = POLICY.decide(caller(home, role.name, purpose=purpose), act(permission), settings=OPEN)
            granted = permission in role.permissions
            fits = permission not in ROLES.phi or purpose is None or purpose in role.purposes
            there = home == PLATFORM_TENANT or permission not in ROLES.platform_only
            assert decision.allowed == (granted and fits and there)
            assert decision.groups == (role.groups if decision.allowed else frozenset())
            if not there:
                assert decision.rule == "deny:platform"
            elif not granted:
                assert decision.rule == "deny:no-role"
            elif not fits:
                assert decision.rule == "deny:purpose"
            else:
                assert decision.rule == f"role:{role.name}/{permission}"
                assert decision.purpose == (purpose or role.default_purpose)


def test_an_unknown_role_and_no_role_have_nothing() -> None:
    for roles in (("root",), ("",)):
        decision = POLICY.decide(caller(TENANT, *roles), act(Permission.COLLECTION_READ), settings=OPEN)
        assert (decision.allowed, decision.rule) == (False, "deny:no-role")


def test_what_one_role_sees_is_not_lent_to_what_another_may_do() -> None:
    both = caller(TENANT, "billing", "clinician")
    assert (
        "clinical"
        not in POLICY.decide(
            caller(TENANT, "billing", "clinician", purpose=Purpose.PAYMENT), act(Permission.RECORD_READ), settings=OPEN
        ).groups
    )
    create = POLICY.decide(both, act(Permission.RECORD_CREATE), settings=OPEN)
    assert create.rule == "role:clinician/record:create"
    assert "financial" not in create.groups


def test_scopes_narrow_and_never_grant() -> None:
    narrowed = caller(TENANT, "billing", scopes=frozenset({Permission.RECORD_SEARCH, Permission.RECORD_DELETE}))
    assert POLICY.decide(narrowed, act(Permission.RECORD_SEARCH), settings=OPEN).allowed
    assert POLICY.decide(narrowed, act(Permission.RECORD_READ), settings=OPEN).rule == "deny:scope"
    assert POLICY.decide(narrowed, act(Permission.RECORD_DELETE), settings=OPEN).rule == "deny:no-role"


def test_only_the_platform_reaches_another_tenant_and_never_its_records() -> None:
    other = uuid7()
    reach = act(Permission.APIKEY_CREATE, tenant=other)
    assert POLICY.decide(caller(PLATFORM_TENANT, "operator"), reach, settings=OPEN).tenant == other
    assert POLICY.decide(caller(TENANT, "administrator"), reach, settings=OPEN).rule == "deny:tenant"
    for permission in ROLES.phi:
        decision = POLICY.decide(caller(PLATFORM_TENANT, *ROLES.roles), act(permission, tenant=other), settings=OPEN)
        assert (decision.rule, decision.tenant) == ("deny:tenant", PLATFORM_TENANT)


def test_a_closed_tenant_takes_no_act_but_the_platforms() -> None:
    closed = TenantSettings(closed=True)
    assert POLICY.decide(caller(TENANT), act(Permission.RECORD_READ), settings=closed).rule == "deny:closed"
    keys = act(Permission.APIKEY_REVOKE, tenant=TENANT)
    assert POLICY.decide(caller(PLATFORM_TENANT, "operator"), keys, settings=closed).allowed


def test_a_purpose_is_not_guessed_where_it_is_demanded() -> None:
    strict = TenantSettings(purpose_required=True)
    assert POLICY.decide(caller(TENANT), act(Permission.RECORD_READ), settings=strict).rule == "deny:purpose-required"
    assert POLICY.decide(caller(TENANT), act(Permission.RECORD_CREATE), settings=strict).allowed
    assert POLICY.decide(
        caller(TENANT, purpose=Purpose.PATIENT_REQUEST), act(Permission.RECORD_READ), settings=strict
    ).allowed


@given(
    roles=st.lists(st.sampled_from([*ROLES.roles, "unknown"]), max_size=4),
    permission=st.sampled_from(Permission),
    purpose=st.sampled_from([None, *Purpose]),
    scopes=st.none() | st.frozensets(st.sampled_from(Permission)),
    closed=st.booleans(),
)
def test_more_roles_never_take_away_and_a_grant_has_a_role_behind_it(
    roles: list[str],
    permission: Permission,
    purpose: Purpose | None,
    scopes: frozenset[Permission] | None,
    closed: bool,  # noqa: FBT001
) -> None:
    """Whatever is combined: a grant names a role of the caller's own that the file gives the permission."""
    asked = caller(TENANT, *(roles or ["unknown"]), purpose=purpose, scopes=scopes)
    decision = POLICY.decide(asked, act(permission), settings=TenantSettings(closed=closed))
    if decision.allowed:
        name = decision.rule.removeprefix("role:").partition("/")[0]
        assert name in roles
        assert permission in ROLES.roles[name].permissions
        assert scopes is None or permission in scopes
        assert not closed
        seen = [ROLES.roles[role].groups for role in roles if role in ROLES.roles]
        assert decision.groups <= frozenset[str]().union(*seen)
    else:
        assert decision.rule.startswith("deny:")
        assert decision.groups == frozenset()


def test_what_is_kept_of_worked_out_cells_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wellkeep.gate.policy._CELLS_KEPT", 3)
    policy = Policy(ROLES)
    for permission in Permission:
        policy.decide(caller(TENANT), act(permission), settings=OPEN)
    assert len(policy._cells) == 3
