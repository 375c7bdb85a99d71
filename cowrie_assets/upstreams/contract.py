"""What all services have in common: what is sent, what comes back, how it reads, and the ways in which it fails.

Lives here: the types between a service's file (what it is asked, how its answer reads) and whoever sends the question.
Not here: any one service, sending (`http`), when and whether to ask (`cowrie_assets.lookup`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Answered = Literal["found", "not_found"]


@dataclass(frozen=True)
class Request:
    """One HTTP request. `headers` may hold a key: it is never printed, and neither are `form` and `content`, of which a
    request has one at the most."""

    url: str
    method: Literal["GET", "POST", "HEAD"] = "GET"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    form: Mapping[str, str] | None = field(default=None, repr=False)
    content: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Response:
    """A complete answer: its whole body has arrived. Header names are in lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """An answer that was understood. `fields` are typed and of JSON's types, their names are the service's own file's;
    `payload` is what the service sent, parsed and otherwise untouched. An answer that is not `settled` may soon be
    another one."""

    outcome: Answered
    fields: dict[str, Any]
    payload: Any
    settled: bool = True


class NoAnswer(Exception):
    """The question has no answer (never to be read as a negative one). The message names no key and no address."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class Transient(NoAnswer):
    """An error, a timeout, an answer that is cut or makes no sense: asking again may help."""


class Limited(NoAnswer):
    """The service wants to be left alone (429), for `retry_after` seconds where it says how long."""

    def __init__(self, reason: str, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(reason, status)
        self.retry_after = retry_after


class Refused(NoAnswer):
    """It will not answer us at all, whatever the question: a bad key, a missing contact. Nobody asks again."""


class Unsuitable(NoAnswer):
    """It does not take this question: an address family or a kind of address that it knows nothing of."""


class KeyService(Protocol):
    """A service that is asked about one key at a time: an address, a file's hash, the beginning of a password's."""

    def request(self, key: str, /) -> Request: ...

    def read(self, key: str, response: Response, /) -> Reading:
        """Read the answer about a key.

        Raises:
            NoAnswer: one of its kinds; an answer that is not understood is never `not_found`.
        """
        ...


class BulkService(Protocol):
    """A service that is asked about many keys in one request."""

    def request_many(self, keys: Sequence[str], /) -> Request: ...

    def read_many(self, keys: Sequence[str], response: Response, /) -> dict[str, Reading | Unsuitable]:
        """What the answer says of each key, or that the service does not take it; a key that is not among them has no
        answer.

        Raises:
            NoAnswer: one of its kinds, where the answer says nothing of any key.
        """
        ...
