"""The part of the reviewed table that is about who has access: reviews, what nobody uses, leavers."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from wellkeep.base.ids import uuid7
from wellkeep.prove.people_requests import Line


@dataclass(frozen=True, slots=True)
class Looked:
    """A review, an item of it that waits, and who leaves; what is not given exists nowhere."""

    review: UUID = field(default_factory=uuid7)
    item: UUID = field(default_factory=uuid7)
    leaver: UUID = field(default_factory=uuid7)
    opens: bool = False


def reviews(at: Looked, *, base: str, prefix: str) -> list[Line]:
    """Return the requests below `base`: the decision closes the review, so that the next one can be opened.

    Where nothing is to be opened, the review that is asked for would be due too late.
    """
    all_of_them, one = f"{base}/reviews", f"{base}/reviews/{at.review}"
    read, days = "review:read", 14 if at.opens else 366
    return [
        (f"{prefix}review_list", read, "GET", all_of_them, None, True),
        (f"{prefix}review_unused", read, "GET", f"{all_of_them}/unused", None, True),
        (f"{prefix}review_get", read, "GET", one, None, True),
        (f"{prefix}review_report", read, "GET", f"{one}/report", None, True),
        (f"{prefix}review_decide", "review:decide", "POST", f"{one}/items/{at.item}", {"decision": "keep"}, True),
        (f"{prefix}review_open", "review:open", "POST", all_of_them, {"days": days}, True),
        (f"{prefix}user_leave", "user:change", "POST", f"{base}/users/{at.leaver}/leave", None, True),
    ]
