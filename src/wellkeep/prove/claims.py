"""The claims file: each sentence that a customer reads, with what must be done and then be seen."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True, slots=True)
class Claim:
    """One promise. `id` is `<family>.<name>` and never changes; `maps` are ids of public frameworks."""

    id: str
    says: str
    proof: str
    maps: tuple[str, ...]


@cache
def load_claims() -> dict[str, Claim]:
    """Return all claims of the package by id, in the order of the trust page."""
    text = resources.files("wellkeep.definitions").joinpath("claims.toml").read_text("utf-8")
    families = tomllib.loads(text)
    claims = [
        Claim(id=f"{family}.{name}", says=body["says"], proof=body["proof"], maps=tuple(body["maps"]))
        for family, members in families.items()
        for name, body in members.items()
    ]
    return {claim.id: claim for claim in claims}
