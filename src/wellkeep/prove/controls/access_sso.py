"""access.sso: a provider signs somebody in with PKCE; what is forged, replayed, expired or another's signs nobody in.

The provider is the probe's own, an HTTPS server on loopback that a scratch deployment may connect to. The tests of the
package do the same with an independent implementation.
"""

from __future__ import annotations

from typing import Any, Final

import httpx

from wellkeep.prove.deployment import Unseen, created
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.identity import CLIENT, FORGERIES, GROUP, IdentityProvider, identity_provider
from wellkeep.prove.people import Browser
from wellkeep.prove.probe import Probe
from wellkeep.prove.scratch import IDENTITY, Scratch
from wellkeep.prove.world import World

_NAME: Final = "probe"
_SEE_OTHER: Final = httpx.codes.SEE_OTHER
_CALLBACK: Final = "/v1/sign-in/callback"


async def run(world: World, notes: Notes) -> None:
    """Register the provider, sign in, then try every forgery."""
    scratch = await world.scratch()
    home = scratch.home
    address = f"localhost:{scratch.identity_port}"
    pair = (home.resolve(f"secrets/{IDENTITY}.crt"), home.resolve(f"secrets/{IDENTITY}.key"))
    clock = scratch.operator.core.clock
    async with identity_provider(address, certificate=pair[0], key=pair[1], clock=clock) as provider:
        administrator = await scratch.client(scratch.a.keys["administrator"], admin=True)
        base = f"/v1/tenants/{scratch.a.id}/providers"
        made = await created(administrator, base, _definition(provider))
        try:
            await _honest(scratch, notes, provider)
            await _forged(scratch, notes, provider)
            await _replayed(scratch, notes, provider)
        finally:
            await administrator.delete(f"{base}/{made['id']}")


def _definition(provider: IdentityProvider) -> dict[str, Any]:
    return {
        "name": _NAME,
        "issuer": provider.issuer,
        "client_id": CLIENT,
        "places": [IDENTITY],
        "roles": [{"claim": "groups", "value": GROUP, "role": "clinician"}],
    }


async def _sent(scratch: Scratch, browser: Browser) -> str:
    """Follow the link of the sign-in page; return where the browser is sent. Raises Unseen."""
    answer = await browser.send("GET", f"/v1/sign-in/{scratch.a.name}/{_NAME}")
    if answer.status_code != _SEE_OTHER:
        raise Unseen(f"the sign-in at a provider does not begin (HTTP {answer.status_code})")
    return str(answer.headers["location"])


async def _inside(browser: Browser) -> bool:
    return (await browser.send("GET", "/v1/session")).is_success


async def _honest(scratch: Scratch, notes: Notes, provider: IdentityProvider) -> None:
    async with Browser(scratch) as browser:
        back = provider.page(await _sent(scratch, browser))
        done = await browser.send("GET", f"{_CALLBACK}?{back}")
        who = await browser.send("GET", "/v1/session")
    roles = who.json().get("roles") if who.is_success else None
    notes.check(
        "signed in at an identity provider that takes no code without PKCE",
        held=done.status_code == _SEE_OTHER and roles == ["clinician"] and not provider.without_pkce,
        seen=f"in, as {', '.join(roles)}, by the role that the provider's claims are mapped to"
        if roles
        else f"HTTP {done.status_code}, {who.status_code}",
    )


async def _forged(scratch: Scratch, notes: Notes, provider: IdentityProvider) -> None:
    through, untried = [], []
    for name, forge in FORGERIES.items():
        provider.forge = forge
        async with Browser(scratch) as browser:
            done = await browser.send("GET", f"{_CALLBACK}?{provider.page(await _sent(scratch, browser))}")
            through += [name] if done.status_code == _SEE_OTHER or await _inside(browser) else []
            untried += [name] if done.status_code not in {_SEE_OTHER, httpx.codes.UNAUTHORIZED} else []
    provider.forge = None
    if untried:  # something else refused it
        raise Unseen(f"tokens were not judged: {', '.join(untried)}")
    notes.check(
        f"had the provider answer with {len(FORGERIES)} tokens: {', '.join(FORGERIES)}",
        held=not through,
        seen="none signed anybody in" if not through else f"taken: {', '.join(through)}",
    )


async def _replayed(scratch: Scratch, notes: Notes, provider: IdentityProvider) -> None:
    """Use a way back twice, and in another browser than the one that began."""
    async with Browser(scratch) as first, Browser(scratch) as thief:
        back = provider.page(await _sent(scratch, first))
        stolen = await thief.send("GET", f"{_CALLBACK}?{back}")
        stolen_in = await _inside(thief)
        again = provider.page(await _sent(scratch, first))
        once = await first.send("GET", f"{_CALLBACK}?{again}")
        twice = await first.send("GET", f"{_CALLBACK}?{again}")
    one_in = once.status_code == _SEE_OTHER and twice.status_code != _SEE_OTHER
    held = stolen.status_code != _SEE_OTHER and not stolen_in and one_in
    notes.check(
        "sent a way back from another browser, and one twice",
        held=held,
        seen="each signed in once at most, in the browser that began"
        if held
        else f"HTTP {stolen.status_code}, {once.status_code}, {twice.status_code}",
    )


PROBE = Probe(claim="access.sso", where=Where.SCRATCH, run=run)
