"""Answers that a test has put in the place of the sandbox's own: a service that changed its mind.

Lives here: which key of which service has one, and how it is told. Not here: what is answered otherwise (`answers`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cowrie_assets.sandbox.rules import SERVICES


@dataclass(frozen=True)
class Replaced:
    """A literal answer. `value` is what was given as its body, `body` how that is sent."""

    status: int
    value: Any
    content_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        text = self.value if isinstance(self.value, str) else json.dumps(self.value, separators=(",", ":"))
        return text.encode()


class Dataset:
    """The replaced answers, by service and key as the ledger has it."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str], Replaced] = {}

    def __bool__(self) -> bool:
        return bool(self._answers)

    def get(self, service: str, key: str) -> Replaced | None:
        return self._answers.get((service, key)) if self._answers else None

    def reset(self) -> None:
        self._answers = {}

    def replace(self, service: str, key: str, answer: Mapping[str, Any] | None) -> None:
        """From now on this is the answer about a key: `status` (200), `body` (text as it is, all else as JSON; for
        Team Cymru a list of lines), `content_type` and `headers` (the service's own). None is the sandbox's own again.

        Raises:
            ValueError: an unknown service or field, a value that is none.
        """
        if service not in SERVICES:
            raise ValueError(f"no such service: {service}")
        if not isinstance(key, str):
            raise ValueError(f"key is {key!r}")  # noqa: TRY004
        if answer is None:
            self._answers.pop((service, key), None)
            return
        if not isinstance(answer, Mapping):
            raise ValueError(f"an answer is an object, not {answer!r}")  # noqa: TRY004
        if unknown := sorted(set(answer) - {"status", "body", "content_type", "headers"}):
            raise ValueError(f"an answer has no {', '.join(unknown)}")
        status, value = answer.get("status", 200), answer.get("body", "")
        if isinstance(status, bool) or not isinstance(status, int) or not 200 <= status <= 599:
            raise ValueError(f"status is {status!r}")
        if service == "cymru" and not (isinstance(value, list) and all(isinstance(line, str) for line in value)):
            raise ValueError("the body of an answer of cymru is a list of lines")
        content_type, headers = answer.get("content_type"), answer.get("headers", {})
        if not (content_type is None or isinstance(content_type, str)):
            raise ValueError(f"content_type is {content_type!r}")
        if not isinstance(headers, Mapping) or not all(isinstance(text, str) for text in headers.values()):
            raise ValueError(f"headers are {headers!r}")
        lowered = {str(name).lower(): text for name, text in headers.items()}
        self._answers[service, key] = Replaced(status, value, content_type, lowered)
