"""A deployment whose operator wants the ledger in a file: served, listed, measured, looked over."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import msgspec

from deployments import deployment
from sinks.receivers import read_lines
from wellkeep.assembly.pinning import pinned
from wellkeep.base.settings import Place
from wellkeep.base.sink_settings import FileSink, SyslogSink


def test_a_deployment_hands_its_ledger_on() -> None:
    with deployment() as made:
        settings = made.home.settings()
        lines = FileSink(name="agent", path="log/ledger.jsonl", root=True)
        dead = SyslogSink(name="siem", place="nowhere", root=True)
        place = Place(name="nowhere", host="localhost", ports=(1,), networks=("127.0.0.0/8",))
        made.home.write_settings(
            msgspec.structs.replace(
                settings,
                egress=msgspec.structs.replace(settings.egress, places=(place,)),
                ledger=msgspec.structs.replace(settings.ledger, sinks=(lines, dead)),
            )
        )
        made.start()
        assert made.wk("tenant", "create", "hospital").code == 0
        path = made.path / "log" / "ledger.jsonl"
        root = f"{settings.host}/ledger/root"
        end = time.monotonic() + 20
        while not path.exists() or len(read_lines(path).logs) < 2:
            assert time.monotonic() < end
            time.sleep(0.2)
        got = read_lines(path)
        assert got.check() >= 4
        assert root in got.logs
        assert not got.gaps

        said = made.wk("ledger", "sinks", "--json")
        states = {one["sink"]["sink"]: one for one in said.json()}
        assert said.code == 1
        assert states["agent"]["fine"]
        assert states["siem"]["sink"]["error"] == "not-connected"
        assert not states["siem"]["fine"]
        words = made.wk("ledger", "sinks")
        assert "wellkeep egress test" in words.all
        assert "failing: not-connected" in words.out
        counted = metrics(made.home.settings().listen.admin, made.path)
        assert 'wellkeep_ledger_sink_lag_entries{sink="agent"}' in counted
        assert 'wellkeep_ledger_sink_failing_seconds{sink="siem"}' in counted
        told = {one["what"]: one["fine"] for one in made.wk("doctor", str(made.path), "--json").json()}
        assert told["The sink agent gets the ledger in time"]
        assert not told["The sink siem gets the ledger in time"]
        assert made.stop() == 0
        log = (made.path / "log" / "server.jsonl").read_text()
        assert "ledger.sink_failed" in log
        assert '"prev"' not in log


def metrics(address: str, home: Path) -> str:
    with httpx.Client(verify=pinned(home / "secrets" / "tls.crt"), trust_env=False) as client:
        return client.get(f"https://{address}/metrics").text
