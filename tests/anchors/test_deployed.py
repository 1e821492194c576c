"""A deployment as its operator has it: two anchors, by 1-of-2 and by 2-of-2, served, asked, and looked over."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from anchors.witnesses import made
from anchors.witnesses import running as witness_running
from deployments import Deployment, deployment
from egress.outside import LOOPBACK
from wellkeep.assembly.core import open_core
from wellkeep.assembly.database import Database
from wellkeep.assembly.readiness import Readiness
from wellkeep.base.anchor_settings import AnchorSettings, FileAnchor, WebhookAnchor, WitnessAnchor
from wellkeep.base.settings import Place
from wellkeep.db.pool import Limits, Pool
from wellkeep.db.queue import QueueBook
from wellkeep.jobs.anchoring import ANCHOR
from wellkeep.ledger.anchors.gathering import gather
from wellkeep.prove.server import free_addresses

_SECONDS = 120.0


@pytest.fixture(scope="module")
def deployed() -> Iterator[Deployment]:
    with deployment() as made:
        yield made


def configure(deployed: Deployment, *anchors: AnchorSettings, needed: int | None, ports: dict[str, int]) -> None:
    """Give the deployment these anchors, and a place on loopback for each port."""
    settings = deployed.home.settings()
    places = tuple(
        Place(name=name, host="127.0.0.1", ports=(port,), networks=LOOPBACK, clear=True) for name, port in ports.items()
    )
    ledger = msgspec.structs.replace(settings.ledger, anchors=anchors, anchors_needed=needed)
    egress = msgspec.structs.replace(settings.egress, places=places)
    deployed.home.write_settings(msgspec.structs.replace(settings, ledger=ledger, egress=egress))


def doctored(deployed: Deployment) -> dict[str, str]:
    """Return what the doctor says of anchors, with what mends it where it is not fine."""
    found = deployed.wk("doctor", deployed.path, "--json").json()
    return {one["what"]: "" if one["fine"] else one["mend"] for one in found if "anchor" in one["what"]}


def nobody() -> int:
    """Return a port that nothing listens on."""
    return int(free_addresses(1)[0].rpartition(":")[2])


ANCHORED = "The ledger is anchored outside this machine"


def test_without_an_anchor_that_is_said_plainly(deployed: Deployment) -> None:
    configure(deployed, needed=None, ports={})
    assert "until then a rewrite" in doctored(deployed)[ANCHORED]
    said = deployed.wk("ledger", "anchors")
    assert (said.code, "No anchor is configured" in said.err, "/ledger/root+" in said.out) == (1, True, True)
    assert deployed.wk("ledger", "anchors", "--json").json()["status"]["anchors"] == []


def test_one_of_two_with_a_dead_one(deployed: Deployment, tmp_path: Path) -> None:
    (deployed.home.secrets / "hook").write_text("whsec_" + b64encode(bytes(32)).decode())
    (deployed.home.secrets / "hook").chmod(0o600)
    drop = deployed.path.parent / "drop"
    drop.mkdir(exist_ok=True)
    anchors = FileAnchor(name="drop", path=str(drop)), WebhookAnchor(name="dead", place="dead", secret="hook")
    configure(deployed, *anchors, needed=1, ports={"dead": nobody()})
    said = deployed.wk("ledger", "anchors", "--now", "--json")
    status = said.json()["status"]
    assert (said.code, status["holding"], status["stale"]) == (0, 1, False)
    assert [one["error"] for one in status["anchors"]] == [None, "unreachable"]
    told = doctored(deployed)
    assert told[ANCHORED] == ""
    assert "unreachable" in told["The anchor dead takes checkpoints"]
    assert "another kind" in told["The anchor drop lies on another volume than the database"]
    configure(deployed, *anchors, needed=2, ports={"dead": nobody()})
    assert "1 of 2 hold its end, 2 must" in doctored(deployed)[ANCHORED]
    assert "ledger.anchor_failed" in deployed.wk("findings").out


def test_two_of_two_served_with_a_witness(deployed: Deployment, tmp_path: Path) -> None:
    drop = deployed.path.parent / "drop"
    drop.mkdir(exist_ok=True)
    log = deployed.wk("ledger", "anchors", "--json").json()["vkey"]
    vkey = made(tmp_path)
    with witness_running(tmp_path, vkey, log) as witness:
        anchors = FileAnchor(name="drop", path=str(drop)), WitnessAnchor(name="witness", place="witness", vkey=vkey)
        configure(deployed, *anchors, needed=2, ports={"witness": witness.port})
        deployed.start()
        try:
            asyncio.run(_anchored(deployed))
            said = deployed.wk("ledger", "anchors", "--now")
        finally:
            deployed.stop()
    assert (said.code, "2 of 2 hold it; 2 must" in said.out) == (0, True), said.all


async def _anchored(deployed: Deployment) -> None:
    """Have the server's worker anchor now, wait until both hold the root log's end, and look at what they hold."""
    settings = deployed.home.settings()
    database = Database(deployed.home, settings)
    await asyncio.to_thread(database.start)  # it runs: this looks where
    limits = Limits(min_size=1, max_size=2)
    async with Pool(database.endpoint("wk_jobs"), context_key=None, limits=limits) as jobs:
        await QueueBook(jobs).enqueue_periodic(ANCHOR)
    async with asyncio.timeout(_SECONDS), open_core(deployed.home, settings, database) as core:
        while (await core.anchoring.status()).holding < 2:  # noqa: ASYNC110  # another process does it
            await asyncio.sleep(0.2)
        assert "wellkeep_anchors_holding 2" in await Readiness(core).metrics()
        found = await gather(core.anchoring)
    assert not found.failed
    assert {one.anchor for one in found.notes if one.from_outside} == {"drop", "witness"}
    assert all(one.independent for one in found.notes if one.anchor == "witness" and not one.from_outside)
