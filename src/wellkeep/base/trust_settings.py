"""What the trust page is told: who publishes it, which claims, and where flaws are reported. No state is among it."""

from __future__ import annotations

from typing import Annotated

import msgspec

Url = Annotated[str, msgspec.Meta(pattern=r"^https://[0-9A-Za-z.-]{1,253}(:[0-9]{1,5})?(/[!-~]{0,1000})?\Z")]
Contact = Annotated[
    str, msgspec.Meta(pattern=r"^(https://[!-~]{1,1000}|mailto:[!-?A-~]{1,64}@[0-9a-z.-]{1,189}|tel:\+[0-9-]{3,20})\Z")
]
Published = Annotated[str, msgspec.Meta(pattern=r"^[a-z]{1,32}(\.[a-z_]{1,32})?\Z")]
Language = Annotated[str, msgspec.Meta(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{1,8})*\Z")]


class TrustSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """`claims` are ids (`rest.fields`) or families (`rest`) that are published; without any, all of them.

    `name` stands at the top of the page, by default the host's; `logo` is a file beside the settings, SVG or PNG of at
    most 64 KiB. `contacts` and the rest make `/.well-known/security.txt` (RFC 9116), which there is where somebody can
    be told. `prove_every_hours` is how often the server has its claims tried (0: never by itself); what was not tried
    for a day is unknown.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=80)] | None = None
    logo: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    claims: Annotated[tuple[Published, ...], msgspec.Meta(max_length=100)] = ()
    contacts: Annotated[tuple[Contact, ...], msgspec.Meta(max_length=8)] = ()
    policy: Url | None = None
    encryption: Url | None = None
    acknowledgments: Url | None = None
    languages: Annotated[tuple[Language, ...], msgspec.Meta(max_length=8)] = ()
    prove_every_hours: Annotated[int, msgspec.Meta(ge=0, le=20)] = 8
