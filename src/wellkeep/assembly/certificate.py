"""The development certificate: TLS from the first day, before anybody has one of their own."""

from __future__ import annotations

from wellkeep.assembly.home import Home
from wellkeep.assembly.tls import make_development_certificate
from wellkeep.base.clock import SystemClock
from wellkeep.base.settings import Settings


def ensure_certificate(home: Home, settings: Settings) -> None:
    """Make a certificate for the deployment's host and the loopback where there is none; one that exists stays."""
    certificate, key = home.resolve(settings.tls.certificate), home.resolve(settings.tls.key)
    if not certificate.exists() and not key.exists():
        make_development_certificate(certificate=certificate, key=key, host=settings.host, clock=SystemClock())
