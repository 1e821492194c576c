"""The disk is full: changes are refused with 503, nothing is read without its entry, and all works when there is room.

The deployment lies on a file system of its own, small and in memory, which only root can mount.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from database import scratch_home
from faults.audit import Auditor, replayed
from faults.deployed import Deployed, Template, declare, deployment
from faults.load import CALLERS, Load
from faults.rounds import note

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.fault]

RECOVERY_SECONDS = 20.0
_SPARE_BYTES = 48 << 20
_LEFT_BYTES = 1 << 20


@pytest.fixture(scope="module")
def small_disk(template: Template) -> Iterator[Path]:
    """Mount a file system with little more room than the deployment takes."""
    taken = sum(path.lstat().st_size for path in template.home.path.rglob("*"))
    folder = scratch_home()
    options = f"size={taken + _SPARE_BYTES},mode=0711"
    mount = subprocess.run(  # noqa: S603  # our own arguments
        ["mount", "-t", "tmpfs", "-o", options, "wellkeep-test", folder],  # noqa: S607  # wherever it lies
        capture_output=True,
        check=False,
    )
    if mount.returncode:
        folder.rmdir()
        pytest.skip("mounting a small file system is not permitted here (run as root with CAP_SYS_ADMIN)")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)  # noqa: S603, S607  # as above
        folder.rmdir()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cramped(template: Template, small_disk: Path) -> AsyncIterator[Deployed]:
    """Serve a deployment on it."""
    async with deployment(template, where=small_disk) as made:
        await declare(made)
        yield made


async def test_disk_full(cramped: Deployed, small_disk: Path) -> None:
    auditor = Auditor(cramped)
    await auditor.begin()
    filler = small_disk / "filler"
    async with Load(cramped.client(), seed=61) as load:
        await load.served(60)
        with filler.open("wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, shutil.disk_usage(small_disk).free - _LEFT_BYTES)
        await load.refused(4 * CALLERS)
        filler.unlink()
        over = time.monotonic()
        await load.all_served()
        account = await load.stop()
    recovered = account.recovered_after(over)
    assert set(account.refused) <= {"/problems/unavailable", "/problems/ledger-unavailable"}
    assert account.unanswered == 0, "the server itself must go on answering"
    surplus = await auditor.end(account, in_flight=3 * CALLERS)
    assert recovered < RECOVERY_SECONDS
    await replayed(cramped)
    note(
        "disk full",
        seed=61,
        acknowledged=len(account.acknowledged),
        records=len(account.records),
        surplus=surplus,
        recovered=recovered,
        refused=sum(account.refused.values()),
        slowest_refusal=account.slowest_refusal,
    )
