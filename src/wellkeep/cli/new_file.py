"""A file that a command makes: new, for its owner's eyes alone, and whole or not there at all.

Rule: what is written goes to a file beside the target that its owner alone can read, and takes the target's name once
all of it is on the disk; what breaks off leaves nothing behind, and nothing that exists before that instant is written
over. Links would close the instant too, but not every stick that an auditor brings has them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from wellkeep.cli.console import WRONG_USAGE, refuse


def refuse_unless_new(output: Path) -> None:
    """End, before anything is done, where `output` exists or has no directory to be in."""
    if output.exists():
        refuse(f"{output} exists.", hint="Choose another name, or remove it first.")
    if not output.absolute().parent.is_dir():
        refuse(f"There is no directory {output.absolute().parent}.", hint="Make it first.", code=WRONG_USAGE)


@contextmanager
def new_file(output: Path) -> Iterator[BinaryIO]:
    """Lend what takes the place of `output` at the end of the block; an exception in it leaves nothing there."""
    descriptor, name = tempfile.mkstemp(prefix=f".{output.name}.", suffix=".part", dir=output.absolute().parent)
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if output.exists():
            refuse(f"{output} has come to exist meanwhile.", hint="Choose another name.")
        part.rename(output)
    finally:
        part.unlink(missing_ok=True)
