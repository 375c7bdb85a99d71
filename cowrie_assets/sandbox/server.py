"""The sandbox's outside world as one process or thread: the web services, the whois server, and their control.

Lives here: the ports, on loopback only, starting and stopping. Not here: the control API (`control`), the services'
rules (`vendors`, `webservices`, `whois`), their judgement (`limits`), their answers (`answers`).
"""

from __future__ import annotations

import asyncio
import signal
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import date
from types import TracebackType
from typing import Any, Self, TypeVar

import uvicorn
from starlette.types import Receive, Scope, Send

from cowrie_assets.sandbox.clock import Clock
from cowrie_assets.sandbox.control import CONTROL, control
from cowrie_assets.sandbox.dataset import Dataset
from cowrie_assets.sandbox.facts import AS_OF
from cowrie_assets.sandbox.faults import Faults
from cowrie_assets.sandbox.limits import Ledger, Limits
from cowrie_assets.sandbox.origins import DEFAULT_SEED
from cowrie_assets.sandbox.rules import SERVICES, Profile, profile_rules
from cowrie_assets.sandbox.vendor import World
from cowrie_assets.sandbox.webservices import WebServices
from cowrie_assets.sandbox.whois import Whois

_Result = TypeVar("_Result")

_HOST = "127.0.0.1"
_START_SECONDS = 20.0
_STOP_SECONDS = 20.0


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

    Port 0 is any free one. Everything goes by `clock`: this machine's time, and what `advance` added to it.
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
        self.clock = Clock()
        self.ledger = Ledger(self.clock)
        self._limits = Limits(limits, self.clock)
        self._dataset = Dataset()
        self._faults = Faults(seed)
        self._ports = (http_port, whois_port)
        self._http_port = 0
        self._whois_port = 0
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._web: _WebServer | None = None
        self._whois: Whois | None = None

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
        """Change fields of the services' rules, of `rules.Rule`; that of GreyNoise's paid keys is `greynoise-paid`.

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

    def dataset(self, service: str, key: str, answer: Mapping[str, Any] | None) -> None:
        """Replace the answer about one key by a literal one (None: by the sandbox's own); see `Dataset.replace`.

        Raises:
            ValueError: an unknown service, an answer that is none.
        """
        self._dataset.replace(service, key, answer)

    def advance(self, seconds: float) -> None:
        """Let so much time pass, for the judges, the ledger, the quotas and the files that age.

        Raises:
            ValueError: not a number of seconds, or a negative one.
        """
        self.clock.advance(seconds)

    def reset(self) -> None:
        """Empty the ledger, drop faults and replaced answers, and go back to the limits and the time of the start."""
        self.clock.reset()
        self._dataset.reset()
        self._limits.reset()
        self._faults.reset()
        self.ledger.clear()

    def summary(self) -> dict[str, dict[str, Any]]:
        """The ledger in numbers, per service; see `Ledger.summary`."""
        return self.ledger.summary({service: self._limits.rule(service).window for service in SERVICES})

    async def serve(self, ready: Callable[[Sandbox], None] | None = None) -> None:
        """Listen until `stop`, and call `ready` once both ports do. A sandbox serves once.

        Raises:
            OSError: a port is taken.
        """
        self._loop = asyncio.get_running_loop()
        with ExitStack() as open_sockets:
            http, whois_listener, store = (open_sockets.enter_context(_bind(port)) for port in (*self._ports, 0))
            self._http_port, self._whois_port = http.getsockname()[1], whois_listener.getsockname()[1]
            store_url = f"http://{_HOST}:{store.getsockname()[1]}"
            world = World(self.seed, self.as_of, self.clock, self._limits, self._dataset, store_url)
            shared: dict[str, Any] = {"faults": self._faults, "ledger": self.ledger}
            whois = self._whois = Whois(world, **shared)
            services = WebServices(world, **shared, end=self._end)
            web = self._web = _WebServer(_web_config(self._application(services)))
            await whois.start(whois_listener)
            serving = asyncio.create_task(web.serve([http, store]))
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
                self._abort_connections()  # those that hang would hang on, those that idle have nothing to wait for
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

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Meanwhile nobody listens on the ports of the web services and of whois, and no connection is left: whoever
        connects is refused, as by a machine that is up and a program that is not."""
        held = self._in_loop(self._close_ports())
        try:
            yield
        finally:
            self._in_loop(self._open_ports(held))

    def _in_loop(self, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
        if self._loop is None:
            coroutine.close()
            raise RuntimeError("the sandbox does not listen")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_STOP_SECONDS)

    async def _close_ports(self) -> list[socket.socket]:
        """What holds the ports meanwhile, without listening: nobody else gets them."""
        if self._web is not None and self._whois is not None:
            for server in self._web.servers:
                server.close()
            self._web.servers.clear()
            self._whois.pause()
            self._abort_connections()
        return [_bind(self._http_port), _bind(self._whois_port)]

    async def _open_ports(self, held: list[socket.socket]) -> None:
        web, whois = self._web, self._whois
        if web is not None and whois is not None:
            loop = asyncio.get_running_loop()
            # What uvicorn does when it starts.
            kind: Any = web.config.http_protocol_class
            state = {"config": web.config, "server_state": web.server_state, "app_state": web.lifespan.state}
            web.servers.append(await loop.create_server(lambda: kind(**state), sock=held[0]))
            await whois.start(held[1])

    def _abort_connections(self) -> None:
        for connection in list(self._web.server_state.connections) if self._web else ():
            connection.transport.abort()

    def _end(self, scope: Scope, hard: bool) -> None:
        """Close a request's connection. Hard is with a TCP reset: what was not read yet is lost."""
        for connection in list(self._web.server_state.connections) if self._web else ():
            if getattr(connection, "client", None) == scope["client"]:
                if hard:
                    sock = connection.transport.get_extra_info("socket")
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.transport.abort()

    def _application(self, services: WebServices) -> Callable[[Scope, Receive, Send], Any]:
        controlling = control(self)

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            # Not by routes: the control's middleware would cost every request of the services.
            await (controlling if scope["path"].startswith(CONTROL) else services)(scope, receive, send)

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


def _bind(port: int) -> socket.socket:
    # The protocol is named because asyncio turns Nagle's algorithm off only where it is: 40 ms for every answer.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((_HOST, port))
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
        proxy_headers=False,  # they would change a request's client, by which `_end` finds its connection
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )
