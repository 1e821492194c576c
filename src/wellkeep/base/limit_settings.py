"""How much a caller may ask and be shown, where a key has no bounds of its own; and where workers count together."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

import msgspec

from wellkeep.base.errors import Misconfigured
from wellkeep.base.listed import Code

Rate = Annotated[int, msgspec.Meta(ge=10, le=10_000_000)]


class LimitSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """`requests` a minute of a key, `person_requests` of a person, `address_requests` of an address without either.

    All are weighted: a search counts for two reads. `records` an hour is the budget of a key and of a person. `redis`
    is the place of the egress list where several workers count together; `redis_user` and the password in the file
    `redis_password_file`, relative to the home or absolute, sign in there.
    """

    requests: Rate = 120_000
    person_requests: Rate = 6_000
    address_requests: Rate = 6_000
    records: Annotated[int, msgspec.Meta(ge=10, le=1_000_000_000)] = 1_000_000
    redis: Code | None = None
    redis_user: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None
    redis_password_file: Annotated[str, msgspec.Meta(min_length=1)] | None = None


def check_limits(limits: LimitSettings, *, places: Collection[str]) -> None:
    """Raise Misconfigured where the counts would go to a place that is not listed, or a name would have no password."""
    if limits.redis is not None and limits.redis not in places:
        raise Misconfigured("[limits] names a place that [[egress.places]] does not list")
    if limits.redis is None and (limits.redis_user is not None or limits.redis_password_file is not None):
        raise Misconfigured("[limits] signs in to no place: redis is missing")
    if limits.redis_user is not None and limits.redis_password_file is None:
        raise Misconfigured("[limits] needs redis_password_file beside redis_user")
