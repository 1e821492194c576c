"""From the settings to anchors: each with its place, its secret, and what checks it.

Rule: what is wrong with a secret, a chain or a key stops the start; what is wrong outside never does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from wellkeep.base.anchor_settings import (
    AnchorSettings,
    FileAnchor,
    Rfc3161Anchor,
    S3Anchor,
    WebhookAnchor,
)
from wellkeep.base.clock import Clock
from wellkeep.base.secret_files import read_secret
from wellkeep.egress import aws_credentials
from wellkeep.egress.egress import Egress
from wellkeep.ledger.anchors.anchor import Anchor
from wellkeep.ledger.anchors.file_drop import FileDrop
from wellkeep.ledger.anchors.outside import Outside
from wellkeep.ledger.anchors.s3 import S3
from wellkeep.ledger.anchors.webhook import Webhook, read_key
from wellkeep.ledger.anchors.witnessing import Witnessing, read_vkey
from wellkeep.ledger.checkpoint import Verifies

_SECRETS = "secrets"


def open_anchors(
    settings: Iterable[AnchorSettings], *, home: Path, egress: Egress, signers: Sequence[Verifies], clock: Clock
) -> tuple[Anchor, ...]:
    """Return the anchors of `settings`; connects to nothing. Raises Misconfigured.

    Paths are relative to `home` or absolute; secrets lie in its `secrets/`. `signers` are the deployment's keys.
    """
    return tuple(_opened(one, home, egress, signers, clock) for one in settings)


def _opened(settings: AnchorSettings, home: Path, egress: Egress, signers: Sequence[Verifies], clock: Clock) -> Anchor:
    name = settings.name
    if isinstance(settings, FileAnchor):
        return FileDrop(name=name, path=home / settings.path, signers=signers, clock=clock)
    outside = Outside(egress, settings.place)
    if isinstance(settings, WebhookAnchor):
        secret = read_key(read_secret(home / _SECRETS / settings.secret), name=name)
        return Webhook(outside, name=name, path=settings.path, secret=secret, clock=clock)
    if isinstance(settings, S3Anchor):
        credentials = aws_credentials.stored(home / _SECRETS / settings.credentials, whose=f"the anchor {name}")
        return S3(outside, settings=settings, credentials=credentials, signers=signers, clock=clock)
    if isinstance(settings, Rfc3161Anchor):
        from wellkeep.ledger.anchors.time_stamp import TimeStamp, read_chain  # noqa: PLC0415 -- it brings X.509 along

        chain = read_chain(home / settings.chain, name=name)
        return TimeStamp(outside, name=name, path=settings.path, chain=chain, clock=clock)
    verifier = read_vkey(settings.vkey, name=name)
    return Witnessing(outside, name=name, path=settings.path, verifier=verifier, clock=clock)
