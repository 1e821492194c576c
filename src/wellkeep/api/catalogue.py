"""Which listener serves which routes.

Rule: administration is served on its own listener and nowhere else: on the public one these addresses do not exist.
"""

from __future__ import annotations

from wellkeep.api.account import ACCOUNT
from wellkeep.api.apikeys import APIKEYS
from wellkeep.api.approvals import APPROVALS
from wellkeep.api.break_glass import BREAK_GLASS
from wellkeep.api.collections import COLLECTIONS
from wellkeep.api.console.access import ACCESS
from wellkeep.api.console.administration import ADMINISTRATION
from wellkeep.api.console.files import FILES
from wellkeep.api.console.keys import KEY_PAGES
from wellkeep.api.console.pages import EVERYWHERE, PAGES
from wellkeep.api.console.people import PEOPLE
from wellkeep.api.console.records import RECORD_PAGES
from wellkeep.api.console.search import SEARCH
from wellkeep.api.console.signing_in import SIGNING_IN
from wellkeep.api.console.transfers import TRANSFER_PAGES
from wellkeep.api.deployment import DEPLOYMENT
from wellkeep.api.disclosures import DISCLOSURES
from wellkeep.api.egress import EGRESS, EGRESS_SHOWN
from wellkeep.api.erasure import ERASURE, TENANT_ERASURE
from wellkeep.api.findings import FINDINGS
from wellkeep.api.health import HEALTH, metrics_route
from wellkeep.api.impersonation import IMPERSONATIONS, STEPPING_IN
from wellkeep.api.keys import KEYS
from wellkeep.api.ledger import LEDGER
from wellkeep.api.metrics import Metrics
from wellkeep.api.oidc import SIGN_IN
from wellkeep.api.pages import reference_routes
from wellkeep.api.providers import PROVIDERS
from wellkeep.api.records import RECORDS
from wellkeep.api.reviews import REVIEWS, TENANT_REVIEWS
from wellkeep.api.roles import POLICIES
from wellkeep.api.routes import Listener, Route
from wellkeep.api.searches import SEARCHES
from wellkeep.api.session import SESSION
from wellkeep.api.subjects import SUBJECTS
from wellkeep.api.teams import TEAMS
from wellkeep.api.tenants import TENANTS
from wellkeep.api.transfers import TRANSFERS
from wellkeep.api.trust import TRUST
from wellkeep.api.users import TENANT_USERS, USERS

_PUBLIC = (
    *COLLECTIONS,
    *RECORDS,
    *SEARCHES,
    *SUBJECTS,
    *DISCLOSURES,
    *ERASURE,
    *APPROVALS,
    *BREAK_GLASS,
    *IMPERSONATIONS,
    *TRANSFERS,
    *LEDGER,
    *SESSION,
    *SIGN_IN,
    *ACCOUNT,
    *USERS,
    *REVIEWS,
    *POLICIES,
    *TEAMS,
    *EGRESS_SHOWN,
    *FINDINGS,
    *TRUST,
    *SIGNING_IN,
    *PAGES,
    *PEOPLE,
    *RECORD_PAGES,
    *TRANSFER_PAGES,
    *ACCESS,
    *SEARCH,
    *FILES,
    *HEALTH,
)
_ADMIN = (
    *SESSION,
    *ACCOUNT,
    *TENANT_USERS,
    *PROVIDERS,
    *TENANT_REVIEWS,
    *TENANTS,
    *APIKEYS,
    *KEYS,
    *TENANT_ERASURE,
    *APPROVALS,
    *EGRESS,
    *STEPPING_IN,
    *DEPLOYMENT,
    *SIGNING_IN,
    *EVERYWHERE,
    *ADMINISTRATION,
    *KEY_PAGES,
    *SEARCH,
    *FILES,
    *HEALTH,
)
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
