"""The closed grammar of findings: kinds, severities, keys and details.

Rule: a kind is registered here; a key is a word followed by ids, codes and integers; a detail's name is registered with
the one form its value may have. There is no free text. The threat is a value of a patient, or a driver's message that
quotes one, that gets into a finding and from there into a mail, a page or a ticket. A name registered as an id takes
ids only: no string of another shape passes for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from uuid import UUID

from wellkeep.base.errors import Internal

_MAX_DETAILS = 16
_MAX_INTEGER = 2**53 - 1
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_CODE = r"[a-z](?:[a-z_]|[-.](?=[a-z]))*[0-9]{0,2}"
_SEGMENT = rf"(?:{_UUID}|{_CODE}|[0-9]{{1,7}}|[0-9a-f]{{32}}|[0-9a-f]{{64}})"
_KEY_FORM = re.compile(rf"{_CODE}(?::{_SEGMENT}){{0,7}}")
_KEY_LENGTH = 400
_CODE_FORM = re.compile(_CODE)
_CODE_LENGTH = 64
_UUID_FORM = re.compile(_UUID)
_HEX_FORM = re.compile(r"(?:[0-9a-f]{16}|[0-9a-f]{32}|[0-9a-f]{64})")


class FindingRefused(Internal):
    """A finding that does not fit its grammar: a fault of the code that reports it. Holds no value."""


class Severity(StrEnum):
    """How soon somebody must look."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Kind(StrEnum):
    """What kind of thing was noticed; a room that notices something new registers it here."""

    INTEGRITY_BROKEN = "integrity.broken"
    REVISION_REPLAYED = "revision.replayed"
    TENANT_CONTEXT_REFUSED = "tenant.context_refused"
    KEYS_STALE = "keys.stale"
    KEYS_LOCKED = "keys.locked"
    KEYS_REVOKED = "keys.revoked"
    KEYS_TAMPERED = "keys.tampered"
    KEYS_BUDGET = "keys.budget"
    KEYS_OVERDUE = "keys.overdue"
    KEYS_ROTATION_FAILED = "keys.rotation_failed"
    ERASURE_OVERDUE = "erasure.overdue"
    LEDGER_BROKEN = "ledger.broken"
    LEDGER_CLOCK = "ledger.clock"
    LEDGER_UNAVAILABLE = "ledger.unavailable"
    LEDGER_OUTBOX_OLD = "ledger.outbox_old"
    LEDGER_UNVERIFIED = "ledger.unverified"
    LEDGER_BEHIND = "ledger.behind"
    LEDGER_ANCHOR_FAILED = "ledger.anchor_failed"
    LEDGER_ANCHORS_STALE = "ledger.anchors_stale"
    LEDGER_SINK_FAILED = "ledger.sink_failed"
    LEDGER_SINK_GAP = "ledger.sink_gap"
    EGRESS_DENIED = "egress.denied"
    OPERATOR_UNRECORDED = "operator.unrecorded"
    DATABASE_SETTING = "database.setting"
    MIGRATION_MISMATCH = "migration.mismatch"
    SCHEMA_CHANGED = "schema.changed"
    DEFINITION_CHANGED = "definition.changed"
    CREDENTIAL_EXPOSED = "credential.exposed"
    AUTH_FAILURES = "auth.failures"
    AUTH_LOCAL = "auth.local"
    PROVIDER_UNREACHABLE = "provider.unreachable"
    PROVIDER_FORGED = "provider.forged"
    SESSION_MOVED = "session.moved"
    FACTOR_RECOVERED = "factor.recovered"
    GLASS_BROKEN = "glass.broken"
    GLASS_AGAIN = "glass.again"
    IMPERSONATION_STARTED = "impersonation.started"
    REVIEW_OVERDUE = "review.overdue"
    GRANT_UNUSED = "grant.unused"
    LIMITS_UNAVAILABLE = "limits.unavailable"
    BUDGET_EXCEEDED = "budget.exceeded"
    CERTIFICATE_EXPIRING = "certificate.expiring"
    CERTIFICATE_UNREADABLE = "certificate.unreadable"
    MAIL_FAILED = "mail.failed"
    INDEX_CONFLICT = "index.conflict"
    INDEX_SKEW = "index.skew"
    JOB_FAILED = "job.failed"
    IMPORT_FAILED = "import.failed"
    EXPORT_FAILED = "export.failed"
    CLAIM_FAILED = "claim.failed"
    CLAIMS_UNTRIED = "claims.untried"


_IDS = frozenset(
    {
        "tenant",
        "subject",
        "record",
        "event",
        "request",
        "credential",
        "import",
        "export",
        "blob",
        "job",
        "log",
        "person",
        "session",
        "glass",
        "impersonation",
        "review",
        "grant",
        "provider",
    }
)
_INTEGERS = frozenset(
    {
        "collection",
        "field",
        "fields",
        "revision",
        "generation",
        "epoch",
        "seq",
        "size",
        "count",
        "lost",
        "line",
        "part",
        "seconds",
        "attempts",
    }
)
_CODES = frozenset(
    {
        "purpose",
        "error",
        "state",
        "action",
        "what",
        "setting",
        "migration",
        "claim",
        "index",
        "place",
        "anchor",
        "sink",
        "tier",
    }
)
_HEXES = frozenset({"kid", "digest", "leaf"})


def check_key(key: str) -> str:
    """Return `key` if it is a code followed by `:`-separated ids, codes, integers or digests; else FindingRefused."""
    if len(key) > _KEY_LENGTH or _KEY_FORM.fullmatch(key) is None:
        raise FindingRefused("A finding's key is not made of codes, ids and integers.")
    return key


def check_detail(detail: Mapping[str, str | int]) -> dict[str, str | int]:
    """Return a copy of `detail` if each name is registered and each value has its form; else FindingRefused."""
    if len(detail) > _MAX_DETAILS:
        raise FindingRefused("A finding has too many details.")
    for name, value in detail.items():
        form = _FORMS.get(name)
        if form is None:
            raise FindingRefused("A finding has a detail whose name is not registered.")
        if not form(value):
            raise FindingRefused("A finding has a detail whose value does not have its registered form.")
    return dict(detail)


def finding_key(kind: Kind, *parts: UUID | str | int) -> str:
    """Return the usual deduplication key: the kind, then what tells one such finding from another."""
    return check_key(":".join((kind.value, *(str(part) for part in parts))))


def _is_id(value: str | int) -> bool:
    return isinstance(value, str) and _UUID_FORM.fullmatch(value) is not None


def _is_integer(value: str | int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_INTEGER


def _is_code(value: str | int) -> bool:
    return isinstance(value, str) and len(value) <= _CODE_LENGTH and _CODE_FORM.fullmatch(value) is not None


def _is_hex(value: str | int) -> bool:
    return isinstance(value, str) and _HEX_FORM.fullmatch(value) is not None


_FORMS: Mapping[str, Callable[[str | int], bool]] = {
    **dict.fromkeys(_IDS, _is_id),
    **dict.fromkeys(_INTEGERS, _is_integer),
    **dict.fromkeys(_CODES, _is_code),
    **dict.fromkeys(_HEXES, _is_hex),
}
