"""A transaction for the rare act: several statements, the entries that commit with them, and whose key still stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack
from uuid import UUID

from wellkeep.base.errors import Internal, Unauthenticated
from wellkeep.db.connection import Connection
from wellkeep.db.pool import Pool
from wellkeep.gate.acts import Decision
from wellkeep.gate.events import Facts, event, prepared_parts
from wellkeep.ledger.event import Event, Outcome, PreparedEvent

_ENTER = "SELECT wk.enter($1)"
_STANDS = "SELECT access.stands($1)"
_OUTBOX = """
INSERT INTO ledger.outbox (tenant_id, event_id, event)
SELECT $1, made.event_id, made.event FROM unnest($2::uuid[], $3::bytea[]) AS made(event_id, event)
"""


class CredentialGone(Unauthenticated):
    """The credential was revoked or has expired since it was looked up."""


async def must_stand(connection: Connection, decision: Decision, *, pool: Pool) -> None:
    """Check in the transaction of `connection` that the credential stands, in its own tenant. Raises CredentialGone."""
    principal = decision.caller.principal
    away = principal.tenant != decision.tenant
    if away:
        await connection.execute(_ENTER, pool.token(connection, tenant=principal.tenant))
    if not await connection.fetchval(_STANDS, principal.credential):
        raise CredentialGone
    if away:
        await connection.execute(_ENTER, pool.token(connection, tenant=decision.tenant))


class GateTransaction:
    """What a body of `Gate.transaction` works with: a connection under the tenant's context, and the record of it."""

    def __init__(self, decision: Decision, *, outboxed: Callable[[UUID, PreparedEvent], bytes]) -> None:
        """Work under `decision`; `outboxed` makes of an event what its outbox row holds."""
        self.decision = decision
        self._outboxed = outboxed
        self.prepared: list[PreparedEvent] = []
        self.elsewhere: dict[UUID, list[PreparedEvent]] = {}
        self.ended = False
        self._begun: tuple[Connection, Pool] | None = None

    @property
    def connection(self) -> Connection:
        """The connection, inside the transaction and under the decision's tenant."""
        return self._lent[0]

    @property
    def _lent(self) -> tuple[Connection, Pool]:
        if self._begun is None:
            raise Internal("The transaction has not begun")
        return self._begun

    async def begin(self, connection: Connection, *, pool: Pool) -> None:
        """Check that the credential still stands. Raises CredentialGone."""
        await must_stand(connection, self.decision, pool=pool)
        self._begun = connection, pool

    def record(self, **facts: Unpack[Facts]) -> UUID:
        """Record what is being done; returns the event's id. Raises EventRefused."""
        done = event(self.decision, outcome=Outcome.DONE, **facts)
        self.prepared += prepared_parts(done)
        return done.id

    def record_made(self, done: Event) -> None:
        """Record an event whose id what it is about carries; it was made of this decision. Raises EventRefused."""
        self.prepared += prepared_parts(done)

    def record_elsewhere(self, tenant: UUID, **facts: Unpack[Facts]) -> None:
        """Record what is done in the log of `tenant` as well: it commits with the rest. Raises EventRefused."""
        told = prepared_parts(event(self.decision, outcome=Outcome.DONE, **facts))
        self.elsewhere.setdefault(tenant, []).extend(told)

    async def end(self) -> None:
        """Put the events into the outbox, last before the commit. Raises Internal where nothing was recorded."""
        if not self.prepared:
            raise Internal("An act that records nothing is not committed")
        await self._put(self.decision.tenant, self.prepared)
        for tenant, prepared in self.elsewhere.items():
            await self._enter(tenant)
            await self._put(tenant, prepared)
        self.ended = True

    async def renew(self) -> None:
        """Enter the decision's tenant anew: a context holds 55 seconds, and long work outlives it."""
        await self._enter(self.decision.tenant)

    async def _enter(self, tenant: UUID) -> None:
        connection, pool = self._lent
        await connection.execute(_ENTER, pool.token(connection, tenant=tenant))

    async def _put(self, tenant: UUID, prepared: list[PreparedEvent]) -> None:
        events = [self._outboxed(tenant, one) for one in prepared]
        await self.connection.execute(_OUTBOX, tenant, [one.event.id for one in prepared], events)
