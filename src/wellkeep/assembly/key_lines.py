"""What `/metrics` says of the keys of this process: how tenants stand, what key services were asked, and ages.

Rule: counts, drivers, purposes and this process's number; no id of a tenant and no name of a root key. The lines are of
the process that answers: calls of several are told apart by their label, and never added up by chance.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

from wellkeep.assembly.core import Core
from wellkeep.keys.ring_states import TenantState


def key_lines(core: Core) -> str:
    """Return the lines of the process's ring, each with its line feed."""
    return "".join(f"{line}\n" for line in _lines(core, f'process="{os.getpid()}"'))


def _lines(core: Core, process: str) -> Iterator[str]:
    states = core.ring.states()
    yield "# HELP wellkeep_keys_tenants Tenants by how their keys stand in this process."
    yield "# TYPE wellkeep_keys_tenants gauge"
    for state in TenantState:
        yield f'wellkeep_keys_tenants{{{process},state="{state}"}} {states.get(state, 0)}'
    yield "# HELP wellkeep_kms_calls_total Calls to key services, by driver and outcome."
    yield "# TYPE wellkeep_kms_calls_total counter"
    for (driver, outcome), count in sorted(core.ring.calls.counts.items()):
        yield f'wellkeep_kms_calls_total{{{process},driver="{driver}",outcome="{outcome}"}} {count}'
    yield "# HELP wellkeep_kms_breakers_open Keys of services that did not answer, and are asked by one call at a time."
    yield "# TYPE wellkeep_kms_breakers_open gauge"
    breakers = core.ring.calls.breakers()
    unanswered = Counter(breaker.driver for breaker in breakers if breaker.open)
    for driver in sorted({breaker.driver for breaker in breakers}):
        yield f'wellkeep_kms_breakers_open{{{process},driver="{driver}"}} {unanswered[driver]}'
    yield "# HELP wellkeep_keys_oldest_seconds Age of the oldest sealing key among the tenants held, by purpose."
    yield "# TYPE wellkeep_keys_oldest_seconds gauge"
    for purpose, made in sorted(core.ring.oldest().items()):
        yield f'wellkeep_keys_oldest_seconds{{{process},purpose="{purpose}"}} {core.clock.seconds() - made:.0f}'
