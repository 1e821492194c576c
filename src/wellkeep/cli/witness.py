"""`wellkeep witness`: a witness of somebody else's logs, which needs no deployment and no database of theirs."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wellkeep.base.clock import SystemClock
from wellkeep.base.errors import Misconfigured, WellkeepError
from wellkeep.cli.console import WRONG_USAGE, done, err, out, print_json, refuse, refuse_error, table
from wellkeep.cli.options import Json
from wellkeep.crypto.errors import BadNote
from wellkeep.crypto.notes import NoteVerifier
from wellkeep.ledger.witness import Witness
from wellkeep.ledger.witness_app import WitnessApp
from wellkeep.ledger.witness_key import make_key, read_key
from wellkeep.ledger.witness_store import FILE_NAME, Witnessed, WitnessStore

if TYPE_CHECKING:
    import socket
    import ssl

app = typer.Typer()

State = Annotated[Path, typer.Option("--state", metavar="DIR", help="Where it remembers how far each log has come")]


@app.callback(invoke_without_command=True)
def witness(
    context: typer.Context,
    listen: Annotated[str, typer.Option(help="host:port; port 0 takes a free one")] = "127.0.0.1:8445",
    state: Annotated[
        Path | None, typer.Option("--state", metavar="DIR", help="Where it remembers how far each log has come")
    ] = None,
    log: Annotated[
        list[str] | None, typer.Option("--log", metavar="VKEY", help="A log's verifier key; give it once for each")
    ] = None,
    key: Annotated[Path | None, typer.Option("--key", metavar="FILE", help="Its own key, of `witness keygen`")] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="TLS: the chain, PEM. Without it, plain HTTP for a proxy in front")
    ] = None,
    certificate_key: Annotated[Path | None, typer.Option(help="TLS: the chain's key, PEM")] = None,
) -> None:
    """Serve a C2SP witness until SIGTERM or Ctrl-C: it signs a checkpoint only if it goes on from the last one.

    Example: wellkeep witness --state /var/lib/witness --key witness.key --log 'vault.example.org/ledger/root+…'
    """
    if context.invoked_subcommand is not None:
        return
    if state is None or key is None or not log or (certificate is None) != (certificate_key is None):
        refuse("Give --state, --key and at least one --log; --certificate with --certificate-key.", code=WRONG_USAGE)
    try:
        own = read_key(key)
        served = Witness(name=own.name, seed=own.seed, logs=_logs(log), store=WitnessStore(state), clock=SystemClock())
        tls = _tls(certificate, certificate_key)
        bound = _bind(listen)
    except WellkeepError as error:
        refuse_error(error)
    asyncio.run(_serve(served, bound, tls, own.vkey))


@app.command()
def keygen(
    name: Annotated[str, typer.Argument(help="Its name in signatures, such as witness.example.org/1")],
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="The new file for the secret key, 0600")],
    json: Json = False,
) -> None:
    """Make a witness's key, and print its verifier key for the settings of those that it is to witness.

    Example: wellkeep witness keygen witness.example.org/1 --key witness.key
    """
    try:
        made = make_key(key, name=name)
    except WellkeepError as error:
        refuse_error(error)
    if json:
        print_json({"name": made.name, "vkey": made.vkey, "key": str(key)})
    else:
        done(f"The key of {made.name} is in {key}. Its verifier key:")
        out.print(f"  {made.vkey}", markup=False)


@app.command()
def status(state: State, json: Json = False) -> None:
    """Print how far each log has come that was cosigned, and how much evidence against it was kept.

    Example: wellkeep witness status --state /var/lib/witness
    """
    if not (state / FILE_NAME).is_file():
        refuse(f"There is no witness's state in {state}.")
    try:
        found = WitnessStore(state).all()
    except WellkeepError as error:
        refuse_error(error)
    if json:
        print_json([_told(one) for one in found])
    else:
        rows = [(one.origin, one.size, one.root.hex()[:16], _when(one), one.evidence) for one in found]
        table("Witnessed", ("log", "size", "root", "signed", "evidence"), rows)


def _told(one: Witnessed) -> dict[str, object]:
    return {
        "log": one.origin,
        "size": one.size,
        "root": one.root.hex(),
        "signed_at": _when(one),
        "evidence": one.evidence,
    }


def _when(one: Witnessed) -> str:
    return datetime.fromtimestamp(one.at, UTC).isoformat()


def _logs(vkeys: Sequence[str]) -> list[NoteVerifier]:
    try:
        return [NoteVerifier.from_vkey(one) for one in vkeys]
    except BadNote:
        raise Misconfigured("A --log is no verifier key. Its operator prints it: wellkeep ledger anchors") from None


def _tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    from wellkeep.assembly.tls import server_context  # noqa: PLC0415 -- only a server pays for what serves

    return None if certificate is None or key is None else server_context(certificate=certificate, key=key)


def _bind(address: str) -> socket.socket:
    from wellkeep.api.listeners import bind_one  # noqa: PLC0415 -- as above

    try:
        return bind_one(address)
    except (OSError, OverflowError, ValueError):
        raise Misconfigured(f"{address} can't be listened on: is another server running there?") from None


async def _serve(witness: Witness, bound: socket.socket, tls: ssl.SSLContext | None, vkey: str) -> None:
    from wellkeep.api.listeners import ListenerServer, serve_until  # noqa: PLC0415 -- as above

    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    answering: Any = WitnessApp(witness)
    server = ListenerServer(answering, tls=tls)
    serving = asyncio.create_task(serve_until(stop, {"public": server}, {"public": bound}))
    await asyncio.wait([asyncio.create_task(server.listening.wait()), serving], return_when=asyncio.FIRST_COMPLETED)
    host, port = bound.getsockname()[:2]
    err.print(f"Witness on {'https' if tls else 'http'}://{host}:{port} for {len(witness.origins)} logs", markup=False)
    err.print(f"  {vkey}", markup=False)
    await serving
