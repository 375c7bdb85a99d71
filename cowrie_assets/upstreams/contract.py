"""What all services have in common: what is sent, what comes back, how it reads, and the ways in which it fails.

Lives here: the types between a service's file (what it is asked, how its answer reads) and whoever sends the question.
Not here: any one service, sending (`http`), when and whether to ask (`cowrie_assets.lookup`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Answered = Literal["found", "not_found"]


@dataclass(frozen=True)
class Request:
    """One HTTP request. `headers` may hold a key: it is never printed, and neither is `form`."""

    url: str
    method: Literal["GET", "POST"] = "GET"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    form: Mapping[str, str] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Response:
    """A complete answer: its whole body has arrived. Header names are in lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """An answer that was understood. `fields` are typed and of JSON's types, their names are the service's own file's;
    `payload` is what the service sent, parsed and otherwise untouched."""

    outcome: Answered
    fields: dict[str, Any]
    payload: Any


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


class AddressService(Protocol):
    """A service that is asked about one address at a time."""

    def request(self, address: str) -> Request: ...

    def read(self, address: str, response: Response) -> Reading:
        """Read the answer about an address.

        Raises:
            NoAnswer: one of its kinds; an answer that is not understood is never `not_found`.
        """
        ...
