"""The records that both sides store: eight fields of made-up people, three of them indexed."""

from __future__ import annotations

import random
from typing import Any

INDEXED = ("mrn", "ssn", "email")
COLLECTION = "charts"
DECLARATION: dict[str, Any] = {
    "name": COLLECTION,
    "subject": "required",
    "fields": [
        {"name": "mrn", "type": "string", "class": "pii", "index": "exact", "normaliser": "identifier"},
        {"name": "ssn", "type": "string", "class": "pii", "index": "exact", "normaliser": "digits"},
        {"name": "email", "type": "string", "class": "pii", "index": "exact", "normaliser": "email"},
        {"name": "family", "type": "string", "class": "pii"},
        {"name": "given", "type": "string", "class": "pii"},
        {"name": "birth_date", "type": "date", "class": "pii"},
        {"name": "phone", "type": "string", "class": "pii"},
        {"name": "note", "type": "text", "class": "phi"},
    ],
}
_FAMILIES = ("Okafor", "Nguyen", "García", "Smith", "Haddad", "Müller", "Kowalski", "Tanaka", "Silva", "Cohen")
_GIVEN = ("Ada", "Bo", "Chinwe", "Dolores", "Emre", "Fatima", "Grace", "Hana", "Ivan", "Jia")
_NOTE = "Seen for follow-up; tolerates the new dose well, sleeps better, wants to walk more. Review in six weeks."


def fields(number: int, chance: random.Random) -> dict[str, str]:
    """Return the fields of record `number`; what is indexed is nobody else's."""
    family, given = chance.choice(_FAMILIES), chance.choice(_GIVEN)
    return {
        "mrn": f"MRN-{number:09d}",
        "ssn": f"{900 + number // 1_000_000 % 100:03d}-{number // 10_000 % 100:02d}-{number % 10_000:04d}",
        "email": f"{given.lower()}.{number}@example.org",
        "family": family,
        "given": given,
        "birth_date": f"{chance.randint(1930, 2020)}-{chance.randint(1, 12):02d}-{chance.randint(1, 28):02d}",
        "phone": f"+1 {chance.randint(200, 999)} 555 {chance.randint(0, 9999):04d}",
        "note": _NOTE,
    }
