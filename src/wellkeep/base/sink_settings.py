"""The sinks that a deployment names: who is given the ledger as it grows, one table `[[ledger.sinks]]` each.

Rules: a kind's own keys and no other; where a receiver is lies in `[[egress.places]]`, a secret is the name of a file
in `secrets/`. The name of a sink is what it is remembered by: under another name it begins anew.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal
from uuid import UUID

import msgspec

from wellkeep.base.errors import Misconfigured
from wellkeep.base.listed import Code, SecretFile, check_listed


class _Sink(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What every sink is told.

    `tenants` are the ids whose logs it gets, or "all"; `root` adds the deployment's own log. A new sink begins each log
    at its `beginning`, or `now` at its end. Behind by more than `max_lag_seconds`, it is a finding.
    """

    name: Code
    format: Literal["raw", "ocsf"] = "raw"
    tenants: Literal["all"] | tuple[UUID, ...] = "all"
    root: bool = False
    begin: Literal["beginning", "now"] = msgspec.field(name="from", default="beginning")
    max_lag_seconds: Annotated[int, msgspec.Meta(ge=60, le=604_800)] = 900


class FileSink(_Sink, frozen=True, tag_field="kind", tag="file"):
    """JSON lines in a file, absolute or relative to the home; moved aside at `rotate_bytes`, if `daily` each day."""

    path: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
    rotate_bytes: Annotated[int, msgspec.Meta(ge=65_536)] = 268_435_456
    daily: bool = True


class SyslogSink(_Sink, frozen=True, tag_field="kind", tag="syslog"):
    """RFC 5424 over TLS (RFC 5425) to the first port of `place`.

    A message longer than `max_bytes` goes in parts; `enterprise` is the private enterprise number of the structured
    data's name.
    """

    place: Code
    facility: Literal[
        "auth", "authpriv", "audit", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"
    ] = "audit"
    max_bytes: Annotated[int, msgspec.Meta(ge=2_048, le=1_048_576)] = 8_192
    enterprise: Annotated[int, msgspec.Meta(ge=1, le=4_294_967_295)] = 32_473


class HecSink(_Sink, frozen=True, tag_field="kind", tag="hec"):
    """Splunk's HTTP Event Collector at the first port of `place`; `token` names a file in `secrets/`."""

    place: Code
    token: SecretFile
    index: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9_][a-z0-9_-]{0,79}\Z")] | None = None
    sourcetype: Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z][0-9A-Za-z:._-]{0,63}\Z")] = "wellkeep:ledger"


SinkSettings = FileSink | SyslogSink | HecSink


def check_sinks(sinks: Collection[SinkSettings], *, places: Collection[str]) -> None:
    """Raise Misconfigured where a name stands twice, a place is not listed, or a sink would get no log at all."""
    named = [(one.name, None if isinstance(one, FileSink) else one.place) for one in sinks]
    check_listed("sink", "[[ledger.sinks]]", named, places=places)
    for one in sinks:
        if not one.tenants and not one.root:
            raise Misconfigured(f"The sink {one.name} gets no log: name tenants, or say root = true")
