"""What many commands are told: which deployment is meant, and whether a program reads the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wellkeep.assembly.home import Home
from wellkeep.base.settings import default_home

Directory = Annotated[
    Path | None, typer.Argument(metavar="[DIR]", help="The deployment (default: $WELLKEEP_HOME or ./wellkeep-data)")
]
HomeOption = Annotated[
    Path | None, typer.Option("--home", help="The deployment (default: $WELLKEEP_HOME or ./wellkeep-data)")
]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout instead of words")]


def locate(directory: Path | None) -> Home:
    """Return the home that was named, or the default one."""
    return Home((directory or default_home()).absolute())
