"""A plain export, made once, and copied for whoever wants to change it; and the verifier, run on it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from verifiers.exporting import plain, vkey
from verifiers.running import VERIFIER, Result, Run


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plain().write(tmp_path_factory.mktemp("export"))


@pytest.fixture
def export(written: Path, tmp_path: Path) -> Path:
    """Return a copy that a test may tamper with."""
    return Path(shutil.copytree(written, tmp_path / "export"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def verify(*arguments: str | Path, pinned: bool = True) -> Result:
        given = [*(str(each) for each in arguments), "--json", *(["--vkey", vkey()] if pinned else [])]
        code = VERIFIER.main(given)
        return Result(code, capsys.readouterr().out)

    return verify
