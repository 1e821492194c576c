"""`wellkeep keys rotate`, killed with SIGKILL at random moments, by command and in a server: given again, it is done.

Promise: no key is lost, no old one stays, and what the vault holds opens as before, wherever the machine died.
"""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Iterator

import httpx
import pytest

from deployments import WELLKEEP, Deployment, deployment, environment
from faults.rounds import soak_rounds

PATIENTS = 40
COLLECTION = {
    "name": "patients",
    "subject": "self",
    "fields": [{"name": "family", "type": "string", "class": "phi", "index": "exact", "normaliser": "name"}],
}
LATEST_SECONDS = 4.0
WORK_SECONDS = 60.0


@pytest.fixture(scope="module")
def furnished() -> Iterator[tuple[Deployment, str]]:
    """Make a deployment with a tenant that has patients; not served."""
    with deployment(serve=()) as made:
        assert made.wk("tenant", "create", "clinic").code == 0
        administrator, program = made.key("clinic", "administrator"), made.key("clinic", "integration")
        with made.client(administrator) as client:
            assert client.post("/v1/collections", json=COLLECTION).status_code == httpx.codes.CREATED
        with made.client(program) as client:
            for number in range(PATIENTS):
                body = {"fields": {"family": f"family{number}"}}
                assert client.post("/v1/collections/patients/records", json=body).status_code == httpx.codes.CREATED
        made.stop()
        yield made, program


def whole(made: Deployment, program: str, epochs: int) -> None:
    """See that the last epoch is alone in use, that everything opens, and that searches find everybody."""
    said = made.wk("keys", "status", "--rows", "--json")
    assert said.code == 0, said.all
    found = said.json()["overview"]
    assert [one["state"] for one in found["epochs"]] == ["retired"] * (epochs - 1) + ["active"]
    assert [one["rows"] for one in found["epochs"]][:-1] == [0] * (epochs - 1)
    wraps = [key for one in found["tenants"] for key in one["keys"] if key["purpose"] == "WRAP"]
    assert sum(key["rows"] for key in wraps if key["state"] == "active") == PATIENTS
    assert sum(key["rows"] for key in wraps if key["state"] != "active") == 0
    assert not [one for one in found["rotations"] if one["state"] == "running"]
    made.start()
    try:
        with made.client(program) as client:
            for number in range(0, PATIENTS, 7):
                body = {"where": {"family": f"family{number}"}}
                answer = client.post("/v1/collections/patients/records/search", json=body)
                assert answer.status_code == httpx.codes.OK, answer.text
                (one,) = answer.json()["records"]
                assert one["fields"]["family"] == f"family{number}"
    finally:
        made.stop()


def kill_at(made: Deployment, seconds: float) -> None:
    """Begin a roll by command, and kill it after so many seconds, if it is not done by then."""
    with subprocess.Popen(  # noqa: S603 -- our own program
        [*WELLKEEP, "keys", "rotate", "epoch"],
        env=environment(made.path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        time.sleep(seconds)
        process.kill()


def current(made: Deployment) -> int:
    """Return the epoch that is in use."""
    epochs = made.wk("keys", "status", "--json").json()["overview"]["epochs"]
    return int(next(one["epoch"] for one in epochs if one["state"] == "active"))


def rounds(furnished: tuple[Deployment, str], seeds: range) -> None:
    made, program = furnished
    for seed in seeds:
        kill_at(made, random.Random(seed).uniform(0.5, LATEST_SECONDS))  # noqa: S311 - when to kill is no secret
        said = made.wk("keys", "rotate", "epoch")
        assert said.code == 0, said.all
    whole(made, program, current(made))


@pytest.mark.timeout(300)
def test_a_command_that_is_killed_is_given_again(furnished: tuple[Deployment, str]) -> None:
    rounds(furnished, range(2))


@pytest.mark.timeout(300)
def test_a_server_that_is_killed_goes_on_when_it_is_back(furnished: tuple[Deployment, str]) -> None:
    made, program = furnished
    before = current(made)
    made.start()
    said = made.wk("keys", "rotate", "epoch", "--json")
    assert said.code == 0, said.all
    assert said.json()["by"] == "server"
    process = made.process
    assert process is not None
    time.sleep(1.0)
    process.kill()
    process.wait()
    made.process = None
    made.start()
    said = made.wk("keys", "rotate", "epoch", "--wait", "--json")
    assert said.code == 0, said.all
    assert said.json()["rotation"]["state"] == "done"
    made.stop()
    assert current(made) > before
    whole(made, program, current(made))


@pytest.mark.soak
def test_many_deaths(furnished: tuple[Deployment, str]) -> None:
    rounds(furnished, soak_rounds())
