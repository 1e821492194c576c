"""The command line looks through the ledger and accounts for disclosures, with a key, over the API."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path

import pytest

from cli.conftest import TENANT
from deployments import Deployment

CHARTS = {
    "name": "charts",
    "subject": "required",
    "fields": [{"name": "family", "type": "string", "class": "pii"}],
}
SECRET = "Xk9CanaryZq"


@pytest.fixture(scope="module")
def officer(served: Deployment) -> str:
    """Make a key of the privacy officer."""
    return served.key(TENANT, "privacy_officer")


@pytest.fixture(scope="module")
def person(served: Deployment, key: str) -> str:
    """Make a patient with a chart that was read."""
    with served.client(key) as client:
        assert client.post("/v1/collections", json=CHARTS).status_code == 201
        made = str(client.post("/v1/subjects").json()["id"])
        chart = client.post("/v1/collections/charts/records", json={"subject": made, "fields": {"family": SECRET}})
        read = client.get(
            f"/v1/collections/charts/records/{chart.json()['id']}", headers={"X-Purpose-Of-Use": "PATRQT"}
        )
        assert read.status_code == 200
    return made


def test_the_ledger_is_searched_by_any_filters(served: Deployment, officer: str, person: str) -> None:
    found = served.wk("ledger", "search", "--purpose", "PATRQT", "--subject", person, "--json", key=officer).json()
    assert [entry["event"]["action"] for entry in found["entries"]] == ["record.read"]
    assert found["more"] is False
    shown = served.wk("ledger", "search", "--action", "record.read", "--since", "2020-01-01", key=officer)
    assert (shown.code, "record.read" in shown.out, person in shown.out.replace("\n", "")) == (0, True, True)
    event = re.findall(r"event ([0-9a-f-]{36})", shown.out)[0]
    assert served.wk("ledger", "proof", event).out.startswith("c2sp.org/tlog-proof@v1\n"), "what is shown can be proved"
    first = served.wk("ledger", "search", "--limit", "1", key=officer)
    assert (first.code, "There are more" in first.err) == (0, True)
    none = served.wk("ledger", "search", "--purpose", "BTG", "--outcome", "denied", key=officer)
    assert (none.code, "No entry fits" in none.out) == (0, True)
    past = served.wk("ledger", "search", "--until", "2020-01-01T00:00:00+02:00", "--json", key=officer)
    assert past.json()["entries"] == []


def test_every_page_of_a_search_is_fetched(served: Deployment, officer: str) -> None:
    with served.client(officer) as client:
        for _ in range(3):
            assert client.get("/v1/ledger/entries", params={"limit": "1"}).status_code == 200
    found = served.wk("ledger", "search", "--action", "ledger.read", "--limit", "1000", "--json", key=officer).json()
    seqs = [entry["seq"] for entry in found["entries"]]
    assert len(seqs) >= 3
    assert seqs == sorted(set(seqs), reverse=True)


def test_an_accounting_is_a_page_a_table_or_json(served: Deployment, officer: str, person: str, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    made = served.wk("subject", "disclosures", person, "-o", target, "--purpose", "PATRQT", key=officer)
    assert (made.code, "readable by you alone" in made.out) == (0, True), made.err
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    page = target.read_text()
    assert page.startswith("<!doctype html>")
    assert "read 1 field of your record in “charts”: family — for a request of the patient." in page
    assert SECRET not in page
    again = served.wk("subject", "disclosures", person, "-o", target, key=officer)
    assert (again.code, "exists" in again.err, target.read_text()) == (1, True, page)
    status = served.wk("subject", "disclosures", person, "-o", tmp_path / "two.html", "--json", key=officer).json()
    assert status == {"file": str(tmp_path / "two.html"), "bytes": (tmp_path / "two.html").stat().st_size}
    whole = served.wk("subject", "disclosures", person, "--json", key=officer).json()
    assert whole["subject"] == person
    assert {one["what"]["action"] for one in whole["disclosures"]} >= {"record.read", "subject.disclosures"}
    assert [one["why"]["purpose"] for one in whole["disclosures"] if one["what"]["action"] == "record.read"] == [
        "PATRQT"
    ]
    table = served.wk("subject", "disclosures", person, "--until", "2020-01-01", key=officer)
    assert (table.code, "0 entries since 2014-01-01" in table.out) == (0, True)
    assert SECRET not in json.dumps(whole) + made.all + table.all


def test_what_is_refused_says_why(served: Deployment, officer: str, key: str, person: str, tmp_path: Path) -> None:
    def refused(*arguments: str | Path, key: str | None) -> tuple[int, str]:
        said = served.wk("subject", "disclosures", *arguments, key=key)
        return said.code, said.err

    target = tmp_path / "o"
    code, said = refused(person, "-o", target, key=None)
    assert (code, "WELLKEEP_API_KEY" in said) == (1, True)
    code, said = refused(person, "-o", target, key=key)
    assert (code, "HTTP 403" in said) == (1, True)
    code, said = refused("0198c0de-0000-7000-8000-00000000dead", "-o", target, key=officer)
    assert (code, "HTTP 404" in said) == (1, True)
    code, said = refused(person, "-o", tmp_path / "no" / "o", key=officer)
    assert (code, "no directory" in said) == (2, True)
    code, said = refused(person, "--since", "last week", key=officer)
    assert (code, "2026-05-03" in said) == (2, True)
    code, said = refused("nobody", key=officer)
    assert code == 2
    assert not target.exists()


def test_emergencies_are_listed_ended_and_reviewed_with_a_key(served: Deployment, officer: str, key: str) -> None:
    nowhere = "0198c0de-0000-7000-8000-00000000dead"
    assert "Nobody of the staff" in served.wk("impersonation", "list", key=officer).out
    assert served.wk("impersonation", "list", "--json", key=officer).json() == []
    assert "No glass was broken" in served.wk("glass", "list", key=officer).out
    assert served.wk("glass", "list", "--waiting", "--json", key=officer).json() == []
    ended = served.wk("impersonation", "end", nowhere, key=officer)
    assert (ended.code, "HTTP 404" in ended.err) == (1, True)
    note = ("--note", "Confirmed with the head of the ward")
    said = served.wk("glass", "review", nowhere, "--justified", *note, key=officer)
    assert (said.code, "HTTP 404" in said.err) == (1, True)
    refused = served.wk("glass", "review", nowhere, "--not-justified", *note, key=key)
    assert (refused.code, "HTTP 40" in refused.err) == (1, True)
