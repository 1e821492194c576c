"""The part of the reviewed table that is about identity providers."""

from __future__ import annotations

from uuid import UUID

from wellkeep.prove.people_requests import Line


def definition(name: str) -> dict[str, object]:
    """Return a provider that nobody ever asks: its host is reserved for being nowhere (RFC 6761)."""
    return {
        "name": name,
        "issuer": "https://probe.invalid",
        "client_id": "wellkeep",
        "places": ["wk_probe_nowhere"],
        "roles": [{"claim": "groups", "value": "probe", "role": "auditor"}],
    }


def providers(tenant: UUID, provider: UUID, *, name: str | None) -> list[Line]:
    """Return the requests about the providers of a tenant; `name` None: nothing is to be made."""
    base = f"/v1/tenants/{tenant}/providers"
    made = definition(name) if name else definition("probe") | {"issuer": "nowhere"}
    return [
        ("provider_list", "provider:read", "GET", base, None, True),
        ("provider_create", "provider:change", "POST", base, made, True),
        ("provider_remove", "provider:change", "DELETE", f"{base}/{provider}", None, True),
    ]
