"""Promise: what a bucket answers in XML is read with or without encoded keys, and what does not fit is rubbish."""

from __future__ import annotations

import pytest

from wellkeep.ledger.anchors.anchor import AnchorFailed, Trouble
from wellkeep.ledger.anchors.s3_answers import Page, Version, has_object_lock, page

_VERSIONS = (
    '<ListVersionsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{more}'
    "<Version><Key>a%2Fb+c</Key><VersionId>1</VersionId></Version>"
    "<DeleteMarker><Key>gone</Key><VersionId>2</VersionId></DeleteMarker></ListVersionsResult>"
)


@pytest.mark.parametrize(("encoding", "key"), [("", "a%2Fb+c"), ("<EncodingType>url</EncodingType>", "a/b c")])
def test_keys_are_decoded_where_the_answer_says_so(encoding: str, key: str) -> None:
    assert page(_VERSIONS.format(more=encoding).encode()) == Page([Version(key, "1")], None)


def test_a_listing_goes_on_after_its_last_version() -> None:
    more = "<IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker><NextVersionIdMarker>v</NextVersionIdMarker>"
    assert page(_VERSIONS.format(more=more).encode()).last == Version("k", "v")


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<a>",
        "<a/>".encode("utf-16-le"),
        b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
        _VERSIONS.format(more="<IsTruncated>true</IsTruncated>").encode(),
    ],
    ids=["empty", "not closed", "UTF-16", "a document type", "more after nothing"],
)
def test_what_does_not_fit_is_rubbish(document: bytes) -> None:
    with pytest.raises(AnchorFailed) as failed:
        page(document)
    assert failed.value.trouble is Trouble.RUBBISH


@pytest.mark.parametrize(("said", "enabled"), [("Enabled", True), ("", False), ("enabled", False)])
def test_a_lock_is_enabled_in_that_word_alone(said: str, enabled: bool) -> None:  # noqa: FBT001
    document = f"<ObjectLockConfiguration><ObjectLockEnabled>{said}</ObjectLockEnabled></ObjectLockConfiguration>"
    assert has_object_lock(document.encode()) is enabled
    assert not has_object_lock(b"<ObjectLockConfiguration/>")
