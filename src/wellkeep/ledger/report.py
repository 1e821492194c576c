"""What a verification found: the first bad place of each log, and what was covered."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

HOLDS = 0
TAMPERED = 1
COULD_NOT_VERIFY = 2
"""Exit codes of `wellkeep ledger verify`; the last one is the caller's, for what verification raised."""


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


@dataclass(frozen=True, slots=True)
class Bad:
    """The first place of a log where it does not hold: its origin, the seq, and what is wrong there."""

    log: str
    seq: int
    what: What


@dataclass(frozen=True, slots=True)
class Report:
    """What verification saw: the logs, entries and seals it covered, and each log's first bad place.

    `outbox_seconds` is the age of the oldest change that is not chained yet; a matter of health, not of tampering.
    `quarantined` is the number of outbox rows that can never be chained.
    """

    logs: int
    entries: int
    seals: int
    bad: tuple[Bad, ...]
    outbox_seconds: float
    quarantined: int = 0

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
