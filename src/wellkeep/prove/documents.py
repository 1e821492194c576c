"""Evidence as the document that is kept, shown and handed out: JSON, the same everywhere."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Final

import msgspec
import orjson

from wellkeep.base.clock import iso
from wellkeep.prove.claims import load_claims
from wellkeep.prove.evidence import Evidence, State, Step, Where

_PATH: Final = re.compile(r"(?<![\w.:/])/(?!v1\b)(?:tmp\b|[\w.+-]+/)[\w./+-]*")
"""An absolute path of two parts and more, or a temporary one; an address of the API is none."""
_ID: Final = re.compile(r"\b([0-9a-f]{8})-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")


class StepDocument(msgspec.Struct, frozen=True):
    """One thing tried; `held` is null where it could not be observed."""

    tried: str
    seen: str
    held: bool | None
    ours: bool


class EvidenceDocument(msgspec.Struct, frozen=True):
    """One run of one probe. `seconds` is wall time, `missing` the part of the sentence that is not covered yet."""

    claim: str
    says: str
    state: State
    where: Where
    at: Annotated[datetime, msgspec.Meta(tz=True)]
    seconds: float
    missing: str | None
    steps: tuple[StepDocument, ...]


def document(one: Evidence) -> dict[str, object]:
    """Return `one` as built-ins, with the sentence that it is about."""
    return {
        "claim": one.claim,
        "says": load_claims()[one.claim].says,
        "state": one.state.value,
        "where": one.where.value,
        "at": iso(one.at),
        "seconds": round(one.seconds, 3),
        "missing": one.missing,
        "steps": [{"tried": step.tried, "seen": step.seen, "held": step.held, "ours": step.ours} for step in one.steps],
    }


def public(one: Evidence) -> Evidence:
    """Return `one` as strangers are shown it: with no path of the machine, and no id but the first part of it."""
    steps = tuple(Step(_public(step.tried), _public(step.seen), step.held, step.ours) for step in one.steps)
    return replace(one, steps=steps)


def _public(text: str) -> str:
    return _ID.sub(r"\1…", _PATH.sub("(a path)", text))


def written(one: Evidence) -> str:
    """Return `document` as the text that is kept: its SHA-256 is what the ledger holds."""
    return orjson.dumps(document(one), option=orjson.OPT_SORT_KEYS).decode()


def read(text: str) -> Evidence:
    """Return the evidence of a document that was kept; raises msgspec.ValidationError where it is none."""
    told = msgspec.json.decode(text, type=EvidenceDocument)
    return Evidence(
        claim=told.claim,
        where=told.where,
        at=told.at,
        seconds=told.seconds,
        steps=tuple(Step(step.tried, step.seen, step.held, step.ours) for step in told.steps),
        missing=told.missing,
    )
