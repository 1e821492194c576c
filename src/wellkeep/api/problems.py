"""Problem documents (RFC 9457): one for each error, with a stable type, and never a value.

Rules: what is shown is a literal of ours (`WellkeepError.message`), the paths of declared names and the request id.
Texts of msgspec, Litestar, uvicorn and asyncpg quote keys, values and headers, so none is passed on: an exception that
is not ours becomes a problem by its class alone. The threat is an error that discloses what it refused.
"""

from __future__ import annotations

from uuid import UUID

import msgspec
from litestar.exceptions import ClientException, HTTPException, MethodNotAllowedException, NotFoundException

from wellkeep.api.answers import JSON_PROBLEM, Answer
from wellkeep.base import errors
from wellkeep.base.errors import FieldProblem, WellkeepError

TYPE_ROOT = "/problems/"


class MalformedRequest(WellkeepError):
    """The request is no well-formed HTTP of ours: a header given twice, a path that can't be decoded."""

    code = "malformed-request"
    status = 400
    title = "The request is malformed"


class MethodNotAllowed(WellkeepError):
    """The address exists, this method on it does not; `Allow` names those that do."""

    code = "method-not-allowed"
    status = 405
    title = "This address does not take that method"


class UnsupportedMediaType(WellkeepError):
    """The body is in a format or encoding that this address does not take."""

    code = "unsupported-media-type"
    status = 415
    title = "This address does not take that content type"


class HeadersTooLarge(WellkeepError):
    """The request's head is longer than 16 KiB or has more than 64 headers."""

    code = "headers-too-large"
    status = 431
    title = "The headers are too large"


class RequestTimeout(WellkeepError):
    """The request's body did not arrive in time."""

    code = "request-timeout"
    status = 408
    title = "The request did not arrive in time"


class HttpsRequired(WellkeepError):
    """The API was called without TLS; a key sent that way counts as exposed."""

    code = "https-required"
    status = 403
    title = "The API is served over HTTPS alone"


CATALOGUE: tuple[type[WellkeepError], ...] = (
    errors.Validation,
    MalformedRequest,
    errors.Unauthenticated,
    errors.Forbidden,
    errors.NotFound,
    MethodNotAllowed,
    RequestTimeout,
    errors.Conflict,
    errors.SubjectErased,
    errors.PreconditionFailed,
    errors.TooLarge,
    UnsupportedMediaType,
    errors.PreconditionRequired,
    errors.PurposeRequired,
    errors.SecondFactorRequired,
    errors.StepUpRequired,
    errors.RateLimited,
    errors.BudgetExceeded,
    HeadersTooLarge,
    errors.LegalHold,
    errors.ApprovalNeeded,
    HttpsRequired,
    errors.KeysRevoked,
    errors.Internal,
    errors.Unavailable,
    errors.LedgerUnavailable,
    errors.KeysUnavailable,
)
"""Every problem type that an answer may have, once a code."""

_KNOWN_CODES = frozenset(kind.code for kind in CATALOGUE)


class Place(msgspec.Struct, frozen=True):
    """One place in the input and what is wrong there: a JSON pointer of declared names, and a code."""

    path: str
    code: str


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """A problem document. `request_id` is the request id, `resource` what was already stored, if anything was."""

    type: str
    title: str
    status: int
    detail: str
    request_id: UUID
    errors: tuple[Place, ...] = ()
    resource: UUID | None = None


def translate(error: BaseException) -> WellkeepError:
    """Return the error of ours that stands for `error`, by its class alone."""
    if isinstance(error, WellkeepError):
        return error if error.code in _KNOWN_CODES else errors.Internal()
    if isinstance(error, NotFoundException):
        return errors.NotFound()
    if isinstance(error, MethodNotAllowedException):
        return MethodNotAllowed()
    if isinstance(error, ClientException) or (isinstance(error, HTTPException) and error.status_code < 500):  # noqa: PLR2004
        return MalformedRequest()
    if isinstance(error, TimeoutError):
        return errors.Unavailable("The request took too long and was given up. Repeat it.")
    return errors.Internal()


def document(error: WellkeepError, *, request: UUID) -> Problem:
    """Return the problem document of `error`; an internal one tells no more than its title."""
    internal = error.code == errors.Internal.code
    return Problem(
        type=TYPE_ROOT + error.code,
        title=errors.Internal.title if internal else type(error).title,
        status=error.status,
        detail=error.title if internal else error.message,
        request_id=request,
        errors=tuple(Place(field.path, field.code) for field in error.fields),
        resource=error.resource,
    )


def answer(error: WellkeepError, *, request: UUID, allow: str | None = None) -> Answer:
    """Return `error` as an answer, with the headers that its type demands."""
    headers: list[tuple[bytes, bytes]] = []
    if error.retry_after is not None:
        headers.append((b"retry-after", str(error.retry_after).encode()))
    if error.status == errors.Unauthenticated.status:
        headers.append((b"www-authenticate", b'Bearer realm="wellkeep"'))
    if allow is not None:
        headers.append((b"allow", allow.encode()))
    if error.status in _LEAVES_BODY_UNREAD:
        headers.append((b"connection", b"close"))
    body = msgspec.json.encode(document(error, request=request))
    return Answer(error.status, body, media=JSON_PROBLEM, headers=headers)


_LEAVES_BODY_UNREAD = frozenset({errors.TooLarge.status, RequestTimeout.status})


def status_of(code: str) -> int:
    """Return the HTTP status of a problem's code; what is no code of ours is a fault of ours."""
    return next((kind.status for kind in CATALOGUE if kind.code == code), errors.Internal.status)


def validation(path: str, code: str, message: str | None = None) -> errors.Validation:
    """Return the refusal of one place in the input."""
    return errors.Validation(message, fields=(FieldProblem(path, code),))
