"""The command `wellkeep`: runs the command line and turns whatever goes wrong into words.

Rules: no traceback ever, for it would quote what a command was given. That holds from the first import on, so the
commands are imported inside. And before anything is read, the process is closed to the others of its account. A server
starts itself again first, for what OpenSSL reads at the interpreter's start alone.
"""

from __future__ import annotations

import sys

_INTERRUPTED = 130
_SERVES = ["serve"]


def main() -> None:
    """Run the command line and end with its exit code."""
    try:
        sys.exit(_run())
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def _run() -> int:
    if sys.argv[1:2] == _SERVES:
        from wellkeep.assembly.tls_groups import start_again  # noqa: PLC0415 -- as said above

        start_again()

    import typer  # noqa: PLC0415 -- as said above

    from wellkeep.base.process import close_to_others  # noqa: PLC0415 -- as said above
    from wellkeep.cli.commands import app  # noqa: PLC0415 -- as said above
    from wellkeep.cli.console import refuse  # noqa: PLC0415 -- as said above
    from wellkeep.cli.quiet import quieten  # noqa: PLC0415 -- as said above

    quieten()
    try:
        close_to_others()
        app()
    except Exception as error:  # noqa: BLE001 -- the last place where an error can become words
        from wellkeep.cli.wording import words  # noqa: PLC0415 -- it knows the errors of every library

        message, hint = words(error)
        try:
            refuse(message, hint=hint)
        except typer.Exit as ended:
            return ended.exit_code
    return 0
