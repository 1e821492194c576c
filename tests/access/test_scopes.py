"""Scopes: what the SMART-style ones mean, and that none of them ever adds anything."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wellkeep.access import scopes
from wellkeep.access.roles import load
from wellkeep.base.ids import uuid7
from wellkeep.base.permissions import Permission
from wellkeep.base.principal import ActorType, AuthMethod, Principal
from wellkeep.gate.acts import Act, Caller, TenantSettings
from wellkeep.gate.policy import Policy
from wellkeep.ledger.event import Action

POLICY, TENANT = Policy(load()), uuid7()
GOOD = st.one_of(
    st.sampled_from([permission.value for permission in Permission]),
    st.builds(
        "system/{}.{}".format,
        st.sampled_from(["*", "patients", "visits"]),
        st.sampled_from(["read", "write", "*", "c", "rs", "cruds", "us"]),
    ),
)
ANY = st.one_of(GOOD, st.text(max_size=30), st.from_regex(r"system/[a-z*]{1,9}\.[a-z*]{0,6}", fullmatch=True))


def holding(asked: list[str] | None) -> Principal:
    left = None if asked is None else scopes.read(asked)
    return Principal(
        type=ActorType.API_KEY,
        id=str(uuid7()),
        tenant=TENANT,
        roles=("integration", "administrator"),
        method=AuthMethod.API_KEY,
        scopes=None if left is None else left.everywhere,
        within=frozenset() if left is None else left.within,
    )


def may(principal: Principal, permission: Permission, collection: str | None) -> bool:
    act = Act(permission, Action.RECORD_READ, "record", collection=collection)
    return POLICY.decide(Caller(principal, None, uuid7()), act, settings=TenantSettings()).allowed


def test_a_key_bound_to_a_collection_does_nothing_elsewhere() -> None:
    bound = holding(["system/patients.rs"])
    assert may(bound, Permission.RECORD_READ, "patients")
    assert may(bound, Permission.RECORD_SEARCH, "patients")
    assert may(bound, Permission.COLLECTION_READ, "patients")
    for permission in Permission:
        assert not may(bound, permission, "visits")
        assert not may(bound, permission, None), "what stands beside no collection"
    for permission in (Permission.RECORD_CREATE, Permission.RECORD_CHANGE, Permission.RECORD_DELETE):
        assert not may(bound, permission, "patients")
    assert not may(bound, Permission.IMPORT_RUN, "patients")
    assert not may(bound, Permission.EXPORT_RUN, "patients")


def test_the_first_versions_words_are_letters_of_the_second() -> None:
    for word, letters in (("read", "rs"), ("write", "cud"), ("*", "cruds")):
        for collection in ("patients", "*"):
            assert scopes.read([f"system/{collection}.{word}"]) == scopes.read([f"system/{collection}.{letters}"])


def test_what_is_no_scope_is_known_as_none() -> None:
    for text in ("", "system/", "system/x.", "system/x.sr", "system/x.rr", "system/x.rs\n", "user/x.rs", "record:Read"):
        assert not scopes.known(text)
        assert scopes.read([text]) == scopes.Scopes(frozenset(), frozenset())


@given(st.lists(ANY, max_size=6), st.sampled_from(list(Permission)), st.sampled_from(["patients", "visits", None]))
def test_scopes_only_ever_narrow(asked: list[str], permission: Permission, collection: str | None) -> None:
    if may(holding(asked), permission, collection):
        assert may(holding(None), permission, collection)


@given(st.lists(GOOD, max_size=6), st.lists(GOOD, max_size=6))
def test_what_is_held_permits_all_that_may_be_passed_on(held: list[str], wanted: list[str]) -> None:
    if not scopes.read(held).hold(scopes.read(wanted)):
        return
    for permission in Permission:
        for collection in ("patients", "visits", None):
            if may(holding(wanted), permission, collection):
                assert may(holding(held), permission, collection)
