"""What somebody who does not believe us does: takes an export and a proof away, and checks them with one Python file.

The file shares no code with wellkeep and imports the standard library and `cryptography`. What they have from elsewhere
is the root log's verifier key, and a checkpoint that they kept. Here too: how such an export is forged.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from wellkeep.crypto.notes import split
from wellkeep.ledger.checkpoint import CheckpointSigner, note, parse
from wellkeep.prove.deployment import Unseen
from wellkeep.prove.server import Ended, ended

VERIFIER = "wellkeep_verify"
_OTHERS = frozenset({"cryptography"})
_ACTOR = re.compile(rb'("actor":\{"id":")(.)')


@dataclass(frozen=True, slots=True)
class Outsider:
    """Somebody with a copy of the verifier in a directory of their own, and the key that they were once given."""

    folder: Path
    vkey: str

    @classmethod
    def settled(cls, folder: Path, vkey: str) -> Outsider:
        """Give them the verifier that is installed beside the package. Raises Unseen where there is none."""
        installed = find_spec(VERIFIER)
        if installed is None or installed.origin is None:
            raise Unseen("the one-file verifier is not installed")
        folder.mkdir(mode=0o700)
        outsider = cls(folder, vkey)
        outsider.program.write_bytes(Path(installed.origin).read_bytes())
        return outsider

    @property
    def program(self) -> Path:
        """Their copy of the verifier."""
        return self.folder / f"{VERIFIER}.py"

    def imports(self) -> set[str]:
        """Return what the verifier imports beyond the standard library."""
        found = set()
        for node in ast.walk(ast.parse(self.program.read_bytes())):
            if isinstance(node, ast.Import):
                found |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add((node.module or ".").partition(".")[0])
        return found - sys.stdlib_module_names

    def alone(self) -> bool:
        """Say whether the verifier stands on nothing of ours."""
        return self.imports() <= _OTHERS

    def verify(self, what: str, path: Path, *more: str) -> Ended:
        """Run the verifier on an `export` or a `proof`, with the key that is pinned. Raises Unseen."""
        arguments = (what, str(path), "--vkey", self.vkey, "--json", *more)
        return ended(sys.executable, "-I", str(self.program), *arguments)


def copied(export: Path, name: str) -> Path:
    """Return a copy of an export, to forge."""
    return Path(shutil.copytree(export, export.with_name(name)))


def edit(export: Path, tenant: str) -> None:
    """Change who it was in the first entry of a tenant's log."""
    bundles = sorted((export / "logs" / tenant).glob("*/tile/entries/**/*"))
    bundle = next((path for path in bundles if path.is_file()), None)
    if bundle is None:
        raise Unseen("the export holds no entries of the tenant")
    raw = bundle.read_bytes()
    edited = _ACTOR.sub(lambda found: found[1] + (b"x" if found[2] != b"x" else b"y"), raw, count=1)
    bundle.chmod(0o600)
    bundle.write_bytes(edited)


def sign_anew(export: Path, signer: CheckpointSigner) -> None:
    """Sign every checkpoint of an export with another key, and have the manifest name that key."""
    manifest = export / "manifest.json"
    document = json.loads(manifest.read_bytes())
    for log in document["logs"]:
        log["vkey"] = signer.vkey(log["origin"])
        folder = export / log["path"]
        for path in (folder / "checkpoint", *(folder / "checkpoints").iterdir()):
            checkpoint = parse(split(path.read_bytes())[0])
            path.chmod(0o600)
            path.write_bytes(note(checkpoint, signer.signature(checkpoint)))
    manifest.chmod(0o600)
    manifest.write_text(json.dumps(document))


def edit_proof(proof: Path, name: str) -> Path:
    """Return a copy of a proof whose hashes are as they were, and whose first one is another."""
    lines = proof.read_text("ascii", "surrogateescape").split("\n")
    at = next(number for number, line in enumerate(lines) if line.startswith("index ")) + 1
    lines[at] = ("A" if lines[at][:1] != "A" else "B") + lines[at][1:]
    forged = proof.with_name(name)
    forged.write_text("\n".join(lines), "utf-8", "surrogateescape")
    return forged
