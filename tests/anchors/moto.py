"""S3 with Object Lock, from moto's server in an environment of its own: started for the session, stopped by its id."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

import httpx

PROGRAM = Path(__file__).parents[2] / ".venv-servers/bin/moto_server"
_START_SECONDS = 60.0


@dataclass
class Moto:
    """The server."""

    port: int

    def bucket(self, *, locked: bool) -> str:
        """Make a bucket and return its name."""
        name = f"wk-{token_hex(6)}"
        body = (
            '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            "<LocationConstraint>eu-central-1</LocationConstraint></CreateBucketConfiguration>"
        )
        headers = {"x-amz-bucket-object-lock-enabled": "true"} if locked else {}
        self.ask("PUT", f"/{name}", headers=headers, content=body)
        return name

    def ask(self, method: str, target: str, *, headers: dict[str, str] | None = None, content: str = "") -> bytes:
        """Do what whoever owns the bucket can do to it."""
        signed = {"Authorization": "AWS4-HMAC-SHA256 Credential=owner/20260101/eu-central-1/s3/aws4_request"}
        answer = httpx.request(
            method,
            f"http://127.0.0.1:{self.port}{target}",
            headers=signed | (headers or {}),
            content=content,
            timeout=10,
            trust_env=False,
        )
        assert answer.is_success, answer.text
        return answer.content


@contextmanager
def moto_server() -> Iterator[Moto]:
    """Run the server on a free port."""
    with subprocess.Popen(  # noqa: S603 -- the program of our own lock
        [str(PROGRAM), "-H", "127.0.0.1", "-p", "0"],
        env={"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield Moto(_port(process))
        finally:
            process.terminate()


def _port(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    began = time.monotonic()
    for line in process.stdout:
        found = re.search(r"Running on http://127\.0\.0\.1:([0-9]+)", line)
        if found:
            return int(found[1])
        assert time.monotonic() - began < _START_SECONDS, "moto did not start in time"
    raise AssertionError("moto did not start")
