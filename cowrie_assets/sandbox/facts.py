"""What is true in the sandbox, service by service: a pure function of seed and key.

Lives here: what each service knows of an address, and which awkward spelling, if any, its answer gets. Not here: whom
the address belongs to (`origins`), files and passwords (`hashfacts`), the spelling itself (`answers`), limits, faults.

Every service draws by a hash of its own, so what one knows says nothing about what another knows. The draw is by
address also where real answers go by prefix (Team Cymru): a neighbour in the same prefix may well be unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from ipaddress import ip_address
from typing import Any, Literal

from cowrie_assets.sandbox.hashfacts import file_case, password_truth
from cowrie_assets.sandbox.origins import INVENTED_ASNS, Dice, Origin, origin_of

AS_OF = date(2025, 9, 13)

Service = Literal["dshield", "urlhaus", "spur", "greynoise", "cymru"]
HashService = Literal["virustotal", "hibp"]
Facts = dict[str, Any]
_Share = Literal["found", "negative", "odd"]

_FOUND_PERCENT, _NEGATIVE_PERCENT = 60, 35  # the rest is awkward

_PROXY_NETWORKS = ("DRIFTWOOD_PROXY", "LAGOON_PROXY", "SANDBAR_PROXY", "TIDEPOOL_PROXY")
_URL_TAGS = ("32-bit", "arm", "elf", "mips", "Mozi", "sh", "ua-wget", "x86-64")
_THREAT_FEEDS = ("blocklistde22", "ciarmy", "openresolver", "rosti", "webscanner")
_SCANNERS = ("Breakwater Census", "Lighthouse Survey", "Sextant Research")


@dataclass(frozen=True)
class Case:
    """One address as one service has it. `oddity` names an awkward way to spell `facts`, `dice` draws fillers."""

    address: str
    origin: Origin
    facts: Facts
    oddity: str | None
    dice: Dice


def truth(service: Service | HashService, seed: int, key: str, as_of: date = AS_OF) -> Facts:
    """The plain facts behind a service's answer about an address; about a file's hash (virustotal), or a password.

    All have `outcome`: "found", "not_found", or "not_applicable" where the service takes no such key. What is not known
    is None or an empty list. Days and instants are in ISO format.

    Raises:
        ValueError: not an address, where one is due.
    """
    if service == "virustotal":
        return file_case(seed, key, as_of).facts
    return password_truth(seed, key) if service == "hibp" else case(service, seed, key, as_of).facts


def case(service: Service, seed: int, address: str, as_of: date = AS_OF) -> Case:
    canonical = ip_address(address)
    origin = origin_of(seed, canonical)
    dice = Dice(seed, service, canonical)
    drawn = dice.below(100)
    share: _Share = "found"
    if drawn >= _FOUND_PERCENT:
        share = "negative" if drawn < _FOUND_PERCENT + _NEGATIVE_PERCENT else "odd"
    facts, oddity = _MAKERS[service](_Question(str(canonical), origin, share, dice, as_of))
    return Case(str(canonical), origin, facts, oddity, dice)


@dataclass(frozen=True)
class _Question:
    address: str
    origin: Origin
    share: _Share
    dice: Dice
    as_of: date

    @property
    def private(self) -> bool:
        return self.origin.kind == "private"

    @property
    def is_ipv4(self) -> bool:
        return ":" not in self.address


def _dshield(question: _Question) -> tuple[Facts, str | None]:
    dice, origin = question.dice, question.origin
    facts: Facts = {
        "outcome": "not_found", "attacks": None, "reports": None, "first_seen": None, "last_seen": None,
        "max_risk": None, "threat_feeds": [], "asn": origin.asn, "as_name": origin.as_name,
        "country": origin.country, "network": None if question.private else str(origin.prefix),
    }  # fmt: skip
    oddity = dice.pick(("text", "leftovers", "no system", "null feeds")) if question.share == "odd" else None
    if question.private or question.share == "negative" or oddity == "leftovers":
        return facts, None if question.private else oddity
    low, high = dice.pick(((0, 0), (1, 10), (11, 100), (101, 1000), (1001, 100_000)))
    attacks = dice.log_between(low, high) if low else 0
    last_seen = dice.day_before(question.as_of, 60)
    facts |= {
        "outcome": "found",
        "attacks": attacks,
        "reports": 1 + attacks * (1 + dice.below(20)),
        "first_seen": dice.day_before(last_seen, 300).isoformat(),
        "last_seen": last_seen.isoformat(),
        "max_risk": dice.below(11),
        "threat_feeds": [] if oddity == "null feeds" or dice.percent(60) else dice.some(_THREAT_FEEDS, 1, 3),
    }
    if oddity == "no system":
        facts |= {"asn": None, "as_name": None, "country": None, "network": None}
    return facts, oddity


def _urlhaus(question: _Question) -> tuple[Facts, str | None]:
    dice = question.dice
    facts: Facts = {
        "outcome": "not_found", "url_count": 0, "urls_online": 0, "tags": [], "threats": [], "first_seen": None,
        "urls": [],
    }  # fmt: skip
    if not question.is_ipv4:
        return {**facts, "outcome": "not_applicable"}, None
    oddity = dice.pick(("null urls", "null tags", "bare", "null result")) if question.share == "odd" else None
    if question.private or question.share == "negative" or oddity == "null result":
        return facts, None if question.private else oddity
    first_seen = dice.day_before(question.as_of, 90)
    urls: list[dict[str, Any]] = []
    for number in range(dice.log_between(1, 12)):
        one = Dice("url", question.address, number, dice.below(1 << 16))
        tags = [] if oddity == "null tags" or one.percent(15) else one.some(_URL_TAGS, 1, 4)
        days_later = one.below((question.as_of - first_seen).days + 1) if number else 0
        urls.append(
            {
                "id": 3_600_000 + one.below(90_000),
                "url": f"http://{question.address}:{1024 + one.below(60_000)}/{one.pick(('i', 'bin.sh', 'Mozi.m'))}",
                "online": one.percent(30),
                "added": (first_seen + timedelta(days=days_later)).isoformat(),
                "threat": "malware_download",
                "tags": tags,
            }
        )
    facts |= {"outcome": "found", "url_count": len(urls), "first_seen": first_seen.isoformat()}
    if oddity == "bare":
        facts["first_seen"] = None
    if oddity != "null urls":
        facts |= {
            "urls": urls,
            "urls_online": sum(url["online"] for url in urls),
            "tags": sorted({tag for url in urls for tag in url["tags"]}),
            "threats": ["malware_download"],
        }
    return facts, oddity


def _spur(question: _Question) -> tuple[Facts, str | None]:
    dice, origin = question.dice, question.origin
    facts: Facts = {
        "outcome": "not_found", "asn": origin.asn, "organization": origin.as_name, "country": origin.country,
        "city": None, "infrastructure": None, "is_vpn": False, "is_proxy": False, "is_tor": False, "tunnel_types": [],
        "operators": [], "proxies": [], "risks": [], "services": [], "behaviors": [], "client_count": None,
    }  # fmt: skip
    if question.private:
        return {**facts, "outcome": "not_applicable"}, None
    oddities = ("null client", "text", "objects", "null lists", "no country", "404", "nulls")
    oddity = dice.pick(oddities) if question.share == "odd" else None
    if oddity in ("404", "nulls"):
        facts |= {"asn": None, "organization": None, "country": None}
    if question.share == "negative" or oddity in ("404", "nulls"):
        return facts, oddity
    at_home = origin.kind in ("telecom", "mobile")
    tunnel = {"tor": "TOR", "vpn": "VPN"}.get(origin.kind)
    if tunnel is None and not at_home and dice.percent(8):
        tunnel = "PROXY"
    proxies = dice.some(_PROXY_NETWORKS, 1, 3) if at_home and dice.percent(12) and oddity != "null client" else []
    quiet = oddity == "null lists"
    facts |= {
        "outcome": "found",
        "city": origin.city,
        "infrastructure": "MOBILE" if origin.kind == "mobile" else "RESIDENTIAL" if at_home else "DATACENTER",
        "is_vpn": tunnel == "VPN",
        "is_tor": tunnel == "TOR",
        "is_proxy": tunnel == "PROXY" or bool(proxies),
        "tunnel_types": [tunnel] if tunnel else [],
        "operators": [_operator(origin.as_name or "")] if tunnel == "VPN" else [],
        "proxies": proxies,
        "risks": [] if quiet else ["CALLBACK_PROXY"] * bool(proxies) + ["TUNNEL"] * bool(tunnel),
        "services": ["OPENVPN"] if tunnel == "VPN" and not quiet else [],
        "behaviors": ["TOR_PROXY_USER"] if tunnel == "TOR" and oddity not in ("null client", "null lists") else [],
        "client_count": None if oddity == "null client" else 1 + dice.below(500 if tunnel else 8),
    }
    if oddity == "no country":
        facts |= {"country": None, "city": None}
    return facts, oddity


def _operator(as_name: str) -> str:
    words = re.findall("[A-Z0-9]+", as_name.upper())
    return "_".join(words[: words.index("VPN")] if "VPN" in words else words[:2]) + "_VPN"


def _greynoise(question: _Question) -> tuple[Facts, str | None]:
    dice = question.dice
    facts: Facts = {
        "outcome": "not_found", "noise": False, "riot": False, "classification": None, "name": None, "last_seen": None,
    }  # fmt: skip
    if question.private or not question.is_ipv4:
        return {**facts, "outcome": "not_applicable"}, None
    oddity = dice.pick(("undated", "terse negative", "old negative", "no link")) if question.share == "odd" else None
    if question.share == "negative" or oddity in ("terse negative", "old negative"):
        return facts, oddity
    facts |= {"outcome": "found", "last_seen": dice.day_before(question.as_of, 90).isoformat()}
    if question.origin.kind == "cloud" and dice.percent(10):
        facts |= {"riot": True, "classification": "benign", "name": question.origin.as_name}
    else:
        classification = dice.pick(("malicious", "malicious", "malicious", "unknown", "suspicious", "benign"))
        name = dice.pick(_SCANNERS) if classification == "benign" else "unknown"
        facts |= {"noise": True, "classification": classification, "name": name}
    if oddity == "undated":
        facts["last_seen"] = None
    return facts, oddity


def _cymru(question: _Question) -> tuple[Facts, str | None]:
    dice, origin = question.dice, question.origin
    facts: Facts = {
        "outcome": "not_found", "asns": [], "prefixes": [], "country": None, "registry": "other", "allocated": None,
        "as_name": None,
    }  # fmt: skip
    if question.private or question.share == "negative" or origin.asn is None or origin.allocated is None:
        return facts, None
    oddities = ("two origins", "two rows", "same row twice", "registry only", "blanks", "bar in name")
    oddity = dice.pick(oddities) if question.share == "odd" else None
    facts |= {"country": origin.registered_in, "registry": origin.registry, "allocated": origin.allocated.isoformat()}
    if oddity == "registry only":
        return facts, oddity
    facts |= {
        "outcome": "found",
        "asns": [origin.asn],
        "prefixes": [str(origin.prefix)],
        "as_name": f"{origin.as_name}, {origin.registered_in}",
    }
    if oddity in ("two origins", "two rows"):
        facts["asns"].append(dice.pick([asn for asn in INVENTED_ASNS if asn != origin.asn]))
    if oddity == "two rows":
        facts["prefixes"].append(str(origin.prefix.supernet(2)))
    if oddity == "blanks":
        facts |= {"country": None, "allocated": None}
    if oddity == "bar in name":
        facts["as_name"] = f"{origin.as_name} | wholesale, {origin.registered_in}"
    return facts, oddity


_MAKERS: dict[Service, Callable[[_Question], tuple[Facts, str | None]]] = {
    "dshield": _dshield,
    "urlhaus": _urlhaus,
    "spur": _spur,
    "greynoise": _greynoise,
    "cymru": _cymru,
}
