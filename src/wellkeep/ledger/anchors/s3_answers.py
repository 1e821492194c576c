"""What S3 answers in XML: whether a bucket has Object Lock, what versions there are, how one is kept.

Rule: a document type is refused before it is parsed (entities that unfold without end); what does not fit is `rubbish`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple
from xml.etree import ElementTree as ET

from wellkeep.ledger.anchors.anchor import AnchorFailed, Trouble


class Version(NamedTuple):
    """One version of an object."""

    key: str
    version: str


class Retention(NamedTuple):
    """How a version is kept: the mode, and until when."""

    mode: str
    until: datetime


def has_object_lock(document: bytes) -> bool:
    """Say whether a bucket's ObjectLockConfiguration is enabled."""
    return _text(_parsed(document), "ObjectLockEnabled") == "Enabled"


def versions(document: bytes) -> list[Version]:
    """Return the versions of a listing by key, of each key the oldest alone: what came later can't undo it."""
    oldest = {}
    for one in _children(_parsed(document), "Version"):
        found = Version(_text(one, "Key"), _text(one, "VersionId"))
        oldest[found.key] = found  # of one key the newest comes first
    return list(oldest.values())


def retention(document: bytes) -> Retention:
    """Return how a version is kept."""
    parsed = _parsed(document)
    until = datetime.fromisoformat(_text(parsed, "RetainUntilDate") or "none")
    if until.tzinfo is None:
        raise ValueError("a time without a zone")
    return Retention(_text(parsed, "Mode"), until)


def _parsed(document: bytes) -> ET.Element:
    if b"<!DOCTYPE" in document:
        raise AnchorFailed(Trouble.RUBBISH)
    try:
        return ET.fromstring(document)  # noqa: S314 -- document types are refused, and egress bounds the answer
    except ET.ParseError:
        raise AnchorFailed(Trouble.RUBBISH) from None


def _children(parent: ET.Element, name: str) -> Iterator[ET.Element]:
    return (child for child in parent if child.tag.rpartition("}")[2] == name)


def _text(parent: ET.Element, name: str) -> str:
    found = next(_children(parent, name), None)
    return "" if found is None else (found.text or "").strip()
