"""Imports and exports over the vault's house: collections from templates, a file in parts, a run to its end."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from uuid import UUID

import msgspec

from vault.stack import Stack
from wellkeep.base.ids import uuid7
from wellkeep.db.queue import QueuedJob
from wellkeep.gate.acts import Caller
from wellkeep.vault.declaration import CollectionSpec
from wellkeep.vault.exports import Exports
from wellkeep.vault.exports_run import ExportRunner
from wellkeep.vault.imports import Imports, ImportStatus
from wellkeep.vault.imports_run import ImportRunner
from wellkeep.vault.templates import template

PART = 1 << 20


def spec(name: str) -> CollectionSpec:
    """Return the collection that a template declares."""
    return msgspec.convert(template(name).definition(), CollectionSpec)


def never() -> bool:
    """Say that nobody stops the worker."""
    return False


class Transfer:
    """The services of imports and exports in one house."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.imports = Imports(context=stack.vault.context)
        self.runner = ImportRunner(context=stack.vault.context, pool=stack.pool)
        self.exports = Exports(context=stack.vault.context)
        self.export_runner = ExportRunner(context=stack.vault.context, pool=stack.pool)

    async def upload(
        self, data: bytes, collection: str, format_: str = "fhir", *, caller: Caller | None = None, **more: object
    ) -> ImportStatus:
        """Make an import, send `data` in parts and start it."""
        who = caller or self.stack.integration
        made = await self.imports.create(who, collection=collection, format=format_, **more)  # type: ignore[arg-type]
        for n, at in enumerate(range(0, len(data), PART)):
            await self.imports.put_part(who, made.id, n, data[at : at + PART])
        return await self.imports.start(who, made.id)

    async def run(self, import_id: UUID) -> ImportStatus:
        """Run an import as the worker would and return how it stands."""
        await self.runner(QueuedJob(self.stack.tenant, uuid7(), "import", import_id, 1), never)
        return await self.imports.read(self.stack.integration, import_id)

    async def load(self, data: bytes, collection: str, format_: str = "fhir", **more: object) -> ImportStatus:
        """Upload and run."""
        started = await self.upload(data, collection, format_, **more)  # type: ignore[arg-type]
        return await self.run(started.id)

    async def errors(self, import_id: UUID) -> list[dict[str, object]]:
        """Return the lines of the error file."""
        pieces = await self.imports.errors(self.stack.integration, import_id)
        return [msgspec.json.decode(line) for line in (await joined(pieces)).splitlines()]

    async def export(self, collection: str, format_: str, *, caller: Caller | None = None) -> bytes:
        """Export a collection and return what is downloaded."""
        who = caller or self.stack.integration
        made = await self.exports.create(who, collection=collection, format=format_)
        await self.export_runner(QueuedJob(self.stack.tenant, uuid7(), "export", made.id, 1), never)
        ended = await self.exports.read(who, made.id)
        assert ended.state == "done", ended
        return await joined(await self.exports.content(who, made.id))


async def joined(pieces: AsyncIterator[bytes]) -> bytes:
    """Return all pieces in one."""
    return b"".join([piece async for piece in pieces])


def sample_lines(samples: Path, resource: str, *, most: int | None = None) -> list[bytes]:
    """Return lines of the sample data."""
    with gzip.open(samples / "synthea-r4" / f"{resource}.ndjson.gz") as stream:
        lines = [line.rstrip(b"\n") for line in stream]
    return lines[:most]


def ndjson(lines: Iterable[bytes]) -> bytes:
    """Return lines as a file."""
    return b"".join(line + b"\n" for line in lines)


def resources(found: Sequence[bytes]) -> set[bytes]:
    """Return lines as a set, to be compared whatever their order."""
    return set(found)
