"""The root keys of a deployment, each pinned by the settings to whom it may serve.

Rules: new keys of a tenant are wrapped by the root it brought, where it brought one that is not retired, else by the
deployment's. What a row of the database names is opened only where the settings allow that root to that tenant: the
roots that list it, and the deployment's own unless it has an active root of its own that is not still `moving`. The
threat is a row that names another's root, or the deployment's for a tenant who has withdrawn its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from wellkeep.base.errors import KeysUnavailable, Misconfigured
from wellkeep.keys.kms import Kms, RootDescription

_NOT_ALLOWED = (
    "These keys were wrapped by a root key that the settings do not allow for them. List it under [[keys.roots]] (for "
    "a local one, put the right file back), or restore the database that belongs to these settings."
)


@dataclass(frozen=True, slots=True)
class Root:
    """One root key and what the settings say of it; `note` is a remark that whoever looks at it should read."""

    name: str
    kms: Kms
    tenants: frozenset[UUID] = frozenset()
    moving: bool = False
    retired: bool = False
    note: str | None = None

    @property
    def description(self) -> RootDescription:
        """Which driver and key it is."""
        return self.kms.describe()


class PinnedRoots:
    """The roots that the settings list; see `kms.Roots`."""

    def __init__(self, roots: Iterable[Root], *, main: str) -> None:
        """Take the roots as listed; `main` names that of the deployment's own keys and of tenants who brought none.

        Raises Misconfigured where two roots are one and the same key: which settings hold for it would be chance.
        """
        self.listed = tuple(roots)
        self._by_key = {one.description.root: one for one in self.listed}
        if len(self._by_key) != len(self.listed):
            raise Misconfigured("Two roots of [[keys.roots]] are the same key. List it once, with all of its tenants.")
        self._main = next(one for one in self.listed if one.name == main)
        self._own = {tenant: one for one in self.listed if not one.retired for tenant in one.tenants}

    @property
    def deployment(self) -> Kms:
        """The root key of the deployment's own keys."""
        return self._main.kms

    def current(self, tenant: UUID) -> Kms:
        """Return the root key that new keys of `tenant` are wrapped by."""
        return self._own.get(tenant, self._main).kms

    def named(self, tenant: UUID, root: str) -> Kms:
        """Return the root key that a row of `tenant` names; KeysUnavailable where the settings do not allow it."""
        found = self._by_key.get(root)
        if found is None or not self._allowed(tenant, found):
            raise KeysUnavailable(_NOT_ALLOWED, retry_after=60)
        return found.kms

    def _allowed(self, tenant: UUID, root: Root) -> bool:
        if root.tenants:
            return tenant in root.tenants
        own = self._own.get(tenant)
        return own is None or own.moving
