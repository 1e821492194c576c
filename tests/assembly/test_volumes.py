"""What a directory lies on is told by the kernel, layer by layer; what is not understood is unknown, never fine."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from wellkeep.assembly.block_devices import Footing, Ground
from wellkeep.assembly.diagnosis_volumes import look, underneath, volume_verdicts
from wellkeep.assembly.home import Home
from wellkeep.assembly.volumes import Asked, Volumes, attested, fscrypt_policy, zfs_encryption
from wellkeep.base.settings import FILE_NAME, DatabaseSettings, Settings, dump, load
from wellkeep.base.volume_settings import AttestedVolume, VolumeSettings
from wellkeep.prove.machine import Machine

LUKS = "CRYPT-LUKS2-0123456789abcdef0123456789abcdef-vault"
VAULT = Path("/vault/data")
TODAY = date(2026, 11, 22)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine")


def plain(machine: Machine) -> None:
    machine.device("sda")
    machine.device("sda1", partition_of="sda")
    machine.mounted("/", "sda1")


def luks(machine: Machine) -> None:
    machine.device("sda")
    machine.device("dm-0", on=["sda"], uuid=LUKS)
    machine.mounted("/vault", "dm-0")


def lvm_on_luks(machine: Machine) -> None:
    machine.device("sda")
    machine.device("sda2", partition_of="sda")
    machine.device("dm-0", on=["sda2"], uuid=LUKS)
    machine.device("dm-1", on=["dm-0"], uuid="LVM-abcdef")
    machine.mounted("/vault", "dm-1", kind="xfs")


def luks_on_lvm(machine: Machine) -> None:
    machine.device("sda")
    machine.device("dm-0", on=["sda"], uuid="LVM-abcdef")
    machine.device("dm-1", on=["dm-0"], uuid="CRYPT-LUKS1-00-x")
    machine.mounted("/vault", "dm-1")


def lvm_half_encrypted(machine: Machine) -> None:
    machine.device("sda")
    machine.device("sdb")
    machine.device("dm-0", on=["sda"], uuid=LUKS)
    machine.device("dm-1", on=["dm-0", "sdb"], uuid="LVM-abcdef")
    machine.mounted("/vault", "dm-1")


def raid_of_luks(machine: Machine) -> None:
    for disk, crypt in (("sda", "dm-0"), ("sdb", "dm-1")):
        machine.device(disk)
        machine.device(crypt, on=[disk], uuid=LUKS)
    machine.device("md0", on=["dm-0", "dm-1"])
    machine.device("md0p1", partition_of="md0")
    machine.mounted("/vault", "md0p1")


def verity(machine: Machine) -> None:
    machine.device("sda")
    machine.device("dm-0", on=["sda"], uuid="CRYPT-VERITY-00-x")
    machine.mounted("/vault", "dm-0")


def integrity(machine: Machine) -> None:
    machine.device("sda")
    machine.device("dm-0", on=["sda"], uuid="CRYPT-INTEGRITY-x")
    machine.mounted("/vault", "dm-0")


def named_like_a_crypt(machine: Machine) -> None:
    machine.device("sda")
    machine.device("dm-0", on=["sda"], uuid="LVM-CRYPT-LUKS2-x")
    machine.mounted("/vault", "dm-0")


def loop(*, on: Callable[[Machine], None], deleted: bool = False, seen: bool = True) -> Callable[[Machine], None]:
    def made(machine: Machine) -> None:
        on(machine)
        if seen:
            machine.file("/vault/image")
        machine.device("loop0")
        machine.tell("loop0", "loop/backing_file", "/vault/image" + (" (deleted)" if deleted else ""))
        machine.mounted("/vault/data", "loop0")

    return made


def second_device(option: str, *, plain: bool) -> Callable[[Machine], None]:
    def made(machine: Machine) -> None:
        luks(machine)
        machine.device("sdb")
        name = "/dev/sdb" if plain else "/dev/dm-0"
        machine.mounted("/vault/data", "dm-0", kind="xfs", options=f"rw,noquota,{option}={name}")

    return made


def swapfile_of_the_host(machine: Machine) -> None:
    luks(machine)
    machine.mounted("/", "dm-0")
    machine.swap("/swapfile", "file")
    machine.mounted("/vault", kind="tmpfs", source="tmpfs")


def shadowed(machine: Machine) -> None:
    luks(machine)
    machine.device("sdc")
    machine.mounted("/vault", "sdc")


def tmpfs(*, swap: str, options: str = "") -> Callable[[Machine], None]:
    def made(machine: Machine) -> None:
        luks(machine)
        machine.device("sdb")
        machine.device("zram0")
        machine.tell("zram0", "backing_dev", "/dev/sdb" if swap == "zram" else "none")
        if swap:
            machine.swap("/dev/zram0" if swap.startswith("zram") else swap, "partition")
        machine.mounted("/vault", kind="tmpfs", source="tmpfs", options=options)

    return made


def swapfile(machine: Machine) -> None:
    plain(machine)
    machine.file("/swap file")
    machine.swap("/swap\\040file", "file")
    machine.mounted("/vault", kind="tmpfs", source="tmpfs")


def overlay(machine: Machine) -> None:
    luks(machine)
    (machine.root / "vault/upper").mkdir(parents=True)
    machine.mounted("/vault/data", kind="overlay", source="overlay", options="rw,lowerdir=/a:/b,upperdir=/vault/upper")


def overlay_outside(machine: Machine) -> None:
    luks(machine)
    machine.mounted("/vault/data", kind="overlay", source="overlay", options="rw,lowerdir=/a,upperdir=/elsewhere")


def btrfs(*, second: str) -> Callable[[Machine], None]:
    def made(machine: Machine) -> None:
        machine.device("sda")
        machine.device("sdb")
        machine.device("dm-0", on=["sda"], uuid=LUKS)
        machine.device("dm-1", on=["sdb"], uuid=second)
        devices = machine.root / "sys/fs/btrfs/uuid/devices"
        devices.mkdir(parents=True)
        for name in ("dm-0", "dm-1"):
            (devices / name).mkdir()
        (machine.root / "dev/mapper/vault").symlink_to("../dm-0")
        machine.mounted("/vault", kind="btrfs", source="/dev/mapper/vault")

    return made


def mounted(kind: str) -> Callable[[Machine], None]:
    return lambda machine: machine.mounted("/vault", kind=kind, source="tank/vault")


def no_sysfs(machine: Machine) -> None:
    luks(machine)
    shutil.rmtree(machine.root / "sys/dev")


def endless(machine: Machine) -> None:
    machine.device("dm-0")
    machine.device("dm-1", on=["dm-0"])
    (machine.root / "sys/devices/dm-0/slaves/dm-1").symlink_to(machine.root / "sys/devices/dm-1")
    machine.mounted("/vault", "dm-1")


def file_on_itself(machine: Machine) -> None:
    machine.file("/vault/image")
    machine.device("loop0")
    machine.tell("loop0", "loop/backing_file", "/vault/image")
    machine.mounted("/vault", "loop0")


STACKINGS: list[tuple[Callable[[Machine], None], Ground, str]] = [
    (plain, Ground.CLEAR, "down to sda"),
    (luks, Ground.ENCRYPTED, "LUKS2"),
    (lvm_on_luks, Ground.ENCRYPTED, "LUKS2"),
    (luks_on_lvm, Ground.ENCRYPTED, "LUKS1"),
    (lvm_half_encrypted, Ground.CLEAR, "down to sdb"),
    (raid_of_luks, Ground.ENCRYPTED, "LUKS2"),
    (verity, Ground.CLEAR, "down to sda"),
    (integrity, Ground.CLEAR, "down to sda"),
    (named_like_a_crypt, Ground.CLEAR, "down to sda"),
    (loop(on=luks), Ground.ENCRYPTED, "LUKS2"),
    (loop(on=plain), Ground.CLEAR, "down to sda"),
    (loop(on=luks, deleted=True), Ground.UNKNOWN, "deleted"),
    (loop(on=luks, seen=False), Ground.UNKNOWN, "can't be seen from here"),
    (second_device("logdev", plain=True), Ground.CLEAR, "down to sdb"),
    (second_device("rtdev", plain=True), Ground.CLEAR, "down to sdb"),
    (second_device("logdev", plain=False), Ground.ENCRYPTED, "LUKS2"),
    (swapfile_of_the_host, Ground.UNKNOWN, "can't be seen from here"),
    (shadowed, Ground.CLEAR, "down to sdc"),
    (tmpfs(swap=""), Ground.MEMORY, "no swap"),
    (tmpfs(swap="/dev/sdb"), Ground.CLEAR, "down to sdb"),
    (tmpfs(swap="/dev/dm-0"), Ground.MEMORY, "LUKS2"),
    (tmpfs(swap="zram none"), Ground.MEMORY, "zram"),
    (tmpfs(swap="zram"), Ground.CLEAR, "down to sdb"),
    (tmpfs(swap="/dev/sdb", options="rw,noswap"), Ground.MEMORY, "never swapped"),
    (tmpfs(swap="/dev/nothing"), Ground.UNKNOWN, "does not know"),
    (swapfile, Ground.CLEAR, "down to sda"),
    (overlay, Ground.ENCRYPTED, "LUKS2"),
    (overlay_outside, Ground.UNKNOWN, "mount a volume"),
    (btrfs(second=LUKS), Ground.ENCRYPTED, "LUKS2"),
    (btrfs(second="LVM-x"), Ground.CLEAR, "down to sdb"),
    (mounted("btrfs"), Ground.UNKNOWN, "btrfs"),
    (mounted("zfs"), Ground.UNKNOWN, "zfs does not say"),
    (mounted("nfs4"), Ground.UNKNOWN, "nfs4"),
    (mounted("9p"), Ground.UNKNOWN, "9p"),
    (mounted("ecryptfs"), Ground.ENCRYPTED, "eCryptfs"),
    (no_sysfs, Ground.UNKNOWN, "/sys does not say"),
    (endless, Ground.UNKNOWN, "/sys does not say"),
    (file_on_itself, Ground.UNKNOWN, "a file on a file"),
    (lambda _: None, Ground.UNKNOWN, "does not say what is mounted"),
]
SILENT = Asked(policy=lambda _: False, dataset=lambda _: "")


@pytest.mark.parametrize(("made", "ground", "word"), STACKINGS)
def test_each_stacking_is_told(machine: Machine, made: Callable[[Machine], None], ground: Ground, word: str) -> None:
    made(machine)
    footing = Volumes(machine.root, SILENT).of(VAULT)
    assert footing.ground is ground, footing
    assert word in footing.by
    assert footing.safe is (ground in {Ground.ENCRYPTED, Ground.MEMORY})


@pytest.mark.parametrize(("said", "ground"), [("off", Ground.CLEAR), ("aes-256-gcm", Ground.ENCRYPTED)])
def test_what_zfs_says_counts(machine: Machine, said: str, ground: Ground) -> None:
    mounted("zfs")(machine)
    asked = Asked(policy=lambda _: False, dataset=lambda name: said if name == "tank/vault" else "")
    assert Volumes(machine.root, asked).of(VAULT).ground is ground


def test_a_directory_that_the_kernel_encrypts_counts(machine: Machine) -> None:
    plain(machine)
    assert Volumes(machine.root, Asked(policy=lambda _: True)).of(VAULT) == Footing(Ground.ENCRYPTED, "fscrypt")


def test_this_kernel_is_asked_for_both(tmp_path: Path) -> None:
    assert fscrypt_policy(tmp_path) is False
    assert fscrypt_policy(tmp_path / "not there") is False
    assert zfs_encryption("-x") == ""
    assert zfs_encryption("no/such/dataset") == ""


def test_a_mount_point_with_a_space_is_found(machine: Machine) -> None:
    machine.device("dm-0", uuid=LUKS)
    machine.mounted("/the vault", "dm-0")
    assert Volumes(machine.root, SILENT).of(Path("/the vault/data")).safe


def statement(path: str, until: date = TODAY) -> AttestedVolume:
    return AttestedVolume(path=path, by="AWS", reference="vol-1, encrypted", until=until)


@pytest.mark.parametrize(
    ("until", "safe", "word"),
    [
        (TODAY, True, "attested by AWS (vol-1, encrypted) through 2026-11-22"),
        (TODAY + timedelta(days=400), True, "attested by AWS"),
        (TODAY - timedelta(days=1), False, "attested ended on 2026-11-21"),
        (TODAY + timedelta(days=401), False, "each year"),
    ],
)
def test_a_statement_stands_in_while_it_holds(*, until: date, safe: bool, word: str) -> None:
    for ground in (Ground.CLEAR, Ground.UNKNOWN):
        shown = attested(Footing(ground, "a disk"), statement("/", until), today=TODAY)
        assert (shown.safe, word in shown.by) == (safe, True)
    seen = Footing(Ground.ENCRYPTED, "dm-crypt")
    assert attested(seen, statement("/", until), today=TODAY) is seen, "what is seen is better than what is said"


def settings(*stated: AttestedVolume, database: DatabaseSettings | None = None) -> Settings:
    return Settings(
        version=1,
        deployment=UUID(int=7),
        environment="test",
        volumes=VolumeSettings(attested=stated),
        database=database or DatabaseSettings(),
    )


def test_a_statement_holds_for_its_own_volume_alone(machine: Machine) -> None:
    plain(machine)
    machine.device("sdb")
    machine.mounted("/srv/home/postgres", "sdb")
    home, volumes = Home(Path("/srv/home")), Volumes(machine.root, SILENT)
    found = {one.what: one.footing.ground for one in look(home, settings(statement(".")), volumes, today=TODAY)}
    assert found["secrets"] is Ground.ATTESTED
    assert found["the server's log"] is Ground.ATTESTED
    assert found["the database's files"] is Ground.CLEAR, "another volume is mounted there"
    assert found["temporary files"] is Ground.CLEAR
    assert found["swap"] is Ground.MEMORY
    both = settings(statement("."), statement("postgres"))
    assert {one.what for one in look(home, both, volumes, today=TODAY) if not one.footing.safe} == {"temporary files"}


def test_a_server_afar_and_swap_are_stated_by_name(machine: Machine) -> None:
    luks(machine)
    machine.mounted("/", "sda")
    machine.swap("/dev/sda", "partition")
    afar = DatabaseSettings(mode="external", host="db.example.org")
    home, volumes = Home(Path("/vault/home")), Volumes(machine.root, SILENT)

    def unsafe(*stated: AttestedVolume) -> set[str]:
        found = look(home, settings(*stated, database=afar), volumes, today=TODAY)
        return {one.what.split()[-1] for one in found if not one.footing.safe}

    assert unsafe() == {"log", "files", "swap"}
    assert unsafe(statement("database")) == {"files", "swap"}
    assert unsafe(statement("database"), statement("swap")) == {"files"}


def test_statements_are_read_from_the_file(tmp_path: Path) -> None:
    made = settings(statement("."), statement("/mnt/other", date(2027, 1, 1)))
    (tmp_path / FILE_NAME).write_text(dump(made))
    assert load(tmp_path) == made
    (tmp_path / FILE_NAME).write_text(dump(made).replace('"2027-01-01"', "2027-01-01"))
    assert load(tmp_path) == made, "a date as TOML writes it"


async def test_the_doctor_tells_of_each_directory(tmp_path: Path) -> None:
    found = await volume_verdicts(Home(tmp_path), settings())
    assert len(found) == len({one.what for one in found}) == 9
    assert all(one.fine or "encrypt-volumes.md" in one.mend for one in found)


async def test_this_machine_is_told_as_it_is(tmp_path: Path) -> None:
    """Whatever it is: each directory has an answer, and the same one when asked again."""
    first = await underneath(Home(tmp_path), settings())
    assert first == await underneath(Home(tmp_path), settings())
    assert all(one.footing.by for one in first)
    today = datetime.now(UTC).date()
    stated = await underneath(Home(tmp_path), settings(statement("/", today + timedelta(days=1))))
    assert sum(one.footing.safe for one in stated) >= sum(one.footing.safe for one in first)


@pytest.fixture
def luks_volume(tmp_path: Path) -> Iterator[Path]:
    """Mount a real LUKS volume on a loop device, where this machine can."""
    needed = ("cryptsetup", "mkfs.ext4", "mount", "umount")
    if os.geteuid() != 0 or not all(shutil.which(name) for name in needed):
        pytest.skip("no root or no cryptsetup here: a real LUKS volume is not tried")
    image, name, point = tmp_path / "image", f"wk-test-{os.getpid()}", tmp_path / "mnt"
    point.mkdir()
    with image.open("wb") as file:
        file.truncate(32 * 2**20)
    key = tmp_path / "key"
    key.write_bytes(os.urandom(32))

    def ran(*command: str) -> bool:
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0  # noqa: S603

    fast = ("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000")
    if not (
        ran("cryptsetup", "luksFormat", "-q", *fast, str(image), str(key))
        and ran("cryptsetup", "open", "--key-file", str(key), str(image), name)
    ):
        pytest.skip("this kernel opens no LUKS volume")
    try:
        assert ran("mkfs.ext4", "-q", f"/dev/mapper/{name}")
        assert ran("mount", f"/dev/mapper/{name}", str(point))
        yield point
    finally:
        ran("umount", str(point))
        ran("cryptsetup", "close", name)


@pytest.mark.soak  # it takes a kernel with device-mapper, which few sandboxes have
def test_a_real_luks_volume_is_told(luks_volume: Path) -> None:
    assert Volumes().of(luks_volume / "data") == Footing(Ground.ENCRYPTED, "dm-crypt (LUKS2)")
