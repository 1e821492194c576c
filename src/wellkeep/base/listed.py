"""What tables of the settings that are listed under `[[…]]` have in common: how they are named, and what they name.

Rule: a name is what findings and the database remember one by, so it is a code of theirs and stands once; a place is
named as `[[egress.places]]` lists it; a secret is the name of a file in `secrets/`, and no path.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated

import msgspec

from wellkeep.base.errors import Misconfigured

Code = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z_]{0,60}[0-9]{0,2}\Z")]
SecretFile = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]{0,127}\Z")]


def check_listed(what: str, table: str, named: Sequence[tuple[str, str | None]], *, places: Collection[str]) -> None:
    """Raise Misconfigured where a name stands twice, or the place beside it, if any, is not listed."""
    names = [name for name, _ in named]
    for name, place in named:
        if names.count(name) > 1:
            raise Misconfigured(f"Two {what}s are named {name}: {table} names each once")
        if place is not None and place not in places:
            raise Misconfigured(f"The {what} {name} names a place that [[egress.places]] does not list")
