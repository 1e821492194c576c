"""The collections that probes work on.

One field of each group, type and index, named so that nobody takes them for data.
"""

from __future__ import annotations

from typing import Any

PEOPLE = "wk_probe_people"
NOTES = "wk_probe_notes"

FIELD_GROUPS: dict[str, str] = {
    "history": "clinical",
    "state": "clinical",
    "family": "demographic",
    "street": "contact",
    "ssn": "identifier",
    "iban": "financial",
    "label": "administrative",
}

PEOPLE_DEFINITION: dict[str, Any] = {
    "name": PEOPLE,
    "subject": "self",
    "fields": [
        {"name": "history", "type": "text", "class": "phi", "group": "clinical"},
        {"name": "state", "type": "string", "class": "phi", "group": "clinical", "enum": ["well", "ill"]},
        {
            "name": "family",
            "type": "string",
            "class": "pii",
            "group": "demographic",
            "index": "prefix",
            "normaliser": "name",
        },
        {"name": "street", "type": "string", "class": "pii", "group": "contact"},
        {
            "name": "ssn",
            "type": "string",
            "class": "pii",
            "group": "identifier",
            "index": "exact",
            "normaliser": "identifier",
        },
        {"name": "iban", "type": "string", "class": "pii", "group": "financial"},
        {"name": "label", "type": "string", "class": "plain", "group": "administrative"},
    ],
}

NOTES_DEFINITION: dict[str, Any] = {
    "name": NOTES,
    "subject": "required",
    "fields": [
        {"name": "body", "type": "text", "class": "phi", "group": "clinical"},
        {"name": "document", "type": "json", "class": "phi", "group": "clinical"},
        {"name": "count", "type": "integer", "class": "phi", "group": "clinical"},
        {"name": "amount", "type": "decimal", "class": "phi", "group": "financial"},
    ],
}


def person(**values: str) -> dict[str, Any]:
    """Return the body that creates a person of the sample, with `values` over harmless defaults."""
    fields = {
        "history": "none",
        "state": "well",
        "family": "Probe",
        "street": "1 Probe Street",
        "ssn": "999-00-0000",
        "iban": "GB00PROBE",
        "label": "probe",
    }
    return {"fields": fields | values}
