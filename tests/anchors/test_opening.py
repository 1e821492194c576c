"""Anchors as the settings name them: what is wrong with one stops the start and names it, without a secret."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest

from anchors.authority import Authority
from anchors.test_witnessing import VKEY
from anchors.world import Reply, always, answering, place, trouble, way_out
from ledger.signing import SIGNER
from wellkeep.base import settings as settings_of
from wellkeep.base.clock import SystemClock
from wellkeep.base.errors import Misconfigured
from wellkeep.base.secret_files import read_secret
from wellkeep.base.settings import Settings, dump, load
from wellkeep.ledger.anchors.anchor import Anchor, Trouble
from wellkeep.ledger.anchors.opening import open_anchors
from wellkeep.ledger.anchors.outside import Outside

_HEAD = """
version = 1
deployment = "0198d7b2-0000-7000-8000-0000000000aa"
environment = "test"
[[egress.places]]
name = "elsewhere"
host = "127.0.0.1"
ports = [4711]
networks = ["127.0.0.0/8"]
"""
_NAMES = {"s3": "bucket", "rfc3161": "stamp"}
_ANCHORS = {
    "file": 'path = "drop"',
    "webhook": 'place = "elsewhere"\nsecret = "hook"',
    "s3": 'place = "elsewhere"\nbucket = "wk-bucket"\nregion = "eu-central-1"\ncredentials = "s3.json"',
    "rfc3161": 'place = "elsewhere"\nchain = "chain.pem"',
    "witness": f'place = "elsewhere"\nvkey = "{VKEY}"',
}


def written(home: Path, *anchors: str, policy: str = "") -> Settings:
    """Write the settings of `anchors` below `home`, and load them."""
    (home / settings_of.FILE_NAME).write_text(f"{_HEAD}[ledger]\n{policy}\n" + "\n".join(anchors))
    return load(home)


def anchor(kind: str, name: str | None = None, *, more: str = "") -> str:
    return f'[[ledger.anchors]]\nkind = "{kind}"\nname = "{name or _NAMES.get(kind, kind)}"\n{_ANCHORS[kind]}\n{more}'


def opened(home: Path, settings: Settings) -> tuple[Anchor, ...]:
    egress = way_out(*settings.egress.places)
    return open_anchors(settings.ledger.anchors, home=home, egress=egress, signers=[SIGNER], clock=SystemClock())


@pytest.fixture
def home(tmp_path: Path, authority: Authority) -> Path:
    secrets = tmp_path / "secrets"
    secrets.mkdir(mode=0o700)
    (secrets / "hook").write_text("whsec_" + b64encode(bytes(32)).decode() + "\n")
    (secrets / "s3.json").write_text('{"access_key_id":"AKIA","secret_access_key":"s","session_token":"t"}')
    for file in secrets.iterdir():
        file.chmod(0o600)
    (tmp_path / "chain.pem").write_bytes(authority.chain.read_bytes())
    return tmp_path


def test_every_kind_is_opened_and_written_back(home: Path) -> None:
    settings = written(home, *map(anchor, _ANCHORS), policy="anchors_needed = 3")
    assert [(one.name, one.kind) for one in opened(home, settings)] == [
        (_NAMES.get(kind, kind), kind) for kind in _ANCHORS
    ]
    assert [one.kind for one in settings.ledger.anchors] == list(_ANCHORS)
    (home / settings_of.FILE_NAME).write_text(dump(settings))
    assert load(home) == settings


@pytest.mark.parametrize(
    ("anchors", "policy", "said"),
    [
        ([], "anchors_needed = 1", "asks for 1"),
        ([anchor("file")], "anchors_needed = 2", "asks for 2"),
        ([anchor("file")], "anchors_needed = 0", "ledger.anchors_needed"),
        ([anchor("file"), anchor("file")], "", "Two anchors are named file"),
        ([anchor("webhook").replace("elsewhere", "nowhere")], "", "does not list"),
        ([anchor("file", more='more = "x"')], "", "more"),
        ([anchor("file").replace('kind = "file"', 'kind = "tape"')], "", "ledger.anchors"),
        ([anchor("file", "Name")], "", "ledger.anchors"),
        ([anchor("webhook", more='path = "../x"')], "", "ledger.anchors"),
        ([anchor("webhook").replace('"hook"', '"../hook"')], "", "ledger.anchors"),
        ([anchor("s3", more="retain_days = 0")], "", "ledger.anchors"),
        ([anchor("witness").replace(VKEY, "key")], "", "ledger.anchors"),
    ],
)
def test_settings_that_do_not_hold_together(home: Path, anchors: list[str], policy: str, said: str) -> None:
    with pytest.raises(Misconfigured, match=said):
        written(home, *anchors, policy=policy)


@pytest.mark.parametrize("content", ["{}", "no JSON", '{"access_key_id":"a","secret_access_key":"b","c":"d"}'])
def test_credentials_that_are_none(home: Path, content: str) -> None:
    settings = written(home, anchor("s3"))
    (home / "secrets/s3.json").write_text(content)
    with pytest.raises(Misconfigured, match="anchor bucket"):
        opened(home, settings)


async def test_credentials_that_are_put_there_anew_are_used_at_once(home: Path) -> None:
    """As temporary ones are, every few hours; and what is no longer fit to be used is told, and sent nowhere."""
    file = home / "secrets/s3.json"
    async with answering(always(Reply(403))) as server:
        settings = written(home, anchor("s3"))
        egress = way_out(place("elsewhere", server.port))
        (bucket,) = open_anchors(
            settings.ledger.anchors, home=home, egress=egress, signers=[SIGNER], clock=SystemClock()
        )
        assert await trouble(bucket) is Trouble.REFUSED
        file.write_text('{"access_key_id":"ASIA","secret_access_key":"s2","session_token":"t2"}')
        assert await trouble(bucket) is Trouble.REFUSED
        file.chmod(0o640)
        assert await trouble(bucket) is Trouble.SECRET
        file.chmod(0o600)
        file.write_text("no JSON")
        assert await trouble(bucket) is Trouble.SECRET
    assert [asked.headers["x-amz-security-token"] for asked in server.asked] == ["t", "t2"]
    assert ["Credential=ASIA/" in asked.headers["authorization"] for asked in server.asked] == [False, True]


def test_a_secret_that_others_could_have_read_or_put_there(home: Path) -> None:
    file = home / "secrets/hook"
    assert read_secret(file).reveal().startswith(b"whsec_")
    file.chmod(0o640)
    with pytest.raises(Misconfigured, match="chmod 600"):
        read_secret(file)
    file.chmod(0o600)
    for held in (b"", b" \n", bytes(20_000)):
        file.write_bytes(held)
        with pytest.raises(Misconfigured, match="empty or too long"):
            read_secret(file)
    (home / "secrets/link").symlink_to(file)
    for name in ("none", "link", "."):
        with pytest.raises(Misconfigured, match="plain file"):
            read_secret(home / "secrets" / name)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"ports": (80,)}, "127.0.0.1"),
        ({"ports": (443,), "clear": False}, "127.0.0.1"),
        ({"ports": (443,)}, "127.0.0.1:443"),
        ({"host": "::1", "ports": (8443,), "clear": False}, "[::1]:8443"),
    ],
)
def test_the_host_that_is_named(changes: dict[str, object], expected: str) -> None:
    assert Outside(way_out(place("one", 1, **changes)), "one").authority == expected
