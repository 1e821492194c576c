"""ledger.verifiable: whoever does not believe us checks an export and a proof, offline, with one file of Python."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from wellkeep.base.ids import uuid7
from wellkeep.base.secrets import Secret
from wellkeep.ledger.checkpoint import Checkpoint, CheckpointSigner, note
from wellkeep.ledger.cover import cover
from wellkeep.prove import outside_view
from wellkeep.prove.deployment import Unseen, created
from wellkeep.prove.evidence import Notes, Where
from wellkeep.prove.outside_view import Outsider
from wellkeep.prove.probe import Probe
from wellkeep.prove.sample import PEOPLE, person
from wellkeep.prove.scratch import Scratch
from wellkeep.prove.server import Ended, commanded
from wellkeep.prove.world import World

_READ = """
SELECT event_id FROM ledger.entry WHERE tenant_id = $1 AND action = 'record.read' ORDER BY seq DESC LIMIT 1
"""
_HOLDS, _TAMPERED = 0, 1


@dataclass(frozen=True, slots=True)
class Taken:
    """What the outsider took away: a directory with an export and a proof, and the checkpoint that they kept."""

    outsider: Outsider
    export: Path
    proof: Path
    kept: Path
    event: UUID
    tenant: UUID


async def run(world: World, notes: Notes) -> None:
    """Export and prove from the command line, then check, then forge what was taken away and check again."""
    scratch = await world.scratch()
    taken = await _taken(scratch, notes)
    outsider = taken.outsider
    notes.check(
        "looked what the verifier stands on",
        held=outsider.alone(),
        seen=f"one file; beyond the standard library: {', '.join(sorted(outsider.imports()))}",
    )
    await asyncio.gather(_accepted(taken, notes), _refused(scratch, taken, notes))


async def _taken(scratch: Scratch, notes: Notes) -> Taken:
    """Have a read recorded, keep a checkpoint, go on, and take an export and the read's proof away."""
    core, client = scratch.operator.core, await scratch.client(scratch.a.keys["integration"])
    record = await created(client, f"/v1/collections/{PEOPLE}/records", person())
    await client.get(f"/v1/collections/{PEOPLE}/records/{record['id']}")
    end = await core.anchoring.book.root_end()
    if end is None:
        raise Unseen("the scratch deployment's root log is not signed")
    folder = scratch.home.path.parent / f"audit-{uuid7().hex}"
    vkey = core.checkpoint_signer.vkey(core.anchoring.book.origin(1))
    outsider = await asyncio.to_thread(Outsider.settled, folder, vkey)
    kept = folder / "kept.note"
    kept.write_bytes(end.note)
    await core.checkpointer.sign_now()
    await cover(core.ledger, core.writer, signers=core.checkpoint_signers, reporter=core.findings)
    await core.checkpointer.sign_now()
    async with scratch.as_superuser() as connection:
        event: UUID = await connection.fetchval(_READ, scratch.a.id)
    taken = Taken(outsider, folder / "export", folder / "access.proof", kept, event, scratch.a.id)
    home = scratch.home.path
    exported, proved = await asyncio.gather(
        asyncio.to_thread(commanded, home, "ledger", "export", str(taken.export), "--json"),
        asyncio.to_thread(commanded, home, "ledger", "proof", str(event), "--output", str(taken.proof)),
    )
    notes.check(
        "ran wellkeep ledger export, and wellkeep ledger proof for one read of a record",
        held=exported.code == _HOLDS and proved.code == _HOLDS,
        seen=f"exit {exported.code} and {proved.code}",
    )
    if exported.code or proved.code:
        raise Unseen("there is no export or no proof to check")
    return taken


async def _accepted(taken: Taken, notes: Notes) -> None:
    """Check what was taken away as it is."""
    kept = ("--all-logs", "--checkpoint", str(taken.kept))
    export, proof = await asyncio.gather(
        asyncio.to_thread(taken.outsider.verify, "export", taken.export, *kept),
        asyncio.to_thread(taken.outsider.verify, "proof", taken.proof, "--event", str(taken.event)),
    )
    notes.check(
        "checked the export with the pinned key, against a checkpoint that was kept before",
        held=export.code == _HOLDS,
        seen=_told(export),
    )
    notes.check("checked the proof that the read is in the ledger", held=proof.code == _HOLDS, seen=_told(proof))


async def _refused(scratch: Scratch, taken: Taken, notes: Notes) -> None:
    """Forge what was taken away in each way, and check: all of it must be called tampered."""
    edited = await asyncio.to_thread(outside_view.copied, taken.export, "edited")
    await asyncio.to_thread(outside_view.edit, edited, str(taken.tenant))
    anew = await asyncio.to_thread(outside_view.copied, taken.export, "anew")
    await asyncio.to_thread(outside_view.sign_anew, anew, CheckpointSigner(Secret(os.urandom(32))))
    proof = await asyncio.to_thread(outside_view.edit_proof, taken.proof, "edited.proof")
    other = await asyncio.to_thread(_other_view, scratch, taken)
    tried: dict[str, tuple[str, Path, tuple[str, ...]]] = {
        "edited an entry of the export": ("export", edited, ()),
        "signed the export anew with another key, which its manifest names": ("export", anew, ()),
        "showed an export that does not go on from the checkpoint that was kept": (
            "export",
            taken.export,
            ("--checkpoint", str(other)),
        ),
        "showed the proof for another event": ("proof", taken.proof, ("--event", str(uuid7()))),
        "changed a hash of the proof": ("proof", proof, ("--event", str(taken.event))),
    }
    checked = await asyncio.gather(
        *(asyncio.to_thread(taken.outsider.verify, what, path, *more) for what, path, more in tried.values())
    )
    for name, ended in zip(tried, checked, strict=True):
        notes.check(name, held=ended.code == _TAMPERED, seen=_told(ended))


def _other_view(scratch: Scratch, taken: Taken) -> Path:
    """Return a checkpoint of the same size that our own key signed over another root: what another party was shown."""
    signer = scratch.operator.core.checkpoint_signer
    origin, size, *_ = taken.kept.read_text("utf-8").split("\n")
    other = Checkpoint(origin, int(size), os.urandom(32))
    path = taken.kept.with_name("other.note")
    path.write_bytes(note(other, signer.signature(other)))
    return path


def _told(ended: Ended) -> str:
    """Return what the verifier answered: its exit code, and the first bad place or what it counted."""
    try:
        result = json.loads(ended.out)
    except ValueError:
        return f"exit {ended.code}"
    bad = result.get("bad") or []
    if bad:
        return f"exit {ended.code}: {bad[0]['log']} seq {bad[0]['seq']}: {bad[0]['what']}"
    told = {name: value for name, value in result.items() if name != "holds" and isinstance(value, int | str)}
    counted = ", ".join(f"{name} {value}" for name, value in told.items())
    return f"exit {ended.code}: {counted}"


PROBE = Probe(claim="ledger.verifiable", where=Where.SCRATCH, run=run)
