"""A bucket with S3 Object Lock: each checkpoint an object that nobody, not its owner, deletes or replaces for years.

    <prefix><origin, / as _>/<10^16 - 1 - size, 16 digits>-<size>.note        so that the newest is listed first

Rules: a bucket without Object Lock is refused before anything is put; what was put is read back, bytes, mode COMPLIANCE
and date, before it counts; of a key the oldest version is the one, so that a later one, or a deletion, hides nothing;
a key is that of the very note that lies there, so that an old note under a newer one's key hides nothing either.
The threat beside the usual one is a store that says yes and keeps nothing, or keeps it as long as somebody likes.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import msgspec

from wellkeep.base.anchor_settings import S3Anchor
from wellkeep.base.clock import Clock
from wellkeep.crypto.errors import BadNote
from wellkeep.crypto.notes import MAX_NOTE_BYTES, split
from wellkeep.ledger.anchors import s3_answers, sigv4
from wellkeep.ledger.anchors.anchor import ALARMS, NEWEST, AnchorFailed, Consistency, Evidence, Seen, Trouble
from wellkeep.ledger.anchors.outside import Answer, Outside
from wellkeep.ledger.anchors.s3_answers import Page, Version
from wellkeep.ledger.checkpoint import Checkpoint, parse

MODE = "COMPLIANCE"
_LAST = 10**16 - 1
_NAME = re.compile(r"[0-9]{16}-([0-9]{1,16})\.note")
_LISTED = "100"
_MOST_PAGES = 50
_MOST_READ = 8 * NEWEST
_MODE = "x-amz-object-lock-mode"
_UNTIL = "x-amz-object-lock-retain-until-date"
_ASKED_UNTIL = "x-amz-meta-retain-until"
_NOT_FOUND = 404
_OF_ONE = frozenset({Trouble.ALTERED, Trouble.NOT_KEPT, Trouble.NOT_LOCKED, Trouble.REFUSED})
"""What is wrong with one object, and says nothing of the next."""


class _Receipt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    bucket: str
    key: str
    version: str
    sha256: str
    retain_until: datetime
    at: datetime


class S3:
    """An anchor of kind `s3`."""

    kind = "s3"

    def __init__(self, outside: Outside, *, settings: S3Anchor, credentials: sigv4.Credentials, clock: Clock) -> None:
        """Put into the bucket of `settings`; asks nothing yet."""
        self.name = settings.name
        self._outside = outside
        self._settings = settings
        self._credentials = credentials
        self._clock = clock
        self._locks = False

    async def publish(self, note: bytes, checkpoint: Checkpoint, consistency: Consistency) -> bytes:  # noqa: ARG002
        """Put the note under lock, unless it lies there, and read it back."""
        await self._require_lock()
        key = self._key(checkpoint)
        found = await self._find(key)
        if found is None:
            await self._put(key, note)
            found = await self._find(key)
        if found is None:
            raise AnchorFailed(Trouble.NOT_KEPT)
        kept, until = await self._kept(found)
        if kept != note:
            raise AnchorFailed(Trouble.ALTERED)
        receipt = _Receipt(
            self._settings.bucket, key, found.version, sha256(note).hexdigest(), until, self._clock.now()
        )
        return msgspec.json.encode(receipt)

    async def seen(self, origin: str, newest: bytes | None) -> Seen:  # noqa: ARG002 -- the objects say it themselves
        """Return the newest notes that lie under lock, and what is wrong with what lies beside them."""
        notes: list[bytes] = []
        wrong: list[Trouble] = []
        try:
            async with aclosing(self._believed(origin, wrong)) as believed:
                async for note in believed:
                    notes.append(note)
                    if len(notes) == NEWEST:
                        break
        except AnchorFailed as failed:
            wrong.append(failed.trouble)
        trouble = next((one for one in wrong if one in ALARMS), wrong[0] if wrong else None)
        if trouble is not None and not notes:
            raise AnchorFailed(trouble)
        return Seen(tuple(notes), trouble=trouble)

    async def _believed(self, origin: str, wrong: list[Trouble]) -> AsyncGenerator[bytes, None]:
        """Yield the notes of a log that lie where they belong, the newest first; the others add to `wrong`."""
        folder, read = self._folder(origin), 0
        async with aclosing(self._oldest(folder)) as oldest:
            async for one in oldest:
                if not _is_name(one.key.removeprefix(folder)):
                    wrong.append(Trouble.ALTERED)
                    continue
                read += 1
                if read > _MOST_READ:
                    raise AnchorFailed(Trouble.CROWDED)
                try:
                    note, _ = await self._kept(one)
                    self._require_place(note, origin, one.key)
                except AnchorFailed as failed:
                    if failed.trouble not in _OF_ONE:
                        raise
                    wrong.append(failed.trouble)
                else:
                    yield note

    def _require_place(self, note: bytes, origin: str, key: str) -> None:
        """Raise AnchorFailed unless `key` is where a note of this log and size is put; who signed it is not asked."""
        try:
            found = parse(split(note)[0])
        except BadNote:
            raise AnchorFailed(Trouble.ALTERED) from None
        if found.origin != origin or self._key(found) != key:
            raise AnchorFailed(Trouble.ALTERED)

    def check(self, receipt: bytes, note: bytes) -> Evidence:
        """Return our own word for when it was put; the lock itself is asked of the bucket."""
        try:
            told = msgspec.json.decode(receipt, type=_Receipt)
        except ValueError:
            raise AnchorFailed(Trouble.NOT_PROVEN) from None
        if told.sha256 != sha256(note).hexdigest() or told.at.tzinfo is None:
            raise AnchorFailed(Trouble.NOT_PROVEN)
        return Evidence(told.at.astimezone(UTC), independent=False)

    def _folder(self, origin: str) -> str:
        return f"{self._settings.prefix}{origin.replace('/', '_')}/"

    def _key(self, checkpoint: Checkpoint) -> str:
        return f"{self._folder(checkpoint.origin)}{_name(checkpoint.size)}"

    async def _require_lock(self) -> None:
        if not self._locks:
            answer = await self._ask("GET", "", query=(("object-lock", ""),))
            if answer.status == _NOT_FOUND or (answer.good and not s3_answers.has_object_lock(answer.body)):
                raise AnchorFailed(Trouble.NOT_LOCKED)
            _require_good(answer)
            self._locks = True

    async def _put(self, key: str, note: bytes) -> None:
        until = self._clock.now().replace(microsecond=0) + timedelta(days=self._settings.retain_days)
        headers = {
            "content-type": "text/plain; charset=utf-8",
            "x-amz-checksum-sha256": b64encode(sha256(note).digest()).decode("ascii"),
            "x-amz-sdk-checksum-algorithm": "SHA256",
            _MODE: MODE,
            _UNTIL: _written(until),
            _ASKED_UNTIL: _written(until),
        }
        _require_good(await self._ask("PUT", key, headers=headers, body=note))

    async def _find(self, key: str) -> Version | None:
        """Return the oldest version of an object, None where there is none."""
        async with aclosing(self._oldest(key)) as oldest:
            first = await anext(oldest, None)  # a name is listed before those that go on from it
        return first if first is not None and first.key == key else None

    async def _oldest(self, prefix: str) -> AsyncGenerator[Version, None]:
        """Yield the oldest version of each key, by key. Raises AnchorFailed, `crowded` where there is no end to it."""
        oldest: Version | None = None
        after: Version | None = None
        for _ in range(_MOST_PAGES):
            page = await self._page(prefix, after)
            for one in page.versions:
                if oldest is not None and oldest.key != one.key:
                    yield oldest
                oldest = one  # of one key the newest comes first
            after = page.last
            if after is None:
                break
        else:
            raise AnchorFailed(Trouble.CROWDED)
        if oldest is not None:
            yield oldest

    async def _page(self, prefix: str, after: Version | None) -> Page:
        query = [("encoding-type", "url"), ("max-keys", _LISTED), ("prefix", prefix), ("versions", "")]
        if after is not None:
            query += [("key-marker", after.key), ("version-id-marker", after.version)]
        answer = await self._ask("GET", "", query=tuple(query))
        _require_good(answer)
        return s3_answers.page(answer.body)

    async def _kept(self, one: Version) -> tuple[bytes, datetime]:
        """Return a version's bytes and until when it is locked, which is no earlier than what was asked for."""
        answer = await self._ask("GET", one.key, query=(("versionId", one.version),))
        if answer.status == _NOT_FOUND:
            raise AnchorFailed(Trouble.NOT_KEPT)
        _require_good(answer)
        try:
            asked, until = _time(answer, _ASKED_UNTIL), _time(answer, _UNTIL)
        except ValueError:
            raise AnchorFailed(Trouble.NOT_LOCKED) from None
        if answer.headers.get(_MODE) != MODE or until < asked:
            raise AnchorFailed(Trouble.NOT_LOCKED)
        return answer.body[: MAX_NOTE_BYTES + 1], until

    async def _ask(
        self,
        method: str,
        key: str,
        *,
        query: sigv4.Query = (),
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        path = f"/{self._settings.bucket}/{key}" if self._settings.path_style else f"/{key}"
        signed = sigv4.signed(
            self._credentials,
            method=method,
            authority=self._outside.authority,
            path=path,
            query=query,
            headers=headers or {},
            body=body,
            region=self._settings.region,
            now=self._clock.now(),
        )
        return await self._outside.exchange(method, sigv4.target(path, query), headers=signed, body=body)


def _name(size: int) -> str:
    return f"{_LAST - size:016d}-{size}.note"


def _is_name(name: str) -> bool:
    told = _NAME.fullmatch(name)
    return told is not None and name == _name(int(told[1]))


def _require_good(answer: Answer) -> None:
    if not answer.good:
        raise AnchorFailed(Trouble.UNREACHABLE if answer.later else Trouble.REFUSED)


def _written(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _time(answer: Answer, header: str) -> datetime:
    found = datetime.fromisoformat(answer.headers.get(header, ""))
    if found.tzinfo is None:
        raise ValueError("a time without a zone")
    return found
