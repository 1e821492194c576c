"""The pages of records and patients, made of what they are handed. None is handed a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlencode
from uuid import UUID

from wellkeep.access.care_team import Member
from wellkeep.base.purpose import Purpose
from wellkeep.vault.definition import Collection
from wellkeep.vault.outcomes import RecordView
from wellkeep.vault.search import Page
from wellkeep.vault.subjects import Subject
from wellkeep.web import rendering
from wellkeep.web.console import Frame

_PURPOSES: Final = {
    Purpose.TREATMENT: "treatment",
    Purpose.PAYMENT: "payment",
    Purpose.OPERATIONS: "operations",
    Purpose.RESEARCH: "research",
    Purpose.PATIENT_REQUEST: "the patient asked for it",
    Purpose.EMERGENCY_TREATMENT: "emergency treatment",
    Purpose.BREAK_GLASS: "break-glass",
    Purpose.PUBLIC_HEALTH: "public health",
}
_MOST_REVISIONS: Final = 50


def collections(frame: Frame, found: Sequence[Collection]) -> bytes:
    """Return the page of all collections."""
    return rendering.page("collections.html", frame=frame, collections=found)


def records(frame: Frame, collection: Collection, page: Page, *, asked: Mapping[str, str]) -> bytes:
    """Return a page of records; `asked` is what its own address says."""
    kept = {name: asked[name] for name in ("purpose", "subject") if asked.get(name)}
    more = None if page.cursor is None else "?" + urlencode({**kept, "cursor": page.cursor})
    return rendering.page(
        "records.html",
        frame=frame,
        collection=collection,
        records=page.records,
        asked=kept,
        more=more,
        purposes=_PURPOSES,
        keeping=_keeping(kept.get("purpose", "")),
    )


def record(frame: Frame, collection: Collection, found: RecordView, *, newest: int, purpose: str) -> bytes:
    """Return the page of one record as of a revision, `newest` being the last there is."""
    return rendering.page(
        "record.html",
        frame=frame,
        collection=collection,
        record=found,
        newest=newest,
        revisions=range(newest, max(0, newest - _MOST_REVISIONS), -1),
        purpose=purpose,
        purposes=_PURPOSES,
        keeping=_keeping(purpose),
    )


def subject(
    frame: Frame,
    found: Subject,
    held: Sequence[tuple[str, Page]],
    team: Sequence[Member] | None,
    *,
    purpose: str,
    most: int,
) -> bytes:
    """Return the page of one patient; `held` are the first records of each collection, at most `most` of each."""
    return rendering.page(
        "subject.html",
        frame=frame,
        subject=found,
        held=held,
        team=team,
        most=most,
        keeping=_keeping(purpose),
    )


def erased(frame: Frame, subject: UUID) -> bytes:
    """Return the page of a patient who is no more."""
    return rendering.page("erased.html", frame=frame, subject=subject)


def purpose(frame: Frame, path: str) -> bytes:
    """Return the page that asks for what somebody looks, and leads to `path` again."""
    return rendering.page("purpose.html", frame=frame, path=path, purposes=_PURPOSES)


def _keeping(purpose: str) -> str:
    """Return what links on a page carry on."""
    return f"?purpose={purpose}" if purpose else ""
