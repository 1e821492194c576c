"""DSNs: a connection that could be answered by somebody else is refused; nothing of a DSN is ever printed."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wellkeep.base.errors import Misconfigured
from wellkeep.base.secrets import Secret
from wellkeep.db import dsn
from wellkeep.db.dsn import Endpoint

_PASSWORD = "s3cret-canary"


@pytest.mark.parametrize(
    "mode",
    ["", "?sslmode=disable", "?sslmode=prefer", "?sslmode=require", "?sslmode=verify-ca", "?sslmode=VERIFY-FULL"],
)
@pytest.mark.parametrize("host", ["db.example", "127.0.0.1", "localhost", "[::1]"])
def test_tcp_needs_verify_full(host: str, mode: str) -> None:
    with pytest.raises(Misconfigured, match="sslmode=verify-full"):
        dsn.parse(Secret(f"postgresql://admin:{_PASSWORD}@{host}:5432/wellkeep{mode}"))


def test_tcp_with_verify_full_checks_the_name() -> None:
    endpoint = dsn.parse(Secret("postgresql://admin:p%40ss@db.example:6432/well%20keep?sslmode=verify-full"))
    assert (endpoint.host, endpoint.port, endpoint.user, endpoint.database) == (
        "db.example",
        6432,
        "admin",
        "well keep",
    )
    arguments = endpoint.arguments()
    assert arguments["password"] == "p@ss"
    assert arguments["ssl"].check_hostname
    assert arguments["ssl"].verify_mode == ssl.CERT_REQUIRED


def test_no_file_that_the_environment_names_gets_the_keys_of_the_session(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    arguments = dsn.parse(Secret("postgresql://a:b@db/w?sslmode=verify-full")).arguments()
    assert arguments["ssl"].keylog_filename is None
    assert arguments["ssl"].minimum_version >= ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://admin:12{_PASSWORD}/56@db/wellkeep?sslmode=verify-full",
        f"postgresql://admin:1234/{_PASSWORD}@db/wellkeep?sslmode=verify-full",
        f"postgresql://admin:{_PASSWORD}@db/a%00b?sslmode=verify-full",
        f"postgresql://admin:{_PASSWORD}@db/{'x' * 64}?sslmode=verify-full",
        f"postgresql://admin:{_PASSWORD}@db/wellkeep?sslmode=verify-full&port=99999",
        f"postgresql://admin:{_PASSWORD}@db/wellkeep?sslmode=verify-full&port=0",
    ],
)
def test_a_slip_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(Misconfigured) as told:
        dsn.parse(Secret(text))
    assert _PASSWORD not in told.value.message


def test_socket_needs_no_tls() -> None:
    endpoint = dsn.parse(Secret("postgresql://admin@/wellkeep?host=/run/postgresql&port=5433"))
    assert endpoint.is_socket
    assert endpoint.arguments() == {
        "host": "/run/postgresql",
        "port": 5433,
        "database": "wellkeep",
        "user": "admin",
        "password": None,
        "ssl": False,
    }


@pytest.mark.parametrize(
    "text",
    [
        f"host=db user=admin password={_PASSWORD}",
        f"mysql://admin:{_PASSWORD}@db/wellkeep",
        f"postgresql://admin:{_PASSWORD}@db:port/wellkeep?sslmode=verify-full",
        f"postgresql://admin:{_PASSWORD}@db/wellkeep?sslmode=verify-full&sslmode=disable",
        f"postgresql://admin:{_PASSWORD}@db/wellkeep?sslmode=verify-full&options=-c%20fsync%3Doff",
        f"postgresql://admin:{_PASSWORD}@db/wellkeep?sslmode=verify-full&passfile=/x",
        f"postgresql://admin:{_PASSWORD}@a,b/wellkeep?sslmode=verify-full",
        f"postgresql://admin:{_PASSWORD}@db/wellkeep?sslmode=verify-full&sslrootcert=relative.pem",
        f"postgresql://admin:{_PASSWORD}@db/?sslmode=verify-full",
        f"postgresql://:{_PASSWORD}@db/wellkeep?sslmode=verify-full",
        f"postgresql://admin:{_PASSWORD}@/wellkeep",
        f"postgresql://admin:{_PASSWORD}@/wellkeep?host=/run&port=x",
    ],
)
def test_anything_else_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        dsn.parse(Secret(text))
    assert _PASSWORD not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_unreadable_certificate_is_said() -> None:
    endpoint = dsn.parse(Secret("postgresql://a:b@db/w?sslmode=verify-full&sslrootcert=/nonexistent.pem"))
    with pytest.raises(Misconfigured, match="certificate"):
        endpoint.arguments()


@given(
    st.sampled_from(["/run/postgresql", "db.example", "10.0.0.1"]),
    st.integers(1, 65535),
    *(st.text(st.characters(codec="utf-8"), min_size=1, max_size=15).filter(str.isprintable) for _ in range(2)),
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1),
)
def test_url_reads_back(host: str, port: int, database: str, user: str, password: str) -> None:
    endpoint = Endpoint(host=host, port=port, database=database, user=user, password=Secret(password))
    read = dsn.parse(endpoint.url())
    assert (read.host, read.port, read.database.lstrip("/"), read.user) == (host, port, database.lstrip("/"), user)
    assert read.password is not None
    assert read.password.reveal() == password


def test_repr_hides_the_password() -> None:
    endpoint = Endpoint(host="/run", port=1, database="d", user="u", password=Secret(_PASSWORD))
    assert _PASSWORD not in repr(endpoint)
    assert _PASSWORD not in f"{endpoint} {endpoint.url()}"
