"""The certificates of a deployment: one for each host name, one for the rest, taken anew when their files change.

Rules: a client is shown the certificate of the name that it asked for (SNI, RFC 6066), and of no other customer's; a
pair that does not load, does not fit together, is not for its name or has ended is never put in the place of one that
works; all pairs change hands at once, for connections that are made from then on, while those that stand go on. Files
count as changed once they have been the same for one look: whoever renews a certificate writes two files, and not in
one moment.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from cryptography import x509

from wellkeep.assembly.tls import server_context
from wellkeep.base.errors import Misconfigured
from wellkeep.base.tls_settings import Profile, TlsSettings

_Identity = tuple[tuple[int, int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """A chain and its key; `name` is the host's, None for whoever asks for none that is listed."""

    name: str | None
    certificate: Path
    key: Path

    def identity(self) -> _Identity:
        """Return what tells these files from others in their place; None stands for one that can't be looked at."""
        return tuple(_identity(path) for path in (self.certificate, self.key))


@dataclass(frozen=True, slots=True)
class Served:
    """A pair as it is served: `until` is when its certificate ends."""

    context: ssl.SSLContext
    until: datetime
    identity: _Identity


def pairs(settings: TlsSettings, *, home: Path) -> tuple[Pair, ...]:
    """Return the pairs of `settings`, the default one first."""
    own = Pair(None, home / settings.certificate, home / settings.key)
    return (own, *(Pair(one.name, home / one.certificate, home / one.key) for one in settings.hosts or ()))


class Certificates:
    """What the listeners of one process serve with. `front` is theirs for good; what it shows is current."""

    def __init__(self, pairs: Sequence[Pair], *, profile: Profile) -> None:
        """Load every pair. Raises Misconfigured where one is missing, does not fit, or is not for its name."""
        self._profile: Profile = profile
        self._pairs = tuple(pairs)
        self._served: Mapping[str | None, Served] = MappingProxyType({one.name: self._load(one) for one in pairs})
        self._seen = {one.name: self._served[one.name].identity for one in pairs}
        self.front = self._load(self._pairs[0]).context
        self.front.sni_callback = self._choose

    @property
    def served(self) -> Sequence[tuple[Pair, Served]]:
        """Every pair with what is served of it now, the default one first."""
        return [(one, self._served[one.name]) for one in self._pairs]

    def look(self, now: datetime) -> list[Pair]:
        """Take what changed and fits; return the pairs whose files are not what is served, and can't be.

        A change is taken at the second look that finds it.
        """
        fresh, unfit = dict(self._served), list[Pair]()
        for pair in self._pairs:
            identity = pair.identity()
            settled, self._seen[pair.name] = identity == self._seen[pair.name], identity
            if identity == self._served[pair.name].identity or not settled:
                continue
            taken = self._renewed(pair, now)
            if taken is None:
                unfit.append(pair)
            else:
                fresh[pair.name] = taken
        self._served = MappingProxyType(fresh)
        return unfit

    def _renewed(self, pair: Pair, now: datetime) -> Served | None:
        try:
            found = self._load(pair)
        except Misconfigured:
            return None
        return found if found.until > now and found.identity == pair.identity() else None

    def _load(self, pair: Pair) -> Served:
        identity = pair.identity()
        context = server_context(certificate=pair.certificate, key=pair.key, profile=self._profile)
        leaf = _leaf(pair.certificate)
        if pair.name is not None and not _is_for(leaf, pair.name):
            raise Misconfigured(f"The TLS certificate {pair.certificate} is not for {pair.name}: see [[tls.hosts]]")
        return Served(context, leaf.not_valid_after_utc, identity)

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _front: ssl.SSLContext) -> None:
        """Show the certificate of the name that is asked for; without one, and for a name of nobody, the default."""
        served = self._served
        found = served.get(name.lower().removesuffix(".")) if name else None
        connection.context = (found or served[None]).context


def _identity(path: Path) -> tuple[int, int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _leaf(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        raise Misconfigured(f"The TLS certificate {path} can't be read.") from None


def _is_for(leaf: x509.Certificate, name: str) -> bool:
    """Say whether a client that asked for `name` takes this certificate (RFC 9525, 6.3)."""
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    names = {one.lower() for one in found.get_values_for_type(x509.DNSName)}
    return name in names or "*." + name.partition(".")[2] in names
