"""The deployment's seal keys: as the ledger takes them, and alone, for whoever checks an export with them."""

from __future__ import annotations

from wellkeep.assembly.database import Database
from wellkeep.assembly.egress_denials import way_out
from wellkeep.assembly.home import Home
from wellkeep.assembly.kms import open_roots
from wellkeep.base.clock import SystemClock
from wellkeep.base.settings import Settings
from wellkeep.db.provision import connected
from wellkeep.keys.deployment import DeploymentKeys, load_deployment
from wellkeep.ledger.seal import SealKey


def seal_keys(keys: DeploymentKeys) -> dict[str, SealKey]:
    """Return every seal key by its id, the one that seals now first."""
    return {key.key_id: SealKey(key_id=key.key_id, secret=key.secret) for key in keys.seals}


async def read_seal_keys(home: Home, settings: Settings, database: Database) -> dict[str, SealKey]:
    """Return every seal key by its id. Raises KeysUnavailable and what the database raises."""
    roots = open_roots(home, settings, egress=way_out(home, settings), clock=SystemClock())
    async with connected(database.endpoint("wk_app")) as connection:
        return seal_keys(await load_deployment(connection, roots))
