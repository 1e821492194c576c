"""Trust in one certificate: how whoever has the deployment's home comes to its own server.

Rule: no authority is trusted, the machine's neither; the certificate that the settings name is, and what it signs is
not. The threat is somebody else's server on the deployment's address, with a certificate that any authority gave it.
"""

from __future__ import annotations

import ssl
from pathlib import Path

_PEM_END = "-----END CERTIFICATE-----"


def pinned(certificate: Path) -> ssl.SSLContext:
    """Return a context that trusts the first certificate of a PEM file and no other.

    Who made it and for which name does not matter: we come over the address that the settings name, and no other server
    holds its key.
    """
    text = certificate.read_text("ascii")
    # Not `ssl.create_default_context`: it writes the session's keys to a file that the environment names.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=text[: text.index(_PEM_END) + len(_PEM_END)])
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
