"""Promise: whatever an entry can say is said in words that end a sentence, and none of it is left out."""

from __future__ import annotations

import pytest

from wellkeep.assembly.disclosure_words import attempted, what, who, why
from wellkeep.base.permissions import Permission
from wellkeep.base.principal import ActorType
from wellkeep.base.purpose import Purpose
from wellkeep.ledger.actions import Action, Outcome


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("action", Action)
def test_every_action_has_words_for_every_outcome(action: Action, outcome: Outcome) -> None:
    for records, collections, fields in ((0, (), ()), (1, ("charts",), ("birth_date",)), (3, ("a", "b"), ())):
        words = what(action, outcome, records=records, collections=collections, fields=fields)
        assert words[0].islower()
        assert words[-1].isalnum() or words[-1] == "”"
        assert "  " not in words
        told = words.startswith(("tried to ", "could not open "))
        assert told == (outcome in {Outcome.DENIED, Outcome.FAILED} or action is Action.OPEN_FAILED)
        assert ("refused" in words) == (outcome is Outcome.DENIED and action is not Action.OPEN_FAILED)


@pytest.mark.parametrize("permission", Permission)
def test_a_denial_says_what_was_attempted(permission: Permission) -> None:
    told = attempted(Action.ACCESS_DENIED, f"deny:no-role/{permission.value}")
    assert told.value == permission.value.replace(":", ".") or told is Action.ACCESS_DENIED
    assert attempted(Action.ACCESS_DENIED, None) is Action.ACCESS_DENIED
    assert attempted(Action.RECORD_READ, f"role:clinician/{permission.value}") is Action.RECORD_READ


@pytest.mark.parametrize("kind", ActorType)
def test_every_actor_is_called_something(kind: ActorType) -> None:
    assert who(kind, "an-id", None, ())
    named = who(kind, "an-id", "ward-3", ("clinician", "privacy_officer"))
    if kind in {ActorType.API_KEY, ActorType.PERSON}:
        assert "“ward-3” (roles clinician, privacy officer)" in named


def test_every_purpose_has_words() -> None:
    assert len({why(purpose) for purpose in (*Purpose, None)}) == len(Purpose) + 1


def test_what_was_compared_is_not_called_stored() -> None:
    compared = what(Action.RECORD_IMPORT, Outcome.AUTHORISED, records=1, collections=("charts",), fields=())
    assert compared == "compared your record in “charts” with what was sent"
    stored = what(Action.RECORD_IMPORT, Outcome.DONE, records=2, collections=("charts",), fields=())
    assert stored == "stored 2 of your records in “charts”, from an imported file"
