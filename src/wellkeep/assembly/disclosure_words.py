"""An entry in plain words, for whoever it is about: what somebody did with their records, and why.

Rule: words are made of the ledger's closed vocabulary and of names that were chosen for collections, fields and keys;
nothing here knows a value.
"""

from __future__ import annotations

from collections.abc import Sequence

from wellkeep.base.principal import ActorType
from wellkeep.base.purpose import Purpose
from wellkeep.ledger.actions import Action, Outcome

PURPOSES: dict[Purpose | None, str] = {
    Purpose.TREATMENT: "treatment",
    Purpose.PAYMENT: "payment",
    Purpose.OPERATIONS: "running the service (health care operations)",
    Purpose.RESEARCH: "research",
    Purpose.PATIENT_REQUEST: "a request of the patient",
    Purpose.EMERGENCY_TREATMENT: "emergency treatment",
    Purpose.BREAK_GLASS: "an emergency, past the usual limits (break-glass)",
    Purpose.PUBLIC_HEALTH: "public health",
    Purpose.SYSTEM_ADMINISTRATION: "keeping the system running",
    None: "no declared purpose",
}

_WHOLE = {
    Action.SUBJECT_CREATE: ("opened a file for you", "open a file for you"),
    Action.SUBJECT_READ: ("looked up your file number, no content", "look up your file number"),
    Action.SUBJECT_MERGE: ("joined two files that are both yours", "join your file with another"),
    Action.SUBJECT_ERASED: ("erased all of your records for good", "erase all of your records"),
    Action.ERASURE_READ: ("asked for the certificate of the erasure", "ask for the certificate of the erasure"),
    Action.HOLD_PLACED: ("forbade that your records are erased", "forbid that your records are erased"),
    Action.HOLD_LIFTED: ("allowed again that your records are erased", "allow again that your records are erased"),
    Action.LEDGER_READ: ("looked up who had used your records", "look up who had used your records"),
    Action.GLASS_BROKEN: ("got at your records in an emergency", "get at your records in an emergency"),
    Action.GLASS_ENDED: ("ended that emergency", "end an emergency"),
    Action.GLASS_READ: ("looked at how your records were used in an emergency", "look at an emergency"),
    Action.GLASS_REVIEWED: ("reviewed how your records were used in an emergency", "review an emergency"),
    Action.SUBJECT_DISCLOSURES: ("made an accounting like this one", "make an accounting like this one"),
}
"""Acts that are about no record in particular: what was done, and what was tried."""

_UNFOUND = {
    Action.RECORD_SEARCH: ("searched for records of yours and found none", "search your records"),
    Action.RECORD_CREATE: ("stored a record of yours", "store a record of yours"),
}
"""Acts upon records where the entry names none."""

_PARTLY = {
    Action.RECORD_READ: ("read", "read", ""),
    Action.RECORD_SEARCH: ("read", "read", ", found by a search"),
    Action.RECORD_CREATE: ("stored", "store", ""),
    Action.RECORD_CHANGE: ("changed", "change", ""),
    Action.RECORD_DELETE: ("deleted", "delete", ""),
    Action.RECORD_BATCH: ("stored", "store", ", together with others"),
    Action.RECORD_IMPORT: ("stored", "store", ", from an imported file"),
    Action.RECORD_EXPORT: ("copied", "copy", " into an export file"),
    Action.EXPORT_DOWNLOAD: ("downloaded", "download", " in an export file"),
    Action.RECORD_RESEALED: ("encrypted anew", "encrypt anew", ""),
    Action.OPEN_FAILED: ("could not open", "open", ""),
}
"""Acts upon records: what was done, what was tried, and how."""

_WRITES = frozenset({Action.RECORD_CREATE, Action.RECORD_CHANGE, Action.RECORD_BATCH, Action.RECORD_IMPORT})
_COMPARED = ("compared", "compare", " with what was sent")
_OTHER = ("worked with", "work with", "")


def attempted(action: Action, rule: str | None) -> Action:
    """Return what was attempted: a denial says it by the permission at the end of its rule."""
    if action is not Action.ACCESS_DENIED or rule is None:
        return action
    try:
        return Action(rule.rpartition("/")[2].replace(":", "."))
    except ValueError:
        return action


def what(action: Action, outcome: Outcome, *, records: int, collections: Sequence[str], fields: Sequence[str]) -> str:
    """Return what was done, or tried in vain, as the rest of a sentence that begins with who did it.

    `action` is what was attempted; `records` are the patient's own that it names, `collections` theirs.
    """
    tried = outcome in {Outcome.DENIED, Outcome.FAILED}
    if action in _WHOLE:
        done, wanted = _WHOLE[action]
    elif action in _UNFOUND and not records:
        done, wanted = _UNFOUND[action]
    else:
        compared = action in _WRITES and outcome is Outcome.AUTHORISED
        past, infinitive, how = _COMPARED if compared else _PARTLY.get(action, _OTHER)
        upon = _upon(records, collections, fields) + how
        listed = f": {', '.join(spelled(name) for name in fields)}" if fields else ""
        done, wanted = f"{past} {upon}{listed}", f"{infinitive} {upon}{listed}"
    if action is Action.OPEN_FAILED:
        return done
    if outcome is Outcome.DENIED:
        return f"tried to {wanted}; this was refused"
    return f"tried to {wanted}; this did not succeed" if tried else done


def who(
    actor_type: ActorType, actor_id: str, name: str | None, roles: Sequence[str], *, account: str | None = None
) -> str:
    """Return who it was, in the middle of a sentence; `account`: whose account one of the staff was in."""
    if account is not None:
        return f"“{name or actor_id}”, who helps with this system, in the account of “{account}”"
    role = f" ({'role' if len(roles) == 1 else 'roles'} {', '.join(map(spelled, roles))})" if roles else ""
    match actor_type:
        case ActorType.API_KEY:
            return f"the program “{name or actor_id}”{role}"
        case ActorType.PERSON:
            return f"the person “{name or actor_id}”{role}"
        case ActorType.OPERATOR:
            return f"the operator “{actor_id}” of this system"
        case ActorType.SYSTEM:
            return "the system itself"
        case _:
            return "somebody who had not signed in"


def why(purpose: Purpose | None) -> str:
    """Return what a purpose of use means, behind "for"."""
    return PURPOSES[purpose]


def spelled(name: str) -> str:
    """Return a name of ours as it is read aloud."""
    return name.replace("_", " ")


def _upon(records: int, collections: Sequence[str], fields: Sequence[str]) -> str:
    held = f" in “{'”, “'.join(map(spelled, collections))}”" if collections else ""
    if not records:
        owned = "your records"
    elif records == 1:
        owned = "your record"
    else:
        owned = f"{records:,} of your records"
    if not fields:
        return f"{owned}{held}"
    return f"{len(fields)} {'field' if len(fields) == 1 else 'fields'} of {owned}{held}"
