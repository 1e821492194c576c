"""How the HTTPS listeners speak TLS: a profile of Mozilla's, and a certificate for each host name.

Rule: there is no third profile, and nothing in a profile can be set apart: what is weaker than "intermediate" is spoken
by no listener. Source: Mozilla's server-side TLS guidelines, version 5.7.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal

import msgspec

from wellkeep.base.errors import Misconfigured

Profile = Literal["intermediate", "modern"]
_NAME = r"^(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\Z"


class TlsHost(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A host name, as clients ask for it (SNI, in lower case), and its own chain and key."""

    name: Annotated[str, msgspec.Meta(pattern=_NAME)]
    certificate: str
    key: str


class TlsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Chain and key for whoever asks for no name of `hosts`, relative to the home or absolute.

    `profile` is Mozilla's: "intermediate" is TLS 1.2 and 1.3, "modern" is TLS 1.3 alone.
    """

    certificate: str = "secrets/tls.crt"
    key: str = "secrets/tls.key"
    profile: Profile = "intermediate"
    # None, not empty: TOML lets nobody add a table to a list that is written out as `[]`.
    hosts: Annotated[tuple[TlsHost, ...], msgspec.Meta(max_length=1000)] | None = None


def check_hosts(hosts: Collection[TlsHost]) -> None:
    """Raise Misconfigured where a host name stands twice."""
    names = [one.name for one in hosts]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise Misconfigured(f"Two certificates are named for {twice}: [[tls.hosts]] names each host once")
