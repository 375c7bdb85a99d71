"""A webhook on loopback that keeps what arrives, for tests of alerts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Webhook:
    """`status` is what it answers; `hangs` while it is set. Its messages are (title, body), in order of arrival."""

    port: int
    status: int = 200
    arrived: list[tuple[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    patience: threading.Event = field(default_factory=threading.Event)
    hangs: bool = False

    def url(self, path: str = "") -> str:
        return f"json://127.0.0.1:{self.port}/{path}"

    @property
    def titles(self) -> list[str]:
        return [title for title, _ in self.arrived]


@contextmanager
def running_webhook() -> Iterator[Webhook]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["content-length"])))
            hook.paths.append(self.path)
            if hook.hangs:
                hook.patience.wait(30)
            hook.arrived.append((content["title"], content["message"]))
            self.send_response(hook.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    hook = Webhook(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hook
    finally:
        hook.patience.set()
        server.shutdown()
        server.server_close()
        thread.join()
