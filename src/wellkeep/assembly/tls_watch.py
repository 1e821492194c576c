"""Watching the certificates of one process: renewed ones are taken within a minute, and nobody learns of an end late.

Rules: nothing ends the watch but the process; a pair that can't be taken is a finding and the one before it goes on
being served; a certificate that ends within three weeks is a finding, louder within one and loudest once it has ended.
Each closes itself with the renewal. A finding knows a host by its place in the settings and by the SHA-256 of its name.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final, Protocol

import structlog

from wellkeep.assembly.tls_hosts import Certificates, Pair
from wellkeep.base.clock import Clock
from wellkeep.base.errors import Unavailable
from wellkeep.base.ids import PLATFORM_TENANT
from wellkeep.findings.findings import Findings
from wellkeep.findings.grammar import Kind, Severity, finding_key

LOOK_SECONDS: Final = 5.0
_TELL_SECONDS: Final = 3600.0
"""What stands is told again as often, and not at each look."""
_SOON: Final = timedelta(days=21)
_VERY_SOON: Final = timedelta(days=7)
_KINDS: Final = (Kind.CERTIFICATE_EXPIRING, Kind.CERTIFICATE_UNREADABLE)

_log = structlog.get_logger("wellkeep.tls")


class _Pausing(Protocol):
    async def __call__(self, seconds: float, /) -> None: ...


class CertificateWatch:
    """Looks at the files of `certificates`, and tells what is wrong with them."""

    def __init__(self, certificates: Certificates, *, findings: Findings, clock: Clock) -> None:
        """Look at nothing yet."""
        self._certificates = certificates
        self._findings = findings
        self._clock = clock
        self._told: dict[str, tuple[Severity, float]] = {}
        self._settled = False

    async def look(self) -> None:
        """Take what was renewed, tell what is wrong, close what no longer is. Raises Unavailable."""
        unfit = await asyncio.to_thread(self._certificates.look, self._clock.now())
        wrong: dict[str, tuple[Kind, Severity, dict[str, str | int]]] = {}
        for part, (pair, served) in enumerate(self._certificates.served):
            detail = _detail(part, pair)
            if pair in unfit:
                key = _key(Kind.CERTIFICATE_UNREADABLE, pair)
                wrong[key] = (Kind.CERTIFICATE_UNREADABLE, Severity.HIGH, detail)
            left = served.until - self._clock.now()
            if left <= _SOON:
                lasting = detail | {"seconds": max(0, int(left.total_seconds()))}
                wrong[_key(Kind.CERTIFICATE_EXPIRING, pair)] = (Kind.CERTIFICATE_EXPIRING, _severity(left), lasting)
        for key, (kind, severity, detail) in wrong.items():
            await self._tell(key, kind, severity, detail)
        await self._settle(set(wrong))

    async def _tell(self, key: str, kind: Kind, severity: Severity, detail: dict[str, str | int]) -> None:
        before, now = self._told.get(key), self._clock.monotonic()
        if before is None or before[0] is not severity or now - before[1] >= _TELL_SECONDS:
            self._told[key] = (severity, now)
            await self._findings.report(PLATFORM_TENANT, kind=kind, severity=severity, key=key, detail=detail)

    async def _settle(self, wrong: set[str]) -> None:
        """Close what has ended; at the first look also what an earlier process left, of hosts that are gone."""
        over = set(self._told) - wrong
        if not self._settled:
            left = await self._findings.list(PLATFORM_TENANT)
            over |= {one.key for one in left if one.kind in _KINDS} - wrong
        if over:
            await self._findings.settle(PLATFORM_TENANT, keys=sorted(over))
        self._settled = True
        self._told = {key: told for key, told in self._told.items() if key not in over}


@asynccontextmanager
async def watching_certificates(
    watch: CertificateWatch, *, pause: _Pausing = asyncio.sleep, seconds: float = LOOK_SECONDS
) -> AsyncIterator[None]:
    """Watch beside the block."""
    task = asyncio.create_task(_watch(watch, pause, seconds), name="certificates")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _watch(watch: CertificateWatch, pause: _Pausing, seconds: float) -> None:
    wrong = ""
    while True:
        try:
            await watch.look()
            wrong = ""
        except Exception as error:  # noqa: BLE001 -- logged by its kind; a watch that ended would take no certificate
            if wrong != (wrong := type(error).__name__) and not isinstance(error, Unavailable):
                _log.warning("certificates.failed", kind=wrong)
        await pause(seconds)


def _severity(left: timedelta) -> Severity:
    if left <= timedelta():
        return Severity.CRITICAL
    return Severity.HIGH if left <= _VERY_SOON else Severity.MEDIUM


def _key(kind: Kind, pair: Pair) -> str:
    return finding_key(kind, "default" if pair.name is None else _digest(pair.name))


def _detail(part: int, pair: Pair) -> dict[str, str | int]:
    if pair.name is None:
        return {"setting": "tls.certificate"}
    return {"setting": "tls.hosts", "part": part, "digest": _digest(pair.name)}


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode("ascii")).hexdigest()
