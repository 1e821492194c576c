"""Which listener serves which routes.

Rule: administration is served on its own listener and nowhere else: on the public one these addresses do not exist.
"""

from __future__ import annotations

from wellkeep.api.apikeys import APIKEYS
from wellkeep.api.collections import COLLECTIONS
from wellkeep.api.disclosures import DISCLOSURES
from wellkeep.api.health import HEALTH, metrics_route
from wellkeep.api.ledger import LEDGER
from wellkeep.api.metrics import Metrics
from wellkeep.api.pages import reference_routes
from wellkeep.api.records import RECORDS
from wellkeep.api.routes import Listener, Route
from wellkeep.api.searches import SEARCHES
from wellkeep.api.subjects import SUBJECTS
from wellkeep.api.tenants import TENANTS
from wellkeep.api.transfers import TRANSFERS

_PUBLIC = (*COLLECTIONS, *RECORDS, *SEARCHES, *SUBJECTS, *DISCLOSURES, *TRANSFERS, *LEDGER, *HEALTH)
_ADMIN = (*TENANTS, *APIKEYS, *HEALTH)
_UNTABLED = ("metrics", "openapi", "docs", "docs_style", "problem_page")


def routes(listener: Listener, metrics: Metrics) -> tuple[Route, ...]:
    """Return every route of `listener`, its documentation included; `metrics` is what /metrics shows."""
    if listener == "admin":
        own = (*_ADMIN, metrics_route(metrics))
        return own + reference_routes(own, title="wellkeep, administration")
    return _PUBLIC + reference_routes(_PUBLIC, title="wellkeep")


def names() -> tuple[str, ...]:
    """Return the operation ids of all listeners: the rows of the counters, the same in every worker."""
    return tuple(dict.fromkeys([route.name for route in (*_PUBLIC, *_ADMIN)])) + _UNTABLED
