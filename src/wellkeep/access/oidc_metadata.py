"""What an identity provider says of itself (OpenID Connect Discovery 1.0, RFC 8414), and what of it we believe.

Rules: the issuer in the document is, letter by letter, the one that was registered; every address is https, without a
user or a fragment; there is the code flow, and where methods of PKCE are named S256 is one of them. An issuer with a
place to fill in (`{tenantid}`), or one of Microsoft's that stands for everybody, is refused: tokens of any customer of
the provider's would be good. The threats: a mix-up of two providers, and a document that sends the secret elsewhere;
where requests go is decided by the list of places all the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import SplitResult, urlsplit

from wellkeep.access.oidc_errors import ProviderUnusable
from wellkeep.access.oidc_tokens import ALGORITHMS

ClientAuthentication = Literal["client_secret_basic", "client_secret_post", "none"]

_ISSUER = re.compile(r"https://[a-z0-9][a-z0-9.-]{0,251}(:[0-9]{1,5})?(/[A-Za-z0-9._~%-]{1,200}){0,8}/?")
_ADDRESS = re.compile(r"https://[!-~]{1,1000}")
_EVERYBODY = frozenset({"common", "organizations", "consumers"})
_HTTPS = 443


@dataclass(frozen=True, slots=True)
class Metadata:
    """A provider's document, checked."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    authentications: frozenset[str]
    algorithms: frozenset[str]
    announces_issuer: bool


def is_issuer(text: str) -> bool:
    """Say whether `text` may be registered as an issuer: https, one spelling, of one customer of the provider's."""
    if len(text) > 500 or _ISSUER.fullmatch(text) is None:  # noqa: PLR2004 -- as the table says
        return False
    parts = urlsplit(text)
    first = parts.path.strip("/").split("/")[0].lower()
    return _ported(parts) and not (first in _EVERYBODY and parts.netloc.startswith("login.microsoftonline."))


def is_address(text: str) -> bool:
    """Say whether `text` is an https address without a user and a fragment."""
    if _ADDRESS.fullmatch(text) is None:
        return False
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return _ported(parts) and bool(parts.hostname) and "@" not in parts.netloc and "#" not in text and "\\" not in text


def discovery_address(issuer: str) -> str:
    """Return where an issuer's document is, unless it was registered otherwise."""
    return issuer.removesuffix("/") + "/.well-known/openid-configuration"


def authority(address: str) -> tuple[str, int]:
    """Return host and port of an https address that was checked."""
    parts = urlsplit(address)
    return (parts.hostname or "").removesuffix("."), parts.port or _HTTPS


def read_metadata(document: dict[str, Any], *, issuer: str) -> Metadata:
    """Return what `document` says. Raises ProviderUnusable where it is not what it must be."""
    if document.get("issuer") != issuer:
        raise ProviderUnusable("issuer")
    if "code" not in _names(document, "response_types_supported", otherwise=("code",)):
        raise ProviderUnusable("no-code-flow")
    if "S256" not in _names(document, "code_challenge_methods_supported", otherwise=("S256",)):
        raise ProviderUnusable("no-pkce")
    algorithms = ALGORITHMS & _names(document, "id_token_signing_alg_values_supported", otherwise=("RS256",))
    if not algorithms:
        raise ProviderUnusable("no-algorithm")
    return Metadata(
        issuer=issuer,
        authorization_endpoint=_address(document, "authorization_endpoint"),
        token_endpoint=_address(document, "token_endpoint"),
        jwks_uri=_address(document, "jwks_uri"),
        authentications=_names(document, "token_endpoint_auth_methods_supported", otherwise=("client_secret_basic",)),
        algorithms=algorithms,
        announces_issuer=document.get("authorization_response_iss_parameter_supported") is True,
    )


def authentication(metadata: Metadata, *, secret: bool) -> ClientAuthentication:
    """Return how the client shows who it is at the token endpoint. Raises ProviderUnusable where no way is ours."""
    if not secret:
        return "none"
    if "client_secret_basic" in metadata.authentications:
        return "client_secret_basic"
    if "client_secret_post" in metadata.authentications:
        return "client_secret_post"
    raise ProviderUnusable("no-client-authentication")


def _address(document: dict[str, Any], name: str) -> str:
    found = document.get(name)
    if not isinstance(found, str) or not is_address(found):
        raise ProviderUnusable("endpoint")
    return found


def _names(document: dict[str, Any], name: str, *, otherwise: tuple[str, ...]) -> frozenset[str]:
    found = document.get(name, list(otherwise))
    if not isinstance(found, list):
        raise ProviderUnusable("malformed")
    return frozenset(one for one in found if isinstance(one, str))


def _ported(parts: SplitResult) -> bool:
    try:
        return parts.port is None or 1 <= parts.port  # noqa: SIM300 -- read as a range: the library refuses above it
    except ValueError:
        return False
