"""One tenant's keys, open in memory: what the vault seals, tags and opens with.

Rules: an object lives as long as the ring holds it; when the ring purges it (revocation, hard lifetime), it refuses at
once, also in hands that took it earlier. Seals under the tenant's own keys are counted before they are made. Nothing
here gives a key's bytes away. The threat is a revoked tenant that is served on by a worker with a warm cache.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from uuid import UUID

from wellkeep.base.errors import IntegrityBroken, WellkeepError
from wellkeep.base.secrets import Secret
from wellkeep.crypto import keys as crypto_keys
from wellkeep.crypto import wrap
from wellkeep.crypto.blind import BlindIndex
from wellkeep.crypto.errors import CryptoError
from wellkeep.crypto.keys import KID_SIZE, SECRET_SIZE, DataKey, SealingKey
from wellkeep.findings.findings import Findings
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.gate.receipt import Receipt
from wellkeep.keys.kms import KeyPurpose
from wellkeep.keys.opening import OpenedField, open_record
from wellkeep.keys.rows import KeyRow, OpenedKey
from wellkeep.keys.seals import BLOCK, KeyReplaced, TenantMeter
from wellkeep.keys.subject import HeldSubjectKey, NewSubjectKey, SubjectCache

_NO_COLLECTION = 0
_MAC_INDEX = 2**32 - 1


class Hold:
    """What all the open keys of one tenant in a process share: whether they may be used, and until when at most."""

    __slots__ = ("refusal", "until")

    def __init__(self) -> None:
        """They may."""
        self.refusal: type[WellkeepError] | None = None
        self.until = 0.0


class TenantKeys:
    """The open keys of one tenant; made by the ring alone, safe to share by everything in a process."""

    def __init__(
        self,
        *,
        tenant: UUID,
        opened: Sequence[OpenedKey],
        meters: Mapping[bytes, TenantMeter],
        subjects: SubjectCache,
        findings: Findings,
        hold: Hold,
        expire: Callable[[], None],
        renew: Callable[[TenantKeys], Awaitable[TenantKeys]],
    ) -> None:
        """Take `opened`, at least one active key of each purpose, and a meter for each kid.

        `hold` is shared by all objects of the tenant; the ring ends it when it purges. `expire` tells the ring that the
        database knows keys that are not here; `renew` returns newer ones than these.
        """
        self.tenant = tenant
        self.rows: tuple[KeyRow, ...] = tuple(key.row for key in opened)
        self.meters = meters
        self._tenant_id = tenant.bytes
        self._subjects = subjects
        self._findings = findings
        self._hold = hold
        self._expire = expire
        self._renew = renew
        self._current = {row.purpose: row for row in self.rows if row.state == "active"}
        self._wraps = _by_epoch(opened, KeyPurpose.WRAP)
        self._files = _by_epoch(opened, KeyPurpose.FILE)
        self._data = {key.row.kid: DataKey(key.secret) for key in opened if key.row.purpose is KeyPurpose.DATA}
        self._mac = next(Secret(key.secret) for key in opened if key.row.purpose is KeyPurpose.MAC)
        self._indexes = {key.row.epoch: Secret(key.secret) for key in opened if key.row.purpose is KeyPurpose.INDEX}
        self._blind: dict[tuple[int, int, int, str], tuple[BlindIndex, ...]] = {}
        self._macs: dict[str, Secret[bytes]] = {}

    def __repr__(self) -> str:
        """Name the tenant."""
        return f"<TenantKeys tenant={self.tenant}>"

    def subject_key(
        self, *, kid: bytes, wrapped: bytes, wrap_epoch: int, subject: UUID, generation: int
    ) -> HeldSubjectKey:
        """Return the key of a row of `keys.subject_key` that came back in this very query.

        Raises IntegrityBroken (reported) where the row does not open in its place, KeyReplaced where its epoch is not
        loaded, and what the ring purged with: KeysRevoked or KeysUnavailable.
        """
        self._require_held()
        held = self._subjects.get(
            tenant=self._tenant_id,
            kid=kid,
            wrapped=wrapped,
            wrap_epoch=wrap_epoch,
            subject=subject,
            generation=generation,
        )
        if held is not None:
            return held
        return self._unwrap(kid, wrapped, wrap_epoch, subject, generation)

    async def new_subject_key(self, subject: UUID, *, generation: int = 1) -> NewSubjectKey:
        """Make a random key for `subject`; the caller stores its row, whose `leased` begins at one block.

        It awaits nothing but a lease every 4,096 keys. Raises SealBudgetExhausted, KeysRevoked.
        """
        row = self._row(KeyPurpose.WRAP)
        try:
            await self.meters[row.kid].reserve(1)
        except KeyReplaced:
            return await (await self._renew(self)).new_subject_key(subject, generation=generation)
        secret = os.urandom(SECRET_SIZE)
        commit = crypto_keys.commitment(secret)
        kid = commit[:KID_SIZE]
        wrap_key = self._wraps[row.epoch]
        wrapped = wrap_key.wrap(secret, context=self._subject_context(subject, generation, kid)) + commit[KID_SIZE:]
        key = HeldSubjectKey(
            secret,
            tenant=self._tenant_id,
            subject=subject,
            generation=generation,
            wrapped=wrapped,
            wrap_epoch=row.epoch,
            left=BLOCK,
        )
        self._subjects.put(key)
        return NewSubjectKey(key=key, generation=generation, kid=kid, wrapped=wrapped, wrap_epoch=row.epoch)

    async def data_key(self, *, seals: int) -> DataKey:
        """Return the key for records of no patient, after `seals` seals (1 to 65,536) under it were counted."""
        row = self._row(KeyPurpose.DATA)
        try:
            await self.meters[row.kid].reserve(seals)
        except KeyReplaced:
            return await (await self._renew(self)).data_key(seals=seals)
        return self._data[row.kid]

    @property
    def data_keys(self) -> Mapping[bytes, DataKey]:
        """Every DATA key that may still be opened with, by kid."""
        self._require_held()
        return self._data

    @property
    def index_epochs(self) -> tuple[int, ...]:
        """The epochs of the index key that live, the newest first."""
        return tuple(sorted(self._indexes, reverse=True))

    @property
    def wrap_epochs(self) -> Collection[int]:
        """The epochs of the WRAP keys that are open here."""
        return self._wraps.keys()

    @property
    def data_epoch(self) -> int:
        """The epoch of the DATA key that seals now."""
        return self._current[KeyPurpose.DATA].epoch

    @property
    def data_kid(self) -> bytes:
        """The kid of the DATA key that seals now."""
        return self._current[KeyPurpose.DATA].kid

    def index_key(self, *, collection: int, field: int, index: int, normaliser: str) -> BlindIndex:
        """Return the newest epoch's key of one blind index, ready to tag; writes use it."""
        return self.index_keys(collection=collection, field=field, index=index, normaliser=normaliser)[0]

    def index_keys(self, *, collection: int, field: int, index: int, normaliser: str) -> tuple[BlindIndex, ...]:
        """Return the keys of every live epoch, newest first; queries use them all."""
        self._require_held()
        place = (collection, field, index, normaliser)
        ready = self._blind.get(place)
        if ready is None:
            ready = tuple(
                BlindIndex(
                    crypto_keys.index_key(
                        secret.reveal(), collection=collection, field=field, index=index, normaliser=normaliser
                    ),
                    epoch=epoch,
                )
                for epoch, secret in sorted(self._indexes.items(), reverse=True)
            )
            self._blind[place] = ready
        return ready

    def mac_key(self, label: str) -> bytes:
        """Return 32 bytes for keyed hashes that must not confirm a guess, such as `request/1`; one key a label.

        They come from the tenant's MAC key, which is not rotated with the index key: what they are compared with (the
        content of an imported record, a repeated request) outlives any epoch of that.
        """
        self._require_held()
        key = self._macs.get(label)
        if key is None:
            secret = self._mac.reveal()
            made = crypto_keys.index_key(secret, collection=_NO_COLLECTION, field=0, index=_MAC_INDEX, normaliser=label)
            key = self._macs[label] = Secret(made)
        return key.reveal()

    def open_record(
        self,
        receipt: Receipt,
        *,
        collection: int,
        record: UUID,
        keys: Mapping[bytes, SealingKey],
        field_ids: Sequence[int],
        sealed: Sequence[bytes],
    ) -> list[OpenedField]:
        """Open one record's fields, as `opening.open_record`; `keys` are its subject's, or `data_keys`."""
        self._require_held()
        return open_record(
            receipt,
            findings=self._findings,
            tenant=self.tenant,
            collection=collection,
            record=record,
            keys=keys,
            field_ids=field_ids,
            sealed=sealed,
        )

    async def file_wrap(self) -> tuple[int, wrap.WrapKey]:
        """Return (epoch, key) that new stream keys are wrapped under, after one wrap was counted; for `streams`."""
        row = self._row(KeyPurpose.FILE)
        try:
            await self.meters[row.kid].reserve(1)
        except KeyReplaced:
            return await (await self._renew(self)).file_wrap()
        return row.epoch, self._files[row.epoch]

    async def with_files(self, epoch: int) -> TenantKeys:
        """Return keys that know the FILE key of `epoch`: newer ones where another process uses one already.

        Raises KeysUnavailable where they can't be had.
        """
        return self if epoch <= max(self._files) else await self._renew(self)

    def file_unwrap(self, epoch: int) -> wrap.WrapKey:
        """Return the key that stream keys of `epoch` were wrapped under; for `streams`."""
        self._require_held()
        try:
            return self._files[epoch]
        except KeyError:
            self._expire()
            raise KeyReplaced from None

    def _require_held(self) -> None:
        if self._hold.refusal is not None:
            raise self._hold.refusal

    def _row(self, purpose: KeyPurpose) -> KeyRow:
        self._require_held()
        return self._current[purpose]

    def _subject_context(self, subject: UUID, generation: int, kid: bytes) -> bytes:
        return wrap.subject_key_context(tenant=self._tenant_id, subject=subject.bytes, generation=generation, kid=kid)

    def _unwrap(self, kid: bytes, wrapped: bytes, wrap_epoch: int, subject: UUID, generation: int) -> HeldSubjectKey:
        wrap_key = self._wraps.get(wrap_epoch)
        if wrap_key is None:
            self._expire()
            raise KeyReplaced
        try:
            context = self._subject_context(subject, generation, kid)
            secret = wrap_key.unwrap(wrapped[: wrap.WRAPPED_SIZE], context=context)
            key = HeldSubjectKey(
                secret,
                tenant=self._tenant_id,
                subject=subject,
                generation=generation,
                wrapped=wrapped,
                wrap_epoch=wrap_epoch,
                left=0,
            )
            genuine = hmac.compare_digest(key.commit, kid + wrapped[wrap.WRAPPED_SIZE :])
        except CryptoError:
            genuine = False
        if not genuine:
            self._findings.note(
                self.tenant,
                kind=Kind.KEYS_TAMPERED,
                severity=Severity.CRITICAL,
                key=finding_key(Kind.KEYS_TAMPERED, subject, generation),
                detail={"subject": str(subject), "generation": generation, "epoch": wrap_epoch},
            )
            raise IntegrityBroken("A subject's wrapped key does not open in its place; it has been reported.")
        self._subjects.put(key)
        return key


def _by_epoch(opened: Sequence[OpenedKey], purpose: KeyPurpose) -> dict[int, wrap.WrapKey]:
    return {key.row.epoch: wrap.WrapKey(key.secret) for key in opened if key.row.purpose is purpose}
