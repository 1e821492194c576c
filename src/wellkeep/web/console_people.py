"""The pages of a tenant's people, made of what they are handed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from wellkeep.access.people import Person
from wellkeep.web import rendering
from wellkeep.web.console import Frame


def everybody(frame: Frame, people: Sequence[Person], roles: Sequence[str], *, at: datetime) -> bytes:
    """Return the page of all of them; `roles` are those that an invitation can give."""
    return rendering.page(
        "people.html", frame=frame, people=people, roles=roles, at=at, ago=lambda when: rendering.age(at - when)
    )


def somebody(frame: Frame, person: Person, roles: Sequence[str], *, at: datetime, oneself: bool) -> bytes:
    """Return the page of one; nobody changes `oneself` there."""
    return rendering.page(
        "person.html",
        frame=frame,
        person=person,
        roles=[role for role in roles if role not in person.roles],
        oneself=oneself,
        ago=lambda when: rendering.age(at - when),
    )
