"""Taking an invitation, or the link of a reset: a person sets a password, and may sign in from then on.

Rules: the link is used up by one statement that two workers can't both win, in the transaction that keeps the password;
an unknown link, a used one and one that is over get the same answer after the same steps. The password is checked
before the link is used up, so that who chooses a bad one chooses again. Taking a link signs nobody in.
"""

from __future__ import annotations

import hmac
from uuid import UUID

from wellkeep.access import session_format
from wellkeep.access.account import set_password, words_of
from wellkeep.access.persons import at_the_door, own
from wellkeep.access.sessions import Visitor, end_all
from wellkeep.access.sign_in import Doors
from wellkeep.base.errors import Conflict, Unauthenticated
from wellkeep.db.connection import Record
from wellkeep.ledger.event import Action

_NOBODYS_DIGEST = bytes(32)
_WRONG = "This link is not good, or no longer. Ask whoever invited you for another."

_FIND = """
SELECT i.tenant_id, i.id, i.person_id, i.digest, i.kind FROM access.invitation AS i
JOIN wk.tenants AS t ON t.id = i.tenant_id AND t.state = 'active'
WHERE i.id = $1 AND i.used_at IS NULL AND i.expires_at > clock_timestamp()
"""
_HOLD = "SELECT FROM access.person WHERE id = $1 FOR NO KEY UPDATE"
_USE = """
UPDATE access.invitation SET used_at = clock_timestamp()
WHERE id = $1 AND used_at IS NULL AND expires_at > clock_timestamp() RETURNING id
"""
_ABOUT = "SELECT p.email, p.name, t.name AS tenant FROM access.person AS p, wk.tenants AS t WHERE p.id = $1"
_JOIN = """
UPDATE access.person SET state = 'active', joined_at = coalesce(joined_at, clock_timestamp())
WHERE id = $1 AND state <> 'disabled' RETURNING id
"""


class Joining:
    """Takes invitations."""

    def __init__(self, doors: Doors) -> None:
        """Act by what `doors` offers."""
        self._on = doors

    async def accept(self, *, token: str, password: str, visitor: Visitor) -> UUID:
        """Set the password of whoever the link is for, and return the person's id.

        Raises Unauthenticated, always with the same words, Validation where the password is not good enough,
        Conflict where the person is disabled, RateLimited.
        """
        on = self._on
        taken = await on.throttle.link(ip=visitor.ip)
        link = await self._find(token)
        if link is None:
            await on.failures.note(request=visitor.request, ip=visitor.ip, agent=visitor.agent, key_id=None)
            raise Unauthenticated(_WRONG)
        tenant, person = link["tenant_id"], link["person_id"]
        async with on.app_pool.tenant_transaction(tenant=tenant) as connection:
            about = await connection.fetchrow(_ABOUT, person)
        await on.passwords.check(password, about=() if about is None else words_of(about))
        made = await on.passwords.hash(password)
        caller = at_the_door(tenant=tenant, person=person, request=visitor.request, ip=visitor.ip, agent=visitor.agent)
        action = Action.USER_JOINED if link["kind"] == "join" else Action.PASSWORD_CHANGED
        decision = await on.gate.decide(caller, own(action, person, enrolling=True))
        async with on.gate.transaction(decision) as work:
            await work.connection.execute(_HOLD, person)
            if await work.connection.fetchval(_USE, link["id"]) is None:
                raise Unauthenticated(_WRONG)
            if await work.connection.fetchval(_JOIN, person) is None:
                raise Conflict("This account is disabled")
            await set_password(work.connection, person, made)
            await end_all(work.connection, person, because="password-changed")
            work.record()
        await on.throttle.right(taken)
        return UUID(caller.principal.id)

    async def _find(self, token: str) -> Record | None:
        presented = session_format.read(token)
        row = None
        if presented is not None:
            async with self._on.auth_pool.connection() as connection:
                row = await connection.fetchrow(_FIND, presented.id)
        kept = None if row is None else row["digest"]
        same = hmac.compare_digest(kept or _NOBODYS_DIGEST, session_format.digest(token))
        return row if same and kept is not None else None
