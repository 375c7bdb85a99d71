"""Sending: a whole answer or a reason, in bounded time and space, whatever is at the other end; and no key anywhere.

Here as well: servers of one's own on loopback, for the tests of other conversations.
"""

from __future__ import annotations

import gzip
import logging
import socket
import threading
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from cowrie_assets.upstreams.contract import NoAnswer, Refused, Request, Response, Transient
from cowrie_assets.upstreams.http import Sender

KEY = "MARKER-KEY"
OK = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def listening(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server on loopback that talks with each client on a thread of its own, until the test is over; its port."""
    over = threading.Event()
    threads: list[threading.Thread] = []
    open_sockets: list[socket.socket] = []

    def converse(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            talk(connection)

    def accept() -> None:
        while not over.is_set():
            with suppress(OSError):
                connection, _ = listener.accept()
                open_sockets.append(connection)
                threads.append(threading.Thread(target=converse, args=(connection,), daemon=True))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            acceptor.join()
            for connection in open_sockets:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()


def reset(connection: socket.socket) -> None:
    """Close it so that the other side hears of a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def heard(connection: socket.socket) -> bytes:
    """A request, to the end of its header and its form."""
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = connection.recv(65536)
        if not chunk:
            return received
        received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    length = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while length and len(body) < length[0]:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def says(*parts: bytes, every: float = 0.0) -> Callable[[socket.socket], None]:
    """A server that hears a request and answers with these bytes, then closes."""

    def talk(connection: socket.socket) -> None:
        heard(connection)
        for part in parts:
            connection.sendall(part)
            time.sleep(every)

    return talk


def ask(port: int, **limits: float) -> Response:
    request = Request(f"http://127.0.0.1:{port}/{KEY}", headers={"Auth-Key": KEY}, form={"host": KEY}, method="POST")
    with Sender(**limits) as sender:  # type: ignore[arg-type]
        return sender.send(request)


def fails(port: int, reason: str, within: float = 1.5, **limits: float) -> None:
    """The question has no answer for this reason, in time, and nothing of what was sent is told."""
    begun = time.monotonic()
    with pytest.raises(Transient) as failure:
        ask(port, **limits)
    assert time.monotonic() - begun < within
    assert reason in failure.value.reason
    told = "".join(traceback.format_exception(failure.value)) + repr(failure.value)
    assert KEY not in told
    assert str(port) not in told
    assert failure.value.__context__ is None
    assert failure.value.__cause__ is None


# --- answers ----------------------------------------------------------------------------------------------------------


def test_a_whole_answer() -> None:
    requests: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        requests.append(heard(connection))
        connection.sendall(b"HTTP/1.1 404 Not Found\r\nX-Balance-Remaining: 7\r\nContent-Length: 2\r\n\r\n{}")

    with listening(talk) as port:
        assert ask(port) == Response(404, b"{}", {"x-balance-remaining": "7", "content-length": "2"})
    assert requests[0].startswith(f"POST /{KEY} HTTP/1.1\r\n".encode())
    assert b"\r\nAuth-Key: MARKER-KEY\r\n" in requests[0]
    assert b"\r\nContent-Type: application/x-www-form-urlencoded\r\n" in requests[0]
    assert requests[0].endswith(b"\r\n\r\nhost=MARKER-KEY")


def test_one_connection_serves_many_requests() -> None:
    connections: list[int] = []

    def talk(connection: socket.socket) -> None:
        connections.append(1)
        while heard(connection):
            connection.sendall(OK + b"Content-Length: 2\r\n\r\n{}")

    with listening(talk) as port, Sender() as sender:
        for _ in range(3):
            assert sender.send(Request(f"http://127.0.0.1:{port}/")).body == b"{}"
    assert len(connections) == 1


def test_redirections_are_not_followed() -> None:
    with listening(says(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n")) as port:
        assert ask(port).status == 302


def test_packed_answers_are_unpacked() -> None:
    packed = gzip.compress(b'{"a": 1}')
    with listening(says(OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed)) as port:
        assert ask(port).body == b'{"a": 1}'


def test_a_proxy_of_the_environment_is_not_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("NO_PROXY", "")
    with listening(says(OK + b"Content-Length: 0\r\n\r\n")) as port:
        assert ask(port).status == 200


# --- no answers -------------------------------------------------------------------------------------------------------


def test_nobody_listens() -> None:
    fails(closed_port(), "connection refused")


def test_an_unknown_name() -> None:
    with pytest.raises(Transient, match="does not answer"), Sender() as sender:
        sender.send(Request("http://no-such-host.invalid/"))


def test_silence() -> None:
    with listening(lambda connection: time.sleep(1.2)) as port:
        fails(port, "timed out", read_timeout=0.2)


def test_a_closed_connection() -> None:
    with listening(lambda connection: connection.close()) as port:
        fails(port, "")


def test_a_reset() -> None:
    def talk(connection: socket.socket) -> None:
        heard(connection)
        connection.sendall(OK + b"Content-Length: 100\r\n\r\n{")
        time.sleep(0.05)
        reset(connection)

    with listening(talk) as port:
        fails(port, "cut the connection")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (OK + b"Content-Length: 100\r\n\r\n{}", "closed the connection before the end"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{}", "closed the connection before the end"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n{}", "not HTTP"),
        (b"Bulk mode; whois.cymru.com\n", "not HTTP"),
        (OK + b"A: " + b"x" * 200_000, "not HTTP"),
        (OK + b"Content-Encoding: gzip\r\nContent-Length: 7\r\n\r\ngarbage", "cannot be unpacked"),
        (OK + b"Content-Encoding: gzip, gzip\r\nContent-Length: 0\r\n\r\n", "nobody asked for"),
        (OK + b"Content-Encoding: zstd\r\nContent-Length: 0\r\n\r\n", "nobody asked for"),
    ],
)
def test_spoilt_answers(answer: bytes, reason: str) -> None:
    with listening(says(answer)) as port:
        fails(port, reason)


def test_no_tls_where_tls_is_due() -> None:
    def talk(connection: socket.socket) -> None:
        connection.sendall(b"220 ready\r\n")
        connection.recv(65536)

    with listening(talk) as port, Sender() as sender, pytest.raises(Transient, match="TLS"):
        sender.send(Request(f"https://127.0.0.1:{port}/"))


# --- endless answers --------------------------------------------------------------------------------------------------


def endless(head: bytes, part: bytes, every: float) -> Callable[[socket.socket], None]:
    def talk(connection: socket.socket) -> None:
        heard(connection)
        connection.sendall(head)
        while True:
            connection.sendall(part)
            time.sleep(every)

    return talk


@pytest.mark.parametrize(
    ("head", "part"),
    [
        (b"", b"H"),
        (OK, b"A"),
        (OK + b"Content-Length: 100000\r\n\r\n", b"x"),
        (OK + b"Connection: close\r\n\r\n", b"x"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
    ids=["status line", "header", "body", "body until it closes", "chunks"],
)
def test_a_drip_ends(head: bytes, part: bytes) -> None:
    """Every byte comes well within the timeout of a read."""
    with listening(endless(head, part, 0.02)) as port:
        fails(port, "did not finish its answer within 0.4 s", total_timeout=0.4)


def test_a_drip_ends_when_time_was_up_before_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.create_connection

    def connect_slowly(*args: Any, **options: Any) -> socket.socket:
        time.sleep(0.3)
        return connect(*args, **options)

    monkeypatch.setattr(socket, "create_connection", connect_slowly)
    with listening(endless(OK, b"A", 0.02)) as port:
        fails(port, "did not finish its answer within 0.2 s", total_timeout=0.2)


@pytest.mark.parametrize("length", [b"Connection: close\r\n", b"Content-Length: 99999999999\r\n"])
def test_an_endless_body_ends(length: bytes) -> None:
    with listening(endless(OK + length + b"\r\n", b"x" * 65536, 0)) as port:
        fails(port, "sent more than 1000000 bytes", largest_body=1_000_000)


def test_a_body_of_the_largest_size_is_whole() -> None:
    with listening(says(OK + b"Content-Length: 1000\r\n\r\n" + b"x" * 1000)) as port:
        assert len(ask(port, largest_body=1000).body) == 1000
        fails(port, "sent more than 999 bytes", largest_body=999)


def test_a_bomb_ends() -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(100)) + packer.flush()
    with listening(says(OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb)) as port:
        fails(port, "sent more than")


def test_a_failure_leaves_the_sender_usable() -> None:
    served: list[int] = []

    def talk(connection: socket.socket) -> None:
        served.append(1)
        if len(served) == 1:
            endless(OK, b"A", 0.02)(connection)
        says(OK + b"Content-Length: 2\r\n\r\n{}")(connection)

    with listening(talk) as port, Sender(total_timeout=0.3) as sender:
        with pytest.raises(Transient):
            sender.send(Request(f"http://127.0.0.1:{port}/"))
        assert sender.send(Request(f"http://127.0.0.1:{port}/")).body == b"{}"


# --- secrets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [f"{KEY}\n", f"{KEY}\r\nX: y", f"{KEY}é", f"{KEY}\0"])
def test_a_key_that_no_header_can_carry(value: str) -> None:
    with pytest.raises(Refused, match="key or the contact") as refusal, Sender() as sender:
        sender.send(Request("http://127.0.0.1:9/", headers={"Auth-Key": value}))
    assert KEY not in "".join(traceback.format_exception(refusal.value))


@pytest.mark.parametrize("url", ["", "/v1", f"ftp://{KEY}/", f"http://[{KEY}/", f"http://{KEY}:99999/", "http://a\0b/"])
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(NoAnswer) as failure, Sender() as sender:
        sender.send(Request(url, headers={"Auth-Key": KEY}))
    assert KEY not in "".join(traceback.format_exception(failure.value))


def test_logs_name_no_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with listening(says(OK + b"Content-Length: 0\r\n\r\n")) as port, Sender() as sender:
        sender.send(
            Request(
                f"http://127.0.0.1:{port}/", method="POST", headers={"Auth-Key": KEY, "Token": KEY}, form={"k": KEY}
            )
        )
    assert caplog.records
    assert KEY not in caplog.text
