"""The source of an import, from its sealed parts to decoded lines, in the order in which they were sent.

Rules: each part is the one whose digest was listed when the import was started, or nothing is read; what was taken
before the checkpoint is read again and passed over, for a gzip has no middle to begin at; memory is bounded by a part
and a line; the map of columns comes from the sealed source as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Protocol
from uuid import UUID

import msgspec

from wellkeep.base.errors import IntegrityBroken
from wellkeep.base.turns import give_way
from wellkeep.db.pool import Pool
from wellkeep.vault import blobs
from wellkeep.vault.csv_source import CsvMapper, CsvSplitter
from wellkeep.vault.definition import Collection
from wellkeep.vault.fhir import FhirMapper
from wellkeep.vault.imports_line import Decoded
from wellkeep.vault.imports_table import ImportRow
from wellkeep.vault.ndjson_source import Inflater, Line, LineSplitter
from wellkeep.vault.ndjson_source_rows import RecordMapper
from wellkeep.vault.templates import template

MOST_PARTS = 100_000
MAP_PART = 0
"""The source's first stored part holds the map of columns: a header may be anything, so it is sealed like the rest."""

LIST_PART = MOST_PARTS + 1
"""The last one lists the SHA-256 of every other stored part as it was at the start: those are the import."""

_DIGEST_SIZE = 32
_LINES_AT_ONCE = 10


class Mapper(Protocol):
    """Whatever decodes one line."""

    def row(self, line: Line) -> Decoded:
        """Return the row of `line`, or what is wrong with it."""
        ...


class Source:
    """The decoded lines of one import."""

    def __init__(self, *, pool: Pool, tenant: UUID, reader: blobs.PartReader, row: ImportRow, to: Collection) -> None:
        """Read the parts of `row`'s source, over connections of `pool`, for the collection `to`."""
        self._pool = pool
        self._tenant = tenant
        self._reader = reader
        self._row = row
        self._kinds = {field.name: field.type for field in to.definition.fields}
        self._collection = to
        self._digests: list[bytes] = []

    async def decoded(self) -> AsyncIterator[list[Decoded]]:
        """Yield the lines behind the checkpoint, decoded, a few at a time, giving the loop back before each few.

        Raises `Validation` where the upload can't be read, `IntegrityBroken` where it is not the one that was started.
        """
        listed = self._reader.open(LIST_PART, await self._stored(LIST_PART))
        self._digests = [listed[at : at + _DIGEST_SIZE] for at in range(0, len(listed), _DIGEST_SIZE)]
        if len(self._digests) != (self._row.parts or 0) + 1:
            raise IntegrityBroken(resource=self._row.source_id)
        done = self._row.lines
        if self._row.format == "csv":
            mapper, lines = await self._csv()
        else:
            mapper, lines = self._mapper(), self._lines(whole=False)
        async for some in lines:
            behind = [line for line in some if line.number > done]
            for at in range(0, len(behind), _LINES_AT_ONCE):
                await give_way()
                yield [mapper.row(line) for line in behind[at : at + _LINES_AT_ONCE]]

    def _mapper(self) -> Mapper:
        if self._row.format == "fhir":
            return FhirMapper(template(self._collection.name))
        return RecordMapper(self._kinds)

    async def _csv(self) -> tuple[Mapper, AsyncIterator[list[Line]]]:
        mapping = msgspec.json.decode(await self._part(MAP_PART), type=dict[str, str])
        mapper = CsvMapper(self._kinds, mapping=mapping)
        return mapper, self._csv_records(mapper)

    async def _csv_records(self, mapper: CsvMapper) -> AsyncIterator[list[Line]]:
        splitter, headed, end = CsvSplitter(), False, 0
        async for lines in self._lines(whole=True):
            end = lines[-1].end if lines else end
            records = [record for record in map(splitter.record, lines) if record is not None]
            if records and not headed:
                mapper.header(records.pop(0))
                headed = True
            yield records
        last = splitter.finish(end)
        if last is not None and headed:
            yield [last]

    async def _lines(self, *, whole: bool) -> AsyncIterator[list[Line]]:
        inflater, splitter = Inflater(), LineSplitter(whole=whole)
        for n in range(1, (self._row.parts or 0) + 1):
            for chunk in inflater.feed(await self._part(n)):
                yield splitter.feed(chunk)
        for chunk in inflater.finish():
            yield splitter.feed(chunk)
        yield splitter.finish()

    async def _part(self, n: int) -> bytes:
        sealed = await self._stored(n)
        if hashlib.sha256(sealed).digest() != self._digests[n]:
            raise IntegrityBroken(resource=self._row.source_id)
        return self._reader.open(n, sealed)

    async def _stored(self, n: int) -> bytes:
        async with self._pool.tenant_transaction(tenant=self._tenant) as connection:
            return await blobs.sealed_part(connection, blob=self._row.source_id, n=n)
