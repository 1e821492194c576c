"""The groups that TLS keys are agreed in: in force before the interpreter starts, tried before anybody is served.

Rules: OpenSSL reads its configuration once, when the interpreter loads it, and Python's `ssl` can name one group or
none; so a server starts itself again with OPENSSL_CONF set to a file of the package. A file that the operator named
there already stays (who runs a validated module has one), and must name groups itself: whether they are in force is
tried, not believed. The file binds the connections out as well: they offer the same three groups. The threat is a
scanner's finding that everybody has: curves nobody reviewed, taken because they are the library's default.
"""

from __future__ import annotations

import os
import ssl
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from wellkeep.base.errors import Misconfigured

VARIABLE: Final = "OPENSSL_CONF"
FILE: Final = Path(__file__).parents[1] / "definitions" / "openssl.cnf"
_UNWANTED: Final = ("secp521r1", "X448")
_STEPS: Final = 8


def start_again() -> None:
    """Become the same program with the groups in force; return where they are, or the operator's own file is.

    The process keeps its id, its open streams and its environment. Where the system refuses, this returns, and
    `assert_in_force` says so later.
    """
    if os.environ.get(VARIABLE):
        return
    with suppress(OSError):
        os.execve(  # noqa: S606 -- the very program that runs, with its own arguments
            sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, VARIABLE: str(FILE)}
        )


def assert_in_force(context: ssl.SSLContext) -> None:
    """Raise Misconfigured where `context`, a server's, agrees on a key in a group that no profile of ours has."""
    for group in _UNWANTED:
        if _takes(context, group):
            raise Misconfigured(
                f"TLS would be spoken in groups beyond X25519, P-256 and P-384. Take {VARIABLE} out of the environment,"
                " or have the file that it names say: Groups = X25519:P-256:P-384"
            )


def _takes(context: ssl.SSLContext, group: str) -> bool:
    """Shake hands in memory with a client that offers `group` alone."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE  # nothing is sent: what answers is this process
    try:
        client.set_ecdh_curve(group)
    except ValueError:
        return False  # a library that does not know the group does not agree on it
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (client.wrap_bio(down, up), context.wrap_bio(up, down, server_side=True))
    for _ in range(_STEPS):
        waiting = False
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                waiting = True
            except ssl.SSLError:
                return False
        if not waiting:
            return True
    return False
