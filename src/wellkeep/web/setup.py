"""The pages of the first run, made of what they are handed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from wellkeep.web import rendering

STEPS: Final = ("Place", "Recovery", "Administrator", "Second factor", "Sign-in", "Proof")


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What stands around a page: the script's nonce, which step it is (from 0), and what went wrong before."""

    nonce: str
    step: int = -1
    wrong: str = ""
    steps: tuple[str, ...] = STEPS


def opening(around: Around) -> bytes:
    """Return the page that takes the one-time secret of the printed address."""
    return rendering.page("setup_open.html", around=around)


def begin(around: Around, *, fixed: str, place: str) -> bytes:
    """Return the page that asks what is made, and where; `fixed` is the environment that was chosen before."""
    return rendering.page("setup_begin.html", around=around, fixed=fixed, place=place)


def working(around: Around, told: Sequence[str]) -> bytes:
    """Return the page that shows how far something is."""
    return rendering.page("setup_working.html", around=around, told=told)


def shares(around: Around, found: Sequence[str], *, needed: int) -> bytes:
    """Return the page that shows the recovery shares."""
    return rendering.page("setup_shares.html", around=around, shares=found, needed=needed)


def administrator(around: Around, *, tenant: str) -> bytes:
    """Return the page that asks for the first administrator; `tenant` is the one that is there already."""
    return rendering.page("setup_administrator.html", around=around, tenant=tenant)


def factor(around: Around, *, secret: str, qr: str) -> bytes:
    """Return the page of the authenticator app; without a secret it asks for the password first."""
    return rendering.page("setup_factor.html", around=around, secret=secret, qr=qr)


def provider(around: Around, *, tenant: str) -> bytes:
    """Return the page that says how an identity provider is added."""
    return rendering.page("setup_provider.html", around=around, tenant=tenant)


def proof(around: Around) -> bytes:
    """Return the page that begins the first proof."""
    return rendering.page("setup_proof.html", around=around)


def proven(around: Around, told: Sequence[str]) -> bytes:
    """Return the page that shows how the claims stand."""
    return rendering.page("setup_proven.html", around=around, told=told)


def over(around: Around, *, site: str) -> bytes:
    """Return the last page; `site` is where the deployment is served."""
    return rendering.page("setup_over.html", around=around, site=site)
