"""The server as a process: it answers over TLS, replaces dead workers, and stops without losing what is under way."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from wellkeep.assembly.tls import DevelopmentCertificate, make_development_certificate
from wellkeep.base.clock import SystemClock

SCRIPT = Path(__file__).parent / "served.py"


class Served:
    """A server process and what it wrote."""

    def __init__(self, process: subprocess.Popen[str], certificate: DevelopmentCertificate) -> None:
        self.process = process
        assert process.stdout is not None
        words = process.stdout.readline().split()
        assert words[:1] == ["ready"], words
        self.public, self.admin, self.plain = words[1:]
        self.trust = ssl.create_default_context(cafile=str(certificate.authority))

    def get(self, path: str, *, admin: bool = False) -> httpx.Response:
        """Get `path` over a new connection."""
        where = self.admin if admin else self.public
        return httpx.get(f"https://localhost:{where.rpartition(':')[2]}{path}", verify=self.trust, trust_env=False)

    def processes(self, tries: int) -> set[int]:
        """Return which worker processes answer."""
        answers = [self.get("/readyz").json()["parts"] for _ in range(tries)]
        return {int(name.removeprefix("process_")) for parts in answers for name in parts}


@pytest.fixture
def certificate(tmp_path: Path) -> DevelopmentCertificate:
    """Make the development certificate of a home."""
    secrets = tmp_path / "secrets"
    return make_development_certificate(
        certificate=secrets / "tls.crt", key=secrets / "tls.key", host="localhost", clock=SystemClock()
    )


@pytest.fixture
def start(tmp_path: Path, certificate: DevelopmentCertificate) -> Iterator[Callable[..., Served]]:
    """Start servers, and stop them after the test."""
    started: list[subprocess.Popen[str]] = []

    def start_one(workers: int, **environment: str) -> Served:
        process = subprocess.Popen(  # noqa: S603  # our own script
            [sys.executable, str(SCRIPT), str(tmp_path), str(workers)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **environment},
        )
        started.append(process)
        return Served(process, certificate)

    yield start_one
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=30)
        if process.stdout is not None:
            process.stdout.close()


def test_one_process_serves_three_listeners_and_finishes_what_is_under_way(start: Callable[..., Served]) -> None:
    served = start(1, SLOW="1.0")
    assert served.get("/healthz").json() == {"status": "alive"}
    assert served.get("/metrics").status_code == 404
    assert "wellkeep_requests_total" in served.get("/metrics", admin=True).text
    plain = httpx.get(f"http://{served.plain}/docs", trust_env=False)
    port = served.public.rpartition(":")[2]
    assert (plain.status_code, plain.headers["location"]) == (308, f"https://localhost:{port}/docs")
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(served.get("/readyz").status_code))
    asking.start()
    time.sleep(0.4)
    served.process.send_signal(signal.SIGTERM)
    asking.join(timeout=20)
    assert served.process.wait(timeout=30) == 0
    assert answers == [200]
    assert served.process.stdout is not None
    assert served.process.stdout.read().startswith("closed")


def test_a_dead_worker_is_replaced(start: Callable[..., Served]) -> None:
    served = start(2)
    before = served.processes(12)
    victim = before.pop()
    os.kill(victim, signal.SIGKILL)
    deadline = time.monotonic() + 20
    after: set[int] = set()
    while time.monotonic() < deadline and not after - before - {victim}:
        try:
            after |= served.processes(4)
        except httpx.TransportError:
            time.sleep(0.1)
    assert after - before - {victim}, "no new worker answered"
    counted = served.get("/metrics", admin=True).text
    assert 'wellkeep_requests_total{route="readyz",status="2xx"}' in counted
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(timeout=30) == 0


def test_workers_stop_when_their_supervisor_is_gone(start: Callable[..., Served]) -> None:
    served = start(2)
    workers = served.processes(12)
    served.process.kill()
    served.process.wait(timeout=10)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(_lives(worker) for worker in workers):
        time.sleep(0.1)
    assert not any(_lives(worker) for worker in workers)


def _lives(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_workers_that_keep_dying_stop_the_deployment(tmp_path: Path, certificate: DevelopmentCertificate) -> None:
    done = subprocess.run(  # noqa: S603  # our own script
        [sys.executable, str(SCRIPT), str(tmp_path), "2"],
        env={**os.environ, "DIES": "1"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 1
    assert "workers.keep_dying" in done.stderr
    assert "worker.failed" in done.stderr
    assert "Canary" not in done.stderr
