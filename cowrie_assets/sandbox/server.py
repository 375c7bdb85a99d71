"""The sandbox's outside world as one process or thread: the web services, the whois server, and their control.

Lives here: the two ports, on loopback only, starting and stopping, and the control API below `/__ctl`. Not here: the
services' rules (`vendors`, `webservices`, `whois`), their judgement (`limits`), their answers (`answers`).
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date
from types import TracebackType
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from cowrie_assets.sandbox.facts import AS_OF
from cowrie_assets.sandbox.faults import Faults
from cowrie_assets.sandbox.limits import SERVICES, Ledger, Limits, Profile, profile_rules
from cowrie_assets.sandbox.origins import DEFAULT_SEED
from cowrie_assets.sandbox.webservices import WebServices
from cowrie_assets.sandbox.whois import Whois

_HOST = "127.0.0.1"
_START_SECONDS = 20.0
_STOP_SECONDS = 20.0
_CONTROL = "/__ctl/"


class _WebServer(uvicorn.Server):
    """uvicorn without its signal handlers: whoever runs the sandbox decides when it ends."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Sandbox:
    """The emulated services. As a context manager it runs in a thread of its own and listens once it is entered.

        >>> with Sandbox() as sandbox:
        ...     sandbox.faults({"dshield": ["500", "ok"], "spur": {"probability": 0.1, "kinds": ["hang", "cut"]}})
        ...     sandbox.limits({"urlhaus": {"requests": 30, "window": 60}})
        ...     sorted(sandbox.environment())[0]
        'COWRIE_CYMRU_ADDRESS'

    Port 0 is any free one. What the ledger and the control API say is by this machine's monotonic clock.
    """

    def __init__(
        self,
        *,
        seed: int = DEFAULT_SEED,
        limits: Profile = "raised",
        http_port: int = 0,
        whois_port: int = 0,
        as_of: date = AS_OF,
    ) -> None:
        profile_rules(limits)  # an unknown profile fails here, not in the thread
        self.seed = seed
        self.as_of = as_of
        self.ledger = Ledger()
        self._limits = Limits(limits)
        self._faults = Faults(seed)
        self._ports = (http_port, whois_port)
        self._http_port = 0
        self._whois_port = 0
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._web: _WebServer | None = None

    @property
    def http_url(self) -> str:
        return f"http://{_HOST}:{self._http_port}"

    @property
    def whois_address(self) -> str:
        return f"{_HOST}:{self._whois_port}"

    def environment(self) -> dict[str, str]:
        """The variables that lead a client here instead of to the real services."""
        web = {f"COWRIE_{name.upper()}_URL": f"{self.http_url}/{name}" for name in SERVICES if name != "cymru"}
        return {**web, "COWRIE_CYMRU_ADDRESS": self.whois_address}

    def limits(self, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """Change fields of the services' rules: `requests`, `window`, `penalty`, `quota`.

        Raises:
            ValueError: an unknown service or field, a value that is none.
        """
        self._limits.change(changes)

    def faults(self, plans: Mapping[str, Any]) -> None:
        """Plan faults: per service a script, a list of which each request takes one, or a probability with kinds.

        Raises:
            ValueError: an unknown service or kind.
        """
        self._faults.plan(plans)

    def reset(self) -> None:
        """Empty the ledger, drop all faults, and go back to the limits of the start."""
        self._limits.reset()
        self._faults.reset()
        self.ledger.clear()

    def summary(self) -> dict[str, dict[str, Any]]:
        """The ledger in numbers, per service; see `Ledger.summary`."""
        return self.ledger.summary({service: self._limits[service].rule.window for service in SERVICES})

    async def serve(self, ready: Callable[[Sandbox], None] | None = None) -> None:
        """Listen until `stop`, and call `ready` once both ports do. A sandbox serves once.

        Raises:
            OSError: a port is taken.
        """
        self._loop = asyncio.get_running_loop()
        with _listen(self._ports[0]) as http, _listen(self._ports[1]) as whois_listener:
            self._http_port, self._whois_port = http.getsockname()[1], whois_listener.getsockname()[1]
            shared: dict[str, Any] = {
                "seed": self.seed, "as_of": self.as_of, "limits": self._limits, "faults": self._faults,
                "ledger": self.ledger,
            }  # fmt: skip
            whois = Whois(**shared)
            web = self._web = _WebServer(_web_config(self._application(WebServices(**shared, reset=self._reset))))
            await whois.start(whois_listener)
            serving = asyncio.create_task(web.serve([http]))
            try:
                while not web.started and not serving.done():
                    await asyncio.sleep(0.005)
                if not serving.done() and ready is not None:
                    ready(self)
                stopping = asyncio.create_task(self._stop.wait())
                await asyncio.wait({stopping, serving}, return_when=asyncio.FIRST_COMPLETED)
                stopping.cancel()
            finally:
                await whois.stop()
                web.should_exit = True
                # Those that hang would hang on, and those that idle have nothing to wait for.
                for connection in list(web.server_state.connections):
                    connection.transport.abort()
                await serving

    def stop(self) -> None:
        """End `serve`; callable from any thread."""
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended already
                self._loop.call_soon_threadsafe(self._stop.set)

    def __enter__(self) -> Self:
        ready = threading.Event()
        failures: list[BaseException] = []

        def work() -> None:
            try:
                asyncio.run(self.serve(lambda _: ready.set()))
            except BaseException as error:
                failures.append(error)
            finally:
                ready.set()

        self._thread = threading.Thread(target=work, name="sandbox", daemon=True)
        self._thread.start()
        if not ready.wait(_START_SECONDS):
            raise TimeoutError(f"the sandbox did not start within {_START_SECONDS:.0f} s")
        if failures:
            self._thread.join()
            raise failures[0]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)
            if self._thread.is_alive():
                raise TimeoutError(f"the sandbox did not stop within {_STOP_SECONDS:.0f} s")

    def _reset(self, scope: Scope) -> None:
        """Close a request's connection with a TCP reset: what was not read yet is lost."""
        for connection in list(self._web.server_state.connections) if self._web else ():
            if getattr(connection, "client", None) == scope["client"]:
                sock = connection.transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.transport.abort()

    def _application(self, services: WebServices) -> Callable[[Scope, Receive, Send], Any]:
        control = _control(self)

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            # Not by routes: the control's middleware would cost every request of the services.
            await (control if scope["path"].startswith(_CONTROL) else services)(scope, receive, send)

        return application


async def serve(
    *,
    http_port: int = 0,
    whois_port: int = 0,
    seed: int = DEFAULT_SEED,
    limits: Profile = "raised",
    ready: Callable[[Sandbox], None] | None = None,
) -> None:
    """Serve in the foreground until SIGINT or SIGTERM, and call `ready` once both ports listen.

    Raises:
        OSError: a port is taken.
    """
    sandbox = Sandbox(seed=seed, limits=limits, http_port=http_port, whois_port=whois_port)
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, sandbox.stop)
    try:
        await sandbox.serve(ready)
    finally:
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(signal_number)


def run(
    http_port: int = 0,
    whois_port: int = 0,
    seed: int = DEFAULT_SEED,
    limits: Profile = "raised",
    ready: Callable[[Sandbox], None] | None = None,
) -> None:
    """`serve` for a process of its own."""
    asyncio.run(serve(http_port=http_port, whois_port=whois_port, seed=seed, limits=limits, ready=ready))


def _listen(port: int) -> socket.socket:
    # The protocol is named because asyncio turns Nagle's algorithm off only where it is: 40 ms for every answer.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((_HOST, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"port {port} on {_HOST}: {error.strerror}") from None
    return listener


def _web_config(application: Callable[[Scope, Receive, Send], Any]) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        lifespan="off",
        ws="none",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,  # they would change a request's client, by which `_reset` finds its connection
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )


def _control(sandbox: Sandbox) -> Starlette:
    """`POST reset`, `POST limits`, `POST faults`, `GET ledger[?service=…]`, `GET health`."""

    async def reset(_: Request) -> Response:
        sandbox.reset()
        return JSONResponse({"ok": True})

    async def limits(request: Request) -> Response:
        return await _apply(request, sandbox.limits)

    async def faults(request: Request) -> Response:
        return await _apply(request, sandbox.faults)

    async def ledger(request: Request) -> Response:
        service = request.query_params.get("service")
        if service is None:
            return JSONResponse(sandbox.summary())
        if service not in SERVICES:
            return JSONResponse({"error": f"no such service: {service}"}, 404)
        return JSONResponse([arrival.to_json() for arrival in sandbox.ledger.arrivals(service)])

    async def health(_: Request) -> Response:
        return JSONResponse({"ok": True, "seed": sandbox.seed, **sandbox.environment()})

    return Starlette(
        routes=[
            Route(f"{_CONTROL}reset", reset, methods=["POST"]),
            Route(f"{_CONTROL}limits", limits, methods=["POST"]),
            Route(f"{_CONTROL}faults", faults, methods=["POST"]),
            Route(f"{_CONTROL}ledger", ledger),
            Route(f"{_CONTROL}health", health),
        ]
    )


async def _apply(request: Request, change: Callable[[Mapping[str, Any]], None]) -> Response:
    try:
        wanted = json.loads(await request.body())
        if not isinstance(wanted, dict):
            raise ValueError("an object by service is due")  # noqa: TRY004
        change(wanted)
    except ValueError as error:
        return JSONResponse({"error": str(error)}, 400)
    return JSONResponse({"ok": True})
