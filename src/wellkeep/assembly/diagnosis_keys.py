"""What stands between a deployment's keys and production: where they lie, whether that is backed up, whether they open.

Rule: what wellkeep can't see (a copy in a safe, a backup that holds an epoch's key) is told as what somebody has to see
to, never as done. The threats are one machine that is lost with its root key, one that is stolen with it, and a backup
that undoes erasures because the epoch's key is in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import asyncpg

from wellkeep.assembly.core import open_core
from wellkeep.assembly.database import Database
from wellkeep.assembly.home import Home
from wellkeep.assembly.verdict import Verdict
from wellkeep.base.errors import WellkeepError
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.base.key_settings import LocalEpochs, LocalRoot, TransitEpochs, TransitRoot
from wellkeep.base.settings import Settings
from wellkeep.keys.epoch_place import require_here
from wellkeep.keys.inventory import current_epoch, known_epochs
from wellkeep.keys.keyfile import ROOT_KEY_VARIABLE


def stated(home: Home, settings: Settings) -> Iterator[Verdict]:
    """Tell what the settings say of where the keys lie."""
    roots = settings.keys.all_roots()
    local = [one for one in roots if isinstance(one, LocalRoot)]
    for one in local:
        yield Verdict(
            "The root key is backed up apart from the database",
            ROOT_KEY_VARIABLE in os.environ,
            f"wellkeep can't see that: copy {home.resolve(one.key)} to a safe and keep it there; try the recovery "
            "shares that you gave away: wellkeep keys recover --check",
        )
    yield Verdict(
        "The root key lies in a key management service",
        not any(not (one.tenants or one.retired) for one in local),  # an HSM's stays behind when the machine is stolen
        "It lies in a file or the environment of this machine: name a service in [[keys.roots]], then: "
        "wellkeep keys rotate root",
    )
    yield Verdict(
        "No backup holds the keys of epochs",
        not isinstance(settings.keys.epochs, LocalEpochs),
        f"wellkeep can't see that: keep {home.secrets}/epoch-*.key out of backups and snapshots of this machine, for "
        "one that holds them undoes erasures. A new deployment can name a service in [keys.epochs]",
    )
    if any(isinstance(one, TransitRoot | TransitEpochs) for one in (*roots, settings.keys.epochs)):
        mend = "The driver transit is untested on a real server: see docs/how-to/keys-vault.md before you rely on it"
        yield Verdict("The drivers of the keys were tried on real servers", fine=False, mend=mend)


async def answering(home: Home, settings: Settings, database: Database) -> Verdict:
    """Tell whether the deployment's keys open now, by the root key and by the key of the current epoch."""
    what = "The root key and the key of the current epoch open the deployment's keys"
    try:
        async with open_core(home, settings, database, behind=True) as core:
            async with core.app.tenant_transaction(tenant=PLATFORM_TENANT) as connection:
                current = current_epoch(await known_epochs(connection)).epoch
            await require_here(core.epochs, current)
            await core.ring.load(PLATFORM_TENANT)
    except WellkeepError as error:
        return Verdict(what, fine=False, mend=error.message)
    except asyncpg.PostgresError:
        return Verdict(what, fine=False, mend="The database does not say: see below")
    return Verdict(what, fine=True)
