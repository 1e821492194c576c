"""What a key's scopes mean: our own permissions, and the SMART-style ones that bind it to one collection.

`record:read` is that permission, in every collection. `system/patients.rs` is reading and searching records of the
collection `patients`, `system/*.cruds` all five letters in every collection; `read` (r, s), `write` (c, u, d) and `*`
are the first version's words for them. The letters stand in this order, each once.

Rules: scopes narrow what the roles permit and grant nothing; what a scope does not name is left out, so a key that is
bound to a collection does nothing about records that no collection stands beside (a whole import, a patient's erasure).
An unknown scope is refused when a key is made, and permits nothing where one is read. The threat is a scope that was
misspelt, or that means more than whoever wrote it thought.

Source: SMART App Launch 2.2, "Scopes for requesting FHIR resources" (`system/` alone: a key is no person's).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from wellkeep.base.permissions import Permission
from wellkeep.base.principal import Principal

_SMART = re.compile(r"system/(\*|[a-z][a-z0-9_]{0,62})\.(read|write|\*|(?=[cruds])c?r?u?d?s?)")
_EVERY = "*"
_WORDS = {"read": "rs", "write": "cud", "*": "cruds"}
_LETTERS = {
    "c": Permission.RECORD_CREATE,
    "r": Permission.RECORD_READ,
    "u": Permission.RECORD_CHANGE,
    "d": Permission.RECORD_DELETE,
    "s": Permission.RECORD_SEARCH,
}
_OURS = {permission.value: permission for permission in Permission}


class Scopes(NamedTuple):
    """What scopes leave of the roles: permissions wherever they are used, and permissions in one collection each."""

    everywhere: frozenset[Permission]
    within: frozenset[tuple[str, Permission]]

    def hold(self, wanted: Scopes) -> bool:
        """Say whether `wanted` permits nothing that these do not."""
        rest = wanted.within - self.within
        return wanted.everywhere <= self.everywhere and all(permission in self.everywhere for _, permission in rest)


def known(scope: str) -> bool:
    """Say whether `scope` means anything."""
    return scope in _OURS or _SMART.fullmatch(scope) is not None


def read(scopes: Iterable[str]) -> Scopes:
    """Return what `scopes` leave; what is no scope permits nothing."""
    everywhere, within = set[Permission](), set[tuple[str, Permission]]()
    for scope in scopes:
        if scope in _OURS:
            everywhere.add(_OURS[scope])
        elif (smart := _SMART.fullmatch(scope)) is not None:
            collection, letters = smart[1], _WORDS.get(smart[2], smart[2])
            permissions = {Permission.COLLECTION_READ, *(_LETTERS[letter] for letter in letters)}
            if collection == _EVERY:
                everywhere |= permissions
            else:
                within |= {(collection, permission) for permission in permissions}
    return Scopes(frozenset(everywhere), frozenset(within))


def held(principal: Principal) -> Scopes | None:
    """Return the scopes of `principal`; None where it has all that its roles permit."""
    return None if principal.scopes is None else Scopes(principal.scopes, principal.within)
