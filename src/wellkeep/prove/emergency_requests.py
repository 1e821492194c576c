"""The part of the reviewed table that is about emergencies: stepping into an account, breaking a glass.

What a key is permitted here, it is permitted upon things that are not there; what only persons do, no key does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from wellkeep.base.ids import uuid7
from wellkeep.prove.people_requests import Line

_WHY = "A probe asks whether one may"
_FAR = "2100-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What the requests are about; what is not given exists nowhere.

    Two impersonations to be ended, one on each listener; the person whose account is stepped into; a permit to be
    taken back, and until when another is given; a broken glass that waits for its review.
    """

    stepped_in: tuple[UUID, UUID] = field(default_factory=lambda: (uuid7(), uuid7()))
    target: UUID = field(default_factory=uuid7)
    permit: UUID = field(default_factory=uuid7)
    until: str = _FAR
    glass: UUID = field(default_factory=uuid7)


def emergencies(subject: UUID, scene: Scene) -> list[Line]:
    """Return the requests of the public listener."""
    stepping, permits, glass = "/v1/impersonations", "/v1/impersonation-permits", f"/v1/break-glass/{scene.glass}"
    asked: dict[str, object] = {"subject": str(subject), "reason": _WHY}
    said: dict[str, object] = {"verdict": "justified", "note": _WHY}
    return [
        *_seen(stepping, scene.stepped_in[0]),
        ("impersonation_permits", "impersonation:read", "GET", permits, None, True),
        ("impersonation_permit", "impersonation:permit", "POST", permits, {"until": scene.until}, True),
        ("impersonation_withdraw", "impersonation:end", "DELETE", f"{permits}/{scene.permit}", None, True),
        ("glass_list", "glass:read", "GET", "/v1/break-glass", None, True),
        ("glass_get", "glass:read", "GET", glass, None, True),
        ("glass_break", "glass:break", "POST", "/v1/break-glass", asked, True),
        ("glass_review", "glass:review", "POST", f"{glass}/review", said, True),
    ]


def own_glass() -> Line:
    """Return the request about an emergency of one's own."""
    return ("glass_end", "account:use", "POST", f"/v1/break-glass/{uuid7()}/end", None, True)


def staff(tenant: UUID, scene: Scene) -> list[Line]:
    """Return the requests of the administration's listener."""
    stepping = "/v1/impersonations"
    asked: dict[str, object] = {"tenant": str(tenant), "person": str(scene.target), "reason": _WHY}
    return [
        *_seen(stepping, scene.stepped_in[1]),
        ("impersonation_start", "impersonation:start", "POST", stepping, asked, True),
    ]


def _seen(stepping: str, one: UUID) -> list[Line]:
    return [
        ("impersonation_list", "impersonation:read", "GET", stepping, None, True),
        ("impersonation_end", "impersonation:end", "POST", f"{stepping}/{one}/end", None, True),
    ]
