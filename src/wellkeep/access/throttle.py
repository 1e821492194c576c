"""Who guesses waits, and nobody can make somebody else wait.

Rules: a try is counted in PostgreSQL before it is made, in one statement that two workers can't both win, and given
back where it was right. Lanes: this account from this network; this network whatever the account; this account from all
strangers together, which is what a stuffing from a thousand addresses fills. A browser in which the person signed in
before (a signed cookie says so) has a lane of its own and none of these: strangers fill theirs and slow down strangers,
the person goes on. After the free tries a lane is closed for 1, 2, 4 … seconds, at most 15 minutes (strangers to one
account: five). What is refused so is not hashed, and says nothing: an account that is not there has lanes as well.

A second factor is guessed by who knows the password, or took a session. All strangers together, all known browsers
together and all sessions together have twenty free tries and one more each quarter of an hour, whatever they do: about
130 on the first day and 96 on each that follows. Of a million codes three are right at a time (`totp`), so a guess is
right once in 333,333: a day of strangers succeeds with a probability below 0.04 %, one of all three at once below
0.12 %, and each guess is on record.

Time is the database's. Where that is set back, a lane is closed for no longer than it closes.

Rows hold keyed digests; those not seen for a day are forgotten, and the oldest where there are too many.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from wellkeep.access.account_secrets import AccountSecrets
from wellkeep.access.session_door import network
from wellkeep.base.errors import RateLimited
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.db.pool import Pool

MOST_ROWS: Final = 200_000
_TAKE = "SELECT access.take_try($1, $2, $3, $4)"
_HOLD = "SELECT FROM access.throttle WHERE key = ANY ($1::bytea[]) ORDER BY key FOR UPDATE"
_GIVE_BACK = """
UPDATE access.throttle AS t SET failures = greatest(t.failures - lane.given, 0),
  until = CASE WHEN t.failures - lane.given <= lane.free - 1 THEN least(t.until, clock_timestamp()) ELSE t.until END
FROM unnest($1::bytea[], $2::integer[], $3::float8[]) AS lane (key, free, given) WHERE t.key = lane.key
"""
_FORGET = "DELETE FROM access.throttle WHERE seen_at < clock_timestamp() - interval '1 day'"
_OLDEST = """
DELETE FROM access.throttle WHERE key IN (SELECT key FROM access.throttle ORDER BY seen_at DESC OFFSET $1)
"""


@dataclass(frozen=True, slots=True)
class _Lane:
    """`free` tries, then waits of at most `longest` seconds; it forgets `fades` tries a second, or all after an hour.

    `own`: a try that was right empties it; of another it is given back.
    """

    key: bytes
    free: int
    longest: int
    own: bool
    fades: float = 0.0


@dataclass(frozen=True, slots=True)
class Try:
    """One counted try: its lanes, to give back."""

    lanes: tuple[_Lane, ...]


class Throttle:
    """Counts tries in the platform's rows."""

    def __init__(self, *, pool: Pool, secrets: AccountSecrets) -> None:
        """Count over `pool`, wk_app's."""
        self._pool = pool
        self._secrets = secrets

    async def password(self, account: bytes, *, ip: str | None, device: str | None) -> Try:
        """Count a try of a password; `device` is what is known of a browser that the person signed in from before.

        Raises RateLimited with the seconds to wait, DatabaseUnavailable.
        """
        if device is not None:
            return await self._take(_Lane(self._key(b"device", account, device.encode()), 10, 900, own=True))
        place = (network(ip) or "").encode()
        return await self._take(
            _Lane(self._key(b"from", account, place), 5, 900, own=True),
            _Lane(self._key(b"network", place), 50, 900, own=False),
            _Lane(self._key(b"strangers", account), 20, 300, own=False),
        )

    async def factor(
        self, person: UUID, *, ip: str | None, device: str | None = None, session: UUID | None = None
    ) -> Try:
        """Count a try of a second factor, by who has shown the first one.

        `device` is a known browser; `session` is given where somebody is signed in. Raises as `password`.
        """
        if session is not None:
            whole, place = b"factor-sessions", str(session)
        elif device is not None:
            whole, place = b"factor-devices", device
        else:
            whole, place = b"factors", network(ip) or ""
        together = _Lane(self._key(whole, person.bytes), 20, 900, own=False, fades=1 / 900)
        return await self._take(_Lane(self._key(b"factor", person.bytes, place.encode()), 5, 900, own=True), together)

    async def link(self, *, ip: str | None) -> Try:
        """Count a try of a link, a ticket or a passkey, whose secrets can't be guessed: a brake on floods alone.

        300 at once and five a second from one network; who was right gives theirs back.
        """
        lane = _Lane(self._key(b"link", (network(ip) or "").encode()), 300, 60, own=False, fades=5.0)
        return await self._take(lane)

    async def right(self, taken: Try, *, begun: int = 0) -> None:
        """Give a try back that was right: the person's own lanes are empty again.

        `begun` is how many tries of the same lanes led to this one, such as asking for what was then answered.
        """
        keys, free = [lane.key for lane in taken.lanes], [lane.free for lane in taken.lanes]
        given = [float("inf") if lane.own else 1.0 + begun for lane in taken.lanes]
        async with self._pool.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
            await connection.execute(_HOLD, keys)  # in the order that tries hold them in, or two wait for each other
            await connection.execute(_GIVE_BACK, keys, free, given)

    async def _take(self, *lanes: _Lane) -> Try:
        ordered = sorted(lanes, key=lambda lane: lane.key)
        keys, free = [lane.key for lane in ordered], [lane.free for lane in ordered]
        longest, fades = [lane.longest for lane in ordered], [lane.fades for lane in ordered]
        async with self._pool.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
            wait: int = await connection.fetchval(_TAKE, keys, free, longest, fades)
        if wait > 0:
            raise RateLimited("Too many tries. Wait, then try again.", retry_after=wait)
        return Try(tuple(ordered))

    def _key(self, *parts: bytes) -> bytes:
        return self._secrets.lane(*parts)


async def forget(pool: Pool) -> None:
    """Forget what was not seen for a day, and the oldest beyond the bound; `pool` is wk_app's."""
    async with pool.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
        await connection.execute(_FORGET)
        await connection.execute(_OLDEST, MOST_ROWS)
