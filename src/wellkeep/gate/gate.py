"""The gate: seven doors, and no other way to act.

- `decide`   asks the policy. A denial is durable in the ledger before it is told.
- `must_reach` settles whose records a decision covers, where that hangs on a relationship to the patient.
- `read`     runs one element of a batched read; what comes back is still sealed.
- `reading`  lends a connection for what no batched function reads; what it brings is still sealed, too.
- `disclose` enters an access, durably, and only then gives the receipt that opens what was read.
- `change`   runs one element of a batched change; its event commits with it and is chained before the answer.
- `transaction` does the same for the rare act that needs several statements.

Rules: no entry, no access; no decision, no act; a ledger that takes no entries stops everything (503), and a ledger
that lags behind committed changes stops changes. What the database refuses at the tenant wall is an alarm: a finding
and an entry, and to the caller an internal error that says nothing. A commit whose outcome is unknown is told as such
and never repeated from here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import NoReturn, Unpack
from uuid import UUID

import msgspec

from wellkeep.base.attributes import Attributes, NoAttributes
from wellkeep.base.budget import Budget, NoBudget
from wellkeep.base.clock import Clock
from wellkeep.base.errors import (
    DatabaseUnavailable,
    Forbidden,
    Internal,
    LedgerUnavailable,
    PurposeRequired,
    SecondFactorRequired,
    StepUpRequired,
    TenantContextRefused,
    Unauthenticated,
    Unavailable,
    WellkeepError,
)
from wellkeep.base.ids import parse_uuid
from wellkeep.db.connection import Connection
from wellkeep.db.pool import Pool
from wellkeep.findings.findings import Findings
from wellkeep.findings.grammar import Kind, Severity, finding_key
from wellkeep.gate import budgeting, reaching
from wellkeep.gate.acts import Act, Caller, Decision, Reach
from wellkeep.gate.batching import Lane, Unfinished
from wellkeep.gate.brake import Brake
from wellkeep.gate.calls import Answers, BatchedSql, ChangeCall, ReadCall
from wellkeep.gate.events import Facts, event, prepared_change, prepared_parts
from wellkeep.gate.outcomes import outcome_unknown
from wellkeep.gate.policy import Policy
from wellkeep.gate.receipt import _MINT, Receipt
from wellkeep.gate.tenants import TenantDirectory
from wellkeep.gate.transaction import CredentialGone, GateTransaction, must_stand
from wellkeep.ledger.event import Action, Event, EventRefused, Outcome
from wellkeep.ledger.writer import LedgerWriter

_WORDS = {
    "deny:tenant": "Your role does not reach this tenant",
    "deny:platform": "Only the platform's own principals may do this",
    "deny:closed": "This tenant is closed",
    "deny:scope": "The scopes of this key leave this out",
    "deny:purpose": "Your role does not act for this purpose of use",
    "deny:impersonation": "Inside somebody else's account nothing is administered",
    "deny:no-person": "Only a person who is signed in may do this: no key, whatever its roles",
    "deny:no-break-glass": "Break the glass of this patient first, and say why",
    "deny:care-team": "This patient is not one of yours; in an emergency, break the glass",
}


class Gate:
    """One per process; `stop` it before the writer and the pool."""

    def __init__(
        self,
        *,
        pool: Pool,
        writer: LedgerWriter,
        policy: Policy,
        findings: Findings,
        clock: Clock,
        attributes: Attributes | None = None,
        budget: Budget | None = None,
    ) -> None:
        """Act over connections of `pool` (wk_app's, with the context key), record through `writer`.

        Without `attributes` nobody has a relationship to any patient.
        """
        self.policy = policy
        self._attributes = attributes or NoAttributes()
        self._budget = budget or NoBudget()
        self.tenants = TenantDirectory(pool=pool, clock=clock, roles=policy.roles)
        self._pool = pool
        self._writer = writer
        self._findings = findings
        self._brake = Brake(writer)
        self._lanes: dict[str, Lane] = {}
        self._orphans: set[asyncio.Task[None]] = set()

    @property
    def holds_changes(self) -> bool:
        """Whether changes are refused for now, because the ledger lags."""
        return self._brake.on

    async def stop(self) -> None:
        """Let what is under way end; refuse the rest."""
        for lane in list(self._lanes.values()):  # one may be born meanwhile
            await lane.stop()
        while self._orphans:
            await asyncio.wait(self._orphans)
        await self._brake.stop()

    async def decide(self, caller: Caller, act: Act) -> Decision:
        """Return the policy's decision that permits `act`.

        Raises Forbidden or PurposeRequired once the denial is durable in the caller's own log, LedgerUnavailable where
        it can't be entered.
        """
        tenant = act.tenant or caller.principal.tenant
        settings = self.tenants.known(tenant) or await self.tenants.load(tenant)
        decision = self.policy.decide(caller, act, settings=settings)
        if not decision.allowed:
            await self._deny(decision)
        return decision

    async def reached(self, decision: Decision, subjects: Collection[UUID]) -> frozenset[UUID]:
        """Return those of `subjects` whose records `decision` covers, as it is now. Raises DatabaseUnavailable."""
        _must_be_allowed(decision)
        return await reaching.reached(self._attributes, decision, subjects)

    async def must_reach(self, decision: Decision, *subjects: UUID | None) -> Decision:
        """Return the decision to go on with about these patients (None: what is nobody's); a denial is an entry.

        Where they are all within reach it is `decision`, settled; else what of it holds for everybody. Raises
        Forbidden, DatabaseUnavailable, LedgerUnavailable.
        """
        if decision.reach is Reach.ALL:
            return decision
        asked = frozenset(one for one in subjects if one is not None)
        missing = asked - await self.reached(decision, asked)
        if not missing and (None not in subjects or reaching.covers_nobodys(decision)):
            return reaching.near(decision)
        return reaching.far(decision) or await self._refuse_reach(decision, subject=min(missing, default=None))

    async def must_reach_all(self, decision: Decision) -> Decision:
        """Return the decision to go on with about everybody's records at once. Raises as `must_reach` does."""
        if decision.reach is Reach.ALL:
            return decision
        return reaching.far(decision) or await self._refuse_reach(decision)

    async def read(self, decision: Decision, call: ReadCall) -> Answers:
        """Run one element of a batched read and return its rows, which are sealed until `disclose`.

        Raises Unauthenticated where the credential was revoked meanwhile, Forbidden where the tenant was closed,
        DatabaseUnavailable.
        """
        _must_be_allowed(decision)
        try:
            answers = await self._lane(call.batch).submit(decision.tenant, call.row)
        except TenantContextRefused as refused:
            await self._alarm(decision, refused)
        if answers and answers[0].get("status") == "revoked":
            await self._revoked(decision)
        return answers

    @asynccontextmanager
    async def reading(self, decision: Decision) -> AsyncIterator[Connection]:
        """Lend a connection under the decision's tenant, in a transaction that asked whether the credential stands.

        For what no batched function reads: jobs, their files, the ledger. It opens nothing, and changes nothing that
        would need an entry. Raises Unauthenticated where the credential was revoked meanwhile; what the body raises is
        entered as failed, for an answer such as "there is none" tells something as well.
        """
        _must_be_allowed(decision)
        try:
            async with self._pool.tenant_transaction(tenant=decision.tenant) as connection:
                await must_stand(connection, decision, pool=self._pool)
                yield connection
        except CredentialGone:
            await self._revoked(decision)
        except TenantContextRefused as refused:
            await self._alarm(decision, refused)
        except Unavailable:
            raise
        except WellkeepError as error:
            await self.failed(decision, error=error.code)
            raise

    async def disclose(self, decision: Decision, *, shown: int | None = None, **facts: Unpack[Facts]) -> Receipt:
        """Enter an access to `records`, durably, and return the receipt that opens them.

        `shown` is how many of them a caller is given, where it is not each that is named: none, where what is opened is
        sealed again. What does not fit one entry becomes several with one request id, all durable before this returns.
        Raises LedgerUnavailable; then nothing may be opened, and without a receipt nothing can be; BudgetExceeded. Of
        staff in a customer's account it is asked once more whether they still are: Unauthenticated where they are not.
        """
        _must_be_allowed(decision)
        await self._must_be_settled(decision)
        if decision.caller.principal.impersonation is not None:
            async with self.reading(decision):
                pass
        counted = len(facts.get("records", ())) if shown is None else shown
        await budgeting.must_fit(self._budget, decision, counted, phi=self.policy.roles.phi, failed=self.failed)
        whole = event(decision, outcome=Outcome.AUTHORISED, **facts)
        await self._writer.append(decision.tenant, prepared_parts(whole))
        return Receipt(
            _MINT,
            tenant=decision.tenant,
            event_id=whole.id,
            request=whole.request,
            resource_id=whole.resource_id,
            records=frozenset(whole.records),
            groups=decision.groups,
        )

    async def change(self, decision: Decision, call: ChangeCall, **facts: Unpack[Facts]) -> Answers:
        """Run one element of a batched change, chain its entry, and return its rows.

        Raises LedgerUnavailable before anything is changed while the ledger lags, and after the commit, with the id of
        what was stored, where chaining fails: then "repeat with the same Idempotency-Key". DatabaseUnavailable says so
        too where the outcome of the commit is unknown. A status that is neither done nor quiet is entered as failed.
        """
        _must_be_allowed(decision)
        await self._must_be_settled(decision)
        self._brake.check(decision.tenant)
        prepared = prepared_change(event(decision, outcome=Outcome.DONE, **facts))
        batch = call.batch
        row, event_id, encoded = call.row, prepared.event.id, self._writer.outboxed(decision.tenant, prepared)
        left = Unfinished(decision.tenant, [prepared], batch.done)
        future = self._lane(batch).submit(decision.tenant, lambda token: row(token, event_id, encoded), keep=left)
        try:
            answers = await future
        except TenantContextRefused as refused:
            await self._alarm(decision, refused)
        except asyncio.CancelledError:
            # The caller may leave just after its change was answered: committed, it must be chained all the same.
            if future.done() and not future.cancelled() and future.exception() is None:
                self._finish(left, future.result())
            raise
        status = answers[0]["status"] if answers else None
        if status in batch.done:
            await self._chain(left)
        elif status == "revoked":
            await self._revoked(decision)
        elif status is None:
            raise Internal("A change was not answered with a status")
        elif status not in batch.quiet:
            await self._change_failed(decision, status, facts)
        return answers

    @asynccontextmanager
    async def transaction(self, decision: Decision) -> AsyncIterator[GateTransaction]:
        """Lend a transaction under the decision's tenant: what is done and recorded in it commits together.

        For the rare act that needs several statements. After the commit the entries are chained; what is raised is what
        `change` raises. A body that records nothing is refused: it would be an act without an entry.
        """
        _must_be_allowed(decision)
        await self._must_be_settled(decision)
        self._brake.check(decision.tenant)
        work = GateTransaction(decision, outboxed=self._writer.outboxed)
        try:
            async with self._pool.tenant_transaction(tenant=decision.tenant) as connection:
                await work.begin(connection, pool=self._pool)
                yield work
                await work.end()
        except CredentialGone:
            await self._revoked(decision)
        except TenantContextRefused as refused:
            await self._alarm(decision, refused)
        except DatabaseUnavailable as lost:
            raise (outcome_unknown() if work.ended else lost) from None
        except WellkeepError as error:
            await self.failed(decision, error=error.code)
            raise
        for tenant, prepared in ((decision.tenant, work.prepared), *work.elsewhere.items()):
            await self._chain(Unfinished(tenant, prepared))

    async def failed(self, decision: Decision, *, error: str, **facts: Unpack[Facts]) -> None:
        """Enter that a permitted act failed, with the stable code of the error, durably."""
        entry = event(decision, outcome=Outcome.FAILED, error=error, **facts)
        await self._writer.append(decision.tenant, prepared_parts(entry))

    async def enter(self, entry: Event, *, tenant: UUID) -> None:
        """Enter, durably, what is no decided act: a start, definitions loaded, failed authentications."""
        await self._writer.append(tenant, prepared_parts(entry))

    def _lane(self, batch: BatchedSql) -> Lane:
        lane = self._lanes.get(batch.name)
        if lane is None:
            lane = self._lanes[batch.name] = Lane(batch=batch, pool=self._pool, orphan=self._finish)
        return lane

    async def _chain(self, left: Unfinished) -> None:
        """Chain what was committed. Raises LedgerUnavailable, and pulls the brake, where the ledger refuses."""
        try:
            await self._writer.append(left.tenant, left.prepared, outbox=True)
        except asyncio.CancelledError:
            self._chain_apart(left)
            raise
        except LedgerUnavailable:
            self._brake.pull(left.tenant)
        else:
            return
        raise LedgerUnavailable(
            "It was stored, but its entry is not in the ledger yet; repeat with the same Idempotency-Key",
            resource=_stored(left.prepared[0].event),
        )

    def _finish(self, left: Unfinished, answers: Answers) -> None:
        """Chain a change whose caller left before the answer, if it was one."""
        if answers and answers[0]["status"] in left.done:
            self._chain_apart(left)

    def _chain_apart(self, left: Unfinished) -> None:
        # Twice does no harm: the ledger chains an outbox row once, and says so of a row that is gone.
        task = asyncio.get_running_loop().create_task(self._chain_or_brake(left))
        self._orphans.add(task)
        task.add_done_callback(self._orphans.discard)

    async def _chain_or_brake(self, left: Unfinished) -> None:
        try:
            await self._writer.append(left.tenant, left.prepared, outbox=True)
        except LedgerUnavailable:
            self._brake.pull(left.tenant)

    async def _change_failed(self, decision: Decision, status: str, facts: Facts) -> None:
        # What was not stored has no revision and no digest: an entry that named them would be replayed against.
        kept = facts.copy()
        kept.pop("digest", None)
        kept.pop("revision", None)
        await self.failed(decision, error=status.replace("_", "-"), **kept)

    async def _deny(self, decision: Decision) -> NoReturn:
        rule = decision.rule
        await self._enter_denial(decision, rule=f"{rule}/{decision.act.permission.value}")
        if rule == "deny:purpose-required":
            raise PurposeRequired
        if rule == "deny:second-factor":
            raise SecondFactorRequired
        if rule == "deny:step-up":
            raise StepUpRequired
        raise Forbidden(_WORDS.get(rule))

    async def _must_be_settled(self, decision: Decision) -> None:
        # Whoever forgot to ask whose records these are is refused, not let through.
        if decision.reach is not Reach.ALL:
            await self._refuse_reach(decision)

    async def _refuse_reach(self, decision: Decision, *, subject: UUID | None = None) -> NoReturn:
        rule = reaching.refusal(decision)
        await self._enter_denial(decision, rule=f"{rule}/{decision.act.permission.value}", subject=subject)
        raise Forbidden(_WORDS[rule])

    async def _revoked(self, decision: Decision) -> NoReturn:
        if (await self.tenants.load(decision.caller.principal.tenant)).closed:  # what we remembered was out of date
            await self._enter_denial(decision, rule=f"deny:closed/{decision.act.permission.value}")
            raise Forbidden(_WORDS["deny:closed"])
        await self._enter_denial(decision, rule=f"deny:revoked/{decision.act.permission.value}")
        raise Unauthenticated

    async def _enter_denial(self, decision: Decision, *, rule: str, subject: UUID | None = None) -> None:
        home = decision.caller.principal.tenant
        denied = msgspec.structs.replace(decision, rule=rule)
        if subject is not None:
            denied = msgspec.structs.replace(denied, act=msgspec.structs.replace(decision.act, subject=subject))
        try:
            parts = prepared_parts(event(denied, outcome=Outcome.DENIED, action=Action.ACCESS_DENIED))
        except EventRefused:
            # What was asked for is no id of ours. That somebody asked is entered all the same.
            parts = prepared_parts(event(denied, outcome=Outcome.DENIED, action=Action.ACCESS_DENIED, resource_id=None))
        await self._writer.append(home, parts)

    async def _alarm(self, decision: Decision, refused: TenantContextRefused) -> NoReturn:
        self._findings.note(
            decision.tenant,
            kind=Kind.TENANT_CONTEXT_REFUSED,
            severity=Severity.CRITICAL,
            key=finding_key(Kind.TENANT_CONTEXT_REFUSED),
            detail={"request": str(decision.caller.request), "action": decision.act.action.value},
        )
        await self.failed(decision, error="tenant-context-refused")
        raise refused


def _must_be_allowed(decision: Decision) -> None:
    if not decision.allowed:
        raise Internal("Only a permitted act goes on")


def _stored(entry: Event) -> UUID | None:
    """Return the id of what a change stored, if it has one of ours."""
    return parse_uuid(entry.resource_id) if entry.resource_id is not None else None
