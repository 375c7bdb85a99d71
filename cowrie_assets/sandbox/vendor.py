"""What all web services of the sandbox have in common: a request, a reply, and what a service has to say to them.

Lives here: those types, JSON and error pages, conditional requests. Not here: any one service (`vendors`,
`hashvendors`, `geovendors`), how much is too much (`limits`), what goes wrong on the way (`spoiling`).

Any credential is taken, but for two: `INVALID_CREDENTIAL` is answered 401, `FORBIDDEN_CREDENTIAL` 403.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import date, datetime
from email.utils import format_datetime, parsedate_to_datetime
from hashlib import blake2b
from ipaddress import ip_address
from typing import Any, ClassVar

from cowrie_assets.sandbox.clock import Clock
from cowrie_assets.sandbox.dataset import Dataset
from cowrie_assets.sandbox.limits import Judge, Limits, Verdict, fingerprint

INVALID_CREDENTIAL = "invalid"
FORBIDDEN_CREDENTIAL = "forbidden"

JSON = "application/json"
_ERROR_PAGE = b"<!DOCTYPE html><html><head><title>Please wait</title></head><body><h1>Please wait</h1></body></html>"


@dataclass(frozen=True)
class Asked:
    """A request. `path` is what follows the service's prefix; header names are in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)

    @property
    def user_agent(self) -> str:
        return self.headers.get("user-agent", "")


@dataclass
class Reply:
    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)


def in_json(status: int, value: Any, **headers: str) -> Reply:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(status, json.dumps(value, separators=(",", ":")).encode(), headers=named)


def error_page(status: int) -> Reply:
    return Reply(status, _ERROR_PAGE, "text/html; charset=utf-8")


def unless_known(asked: Asked, content: bytes, content_type: str, modified: datetime) -> Reply:
    """A file, or 304 for a client that has it."""
    etag = f'"{blake2b(content, digest_size=12).hexdigest()}"'
    headers = {"etag": etag, "last-modified": format_datetime(modified, usegmt=True)}
    if known := asked.headers.get("if-none-match"):
        is_known = known == "*" or etag in (tag.strip().removeprefix("W/") for tag in known.split(","))
    else:
        try:
            since = parsedate_to_datetime(asked.headers.get("if-modified-since", ""))
            is_known = since.tzinfo is not None and modified <= since
        except ValueError:
            is_known = False
    return Reply(304, headers=headers) if is_known else Reply(200, content, content_type, headers)


def after(prefix: str, path: str) -> str | None:
    """The one part of a path that follows a prefix, None for all other paths."""
    key = path.removeprefix(prefix)
    return key if key and key != path and "/" not in key else None


@dataclass(frozen=True)
class World:
    """What all services of a sandbox share."""

    seed: int
    as_of: date
    clock: Clock
    limits: Limits
    dataset: Dataset
    # Where MaxMind's files are fetched in the end: another origin, as in reality.
    store_url: str


class Vendor:
    """One service."""

    name: ClassVar[str]
    # The first part of its paths, if that is not its name.
    prefix: ClassVar[str | None] = None
    credential_header: ClassVar[str | None] = None

    def __init__(self, world: World) -> None:
        self.world = world
        self.seed = world.seed
        self.as_of = world.as_of

    def key(self, asked: Asked) -> str | None:
        """What is asked about, None for a path that the service has not."""
        raise NotImplementedError

    def keys(self, key: str, asked: Asked) -> list[str]:  # noqa: ARG002 - in bulk there are many
        return [key]

    def answer(self, key: str, asked: Asked) -> Reply:
        raise NotImplementedError

    def objection(self, asked: Asked) -> Reply | None:
        """Why this client is not answered at all, if so."""
        raise NotImplementedError

    def credential(self, asked: Asked) -> str:
        return asked.headers.get(self.credential_header, "") if self.credential_header else ""

    def plan(self, asked: Asked) -> str:  # noqa: ARG002
        """Whose rule holds for this client."""
        return self.name

    def budget(self, asked: Asked) -> str:
        """What shares a limit: two credentials have two of them, those without one have another."""
        return fingerprint(self.credential(asked))

    def is_judged(self, key: str | None, asked: Asked) -> bool:  # noqa: ARG002
        """Whether this request counts at all."""
        return True

    def judge(self, asked: Asked) -> Judge:
        return self.world.limits.judge(self.plan(asked), self.budget(asked))

    def refusal(self, verdict: Verdict, asked: Asked) -> Reply:
        """What is answered where the judge says no."""
        return self.says_when(error_page(429), verdict, asked)

    def says_when(self, reply: Reply, verdict: Verdict, asked: Asked) -> Reply:
        if verdict.retry_after is not None and self.world.limits.rule(self.plan(asked)).retry_after:
            reply.headers["retry-after"] = str(verdict.retry_after)
        return reply

    def failure(self, status: int, code: str | None = None) -> Reply:  # noqa: ARG002 - codes are VirusTotal's
        """What a fault of this status looks like."""
        return error_page(status)

    def settle(self, asked: Asked, reply: Reply) -> None:
        """Charge for an answer that was given."""

    def suffers(self, kind: str, key: str) -> bool:  # noqa: ARG002
        """Whether a fault can befall the answer about a key; one that cannot waits for one that it can."""
        return True

    def spoilt(self, kind: str, how: str | None, reply: Reply, key: str, asked: Asked) -> Reply:
        """A fault that only this service has."""
        raise NotImplementedError(kind)

    def cut_length(self, body: bytes) -> int:
        """How much of a body is left of it where a fault does not say."""
        return len(body) // 2

    def other_answer(self, key: str, asked: Asked) -> Reply:
        """A sound answer to another question: about the next address of which there is something to say."""
        try:
            number = ip_address(key)
        except ValueError:
            return self.answer(key, asked)
        for _ in range(64):
            number += 1
            reply = self.answer(str(number), asked)
            if str(number).encode() in reply.body:
                break
        return reply
