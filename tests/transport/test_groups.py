"""The groups of TLS: in force in a process that serves, out of the way of the connections out, and never believed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wellkeep.assembly import tls_groups
from wellkeep.assembly.tls import DevelopmentCertificate, make_development_certificate
from wellkeep.base.clock import SystemClock

TRIAL = """
import ssl, sys
from pathlib import Path
from wellkeep.assembly.tls import server_context
from wellkeep.assembly.tls_groups import _takes, assert_in_force
context = server_context(certificate=Path(sys.argv[1]), key=Path(sys.argv[2]), profile=sys.argv[3])
assert_in_force(context)
print(*[group for group in ("X25519", "prime256v1", "secp384r1", "secp521r1", "X448") if _takes(context, group)])
"""
CLIENT = """
import ssl, sys
from wellkeep.egress.dialling import _trusting
from wellkeep.egress.places import destinations
from wellkeep.base.settings import Place
place, = destinations([Place(name="p", host="p.example.org", ports=(1,))]).values()
client = _trusting(place)
names = [one["name"] for one in client.get_ciphers()]
print(client.minimum_version.name, *names, client.verify_mode.name, client.check_hostname, client.options)
"""


@pytest.fixture
def made(tmp_path: Path) -> DevelopmentCertificate:
    """Make a certificate to serve with."""
    return make_development_certificate(
        certificate=tmp_path / "tls.crt", key=tmp_path / "tls.key", host="localhost", clock=SystemClock()
    )


def tried(script: str, *arguments: object, configuration: object = None) -> subprocess.CompletedProcess[str]:
    """Run `script` in an interpreter that started with `configuration` as its OpenSSL's."""
    kept = {name: value for name, value in os.environ.items() if name != tls_groups.VARIABLE}
    return subprocess.run(  # noqa: S603 -- our own interpreter
        [sys.executable, "-c", script, *map(str, arguments)],
        env=kept if configuration is None else kept | {tls_groups.VARIABLE: str(configuration)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("profile", ["intermediate", "modern"])
def test_a_process_that_started_with_the_file_agrees_on_the_three_groups_alone(
    made: DevelopmentCertificate, profile: str
) -> None:
    done = tried(TRIAL, made.certificate, made.key, profile, configuration=tls_groups.FILE)
    assert done.stdout.split() == ["X25519", "prime256v1", "secp384r1"], done.stderr


def test_without_the_file_no_server_starts(made: DevelopmentCertificate, tmp_path: Path) -> None:
    own = tmp_path / "own.cnf"
    own.write_text("openssl_conf = mine\n[mine]\n")
    for configuration in (None, own):
        done = tried(TRIAL, made.certificate, made.key, "intermediate", configuration=configuration)
        assert done.returncode == 1
        assert "Groups = X25519:P-256:P-384" in done.stderr


def test_a_file_of_the_operators_own_stays_where_it_names_the_groups(
    made: DevelopmentCertificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own.cnf"
    own.write_text(tls_groups.FILE.read_text().replace("Groups = X25519:P-256:P-384", "Groups = P-384"))
    done = tried(TRIAL, made.certificate, made.key, "modern", configuration=own)
    assert done.stdout.split() == ["secp384r1"], done.stderr
    monkeypatch.setenv(tls_groups.VARIABLE, str(own))
    tls_groups.start_again()  # returns: nothing is started again


def test_the_connections_out_keep_their_own_versions_suites_and_authorities() -> None:
    with_file, without = tried(CLIENT, configuration=tls_groups.FILE), tried(CLIENT)
    assert with_file.stdout == without.stdout != "", with_file.stderr
    assert with_file.stdout.split()[0] == "TLSv1_2"
