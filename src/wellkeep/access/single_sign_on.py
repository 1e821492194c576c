"""Single sign-on in one hand for the composition root and the edges."""

from __future__ import annotations

from dataclasses import dataclass

from wellkeep.access.accounts import Accounts
from wellkeep.access.oidc import ProviderSignIn
from wellkeep.access.oidc_client import ProviderClient
from wellkeep.access.providers import Providers
from wellkeep.base.clock import Clock
from wellkeep.egress.egress import Egress
from wellkeep.gate.gate import Gate


@dataclass(frozen=True, slots=True)
class SingleSignOn:
    """The providers of tenants, and signing in with them."""

    providers: Providers
    sign_in: ProviderSignIn


def open_single_sign_on(*, gate: Gate, accounts: Accounts, egress: Egress, clock: Clock) -> SingleSignOn:
    """Wire them over the accounts of people."""
    client = ProviderClient(egress=egress, clock=clock)
    return SingleSignOn(
        providers=Providers(gate=gate, secrets=accounts.doors.secrets, egress=egress, client=client),
        sign_in=ProviderSignIn(
            accounts.doors,
            client=client,
            sign_in=accounts.sign_in,
            clock=clock,
            authority=accounts.site.authority,
        ),
    )
