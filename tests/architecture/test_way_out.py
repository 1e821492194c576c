"""Whatever goes out goes through `egress`: no other module holds what could connect, but for those reviewed here."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "src/wellkeep"
SOURCES = sorted(path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0] != "egress")
CONNECTING = {
    *("httpx", "httpcore", "aiohttp", "requests", "urllib3", "urllib.request", "http.client", "websockets"),
    *("smtplib", "ftplib", "imaplib", "poplib", "nntplib", "telnetlib", "xmlrpc.client", "paramiko", "asyncssh"),
    *("boto3", "botocore.httpsession", "botocore.session", "botocore.endpoint", "socket", "anyio", "h11"),
}
"""Libraries that connect to somewhere, and what lies under them."""
CALLS = {
    *("open_connection", "create_connection", "create_datagram_endpoint", "sock_connect", "sock_sendto"),
    *("connect_tcp", "connect_ex", "getaddrinfo", "gethostbyname", "getnameinfo"),
}
"""What connects, or asks others about a name, by whatever it is called on."""
LISTENING = {"api/listeners.py", "api/supervisor.py", "cli/demo.py", "cli/witness.py", "prove/server.py"}
"""They bind sockets, and connect none."""
OUR_OWN_SERVER = {
    *("cli/client.py", "cli/wording.py", "cli/demo_data.py", "cli/demo_tour.py", "cli/exports.py", "cli/imports.py"),
}
"""The command line's client of our own API."""


def imported(tree: ast.AST) -> set[str]:
    """Return every module that is imported, each with those that it lies in."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            found |= {".".join(parts[:count]) for count in range(1, len(parts) + 1)}
    return found


def reviewed(name: str) -> set[str]:
    """Return what the module `name` may import of what connects."""
    allowed = {"httpx"} if name in OUR_OWN_SERVER or name.startswith("prove/") else set()
    return allowed | ({"socket"} if name in LISTENING else set())


def calls(tree: ast.AST) -> set[str]:
    """Return the names of all that is called, or handed on to be."""
    found = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return found | {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_egress_connects(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    tree = ast.parse(path.read_text("utf-8"))
    assert imported(tree) & CONNECTING <= reviewed(name)
    if not name.startswith("prove/"):  # probes talk to our own server, byte by byte where that is the question
        assert not calls(tree) & CALLS


def test_nobody_imports_by_a_name_made_up_meanwhile() -> None:
    """But for the table of commands, whose modules are our own."""
    found = {
        str(path.relative_to(ROOT))
        for path in sorted(ROOT.rglob("*.py"))
        if calls(ast.parse(path.read_text("utf-8"))) & {"import_module", "__import__", "exec", "eval"}
    }
    assert found <= {"cli/commands.py"}


def test_what_was_reviewed_is_there() -> None:
    for name in LISTENING | OUR_OWN_SERVER:
        assert imported(ast.parse((ROOT / name).read_text("utf-8"))) & CONNECTING, f"{name} need not be on the list"


def test_nobody_follows_redirects_or_takes_proxies_from_the_environment() -> None:
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.keyword) and node.arg in {"follow_redirects", "trust_env", "proxy", "mounts"}:
                allowed = (
                    path.name == "rest_places.py" and node.arg == "follow_redirects"
                )  # to see that it leads nowhere
                assert allowed or (isinstance(node.value, ast.Constant) and node.value.value is False), path


@pytest.mark.parametrize(
    "source",
    [
        "import httpx",
        "import urllib.request",
        "from urllib import request",
        "from urllib.request import urlopen",
        "import http.client as c",
        "def f():\n    import socket",
        "from botocore.httpsession import URLLib3Session",
    ],
)
def test_the_test_sees_an_import(source: str) -> None:
    assert imported(ast.parse(source)) & CONNECTING


@pytest.mark.parametrize(
    "source",
    [
        "asyncio.open_connection('h', 1)",
        "from asyncio import open_connection\nopen_connection('h', 1)",
        "dial = loop.create_connection\ndial(None)",
        "await_ = loop.sock_connect",
    ],
)
def test_the_test_sees_a_call(source: str) -> None:
    assert calls(ast.parse(source)) & CALLS
