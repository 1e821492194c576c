"""The bare twin: the same application without protection.

The same: Litestar assembled from the same kind of route table, the same edge (request id, security headers, log line,
limits), TLS, uvloop and uvicorn with the same settings, the same decoding and validation of bodies (strict JSON, then
msgspec, then each field's type), the same shapes of answers, a pool of the same size on a PostgreSQL with the same
settings. Missing, on purpose: authentication, a policy, a purpose, a tenant wall, sealing, blind indexes, a ledger. The
fields are columns in clear with three ordinary indexes, and each request is one autocommit statement. The tenant is
named in the address and believed.

Run by `request.py`, which hands the database's address to it on standard input.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import asyncpg
import msgspec
import uvloop

from request_data import DECLARATION
from wellkeep.api import answers, logs, shapes
from wellkeep.api.answers import Answer, etag
from wellkeep.api.application import assemble
from wellkeep.api.edge import Edge
from wellkeep.api.listeners import ListenerServer, bind_one
from wellkeep.api.metrics import Metrics
from wellkeep.api.routes import Call, Route
from wellkeep.api.runtime import Runtime
from wellkeep.api.server import settle
from wellkeep.assembly.tls import server_context
from wellkeep.base.clock import SystemClock
from wellkeep.base.errors import NotFound
from wellkeep.base.ids import parse_uuid, uuid7
from wellkeep.vault.declaration import CollectionSpec, numbered
from wellkeep.vault.definition import Collection, Definition, SubjectMode
from wellkeep.vault.input import check_subject, payloads
from wellkeep.vault.outcomes import RecordView, Written
from wellkeep.vault.search import Page
from wellkeep.vault.values import encode

TABLE = """
CREATE TABLE public.charts (
  tenant_id uuid NOT NULL,
  id uuid NOT NULL,
  subject_id uuid NOT NULL,
  mrn text, ssn text, email text, family text, given text, birth_date text, phone text, note text,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, id)
);
CREATE INDEX charts_mrn ON public.charts (tenant_id, mrn);
CREATE INDEX charts_ssn ON public.charts (tenant_id, ssn);
CREATE INDEX charts_email ON public.charts (tenant_id, email);
"""
_NAMES = tuple(field["name"] for field in DECLARATION["fields"])
_INSERT = """
INSERT INTO public.charts (tenant_id, id, subject_id, mrn, ssn, email, family, given, birth_date, phone, note,
  created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12)
"""
_COLUMNS = """
SELECT id, subject_id, mrn, ssn, email, family, given, birth_date, phone, note, created_at, updated_at
FROM public.charts
"""
_READ = _COLUMNS + "WHERE tenant_id = $1 AND id = $2"
_SEARCH = {
    "mrn": _COLUMNS + "WHERE tenant_id = $1 AND mrn = $2 ORDER BY id LIMIT $3",
    "ssn": _COLUMNS + "WHERE tenant_id = $1 AND ssn = $2 ORDER BY id LIMIT $3",
    "email": _COLUMNS + "WHERE tenant_id = $1 AND email = $2 ORDER BY id LIMIT $3",
}
_PATH = "/v1/tenants/{tenant}/charts"
_OPEN = "the twin protects nothing"


def declared() -> Collection:
    """Return the collection as the vault would hold it, for the same checks of values."""
    spec = msgspec.convert(DECLARATION, CollectionSpec)
    made = numbered(spec.fields, first=1)
    now = datetime.now(UTC)
    definition = Definition(subject=SubjectMode(spec.subject), fields=made)
    return Collection(
        number=1,
        name=spec.name,
        version=1,
        definition=definition,
        created_at=now,
        updated_at=now,
        index_epochs=(1,),
        data_epoch=1,
    )


CHARTS = declared()


def _pool(call: Call) -> Any:
    """Return the connections, which are all that the twin's runtime is."""
    return cast("Any", call.runtime).pool


def _id(call: Call, name: str) -> UUID:
    value = parse_uuid(call.path[name])
    if value is None:
        raise NotFound
    return value


def _view(row: Any) -> RecordView:
    return RecordView(
        id=row["id"],
        subject=row["subject_id"],
        revision=1,
        fields={name: row[name] for name in _NAMES},
        withheld=(),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


async def create(call: Call) -> Answer:
    body: shapes.RecordInput = call.body
    check_subject(CHARTS, body.subject)
    values = {field.name: payload.decode() for field, payload in payloads(CHARTS, body.fields)}
    tenant, record, now = _id(call, "tenant"), uuid7(), datetime.now(UTC)
    pool = _pool(call)
    await pool.execute(_INSERT, tenant, record, body.subject, *(values.get(name) for name in _NAMES), now)
    made = Written(record, body.subject, 1, now, now)
    where = answers.location(f"/v1/tenants/{tenant}/charts", record)
    return answers.json(shapes.made(made), status=201, headers=(etag(1), where))


async def read(call: Call) -> Answer:
    pool = _pool(call)
    row = await pool.fetchrow(_READ, _id(call, "tenant"), _id(call, "record_id"))
    if row is None:
        raise NotFound
    return answers.json(_view(row), headers=(etag(1),))


async def search(call: Call) -> Answer:
    body: shapes.SearchInput = call.body
    ((name, value),) = body.where.items()
    text = encode(CHARTS.by_name[name], value).decode()
    pool = _pool(call)
    rows = await pool.fetch(_SEARCH[name], _id(call, "tenant"), text, body.limit + 1)
    return answers.json(Page(tuple(_view(row) for row in rows[: body.limit]), None))


ROUTES = (
    Route(
        method="POST", path=_PATH, name="create", summary="", tag="twin", serve=create, open_because=_OPEN, weight=0,
        body=shapes.RecordInput, status=201,
    ),
    Route(
        method="GET", path=_PATH + "/{record_id}", name="read", summary="", tag="twin", serve=read, open_because=_OPEN,
        weight=0,
    ),
    Route(
        method="POST", path=_PATH + "/search", name="search", summary="", tag="twin", serve=search, open_because=_OPEN,
        body=shapes.SearchInput, weight=0,
    ),
)  # fmt: skip


class _Connection(asyncpg.Connection):
    """Not reset at each release, as ours are not."""

    def get_reset_query(self) -> str:
        return ""


async def main() -> None:
    given = json.loads(sys.stdin.readline())
    home = Path(given["home"])
    pool = await asyncpg.create_pool(
        **given["database"],
        min_size=given["connections"],
        max_size=given["connections"],
        max_inactive_connection_lifetime=0,
        connection_class=_Connection,
        server_settings={"jit": "off", "timezone": "UTC"},
    )
    inner = assemble(ROUTES, cast("Runtime", SimpleNamespace(pool=pool, limits=None)))
    edge = Edge(inner, listener="public", metrics=Metrics(("create", "read", "search")), clock=SystemClock())
    tls = server_context(certificate=home / "secrets/tls.crt", key=home / "secrets/tls.key")
    server = ListenerServer(edge, tls=tls)
    bound = bind_one("127.0.0.1:0")
    loop = asyncio.get_running_loop()
    serving = asyncio.create_task(server.serve([bound]))
    await server.listening.wait()
    loop.add_signal_handler(signal.SIGTERM, lambda: setattr(server, "should_exit", True))
    settle()
    print(bound.getsockname()[1], flush=True)
    await serving
    await pool.close()


if __name__ == "__main__":
    logs.configure()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
