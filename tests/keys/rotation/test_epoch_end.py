"""Promise: an epoch's key counts as destroyed when its keeper says that it is gone, and not on the promised date."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from keys.rotation.rig import Rolling, never
from local_keys import SCOPE
from wellkeep.base.clock import SystemClock
from wellkeep.base.errors import KeysUnavailable
from wellkeep.keys.inventory import KnownEpoch
from wellkeep.keys.keyfile import epochs_in
from wellkeep.keys.kms import EpochKeys, EpochState
from wellkeep.keys.local import LocalEpochKeys
from wellkeep.vault.erasure import Erased, Erasures
from wellkeep.vault.erasure_certificate import Certificate, Certificates

_WAIT = timedelta(days=7)
_PAST = "UPDATE keys.epoch SET destroy_at = now() - interval '1 second' WHERE epoch = 1"

_ENTERED = """
SELECT action, count(*) AS n FROM ledger.entry
WHERE tenant_id = wk.platform() AND outcome = 'done' AND action IN ('epoch.rolled', 'key.retired', 'key.destroyed')
GROUP BY action
"""


@dataclass
class Cloud:
    """Epoch keys of a cloud: it waits before it destroys one, and whoever administers it can take that back."""

    inner: EpochKeys
    ordered: dict[int, datetime] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    away: bool = False

    async def destroy(self, epoch: int) -> datetime:
        if self.away:
            raise KeysUnavailable
        return self.ordered.setdefault(epoch, datetime.now(UTC) + _WAIT)

    async def state(self, epoch: int) -> EpochState:
        if self.away:
            raise KeysUnavailable
        if epoch in self.gone:
            return EpochState.GONE
        return EpochState.PENDING if epoch in self.ordered else EpochState.USABLE

    async def create(self, epoch: int) -> None:
        await self.inner.create(epoch)

    async def wrap(self, plain: bytes, *, epoch: int, context: Mapping[str, str]) -> bytes:
        return await self.inner.wrap(plain, epoch=epoch, context=context)

    async def unwrap(self, blob: bytes, *, epoch: int, context: Mapping[str, str]) -> bytes:
        return await self.inner.unwrap(blob, epoch=epoch, context=context)


async def _retired(roller: Rolling) -> tuple[Cloud, Certificates, UUID]:
    """Erase a patient, roll the epoch, and have it retired with its day come."""
    stack = roller.stack
    cloud = Cloud(roller.epochs)
    roller.epochs = cloud
    made = await stack.vault.records.create(stack.integration, "patients", {"family": "Lovelace"})
    assert made.subject is not None
    told: list[Erased] = []
    officer = stack.caller("privacy_officer")
    await Erasures(stack.vault.context, remember=told.extend).erase(officer, made.subject)
    await roller.engine(kept=timedelta(0)).run(await roller.begun(), never)
    return cloud, Certificates(gate=stack.gate, clock=stack.clock), made.subject


async def _epoch(roller: Rolling) -> KnownEpoch:
    return (await roller.known_epochs())[0]


async def _certificate(roller: Rolling, certificates: Certificates, subject: UUID) -> Certificate:
    return await certificates.of_subject(roller.stack.caller("privacy_officer"), subject)


async def test_a_promised_destruction_is_none_until_the_key_is_seen_to_be_gone(roller: Rolling) -> None:
    cloud, certificates, subject = await _retired(roller)
    assert await roller.engine().destroy_due() == []
    waiting = await _epoch(roller)
    assert (waiting.state, waiting.destroy_at) == ("retired", cloud.ordered[1])
    found = (await _certificate(roller, certificates, subject)).effective
    assert (found.state, found.until) == ("recoverable", cloud.ordered[1])
    await roller.stack.as_superuser(_PAST)  # the day has come, and the cloud still has it
    assert await roller.engine().destroy_due() == []
    assert (await _certificate(roller, certificates, subject)).effective.state == "recoverable"
    await roller.stack.as_superuser(_PAST)
    found = (await _certificate(roller, certificates, subject)).effective
    assert (found.state, found.until) == ("recoverable", None)
    cloud.gone.add(1)
    cloud.ordered[1] = datetime.now(UTC)
    assert await roller.engine().destroy_due() == [1]
    assert (await _epoch(roller)).state == "destroyed"
    assert (await _certificate(roller, certificates, subject)).effective.state == "effective"


async def test_a_destruction_that_was_taken_back_is_ordered_again(roller: Rolling) -> None:
    cloud, certificates, subject = await _retired(roller)
    assert await roller.engine().destroy_due() == []
    first = cloud.ordered.pop(1)
    await roller.stack.as_superuser(_PAST)
    assert (await _certificate(roller, certificates, subject)).effective.state == "recoverable"
    assert await roller.engine().destroy_due() == []
    assert cloud.ordered[1] > first
    assert (await _epoch(roller)).destroy_at == cloud.ordered[1]


async def test_while_the_keys_keeper_is_away_nothing_counts_as_destroyed(roller: Rolling) -> None:
    cloud, certificates, subject = await _retired(roller)
    cloud.away = True
    with pytest.raises(KeysUnavailable):
        await roller.engine().destroy_due()
    assert (await _epoch(roller)).state == "retired"
    assert (await _certificate(roller, certificates, subject)).effective.state == "recoverable"
    cloud.away = False
    cloud.gone.add(1)
    cloud.ordered[1] = datetime.now(UTC)
    assert await roller.engine().destroy_due() == [1]
    assert (await _certificate(roller, certificates, subject)).effective.state == "effective"


async def test_where_the_settings_name_another_place_nothing_is_called_destroyed_and_nothing_begun(
    roller: Rolling, tmp_path: Path
) -> None:
    _, certificates, subject = await _retired(roller)
    ours, roller.epochs = roller.epochs, LocalEpochKeys(tmp_path, scope=SCOPE)
    with pytest.raises(KeysUnavailable):
        await roller.engine().destroy_due()
    with pytest.raises(KeysUnavailable):
        await roller.engine().destroy(1)
    assert (await _epoch(roller)).state == "retired"
    assert (await _certificate(roller, certificates, subject)).effective.state == "recoverable"
    begun = await roller.begun(3)
    with pytest.raises(KeysUnavailable):
        await roller.engine().run(begun, never)
    assert [one.epoch for one in await roller.known_epochs()] == [1, 2]
    assert epochs_in(tmp_path) == []
    roller.epochs = ours
    await roller.engine().run(await roller.state(begun.id), never)
    assert [one.epoch for one in await roller.known_epochs()] == [1, 2, 3]


async def test_two_workers_at_once_enter_each_step_once(roller: Rolling) -> None:
    """Whoever comes second finds it done: a ledger that says twice what was once misleads whoever counts."""
    roll, workers = await roller.begun(), [roller.engine(kept=timedelta(0)) for _ in range(4)]
    await asyncio.gather(*(one._begin(roll, 2) for one in workers))
    await workers[0].run(roll, never)
    await asyncio.gather(*(one.destroy_due() for one in workers))
    (epoch, _) = await roller.known_epochs()
    assert epoch.state == "destroyed"
    rows = await roller.stack.as_superuser(_ENTERED)
    assert {row["action"]: row["n"] for row in rows} == {"epoch.rolled": 1, "key.retired": 1, "key.destroyed": 1}


class _Ahead(SystemClock):
    """A machine whose clock jumped a year ahead of the database's."""

    def now(self) -> datetime:
        return super().now() + timedelta(days=365)


async def test_a_clock_that_jumps_ahead_ends_no_epoch_early(roller: Rolling) -> None:
    await roller.engine(kept=timedelta(days=30)).run(await roller.begun(), never)
    jumped = roller.engine()
    jumped._clock = _Ahead()
    assert await jumped.destroy_due() == []
    assert (await _epoch(roller)).state == "retired"
    assert await roller.epochs.state(1) is EpochState.USABLE
