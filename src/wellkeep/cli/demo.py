"""`wellkeep demo`: from nothing to a running system with synthetic patients, a short tour, and the proofs.

The deployment is real: the same `init` and `serve` as anybody's, filled through its own API. Only the people are made
up.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer

from wellkeep.assembly.announcing import announcing
from wellkeep.assembly.home import Home
from wellkeep.assembly.installation import initialise
from wellkeep.assembly.runtime import open_runtime
from wellkeep.base.listen_settings import ListenSettings
from wellkeep.cli import prove
from wellkeep.cli.console import done, err, out, refuse
from wellkeep.cli.demo_tenants import DemoTenant, make_tenants
from wellkeep.cli.demo_tour import tour
from wellkeep.cli.local import run
from wellkeep.prove.deployment import Deployment, Unseen
from wellkeep.prove.evidence import Evidence, fails
from wellkeep.prove.registry import PROBES
from wellkeep.prove.server import ServerProcess, free_addresses

PATIENTS = 200
_PID_FILE = "demo.pid"


def demo(
    once: Annotated[bool, typer.Option("--once", help="Load, prove, stop; exit 1 where a claim fails")] = False,
    patients: Annotated[int, typer.Option(min=1, max=100_000, help="How many synthetic patients")] = PATIENTS,
    stop: Annotated[bool, typer.Option("--stop", help="Stop and remove the demo that was left running")] = False,
) -> None:
    """Make a scratch deployment with sample tenants and patients, show it round, prove it, and leave it running.

    With WELLKEEP_SAMPLES set, the patients are those of the sample data instead of generated ones.

    Example: wellkeep demo --patients 50
    """
    home = _scratch_home() if once else _standing_home()
    if not once:
        _remove(home)
    if stop:
        done("No demo is running any more.")
        return
    try:
        evidence = run(_demo(home, patients, keep=not once))
    except Unseen as unseen:
        refuse(f"The demo did not come up: {unseen}.", hint="Please report it with the output above.")
    if fails(evidence, production=False):
        raise typer.Exit(1)


async def _demo(home: Home, patients: int, *, keep: bool) -> list[Evidence]:
    from wellkeep.cli.demo_data import fill  # noqa: PLC0415 -- faker takes its time, and only the demo needs it

    async with _deployment(home, keep=keep) as deployment:
        tenants = await make_tenants(deployment)
        await fill(deployment, tenants, patients)
        await tour(deployment, tenants)
        out.rule("[bold]The proofs[/]", align="left")
        evidence = await prove.gather(home.path, list(PROBES.values()))
        await prove.keep(home, deployment.settings, deployment.database, evidence)
        prove.show(evidence)
        if keep:
            _say_where(deployment, tenants)
        return evidence


@asynccontextmanager
async def _deployment(home: Home, *, keep: bool) -> AsyncIterator[Deployment]:
    """Make a deployment and serve it; where it is not kept, or something breaks, it is stopped and removed."""
    out.rule("[bold]A deployment from nothing[/]", align="left")
    listen = usual_or_free()
    await initialise(home, environment="demo", listen=listen, tell=lambda step: err.print(f"[dim]· {step}[/]"))
    server = ServerProcess(home.path, f"https://{listen.public}/healthz")
    deployment = Deployment(home)
    kept = False
    try:
        await server.start()
        (home.path / _PID_FILE).write_text(str(server.pid))
        done(f"Serving https://{listen.public}, administration on https://{listen.admin}")
        async with deployment, open_runtime(home, deployment.settings, deployment.database) as runtime:
            deployment.database.announce = announcing(runtime.core)
            yield deployment
        kept = keep
    finally:
        if not kept:
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(deployment.database.stop)
            await asyncio.to_thread(shutil.rmtree, home.path, ignore_errors=True)


def usual_or_free() -> ListenSettings:
    """Return the usual addresses, or free ones where somebody listens there already."""
    usual = ListenSettings()
    if _are_free(usual):
        return usual
    public, admin, plain = free_addresses(3)
    return ListenSettings(public=public, admin=admin, plain=plain)


def _are_free(listen: ListenSettings) -> bool:
    import socket  # noqa: PLC0415 -- for this question alone

    for address in (listen.public, listen.admin, listen.plain):
        host, _, port = address.rpartition(":")
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind((host, int(port)))
            except OSError:
                return False
    return True


def _scratch_home() -> Home:
    folder = Path(tempfile.mkdtemp(prefix="wellkeep-demo-"))
    folder.chmod(0o711)
    return Home(folder / "home")


def _standing_home() -> Home:
    """Return where the demo that is left running lives: one a user, found again by `--stop`."""
    state = os.environ.get("XDG_STATE_HOME")
    if not state:
        state = "/var/lib" if os.geteuid() == 0 else "~/.local/state"
    return Home(Path(state).expanduser() / "wellkeep" / "demo")


def _remove(home: Home) -> None:
    """Stop and remove an earlier demo; what is no demo of ours is left alone."""
    if not home.path.exists():
        return
    if home.settings_file.exists() and home.settings().environment != "demo":
        refuse(f"{home.path} holds a deployment that is no demo.", hint="Move it elsewhere, then try again.")
    pid_file = home.path / _PID_FILE
    if pid_file.exists():
        _terminate(int(pid_file.read_text()), home.path)
    if home.settings_file.exists():
        Deployment(home).database.stop()
    shutil.rmtree(home.path)


def _terminate(pid: int, home: Path) -> None:
    """Stop the server `pid`, if that process is still the one that serves `home`."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return
    if os.fsencode(home) in command:
        os.kill(pid, signal.SIGTERM)
        for _ in range(300):
            if not Path(f"/proc/{pid}").exists():
                return
            signal.sigtimedwait([], 0.1)


def _say_where(deployment: Deployment, tenants: list[DemoTenant]) -> None:
    first = tenants[0]
    authority = deployment.home.resolve(deployment.settings.tls.certificate).with_suffix(".ca.crt")
    base = deployment.public_url.replace("127.0.0.1", "localhost")
    out.rule("[bold]Now you[/]", align="left")
    out.print(f"It keeps running. API: {base}   docs: {base}/docs   files: {deployment.home.path}")
    out.print(f"Trust page: {base}/trust   console: {base}/console")
    program = _program()
    out.print(f"Stop and remove it with: [bold]{program} demo --stop[/]\n")
    for tenant in tenants:
        for role, key in tenant.keys.items():
            out.print(f"  {tenant.name:16} {role:15} {key.reveal()}")
    out.print("\nOpen the console as a person of theirs; each link works once, and asks for a password to be:\n")
    for tenant in tenants:
        out.print(f"  {tenant.name:16} {tenant.link}", soft_wrap=True)
    out.print("\nCopy, paste, look:\n")
    out.print(f"  export CA={authority} WK={base} WELLKEEP_HOME={deployment.home.path}")
    out.print(f"  export KEY={first.keys['clinician'].reveal()} OFFICER={first.keys['privacy_officer'].reveal()}")
    out.print(
        "  curl -s --cacert $CA -H \"Authorization: Bearer $KEY\" -H 'Content-Type: application/json' \\\n"
        f'    -d \'{{"where": {{"ssn": "{first.known_ssn}"}}}}\' $WK/v1/collections/patients/records/search'
    )
    out.print("  # who saw one patient, when and why: a page to open in a browser, and to print")
    out.print(
        '  curl -s --cacert $CA -H "Authorization: Bearer $OFFICER" '
        f'"$WK/v1/subjects/{first.known_subject}/disclosures?format=html" > who-saw.html'
    )
    out.print(f"  {program} ledger verify")
    out.print(f"  {program} ledger export ledger-copy   # what an auditor takes away, to check without us")
    out.print(f"  {program} prove")


def _program() -> str:
    """Return what to type for `wellkeep`: after `make demo` it is on nobody's path."""
    return "wellkeep" if shutil.which("wellkeep") else str(Path(sys.executable).with_name("wellkeep"))
