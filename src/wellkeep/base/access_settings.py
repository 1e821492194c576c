"""How people get in: what their passwords cost to check, and the list of those that leaked."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal

import msgspec

from wellkeep.base.errors import Misconfigured
from wellkeep.base.listed import Code


class AccessSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """`bcrypt_cost`: each step doubles the work; below 12 nothing starts.

    `breached`: a file of SHA-1 digests in order, one a line, `DIGEST` or `DIGEST:COUNT`, as Have I Been Pwned gives it
    away; relative to the home or absolute.
    """

    bcrypt_cost: Annotated[int, msgspec.Meta(ge=12, le=16)] = 12
    breached: Annotated[str, msgspec.Meta(min_length=1)] | None = None


class MailSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """The server that takes mail to staff: a place of the egress list, spoken to over TLS; without one, no mail.

    `sender` is the address that mails come from; `user` signs in with the password in the file `password_file`,
    relative to the home or absolute. `site` is the host in links, with its port where that is not 443; default: `host`.
    `tls`: `implicit` is TLS from the first byte (port 465), `starttls` a server that turns to it (port 587).
    """

    place: Code | None = None
    sender: Annotated[str, msgspec.Meta(pattern=r"^[!-?A-~]{1,64}@[0-9a-z.-]{1,189}\Z")] | None = None
    user: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None
    password_file: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    tls: Literal["implicit", "starttls"] = "implicit"
    site: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9.-]{1,253}(:[0-9]{1,5})?\Z")] | None = None


def check_mail(mail: MailSettings, *, places: Collection[str]) -> None:
    """Raise Misconfigured where mail would go to a place that is not listed, or would sign in without a password."""
    if (mail.place is None) != (mail.sender is None):
        raise Misconfigured("[mail] needs both place and sender, or neither")
    if mail.place is not None and mail.place not in places:
        raise Misconfigured("[mail] names a place that [[egress.places]] does not list")
    if (mail.user is None) != (mail.password_file is None):
        raise Misconfigured("[mail] needs both user and password_file, or neither")
