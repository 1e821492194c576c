"""Accepting a restore: each log that lost entries goes on under a new epoch, which says what was lost.

Rules: nothing of the old epoch is touched, so what was anchored or exported of it still verifies against it; the first
entries of the new one, and the root log, name the run of entries that is gone and the root that is remembered of it;
all of it commits together. The threat is a loss that is passed over: an auditor must see that there was one, when it
was accepted, by whom, and where the reason lies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

import msgspec

from wellkeep.base.errors import LedgerUnavailable
from wellkeep.base.ids import PLATFORM_TENANT, uuid7
from wellkeep.crypto.merkle import Frontier
from wellkeep.db.connection import Connection
from wellkeep.ledger.append import Appender
from wellkeep.ledger.checkpoint import Checkpoint
from wellkeep.ledger.event import Action, Event, prepare
from wellkeep.ledger.setback import How, Setback, heads_of
from wellkeep.ledger.splice import Head, Submitted

_AT_ONCE = 100


class Reopened(NamedTuple):
    """A log that goes on: its new epoch, and the run of entries of an old one that is gone."""

    tenant: UUID
    epoch: int
    setback: Setback


async def accept(
    connection: Connection, appender: Appender, setbacks: Sequence[Setback], *, told: Event
) -> list[Reopened]:
    """Open a new epoch for each log of `setbacks`; return which, in one transaction of `connection` (wk_ledger's).

    `told` is the event of the operator's act (who, why); its copies say in each log and in the root log what was lost.
    Without setbacks (what was remembered could not be read) the root log alone says that it was done. Raises
    LedgerUnavailable where something else appends meanwhile: stop every server first.
    """
    async with connection.transaction(isolation="read_committed"):
        newest = _newest((await heads_of(connection)).values())
        epochs = _next_epochs(newest, setbacks)
        reopened = [Reopened(one.tenant, epochs[one.tenant], one) for one in setbacks]
        for log in reopened:
            appender.reopen(log.tenant, log.epoch)
        if not reopened:
            await appender.append(connection, [Submitted(PLATFORM_TENANT, prepare(_forgotten(told)), outbox=False)])
        for some in _chunks(reopened):
            batch = [Submitted(log, prepare(event), outbox=False) for log, event in _events(some, told)]
            places = await appender.append(connection, batch)
            expected = {log.tenant: log.epoch for log in reopened}
            for each in batch:
                place = places.get(each.place)
                if place is None or place.epoch != expected.get(each.tenant, place.epoch):
                    raise LedgerUnavailable(
                        "The ledger is being written to. Stop every server of this deployment first"
                    )
    appender.committed()
    return reopened


def remembered_after(heads: Mapping[str, Head]) -> list[Checkpoint]:
    """Return what is to be remembered once the database is accepted as it is."""
    return [
        Checkpoint(name, head.size, Frontier(size=head.size, hashes=head.frontier).root())
        for name, head in heads.items()
    ]


def _events(reopened: Iterable[Reopened], told: Event) -> Iterator[tuple[UUID, Event]]:
    for log in reopened:
        setback = log.setback
        lost = msgspec.structs.replace(
            told,
            id=uuid7(),
            action=Action.LEDGER_RESTORED,
            resource_type="log",
            resource_id=str(log.tenant),
            span=(setback.epoch, 0 if setback.how is How.OTHER else setback.size, setback.remembered.size),
            digest=setback.remembered.root,
        )
        yield log.tenant, lost
        if log.tenant != PLATFORM_TENANT:
            yield PLATFORM_TENANT, msgspec.structs.replace(lost, id=uuid7())


def _newest(heads: Iterable[Head]) -> dict[UUID, int]:
    epochs: dict[UUID, int] = {}
    for head in heads:
        epochs[head.tenant] = max(epochs.get(head.tenant, 0), head.epoch)
    return epochs


def _next_epochs(newest: Mapping[UUID, int], setbacks: Iterable[Setback]) -> dict[UUID, int]:
    """Return for each tenant the epoch after all that are there and all that are remembered."""
    epochs: dict[UUID, int] = {}
    for one in setbacks:
        epochs[one.tenant] = max(epochs.get(one.tenant, 0), newest.get(one.tenant, 0) + 1, one.epoch + 1)
    return epochs


def _forgotten(told: Event) -> Event:
    """Return the event of an acceptance that lost no entries: the operator's command, with its reason."""
    command = {"resource_type": "command", "resource_id": "ledger.accept_restore"}
    return msgspec.structs.replace(told, action=Action.OPERATOR_COMMAND, **command)


def _chunks(reopened: Sequence[Reopened]) -> Iterator[Sequence[Reopened]]:
    for at in range(0, len(reopened), _AT_ONCE):
        yield reopened[at : at + _AT_ONCE]
