"""Serving: one process, or several workers behind the same sockets, until told to stop.

Rules: the supervisor binds, the workers inherit; a worker that dies is replaced, but not for ever; a worker whose
supervisor is gone stops; SIGTERM and SIGINT let what is under way finish before the runtime is given back, which is
when the ledger writer empties itself. The threat is a restart that loses what was acknowledged.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import ssl
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from wellkeep.api import catalogue, logs
from wellkeep.api.application import build
from wellkeep.api.listeners import ListenerServer, Sockets, bind, serve_until
from wellkeep.api.metrics import Metrics
from wellkeep.api.redirector import Redirector
from wellkeep.api.routes import Listener
from wellkeep.api.runtime import RuntimeFactory
from wellkeep.api.supervisor import Supervisor, WorkerLink
from wellkeep.assembly.tls_hosts import Certificates, Pair, pairs
from wellkeep.assembly.tls_watch import CertificateWatch, watching_certificates
from wellkeep.base.clock import SystemClock
from wellkeep.base.errors import Misconfigured
from wellkeep.base.listen_settings import Network, admin_networks
from wellkeep.base.process import close_to_others
from wellkeep.base.settings import Settings
from wellkeep.base.tls_settings import Profile

_COLLECT_AFTER = (10_000, 20, 20)
"""Containers made and not freed before the youngest generation is looked through, and how often the older ones are."""
_SWITCH_SECONDS = 0.001
"""How long a thread that reads a large body keeps the event loop from its turn, mostly."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the three listeners listen, as `host:port` with the port that was really taken."""

    public: str
    admin: str
    plain: str


def serve(
    runtime_factory: RuntimeFactory,
    settings: Settings,
    *,
    home: Path,
    workers: int = 1,
    on_ready: Callable[[Addresses], None] | None = None,
    log: Path | int | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status of the process.

    `runtime_factory` makes one runtime a worker; with several workers it is called in other processes, so it must be
    picklable (a module's function, or a partial of one). `on_ready` is called once every worker answers. JSON lines go
    to `log`: a file, a descriptor of ours, or (None) standard error. Raises Misconfigured where an address is taken or
    the TLS files do not fit.
    """
    shown = pairs(settings.tls, home=home)
    Certificates(shown, profile=settings.tls.profile)
    networks = admin_networks(settings.listen)
    sockets = bind(settings.listen)
    addresses = Addresses(**{name: _address(bound) for name, bound in sockets.items()})
    plan = _Plan(runtime_factory, settings.host, shown, settings.tls.profile, networks, addresses, log)

    def ready() -> None:
        if on_ready is not None:
            on_ready(addresses)

    try:
        if workers == 1:
            _run(plan, sockets, Metrics(catalogue.names()), on_ready=ready, link=None)
            return 0
        logs.configure(stream=logs.lines_to(log))
        return Supervisor(_work, plan, sockets, workers=workers, on_ready=ready).run()
    finally:
        for bound in sockets.values():
            bound.close()


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a worker needs to know; it crosses a process boundary, so it holds no secret and no open thing."""

    factory: RuntimeFactory
    host: str
    pairs: tuple[Pair, ...]
    profile: Profile
    networks: tuple[Network, ...]
    addresses: Addresses
    log: Path | int | None


def _address(bound: Any) -> str:
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _work(plan: _Plan, sockets: dict[Listener, Any], link: WorkerLink) -> None:
    """Be one worker: the entry point of its process."""
    metrics = Metrics(catalogue.names(), slots=link.slots, worker=link.worker, workers=link.workers)
    try:
        close_to_others()
        _run(plan, sockets, metrics, on_ready=link.ready, link=link)
    except Misconfigured as error:
        sys.exit(error.message)
    except Exception as error:  # noqa: BLE001  # a traceback on standard error would quote what drivers quote
        logs.log.error("worker.failed", worker=link.worker, error=error)  # as above
        sys.exit(1)


def _run(
    plan: _Plan, sockets: Sockets, metrics: Metrics, *, on_ready: Callable[[], None], link: WorkerLink | None
) -> None:
    logs.configure(stream=logs.lines_to(plan.log))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(plan, sockets, metrics, on_ready, link))


async def _main(
    plan: _Plan, sockets: Sockets, metrics: Metrics, on_ready: Callable[[], None], link: WorkerLink | None
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    if link is not None:
        link.stop_with_supervisor(loop, stop.set)
    certificates = Certificates(plan.pairs, profile=plan.profile)
    runtime_open: AbstractAsyncContextManager[Any] = plan.factory()
    async with runtime_open as runtime, _watched(certificates, runtime):
        if link is not None:
            runtime.limits.counts.workers = link.workers
        servers = _servers(plan, runtime, metrics, certificates.front)
        settle()
        serving = asyncio.create_task(serve_until(stop, servers, sockets))
        up = asyncio.create_task(_all_listen(servers))
        await asyncio.wait([up, serving], return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        if not serving.done():
            on_ready()
        logs.log.info("serving", listener="public", port=sockets["public"].getsockname()[1])
        await serving
        logs.log.info("stopping", listener="public")


def settle() -> None:
    """Set the interpreter up for many short requests beside a few long ones.

    Take what the start has made out of the collector's sight: looking through it again stops every request for long.
    What requests make is nearly all freed by its last reference; the collector looks for cycles less often.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)
    sys.setswitchinterval(_SWITCH_SECONDS)


def _watched(certificates: Certificates, runtime: Any) -> AbstractAsyncContextManager[None]:
    watch = CertificateWatch(certificates, findings=runtime.findings, clock=SystemClock())
    return watching_certificates(watch)


def _servers(plan: _Plan, runtime: Any, metrics: Metrics, tls: ssl.SSLContext) -> dict[Listener, ListenerServer]:
    clock = SystemClock()
    public = build(runtime, listener="public", metrics=metrics, clock=clock)
    admin = build(runtime, listener="admin", metrics=metrics, clock=clock)
    port = plan.addresses.public.rpartition(":")[2]
    redirector = Redirector(runtime, authority=plan.host if port == "443" else f"{plan.host}:{port}")
    return {
        "public": ListenerServer(public.asgi, tls=tls),
        "admin": ListenerServer(admin.asgi, tls=tls, networks=plan.networks),
        "plain": ListenerServer(redirector, tls=None),
    }


async def _all_listen(servers: Mapping[Listener, ListenerServer]) -> None:
    for server in servers.values():
        await server.listening.wait()
