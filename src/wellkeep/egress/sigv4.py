"""AWS Signature Version 4: HMAC-SHA256 over a canonical form of the request, by a key of the day and region.

Source: "Signature Version 4 signing process" of the AWS reference; held against botocore's in tests. Written here
because no botocore of our decade fits beside what else we stand on, and forty lines of HMAC need no library of
megabytes.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import quote

from wellkeep.base.secrets import Secret

_ALGORITHM = "AWS4-HMAC-SHA256"
_SAFE = "-_.~"


class Credentials(NamedTuple):
    """Who signs: an access key, and where it is a temporary one its session's token."""

    access_key_id: str
    secret_access_key: Secret[str]
    session_token: Secret[str] | None = None


Query = Sequence[tuple[str, str]]


def target(path: str, query: Query) -> str:
    """Return the request's target: path and query, encoded as they are signed."""
    encoded = _query(query)
    return _path(path) + (f"?{encoded}" if encoded else "")


def signed(
    credentials: Credentials,
    *,
    method: str,
    authority: str,
    path: str,
    query: Query,
    headers: Mapping[str, str],
    body: bytes,
    region: str,
    service: str,
    now: datetime,
) -> dict[str, str]:
    """Return `headers` (names in lower case) with those that sign the request to `service` at `now` (UTC).

    `service` is a word such as `s3` or `kms`.
    """
    moment, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    digest = sha256(body).hexdigest()
    every = {**headers, "host": authority, "x-amz-content-sha256": digest, "x-amz-date": moment}
    if credentials.session_token is not None:
        every["x-amz-security-token"] = credentials.session_token.reveal()
    names = ";".join(sorted(every))
    lines = "".join(f"{name}:{' '.join(every[name].split())}\n" for name in sorted(every))
    canonical = "\n".join((method, _path(path), _query(query), lines, names, digest))
    scope = f"{day}/{region}/{service}/aws4_request"
    text = "\n".join((_ALGORITHM, moment, scope, sha256(canonical.encode()).hexdigest()))
    key = f"AWS4{credentials.secret_access_key.reveal()}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    credential = f"{credentials.access_key_id}/{scope}"
    every["authorization"] = f"{_ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"
    return every


def _path(path: str) -> str:
    return quote(path, safe=f"/{_SAFE}")


def _query(query: Query) -> str:
    return "&".join(f"{quote(name, safe=_SAFE)}={quote(value, safe=_SAFE)}" for name, value in sorted(query))
