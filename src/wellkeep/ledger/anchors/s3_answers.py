"""What S3 answers in XML: whether a bucket has Object Lock, and what versions there are.

Rules: a document type is refused where it begins (entities that unfold without end), by the parser, which alone knows
where that is; a document is UTF-8, whatever it says that it is; what does not fit is `rubbish`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, NoReturn
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET

from wellkeep.ledger.anchors.anchor import AnchorFailed, Trouble


class Version(NamedTuple):
    """One version of an object."""

    key: str
    version: str


class Page(NamedTuple):
    """Part of a listing: versions by key, of each key the newest first; where there is more, it begins after `last`."""

    versions: list[Version]
    last: Version | None


def has_object_lock(document: bytes) -> bool:
    """Say whether a bucket's ObjectLockConfiguration is enabled."""
    return _text(_parsed(document), "ObjectLockEnabled") == "Enabled"


def page(document: bytes) -> Page:
    """Return what a listing of versions says; what is a mark of a deletion is left out."""
    root = _parsed(document)
    encoded = _text(root, "EncodingType") == "url"
    found = [Version(_key(one, "Key", encoded), _text(one, "VersionId")) for one in _children(root, "Version")]
    if _text(root, "IsTruncated") != "true":
        return Page(found, None)
    last = Version(_key(root, "NextKeyMarker", encoded), _text(root, "NextVersionIdMarker"))
    if not last.key:
        raise AnchorFailed(Trouble.RUBBISH)
    return Page(found, last)


class _Builder(ET.TreeBuilder):
    def doctype(self, name: str, pubid: str, system: str) -> NoReturn:  # noqa: ARG002 -- whatever it is, it is refused
        raise AnchorFailed(Trouble.RUBBISH)


def _parsed(document: bytes) -> ET.Element:
    if b"\0" in document:  # UTF-16, which the parser would know by itself
        raise AnchorFailed(Trouble.RUBBISH)
    parser = ET.XMLParser(target=_Builder(), encoding="utf-8")  # noqa: S314 -- no document type, and egress bounds it
    try:
        return ET.fromstring(document, parser=parser)  # noqa: S314 -- by this parser
    except ET.ParseError:
        raise AnchorFailed(Trouble.RUBBISH) from None


def _children(parent: ET.Element, name: str) -> Iterator[ET.Element]:
    return (child for child in parent if child.tag.rpartition("}")[2] == name)


def _text(parent: ET.Element, name: str) -> str:
    found = next(_children(parent, name), None)
    return "" if found is None else (found.text or "")


def _key(parent: ET.Element, name: str, encoded: bool) -> str:  # noqa: FBT001
    return unquote_plus(_text(parent, name)) if encoded else _text(parent, name)
