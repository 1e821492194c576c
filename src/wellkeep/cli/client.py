"""The command line as a client of the API: TLS checked, the key from the environment, problems told in words.

The key is read from `WELLKEEP_API_KEY`, never from an argument: arguments are visible to every user of the machine. It
is sent over TLS alone: to the deployment of this home, whose one certificate is trusted, or to an address with
`https://` that the machine's authorities vouch for.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn, Self

import httpx
import msgspec
import typer

from wellkeep.assembly.pinning import pinned
from wellkeep.base.errors import WellkeepError
from wellkeep.base.settings import default_home, load
from wellkeep.cli.console import WRONG_USAGE, refuse, refuse_error

_ATTEMPTS = 6
_FIRST_ATTEMPTS = 2
"""A server that never answered is not started yet; one that did may be starting anew."""
_LONGEST_PAUSE_SECONDS = 5.0
_TIMEOUT_SECONDS = 60.0
_PROBLEM_BYTES = 64 << 10

Url = Annotated[str | None, typer.Option("--url", help="Another API than the deployment's own, https://host:port")]


class Problem(msgspec.Struct):
    """A problem document (RFC 9457) as the API sends it; what is missing stays empty."""

    title: str = ""
    detail: str = ""
    status: int = 0
    request_id: str = ""
    errors: list[dict[str, str]] = msgspec.field(default_factory=list)


class ApiClient:
    """One connection to one deployment's API."""

    def __init__(self, *, base_url: str, key: str, verify: ssl.SSLContext) -> None:
        """Talk to `base_url`; `verify` says which certificates are trusted."""
        self._answered = False
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

    def request(self, method: str, path: str, *, expected: tuple[int, ...] = (), **options: Any) -> httpx.Response:
        """Send one request and return its answer; an unavailable service is asked again, any other refusal ends us.

        A status of `expected` is the caller's to read. Repeating is safe for what this client sends: reads, and writes
        that are idempotent by number or key.
        """
        answer: httpx.Response | None = None
        for attempt in range(_ATTEMPTS if self._answered else _FIRST_ATTEMPTS):
            if attempt:
                time.sleep(min(0.5 * 2**attempt, _LONGEST_PAUSE_SECONDS))
            try:
                answer = self._http.request(method, path, **options)
            except httpx.TransportError as error:
                self._refuse_stranger(error)
                answer = None
            self._answered |= answer is not None
            if answer is not None and answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
        if answer is None:
            self._nothing_answers()
        if not answer.is_success and answer.status_code not in expected:
            explain(answer.status_code, answer.content)
        return answer

    def json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Send one request and return the JSON object that answers it."""
        return self.decoded(self.request(method, path, **options))

    def decoded(self, answer: httpx.Response) -> dict[str, Any]:
        """Return the JSON object of `answer`."""
        try:
            found = msgspec.json.decode(answer.content)
        except msgspec.DecodeError:
            found = None
        if not isinstance(found, dict):
            refuse("The answer is not the one this version expects.", hint="Is --url a wellkeep of this version?")
        return found

    @contextmanager
    def stream(self, path: str) -> Iterator[Iterator[bytes]]:
        """Lend the body that answers a GET in pieces; what breaks off on the way raises httpx.TransportError."""
        with self._http.stream("GET", path) as answer:
            if not answer.is_success:
                explain(answer.status_code, answer.read()[:_PROBLEM_BYTES])
            yield answer.iter_raw()

    def _refuse_stranger(self, error: httpx.TransportError) -> None:
        """End where the server could not prove who it is: asking again would not change that."""
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLCertVerificationError):
                refuse(
                    f"Whoever answers at {self._http.base_url} has no certificate that is trusted here.",
                    hint="Is another server at this address? For an authority of your own: SSL_CERT_FILE=/its/ca.crt",
                )
            cause = cause.__cause__ or cause.__context__

    def _nothing_answers(self) -> NoReturn:
        refuse(
            f"Nothing answers at {self._http.base_url}.",
            hint="Start the server with: wellkeep serve, or name another one with --url.",
        )


def explain(status: int, content: bytes) -> NoReturn:
    """Tell what a refusal says, and end."""
    try:
        problem = msgspec.json.decode(content, type=Problem)
    except msgspec.MsgspecError:
        problem = Problem(title="The server refused", status=status)
    places = "".join(f"\n  {one.get('path', '')}: {one.get('code', '')}" for one in problem.errors)
    detail = problem.detail if problem.detail != problem.title else ""
    text = ". ".join(part.rstrip(".") for part in (problem.title, detail) if part)
    refuse(
        f"{text}.{places}",
        hint=f"HTTP {status}, request {problem.request_id}" if problem.request_id else f"HTTP {status}",
    )


def connect(home: Path | None, *, url: str | None, role: str = "integration") -> ApiClient:
    """Return a client for the deployment in `home`, or for `url`, with the key of `WELLKEEP_API_KEY`.

    `role` is one that a key for the command would have.
    """
    key = os.environ.get("WELLKEEP_API_KEY")
    if not key:
        refuse(
            "This command acts for a tenant, through the API, so it needs an API key.",
            hint=f"export WELLKEEP_API_KEY=wk_…  Make one: wellkeep apikey create --tenant NAME --role {role}",
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        refuse("WELLKEEP_API_KEY holds no API key.", hint="It begins with wk_ and has no blanks in it.")
    if url is not None:
        if not url.startswith("https://"):
            refuse("--url must begin with https://, for the key is never sent in clear.", code=WRONG_USAGE)
        return ApiClient(base_url=url, key=key, verify=httpx.create_ssl_context())
    where = (home or default_home()).absolute()
    try:
        settings = load(where)
    except WellkeepError as error:
        refuse_error(error)
    certificate = where / settings.tls.certificate
    return ApiClient(base_url=f"https://{settings.listen.public}", key=key, verify=pinned(certificate))
