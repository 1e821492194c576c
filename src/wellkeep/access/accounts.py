"""What belongs to the accounts of people, in one hand for the composition root and the edges."""

from __future__ import annotations

from dataclasses import dataclass

from wellkeep.access.account import Account
from wellkeep.access.account_secrets import AccountSecrets
from wellkeep.access.breached import Breached
from wellkeep.access.failures import Failures
from wellkeep.access.joining import Joining
from wellkeep.access.passkeys import Passkeys
from wellkeep.access.passwords import Passwords
from wellkeep.access.people import People
from wellkeep.access.sessions import Sessions
from wellkeep.access.sign_in import Doors, SignIn
from wellkeep.access.throttle import Throttle
from wellkeep.db.pool import Pool
from wellkeep.findings.findings import Findings
from wellkeep.gate.gate import Gate


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where people find this deployment: `host` is what passkeys are for, `port` the public listener's.

    `administration` is the port of the other listener that people sign in at.
    """

    host: str
    port: int = 443
    administration: int | None = None
    mails: bool = False

    @property
    def authority(self) -> str:
        """What stands in links: the host, with its port unless it is the usual one."""
        return self.host if self.port == 443 else f"{self.host}:{self.port}"  # noqa: PLR2004 -- the port of HTTPS

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins of our own pages: behind a proxy that takes 443, and reached as we listen."""
        other = () if self.administration is None else (f"https://{self.host}:{self.administration}",)
        return tuple(dict.fromkeys((f"https://{self.host}", f"https://{self.authority}", *other)))


@dataclass(frozen=True, slots=True)
class Accounts:
    """The services about people and how they get in; `doors` is what signing in by other ways stands on."""

    people: People
    sessions: Sessions
    sign_in: SignIn
    account: Account
    joining: Joining
    doors: Doors
    site: Site

    def stop(self) -> None:
        """Let the threads go that hash passwords."""
        self.doors.passwords.stop()


def open_accounts(
    *,
    gate: Gate,
    auth_pool: Pool,
    app_pool: Pool,
    findings: Findings,
    failures: Failures,
    secrets: AccountSecrets,
    breached: Breached,
    cost: int,
    site: Site,
) -> Accounts:
    """Wire them; `stop` what is returned at the end."""
    doors = Doors(
        gate=gate,
        auth_pool=auth_pool,
        app_pool=app_pool,
        sessions=Sessions(gate=gate),
        passwords=Passwords(secrets, cost=cost, breached=breached),
        passkeys=Passkeys(host=site.host, origins=site.origins),
        throttle=Throttle(pool=app_pool, secrets=secrets),
        secrets=secrets,
        failures=failures,
        findings=findings,
    )
    return Accounts(
        people=People(gate=gate, mails=site.mails),
        sessions=doors.sessions,
        sign_in=SignIn(doors),
        account=Account(doors),
        joining=Joining(doors),
        doors=doors,
        site=site,
    )
