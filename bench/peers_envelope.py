"""Time what else seals a field, against bare AESGCM in this same process; runs in `.venv-peers`, prints JSON.

Each peer seals and opens one 32-byte value through its documented interface, with its key loaded before.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VALUE, AAD = os.urandom(32), os.urandom(60)
Trip = Callable[[], object]


def bare() -> Trip:
    aead = AESGCM(os.urandom(32))

    def trip() -> bytes:
        nonce = os.urandom(12)
        sealed = nonce + aead.encrypt(nonce, VALUE, AAD)
        return aead.decrypt(sealed[:12], sealed[12:], AAD)

    return trip


def fernet() -> Trip:
    box = Fernet(Fernet.generate_key())
    return lambda: box.decrypt(box.encrypt(VALUE))


def tink() -> Trip:
    import tink as library  # noqa: PLC0415 - a missing peer is an answer
    from tink import aead  # noqa: PLC0415

    aead.register()
    handle = library.new_keyset_handle(aead.aead_key_templates.AES256_GCM)
    primitive = handle.primitive(aead.Aead)
    return lambda: primitive.decrypt(primitive.encrypt(VALUE, AAD), AAD)


def pymongocrypt() -> Trip:
    import bson  # noqa: PLC0415
    from pymongocrypt.options import MongoCryptOptions  # noqa: PLC0415
    from pymongocrypt.synchronous.explicit_encrypter import ExplicitEncrypter  # noqa: PLC0415
    from pymongocrypt.synchronous.state_machine import MongoCryptCallback  # noqa: PLC0415

    vault: list[bytes] = []

    class Callback(MongoCryptCallback):  # type: ignore[misc]
        def kms_request(self, kms_context: object) -> None:
            raise NotImplementedError

        def collection_info(self, database: str, filter: bytes) -> bytes:  # noqa: A002 - its parameter's name
            raise NotImplementedError

        def mark_command(self, database: str, cmd: bytes) -> bytes:
            raise NotImplementedError

        def fetch_keys(self, filter: bytes) -> object:  # noqa: A002 - its parameter's name
            del filter
            yield from vault

        def insert_data_key(self, data_key: object) -> object:
            document = bson.decode(bytes(data_key))  # type: ignore[call-overload]
            vault.append(bson.encode(document))
            return document["_id"]

        def bson_encode(self, doc: object) -> bytes:
            return bytes(bson.encode(doc))

        def close(self) -> None:
            vault.clear()

    encrypter = ExplicitEncrypter(Callback(), MongoCryptOptions({"local": {"key": os.urandom(96)}}))
    key = bytes(encrypter.create_data_key("local"))
    value = bson.encode({"v": bson.Binary(VALUE)})
    algorithm = "AEAD_AES_256_CBC_HMAC_SHA_512-Random"
    return lambda: encrypter.decrypt(encrypter.encrypt(value, algorithm, key_id=key))


def aws_encryption_sdk() -> Trip:
    import aws_encryption_sdk as sdk  # noqa: PLC0415
    from aws_encryption_sdk.identifiers import CommitmentPolicy, EncryptionKeyType, WrappingAlgorithm  # noqa: PLC0415
    from aws_encryption_sdk.internal.crypto.wrapping_keys import WrappingKey  # noqa: PLC0415
    from aws_encryption_sdk.key_providers.raw import RawMasterKeyProvider  # noqa: PLC0415

    class Provider(RawMasterKeyProvider):  # type: ignore[misc]
        provider_id = "bench"

        def _get_raw_key(self, key_id: bytes) -> WrappingKey:
            del key_id
            return WrappingKey(
                wrapping_algorithm=WrappingAlgorithm.AES_256_GCM_IV12_TAG16_NO_PADDING,
                wrapping_key=secret,
                wrapping_key_type=EncryptionKeyType.SYMMETRIC,
            )

    secret = os.urandom(32)
    provider = Provider()
    provider.add_master_key("key")
    client = sdk.EncryptionSDKClient(commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
    context = {"field": AAD.hex()}

    def trip() -> bytes:
        sealed, _ = client.encrypt(source=VALUE, key_provider=provider, encryption_context=context)
        opened, _ = client.decrypt(source=sealed, key_provider=provider)
        return bytes(opened)

    return trip


def interleaved(trips: dict[str, Trip]) -> dict[str, float]:
    """Return the best CPU time a trip in nanoseconds; rounds are interleaved, so that noise hits all alike."""
    result = dict.fromkeys(trips, float("inf"))
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for name, trip in trips.items():
            count = 1 if result[name] < float("inf") and result[name] > 1e6 else 50
            start = time.process_time_ns()
            for _ in range(count):
                trip()
            result[name] = min(result[name], (time.process_time_ns() - start) / count)
    return result


def main() -> None:
    trips = {"bare": bare()}
    answer: dict[str, float | str] = {}
    for peer in (tink, fernet, pymongocrypt, aws_encryption_sdk):
        try:
            trips[peer.__name__] = peer()
        except ImportError as missing:
            answer[peer.__name__] = f"not installed ({missing.name})"
    times = interleaved(trips)
    reference = times.pop("bare")
    print(json.dumps({**answer, **{name: reference / taken for name, taken in times.items()}}))


if __name__ == "__main__":
    main()
