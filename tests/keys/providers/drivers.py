"""Every driver, opened on what it talks to in tests, behind one face: what the conformance tests run on."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from anchors.moto import Moto
from anchors.world import Reply, answering, place, way_out
from keys.providers.aws_fake import FakeAws
from keys.providers.softhsm import MODULE, PIN, SoftHsm
from keys.providers.transit_fake import TOKEN, FakeTransit
from local_keys import SCOPE
from wellkeep.base.clock import Clock, SystemClock
from wellkeep.base.secrets import Secret
from wellkeep.egress.dialling import Limits
from wellkeep.egress.sigv4 import Credentials
from wellkeep.keys.aws import AwsEpochKeys, AwsKms
from wellkeep.keys.aws_calls import AwsCalls
from wellkeep.keys.aws_identity import StoredIdentity
from wellkeep.keys.calling import Service
from wellkeep.keys.kms import EpochKeys, Kms
from wellkeep.keys.local import LocalEpochKeys, LocalKms
from wellkeep.keys.pkcs11 import HsmKeys, Pkcs11EpochKeys, Pkcs11Kms
from wellkeep.keys.pkcs11_token import Token
from wellkeep.keys.scope import Scope
from wellkeep.keys.transit import TransitCalls, TransitEpochKeys, TransitKms

PATIENT = Limits(resolve=20.0, connect=20.0, read=20.0, total=40.0, answer=64 * 1024)
QUICK = Limits(resolve=0.5, connect=0.5, read=0.5, total=0.6, answer=64 * 1024)
"""For whoever never answers."""
REGION = "eu-central-1"
SECRET = "wJalrXUtnFEMI"


@dataclass
class Driver:
    """A driver: its root keys `one` and `other`, its epoch keys, and how to take a root key away or silence it.

    `say` has the service answer everything with one reply, or as ever; `credentials` are what it is spoken to with.
    """

    root: Callable[[Scope, str], Kms]
    epochs: Callable[[Scope], EpochKeys]
    revoke: Callable[[], Awaitable[None]] | None = None
    silence: Callable[[], Awaitable[None]] | None = None
    say: Callable[[Reply | None], None] | None = None
    credentials: tuple[str, ...] = ()
    mistakes_keys: bool = False


def credentials() -> Credentials:
    """Return keys that nobody checks."""
    return Credentials("AKIATEST", Secret(SECRET))


def service_on(port: int) -> Service:
    """Return the way to a KMS on loopback."""
    return Service(way_out(place("kms", port)), "kms", limits=PATIENT)


def hurry(service: Service) -> None:
    """Have it give up soon on whoever does not answer from now on."""
    service._limits = QUICK


def aws_calls(port: int, clock: Clock | None = None, *, service: Service | None = None) -> AwsCalls:
    """Return the calls of a KMS on loopback."""
    return AwsCalls(
        service or service_on(port), region=REGION, identity=StoredIdentity(credentials), clock=clock or SystemClock()
    )


def local(folder: Path) -> Driver:
    """Return the local driver."""
    keys = {"one": Secret(os.urandom(32)), "other": Secret(os.urandom(32))}
    return Driver(
        root=lambda scope, name: LocalKms(keys[name], scope=scope),
        epochs=lambda scope: LocalEpochKeys(folder, scope=scope),
    )


@asynccontextmanager
async def aws(calls: AwsCalls, one: str, other: str) -> AsyncIterator[Driver]:
    """Run on two keys of a KMS."""
    clock = SystemClock()
    arns = {"one": one, "other": other}
    yield Driver(
        root=lambda scope, name: AwsKms(calls, arn=arns[name], scope=scope, clock=clock),
        epochs=lambda scope: AwsEpochKeys(calls, scope=scope, wait_days=7, clock=clock),
    )


@asynccontextmanager
async def aws_fake(_: Path) -> AsyncIterator[Driver]:
    """Run on our own stand-in."""
    fake = FakeAws()
    keys = fake.add(), fake.add()
    async with answering(fake.handle) as server:
        service = service_on(server.port)
        calls = aws_calls(server.port, service=service)

        async def revoke() -> None:
            keys[0].state = "Disabled"

        async def silence() -> None:
            fake.slow = 30
            hurry(service)

        def say(reply: Reply | None) -> None:
            fake.replies = {} if reply is None else {"*": reply}

        async with aws(calls, keys[0].arn, keys[1].arn) as driver:
            driver.revoke, driver.silence, driver.say, driver.credentials = revoke, silence, say, (SECRET,)
            yield driver


@asynccontextmanager
async def aws_moto(moto: Moto) -> AsyncIterator[Driver]:
    """Run on moto's server, which opens under a disabled key: only that it says so of the key tells."""

    def ask(action: str, **told: object) -> dict[str, dict[str, str]]:
        headers = {"x-amz-target": f"TrentService.{action}", "content-type": "application/x-amz-json-1.1"}
        headers["Authorization"] = f"AWS4-HMAC-SHA256 Credential=owner/20260101/{REGION}/kms/aws4_request"
        url = f"http://127.0.0.1:{moto.port}/"
        answer = httpx.post(url, headers=headers, json=told, timeout=10, trust_env=False)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else {}

    arns = [ask("CreateKey", Description="root", KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["Arn"] for _ in range(2)]

    async def revoke() -> None:
        ask("DisableKey", KeyId=arns[0].rpartition("/")[2])  # moto knows no ARN here

    async with aws(aws_calls(moto.port), *arns) as driver:
        driver.revoke, driver.mistakes_keys = revoke, True
        yield driver


@asynccontextmanager
async def pkcs11(hsm: SoftHsm) -> AsyncIterator[Driver]:
    """Run on a token of SoftHSM2."""

    def keys(scope: Scope) -> HsmKeys:
        return HsmKeys(Token(module=MODULE, label=hsm.label, pin=hsm.pin), scope=scope)

    making = keys(SCOPE)
    labels = {name: f"{name}-{os.urandom(4).hex()}" for name in ("one", "other")}
    for label in labels.values():
        await making.make(label)

    async def revoke() -> None:
        await making.destroy(labels["one"])

    yield Driver(
        root=lambda scope, name: Pkcs11Kms(keys(scope), label=labels[name]),
        epochs=lambda scope: Pkcs11EpochKeys(keys(scope), clock=SystemClock()),
        revoke=revoke,
        credentials=(PIN,),
    )


@asynccontextmanager
async def transit(folder: Path) -> AsyncIterator[Driver]:
    """Run on our own stand-in for the transit engine."""
    fake, token = FakeTransit(), folder / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    fake.add("one")
    fake.add("other")
    async with answering(fake.handle) as server:
        service = Service(way_out(place("vault", server.port)), "vault", limits=PATIENT)

        def calls(scope: Scope) -> TransitCalls:
            return TransitCalls(service, mount="transit", namespace=None, token=token, scope=scope, clock=SystemClock())

        async def revoke() -> None:
            fake.token = "hvs.another"

        async def silence() -> None:
            fake.slow = 30
            hurry(service)

        def say(reply: Reply | None) -> None:
            fake.replies = {} if reply is None else {"*": reply}

        yield Driver(
            root=lambda scope, name: TransitKms(calls(scope), key=name),
            epochs=lambda scope: TransitEpochKeys(calls(scope), clock=SystemClock()),
            revoke=revoke,
            silence=silence,
            say=say,
            credentials=(TOKEN,),
        )
