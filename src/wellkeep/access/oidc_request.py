"""A sign-in that goes through a provider: what is sent there, what stays with the browser, what the database keeps.

Rules: `state` names the sign-in and is good once; the browser holds a secret of its own in a `__Host-` cookie, so what
another browser began can't be ended here; the nonce and the verifier of PKCE (RFC 7636, S256 alone) follow from that
secret under a key of the deployment and are kept nowhere. The threats: a code that somebody slips into another's
browser or takes out of it, and an answer that comes a second time.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode
from uuid import UUID

from wellkeep.access import session_format
from wellkeep.access.account_secrets import AccountSecrets
from wellkeep.access.oidc_json import to_base64url
from wellkeep.access.oidc_metadata import Metadata
from wellkeep.access.oidc_tokens import FRESH
from wellkeep.base.secrets import Secret

COOKIE: Final = "__Host-wk_signing_in"
COOKIE_SECONDS: Final = 600
CALLBACK: Final = "/v1/sign-in/callback"
_COOKIE_BYTES = 32


@dataclass(frozen=True, slots=True)
class Bound:
    """What binds a sign-in to one browser: the value of its cookie, and what follows from it."""

    browser: Secret[str]
    nonce: str
    verifier: Secret[str]

    @property
    def digest(self) -> bytes:
        """What the database keeps of the cookie."""
        return session_format.digest(self.browser.reveal())

    @property
    def challenge(self) -> str:
        """What the provider gets of the verifier (RFC 7636, section 4.2)."""
        return to_base64url(hashlib.sha256(self.verifier.reveal().encode("ascii")).digest())


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What a provider is asked for, as it was registered."""

    client_id: str
    redirect_uri: str
    scopes: tuple[str, ...] = ()
    second_factor: tuple[str, ...] = ()
    prompt: str | None = None


def new_browser() -> str:
    """Return a new value of the cookie: 64 hex digits."""
    return os.urandom(_COOKIE_BYTES).hex()


def bound(secrets: AccountSecrets, *, sign_in: UUID, browser: str) -> Bound:
    """Return what binds `sign_in` to the browser with this cookie."""
    parts = sign_in.bytes, browser.encode("utf-8", "surrogatepass")
    nonce = to_base64url(secrets.lane(b"oidc-nonce", *parts))
    return Bound(Secret(browser), nonce, Secret(to_base64url(secrets.lane(b"oidc-verifier", *parts))))


def authorisation_address(metadata: Metadata, asking: Asking, *, state: str, binding: Bound) -> str:
    """Return where the browser is sent (OpenID Connect Core 1.0, section 3.1.2.1)."""
    query = {
        "response_type": "code",
        "response_mode": "query",
        "client_id": asking.client_id,
        "redirect_uri": asking.redirect_uri,
        "scope": " ".join(dict.fromkeys(("openid", *asking.scopes))),
        "state": state,
        "nonce": binding.nonce,
        "code_challenge": binding.challenge,
        "code_challenge_method": "S256",
    }
    if asking.prompt is not None:
        query["prompt"] = asking.prompt
    if asking.second_factor:  # a second factor counts that was shown just now: the provider says when
        query["max_age"] = str(int(FRESH))
    separator = "&" if "?" in metadata.authorization_endpoint else "?"
    return metadata.authorization_endpoint + separator + urlencode(query)
