"""What a verification found: the first bad place of each log, what each such place means, and what was covered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

HOLDS = 0
TAMPERED = 1
COULD_NOT_VERIFY = 2
ANCHORS_STALE = 3
"""Exit codes of `wellkeep ledger verify`; 2 is the caller's, for what verification raised, 3 for what holds and is
not anchored as the policy asks."""


class What(StrEnum):
    """What is wrong at a place."""

    SEQ = "seq"
    """An entry is missing, or in another's place."""
    CONTENT = "content"
    """The bytes do not hash to the stored leaf."""
    FORM = "form"
    """The bytes are no entry of this format."""
    LOG = "log"
    """The entry belongs to another log."""
    CHAIN = "chain"
    """The entry does not name the leaf before it."""
    TIME = "time"
    """Time runs backwards, or the column says another time than the entry."""
    COLUMNS = "columns"
    """A search column says something else than the entry."""
    SEAL = "seal"
    """The batch that begins here is not what was sealed, or was not sealed with a key of ours."""
    UNSEALED = "unsealed"
    """From here on no seal covers the entries."""
    HEAD = "head"
    """The log's head is not where its entries end."""
    EVENT_ID = "event_id"
    """The event stands in this tenant's logs a second time."""
    ENTRY_SUBJECT = "entry_subject"
    """The table of further subjects does not hold those that this entry names, or holds more."""
    LOG_MISSING = "log_missing"
    """The root log announced a log that is gone."""
    LOG_UNANNOUNCED = "log_unannounced"
    """A log that the root log never announced."""
    ORPHAN = "orphan"
    """Rows of a log that has no head."""
    QUARANTINE = "quarantine"
    """Changes that could not be entered: their outbox rows were no events, or had the id of another."""
    CHECKPOINT = "checkpoint"
    """A stored checkpoint bears no signature of ours, or says another root or a greater size than the log has."""
    TILE = "tile"
    """A stored tile of the Merkle tree is not what the entries give."""
    COVER = "cover"
    """The root log vouches for another state of the log, or the pairs under one of its entries are not its own."""
    UNCOVERED = "uncovered"
    """From here on the root log vouches for nothing, though it vouched for others minutes later."""
    OPENING = "opening"
    """The log does not begin with what opens it, or a later epoch of it does not say what was lost."""
    RESTORED = "restored"
    """The entry tells of a loss that can't be: in no such log, or beyond where that log ends."""
    REMEMBERED = "remembered"
    """The log is shorter, or another one, than what was seen of it before and kept outside the database."""
    ANCHOR = "anchor"
    """An anchor holds another state of the root log, or a longer one."""
    PRUNED = "pruned"
    """Entries are missing that no record of a prune accounts for, or the record says another root."""
    FILES = "files"
    """The export has files that a log of this size does not have, or lacks one that it has."""


_REWRITTEN = "The past was changed after it was written. Whoever did so can write to the database."
_HIDDEN = "The log itself says it rightly, but a search would have hidden or made up an access."
_CUT = "Entries that once stood here are gone: somebody cut the log off, or put an older state back."

MEANING: Final[Mapping[What, str]] = {
    What.SEQ: "An entry was taken out, added or moved.",
    What.CONTENT: _REWRITTEN,
    What.FORM: "Somebody who is not wellkeep wrote here.",
    What.LOG: "Entries of another log were put here.",
    What.CHAIN: _REWRITTEN,
    What.TIME: "When something happened was changed.",
    What.COLUMNS: _HIDDEN,
    What.SEAL: "A batch was rewritten by somebody who does not have the seal key.",
    What.UNSEALED: "The tail was cut off inside a batch, or entries were added without the seal key.",
    What.HEAD: "The end of the log was moved.",
    What.EVENT_ID: "One event was made to look like two.",
    What.ENTRY_SUBJECT: _HIDDEN,
    What.LOG_MISSING: "A whole log, all that a tenant did, was deleted.",
    What.LOG_UNANNOUNCED: "A log was made up, or the root log was cut off.",
    What.ORPHAN: "A log's head was deleted, and its entries were left.",
    What.QUARANTINE: "Changes were committed whose record could not be entered.",
    What.CHECKPOINT: "What was once signed of this log is not what it holds, or a signature was forged.",
    What.TILE: "Proofs that were handed out from here would not have verified.",
    What.COVER: "The root log vouched for another state of this log than it has.",
    What.UNCOVERED: "Entries were added past wellkeep, or what vouches for them was taken away.",
    What.OPENING: "The log was begun anew without a record of what became of the old one.",
    What.RESTORED: "A loss was accepted on record that does not fit what is there.",
    What.REMEMBERED: _CUT,
    What.ANCHOR: "What stands outside is not what is here: all of it was rewritten, or an older state put back.",
    What.PRUNED: "Entries were deleted before their time, or without a record.",
    What.FILES: "The export is not whole, or something was added to it.",
}
"""Why it matters, in words."""


@dataclass(frozen=True, slots=True)
class Bad:
    """The first place of a log where it does not hold: its origin, the seq, and what is wrong there."""

    log: str
    seq: int
    what: What

    @property
    def meaning(self) -> str:
        """Why it matters, in words."""
        return MEANING[self.what]


class State(NamedTuple):
    """A log as far as it was verified: what a walk goes on from."""

    size: int
    frontier: tuple[bytes, ...]
    leaf: bytes
    time: datetime | None


@dataclass(frozen=True, slots=True)
class Report:
    """What verification saw: the logs, entries and seals it covered, and each log's first bad place.

    `outbox_seconds` is the age of the oldest change that is not chained yet; a matter of health, not of tampering.
    `quarantined` is the number of outbox rows that can never be chained. `notes` say what could not be told. `ends` are
    the logs that hold, by origin, as they were verified.
    """

    logs: int
    entries: int
    seals: int
    bad: tuple[Bad, ...]
    outbox_seconds: float = 0.0
    quarantined: int = 0
    checkpoints: int = 0
    covers: int = 0
    notes: tuple[str, ...] = ()
    ends: Mapping[str, State] = field(default_factory=dict)

    def with_bad(self, bad: tuple[Bad, ...]) -> Report:
        """Return the same with other bad places."""
        return replace(self, bad=bad)

    @property
    def ok(self) -> bool:
        """Whether everything holds."""
        return not self.bad

    @property
    def first_bad(self) -> Bad | None:
        """Return the first bad place, or None."""
        return self.bad[0] if self.bad else None

    @property
    def exit_code(self) -> int:
        """Return HOLDS or TAMPERED."""
        return HOLDS if self.ok else TAMPERED
