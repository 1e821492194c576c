"""A sink that is named wrongly stops the start, and says what is wrong."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from wellkeep.base.errors import Misconfigured
from wellkeep.base.settings import FILE_NAME, EgressSettings, LedgerSettings, Place, Settings, dump, load
from wellkeep.base.sink_settings import FileSink, HecSink, SinkSettings, SyslogSink

TENANT = UUID("0198d7b2-0000-7000-8000-000000000001")
PLACES = EgressSettings(places=(Place(name="siem", host="siem.example.org", ports=(6514,)),))
LINES = FileSink(name="lines", path="log/ledger.jsonl", begin="now")


def written(folder: Path, *sinks: SinkSettings) -> Settings:
    settings = Settings(
        version=1, deployment=UUID(int=7), environment="test", egress=PLACES, ledger=LedgerSettings(sinks=sinks)
    )
    (folder / FILE_NAME).write_text(dump(settings))
    return settings


def test_what_is_dumped_loads_the_same(tmp_path: Path) -> None:
    sinks = (
        LINES,
        SyslogSink(name="syslog", place="siem", tenants=(TENANT,), facility="local7"),
        HecSink(name="splunk", place="siem", token="splunk.token", tenants=(), root=True, format="ocsf"),
    )
    settings = written(tmp_path, *sinks)
    assert load(tmp_path) == settings
    assert 'from = "now"' in (tmp_path / FILE_NAME).read_text()


@pytest.mark.parametrize(
    ("sinks", "said"),
    [
        ((LINES, LINES), "Two sinks"),
        ((HecSink(name="splunk", place="other", token="token"),), "a place that"),
        ((FileSink(name="lines", path="x", tenants=()),), "no log"),
    ],
)
def test_sinks_that_do_not_hold_together(tmp_path: Path, sinks: tuple[SinkSettings, ...], said: str) -> None:
    written(tmp_path, *sinks)
    with pytest.raises(Misconfigured, match=said):
        load(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        'kind = "carrier_pigeon"',
        'token = "hunter2"',  # not a file's
        'name = "Not A Code"',
        'tenants = "most"',
        "rotate_bytes = 1",
        'from = "yesterday"',
    ],
)
def test_a_wrong_key_or_value_is_refused_and_not_shown(tmp_path: Path, line: str) -> None:
    written(tmp_path, LINES)
    path = tmp_path / FILE_NAME
    key = line.split(" ", maxsplit=1)[0]
    kept = [one for one in path.read_text().splitlines() if not one.startswith(f"{key} = ") or "[[" in one]
    at = kept.index("[[ledger.sinks]]")
    path.write_text("\n".join([*kept[: at + 1], line, *kept[at + 1 :]]))
    with pytest.raises(Misconfigured) as refused:
        load(tmp_path)
    assert "hunter2" not in refused.value.message
    assert "ledger.sinks" in refused.value.message or "the file" in refused.value.message
