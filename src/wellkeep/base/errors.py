"""The one tree of errors: a stable code, an HTTP status, a message that says what to do next.

Rule: an error never holds a value that a caller, a patient or a driver supplied. Messages are literals of ours; places
are paths of names that the schema declares. The threat is an error text that carries PHI into a log, a page or a
client: the edge prints what stands here word for word, so nothing else may stand here.

The codes are the problem types of RFC 9457 that the API documents (`/problems/<code>`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One place in the input and what is wrong there.

    `path` is a JSON pointer made of declared names and array positions (an undeclared name is shown as `*`), `code` one
    of a closed vocabulary (`unknown-field`, `wrong-type`, `too-long`, `required` …). Never a value.
    """

    path: str
    code: str


class WellkeepError(Exception):
    """Anything wellkeep refuses or fails at, with what to do next."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something went wrong on our side"

    def __init__(
        self,
        message: str | None = None,
        *,
        fields: tuple[FieldProblem, ...] = (),
        retry_after: int | None = None,
        resource: UUID | None = None,
    ) -> None:
        """`message` is a literal for people; `retry_after` is in seconds; `resource` an opaque id of ours."""
        super().__init__(message or self.title)
        self.message = message or self.title
        self.fields = fields
        self.retry_after = retry_after
        self.resource = resource


class Internal(WellkeepError):
    """A fault of ours; the log has the request id, the caller gets no detail."""


class Misconfigured(WellkeepError):
    """The deployment can't start as it is; the message says what to change."""

    code = "misconfigured"
    title = "This deployment is not set up correctly"


class Validation(WellkeepError):
    """The input does not fit the schema; `fields` says where."""

    code = "validation"
    status = 422
    title = "The input does not fit the schema"


class Unauthenticated(WellkeepError):
    """No key, or one that is unknown, expired or revoked."""

    code = "unauthenticated"
    status = 401
    title = "A valid API key is needed"


class Forbidden(WellkeepError):
    """The principal may not do this; the denial is an entry."""

    code = "forbidden"
    status = 403
    title = "Your role does not permit this"


class NotFound(WellkeepError):
    """Nothing there, or nothing there for this tenant: both look the same."""

    code = "not-found"
    status = 404
    title = "There is nothing at this address"


class Conflict(WellkeepError):
    """It clashes with what is stored already."""

    code = "conflict"
    status = 409
    title = "This conflicts with what is stored"


class PreconditionFailed(WellkeepError):
    """`If-Match` names another revision than the stored one."""

    code = "precondition-failed"
    status = 412
    title = "The record has changed since you read it"


class PreconditionRequired(WellkeepError):
    """A change without `If-Match` (RFC 6585)."""

    code = "precondition-required"
    status = 428
    title = "Send If-Match with the revision that you read"


class SecondFactorRequired(WellkeepError):
    """Who holds this role must have shown a second factor; setting one up is all that is left open."""

    code = "second-factor-required"
    status = 403
    title = "Set up a second factor and sign in with it first"


class StepUpRequired(WellkeepError):
    """What is about to be done is dangerous: the second factor must have been shown within the last ten minutes."""

    code = "step-up-required"
    status = 403
    title = "Show your second factor once more, then repeat this"


class PurposeRequired(WellkeepError):
    """This tenant wants a purpose of use on each read."""

    code = "purpose-required"
    status = 400
    title = "Send X-Purpose-Of-Use"


class RateLimited(WellkeepError):
    """Too many requests; `retry_after` says when to come back."""

    code = "rate-limited"
    status = 429
    title = "Too many requests"


class BudgetExceeded(WellkeepError):
    """More records in an hour than this key may read."""

    code = "budget-exceeded"
    status = 429
    title = "The budget of records an hour is used up"


class TooLarge(WellkeepError):
    """The body is longer than the limit of this route."""

    code = "too-large"
    status = 413
    title = "The body is too large"


class LegalHold(WellkeepError):
    """A legal hold forbids the deletion."""

    code = "legal-hold"
    status = 409
    title = "A legal hold is in force"


class ApprovalNeeded(WellkeepError):
    """The act needs a second person's approval; `resource` is the request that waits for it."""

    code = "approval-needed"
    status = 409
    title = "Somebody else must approve this first"


class SubjectErased(WellkeepError):
    """The patient's keys are destroyed; nothing of theirs opens again."""

    code = "subject-erased"
    status = 410
    title = "This patient's data has been erased"


class Unavailable(WellkeepError):
    """Something we stand on does not answer; nothing was disclosed."""

    code = "unavailable"
    status = 503
    title = "The service can't answer right now"

    def __init__(self, message: str | None = None, *, retry_after: int = 2, resource: UUID | None = None) -> None:
        """`retry_after` is in seconds; `resource` names what was already stored, if anything was."""
        super().__init__(message, retry_after=retry_after, resource=resource)


class DatabaseUnavailable(Unavailable):
    """PostgreSQL is gone, hangs, is full or has no connection left."""

    title = "The database does not answer"


class LedgerUnavailable(Unavailable):
    """No entry can be written, so nothing may be read or changed."""

    code = "ledger-unavailable"
    title = "The ledger takes no entries, so nothing can be accessed"


class KeysUnavailable(Unavailable):
    """The key management service does not answer and the cache has run out."""

    code = "keys-unavailable"
    title = "The keys are not available"


class KeysRevoked(WellkeepError):
    """The tenant's root key was disabled or its use refused."""

    code = "keys-revoked"
    status = 403
    title = "The tenant's keys have been revoked"


class TenantContextRefused(WellkeepError):
    """The database refused our tenant context: an alarm, never routine."""

    title = "The tenant wall refused the request"


class IntegrityBroken(WellkeepError):
    """A stored ciphertext does not open in its place: refused and reported, never returned as a value."""

    title = "Stored data failed its integrity check; it has been reported"
