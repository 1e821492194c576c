"""A bucket with S3 Object Lock: each checkpoint an object that nobody, not its owner, deletes or replaces for years.

    <prefix><origin, / as _>/<10^16 - 1 - size, 16 digits>-<size>.note        so that the newest is listed first

Rules: a bucket without Object Lock is refused before anything is put; what was put is read back, bytes, mode COMPLIANCE
and date, before it counts; of a key the oldest version is the one, so that a later one, or a deletion, hides nothing;
a key is that of the very note that lies there, and the note is one of ours, so that neither old ones under newer keys
nor forged ones hide anything. The threat beside the usual one is a store that says yes and keeps nothing, or keeps it
as long as somebody likes.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from hashlib import sha256

import msgspec

from wellkeep.base.anchor_settings import S3Anchor
from wellkeep.base.clock import Clock
from wellkeep.base.errors import Misconfigured
from wellkeep.crypto.notes import MAX_NOTE_BYTES
from wellkeep.egress import sigv4
from wellkeep.ledger.anchors import own_word, s3_answers
from wellkeep.ledger.anchors.anchor import AnchorFailed, Consistency, Evidence, Seen, Trouble
from wellkeep.ledger.anchors.outside import Answer, Outside
from wellkeep.ledger.anchors.own_word import OwnWord
from wellkeep.ledger.anchors.reading_back import ReadingBack
from wellkeep.ledger.anchors.s3_answers import Page, Version
from wellkeep.ledger.checkpoint import Checkpoint, Verifies

MODE = "COMPLIANCE"
_LAST = 10**16 - 1
_NAME = re.compile(r"[0-9]{16}-([0-9]{1,16})\.note")
_LISTED = "100"
_MOST_PAGES = 50
_MODE = "x-amz-object-lock-mode"
_UNTIL = "x-amz-object-lock-retain-until-date"
_ASKED_UNTIL = "x-amz-meta-retain-until"
_NOT_FOUND = 404
_OF_ONE = frozenset({Trouble.NOT_KEPT, Trouble.NOT_LOCKED, Trouble.REFUSED})
"""What is wrong with one object, and says nothing of the next."""


class _Receipt(OwnWord, frozen=True, forbid_unknown_fields=True, kw_only=True):
    bucket: str
    key: str
    version: str
    retain_until: datetime


class S3:
    """An anchor of kind `s3`."""

    kind = "s3"

    def __init__(
        self,
        outside: Outside,
        *,
        settings: S3Anchor,
        credentials: Callable[[], sigv4.Credentials],
        signers: Sequence[Verifies],
        clock: Clock,
    ) -> None:
        """Put into the bucket of `settings`; asks nothing yet.

        `credentials` are asked for with each request, and may raise Misconfigured; `signers` are the deployment's keys.
        """
        self.name = settings.name
        self._outside = outside
        self._settings = settings
        self._credentials = credentials
        self._signers = tuple(signers)
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
            bucket=self._settings.bucket,
            key=key,
            version=found.version,
            retain_until=until,
            sha256=own_word.digest(note),
            at=self._clock.now(),
        )
        return msgspec.json.encode(receipt)

    async def seen(self, origin: str, newest: bytes | None) -> Seen:  # noqa: ARG002 -- the objects say it themselves
        """Return the newest notes that lie under lock, and what is wrong with what lies beside them."""
        reading = ReadingBack(self._signers, origin=origin, place=self._key)
        try:
            await self._read_newest(self._folder(origin), reading)
        except AnchorFailed as failed:
            reading.wrong(failed.trouble)
        return reading.seen()

    async def _read_newest(self, folder: str, reading: ReadingBack) -> None:
        async with aclosing(self._oldest(folder)) as oldest:
            async for one in oldest:
                if not _is_name(one.key.removeprefix(folder)):
                    reading.wrong(Trouble.ALTERED)
                    continue
                if not reading.more():
                    return
                try:
                    note, _ = await self._kept(one)
                except AnchorFailed as failed:
                    if failed.trouble not in _OF_ONE:
                        raise
                    reading.wrong(failed.trouble)
                else:
                    reading.take(note, at=one.key)

    def check(self, receipt: bytes, note: bytes) -> Evidence:
        """Return our own word for when it was put; the lock itself is asked of the bucket."""
        return own_word.evidence(receipt, note, kind=_Receipt)

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
        try:
            credentials = self._credentials()
        except Misconfigured:
            raise AnchorFailed(Trouble.SECRET) from None
        signed = sigv4.signed(
            credentials,
            method=method,
            authority=self._outside.authority,
            path=path,
            query=query,
            headers=headers or {},
            body=body,
            region=self._settings.region,
            service="s3",
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
