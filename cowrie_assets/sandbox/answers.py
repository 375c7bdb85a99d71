"""How each service spells what it knows of an address: the vendors' wire shapes, and the two bulk lists.

Lives here: status and JSON body of DShield, URLhaus, Spur and GreyNoise, Team Cymru's lines, the lists of Tor exits
and of clouds. Not here: what is true (`facts`), files and passwords (`hashanswers`), credentials, limits and faults
(`vendors`, `limits`, `faults`).

An awkward answer has what real ones were seen to have: numbers in strings, null where a list is due, leftovers of a
conversion from XML. None of them leaves open what is meant.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from ipaddress import IPv4Network, ip_address
from typing import Any

from cowrie_assets.sandbox.facts import AS_OF, Case, case, truth
from cowrie_assets.sandbox.origins import system_name
from cowrie_assets.sandbox.pools import POOLS

__all__ = [
    "cloud_ranges", "cymru_system_row", "dshield", "greynoise", "greynoise_bulk", "rows", "spur", "tor_exits", "truth",
    "urlhaus",
]  # fmt: skip

Body = dict[str, Any]
Answer = tuple[int, Body]

_NOT_ROUTABLE = "Request is not a valid routable IPv4 address"
_NOT_OBSERVED = "IP not observed scanning the internet."
_NOT_OBSERVED_EARLIER = "IP not observed scanning the internet or contained in RIOT data set."


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def dshield(seed: int, address: str, as_of: date = AS_OF) -> Answer:
    """`GET /api/ip/{address}?json`. Never seen, or not an address, is 200 as well."""
    if not _is_address(address):
        return 200, {"error": "bad IP address"}
    asked = case("dshield", seed, address, as_of)
    facts, oddity, dice = asked.facts, asked.oddity, asked.dice
    # Pages converted from XML once had an empty element where null is meant.
    absent: Any = {} if oddity == "leftovers" else None
    found = facts["outcome"] == "found"
    record: Body = {
        "number": asked.address,
        "count": facts["reports"] if found else absent,
        "attacks": facts["attacks"] if found else absent,
        "maxdate": facts["last_seen"] if found else absent,
        "mindate": facts["first_seen"] if found else absent,
        "updated": f"{facts['last_seen']} 05:00:00" if found else absent,
        "comment": absent,
        "maxrisk": facts["max_risk"] if found else absent,
        "asabusecontact": f"abuse@as{facts['asn']}.example" if facts["asn"] else None,
        "as": facts["asn"],
        "asname": facts["as_name"],
        "ascountry": facts["country"],
        "assize": 256 * (1 + dice.below(4000)) if facts["asn"] else None,
        "network": facts["network"],
    }
    if oddity == "no system":
        record |= {"as": 0, "ascountry": "", "assize": 0}
    if oddity == "text":
        numbers = ("count", "attacks", "maxrisk", "as", "assize")
        record |= {name: str(record[name]) for name in numbers if record[name] is not None}
    if oddity == "null feeds":
        record["threatfeeds"] = None
    elif facts["threat_feeds"]:
        seen = {"lastseen": facts["last_seen"], "firstseen": facts["first_seen"]}
        record["threatfeeds"] = {name: dict(seen) for name in facts["threat_feeds"]}
    return 200, {"ip": record}


def urlhaus(seed: int, host: str, as_of: date = AS_OF) -> Answer:
    """`POST /v1/host/`. Nothing is known of names here, and IPv6 addresses are no hosts."""
    if not _is_address(host):
        return 200, {"query_status": "no_results" if host else "invalid_host"}
    asked = case("urlhaus", seed, host, as_of)
    facts, oddity = asked.facts, asked.oddity
    if facts["outcome"] == "not_applicable":
        return 200, {"query_status": "invalid_host"}
    if facts["outcome"] == "not_found":
        return 200, {"query_status": "no_results"} | ({"urls": None} if oddity == "null result" else {})
    body: Body = {
        "query_status": "ok",
        "urlhaus_reference": f"https://urlhaus.abuse.ch/host/{asked.address}/",
        "host": asked.address,
        "firstseen": f"{facts['first_seen']} 00:00:05 UTC",
        "url_count": str(facts["url_count"]),
        "blacklists": {"spamhaus_dbl": "not listed", "surbl": "not listed"},
        "urls": None if oddity == "null urls" else [_url_entry(url, oddity) for url in facts["urls"]],
    }
    if oddity == "bare":
        body |= {"firstseen": None, "blacklists": None, "url_count": facts["url_count"]}
    return 200, body


def _url_entry(url: Body, oddity: str | None) -> Body:
    entry: Body = {
        "id": str(url["id"]),
        "urlhaus_reference": f"https://urlhaus.abuse.ch/url/{url['id']}/",
        "url": url["url"],
        "url_status": "online" if url["online"] else "offline",
        "date_added": f"{url['added']} 00:00:05 UTC",
        "threat": url["threat"],
        "reporter": "sandbox",
        "larted": "true",
        "takedown_time_seconds": None if url["online"] else "1234",
        "tags": url["tags"] or None,
    }
    if oddity == "null tags":
        entry |= {"id": url["id"], "larted": "True", "takedown_time_seconds": ""}
    if oddity == "bare":
        # Every field of an entry is optional; these are the ones that nobody needs.
        for name in ("urlhaus_reference", "reporter", "larted", "takedown_time_seconds"):
            del entry[name]
    return entry


def spur(seed: int, address: str, as_of: date = AS_OF) -> Answer:
    """`GET /v2/context/{address}`. A public address of which nothing is known gets a minimal body."""
    asked = case("spur", seed, address, as_of) if _is_address(address) else None
    if asked is None or asked.facts["outcome"] == "not_applicable":
        return 400, {"message": "invalid or non-public IP address"}
    facts, oddity, origin = asked.facts, asked.oddity, asked.origin
    if oddity == "404":
        return 404, {}
    if oddity == "nulls":
        absent = ("as", "client", "infrastructure", "location", "organization", "risks", "services", "tunnels")
        return 200, {"ip": asked.address, **dict.fromkeys(absent)}
    body: Body = {
        "as": {"number": facts["asn"], "organization": facts["organization"]},
        "ip": asked.address,
        "location": {"country": origin.country},
        "organization": facts["organization"],
    }
    if facts["outcome"] == "not_found":
        return 200, body
    if facts["city"]:
        body["location"]["city"] = facts["city"]
    if oddity == "no country":
        body["location"] = {"country": ""}
    # A key is left out when there is nothing to say, or null: vendors do both.
    nothing: Any = None if oddity == "null lists" else _LEFT_OUT
    body |= {
        "infrastructure": facts["infrastructure"],
        "risks": facts["risks"] or nothing,
        "services": facts["services"] or nothing,
        "tunnels": [_tunnel(kind, asked) for kind in facts["tunnel_types"]] or nothing,
        "client": None if oddity == "null client" else _client(asked, nothing),
    }
    if oddity == "text":
        body["as"]["number"] = str(facts["asn"])
    return 200, _without_left_out(body)


_LEFT_OUT = object()


def _without_left_out(body: Body) -> Body:
    return {name: value for name, value in body.items() if value is not _LEFT_OUT}


def _client(asked: Case, nothing: Any) -> Body:
    facts, count = asked.facts, asked.facts["client_count"]
    client: Body = {
        "count": str(count) if asked.oddity == "text" else count,
        "countries": 1 + count // 40,
        "types": nothing if asked.oddity == "null lists" else ["MOBILE", "DESKTOP"][asked.dice.below(2) :],
        "behaviors": facts["behaviors"] or nothing,
        "proxies": facts["proxies"] or nothing,
    }
    return _without_left_out(client)


def _tunnel(kind: str, asked: Case) -> Body:
    tunnel: Body = {"anonymous": kind != "PROXY", "type": kind}
    if asked.facts["operators"]:
        tunnel["operator"] = asked.facts["operators"][0]
    if kind == "VPN":
        entry = str(asked.origin.prefix[1])
        tunnel["entries"] = [{"ip": entry}] if asked.oddity == "objects" else [entry]
    return tunnel


def greynoise(seed: int, address: str, as_of: date = AS_OF) -> Answer:
    """`GET /v3/community/{address}`. The normal negative is 404 with a body."""
    asked = case("greynoise", seed, address, as_of) if _is_address(address) else None
    if asked is None or asked.facts["outcome"] == "not_applicable":
        return 400, {"ip": address, "noise": False, "riot": False, "message": _NOT_ROUTABLE}
    facts, oddity = asked.facts, asked.oddity
    if facts["outcome"] == "not_found":
        if oddity == "terse negative":
            return 404, {"ip": asked.address, "message": _NOT_OBSERVED}
        message = _NOT_OBSERVED_EARLIER if oddity == "old negative" else _NOT_OBSERVED
        return 404, {"ip": asked.address, "noise": False, "riot": False, "message": message}
    body: Body = {
        "ip": asked.address,
        "noise": facts["noise"],
        "riot": facts["riot"],
        "classification": facts["classification"],
        "name": facts["name"],
        "link": f"https://viz.greynoise.io/ip/{asked.address}",
        "last_seen": facts["last_seen"],
        "message": "Success",
    }
    if oddity == "undated":
        body["last_seen"] = ""
    if oddity == "no link":
        del body["link"]
    return 200, body


def greynoise_bulk(
    seed: int, addresses: Iterable[Any], as_of: date = AS_OF, *, quick: bool = False, licensed: bool = False
) -> Body:
    """`POST /v3/ip`. Without the licence nothing is said of known businesses: `found` is null, as are those addresses
    of which nothing else is known."""
    data: list[Body] = []
    not_found: list[str] = []
    invalid: list[Any] = []
    for address in dict.fromkeys(str(one) for one in addresses):
        asked = case("greynoise", seed, address, as_of) if _is_address(address) else None
        if asked is None or asked.facts["outcome"] == "not_applicable":
            invalid.append(address)
        elif asked.facts["outcome"] == "not_found":
            not_found.append(asked.address)
        else:
            data.append(_greynoise_entry(asked, quick, licensed))
    told: Body = {
        "restricted_fields": [] if licensed else ["business_service_intelligence"],
        "message": "ok",
        "ips_not_found": not_found,
        "invalid_ips": invalid,
    }
    return {"data": data, "request_metadata": told}


def _greynoise_entry(asked: Case, quick: bool, licensed: bool) -> Body:
    facts, oddity, origin = asked.facts, asked.oddity, asked.origin
    business: Body = {"found": facts["riot"] if licensed else None, "trust_level": ""}
    if licensed and facts["riot"]:
        business |= {"trust_level": "1", "name": facts["name"], "category": "public_dns"}
    scanner: Body = {"found": facts["noise"]}
    if facts["noise"]:
        scanner["classification"] = facts["classification"]
    if facts["noise"] and not quick:
        tags = [{"id": f"{asked.dice.below(1 << 32):08x}", "slug": "ssh-bruteforcer", "name": "SSH Bruteforcer"}]
        scanner |= {
            "actor": facts["name"],
            "spoofable": False,
            "bot": False,
            "vpn": origin.kind == "vpn",
            "tor": origin.kind == "tor",
            "tags": None if oddity == "no link" else tags,
            "last_seen": "" if oddity == "undated" else facts["last_seen"],
            "last_seen_timestamp": "" if oddity == "undated" else f"{facts['last_seen']} 07:00:00",
            "metadata": {"asn": f"AS{origin.asn}", "category": origin.kind, "organization": origin.as_name},
        }
    return {"ip": asked.address, "business_service_intelligence": business, "internet_scanner_intelligence": scanner}


def rows(seed: int, address: str, as_of: date = AS_OF) -> list[str]:
    """Team Cymru's verbose lines about an address, without line ends; at least one.

    Raises:
        ValueError: not an address.
    """
    asked = case("cymru", seed, address, as_of)
    facts, shown = asked.facts, asked.address
    country, registry, allocated = facts["country"] or "", facts["registry"], facts["allocated"] or ""
    if facts["outcome"] == "not_found":
        return [_row("NA", shown, "NA", country, registry, allocated, "NA")]
    asns, prefixes, name = [str(asn) for asn in facts["asns"]], facts["prefixes"], facts["as_name"]
    if asked.oddity == "two rows":
        return [
            _row(asn, shown, prefix, country, registry, allocated, name)
            for asn, prefix in zip(asns, prefixes, strict=True)
        ]
    row = _row(" ".join(asns), shown, prefixes[0], country, registry, allocated, name)
    return [row, row] if asked.oddity == "same row twice" else [row]


def _row(asn: str, address: str, prefix: str, country: str, registry: str, allocated: str, name: str) -> str:
    width = 40 if ":" in address else 16
    return f"{asn:<7} | {address:<{width}} | {prefix:<19} | {country:<2} | {registry:<8} | {allocated:<10} | {name}"


def cymru_system_row(asn: int) -> str | None:
    """The line about an AS, None for one that the sandbox has not."""
    system = system_name(asn)
    if system is None:
        return None
    name, country, registry, allocated = system
    return f"{asn:<7} | {country:<2} | {registry:<8} | {allocated} | {name}, {country}"


def tor_exits(seed: int) -> str:  # noqa: ARG001 - all lists take a seed, this one has nothing to draw
    """The bulk exit list: an IPv4 address a line. The real one has no IPv6 either."""
    listed = (network for pool in POOLS.values() if pool.kind == "tor" for network in pool.listed_networks())
    return "".join(f"{address}\n" for network in listed if isinstance(network, IPv4Network) for address in network)


def cloud_ranges(seed: int) -> str:  # noqa: ARG001
    """`network,provider` lines of all clouds, without a header."""
    clouds = (pool for pool in POOLS.values() if pool.kind == "cloud")
    return "".join(f"{network},{pool.name}\n" for pool in clouds for network in pool.listed_networks())
