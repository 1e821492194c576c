"""What a tenant decides about roles: roles of its own, within bounds, and roles bound to the care team."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate.test_policy import act, person
from gate.trial import caller
from wellkeep.access.roles import load
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.permissions import Permission
from wellkeep.base.purpose import Purpose
from wellkeep.gate import custom_roles
from wellkeep.gate.acts import Caller, Decision, OwnRules, Reach, Role, TenantSettings
from wellkeep.gate.policy import FIELD_GROUPS, Policy

ROLES = load()
POLICY = Policy(ROLES)
TENANT = uuid7()
NURSE = Role(
    name="nurse",
    permissions=frozenset({Permission.RECORD_READ, Permission.RECORD_SEARCH}),
    groups=frozenset({"clinical", "demographic"}),
    purposes=frozenset({Purpose.TREATMENT, Purpose.BREAK_GLASS}),
    default_purpose=Purpose.TREATMENT,
    hidden=frozenset({"notes.text"}),
)


def row(role: Role) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(role))
    return found


def settings(*roles: Role, care_team: tuple[str, ...] = ()) -> TenantSettings:
    own = custom_roles.own_rules(TENANT, map(row, roles), care_team=care_team, roles=ROLES)
    return TenantSettings(own=own)


def decided(asked: Caller, permission: Permission, own: TenantSettings) -> Decision:
    return POLICY.decide(asked, act(permission), settings=own)


def test_a_tenants_own_role_gives_what_it_holds_there_and_nowhere_else() -> None:
    asked = caller(TENANT, "nurse")
    decision = decided(asked, Permission.RECORD_READ, settings(NURSE))
    assert (decision.rule, decision.reach) == ("role:nurse/record:read", Reach.ALL)
    assert decision.groups == NURSE.groups
    assert decision.hidden == {"clinical:notes.text", "demographic:notes.text"}
    assert decided(asked, Permission.RECORD_READ, TenantSettings()).rule == "deny:no-role"
    assert decided(asked, Permission.RECORD_CHANGE, settings(NURSE)).rule == "deny:no-role"
    assert POLICY.role("nurse", settings(NURSE)) == NURSE
    assert POLICY.role("nurse", TenantSettings()) is None
    assert POLICY.role("clinician", settings(NURSE)) is ROLES.roles["clinician"]


def test_another_tenants_role_of_the_same_name_is_another_role() -> None:
    wide = msgspec.structs.replace(NURSE, groups=FIELD_GROUPS, hidden=frozenset())
    asked = caller(TENANT, "nurse")
    narrow, broad = settings(NURSE), settings(wide)
    assert narrow.own is not None
    assert broad.own is not None
    assert narrow.own.digest != broad.own.digest
    for _ in range(2):
        assert decided(asked, Permission.RECORD_READ, narrow).groups == NURSE.groups
        assert decided(asked, Permission.RECORD_READ, broad).groups == FIELD_GROUPS
    elsewhere = custom_roles.own_rules(uuid7(), [row(NURSE)], care_team=(), roles=ROLES)
    assert elsewhere is not None
    assert elsewhere.digest != narrow.own.digest


def test_a_tenants_own_role_never_reaches_another_tenant() -> None:
    made = Role("helpers", frozenset({Permission.USER_READ}), frozenset(), frozenset(Purpose), Purpose.OPERATIONS)
    own = settings(made)
    there = act(Permission.USER_READ, tenant=TENANT)
    decision = POLICY.decide(caller(PLATFORM_TENANT, "helpers"), there, settings=own)
    assert decision.rule == "deny:no-role"
    assert decided(caller(TENANT, "helpers"), Permission.USER_READ, own).allowed


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": "clinician"}, ("/name", "taken")),
        ({"permissions": frozenset({Permission.TENANT_CREATE})}, ("/permissions", "not-grantable")),
        ({"permissions": frozenset({Permission.IMPERSONATION_START})}, ("/permissions", "not-grantable")),
        ({"permissions": frozenset({Permission.ACCOUNT_USE})}, ("/permissions", "not-grantable")),
        ({"permissions": frozenset({Permission.RECORD_RESEAL})}, ("/permissions", "not-grantable")),
        (
            {"permissions": frozenset({Permission.RECORD_READ, Permission.USER_CHANGE})},
            ("/permissions", "opens-and-administers"),
        ),
        ({"hidden": frozenset({"notes"})}, ("/hidden", "malformed")),
        ({"groups": frozenset({"secrets"})}, ("/groups", "not-allowed")),
        ({"purposes": frozenset({Purpose.TREATMENT, Purpose.SYSTEM_ADMINISTRATION})}, ("/purposes", "not-allowed")),
        ({"default_purpose": Purpose.OPERATIONS}, ("/default_purpose", "not-allowed")),
    ],
)
def test_what_is_beyond_the_bounds_is_named_and_counts_for_nothing(
    changes: dict[str, Any], problem: tuple[str, str]
) -> None:
    role = msgspec.structs.replace(NURSE, **changes)
    assert problem in custom_roles.problems(role, ROLES)
    assert settings(role).own is None


def test_a_row_of_another_version_counts_for_nothing() -> None:
    strange = row(NURSE) | {"permissions": ["record:read", "record:levitate"]}
    assert custom_roles.own_rules(TENANT, [strange], care_team=(), roles=ROLES) is None


def test_no_role_that_administers_opens_what_is_in_records() -> None:
    """However it is put together: bounds leave no own role with both, and the file has one that says why."""
    opening = custom_roles.opening(ROLES)
    both = [role for role in ROLES.roles.values() if role.permissions & opening & ROLES.phi]
    assert {role.name for role in both if role.permissions & ROLES.people.administrative} == {"privacy_officer"}
    for permission in opening:
        for administers in ROLES.people.administrative - ROLES.platform_only:
            role = msgspec.structs.replace(NURSE, permissions=frozenset({permission, administers}))
            assert custom_roles.problems(role, ROLES)


def test_a_role_of_its_own_that_administers_demands_a_second_factor() -> None:
    made = Role("desk", frozenset({Permission.TEAM_CHANGE}), frozenset(), frozenset(Purpose), Purpose.OPERATIONS)
    own = settings(made)
    assert decided(person("desk", mfa=False), Permission.TEAM_CHANGE, own).rule == "deny:second-factor"
    for _ in range(2):
        assert POLICY.administers(("desk",), own.own)
    assert not POLICY.administers(("desk",))


def test_bound_roles_reach_the_care_team_and_the_others_everybody_with_what_they_see() -> None:
    own = settings(care_team=("clinician",))
    alone = decided(person("clinician"), Permission.RECORD_READ, own)
    assert (alone.reach, alone.beyond) == (Reach.CARE_TEAM, None)
    both = decided(person("clinician", "coach"), Permission.RECORD_READ, own)
    assert both.reach is Reach.CARE_TEAM
    assert "identifier" in both.groups
    assert both.beyond is not None
    assert both.beyond.groups == ROLES.roles["coach"].groups
    assert both.beyond.rule == "role:coach/record:read"
    wider = settings(care_team=("coach",))
    assert decided(person("clinician", "coach"), Permission.RECORD_READ, wider).reach is Reach.ALL, "nothing to gain"
    assert decided(person("clinician"), Permission.COLLECTION_READ, own).reach is Reach.ALL
    masked = person("clinician", "coach", impersonation=uuid7(), on_behalf_of=str(uuid7()), masked=True)
    hidden = decided(masked, Permission.RECORD_READ, own)
    assert hidden.groups == frozenset()
    assert hidden.beyond is not None
    assert hidden.beyond.groups == frozenset()


def test_who_reads_the_log_by_a_bound_role_reads_it_of_their_patients() -> None:
    own = settings(care_team=("auditor",))
    assert decided(person("auditor"), Permission.LEDGER_READ, own).reach is Reach.CARE_TEAM


def test_a_broken_glass_opens_its_groups_whatever_a_role_hides() -> None:
    decision = decided(person("nurse", purpose=Purpose.BREAK_GLASS), Permission.RECORD_READ, settings(NURSE))
    assert decision.reach is Reach.BREAK_GLASS
    assert decision.groups >= ROLES.glass.groups
    assert decision.hidden == frozenset()


def test_a_field_is_hidden_where_every_role_that_sees_its_group_hides_it() -> None:
    other = Role(
        "aide",
        frozenset({Permission.RECORD_READ}),
        frozenset({"demographic", "contact"}),
        frozenset({Purpose.TREATMENT}),
        Purpose.TREATMENT,
    )
    decision = decided(caller(TENANT, "nurse", "aide"), Permission.RECORD_READ, settings(NURSE, other))
    assert decision.groups == {"clinical", "demographic", "contact"}
    assert decision.hidden == {"clinical:notes.text"}, "the aide sees no clinical group, so shows nothing of it"


def test_what_is_kept_for_tenants_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wellkeep.gate.policy._CELLS_KEPT", 3)
    policy, own = Policy(ROLES), settings(NURSE)
    for permission in Permission:
        policy.decide(caller(TENANT, "nurse"), act(permission), settings=own)
    assert 1 <= len(policy._own_cells) <= 3


@given(
    held=st.lists(st.sampled_from([*ROLES.roles, "nurse"]), min_size=1, max_size=3, unique=True),
    more=st.sampled_from([*ROLES.roles, "nurse"]),
    bound=st.frozensets(st.sampled_from([*ROLES.roles, "nurse"]), max_size=3),
    permission=st.sampled_from(sorted(ROLES.phi)),
    purpose=st.sampled_from([Purpose.TREATMENT, Purpose.OPERATIONS, Purpose.PAYMENT, Purpose.PATIENT_REQUEST]),
)
def test_one_more_role_never_takes_away_near_or_far(
    held: list[str], more: str, bound: frozenset[str], permission: Permission, purpose: Purpose
) -> None:
    own = settings(NURSE, care_team=tuple(bound))
    before = decided(caller(TENANT, *held, purpose=purpose), permission, own)
    after = decided(caller(TENANT, *held, more, purpose=purpose), permission, own)
    for of_team in (True, False):
        assert _sees(before, of_team=of_team) <= _sees(after, of_team=of_team)


def _sees(decision: Decision, *, of_team: bool) -> set[str]:
    """Return which group:field pairs a decision shows of a patient; `any` stands for a field that nobody hides."""
    if not decision.allowed:
        return set()
    groups, hidden = decision.groups, decision.hidden
    if decision.reach is not Reach.ALL and not of_team:
        if decision.beyond is None:
            return set()
        groups, hidden = decision.beyond.groups, decision.beyond.hidden
    shown = {f"{group}:{name}" for group in groups for name in ("notes.text", "any")}
    return (shown - hidden) | {"allowed"}


def test_own_rules_are_none_where_a_tenant_decided_nothing() -> None:
    assert custom_roles.own_rules(TENANT, [], care_team=[], roles=ROLES) is None
    bound = custom_roles.own_rules(TENANT, [], care_team=["clinician"], roles=ROLES)
    assert isinstance(bound, OwnRules)
    assert bound.care_team == {"clinician"}
