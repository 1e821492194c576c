"""The command line as a client of the API: TLS checked, the key from the environment, problems told in words.

The key is read from `WELLKEEP_API_KEY`, never from an argument: arguments are visible to every user of the machine.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, NoReturn, Self

import httpx
import msgspec

from wellkeep.base.errors import WellkeepError
from wellkeep.base.settings import Settings, load
from wellkeep.cli.console import refuse, refuse_error

_ATTEMPTS = 5
_TIMEOUT_SECONDS = 60.0


class Problem(msgspec.Struct):
    """A problem document (RFC 9457) as the API sends it; what is missing stays empty."""

    title: str = ""
    detail: str = ""
    status: int = 0
    request_id: str = ""
    errors: list[dict[str, str]] = msgspec.field(default_factory=list)


class ApiClient:
    """One connection to one deployment's API."""

    def __init__(self, *, base_url: str, key: str, verify: Any) -> None:
        """Talk to `base_url`; `verify` is an SSL context that trusts the deployment's certificate."""
        self._http = httpx.Client(
            base_url=base_url,
            headers={"Authorization": f"Bearer {key}"},
            verify=verify,
            timeout=_TIMEOUT_SECONDS,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._http.close()

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send one request and return its answer; an unavailable service is asked again, any other refusal ends us.

        Repeating is safe for what this client sends: reads, and writes that are idempotent by number or key.
        """
        answer: httpx.Response | None = None
        for attempt in range(_ATTEMPTS):
            try:
                answer = self._http.request(method, path, **options)
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            time.sleep(min(0.5 * 2**attempt, 5.0))
        if answer is None:
            refuse(
                f"Nothing answers at {self._http.base_url}.",
                hint="Start the server with: wellkeep serve, or name another one with --url.",
            )
        if not answer.is_success:
            _explain(answer)
        return answer

    def json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Send one request and return the JSON object that answers it."""
        found = msgspec.json.decode(self.request(method, path, **options).content)
        if not isinstance(found, dict):
            refuse("The answer is not the one this version expects.", hint="Is --url a wellkeep of this version?")
        return found


def _explain(answer: httpx.Response) -> NoReturn:
    try:
        problem = msgspec.json.decode(answer.content, type=Problem)
    except msgspec.MsgspecError:
        problem = Problem(title="The server refused", status=answer.status_code)
    places = "".join(f"\n  {one.get('path', '')}: {one.get('code', '')}" for one in problem.errors)
    detail = problem.detail if problem.detail != problem.title else ""
    text = ". ".join(part.rstrip(".") for part in (problem.title, detail) if part)
    refuse(
        f"{text}.{places}",
        hint=f"HTTP {answer.status_code}, request {problem.request_id}" if problem.request_id else None,
    )


def connect(home: Path, *, url: str | None) -> ApiClient:
    """Return a client for the deployment in `home`, or for `url`, with the key of `WELLKEEP_API_KEY`."""
    key = os.environ.get("WELLKEEP_API_KEY")
    if not key:
        refuse(
            "This command reads or writes patients' data, so it needs an API key.",
            hint="export WELLKEEP_API_KEY=wk_…  Make one: wellkeep apikey create --tenant NAME --role integration",
        )
    if url is not None:
        return ApiClient(base_url=url, key=key, verify=httpx.create_ssl_context())
    try:
        settings = load(home)
    except WellkeepError as error:
        refuse_error(error)
    return ApiClient(base_url=f"https://{settings.listen.public}", key=key, verify=trust(home, settings))


def trust(home: Path, settings: Settings) -> Any:
    """Return an SSL context that trusts the public authorities and this deployment's own certificate."""
    context = httpx.create_ssl_context()
    certificate = home / settings.tls.certificate
    if certificate.exists():
        context.load_verify_locations(certificate)
    return context
