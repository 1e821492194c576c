"""From the claims of a token to roles, and whether they show a second factor.

Rules: a role comes from a registered pair of claim and value, compared letter by letter, and from nothing else; a role
that does not exist here any more, or is nobody's to give, is not given. What says that a second factor was shown is
registered for each provider; without that no word of a provider's counts as one. An e-mail address counts where the
provider says that it was verified, and joins nobody to an account even then.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from wellkeep.access.oidc_tokens import Claims

_DEPTH = 4
_MOST_VALUES = 1_000


@dataclass(frozen=True, slots=True, order=True)
class Mapping:
    """One line: who has `value` in `claim` gets `role`."""

    claim: str
    value: str
    role: str


def mapped(claims: Claims, mappings: Iterable[Mapping]) -> frozenset[str]:
    """Return the roles that these claims give."""
    return frozenset(one.role for one in mappings if one.value in _values(_found(claims, one.claim)))


def shows_second_factor(claims: Claims, accepted: Iterable[str]) -> bool:
    """Say whether `amr` or `acr` (RFC 8176, OpenID Connect Core 2) holds one of the accepted values."""
    told = _values(claims.get("amr")) | _values(claims.get("acr"))
    return not told.isdisjoint(accepted)


def verified_email(claims: Claims) -> str | None:
    """Return the e-mail address that the provider says it verified."""
    email = claims.get("email")
    return email if isinstance(email, str) and claims.get("email_verified") is True else None


def display_name(claims: Claims) -> str | None:
    """Return what the person is called, one line of 1 to 100 letters, where the provider says."""
    given = claims.get("name")
    if not isinstance(given, str):
        return None
    name = unicodedata.normalize("NFC", " ".join(given.split()))[:100].strip()
    return name if name and not any(unicodedata.category(letter)[0] == "C" for letter in name) else None


def _found(claims: Claims, name: str) -> Any:
    """Return a claim by its whole name, or by a path with dots (`realm_access.roles`)."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split(".", _DEPTH):
        if not isinstance(found, dict) or part not in found:
            return None
        found = found[part]
    return found


def _values(found: Any) -> frozenset[str]:
    if isinstance(found, bool):
        return frozenset({"true" if found else "false"})
    if isinstance(found, str):
        return frozenset({found})
    if isinstance(found, list):
        return frozenset(one for one in found[:_MOST_VALUES] if isinstance(one, str))
    return frozenset()
