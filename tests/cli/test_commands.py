"""Every command: help with an example, JSON where a program reads, words and no traceback where it is refused."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from database import scratch_home
from deployments import command
from wellkeep.cli import console, wording
from wellkeep.cli.commands import app
from wellkeep.prove.deployment import Unseen

READ_BY_PROGRAMS = {
    "access explain", "access matrix", "access role-set", "access roles", "access rules", "access team",
    "apikey create", "apikey list", "apikey rotate", "apikey set", "apikey show",
    "approvals approve", "approvals list", "approvals refuse",
    "db status", "doctor", "egress approve", "egress list", "egress proposals", "egress propose", "egress test",
    "export", "findings",
    "findings resolve", "glass list", "glass review", "hold lift", "hold list", "hold place", "impersonation end",
    "impersonation list", "import", "index leak", "init",
    "keys destroy", "keys list", "keys rotate", "keys status", "ledger accept-restore",
    "ledger anchors", "ledger checkpoint", "ledger export", "ledger proof", "ledger prune", "ledger quarantine",
    "ledger search", "ledger sinks", "ledger verify",
    "provider add", "provider list", "provider test", "prove", "subject disclosures",
    "review decide", "review list", "review open", "review show", "review unused",
    "subject erase", "subject erasure", "tenant create", "tenant erase", "tenant erasure", "tenant list",
    "user create", "user leave", "user list", "user reset", "user show",
    "witness keygen", "witness status",
}  # fmt: skip
NEED_A_DEPLOYMENT = [
    ("serve",),
    ("doctor",),
    ("findings",),
    ("tenant", "list"),
    ("ledger", "verify"),
    ("ledger", "quarantine"),
    ("ledger", "anchors"),
    ("ledger", "sinks"),
    ("ledger", "prune"),
    ("ledger", "accept-restore", "--reason", "a"),
    ("hold", "list"),
    ("keys", "list"),
    ("keys", "status"),
    ("keys", "rotate", "epoch"),
    ("keys", "destroy", "--epoch", "1", "--yes"),
    ("hold", "place", "--reason", "a"),
    ("findings", "resolve", "a"),
    ("tenant", "set", "a", "--purpose-required"),
    ("db", "status"),
    ("index", "leak"),
]


def leaves() -> Iterator[tuple[str, Any]]:
    """Return each command with its full name."""
    for name, one in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        inner = getattr(one, "commands", None)
        if inner is None:
            yield name, one
            continue
        if one.invoke_without_command:
            yield name, one
        yield from ((f"{name} {part}", leaf) for part, leaf in inner.items())


@pytest.mark.parametrize(("name", "one"), list(leaves()))
def test_every_command_explains_itself(name: str, one: Any) -> None:
    said = one.help or ""
    assert f"Example: wellkeep {name}" in said, "an example that can be copied"
    options = {option for parameter in one.params for option in parameter.opts}
    assert ("--json" in options) == (name in READ_BY_PROGRAMS)
    assert all(getattr(parameter, "help", None) for parameter in one.params if "--home" in parameter.opts)


@pytest.fixture
def nowhere() -> Iterator[Path]:
    """Return a directory without a deployment."""
    folder = scratch_home()
    yield folder / "nothing-here"
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("arguments", NEED_A_DEPLOYMENT)
def test_where_there_is_no_deployment(nowhere: Path, arguments: tuple[str, ...]) -> None:
    said = command(*arguments, home=nowhere)
    unverified = arguments == ("ledger", "verify")
    assert said.code == (2 if unverified else 1), said.all
    assert f"No deployment in {nowhere}" in said.err
    assert f"wellkeep init {nowhere}" in said.err
    assert not nowhere.exists()


def test_wrong_usage_is_exit_code_2() -> None:
    for arguments in (("invent",), ("db", "rollback", "--steps", "0", "--yes"), ("apikey", "create")):
        assert command(*arguments).code == 2


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device", "/a/file"), "No space left on device (/a/file)"),
        (Unseen("the server did not start"), "the server did not start"),
        (ValueError("Xk9CanaryZq"), "A fault of ours: ValueError"),
        (KeyError("Xk9CanaryZq"), "A fault of ours: KeyError"),
    ],
)
def test_an_error_becomes_words_that_quote_nothing(error: Exception, said: str) -> None:
    message, hint = wording.words(error)
    assert said in message
    assert "Canary" not in f"{message}{hint}"


def test_what_a_command_tells_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Brackets are no markup: `[[ledger.sinks]]` and a directory `[old]` are told whole."""
    console.done("Name one in [[ledger.sinks]]: /srv/[old]/x")
    console.partly_done("It is in [red]")
    shown = capsys.readouterr().out
    assert "[[ledger.sinks]]: /srv/[old]/x" in shown
    assert "It is in [red]" in shown


@pytest.mark.parametrize(
    ("number", "what", "said"),
    [(0, "log", "0 logs"), (1, "entry", "1 entry"), (2, "entry", "2 entries"), (1_000, "seal", "1,000 seals")],
)
def test_numbers_are_told_in_words(number: int, what: str, said: str) -> None:
    assert console.counted(number, what) == said
