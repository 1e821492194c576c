"""Collections: made, listed, changed; every change is a new version, and no number of a field is ever used again."""

from __future__ import annotations

import msgspec

from wellkeep.base.errors import Conflict, NotFound, PreconditionFailed
from wellkeep.base.permissions import Permission
from wellkeep.db.connection import Connection
from wellkeep.gate.acts import Act, Caller, Decision
from wellkeep.keys.rotation import Tier
from wellkeep.ledger.event import Action
from wellkeep.vault.calls import ReadCollections
from wellkeep.vault.context import Context, collection_of
from wellkeep.vault.declaration import (
    NAME,
    CollectionChange,
    CollectionSpec,
    changed,
    check_collection,
    numbered,
)
from wellkeep.vault.definition import Collection, Definition
from wellkeep.vault.resealing_begin import begin

_TAKE_IDS = "SELECT vault.take_ids($1)"
_INSERT = """
INSERT INTO vault.collection (tenant_id, id, name, version, definition, created_at, updated_at)
VALUES ($1, $2, $3, 1, $4, $5, $5) ON CONFLICT (tenant_id, name) DO NOTHING
"""
_SELECT = """
SELECT id, name, version, definition, created_at, updated_at, vault.index_epochs() AS index_epochs,
       vault.data_epoch() AS data_epoch
FROM vault.collection WHERE name = $1 FOR UPDATE
"""
_EPOCHS = "SELECT vault.index_epochs() AS index_epochs, vault.data_epoch() AS data_epoch"
_UPDATE = "UPDATE vault.collection SET version = version + 1, definition = $2, updated_at = $3 WHERE id = $1"
_UNCOVERED = """
SELECT EXISTS (
  SELECT FROM access.custom_role AS r, unnest($1::text[], $2::text[]) AS field (old, new)
  WHERE r.deleted_at IS NULL AND field.old = ANY (r.hidden) AND field.new <> ALL (r.hidden))
"""
_RESOURCE = "collection"


class Collections:
    """The service of `/v1/collections`."""

    def __init__(self, context: Context) -> None:
        """Work within `context`."""
        self._context = context

    async def create(self, caller: Caller, spec: CollectionSpec) -> Collection:
        """Make a collection. Raises Validation with every problem, Conflict where the name is taken."""
        decision = await self._decide(caller, Permission.COLLECTION_CREATE, Action.COLLECTION_CREATE)
        mode = check_collection(spec)
        now = self._context.clock.now()
        async with self._context.gate.transaction(decision) as transaction:
            connection = transaction.connection
            first = await connection.fetchval(_TAKE_IDS, 1 + len(spec.fields))
            definition = Definition(subject=mode, fields=numbered(spec.fields, first=first + 1))
            done = await connection.execute(
                _INSERT, decision.tenant, first, spec.name, msgspec.json.encode(definition).decode(), now
            )
            if not done.endswith(" 1"):
                raise Conflict("There is a collection of this name already")
            (epochs,) = await connection.fetch(_EPOCHS)
            transaction.record(resource_type=_RESOURCE, resource_id=spec.name, count=len(spec.fields))
        return Collection(
            number=first,
            name=spec.name,
            version=1,
            definition=definition,
            created_at=now,
            updated_at=now,
            index_epochs=tuple(epochs["index_epochs"]),
            data_epoch=epochs["data_epoch"],
        )

    async def list(self, caller: Caller) -> list[Collection]:
        """Return the tenant's collections by name."""
        decision = await self._decide(caller, Permission.COLLECTION_READ, Action.COLLECTION_READ)
        answers = await self._context.gate.read(decision, ReadCollections(caller.principal.credential, None))
        found = [collection_of(row) for row in answers]
        await self._context.gate.disclose(decision, count=len(found))
        return found

    async def get(self, caller: Caller, name: str) -> Collection:
        """Return the collection of that name. Raises NotFound."""
        decision = await self._decide(caller, Permission.COLLECTION_READ, Action.COLLECTION_READ, name=name)
        self._context.forget_collection(decision.tenant, name)
        found = await self._context.collection(decision, name)
        await self._context.gate.disclose(decision)
        return found

    async def change(
        self, caller: Caller, name: str, change: CollectionChange, *, expected: int | None = None
    ) -> Collection:
        """Change a collection; what is stored is brought up to it in the background, where it has to be.

        `expected` is the version it must still have. Raises NotFound, Validation, PreconditionFailed, and Conflict
        where what another such change needs is not done yet.
        """
        decision = await self._decide(caller, Permission.COLLECTION_CHANGE, Action.COLLECTION_CHANGE, name=name)
        now = self._context.clock.now()
        async with self._context.gate.transaction(decision) as transaction:
            connection = transaction.connection
            row = await connection.fetchrow(_SELECT, name)
            if row is None:
                raise NotFound("There is no collection of this name")
            old = collection_of(row)
            if expected not in (None, old.version):
                raise PreconditionFailed("The collection has changed since you read it")
            fields = changed(old.definition.fields, change)
            await _must_not_uncover(connection, name, change)
            if change.add:
                first = await connection.fetchval(_TAKE_IDS, len(change.add))
                fields += numbered(change.add, first=first)
            definition = Definition(subject=old.subject, fields=fields)
            await connection.execute(_UPDATE, old.id, msgspec.json.encode(definition).decode(), now)
            if change.reseals:
                await begin(transaction, Tier.FIELD, collection=old.id)
            transaction.record(revision=old.version + 1, count=len(fields))
        self._context.forget_collection(decision.tenant, name)
        return Collection(
            number=old.id,
            name=name,
            version=old.version + 1,
            definition=definition,
            created_at=old.created_at,
            updated_at=now,
            index_epochs=old.index_epochs,
            data_epoch=old.data_epoch,
        )

    async def _decide(
        self, caller: Caller, permission: Permission, action: Action, *, name: str | None = None
    ) -> Decision:
        known = name if name is not None and NAME.fullmatch(name) else None
        return await self._context.gate.decide(
            caller, Act(permission, action, _RESOURCE, resource_id=known, collection=known)
        )


async def _must_not_uncover(connection: Connection, name: str, change: CollectionChange) -> None:
    """Raise Conflict where a field would be renamed that a role of the tenant's own hides, by the name it has."""
    before, after = ([f"{name}.{one}" for one in names] for names in (change.rename, change.rename.values()))
    if before and await connection.fetchval(_UNCOVERED, before, after):
        raise Conflict("A role of your own hides a field that you rename: first have it hide the new name as well")
