"""The policy: the full matrix of role, permission, purpose and field group, cell by cell."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate.trial import caller
from wellkeep.access.roles import load, matrix
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.base.permissions import Permission
from wellkeep.base.principal import ActorType, AuthMethod, Principal
from wellkeep.base.purpose import Purpose
from wellkeep.gate.acts import Act, Caller, Decision, Reach, TenantSettings
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
    "support": set(),
    "integration": set(FIELD_GROUPS),
    "operator": set(),
    "keeper": set(),
}


def act(permission: Permission, **more: object) -> Act:
    return Act(permission, Action.RECORD_READ, "record", **more)  # type: ignore[arg-type]


def test_every_role_has_the_groups_that_were_promised() -> None:
    assert {name: set(role.groups) for name, role in ROLES.roles.items()} == SEES


@pytest.mark.parametrize("role", ["administrator", "operator", "auditor", "support"])
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
            glass = purpose is Purpose.BREAK_GLASS and permission in ROLES.phi
            fits = permission not in ROLES.phi or purpose is None or purpose in role.purposes
            there = home == PLATFORM_TENANT or permission not in ROLES.platform_only
            word = permission in ROLES.people.never_keys
            assert decision.allowed == (granted and fits and there and not glass and not word)
            assert decision.groups == (role.groups if decision.allowed else frozenset())
            if not there:
                assert decision.rule == "deny:platform"
            elif not granted:
                assert decision.rule == "deny:no-role"
            elif not fits:
                assert decision.rule == "deny:purpose"
            elif glass:
                assert decision.rule == "deny:no-break-glass"
            elif word:
                assert decision.rule == "deny:no-person"
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


def person(*roles: str, mfa: bool = True, fresh: bool = True, purpose: Purpose | None = None, **more: object) -> Caller:
    principal = Principal(
        type=ActorType.PERSON,
        id=str(uuid7()),
        tenant=TENANT,
        roles=roles,
        method=AuthMethod.SESSION,
        mfa=mfa,
        fresh=fresh,
        **more,  # type: ignore[arg-type]
    )
    return Caller(principal, purpose, uuid7())


def decided(asked: Caller, permission: Permission, settings: TenantSettings = OPEN) -> Decision:
    return POLICY.decide(asked, act(permission), settings=settings)


def test_ones_own_account_is_every_persons_and_no_keys() -> None:
    for permission in ROLES.people.own:
        assert decided(person("clinician"), permission).rule == f"own:{permission}"
        assert decided(person(), permission).allowed, "without any role"
        assert decided(caller(TENANT, "administrator"), permission).rule == "deny:no-role"
        inside = person("clinician", impersonation=uuid7(), on_behalf_of=str(uuid7()))
        assert decided(inside, permission).rule == "deny:impersonation"


def test_an_administrator_without_a_second_factor_has_nothing_but_setting_one_up() -> None:
    for role in ROLES.roles:
        asked = person(role, mfa=False, fresh=False)
        administers = bool(ROLES.roles[role].permissions & ROLES.people.administrative)
        for permission in Permission:
            decision = decided(asked, permission)
            if permission in ROLES.people.enrolling:
                assert decision.allowed
            elif administers and permission not in ROLES.platform_only:
                assert (decision.allowed, decision.rule) == (False, "deny:second-factor")
    assert decided(person("coach", mfa=False), Permission.RECORD_READ).allowed
    everybody = TenantSettings(second_factor=True)
    assert decided(person("coach", mfa=False), Permission.RECORD_READ, everybody).rule == "deny:second-factor"
    assert decided(caller(TENANT, "administrator"), Permission.APIKEY_READ, everybody).allowed, "keys have no factors"


def test_what_is_dangerous_wants_the_second_factor_anew() -> None:
    stale, fresh = person("administrator", fresh=False), person("administrator")
    for permission in ROLES.people.step_up & ROLES.roles["administrator"].permissions - ROLES.platform_only:
        assert decided(stale, permission).rule == "deny:step-up"
        assert decided(fresh, permission).allowed
    assert decided(stale, Permission.USER_READ).allowed


def test_inside_an_impersonation_nothing_is_administered_and_masked_means_no_field() -> None:
    inside = person("administrator", "clinician", impersonation=uuid7(), on_behalf_of=str(uuid7()), mfa=False)
    for permission in Permission:
        if permission not in ROLES.stepping_in and permission not in ROLES.platform_only:
            assert decided(inside, permission).rule == "deny:impersonation"
    assert "clinical" in decided(inside, Permission.RECORD_READ).groups
    masked = person("clinician", impersonation=uuid7(), on_behalf_of=str(uuid7()), masked=True)
    assert decided(masked, Permission.RECORD_READ).groups == frozenset()


def test_a_broken_glass_widens_what_its_file_names_for_persons_alone() -> None:
    glass = Purpose.BREAK_GLASS
    decision = decided(person("clinician", purpose=glass), Permission.RECORD_READ)
    assert (decision.rule, decision.reach) == ("break-glass:clinician/record:read", Reach.BREAK_GLASS)
    assert decision.groups >= ROLES.glass.groups
    assert decided(person("coach", purpose=glass), Permission.RECORD_READ).rule == "deny:purpose"
    assert decided(caller(TENANT, "clinician", purpose=glass), Permission.RECORD_READ).rule == "deny:no-break-glass"
    assert decided(person("clinician", purpose=glass), Permission.SUBJECT_CREATE).rule == "deny:no-break-glass"
    assert decided(person("clinician"), Permission.RECORD_READ).reach is Reach.ALL


def test_what_is_kept_of_worked_out_cells_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wellkeep.gate.policy._CELLS_KEPT", 3)
    policy = Policy(ROLES)
    for permission in Permission:
        policy.decide(caller(TENANT), act(permission), settings=OPEN)
        policy.administers((permission.value,))
    assert len(policy._cells) == 3
    assert len(policy._administrative) <= 3
