"""Whether what a process stands on holds: asked by load balancers every few seconds, so it costs one small query."""

from __future__ import annotations

from collections.abc import Mapping

from wellkeep.assembly.anchors import anchor_lines
from wellkeep.assembly.core import Core
from wellkeep.assembly.key_lines import key_lines
from wellkeep.assembly.metric_lines import MetricLines
from wellkeep.assembly.sinks import sink_lines
from wellkeep.base.errors import WellkeepError
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.keys.ring_states import TenantState


class Readiness:
    """Looks at database, keys, ledger and findings of this process."""

    def __init__(self, core: Core) -> None:
        """Look at `core`."""
        self._core = core
        self._root = core.roots.deployment.describe().root
        self._sinks = MetricLines(lambda: sink_lines(core), clock=core.clock)
        self._anchors = MetricLines(lambda: anchor_lines(core.anchoring), clock=core.clock)

    async def check(self) -> Mapping[str, bool]:
        """Return each part by name, and whether it holds.

        `keys` is false while tenants are locked because the deployment's own root key does not answer. What a tenant
        brought itself concerns that tenant: a service of theirs that is away takes no server out of anybody's pool.
        `findings` is false while noticed things wait for a database that takes them; open findings themselves do not
        make a service unready, they are counted in the metrics and listed by `wellkeep findings`.
        """
        return {
            "database": await self._database(),
            "keys": self._core.signals.listening and not self._core.ring.locked_by(self._root),
            "ledger": self._core.writer.healthy and not self._core.gate.holds_changes,
            "findings": not self._core.findings.backlog,
        }

    def keys(self) -> Mapping[str, int]:
        """Return how many tenants' keys stand how in this process."""
        states = self._core.ring.states()
        return {state.value: states.get(state, 0) for state in TenantState}

    async def findings(self) -> Mapping[str, int]:
        """Return how many findings are open in the deployment, by severity. Raises DatabaseUnavailable."""
        return await self._core.findings.open_counts()

    async def metrics(self) -> str:
        """Return lines in the Prometheus text format: keys, and what is more than this process, sinks and anchors."""
        return key_lines(self._core) + await self._sinks.text() + await self._anchors.text()

    async def _database(self) -> bool:
        try:
            await self._core.gate.tenants.load(PLATFORM_TENANT)
        except WellkeepError:
            return False
        return True
