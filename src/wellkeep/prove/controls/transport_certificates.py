"""transport.certificates: each host name has its own certificate, and a renewed one is served within a minute.

Tried on a scratch deployment with two customers' host names: one of them gets a new pair of files while requests are
under way, on connections that stand and on new ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from typing import Final

import httpx
from cryptography import x509

from wellkeep.prove.deployment import Unseen
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.probe import Probe
from wellkeep.prove.scratch import HOSTS, Scratch, make_certificate
from wellkeep.prove.world import World

_MINUTE: Final = 60.0
_PAUSE: Final = 0.2
_SECONDS: Final = 10.0


@dataclass(slots=True)
class _Load:
    """Requests that go on while a certificate is renewed."""

    answered: int = 0
    dropped: int = 0


async def run(world: World, notes: Notes) -> None:
    """Look at what each name is shown, then renew one of them under load."""
    scratch = await world.scratch()
    shown = {name: await _leaf(scratch, name) for name in (*HOSTS, "somebody.else.test")}
    own = all(_names(shown[name]) >= {name} for name in HOSTS)
    notes.check(
        f"asked by each of {len(HOSTS)} host names, and by one of nobody's, for a certificate",
        held=own and len(set(shown.values())) == len(shown),
        seen="each name was shown its own, the other the deployment's" if own else "a name was shown another's",
    )
    await _renewed(scratch, notes)


async def _renewed(scratch: Scratch, notes: Notes) -> None:
    renewing, other = scratch.settings.tls.hosts or (None, None)
    if renewing is None or other is None:
        raise Unseen("the scratch deployment has no host names of customers")
    before, others = await _leaf(scratch, renewing.name), await _leaf(scratch, other.name)
    load, loop = _Load(), asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        under_way = [group.create_task(_standing(scratch, load)), group.create_task(_anew(scratch, load))]
        make_certificate(scratch.home, renewing)
        started = loop.time()
        after = before
        for _ in range(int(_MINUTE / _PAUSE)):
            after = await _leaf(scratch, renewing.name)
            if after != before or loop.time() - started > _MINUTE:
                break
            await asyncio.sleep(_PAUSE)
        seconds = loop.time() - started
        for task in under_way:
            task.cancel()
    notes.check(
        "renewed one name's certificate on disk while requests went on",
        held=after != before and load.answered > 0 and not load.dropped,
        seen=f"served after {seconds:.0f} s; of {load.answered + load.dropped:,} requests {load.dropped} were dropped"
        if after != before
        else "the old one is served after a minute",
    )
    same = await _leaf(scratch, other.name)
    notes.check("looked at the other name's", held=same == others, seen="as it was" if same == others else "another")


async def _leaf(scratch: Scratch, name: str) -> bytes:
    """Return the certificate that `name` is shown, DER; it is looked at and not trusted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    host, _, port = scratch.settings.listen.public.rpartition(":")
    try:
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=name)
    except (OSError, TimeoutError) as error:
        raise Unseen("the scratch deployment does not answer over TLS") from error
    leaf: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    if leaf is None:
        raise Unseen("the scratch deployment showed no certificate")
    return leaf


def _names(leaf: bytes) -> set[str]:
    found = x509.load_der_x509_certificate(leaf).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return set(found.value.get_values_for_type(x509.DNSName))


async def _standing(scratch: Scratch, load: _Load) -> None:
    """Send requests over one connection, which stands from before to after."""
    async with httpx.AsyncClient(base_url=scratch.public_url, verify=scratch.trust(), trust_env=False) as client:
        while True:
            await _once(client, load)


async def _anew(scratch: Scratch, load: _Load) -> None:
    """Send each request over a connection of its own."""
    trust = scratch.trust()
    while True:
        async with httpx.AsyncClient(base_url=scratch.public_url, verify=trust, trust_env=False) as client:
            await _once(client, load)


async def _once(client: httpx.AsyncClient, load: _Load) -> None:
    try:
        answer = await client.get("/healthz")
    except httpx.TransportError:
        load.dropped += 1
    else:
        load.answered += answer.is_success
        load.dropped += not answer.is_success
    await asyncio.sleep(_PAUSE / 4)


PROBE = Probe(claim="transport.certificates", where=Where.SCRATCH, run=run)
