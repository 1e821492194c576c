"""The anchors that a deployment names: what keeps its root log's end outside, one table `[[ledger.anchors]]` each.

Rules: a kind's own keys and no other; where it lies is the name of a place of `[[egress.places]]`, or a directory; a
secret is the name of a file in `secrets/`. A policy that asks for more anchors than there are is refused.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

import msgspec

from wellkeep.base.errors import Misconfigured
from wellkeep.base.listed import Code, SecretFile, check_listed

UrlPath = Annotated[str, msgspec.Meta(pattern=r"^/[0-9A-Za-z._~/+-]{0,1023}\Z")]


class _Anchor(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What every anchor has: a name, by which findings and receipts know it."""

    name: Code

    @property
    def kind(self) -> str:
        """What kind of anchor it is."""
        return str(self.__struct_config__.tag)


class FileAnchor(_Anchor, frozen=True, kw_only=True, tag_field="kind", tag="file"):
    """A directory on another volume or mount, which must exist; absolute, or relative to the home."""

    path: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]


class WebhookAnchor(_Anchor, frozen=True, kw_only=True, tag_field="kind", tag="webhook"):
    """An address that is posted to, signed as Standard Webhooks are; `secret` names a file with `whsec_…`."""

    place: Code
    path: UrlPath = "/"
    secret: SecretFile


class S3Anchor(_Anchor, frozen=True, kw_only=True, tag_field="kind", tag="s3"):
    """A bucket with Object Lock; `credentials` names a JSON file: access_key_id, secret_access_key, session_token."""

    place: Code
    bucket: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")]
    region: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}\Z")]
    credentials: SecretFile
    prefix: Annotated[str, msgspec.Meta(pattern=r"^([0-9A-Za-z_-][0-9A-Za-z._-]{0,62}/){0,8}\Z")] = ""
    path_style: bool = True
    retain_days: Annotated[int, msgspec.Meta(ge=1, le=36_500)] = 2_557


class Rfc3161Anchor(_Anchor, frozen=True, kw_only=True, tag_field="kind", tag="rfc3161"):
    """A time-stamping authority; `chain` is a PEM file of the certificates that its tokens must lead to."""

    place: Code
    path: UrlPath = "/"
    chain: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]


class WitnessAnchor(_Anchor, frozen=True, kw_only=True, tag_field="kind", tag="witness"):
    """A C2SP witness; `vkey` is its verifier key, `path` the prefix that `/add-checkpoint` is added to."""

    place: Code
    path: Annotated[str, msgspec.Meta(pattern=r"^(/[0-9A-Za-z._~+-]{1,255}){0,8}\Z")] = ""
    vkey: Annotated[str, msgspec.Meta(pattern=r"^[^\s+]+\+[0-9a-f]{8}\+[0-9A-Za-z+/=]{44}\Z", max_length=512)]


AnchorSettings = FileAnchor | WebhookAnchor | S3Anchor | Rfc3161Anchor | WitnessAnchor


def needed(anchors: Collection[AnchorSettings], asked: int | None) -> int:
    """Return how many anchors must hold a checkpoint: what was asked for, or all of them."""
    return len(anchors) if asked is None else asked


def check_anchors(anchors: Collection[AnchorSettings], asked: int | None, *, places: Collection[str]) -> None:
    """Raise Misconfigured where the policy can't be met, a name stands twice, or a place is not listed."""
    if asked is not None and asked > len(anchors):
        raise Misconfigured(
            f"anchors_needed in [ledger] asks for {asked} and [[ledger.anchors]] names {len(anchors)}. "
            "Name more, or ask for fewer."
        )
    named = [(one.name, None if isinstance(one, FileAnchor) else one.place) for one in anchors]
    check_listed("anchor", "[[ledger.anchors]]", named, places=places)
