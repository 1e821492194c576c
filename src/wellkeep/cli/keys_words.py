"""How keys, epochs, roots and rotations read in a table."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from wellkeep.assembly.keys_overview import RootUse, TenantKeyState
from wellkeep.assembly.keys_status import EpochStatus, KeyStatus
from wellkeep.cli.console import counted
from wellkeep.keys.kms import EpochState
from wellkeep.keys.rotation import Rotation, Tier

_SHOWN_ROOT = 14
_LEAST_SHOWN = 0.01


def key_row(one: KeyStatus, named: Mapping[UUID, str]) -> tuple[object, ...]:
    """Return the cells of a key."""
    due = "" if one.due is None else f"{'overdue since ' if one.overdue else ''}{one.due:%Y-%m-%d}"
    return (
        named.get(one.tenant, one.tenant),
        one.purpose.value,
        one.epoch,
        one.state,
        days(one.age_days),
        due,
        one.kms_epoch or "",
        one.root[:_SHOWN_ROOT] if one.driver else "not in the settings",
    )


def epoch_row(one: EpochStatus) -> tuple[object, ...]:
    """Return the cells of an epoch."""
    if one.destroyed_at is not None:
        waits = one.outside == EpochState.PENDING  # a cloud keeps it until that date
        end = f"{'is destroyed on' if waits else 'destroyed'} {one.destroyed_at:%Y-%m-%d %H:%M}"
    elif one.destroy_at is not None:
        end = f"is destroyed on {one.destroy_at:%Y-%m-%d %H:%M}"
    else:
        end = "" if one.due is None else f"{'overdue since' if one.overdue else 'rolls by'} {one.due:%Y-%m-%d}"
    return (one.epoch, one.state, f"{one.rows:,}", one.outside, days(one.age_days), end)


def root_row(one: RootUse) -> tuple[object, ...]:
    """Return the cells of a root key."""
    return (one.root, one.driver or "not in the settings", f"{one.rows:,}", f"{one.to_move:,}")


def tenant_row(one: TenantKeyState, named: Mapping[UUID, str]) -> tuple[object, ...]:
    """Return the cells of a tenant."""
    living = [key for key in one.keys if key.state != "destroyed"]
    overdue = [key.purpose.value for key in living if key.overdue]
    oldest = max((key.age_days for key in living), default=0)
    return (named.get(one.tenant, one.tenant), one.state, len(living), days(oldest), ", ".join(overdue))


def rotation_row(one: Rotation, named: Mapping[UUID, str]) -> tuple[object, ...]:
    """Return the cells of a rotation."""
    whose = named.get(one.tenant, one.tenant)
    return (one.tier.value, whose, one.state, progress_of(one), f"{one.started_at:%Y-%m-%d %H:%M}", one.error)


def ended_words(one: Rotation) -> str:
    """Return what a rotation that is done has done; an epoch's counts what tenants' keys wrap, not these themselves."""
    if one.tier is Tier.ROOT:
        return f"{counted(one.done, 'key')} re-wrapped. None is left under another root key."
    if one.tier is Tier.EPOCH:
        return (
            f"Every tenant's keys are under epoch {one.target}, with {counted(one.done, 'key')} of patients and files "
            "re-wrapped. The epoch before is retired."
        )
    return f"{counted(one.done, 'stored state')} brought up to date. Nothing is left under the keys before."


def used(percent: float | None) -> str:
    """Return how much of a key's seals is used, in per cent; nothing for a key that seals nothing."""
    if percent is None:
        return ""
    return "<0.01" if 0 < percent < _LEAST_SHOWN else f"{percent:.2f}"


def progress_of(one: Rotation) -> str:
    """Return how far a rotation is: `12,000 of 50,000`."""
    return f"{one.done:,}" if one.total is None else f"{one.done:,} of {one.total:,}"


def days(number: int) -> str:
    """Return an age: `1 day`, `90 days`."""
    return "1 day" if number == 1 else f"{number:,} days"
