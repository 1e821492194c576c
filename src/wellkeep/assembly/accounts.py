"""The accounts of people of one process, wired over the core."""

from __future__ import annotations

from wellkeep.access.account_secrets import AccountSecrets
from wellkeep.access.accounts import Accounts, Site, open_accounts
from wellkeep.access.authenticator import Authenticator
from wellkeep.access.breached import Breached
from wellkeep.assembly.core import Core
from wellkeep.assembly.home import Home
from wellkeep.base.settings import Settings


def accounts(home: Home, core: Core, authenticator: Authenticator) -> Accounts:
    """Return them; failures are counted where the authenticator counts its own. Raises Misconfigured."""
    settings = core.settings.access
    leaked = None if settings.breached is None else home.resolve(settings.breached)
    return open_accounts(
        gate=core.gate,
        auth_pool=core.auth,
        app_pool=core.app,
        findings=core.findings,
        failures=authenticator.failures,
        secrets=AccountSecrets(core.keys.reasons),
        breached=Breached(leaked),
        cost=settings.bcrypt_cost,
        site=site(core.settings),
    )


def site(settings: Settings) -> Site:
    """Return where people find the deployment of these settings."""
    port, administration = (int(one.rpartition(":")[2]) for one in (settings.listen.public, settings.listen.admin))
    return Site(host=settings.host, port=port, administration=administration, mails=settings.mail.place is not None)
