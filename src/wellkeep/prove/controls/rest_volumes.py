"""rest.volumes: what the deployment writes lies on encrypted volumes, as the kernel tells it, down to the disks.

Where one does not, the claim is red and not met here: it is for whoever runs the machine to mend. What tells encrypted
volumes from others is tried first, on made-up machines of known stackings: a look that calls everything encrypted is
a failure of ours.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

from wellkeep.assembly.block_devices import Footing, Ground
from wellkeep.assembly.diagnosis_volumes import underneath
from wellkeep.assembly.volumes import Asked, Volumes, attested
from wellkeep.base.clock import SystemClock
from wellkeep.base.volume_settings import AttestedVolume
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.machine import Machine
from wellkeep.prove.probe import Probe
from wellkeep.prove.world import World

_LUKS = "CRYPT-LUKS2-00000000000000000000000000000000-probe"
_PLACE = Path("/wk-probe/data")
_SILENT = Asked(policy=lambda _: False, dataset=lambda _: "")


def _plain(machine: Machine) -> None:
    machine.device("sda")
    machine.device("sda1", partition_of="sda")
    machine.mounted("/", "sda1")


def _lvm_on_luks(machine: Machine) -> None:
    machine.device("sda")
    machine.device("dm-0", on=["sda"], uuid=_LUKS)
    machine.device("dm-1", on=["dm-0"], uuid="LVM-probe")
    machine.mounted("/wk-probe", "dm-1")


def _half_encrypted(machine: Machine) -> None:
    machine.device("sda")
    machine.device("sdb")
    machine.device("dm-0", on=["sda"], uuid=_LUKS)
    machine.device("dm-1", on=["dm-0", "sdb"], uuid="LVM-probe")
    machine.mounted("/wk-probe", "dm-1")


def _verified(machine: Machine) -> None:
    machine.device("sda")
    machine.device("dm-0", on=["sda"], uuid="CRYPT-VERITY-probe")
    machine.mounted("/wk-probe", "dm-0")


def _loop_on_plain(machine: Machine) -> None:
    _plain(machine)
    machine.device("loop0")
    machine.tell("loop0", "loop/backing_file", "/var/image")
    machine.file("/var/image")
    machine.mounted("/wk-probe", "loop0")


def _swapped_in_clear(machine: Machine) -> None:
    machine.device("sda")
    machine.swap("/dev/sda", "partition")
    machine.mounted("/wk-probe", kind="tmpfs", source="tmpfs")


def _afar(machine: Machine) -> None:
    machine.mounted("/wk-probe", kind="nfs4", source="server:/export")


_MACHINES: dict[str, tuple[Callable[[Machine], None], Ground]] = {
    "a plain partition": (_plain, Ground.CLEAR),
    "LVM on LUKS": (_lvm_on_luks, Ground.ENCRYPTED),
    "LVM over one encrypted disk and one that is not": (_half_encrypted, Ground.CLEAR),
    "dm-verity": (_verified, Ground.CLEAR),
    "a file on a plain disk, looped": (_loop_on_plain, Ground.CLEAR),
    "memory that is swapped out in clear": (_swapped_in_clear, Ground.CLEAR),
    "a network's file system": (_afar, Ground.UNKNOWN),
}


async def run(world: World, notes: Notes) -> None:
    """Try the look on made-up machines, then look at each directory of this deployment."""
    await asyncio.to_thread(_controls, notes)
    live = await world.live()
    for one in await underneath(live.home, live.settings):
        # Strangers read this: paths, devices and who attested what are the doctor's to tell.
        notes.ground(f"looked what lies beneath: {one.what}", held=one.footing.safe, seen=str(one.footing.ground))


def _controls(notes: Notes) -> None:
    wrong = [name for name, (made, ground) in _MACHINES.items() if _told(made) is not ground]
    notes.check(
        f"controls: {len(_MACHINES)} made-up machines, encrypted, in clear, and in between",
        held=not wrong,
        seen="each told as it is" if not wrong else f"told wrong: {', '.join(wrong)}",
    )
    today = SystemClock().now().date()
    late = _believed(today - timedelta(days=1), today)
    for_ever = _believed(date(9999, 12, 31), today)
    notes.check(
        "controls: a statement on a plain disk that holds today, one that ended yesterday, one for ever",
        held=_believed(today, today) and not late and not for_ever,
        seen="the first alone is believed" if not late and not for_ever else "one that does not hold is believed",
    )


def _told(made: Callable[[Machine], None]) -> Ground:
    with tempfile.TemporaryDirectory(prefix="wellkeep-machine-") as folder:
        machine = Machine(Path(folder))
        made(machine)
        return Volumes(machine.root, _SILENT).of(_PLACE).ground


def _believed(until: date, today: date) -> bool:
    stated = AttestedVolume(path="/", by="probe", reference="none", until=until)
    return attested(Footing(Ground.CLEAR, "a plain disk"), stated, today=today).safe


PROBE = Probe(claim="rest.volumes", where=Where.LIVE, run=run)
