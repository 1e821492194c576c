"""A whole sign-in at panva's oidc-provider, which enforces PKCE, with httpx as the browser."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from api.stack import stack
from database import Database
from egress.outside import Certificates, Names, Noted
from node_packages import missing, modules
from oidc.conftest import ROLES
from oidc.hostile import BACK, CLIENT, HOST, PLACE, SECRET
from wellkeep.access.providers import NewProvider
from wellkeep.base.secrets import Secret
from wellkeep.base.settings import Place
from wellkeep.egress.egress import Egress

HERE = Path(__file__).parent
LOCK = HERE / "panva.lock"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[int, Certificates]]:
    reason = missing(LOCK)
    if reason is not None:
        pytest.skip(reason)
    certificates = Certificates.make(tmp_path, HOST)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = modules(LOCK) / "wellkeep-panva.mjs"
    shutil.copy(HERE / "panva.mjs", script)
    command = ["node", str(script), str(certificates.chain), str(certificates.key), str(port), HOST, BACK]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ) as process:  # noqa: S603
        try:
            assert process.stdout is not None
            while process.stdout.readline() not in {b"ready\n", b""}:
                pass
            yield port, certificates
        finally:
            process.terminate()


async def at_the_provider(port: int, certificates: Certificates, address: str) -> str:
    """Sign in and consent on the provider's own pages; returns where it sends the browser back to."""
    trust = ssl.create_default_context(cafile=str(certificates.authority))
    base = f"https://127.0.0.1:{port}"
    async with httpx.AsyncClient(verify=trust, headers={"Host": f"{HOST}:{port}"}) as browser:

        async def send(method: str, path: str, **more: object) -> httpx.Response:
            request = browser.build_request(method, base + path, **more)  # type: ignore[arg-type]
            request.extensions["sni_hostname"] = HOST
            return await browser.send(request)

        parts = urlsplit(address)
        answer = await send("GET", f"{parts.path}?{parts.query}")
        for _ in range(12):
            if answer.is_redirect:
                where = answer.headers["location"]
                if where.startswith(BACK):
                    return where
                parts = urlsplit(where)
                answer = await send("GET", parts.path + (f"?{parts.query}" if parts.query else ""))
                continue
            action = re.search(r'action="([^"]+)"', answer.text)
            prompt = re.search(r'name="prompt" value="([^"]+)"', answer.text)
            assert action is not None, answer.text
            assert prompt is not None, answer.text
            form = {"prompt": prompt[1], "login": "robin", "password": "x"}
            answer = await send("POST", urlsplit(action[1]).path, data=form)
        pytest.fail("the provider sends the browser round in circles")


async def test_a_real_provider_signs_a_person_in_with_pkce(
    database: Database, served: tuple[int, Certificates]
) -> None:
    port, certificates = served
    ca = str(certificates.authority)
    place = Place(name=PLACE, host=HOST, ports=(port,), networks=("127.0.0.0/8",), ca=ca)
    egress = Egress(places=(place,), denials=Noted(), resolver=Names([["127.0.0.1"]]))
    new = NewProvider(
        name="panva",
        issuer=f"https://{HOST}:{port}",
        client_id=CLIENT,
        secret=Secret(SECRET),
        places=(PLACE,),
        roles=ROLES,
    )
    async with stack(database, egress=egress) as opened, opened.client() as client:
        tenant = await opened.tenant("st-elsewhere")
        await opened.single_sign_on.providers.create(opened.operator, tenant=tenant, new=new)
        sent = await client.get("/v1/sign-in/st-elsewhere/panva")
        assert sent.status_code == 303, sent.text
        back = await at_the_provider(port, certificates, sent.headers["location"])
        query = urlsplit(back).query
        answer = await client.get(f"/v1/sign-in/callback?{query}")
        assert answer.status_code == 303, answer.text
        assert (await client.get("/v1/session")).json()["roles"] == ["clinician"]
        assert (await client.get(f"/v1/sign-in/callback?{query}")).status_code == 401, "replayed"
