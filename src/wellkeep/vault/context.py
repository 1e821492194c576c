"""What every service of the vault works with, handed in once: gate, keys, cursors, clock, and two caches.

The caches hold nothing that opens anything: definitions of collections for a few seconds, and which key row a subject's
next write uses. Neither is believed: a write names the version and the kid that it was made for, and the database
refuses it where they are not the current ones.

An answer that depends on what is stored ("there is none", "it has changed", "it is taken") tells something of it, so it
is entered as failed before it is given: `refuse`. An access is entered before anything is opened; where opening then
fails, a second entry says so, beside the finding: `unopened`, `opening_blob`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import NoReturn, TypeVar, Unpack
from uuid import UUID

import msgspec

from wellkeep.base.clock import Clock
from wellkeep.base.errors import IntegrityBroken, KeysUnavailable, NotFound, SubjectErased, WellkeepError
from wellkeep.db.connection import Record
from wellkeep.findings.findings import Findings
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.gate.acts import Decision
from wellkeep.gate.calls import Answers
from wellkeep.gate.events import Facts
from wellkeep.gate.gate import Gate
from wellkeep.keys.cursors import Cursors
from wellkeep.keys.ring import KeyRing
from wellkeep.keys.seals import KeyReplaced
from wellkeep.keys.subject import HeldSubjectKey
from wellkeep.keys.tenant import TenantKeys
from wellkeep.ledger.actions import Action
from wellkeep.vault.calls import ReadCollections, ReadSubject
from wellkeep.vault.definition import Collection, Definition
from wellkeep.vault.stored import KeyRow, Stored, of_nobody, subject_keys

_FRESH_SECONDS = 2.0
_MOST_COLLECTIONS = 10_000
_MOST_SUBJECTS = 50_000
_RECORD = "record"
_KID = slice(4, 20)
_TRIES = 3
"""Of whoever writes under keys that are replaced; each roll of the epoch replaces them once."""
NOT_OPENED = "integrity-broken"
"""What an entry says of what did not open. The caller is told `internal`: that it is reported, and no more."""

_ERASED = "SELECT EXISTS (SELECT FROM vault.erased_state WHERE collection_id = $1 AND record_id = $2)"
_decode_definition = msgspec.json.Decoder(Definition).decode

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Person:
    """A subject that can be written for: the id its records are found under, and its current key's row."""

    subject: UUID
    row: KeyRow


@dataclass(slots=True)
class Context:
    """The vault's surroundings; `region` (ISO 3166) reads telephone numbers without a country code."""

    gate: Gate
    keyring: KeyRing
    cursors: Cursors
    findings: Findings
    clock: Clock
    region: str = "US"
    _collections: dict[tuple[UUID, str], tuple[float, Collection]] = field(default_factory=dict)
    _persons: OrderedDict[tuple[UUID, UUID], Person] = field(default_factory=OrderedDict)

    async def keys(self, tenant: UUID) -> TenantKeys:
        """Return the tenant's open keys; raises KeysUnavailable, KeysRevoked."""
        return self.keyring.cached(tenant) or await self.keyring.load(tenant)

    async def under_keys(self, tenant: UUID, work: Callable[[TenantKeys], Awaitable[T]]) -> T:
        """Return what `work` returns, done with the tenant's keys; again with newer ones where a key was replaced.

        `work` leaves nothing where it raises KeyReplaced. Raises what `keys` and `work` do.
        """
        keys = await self.keys(tenant)
        for _ in range(_TRIES):
            try:
                return await work(keys)
            except KeyReplaced:
                keys = await self.keyring.renew(keys)
        return await work(keys)

    async def keys_for(self, tenant: UUID, collection: Collection) -> TenantKeys:
        """Return the tenant's open keys, of the epochs that `collection` is written under.

        A definition that is behind the keys is read anew by the next try: a write for it is refused. Raises
        KeysUnavailable, KeysRevoked.
        """
        keys = await self.keys(tenant)
        if keys.index_epochs == collection.index_epochs and keys.data_epoch == collection.data_epoch:
            return keys
        if _behind(keys, collection):
            keys = await self.keyring.renew(keys)
            if _behind(keys, collection):
                raise KeysUnavailable("This tenant's keys are being rotated and the new ones are not open here yet.")
        self.forget_collection(tenant, collection.name)
        return keys

    async def keys_opening(self, keys: TenantKeys, sealed: Iterable[bytes]) -> TenantKeys:
        """Return keys that know the DATA keys which `sealed` names, newer than `keys` where another process uses one.

        A name that nobody knows is left to the opening, which reports it.
        """
        if all(one[_KID] in keys.data_keys for one in sealed):
            return keys
        with suppress(KeysUnavailable):
            return await self.keyring.renew(keys)
        return keys

    async def keys_of(self, keys: TenantKeys, states: Sequence[Stored]) -> TenantKeys:
        """Return keys that know those which `states` need, newer than `keys` where another process uses one already.

        What nobody knows is left to the opening, as `keys_opening` does.
        """
        newest = max(keys.wrap_epochs)
        if any(row.wrap_epoch > newest for state in states for row in state.key_rows):
            with suppress(KeysUnavailable):
                keys = await self.keyring.renew(keys)
        return await self.keys_opening(keys, of_nobody(states))

    async def refuse(self, decision: Decision, error: WellkeepError, **facts: Unpack[Facts]) -> NoReturn:
        """Enter, durably, that `decision` was answered with `error`, by its code alone; then raise it."""
        await self.gate.failed(decision, error=error.code, **facts)
        raise error

    async def absent(self, decision: Decision, collection: Collection, record: UUID, error: NotFound) -> NoReturn:
        """Enter, and raise, that there is no such record, or no more: `error`, or SubjectErased where it was erased."""
        async with self.gate.reading(decision) as connection:
            erased = await connection.fetchval(_ERASED, collection.id, record)
            raise SubjectErased() if erased else error

    async def unopened(self, decision: Decision, state: Stored, error: WellkeepError) -> NoReturn:
        """Enter that `state`, whose access was entered as authorised, did not open; then raise what it was.

        A subject without keys is looked up: it was erased (SubjectErased), or somebody took the keys (IntegrityBroken).
        """
        if isinstance(error, SubjectErased):
            try:
                error = await self.keyless(decision, state.sealed_for or state.id)
            except IntegrityBroken as missing:
                error = missing
        await self.gate.failed(
            decision,
            action=Action.OPEN_FAILED,
            error=NOT_OPENED if isinstance(error, IntegrityBroken) else error.code,
            resource_type=_RECORD,
            resource_id=str(state.id),
            subject=state.subject,
            records=(state.id,),
            revision=state.revision,
        )
        raise error from None

    @asynccontextmanager
    async def opening_blob(self, decision: Decision, blob: UUID) -> AsyncIterator[None]:
        """Open a blob whose access was entered: where it does not open, report it and enter that, then raise on."""
        try:
            yield
        except IntegrityBroken as error:
            if error.resource == blob:
                self.findings.note(
                    decision.tenant,
                    kind=Kind.INTEGRITY_BROKEN,
                    severity=Severity.CRITICAL,
                    key=finding_key(Kind.INTEGRITY_BROKEN, blob),
                    detail={"blob": str(blob)},
                )
                await self.gate.failed(decision, action=Action.OPEN_FAILED, error=NOT_OPENED, records=(blob,))
            raise

    async def collection(self, decision: Decision, name: str) -> Collection:
        """Return the collection of that name, at most two seconds old; raises NotFound, on record."""
        found = await self.find_collection(decision, name)
        if found is None:
            await self.refuse(decision, NotFound("There is no collection of this name"))
        return found

    async def find_collection(self, decision: Decision, name: str) -> Collection | None:
        """Return the collection as `collection` does, or None: for whoever tells nobody that there is none."""
        known = self._collections.get((decision.tenant, name))
        if known is not None and self.clock.monotonic() - known[0] < _FRESH_SECONDS:
            return known[1]
        answers = await self.gate.read(decision, ReadCollections(decision.caller.principal.credential, name))
        if not answers:
            self.forget_collection(decision.tenant, name)
            return None
        return self._keep(decision.tenant, collection_of(answers[0]))

    def forget_collection(self, tenant: UUID, name: str) -> None:
        """Read the collection anew next time."""
        self._collections.pop((tenant, name), None)

    def _keep(self, tenant: UUID, collection: Collection) -> Collection:
        if len(self._collections) >= _MOST_COLLECTIONS:
            self._collections.clear()
        self._collections[tenant, collection.name] = (self.clock.monotonic(), collection)
        return collection

    async def person(self, decision: Decision, subject: UUID) -> Person:
        """Return whom to write for when `subject` is named: the one it was merged into, where it was.

        Raises NotFound, SubjectErased, and IntegrityBroken (reported) where a living subject has no key.
        """
        known = self._persons.get((decision.tenant, subject))
        if known is not None:
            return known
        answers = await self.gate.read(decision, ReadSubject(decision.caller.principal.credential, subject))
        if not answers:
            raise NotFound("There is no subject of this id")
        first = answers[0]
        rows = [row for row in key_rows(answers) if row.state == "active"]
        if not rows:
            self.refuse_keyless(decision, subject, erased=first["erased_at"] is not None)
        found = Person(first["merged_into"] or first["id"], max(rows, key=lambda row: row.generation))
        self.keep_person(decision.tenant, subject, found)
        return found

    async def person_under(self, decision: Decision, keys: TenantKeys, subject: UUID) -> Person:
        """Return whom to write for as `person` does, read anew where what is remembered names a key that went."""
        found = await self.person(decision, subject)
        if found.row.wrap_epoch in keys.wrap_epochs or not self.forget_person(decision.tenant, subject):
            return found
        return await self.person(decision, subject)

    def keep_person(self, tenant: UUID, subject: UUID, person: Person) -> None:
        """Remember whom to write for; the database checks it at each write."""
        self._persons[tenant, subject] = person
        if len(self._persons) > _MOST_SUBJECTS:
            self._persons.popitem(last=False)

    def forget_person(self, tenant: UUID, subject: UUID) -> bool:
        """Read the subject anew next time; says whether it was known."""
        return self._persons.pop((tenant, subject), None) is not None

    def key_of(self, keys: TenantKeys, *, subject: UUID, row: KeyRow) -> HeldSubjectKey:
        """Return the key of `row`; raises IntegrityBroken where it does not open in its place."""
        return subject_keys(keys, subject=subject, rows=(row,))[row.kid]

    async def keyless(self, decision: Decision, subject: UUID) -> SubjectErased:
        """Return the refusal of a subject without keys; where it was not erased, report and raise IntegrityBroken."""
        answers = await self.gate.read(decision, ReadSubject(decision.caller.principal.credential, subject))
        if not answers or answers[0]["erased_at"] is None:
            self.refuse_keyless(decision, subject, erased=False)
        return SubjectErased()

    def refuse_keyless(self, decision: Decision, subject: UUID, *, erased: bool) -> NoReturn:
        """Raise SubjectErased, or report that a key row is missing and raise IntegrityBroken."""
        if erased:
            raise SubjectErased
        self.findings.note(
            decision.tenant,
            kind=Kind.KEYS_TAMPERED,
            severity=Severity.CRITICAL,
            key=finding_key(Kind.KEYS_TAMPERED, subject),
            detail={"subject": str(subject), "what": "no-key"},
        )
        raise IntegrityBroken("A subject's key is missing; it has been reported.")


def _behind(keys: TenantKeys, collection: Collection) -> bool:
    """Say whether the keys are older than the definition: an epoch comes, lives beside another, and goes."""
    held, wanted = keys.index_epochs, collection.index_epochs
    return (held[0], -len(held)) < (wanted[0], -len(wanted)) or keys.data_epoch < collection.data_epoch


def key_rows(answers: Answers) -> list[KeyRow]:
    """Return the key rows of the answer about one subject."""
    return [
        KeyRow(row["generation"], row["kid"], row["wrapped"], row["wrap_epoch"], row["key_state"])
        for row in answers
        if row["kid"] is not None
    ]


def collection_of(row: Record) -> Collection:
    """Return the collection of one row of `vault.collection_out`."""
    return Collection(
        number=row["id"],
        name=row["name"],
        version=row["version"],
        definition=_decode_definition(row["definition"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        index_epochs=tuple(row["index_epochs"]),
        data_epoch=row["data_epoch"],
    )
