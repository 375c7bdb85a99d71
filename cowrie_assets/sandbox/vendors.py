"""The web services' rules, one class each: paths, credentials, refusals, headers.

Lives here: from a request to a sound reply. Not here: what is answered (`answers`), how much is too much (`limits`),
what goes wrong on the way (`webservices`).

Any credential is taken, but for two: `INVALID_CREDENTIAL` is answered 401, `FORBIDDEN_CREDENTIAL` 403.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from email.utils import format_datetime, parsedate_to_datetime
from hashlib import blake2b
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qs

from cowrie_assets.sandbox import answers
from cowrie_assets.sandbox.limits import WEEK, Judge, Verdict

INVALID_CREDENTIAL = "invalid"
FORBIDDEN_CREDENTIAL = "forbidden"

_JSON = "application/json"
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
    content_type: str = _JSON
    headers: dict[str, str] = field(default_factory=dict)


def in_json(status: int, value: Any, **headers: str) -> Reply:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(status, json.dumps(value, separators=(",", ":")).encode(), headers=named)


def error_page(status: int) -> Reply:
    return Reply(status, _ERROR_PAGE, "text/html; charset=utf-8")


class Vendor:
    """One service. `key` is None for a path that it has not."""

    name: str
    content_type = _JSON
    credential_header: str | None = None

    def __init__(self, seed: int, as_of: date, judge: Callable[[], Judge]) -> None:
        self.seed = seed
        self.as_of = as_of
        self._judge = judge

    @property
    def judge(self) -> Judge:
        return self._judge()

    def key(self, asked: Asked) -> str | None:
        raise NotImplementedError

    def answer(self, key: str, asked: Asked) -> Reply:
        raise NotImplementedError

    def credential(self, asked: Asked) -> str:
        return asked.headers.get(self.credential_header, "") if self.credential_header else ""

    def objection(self, asked: Asked) -> Reply | None:
        """Why this client is not answered at all, if so."""
        raise NotImplementedError

    def refusal(self, verdict: Verdict, asked: Asked) -> Reply:  # noqa: ARG002 - GreyNoise looks at the question
        reply = error_page(429)
        if verdict.retry_after is not None:
            reply.headers["retry-after"] = str(verdict.retry_after)
        return reply

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


def _after(prefix: str, path: str) -> str | None:
    key = path.removeprefix(prefix)
    return key if key and key != path and "/" not in key else None


class DShield(Vendor):
    name = "dshield"

    def key(self, asked: Asked) -> str | None:
        return _after("/api/ip/", asked.path)

    def credential(self, asked: Asked) -> str:
        return "contact" if "@" in asked.user_agent else ""

    def objection(self, asked: Asked) -> Reply | None:
        return None if self.credential(asked) else error_page(403)

    def answer(self, key: str, asked: Asked) -> Reply:
        status, body = answers.dshield(self.seed, key, self.as_of)
        if "json" in (part.partition("=")[0] for part in asked.query.split("&")):
            return in_json(status, body)
        fields = body.get("ip", body)
        text = "".join(f"<{name}>{'' if value is None else value}</{name}>" for name, value in fields.items())
        return Reply(status, f'<?xml version="1.0"?><ip>{text}</ip>'.encode(), "text/xml; charset=utf-8")


class URLhaus(Vendor):
    name = "urlhaus"
    credential_header = "auth-key"

    def key(self, asked: Asked) -> str | None:
        if asked.path != "/v1/host/":
            return None
        return parse_qs(asked.body.decode("utf-8", "replace")).get("host", [""])[0].strip()

    def objection(self, asked: Asked) -> Reply | None:
        if self.credential(asked) in ("", INVALID_CREDENTIAL):
            return in_json(401, {"error": "Unauthorized"})
        if self.credential(asked) == FORBIDDEN_CREDENTIAL:
            return in_json(403, {"error": "Forbidden"})
        is_form = asked.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
        return None if asked.method == "POST" and is_form else in_json(200, {"query_status": "http_post_expected"})

    def answer(self, key: str, asked: Asked) -> Reply:  # noqa: ARG002
        return in_json(*answers.urlhaus(self.seed, key, self.as_of))


class Spur(Vendor):
    name = "spur"
    credential_header = "token"

    def key(self, asked: Asked) -> str | None:
        return "status" if asked.path == "/status" else _after("/v2/context/", asked.path)

    def objection(self, asked: Asked) -> Reply | None:
        if self.credential(asked) in ("", INVALID_CREDENTIAL):
            return in_json(401, {"message": "invalid token"})
        return in_json(403, {"message": "forbidden"}) if self.credential(asked) == FORBIDDEN_CREDENTIAL else None

    def refusal(self, verdict: Verdict, asked: Asked) -> Reply:
        # No credits left is 429 too, and waiting does not help: no Retry-After.
        if verdict.over_quota:
            return in_json(429, {"message": "insufficient query balance"}, x_balance_remaining="0")
        return super().refusal(verdict, asked)

    def answer(self, key: str, asked: Asked) -> Reply:
        remaining = self.judge.remaining
        if key == "status":
            return in_json(200, {"active": True, "queriesRemaining": remaining, "serviceTier": "online"})
        status, body = answers.spur(self.seed, key, self.as_of)
        if status == 400:
            return in_json(status, body)
        day = parse_qs(asked.query).get("dt", [f"{self.as_of:%Y%m%d}"])[0]
        self.judge.used += 1
        balance = {} if remaining is None else {"x_balance_remaining": str(remaining - 1)}
        return in_json(status, body, x_result_dt=day, **balance)


class GreyNoise(Vendor):
    name = "greynoise"
    credential_header = "key"

    def key(self, asked: Asked) -> str | None:
        return _after("/v3/community/", asked.path)

    def objection(self, asked: Asked) -> Reply | None:
        # A key is optional, and an unknown one counts as none.
        if self.credential(asked) == INVALID_CREDENTIAL:
            return in_json(401, {"message": "invalid API key"})
        return in_json(403, {"message": "forbidden"}) if self.credential(asked) == FORBIDDEN_CREDENTIAL else None

    def refusal(self, verdict: Verdict, asked: Asked) -> Reply:
        rule = self.judge.rule
        if rule.window < WEEK and not verdict.over_quota:
            return super().refusal(verdict, asked)
        count = rule.quota if verdict.over_quota else rule.requests
        if self.credential(asked):
            return in_json(429, {"plan": "Community", "rate_limit": f"{count}-W"})
        plan = {
            "plan": "unauthenticated",
            "rate-limit": f"{count}-lookups/week",
            "plan_url": "https://www.greynoise.io/pricing",
            "message": "You have hit your weekly rate limit.",
        }
        return in_json(429, plan)

    def answer(self, key: str, asked: Asked) -> Reply:  # noqa: ARG002
        return in_json(*answers.greynoise(self.seed, key, self.as_of))


class Feeds(Vendor):
    """Two lists as files, for conditional requests as well."""

    name = "feeds"
    content_type = "text/plain; charset=utf-8"

    def __init__(self, seed: int, as_of: date, judge: Callable[[], Judge]) -> None:
        super().__init__(seed, as_of, judge)
        texts = {"tor-exits.txt": answers.tor_exits(seed), "clouds.csv": answers.cloud_ranges(seed)}
        self._files = {name: text.encode() for name, text in texts.items()}
        self._modified = datetime.combine(as_of, time(), UTC)

    def key(self, asked: Asked) -> str | None:
        name = asked.path.removeprefix("/")
        return name if name in self._files else None

    def objection(self, asked: Asked) -> Reply | None:
        return None if asked.method in ("GET", "HEAD") else error_page(405)

    def answer(self, key: str, asked: Asked) -> Reply:
        content = self._files[key]
        etag = f'"{blake2b(content, digest_size=12).hexdigest()}"'
        headers = {"etag": etag, "last-modified": format_datetime(self._modified, usegmt=True)}
        if self._is_known(asked, etag):
            return Reply(304, headers=headers)
        kind = "text/csv; charset=utf-8" if key.endswith(".csv") else self.content_type
        return Reply(200, content, kind, headers)

    def _is_known(self, asked: Asked, etag: str) -> bool:
        if known := asked.headers.get("if-none-match"):
            return known == "*" or etag in (tag.strip().removeprefix("W/") for tag in known.split(","))
        try:
            since = parsedate_to_datetime(asked.headers.get("if-modified-since", ""))
        except ValueError:
            return False
        return since.tzinfo is not None and self._modified <= since

    def other_answer(self, key: str, asked: Asked) -> Reply:
        return self.answer(next(name for name in self._files if name != key), asked)
