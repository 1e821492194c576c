"""A deployment as it is served, looked at from outside: by an independent scanner, from another network, at a renewal.

The scanner is sslyze, which compares with Mozilla's published profiles, in an environment of its own.
"""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from deployments import Deployment, deployment
from transport.authority import Authority, authority
from wellkeep.assembly.tls_groups import VARIABLE
from wellkeep.base.tls_settings import Profile, TlsHost

ROOT = Path(__file__).parents[2]
SCANNER = ROOT / ".venv-servers" / "bin" / "sslyze"
SERVED = ROOT / "tests" / "api" / "served.py"
CLINIC = "records.clinic.example"
SCAN_SECONDS = 60


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("authority"))


def pair(home: Path, name: str) -> tuple[Path, Path]:
    return home / "secrets" / f"{name}.crt", home / "secrets" / f"{name}.key"


@pytest.fixture(scope="module")
def deployed(signer: Authority) -> Iterator[Deployment]:
    """Make a deployment with certificates of an authority, administered from one address alone; not served yet."""
    with deployment() as made:
        (made.path / "secrets" / "tls.ca.crt").unlink()
        signer.issue(*pair(made.path, "tls"), "localhost")
        signer.issue(*pair(made.path, CLINIC), CLINIC)
        host = TlsHost(name=CLINIC, certificate=f"secrets/{CLINIC}.crt", key=f"secrets/{CLINIC}.key")
        settings = made.home.settings()
        made.home.write_settings(
            msgspec.structs.replace(
                settings,
                tls=msgspec.structs.replace(settings.tls, hosts=(host,)),
                listen=msgspec.structs.replace(settings.listen, admin_networks=("127.0.0.1/32",)),
            )
        )
        yield made


def serve(made: Deployment, profile: Profile, *options: str) -> None:
    """Serve it with another profile."""
    made.stop()
    settings = made.home.settings()
    tls = msgspec.structs.replace(settings.tls, profile=profile)
    made.home.write_settings(msgspec.structs.replace(settings, tls=tls))
    made.start(*options)


def scanned(address: str, profile: str, signer: Authority) -> str:
    """Return the scanner's verdict on `address`: the lines after its heading."""
    if not SCANNER.exists():
        if os.environ.get("CI") == "true":
            pytest.fail("the scanner is not installed")
        pytest.skip("the scanner is not installed: make .venv-servers/test.stamp")
    done = subprocess.run(  # noqa: S603 -- the scanner of our own lock
        [SCANNER, "--mozilla_config", profile, "--certinfo_ca_file", signer.file, f"localhost:{port_of(address)}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=SCAN_SECONDS,
    )
    verdict = done.stdout.partition("COMPLIANCE AGAINST")[2]
    assert verdict, done.stdout + done.stderr
    assert (done.returncode == 0) == ("OK - Compliant" in verdict), verdict
    return verdict


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def shown(address: str, name: str, signer: Authority) -> bytes:
    """Return the leaf that a new connection is shown."""
    client = ssl.create_default_context(cafile=str(signer.file))
    plain = socket.create_connection(("127.0.0.1", port_of(address)), timeout=10)
    with plain, client.wrap_socket(plain, server_hostname=name) as connection:
        leaf = connection.getpeercert(binary_form=True)
    assert leaf is not None
    return leaf


def refused(address: str, source: str) -> bool:
    """Say whether a connection from `source` is reset before it said a word or was told one."""
    there = ("127.0.0.1", port_of(address))
    try:
        plain = socket.create_connection(there, timeout=10, source_address=(source, 0))
    except ConnectionResetError:
        return True  # the reset was faster than we were; nobody listening would be refused, not reset
    with plain:
        try:
            return plain.recv(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False


def test_two_workers_are_compliant_renew_and_keep_administration_to_its_network(
    deployed: Deployment, signer: Authority
) -> None:
    serve(deployed, "intermediate", "--workers", "2")
    listen = deployed.home.settings().listen
    old = shown(listen.public, CLINIC, signer)
    with deployed.client() as standing:
        for address in (listen.public, listen.admin):
            assert "OK - Compliant" in scanned(address, "intermediate", signer)
        for source in ("127.0.0.2", "127.254.0.1"):
            assert refused(listen.admin, source)
        with httpx.Client(verify=False, trust_env=False) as outside:  # noqa: S501 -- nothing is sent: it is refused
            assert outside.get(f"https://{listen.admin}/healthz").status_code == httpx.codes.OK
        began, new = time.monotonic(), signer.issue(*pair(deployed.path, CLINIC), CLINIC)
        assert new != old
        seen = 0
        while seen < 12:  # both workers, several times each
            answer = standing.get("/healthz")
            assert answer.status_code == httpx.codes.OK
            seen = seen + 1 if shown(listen.public, CLINIC, signer) == new else 0
            assert time.monotonic() - began < 60, "a renewed certificate was not served within a minute"
            if not seen:
                time.sleep(0.25)
    assert shown(listen.admin, CLINIC, signer) == new
    assert answer.headers["strict-transport-security"].startswith("max-age=63072000")


def test_modern_is_compliant_too_and_speaks_nothing_older(deployed: Deployment, signer: Authority) -> None:
    serve(deployed, "modern")
    address = deployed.home.settings().listen.public
    assert "OK - Compliant" in scanned(address, "modern", signer)
    client = ssl.create_default_context(cafile=str(signer.file))
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    plain = socket.create_connection(("127.0.0.1", port_of(address)), timeout=10)
    with plain, pytest.raises(ssl.SSLError):
        client.wrap_socket(plain, server_hostname="localhost")


def test_a_place_takes_two_people_from_the_shell_and_over_the_api(deployed: Deployment) -> None:
    """The operator proposes at the machine, the platform's administrator approves over the API, and it is shown."""
    said = deployed.wk("egress", "propose", "identity", "--host", "login.example.org", "--port", "443", "--json")
    assert said.code == 0, said.all
    alone = deployed.wk("egress", "approve", "identity")
    assert (alone.code, "somebody else must decide" in alone.all) == (1, True), alone.all
    admin = f"https://{deployed.home.settings().listen.admin}"
    with deployed.client(deployed.administrator) as client:
        approved = client.post(f"{admin}/v1/egress/identity/approve")
        assert approved.status_code == httpx.codes.OK, approved.text
        assert approved.json()["approved_by"].startswith("api_key:")
        shown = client.get(f"{admin}/v1/egress").json()["places"]
        assert [(one["name"], one["state"]) for one in shown] == [("identity", "approved")]
        assert client.post("/v1/egress/identity/withdraw").status_code == httpx.codes.NOT_FOUND
    listed = deployed.wk("egress", "proposals", "--json")
    assert [one["host"] for one in listed.json()] == ["login.example.org"], listed.all
    assert deployed.wk("egress", "withdraw", "identity").code == 0


def test_the_scanner_objects_to_a_server_without_the_groups(tmp_path: Path, signer: Authority) -> None:
    """The scan shows what it is there for: the same server, but for the configuration of OpenSSL's."""
    (tmp_path / "secrets").mkdir(mode=0o700)
    signer.issue(*pair(tmp_path, "tls"), "localhost")
    kept = {name: value for name, value in os.environ.items() if name != VARIABLE}
    process = subprocess.Popen(  # noqa: S603 -- our own script
        [sys.executable, SERVED, tmp_path, "1"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=kept
    )
    try:
        assert process.stdout is not None
        public = process.stdout.readline().split()[1]
        assert "tls_curves" in scanned(public, "intermediate", signer)
    finally:
        process.terminate()
        process.communicate(timeout=30)
