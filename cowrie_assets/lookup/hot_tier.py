"""The hot tier of the cache (L1): for which keys the warehouse knows an answer, and until when. Less than an hour old.

Lives here: the entries, in Redis, where all processes share them, or in this process where there is no Redis. Not here:
answers themselves (`answers`; whole ones on disk: `file_tier`), and when to look and to write: only after the commit of
what an entry tells of, for an entry is believed.

An entry lives `LIFE` from its writing, and its answer until `expires_at`, which is kept as it was: that a key was
copied up here makes nothing younger. A lost, full or foreign Redis costs a look into the database, and no answer.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, get_args

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cowrie_assets.upstreams.contract import Answered

SCHEMA = 1  # part of every key; bump it when an entry's shape changes
LIFE = 3300.0  # seconds; hot means less than an hour
_TIMEOUT = 1.0  # seconds; the database answers meanwhile
_CHUNK = 10_000  # keys in one round trip: 0.5 MB, and the other clients of the server wait 10 ms at most
_CAPACITY = 100_000
_ANSWERED = frozenset(get_args(Answered))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the newest answer for a key. Times are aware and in UTC."""

    outcome: str
    answered_at: datetime
    expires_at: datetime


class TierFailure(Exception):
    """A tier cannot be read or written now. `reason` goes on after the tier's name, and has no URL, password, path or
    key in it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class HotTier(Protocol):
    """Raises TierFailure from `read` and `write`. Threads may share one."""

    name: str

    def read(self, service: str, keys: Sequence[str]) -> dict[str, Known]:
        """What is known, fresh or not: whether an answer is still good is for the caller to say."""

    def write(self, service: str, entries: Mapping[str, Known]) -> None:
        """Let all see it. Of two that write the same key, the later has it, whichever answer is newer."""

    def close(self) -> None: ...


class MemoryTier:
    """In this process alone, when no Redis is configured."""

    name = "memory"

    def __init__(self, warehouse: str, capacity: int = _CAPACITY, clock: Callable[[], float] = time.monotonic) -> None:
        self.warehouse = warehouse  # of which all entries tell
        self._capacity = capacity
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[tuple[str, str], tuple[float, Known]] = {}  # the one that is written longest ago first

    def read(self, service: str, keys: Sequence[str]) -> dict[str, Known]:
        now = self._clock()
        with self._lock:
            entries = {key: self._entries.get((service, key)) for key in keys}
        return {key: entry[1] for key, entry in entries.items() if entry is not None and now < entry[0]}

    def write(self, service: str, entries: Mapping[str, Known]) -> None:
        dies_at = self._clock() + LIFE
        with self._lock:
            for key, known in entries.items():
                _check(known)
                self._entries.pop((service, key), None)  # or it would keep its old place in the order
                self._entries[service, key] = (dies_at, known)
                if len(self._entries) > self._capacity:
                    del self._entries[next(iter(self._entries))]

    def close(self) -> None:
        with self._lock:
            self._entries.clear()


class RedisTier:
    """In Redis or Valkey.

    Args:
        url: redis://, rediss:// or unix://, with what else redis-py understands of it.
        warehouse: an id of the database's contents, part of every key: another database knows other answers.

    Raises:
        ValueError: the URL or the id is none. The text does not have the URL in it, for its password.
    """

    name = "redis"

    def __init__(self, url: str, warehouse: str) -> None:
        if not re.fullmatch(r"[\w.-]+", warehouse, re.ASCII):
            raise ValueError("a warehouse's id has letters, digits, '.', '_' and '-' only")
        pool = _pool(url)
        if pool is None:
            raise ValueError("the URL of Redis cannot be understood: redis://[user:password@]host[:port][/number]")
        self._pool = pool
        self._client = redis.Redis(connection_pool=pool)
        self._prefix = f"cowrie:{SCHEMA}:{warehouse}:"

    def read(self, service: str, keys: Sequence[str]) -> dict[str, Known]:
        known = {}
        for chunk in _chunks(keys):
            names = [self._name(service, key) for key in chunk]
            values = self._told(len(chunk), self._client.mget, names)
            for key, name, value in zip(chunk, names, values, strict=True):
                entry = _decoded(name, value)
                if entry is not None:
                    known[key] = entry
        return known

    def write(self, service: str, entries: Mapping[str, Known]) -> None:
        for chunk in _chunks(list(entries)):
            pipeline = self._client.pipeline(transaction=False)
            for key in chunk:
                name = self._name(service, key)
                pipeline.set(name, _encoded(name, entries[key]), px=round(1000 * LIFE))
            # Not raised there: it would be an error with the key in its text.
            self._told(len(chunk), pipeline.execute, False)

    def close(self) -> None:
        self._pool.disconnect()

    def _name(self, service: str, key: str) -> bytes:
        return f"{self._prefix}{service}:{key}".encode(errors="surrogatepass")

    def _told(self, number: int, command: Callable[..., Any], argument: object) -> list[Any]:
        """So many replies to a command."""
        try:
            replies = command(argument)
        # Nothing of ours runs above, and a server that is not Redis brings the parser to raise all sorts of errors.
        except Exception as error:
            failure = _in_words(error)
        else:
            if isinstance(replies, list) and len(replies) == number:
                refusal = next((reply for reply in replies if isinstance(reply, Exception)), None)
                if refusal is None:
                    return replies
                failure = _in_words(refusal)
            else:
                failure = _NOT_REDIS
        # Out here, so that it carries no context: texts of the errors above name hosts, users and keys.
        raise TierFailure(failure)


def _pool(url: str) -> redis.ConnectionPool | None:
    """None for a URL that cannot be understood. Whoever raises does so far from errors that quote parts of it."""
    try:
        pool = redis.ConnectionPool.from_url(url)
        # Afterwards, for what the URL says of them would win.
        pool.connection_kwargs.update(
            socket_timeout=_TIMEOUT,
            socket_connect_timeout=_TIMEOUT,
            retry=Retry(NoBackoff(), 0),
            retry_on_timeout=False,
            decode_responses=False,
        )
        pool.connection_class(**pool.connection_kwargs)  # an option that there is not shows itself here, unconnected
    except Exception:  # whatever it is: the URL is not understood
        return None
    return pool


def _chunks(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    return (keys[begin : begin + _CHUNK] for begin in range(0, len(keys), _CHUNK))


# --- entries ----------------------------------------------------------------------------------------------------------


def _check(known: Known) -> None:
    if known.outcome not in _ANSWERED:
        raise ValueError(f"{known.outcome!r} is no answer, and only answers are cached")


def _encoded(name: bytes, known: Known) -> bytes:
    _check(known)
    body = f"{known.outcome} {_microseconds(known.answered_at)} {_microseconds(known.expires_at)}".encode()
    return b"%b %08x" % (body, _checksum(name, body))


def _decoded(name: bytes, value: Any) -> Known | None:
    """None for what is not there, and for all that was not written for this very key by `_encoded`: a number that lost
    its last digit is a number still, hence the checksum."""
    if not isinstance(value, bytes):
        return None
    body, _, checksum = value.rpartition(b" ")
    try:
        if checksum != b"%08x" % _checksum(name, body):
            return None
        outcome, answered_at, expires_at = body.decode("ascii").split(" ")
        known = Known(outcome, _moment(answered_at), _moment(expires_at))
    except (ValueError, OverflowError):
        return None
    return known if outcome in _ANSWERED else None


def _checksum(name: bytes, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(name))


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _moment(microseconds: str) -> datetime:
    return _EPOCH + int(microseconds) * _MICROSECOND


# --- failures ---------------------------------------------------------------------------------------------------------


def _in_words(error: BaseException) -> str:
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    for kind, words in _KINDS:
        if any(isinstance(cause, kind) for cause in chain):
            return words
    if not isinstance(error, redis.ResponseError):
        return _NOT_REDIS
    # Its first word, and no more: the rest may quote what was sent.
    code = re.match(r"[A-Z]{2,20}\b", str(error))
    return "refuses the command" + (f" ({code[0]})" if code is not None else "")


_NOT_REDIS = "sent something that is not Redis's language"
_KINDS: list[tuple[type[BaseException] | tuple[type[BaseException], ...], str]] = [
    (
        (redis.AuthenticationError, redis.exceptions.AuthenticationWrongNumberOfArgsError),
        "does not accept the user or the password, or wants one",
    ),
    (redis.exceptions.NoPermissionError, "does not let this user read or write here"),
    (redis.exceptions.OutOfMemoryError, "has no memory left"),
    (redis.ReadOnlyError, "is read-only"),
    (redis.BusyLoadingError, "is still loading its data"),
    (redis.exceptions.MaxConnectionsError, "has no connection left for one more thread"),
    (ConnectionRefusedError, "does not answer (connection refused)"),
    (socket.gaierror, "does not answer (its name is not known)"),
    (ssl.SSLError, "does not answer (no TLS, or none that can be trusted)"),
    ((redis.TimeoutError, TimeoutError), f"did not answer within {_TIMEOUT:g} s"),
    ((redis.ConnectionError, OSError), "does not answer, or cut the connection"),
]
