"""What a stored state must become: sealed under the newest key, in no field clear that is sealed, tagged as declared.

Rules: the values stay what they are and are bound to the same places; what is right already stays as it is, so to bring
a state up twice changes nothing the second time. An envelope under an older key is opened with a receipt that names its
record, and the whole state is then sealed under the newest one. Tags are made of the values as a write makes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from wellkeep.crypto import envelope
from wellkeep.crypto.envelope import FieldIn
from wellkeep.crypto.keys import SealingKey
from wellkeep.gate.receipt import Receipt
from wellkeep.keys.tenant import TenantKeys
from wellkeep.vault.calls import SealedState
from wellkeep.vault.definition import EXTERNAL_ID, Collection
from wellkeep.vault.resealing_states import Met
from wellkeep.vault.sealing import state_of
from wellkeep.vault.tags import Payload, Tag, external_tags, tags_of
from wellkeep.vault.values import kind_of

_KID = slice(4, 20)


class Retag(Enum):
    """What happens to the tags of a record: nothing, those of the newest epoch alone, old ones off, missing ones on."""

    KEEP = 1
    RENEW = 2
    STRIP = 3
    ADD = 4


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the states of one collection must be."""

    collection: Collection
    keys: TenantKeys
    retag: Retag
    region: str

    def stale(self, met: Met, kid: bytes) -> bool:
        """Whether a value of `met` is sealed under another key than `kid`."""
        return any(sealed[_KID] != kid for sealed in met.sealed)

    def clear(self, met: Met) -> list[int]:
        """Return the numbers of fields that stand in the clear and must not."""
        fields = self.collection.by_id
        return [number for number in met.plain if number in fields and fields[number].sealed]

    def retags(self, met: Met) -> bool:
        """Whether the tags of `met` may have to change."""
        if self.retag is Retag.KEEP or met.deleted:
            return False
        if self.retag is Retag.ADD:
            building = [field.id for field in self.collection.definition.fields if field.building]
            return any(number in met.plain or number in met.field_ids for number in building)
        newest = self.keys.index_epochs[0]
        return any(tag[0] != newest for tag in met.tags)

    def bring(
        self, receipt: Receipt, met: Met, *, opening: Mapping[bytes, SealingKey], key: SealingKey
    ) -> tuple[SealedState, bool] | None:
        """Return what `met` becomes under `key`, and whether its tags changed; None where it stays as it is.

        Raises IntegrityBroken (reported), and ValueRefused for a value that a unique index can't take.
        """
        stale, clear = self.stale(met, key.header[_KID]), self.clear(met)
        retag = self.retags(met)
        needed = self._needed(met, all_of_it=stale, values=retag and self.retag is not Retag.STRIP)
        opened = self._open(receipt, met, needed, opening)
        tags = self._tags(met, opened) if retag else self._stored_tags(met)
        retagged = {(tag.field, tag.tag) for tag in tags} != set(zip(met.tag_fields, met.tags, strict=True))
        if not (stale or clear or retagged):
            return None
        field_ids, sealed = self._sealed(met, opened, clear, key, stale=stale)
        state = state_of(
            collection=met.collection,
            record=met.id,
            revision=met.revision,
            sealed_for=met.sealed_for,
            field_ids=field_ids,
            sealed=sealed,
            plain={number: text for number, text in met.plain.items() if number not in clear},
            tags=tags,
            mac=None,
            indexed=None if retagged else met.tags_digest,
        )
        return state, retagged

    def _needed(self, met: Met, *, all_of_it: bool, values: bool) -> list[int]:
        """Return the places of the envelopes that are opened."""
        if all_of_it:
            return list(range(len(met.sealed)))
        if not values:
            return []
        fields = self.collection.by_id
        return [
            place
            for place, number in enumerate(met.field_ids)
            if number == EXTERNAL_ID or (number in fields and fields[number].index != "none")
        ]

    def _open(
        self, receipt: Receipt, met: Met, needed: Sequence[int], opening: Mapping[bytes, SealingKey]
    ) -> list[tuple[int, int, bytes]]:
        if not needed:
            return []
        return self.keys.open_record(
            receipt,
            collection=met.collection,
            record=met.id,
            keys=opening,
            field_ids=[met.field_ids[place] for place in needed],
            sealed=[met.sealed[place] for place in needed],
        )

    def _sealed(
        self,
        met: Met,
        opened: Sequence[tuple[int, int, bytes]],
        clear: Sequence[int],
        key: SealingKey,
        *,
        stale: bool,
    ) -> tuple[list[int], list[bytes]]:
        """Return the fields and envelopes of the new state: all anew, or what stood in the clear beside what stays."""
        fields = self.collection.by_id
        items: list[FieldIn] = [
            (number, kind_of(fields[number]), met.plain[number].encode(), fields[number].enum is not None)
            for number in clear
        ]
        kept: list[tuple[int, bytes]] = []
        if stale:
            items = [(number, kind, payload, self._enumerated(number)) for number, kind, payload in opened] + items
        else:
            kept = list(zip(met.field_ids, met.sealed, strict=True))
        made = envelope.seal_record(
            key,
            tenant=self.keys.tenant.bytes,
            collection=met.collection,
            record=met.id.bytes,
            items=items,
        )
        return [number for number, _ in kept] + [item[0] for item in items], [sealed for _, sealed in kept] + made

    def _enumerated(self, number: int) -> bool:
        field = self.collection.by_id.get(number)
        return field is not None and field.enum is not None

    def _tags(self, met: Met, opened: Sequence[tuple[int, int, bytes]]) -> list[Tag]:
        newest = self.keys.index_epochs[0]
        stored = self._stored_tags(met)
        if self.retag is Retag.STRIP:
            return [tag for tag in stored if tag.tag[0] == newest]
        made = tags_of(self.keys, collection=met.collection, payloads=self._payloads(met, opened), region=self.region)
        if self.retag is Retag.ADD:
            have = set(zip(met.tag_fields, met.tags, strict=True))
            return stored + [tag for tag in made if (tag.field, tag.tag) not in have]
        external = next((payload.decode() for number, _, payload in opened if number == EXTERNAL_ID), None)
        if external is not None:
            named = external_tags(self.keys, collection=met.collection, external_id=external)
            made += [Tag(EXTERNAL_ID, tag, unique=True) for tag in named]
        return [tag for tag in made if tag.tag[0] == newest]

    def _payloads(self, met: Met, opened: Sequence[tuple[int, int, bytes]]) -> list[Payload]:
        """Return the values of indexed fields; of those that are being built alone where these are added."""
        fields = self.collection.by_id
        values = {number: payload for number, _, payload in opened}
        values |= {number: text.encode() for number, text in met.plain.items()}
        return [
            (fields[number], payload)
            for number, payload in values.items()
            if number in fields
            and fields[number].index != "none"
            and (self.retag is not Retag.ADD or fields[number].building)
        ]

    def _stored_tags(self, met: Met) -> list[Tag]:
        fields = self.collection.by_id
        return [
            Tag(number, tag, number == EXTERNAL_ID or fields[number].index == "unique")
            for number, tag in zip(met.tag_fields, met.tags, strict=True)
        ]


def seals_needed(wanted: Wanted, met: Met, kid: bytes) -> int:
    """Return how many values bringing `met` up would seal."""
    clear = len(wanted.clear(met))
    return clear + (len(met.sealed) if wanted.stale(met, kid) else 0)
