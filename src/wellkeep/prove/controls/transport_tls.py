"""transport.tls: what the listeners take is asked byte by byte, and the plain one gives nothing but directions.

The suites are offered one at a time, those that nobody should take beside those that are good; a server that takes one
of the former has failed, whatever it would have preferred. Whether the profile is Mozilla's is for somebody else's
scanner (sslyze) in the tests; this is the part that everybody can run on their own deployment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import httpx

from wellkeep.prove.deployment import Unseen
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.hello import Chosen, Version, offer
from wellkeep.prove.probe import Probe
from wellkeep.prove.stage import Stage
from wellkeep.prove.world import World

_MODERN: Final = {0x1301: "AES-128-GCM", 0x1302: "AES-256-GCM", 0x1303: "ChaCha20"}
_FORWARD_SECRET: Final = (0xC02B, 0xC02F, 0xC02C, 0xC030, 0xCCA9, 0xCCA8)
"""ECDHE with AES-GCM or ChaCha20-Poly1305 (RFC 5289, RFC 7905): all of TLS 1.2 that may be taken."""
_BAD: Final = (
    *(0x0000, 0x0001, 0x0002, 0x003B),  # no encryption
    *(0x0003, 0x0004, 0x0005, 0x0006, 0x0008, 0x0009, 0x000A, 0x0011, 0x0014, 0x0016),  # export, RC4, DES, 3DES
    *(0x002F, 0x0033, 0x0035, 0x0039, 0x003C, 0x003D, 0x0067, 0x006B, 0x0041, 0x0084),  # CBC, RSA key exchange
    *(0x009C, 0x009D, 0x009E, 0x009F, 0xCCAA, 0xC09C, 0xC09D, 0xC09E, 0xC09F),  # RSA or finite-field, CCM
    *(0x0018, 0x001B, 0x0034, 0x003A, 0x006C, 0x006D, 0x00A6, 0x00A7, 0xC018, 0xC019),  # anonymous
    *(0xC006, 0xC007, 0xC008, 0xC009, 0xC00A, 0xC010, 0xC011, 0xC012, 0xC013, 0xC014),  # ECDHE without AEAD
    *(0xC023, 0xC024, 0xC027, 0xC028, 0xC072, 0xC073, 0xC076, 0xC077, 0xC0AC, 0xC0AD, 0xC0AE, 0xC0AF),
    *(0xC02D, 0xC02E, 0xC031, 0xC032, 0xC004, 0xC005, 0x00A8, 0x00A9, 0x008C, 0x008D, 0xC035, 0xC036),  # static, PSK
)
_STRONG_GROUPS: Final = (0x001D, 0x0017, 0x0018)
"""X25519, P-256, P-384."""
_OLD: Final = (Version.SSL_3_0, Version.TLS_1_0, Version.TLS_1_1)
_ALL: Final = (*_MODERN, *_FORWARD_SECRET, *_BAD)
_WITH_DATA: Final = ("/v1/collections", "/v1/ledger/entries", "/metrics")
_MOVED: Final = {301, 308}


async def run(world: World, notes: Notes) -> None:
    """Ask both TLS listeners for what they must not take, and the plain one for data."""
    live = await world.live()
    listen = live.settings.listen
    for which, address in (("public", listen.public), ("admin", listen.admin)):
        try:
            await _versions(notes, which, address)
            await _suites(notes, which, address)
        except (OSError, TimeoutError):
            notes.blind(f"say hello to the {which} listener", why="nothing answers there")
    await _in_clear(live, notes)


async def _versions(notes: Notes, which: str, address: str) -> None:
    taken = [version for version in _OLD if await _takes(address, version, _ALL) is not None]
    newest = await _takes(address, Version.TLS_1_3, tuple(_MODERN))
    notes.check(
        f"offered SSL 3.0, TLS 1.0 and TLS 1.1 with {len(_ALL)} suites, then TLS 1.3, to the {which} listener",
        held=not taken and newest is not None and newest.version == Version.TLS_1_3,
        seen=f"TLS 1.3 {'taken' if newest else 'refused'}; of the older: "
        + (", ".join(one.name for one in taken) or "none taken"),
    )


async def _suites(notes: Notes, which: str, address: str) -> None:
    bad = [suite for suite in _BAD if await _takes(address, Version.TLS_1_2, (suite,)) is not None]
    good = [suite for suite in _FORWARD_SECRET if await _takes(address, Version.TLS_1_2, (suite,)) is not None]
    modern = [suite for suite in _MODERN if await _takes(address, Version.TLS_1_3, (suite,)) is not None]
    notes.check(
        f"offered each of {len(_BAD)} suites without forward secrecy or AEAD alone to the {which} listener",
        held=not bad and bool(modern),
        seen=f"{len(bad)} taken ({', '.join(f'{one:04X}' for one in bad[:5])})"
        if bad
        else f"none taken; of the good ones {len(good)} in TLS 1.2 and {len(modern)} in TLS 1.3",
    )


async def _takes(address: str, version: Version, suites: Sequence[int]) -> Chosen | None:
    """Return what the server took of `suites` in exactly this `version`."""
    chosen = await offer(address, version=version, suites=suites, groups=_STRONG_GROUPS)
    return chosen if chosen is not None and chosen.version == version else None


async def _in_clear(live: Stage, notes: Notes) -> None:
    """Ask the plain listener for what only TLS may carry, with a key and without."""
    key = live.a.keys["integration"].reveal()
    base = f"http://{live.settings.listen.plain}"
    wrong, leaked = [], []
    try:
        async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=30) as client:
            page = await client.get("/trust")
            for path in _WITH_DATA:
                # Not quite the key: a true key sent in clear would count as exposed, rightly.
                for headers in ({}, {"Authorization": f"Bearer {key[:-4]}0000"}):
                    answer = await client.get(path, headers=headers)
                    wrong += [path] if answer.is_success else []
                    leaked += [path] if live.a.name.encode() in answer.content else []
    except httpx.TransportError as error:
        raise Unseen("the plain listener does not answer") from error
    away = page.status_code in _MOVED and page.headers.get("location", "").startswith("https://")
    notes.check(
        f"asked the plain listener for a page and, with a key and without, for {len(_WITH_DATA)} addresses with data",
        held=away and not page.content and not wrong and not leaked,
        seen="the page: moved to https, nothing in the answer; the others: refused"
        if away and not wrong
        else f"the page: HTTP {page.status_code}; answered in clear: {', '.join(wrong + leaked) or 'nothing'}",
    )


PROBE = Probe(claim="transport.tls", where=Where.LIVE, run=run)
