"""Promise: by the pages alone a file becomes records, each line that failed is named, and a collection a file."""

from __future__ import annotations

from pathlib import Path

from deployments import Deployment
from pages.conftest import TENANT
from pages.looking import Member, Window, invalid

ROWS = 300
CHARTS = {
    "name": "charts",
    "subject": "none",
    "fields": [
        {"name": "family", "type": "string", "class": "pii"},
        {"name": "born", "type": "date", "class": "pii"},
    ],
}
HOSTILE = "<img src=x onerror=\"document.title='run'\">"


def written(folder: Path) -> Path:
    """Write a file whose second row's date is none, and one of whose columns is for nothing."""
    quoted = HOSTILE.replace('"', '""')
    lines = ["ID,Surname,Date of birth,Remark", f'p1,"Okafor, ""Ada""\n{quoted}",1980-02-03,x', "p2,Roe,never,y"]
    lines += [f"n{number},Name {number},1990-01-01,z" for number in range(ROWS)]
    place = folder / "people.csv"
    place.write_text("\r\n".join(lines) + "\r\n", "utf-8")
    return place


def test_columns_are_chosen_lines_fail_with_their_reason_and_the_rest_is_there(
    seen: Window, served: Deployment, tmp_path: Path
) -> None:
    page = seen.page
    with served.client(served.key(TENANT, "administrator")) as client:
        assert client.post("/v1/collections", json=CHARTS).status_code == 201
    seen.enter(Member.invited(served, "integration", "privacy_officer", tenant=TENANT))
    seen.open("/console/records")
    seen.press("main a:text-is('Import')")
    seen.look("before a file")
    page.select_option("#f-format", "csv")
    page.set_input_files("#f-file", written(tmp_path))
    page.wait_for_selector("#mapping:not([hidden])")
    assert page.locator("#mapping tbody th").all_inner_texts() == ["ID", "Surname", "Date of birth", "Remark"]
    assert HOSTILE in page.inner_text("#mapping tbody")
    seen.look("the columns")
    page.select_option("[data-column='Surname']", "family")
    page.select_option("[data-column='Date of birth']", "born")
    assert page.input_value("[data-column='Remark']") == "@ignore"
    seen.press("#import button")
    page.wait_for_selector("section[aria-labelledby=errors]")
    told = page.inner_text("main")
    assert "done" in told
    assert page.inner_text("[data-slot=created]") == str(ROWS + 1)
    assert page.inner_text("[data-slot=failed]") == "1"
    assert "fields.born" in told
    assert "never" not in told, "a value"
    seen.look("done")
    seen.open("/console/exports")
    seen.look("before an export")
    page.click("form[data-act='POST /v1/exports'] button")
    page.wait_for_selector("#begun:not([hidden])")
    seen.press("#begun a")
    page.wait_for_selector("main a.button")
    seen.look("exported")
    with page.expect_download() as fetched:
        page.click("main a.button")
    content = Path(fetched.value.path()).read_text("utf-8")
    assert content.count("\n") == ROWS + 1
    assert page.title() != "run"
    assert invalid(seen.documents) == ""
