"""The check that the how-to hands to receivers holds what was sent, and finds what was changed on the way."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from database import Database
from ledger.making import change
from sinks.streaming import fill, log, streaming, until
from wellkeep.base.sink_settings import FileSink
from wellkeep.egress.errors import Trouble as Unreached
from wellkeep.ledger.sinks.trouble import Trouble

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "siem.md"
Lines = list[dict[str, Any]]


def check(lines: Lines) -> subprocess.CompletedProcess[str]:
    (code,) = re.findall(r"```python\n(.*?)```", HOW_TO.read_text(), flags=re.DOTALL)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    return subprocess.run([sys.executable, "-c", code], input=text, capture_output=True, text=True, check=False)  # noqa: S603 -- ours


def edited(lines: Lines) -> Lines:
    lines[8]["entry"] = lines[8]["entry"].replace("clinician", "clinicial")
    return lines


def rehashed(lines: Lines) -> Lines:
    changed = dict(lines[8], entry=lines[8]["entry"].replace('"count":1', '"count":2'))
    assert changed["entry"] != lines[8]["entry"]
    import hashlib  # noqa: PLC0415 -- what a forger would do

    changed["leaf"] = hashlib.sha256(b"\0" + changed["entry"].encode()).hexdigest()
    return [*lines[:8], changed, *lines[9:]]


def twice(lines: Lines) -> Lines:
    return [*lines[:6], *lines[3:]]


@pytest.mark.parametrize("code", [*Trouble, *Unreached])
def test_every_error_of_a_sink_is_explained(code: str) -> None:
    _, _, explained = HOW_TO.read_text().partition("## When a sink fails")
    assert f"`{code}`" in explained


CASES: dict[str, tuple[Callable[[Lines], Lines], str]] = {
    "as it came": (lambda lines: lines, ""),
    "some twice": (twice, ""),
    "one edited": (edited, "not what it says"),
    "one exchanged, its hash too": (rehashed, "does not follow"),
    "one exchanged, and sent beside the right one": (lambda lines: [*lines, rehashed(lines)[8]], "two entries"),
    "one left out": (lambda lines: [*lines[:8], *lines[9:]], "missing before"),
    "the gap left out": (lambda lines: [line for line in lines if line["type"] != "gap"], "missing before"),
    "one moved to another place": (lambda lines: [*lines[:8], dict(lines[9], seq=lines[8]["seq"])], "not what it says"),
}


@pytest.mark.timeout(60)
async def test_the_check_of_the_how_to(database: Database, tenant: UUID, tmp_path: Path) -> None:
    size = await fill(database, tenant, 20)
    await change(database, "DELETE FROM ledger.entry WHERE tenant_id = $1 AND seq BETWEEN 2 AND 3", tenant)
    path = tmp_path / "lines.jsonl"
    async with streaming(database, FileSink(name="lines", path="lines.jsonl"), home=tmp_path):
        await until(lambda: path.exists() and f'"seq":{size - 1},'.encode() in path.read_bytes())
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert [line["type"] for line in lines].count("gap") == 1
    assert {line["log"] for line in lines} == {log(tenant)}
    for name, (make, said) in CASES.items():
        done = check(make([dict(line) for line in lines]))
        if said:
            assert (done.returncode, said in done.stderr) == (1, True), (name, done.stderr)
        else:
            assert (done.returncode, done.stdout) == (0, f"{size - 2} entries hold\n"), (name, done.stderr)
