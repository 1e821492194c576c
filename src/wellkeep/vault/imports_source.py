"""The source of an import, from its sealed parts to decoded lines, in the order in which they were sent.

Rules: what was taken before the checkpoint is read again and passed over, for a gzip has no middle to begin at; memory
is bounded by a part and a line; the map of columns comes from the sealed source as well.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Protocol
from uuid import UUID

import msgspec

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

_MAP_PART = 0


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

    async def decoded(self) -> AsyncIterator[Decoded]:
        """Yield every line behind the checkpoint, decoded; raises `Validation` where the upload can't be read."""
        done = self._row.lines
        if self._row.format == "csv":
            mapper, lines = await self._csv()
        else:
            mapper, lines = self._mapper(), self._lines(whole=False)
        async for line in lines:
            if line.number > done:
                yield mapper.row(line)

    def _mapper(self) -> Mapper:
        if self._row.format == "fhir":
            return FhirMapper(template(self._collection.name))
        return RecordMapper(self._kinds)

    async def _csv(self) -> tuple[Mapper, AsyncIterator[Line]]:
        mapping = msgspec.json.decode(await self._part(_MAP_PART), type=dict[str, str])
        mapper = CsvMapper(self._kinds, mapping=mapping)
        return mapper, self._csv_records(mapper)

    async def _csv_records(self, mapper: CsvMapper) -> AsyncIterator[Line]:
        splitter, headed, end = CsvSplitter(), False, 0
        async for line in self._lines(whole=True):
            end = line.end
            record = splitter.record(line)
            if record is None:
                continue
            if headed:
                yield record
            else:
                mapper.header(record)
                headed = True
        last = splitter.finish(end)
        if last is not None and headed:
            yield last

    async def _lines(self, *, whole: bool) -> AsyncIterator[Line]:
        inflater, splitter = Inflater(), LineSplitter(whole=whole)
        for n in range(1, (self._row.parts or 0) + 1):
            for line in _split(splitter, inflater.feed(await self._part(n))):
                yield line
        for line in _split(splitter, inflater.finish()):
            yield line
        for line in splitter.finish():
            yield line

    async def _part(self, n: int) -> bytes:
        async with self._pool.tenant_transaction(tenant=self._tenant) as connection:
            sealed = await blobs.sealed_part(connection, blob=self._row.source_id, n=n)
        return self._reader.open(n, sealed)


def _split(splitter: LineSplitter, chunks: Iterator[bytes]) -> Iterator[Line]:
    for chunk in chunks:
        yield from splitter.feed(chunk)
