"""What S3 answers in XML: whether a bucket has Object Lock, and what versions there are.

Rule: a document type is refused before it is parsed (entities that unfold without end); what does not fit is `rubbish`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple
from xml.etree import ElementTree as ET

from wellkeep.ledger.anchors.anchor import AnchorFailed, Trouble


class Version(NamedTuple):
    """One version of an object."""

    key: str
    version: str


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
