"""The rules of the web services that know addresses, one class each: paths, credentials, refusals, headers.

Lives here: from a request to a sound reply, for DShield, URLhaus, Spur, GreyNoise and the lists. Not here: what is
answered (`answers`), the services that know files, passwords and places (`hashvendors`, `geovendors`).
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, time
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qs

from cowrie_assets.sandbox import answers
from cowrie_assets.sandbox.limits import Verdict
from cowrie_assets.sandbox.rules import GREYNOISE_PAID
from cowrie_assets.sandbox.vendor import (
    FORBIDDEN_CREDENTIAL,
    INVALID_CREDENTIAL,
    Asked,
    Reply,
    Vendor,
    World,
    after,
    error_page,
    in_json,
    unless_known,
)

# A key of GreyNoise that begins so is paid for; with the second one it has the licence for known businesses, too.
PAID_KEY = "enterprise"
LICENSED_KEY = "enterprise-business"
_GREYNOISE_BULK = 10_000


class DShield(Vendor):
    name = "dshield"

    def key(self, asked: Asked) -> str | None:
        return after("/api/ip/", asked.path)

    def credential(self, asked: Asked) -> str:
        return "contact" if "@" in asked.user_agent else ""

    def budget(self, asked: Asked) -> str:  # noqa: ARG002 - it goes by the source, and here all are one
        return ""

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

    def failure(self, status: int, code: str | None = None) -> Reply:
        # Its own word for too many requests, seen where the key is missing.
        return in_json(402, {"query_status": "ratelimited"}) if status == 402 else super().failure(status, code)

    def spoilt(self, kind: str, how: str | None, reply: Reply, key: str, asked: Asked) -> Reply:  # noqa: ARG002
        return in_json(200, {"query_status": "maintenance"})  # "unknown-status"


class Spur(Vendor):
    name = "spur"
    credential_header = "token"

    def key(self, asked: Asked) -> str | None:
        return "status" if asked.path == "/status" else after("/v2/context/", asked.path)

    def objection(self, asked: Asked) -> Reply | None:
        if self.credential(asked) in ("", INVALID_CREDENTIAL):
            return in_json(401, {"message": "invalid token"})
        return in_json(403, {"message": "forbidden"}) if self.credential(asked) == FORBIDDEN_CREDENTIAL else None

    def refusal(self, verdict: Verdict, asked: Asked) -> Reply:
        # No credits left is 429 too, and waiting does not help: no Retry-After.
        if verdict.refused_by == "balance":
            return in_json(429, {"message": "insufficient query balance"}, x_balance_remaining="0")
        return super().refusal(verdict, asked)

    def answer(self, key: str, asked: Asked) -> Reply:
        if key == "status":
            remaining = self.judge(asked).remaining
            return in_json(200, {"active": True, "queriesRemaining": remaining, "serviceTier": "online"})
        status, body = answers.spur(self.seed, key, self.as_of)
        if status == 400:
            return in_json(status, body)
        day = parse_qs(asked.query).get("dt", [f"{self.as_of:%Y%m%d}"])[0]
        return in_json(status, body, x_result_dt=day)

    def settle(self, asked: Asked, reply: Reply) -> None:
        if "x-result-dt" in reply.headers:
            judge = self.judge(asked)
            judge.used += 1
            if judge.remaining is not None:
                reply.headers["x-balance-remaining"] = str(judge.remaining)


class GreyNoise(Vendor):
    """The community's lookup by address, and the paid one in bulk."""

    name = "greynoise"
    credential_header = "key"

    def key(self, asked: Asked) -> str | None:
        if asked.path == "/v3/ip" and asked.method == "POST":
            return "bulk"
        return after("/v3/community/", asked.path)

    def keys(self, key: str, asked: Asked) -> list[str]:
        return [str(address) for address in _addresses(asked.body) or ()] if _is_bulk(asked) else [key]

    def plan(self, asked: Asked) -> str:
        return GREYNOISE_PAID if self.credential(asked).startswith(PAID_KEY) else self.name

    def objection(self, asked: Asked) -> Reply | None:
        # A key is optional, and an unknown one is as good as any.
        if self.credential(asked) == INVALID_CREDENTIAL:
            return in_json(401, {"message": "invalid API key"})
        if self.credential(asked) == FORBIDDEN_CREDENTIAL:
            return in_json(403, {"message": "forbidden"})
        return self._objection_to_bulk(asked) if _is_bulk(asked) else None

    def _objection_to_bulk(self, asked: Asked) -> Reply | None:
        if self.plan(asked) != GREYNOISE_PAID:
            return in_json(401, {"message": "this endpoint is not part of the community plan"})
        addresses = _addresses(asked.body)
        if addresses is None:
            return in_json(400, {"message": "the body has no list of ips"})
        if len(addresses) > _GREYNOISE_BULK:
            return in_json(400, {"message": f"at most {_GREYNOISE_BULK} ips at once"})
        return None

    def refusal(self, verdict: Verdict, asked: Asked) -> Reply:
        rule = self.world.limits.rule(self.plan(asked))
        count, letter = {
            "day": (rule.day, "D"), "week": (rule.week, "W"), "month": (rule.month, "M"),
        }.get(verdict.refused_by or "", (None, ""))  # fmt: skip
        if not letter:
            return super().refusal(verdict, asked)
        if self.credential(asked):
            plan = "Enterprise" if self.plan(asked) == GREYNOISE_PAID else "Community"
            return in_json(429, {"plan": plan, "rate_limit": f"{count}-{letter}"})
        # The older spelling, of which captures are as frequent; neither says when to come again.
        unit = {"D": "day", "W": "week", "M": "month"}[letter]
        older = {
            "plan": "unauthenticated",
            "rate-limit": f"{count}-lookups/{unit}",
            "plan_url": "https://www.greynoise.io/pricing",
            "message": f"You have hit your {unit.replace('day', 'dai')}ly rate limit.",
        }
        return in_json(429, older)

    def answer(self, key: str, asked: Asked) -> Reply:
        if _is_bulk(asked):
            return self._bulk(_addresses(asked.body) or [], asked)
        return in_json(*answers.greynoise(self.seed, key, self.as_of))

    def _bulk(self, addresses: list[Any], asked: Asked) -> Reply:
        licensed = self.credential(asked).startswith(LICENSED_KEY)
        quick = parse_qs(asked.query).get("quick", [""])[0].lower() == "true"
        body = answers.greynoise_bulk(self.seed, addresses, self.as_of, quick=quick, licensed=licensed)
        if self.world.dataset:
            self._replace_some(body)
        return in_json(200, body)

    def _replace_some(self, body: dict[str, Any]) -> None:
        """Of an address whose answer a test has replaced: 404 is not found, any other body is its entry."""
        told = body["request_metadata"]
        for address in [*(entry["ip"] for entry in body["data"]), *told["ips_not_found"]]:
            replaced = self.world.dataset.get(self.name, address)
            if replaced is not None:
                body["data"] = [entry for entry in body["data"] if entry["ip"] != address]
                told["ips_not_found"] = [other for other in told["ips_not_found"] if other != address]
                if replaced.status == 404:
                    told["ips_not_found"].append(address)
                else:
                    body["data"].append(replaced.value)

    def suffers(self, kind: str, key: str) -> bool:
        return kind != "drop-rows" or key == "bulk"

    def spoilt(self, kind: str, how: str | None, reply: Reply, key: str, asked: Asked) -> Reply:  # noqa: ARG002
        """ "drop-rows": every third address is in none of the lists."""
        body = json.loads(reply.body)
        told = body["request_metadata"]
        body["data"] = [entry for number, entry in enumerate(body["data"]) if number % 3]
        told["ips_not_found"] = [address for number, address in enumerate(told["ips_not_found"]) if number % 3]
        return in_json(200, body)

    def other_answer(self, key: str, asked: Asked) -> Reply:
        if not _is_bulk(asked):
            return super().other_answer(key, asked)
        others = [_next_address(text) for text in _addresses(asked.body) or ()]
        return self._bulk(others, asked)


def _is_bulk(asked: Asked) -> bool:
    return asked.path == "/v3/ip"


def _addresses(body: bytes) -> list[Any] | None:
    try:
        asked = json.loads(body)
    except ValueError:
        return None
    addresses = asked.get("ips") if isinstance(asked, dict) else None
    return addresses if isinstance(addresses, list) else None


def _next_address(text: Any) -> Any:
    try:
        return str(ip_address(text) + 1)
    except ValueError:
        return text


class Feeds(Vendor):
    """Two lists as files, for conditional requests as well."""

    name = "feeds"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        texts = {"tor-exits.txt": answers.tor_exits(self.seed), "clouds.csv": answers.cloud_ranges(self.seed)}
        self._files = {name: text.encode() for name, text in texts.items()}
        self._modified = datetime.combine(self.as_of, time(), UTC)

    def key(self, asked: Asked) -> str | None:
        name = asked.path.removeprefix("/")
        return name if name in self._files else None

    def objection(self, asked: Asked) -> Reply | None:
        return None if asked.method in ("GET", "HEAD") else error_page(405)

    def answer(self, key: str, asked: Asked) -> Reply:
        kind = "text/csv" if key.endswith(".csv") else "text/plain"
        return unless_known(asked, self._files[key], f"{kind}; charset=utf-8", self._modified)

    def other_answer(self, key: str, asked: Asked) -> Reply:
        return self.answer(next(name for name in self._files if name != key), asked)
