"""What a sign-in at an identity provider can end with, besides success.

Rule: to the outside every refusal reads the same; which check refused is a code for findings and tests. No part of a
token, an answer or an address of the provider stands in either.
"""

from __future__ import annotations

from wellkeep.base.errors import Unauthenticated, Unavailable


class ProviderRefused(Unauthenticated):
    """What came from the provider, or in its name, is not accepted; `reason` is the code of the check."""

    def __init__(self, reason: str) -> None:
        """`reason` is a literal of ours, such as `nonce`."""
        super().__init__("What the identity provider answered was not accepted. Begin to sign in again.")
        self.reason = reason


class ProviderUnusable(Unavailable):
    """The provider can't be reached or answers what it should not; `reason` is the code of what is wrong."""

    def __init__(self, reason: str) -> None:
        """`reason` is a literal of ours, such as `status`."""
        super().__init__(
            "The identity provider does not answer as it should. Try again later; "
            "who has a password here may sign in with it.",
            retry_after=30,
        )
        self.reason = reason
