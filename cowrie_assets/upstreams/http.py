"""Sending one request, and getting its whole answer or a reason why there is none.

Lives here: the connection, its time limits, the size of an answer, and the words for what went wrong. Not here: whether
and when to ask, trying again (`cowrie_assets.lookup`), what an answer means (each service's file).
Reasons never name the URL, the headers or the form: there are keys and addresses in them.
"""

from __future__ import annotations

import logging
import re
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from types import TracebackType
from typing import Any, Self

import httpx

from cowrie_assets.upstreams.contract import NoAnswer, Refused, Request, Response, Transient

LARGEST_BODY = 8 << 20


class Sender:
    """One connection at a time, kept open between requests. Not for several threads.

    Args:
        largest_body: bytes, unpacked; an answer that has more is none.
        total_timeout: seconds from the request to the last byte, however steadily it drips.
        connect_timeout, read_timeout: seconds for the connection, and for each sign of life.
    """

    def __init__(
        self,
        *,
        largest_body: int = LARGEST_BODY,
        total_timeout: float = 60.0,
        connect_timeout: float = 10.0,
        read_timeout: float = 30.0,
    ) -> None:
        self._largest_body = largest_body
        self._total_timeout = total_timeout
        self._client = httpx.Client(
            verify=_certificates(),
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
            follow_redirects=False,
            timeout=httpx.Timeout(min(read_timeout, total_timeout), connect=min(connect_timeout, total_timeout)),
            # The sandbox is on loopback, where no proxy of the environment can reach it.
            headers={"Accept-Encoding": "gzip"},
            mounts={"all://localhost": None, "all://127.0.0.1": None, "all://[::1]": None},
        )
        self._watch = _Watch()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()

    def send(self, request: Request) -> Response:
        """Send it once, and wait for the whole answer, of whatever status. Redirections are not followed.

        Raises:
            Transient: no answer, or one that is cut, endless, too slow or not HTTP.
            Refused: a header has characters that cannot be sent, so that a key or the contact is wrong.
        """
        if not all(value.isascii() and value.isprintable() for value in request.headers.values()):
            raise Refused("cannot be asked: a key or the contact has characters that no header can carry")
        timer = threading.Timer(self._total_timeout, self._watch.expire)
        timer.daemon = True
        timer.start()
        failure: NoAnswer
        try:
            response = self._exchange(request)
            if not self._watch.expired:
                return response
            failure = self._too_slow()
        except NoAnswer as error:
            failure = error
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, ValueError, OSError) as error:
            failure = self._too_slow() if self._watch.expired else Transient(_in_words(error))
        finally:
            timer.cancel()
            timer.join()  # or its last word would cut the next request
            self._watch.expired = False
        # Out here, so that it carries no context: texts of the errors above name URLs and headers.
        raise failure

    def _too_slow(self) -> Transient:
        return Transient(f"did not finish its answer within {self._total_timeout:g} s")

    def _exchange(self, request: Request) -> Response:
        body = bytearray()
        with self._client.stream(
            request.method,
            request.url,
            headers=dict(request.headers),
            data=dict(request.form) if request.form is not None else None,
            content=request.content,
            extensions={"trace": self._watch.trace},
        ) as response:
            # A chunk of gzip unpacks to its thousandfold at the most, of others or gzip in gzip to gigabytes.
            if response.headers.get("content-encoding", "").strip().lower() not in ("", "identity", "gzip"):
                raise Transient("sent an answer that is packed in a way nobody asked for", response.status_code)
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > self._largest_body:
                    raise Transient(f"sent more than {self._largest_body} bytes", response.status_code)
            return Response(response.status_code, bytes(body), dict(response.headers))


@cache
def _certificates() -> ssl.SSLContext:
    """Read once: 30 ms, for which a request that has its slot would be late."""
    return httpx.create_ssl_context()


class _Watch:
    """Cuts the connection when time is up. Timeouts of httpx start anew with every byte, so that one byte every 29 s,
    of the header even, would hold us for ever."""

    def __init__(self) -> None:
        self.expired = False
        self._socket: socket.socket | None = None

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """httpx's `trace` extension: every connection that is made, and the one in TLS that takes its place."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._socket = info["return_value"].get_extra_info("socket")
            if self.expired:
                self._cut()

    def expire(self) -> None:
        self.expired = True
        self._cut()

    def _cut(self) -> None:
        if self._socket is not None:
            with suppress(OSError):  # it is closed already
                # The method of TLS's sockets would forget that it is TLS, beneath a thread that reads.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def _in_words(error: BaseException) -> str:
    causes = _causes(error)
    for kind, words in _KINDS:
        if any(isinstance(cause, kind) for cause in causes):
            return words
    return "sent something that is not HTTP, or closed the connection before the end"


def _causes(error: BaseException) -> list[BaseException]:
    """The error and all that it came from, the inmost first."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.insert(0, cause)
        cause = cause.__cause__ or cause.__context__
    return chain


class _Redaction(logging.Filter):
    """Takes headers of answers, cookies, and the query of every address out of what the HTTP library logs: a
    redirection's query is signed, which is a key for as long as it holds, and a service may say a key back."""

    _SECRET = re.compile(
        r"(https?://[^\s'\"?]*(?=\?)|location', b'[^'?]*(?=\?)|set-cookie', b')[^\s'\"]*", re.IGNORECASE
    )
    _HEADERS = re.compile(r"(receive_response_headers\.complete return_value=\([^\[]*)\[.*\]", re.DOTALL)

    def filter(self, record: logging.LogRecord) -> bool:
        text = self._HEADERS.sub(r"\1[…]", record.getMessage())
        record.msg, record.args = self._SECRET.sub(r"\1…", text), None
        return True


# Loggers and not handlers: a filter of a logger holds for whoever listens, but not for the loggers below it.
for _name in ("httpx", "httpcore.http11"):
    logging.getLogger(_name).addFilter(_Redaction())


_KINDS: list[tuple[type[BaseException], str]] = [
    (ConnectionRefusedError, "does not answer (connection refused)"),
    (socket.gaierror, "does not answer (its name is not known)"),
    (ssl.SSLError, "does not answer (no TLS, or none that can be trusted)"),
    (httpx.ConnectTimeout, "does not answer (no connection in time)"),
    (httpx.TimeoutException, "timed out"),
    (httpx.ConnectError, "does not answer (no connection)"),
    (ConnectionResetError, "cut the connection"),
    (httpx.DecodingError, "sent an answer that cannot be unpacked"),
    (httpx.NetworkError, "cut the connection"),
    (httpx.ProxyError, "cannot be reached through the proxy"),
    (httpx.InvalidURL, "cannot be asked: its URL is none"),
    (httpx.UnsupportedProtocol, "cannot be asked: its URL is none"),
]
