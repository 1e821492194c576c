"""Why somebody may do something, or not: the policy asked for them, without doing it and without opening anything.

Rules: the answer is the policy's own, for the roles that hold now, with a second factor just shown; what the act asks
for beside the roles is listed as what it needs. It tells names of roles, fields and rules, and whether a person treats
a patient: nothing of what is in a record. Who asks must be permitted to, and each question is an entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from wellkeep.access import scopes
from wellkeep.access.scopes import Scopes
from wellkeep.base.attributes import Attributes
from wellkeep.base.clock import Clock
from wellkeep.base.errors import FieldProblem, NotFound, Validation
from wellkeep.base.ids import parse_uuid
from wellkeep.base.permissions import Permission
from wellkeep.base.principal import ActorType, AuthMethod, Principal
from wellkeep.base.purpose import Purpose
from wellkeep.db.connection import Connection
from wellkeep.gate import reaching
from wellkeep.gate.acts import Act, Caller, Decision, Reach, TenantSettings
from wellkeep.gate.gate import Gate
from wellkeep.ledger.actions import Action
from wellkeep.vault.context import Context
from wellkeep.vault.definition import Collection

_PERSON = "SELECT state FROM access.person WHERE id = $1"
_ROLES = """
SELECT role FROM access.role_grant
WHERE person_id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2) ORDER BY role
"""
_KEY = "SELECT roles, scopes, revoked_at IS NULL AND expires_at > $2 AS stands FROM access.api_key WHERE id = $1"
_RECORD = """
SELECT r.subject_id FROM vault.record AS r JOIN vault.collection AS c ON c.id = r.collection_id
WHERE c.name = $1 AND r.id = $2
"""
_SINCE = """
SELECT min(t.since) FROM access.care_team AS t JOIN vault.subject AS s ON s.id = t.subject_id
WHERE t.person_id = $1 AND t.removed_at IS NULL AND (t.until IS NULL OR t.until > $3)
  AND coalesce(s.merged_into, s.id) = (SELECT coalesce(o.merged_into, o.id) FROM vault.subject AS o WHERE o.id = $2)
"""
_ROLE_PREFIX: Final = "role:"

WORDS: Final = {
    "deny:tenant": "Their role does not reach this tenant.",
    "deny:platform": "Only principals of the platform may do this.",
    "deny:closed": "The tenant is closed.",
    "deny:no-role": "None of their roles has this permission.",
    "deny:purpose": "No role of theirs that has this permission acts for this purpose of use.",
    "deny:no-break-glass": "Breaking the glass is for persons, of one patient, for what the roles file names.",
    "deny:scope": "The scopes of this key leave it out.",
    "deny:no-person": "Only a person gives this: no key, whatever its roles.",
    "deny:purpose-required": "The tenant demands that a purpose of use is declared.",
    "deny:care-team": "The patient is not one of theirs.",
    "deny:stands": "They are not active: disabled, not joined yet, revoked or expired.",
}


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Who (`role:NAME`, the id of a person or of a key), what they would do, and to what."""

    who: str
    action: Permission
    collection: str | None = None
    record: UUID | None = None
    subject: UUID | None = None
    purpose: Purpose | None = None
    tenant: UUID | None = None


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """Which field groups are seen, and of the collection asked about which fields and which not."""

    groups: tuple[str, ...]
    seen: tuple[str, ...] | None = None
    withheld: tuple[str, ...] | None = None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What the policy answers; `reached` is None where no patient was asked about, `since` when their care began.

    `shows` is what is seen within reach, `beyond` what is seen of every other patient, None where nothing is. `needs`
    are codes of what must come beside the roles: second-factor, step-up, purpose, care-team, break-glass.
    """

    who: str
    kind: str
    roles: tuple[str, ...]
    action: str
    purpose: str | None
    allowed: bool
    rule: str
    words: str
    reach: str
    reached: bool | None
    since: datetime | None
    shows: Sight | None
    beyond: Sight | None
    needs: tuple[str, ...]


class _Asked(NamedTuple):
    principal: Principal
    kind: str
    stands: bool


class Explaining:
    """Answers for each tenant's own officers, and for the platform's."""

    def __init__(self, *, gate: Gate, context: Context, attributes: Attributes, clock: Clock) -> None:
        """Ask the policy of `gate`; `context` knows the collections, `attributes` who treats whom."""
        self._gate = gate
        self._context = context
        self._attributes = attributes
        self._clock = clock

    async def explain(self, caller: Caller, question: Question) -> Explanation:
        """Return why, or why not. Raises NotFound, Validation, Forbidden for who may not ask."""
        act = Act(Permission.ACCESS_EXPLAIN, Action.ACCESS_EXPLAINED, "access", tenant=question.tenant)
        decision = await self._gate.decide(caller, act)
        settings = await self._gate.tenants.load(decision.tenant)
        async with self._gate.transaction(decision) as work:
            asked = await self._who(work.connection, decision, question, settings)
            subject = await _subject(work.connection, question)
            since = await self._since(work.connection, asked, subject)
            told = (question.record,) if question.record is not None else ()
            work.record(resource_type=asked.kind, resource_id=asked.principal.id, subject=subject, records=told)
        collection = await self._collection(decision, question)
        where = question.collection
        about = Act(question.action, Action.ACCESS_EXPLAINED, "access", subject=subject, collection=where)
        answer = self._gate.policy.decide(
            Caller(asked.principal, question.purpose, caller.request), about, settings=settings
        )
        reached = await self._reached(answer, subject)
        return self._told(question, asked, answer, settings, collection, reached=reached, since=since)

    async def _who(
        self, connection: Connection, decision: Decision, question: Question, settings: TenantSettings
    ) -> _Asked:
        """Return who is asked about, as they would act."""
        tenant, name = decision.tenant, question.who.removeprefix(_ROLE_PREFIX)
        if name != question.who:
            if self._gate.policy.role(name, settings) is None:
                raise NotFound("There is no role of this name")
            return _Asked(_principal(ActorType.PERSON, name, tenant, (name,)), "role", stands=True)
        identifier = parse_uuid(question.who)
        if identifier is None:
            raise Validation(fields=(FieldProblem("/who", "malformed"),))
        now = self._clock.now()
        state = await connection.fetchval(_PERSON, identifier)
        if state is not None:
            roles = tuple(row["role"] for row in await connection.fetch(_ROLES, identifier, now))
            person = _principal(ActorType.PERSON, str(identifier), tenant, roles)
            return _Asked(person, "person", stands=state == "active")
        key = await connection.fetchrow(_KEY, identifier, now)
        if key is None:
            raise NotFound("There is no person and no key of this id")
        left = None if key["scopes"] is None else scopes.read(key["scopes"])
        principal = _principal(ActorType.API_KEY, str(identifier), tenant, tuple(key["roles"]), left)
        return _Asked(principal, "api_key", stands=key["stands"])

    async def _since(self, connection: Connection, asked: _Asked, subject: UUID | None) -> datetime | None:
        if asked.kind != "person" or subject is None:
            return None
        since: datetime | None = await connection.fetchval(_SINCE, UUID(asked.principal.id), subject, self._clock.now())
        return since

    async def _collection(self, decision: Decision, question: Question) -> Collection | None:
        if question.collection is None:
            return None
        return await self._context.collection(decision, question.collection)

    async def _reached(self, answer: Decision, subject: UUID | None) -> bool | None:
        if subject is None or not answer.allowed:
            return None
        return subject in await reaching.reached(self._attributes, answer, (subject,))

    def _told(
        self,
        question: Question,
        asked: _Asked,
        answer: Decision,
        settings: TenantSettings,
        collection: Collection | None,
        *,
        reached: bool | None,
        since: datetime | None,
    ) -> Explanation:
        far = reaching.far(answer) if answer.allowed else None
        allowed, rule = answer.allowed and asked.stands, answer.rule
        if answer.allowed and not asked.stands:
            rule = "deny:stands"
        elif answer.allowed and reached is False:
            allowed = far is not None
            rule = reaching.refusal(answer) if far is None else far.rule
        near = reaching.near(answer) if answer.allowed and asked.stands and reached is not False else None
        return Explanation(
            who=question.who,
            kind=asked.kind,
            roles=asked.principal.roles,
            action=question.action.value,
            purpose=None if answer.purpose is None else answer.purpose.value,
            allowed=allowed,
            rule=rule,
            words=WORDS.get(rule, "A role of theirs permits it." if allowed else "It is refused."),
            reach=answer.reach.value,
            reached=reached,
            since=since,
            shows=None if near is None else _sight(near, collection),
            beyond=None if far is None or not asked.stands else _sight(far, collection),
            needs=self._needs(question, asked, answer, settings, reached=reached),
        )

    def _needs(
        self,
        question: Question,
        asked: _Asked,
        answer: Decision,
        settings: TenantSettings,
        *,
        reached: bool | None,
    ) -> tuple[str, ...]:
        """Return the codes of what must come beside the roles, or would have to for a refusal to go away."""
        people, principal = self._gate.policy.roles.people, asked.principal
        person = principal.type is ActorType.PERSON
        must = settings.second_factor or self._gate.policy.administers(principal.roles, settings.own)
        missed = answer.reach if answer.allowed and not reached else Reach.ALL
        needs = (
            ("second-factor", person and must),
            ("step-up", person and question.action in people.step_up),
            ("purpose", answer.rule == "deny:purpose-required"),
            ("care-team", missed is Reach.CARE_TEAM),
            ("break-glass", missed is Reach.BREAK_GLASS),
        )
        return tuple(code for code, needed in needs if needed)


def _principal(
    kind: ActorType, identifier: str, tenant: UUID, roles: Sequence[str], left: Scopes | None = None
) -> Principal:
    return Principal(
        type=kind,
        id=identifier,
        tenant=tenant,
        roles=tuple(roles),
        method=AuthMethod.NONE,
        scopes=None if left is None else left.everywhere,
        within=frozenset() if left is None else left.within,
        mfa=True,
        fresh=True,
    )


async def _subject(connection: Connection, question: Question) -> UUID | None:
    """Return the patient that is asked about, by their own id or by a record of theirs."""
    if question.record is None:
        return question.subject
    if question.collection is None:
        raise Validation(fields=(FieldProblem("/collection", "required"),))
    row = await connection.fetchrow(_RECORD, question.collection, question.record)
    if row is None:
        raise NotFound("There is no record of this id")
    subject: UUID | None = row["subject_id"]
    return subject


def _sight(decision: Decision, collection: Collection | None) -> Sight:
    groups = tuple(sorted(decision.groups))
    if collection is None:
        return Sight(groups=groups)
    view = collection.view(decision.groups, decision.hidden)
    return Sight(groups=groups, seen=tuple(field.name for field in view.fields.values()), withheld=view.withheld)
