"""A worker dies while it sends a link: the mail comes at least once, and one link is good, the last."""

from __future__ import annotations

import re
from email.message import EmailMessage
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from api.stack import stack
from database import Database
from egress.outside import Certificates, Noted, place, serving, way_out
from jobs.killing import in_a_fork, kill_myself
from jobs.test_mail import invited, jobs, join, taking
from wellkeep.egress import smtp
from wellkeep.egress.egress import Egress

_LINK = re.compile(rb"/invitation#([0-9a-f]{32}\.[0-9a-f]{64})")


@pytest.mark.parametrize("dies", ["before it is sent", "before it is known to be sent"])
async def test_a_mail_is_sent_at_least_once_and_its_last_link_is_the_good_one(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies: str
) -> None:
    certificates, taken = Certificates.make(tmp_path), tmp_path / "taken"
    sends = smtp.send

    async with stack(database) as opened:
        job = await invited(opened, await opened.tenant("st-elsewhere"))

        async def once() -> None:
            mails = list[bytes]()

            async def dying(egress: Egress, message: EmailMessage, **more: Any) -> None:
                if dies == "before it is known to be sent":
                    await sends(egress, message, **more)
                    taken.write_bytes(b"".join(mails))
                kill_myself()

            monkeypatch.setattr(smtp, "send", dying)
            async with serving(taking(mails), certificates.context()) as server, database.pool("wk_app") as pool:
                alone: Any = SimpleNamespace(gate=SimpleNamespace(_pool=pool), findings=None)
                await jobs(alone, way_out(Noted(), place(server, certificates)), tmp_path).send(job, lambda: False)

        assert in_a_fork(once) == -9
        mails = list[bytes]()
        async with serving(taking(mails), certificates.context()) as server:
            await jobs(opened, way_out(Noted(), place(server, certificates)), tmp_path).send(job, lambda: False)
        first = _LINK.findall(taken.read_bytes()) if taken.exists() else []
        last = _LINK.findall(b"".join(mails))
        assert (len(first), len(last)) == (0 if dies == "before it is sent" else 1, 1)
        for token in first:
            assert (await join(opened, token.decode())).status_code == 401
        assert (await join(opened, last[0].decode())).status_code == 200
        for token in (*first, *last):
            assert (await join(opened, token.decode())).status_code == 401
