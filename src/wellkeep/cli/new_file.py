"""A file that a command makes: new, for its owner's eyes alone, and whole or not there at all.

Rule: what is written goes to a file beside the target that its owner alone can read, and takes the target's name once
all of it is on the disk; what breaks off leaves nothing behind, and nothing is written over. The name is taken by a
link, which fails where somebody took it meanwhile; a file system without links (a stick that an auditor brings) gets a
look and a rename, between which there is an instant.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from wellkeep.cli.console import WRONG_USAGE, refuse

_WITHOUT_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})


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
        if not _took_name(part, output):
            refuse(f"{output} has come to exist meanwhile.", hint="Choose another name.")
    finally:
        part.unlink(missing_ok=True)


def _took_name(part: Path, output: Path) -> bool:
    """Give `part` the name of `output`, unless something has it; say whether it has it now."""
    try:
        os.link(part, output)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _WITHOUT_LINKS:
            raise
        if output.exists() or output.is_symlink():
            return False
        part.rename(output)
    return True
