"""Tenants and keys, from the making to the last refused request."""

from __future__ import annotations

from cli.conftest import TENANT
from deployments import Deployment


def status_of(served: Deployment, key: str) -> int:
    """Return how a request with `key` is answered."""
    with served.client(key) as client:
        return client.get("/v1/collections").status_code


def test_a_key_works_until_it_is_revoked(served: Deployment) -> None:
    made = served.wk("apikey", "create", "--tenant", TENANT, "--role", "clinician", "--name", "ward-3", "--json")
    issued = made.json()
    assert status_of(served, issued["key"]) == 200
    listed = served.wk("apikey", "list", "--tenant", TENANT)
    assert (issued["id"] in listed.out, "ward-3" in listed.out, issued["key"] in listed.all) == (True, True, False)
    assert max(map(len, listed.out.splitlines())) <= 100
    assert served.wk("apikey", "revoke", issued["id"], "--tenant", TENANT).code == 0
    assert status_of(served, issued["key"]) == 401, "from the next request on"
    assert "revoked" in served.wk("apikey", "list", "--tenant", TENANT).out


def test_a_closed_tenant_is_refused_and_stays_listed(served: Deployment) -> None:
    made = served.wk("tenant", "create", "short-lived", "--json").json()
    key = served.key("short-lived", "clinician")
    assert status_of(served, key) == 200
    assert served.wk("tenant", "close", "short-lived").code != 0, "nobody answered the question"
    assert status_of(served, key) == 200
    assert served.wk("tenant", "close", made["id"], "--yes").code == 0
    assert status_of(served, key) == 403, "from the next request on"
    found = {one["name"]: one["state"] for one in served.wk("tenant", "list", "--json").json()}
    assert found["short-lived"] != found[TENANT] == "active"
    assert max(map(len, served.wk("tenant", "list").out.splitlines())) <= 100


def test_a_tenant_demands_that_reads_say_why(served: Deployment) -> None:
    assert served.wk("tenant", "create", "strict").code == 0
    for _ in range(2):
        assert served.wk("tenant", "set", "strict", "--purpose-required").code == 0
    key = served.key("strict", "privacy_officer")
    with served.client(key) as client:
        path = "/v1/exports/00000000-0000-7000-8000-000000000001"
        asked = client.get(path)
        assert (asked.status_code, asked.json()["type"].rpartition("/")[2]) == (400, "purpose-required")
        assert client.get(path, headers={"X-Purpose-Of-Use": "HOPERAT"}).status_code == 404
    found = {one["name"]: one["settings"] for one in served.wk("tenant", "list", "--json").json()}
    assert (found["strict"], found[TENANT]) == ({"purpose_required": True}, {})
    assert "need not" in served.wk("tenant", "set", "strict", "--no-purpose-required").out
    assert served.wk("tenant", "set", "strict").code == 2, "nothing to set"
    assert served.wk("tenant", "set", "platform", "--purpose-required").code == 1


def test_what_is_refused_says_why(served: Deployment) -> None:
    for arguments, code, said in (
        (("tenant", "create", TENANT), 1, "already"),
        (("tenant", "create", "fresh", "--kind", "Xk9CanaryZq"), 2, "live or synthetic"),
        (("apikey", "create", "--tenant", "nobody", "--role", "clinician"), 1, "tenant list"),
        (("apikey", "create", "--tenant", TENANT, "--role", "clinician", "--scope", "Xk9CanaryZq"), 2, "record:read"),
        (("apikey", "revoke", "Xk9CanaryZq", "--tenant", TENANT), 2, "uuid"),
        (("collections", "template", "nothing"), 2, "patients"),
    ):
        refused = served.wk(*arguments)
        assert (refused.code, said in refused.err.lower()) == (code, True), refused.all


def test_a_template_is_the_json_to_post(served: Deployment) -> None:
    definition = served.wk("collections", "template", "patients").json()
    key = served.key(TENANT, "administrator")
    with served.client(key) as client:
        assert client.post("/v1/collections", json=definition).status_code == 201
    again = served.wk("collections", "template", "patients", "--create", key=key)
    assert (again.code, "HTTP 409" in again.err) == (1, True)
    assert "observations" in served.wk("collections", "template").out


def test_a_person_comes_by_the_link_and_leaves_when_disabled(served: Deployment) -> None:
    """Over the real TLS and with the real cookies: what the command prints is all that it takes."""
    of, email, password = ("--tenant", TENANT), "kim@example.org", "four words nobody says"
    made = served.wk("user", "create", email, *of, "--name", "Kim Doe", "--role", "coach", "--json").json()
    token = made["link"].partition("/invitation#")[2]
    with served.client() as client:
        taken = client.post("/v1/invitations/accept", json={"token": token, "password": password})
        assert taken.json() == {"person": made["id"]}
        signed = client.post("/v1/session", json={"tenant": TENANT, "email": email, "password": password})
        assert signed.json()["person"] == made["id"]
        assert client.cookies.get("__Host-wk_session")
        assert client.get("/v1/collections").status_code == 200, "the client keeps the cookie as a browser does"
        assert client.delete("/v1/account/sessions").status_code == 403, "and nothing is changed without the token"
        assert served.wk("user", "disable", made["id"], *of).code == 0
        assert client.get("/v1/collections").status_code == 401, "with the next request, from another process"
    assert served.wk("user", "enable", made["id"], *of).code == 0
    assert served.wk("user", "grant", made["id"], "billing", *of, "--days", "1").code == 0
    assert served.wk("user", "revoke", made["id"], "coach", *of).code == 0
    shown = served.wk("user", "show", made["id"], *of, "--json").json()
    assert (shown["state"], shown["roles"]) == ("active", "billing")
    reset = served.wk("user", "reset", made["id"], *of)
    assert "/invitation#" in reset.out
    assert served.wk("user", "grant", made["id"], "operator", *of).code == 1
    assert password not in reset.all
