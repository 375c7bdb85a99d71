"""What the emulated services answer: the same every time, in the shares it promises, true to the pools, and readable.

The readers here are as careful as a client has to be, and know nothing of how the answers are made.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import date
from functools import cache
from ipaddress import ip_address, ip_network
from random import Random
from typing import Any

import pytest

from cowrie_assets.sandbox import answers
from cowrie_assets.sandbox.facts import AS_OF, Service, case, truth
from cowrie_assets.sandbox.origins import Dice
from cowrie_assets.sandbox.pools import POOLS, Pool

SEED = 7
SERVICES: tuple[Service, ...] = ("dshield", "urlhaus", "spur", "greynoise", "cymru")
PUBLIC = [pool for pool in POOLS.values() if pool.kind != "private"]
WIRE: dict[Service, Callable[..., Any]] = {
    "dshield": answers.dshield,
    "urlhaus": answers.urlhaus,
    "spur": answers.spur,
    "greynoise": answers.greynoise,
    "cymru": answers.rows,
}
ORDINARY = {"US", "DE", "NL", "BR", "SE"}

Fields = dict[str, Any]


@cache
def strangers() -> list[str]:
    """5,000 routable IPv4 addresses of no pool."""
    rng = Random(1)
    drawn = (ip_address(rng.getrandbits(32)) for _ in range(20_000))
    networks = [network for pool in POOLS.values() for network in pool.networks]
    outside = (at for at in drawn if at.is_global and not at.is_multicast and not any(at in net for net in networks))
    return [str(at) for at, _ in zip(outside, range(5000), strict=False)]


@cache
def members(version: int = 0) -> list[tuple[Pool, str]]:
    """Addresses of the public pools, in turns."""
    found = [(pool, pool.address(index)) for pool in PUBLIC for index in range(1, 120)]
    return [(pool, address) for pool, address in found if version in (0, ip_address(address).version)]


def addresses() -> Iterable[str]:
    return [*strangers(), *(address for _, address in members())]


def number(value: Any) -> int | None:
    """A number, also in a string; None for null and what is left over of it."""
    if value is None or value in ({}, ""):
        return None
    return int(value)


def text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def entries(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def read_dshield(address: str, status: int, body: Fields) -> Fields:
    assert status == 200
    record = body["ip"]
    assert record["number"] == address
    reports = number(record["count"])
    return {
        "outcome": "not_found" if reports is None else "found",
        "attacks": number(record["attacks"]),
        "reports": reports,
        "first_seen": text(record["mindate"]),
        "last_seen": text(record["maxdate"]),
        "max_risk": number(record["maxrisk"]),
        "threat_feeds": sorted(record.get("threatfeeds") or {}),
        "asn": number(record["as"]) or None,
        "as_name": text(record["asname"]),
        "country": text(record["ascountry"]),
        "network": text(record["network"]),
    }


def read_urlhaus(address: str, status: int, body: Fields) -> Fields:
    assert status == 200
    if body["query_status"] == "invalid_host":
        return {"outcome": "not_applicable"}
    if body["query_status"] == "no_results":
        return {"outcome": "not_found", "url_count": 0, "urls_online": 0, "tags": [], "threats": []}
    assert body["query_status"] == "ok"
    assert body["host"] == address
    urls = entries(body["urls"])
    assert all(isinstance(url["tags"], list | None) for url in urls)
    return {
        "outcome": "found",
        "url_count": number(body["url_count"]),
        "urls_online": sum(url["url_status"] == "online" for url in urls),
        "tags": sorted({tag for url in urls for tag in url["tags"] or []}),
        "threats": sorted({url["threat"] for url in urls}),
        "first_seen": body["firstseen"][:10] if body["firstseen"] else None,
    }


def read_spur(address: str, status: int, body: Fields) -> Fields:
    if status == 400:
        return {"outcome": "not_applicable"}
    if status == 404:
        return {"outcome": "not_found"}
    assert status == 200
    assert body["ip"] == address
    known = {name for name, value in body.items() if value} - {"as", "ip", "location", "organization"}
    client, tunnels = body.get("client") or {}, entries(body.get("tunnels"))
    kinds = [tunnel["type"] for tunnel in tunnels]
    proxies = entries(client.get("proxies"))
    for tunnel in tunnels:
        for entry in entries(tunnel.get("entries")):
            ip_address(entry["ip"] if isinstance(entry, dict) else entry)
    return {
        "outcome": "found" if known else "not_found",
        "asn": number((body.get("as") or {}).get("number")),
        "organization": text(body.get("organization")),
        "country": text((body.get("location") or {}).get("country")),
        "city": text((body.get("location") or {}).get("city")),
        "infrastructure": text(body.get("infrastructure")),
        "is_vpn": "VPN" in kinds,
        "is_tor": "TOR" in kinds,
        "is_proxy": "PROXY" in kinds or bool(proxies),
        "tunnel_types": kinds,
        "operators": [tunnel["operator"] for tunnel in tunnels if "operator" in tunnel],
        "proxies": proxies,
        "risks": entries(body.get("risks")),
        "services": entries(body.get("services")),
        "behaviors": entries(client.get("behaviors")),
        "client_count": number(client.get("count")),
    }


def read_greynoise(address: str, status: int, body: Fields) -> Fields:
    assert body["ip"] == address
    if status == 400:
        return {"outcome": "not_applicable"}
    if status == 404:
        assert "not observed" in body["message"]
        return {"outcome": "not_found", "noise": body.get("noise", False), "riot": body.get("riot", False)}
    assert (status, body["message"]) == (200, "Success")
    return {
        "outcome": "found",
        "noise": body["noise"],
        "riot": body["riot"],
        "classification": body["classification"],
        "name": body["name"],
        "last_seen": text(body["last_seen"]),
    }


def read_cymru(address: str, lines: list[str]) -> Fields:
    split = [[part.strip() for part in line.split("|", 6)] for line in lines]
    assert split
    assert {row[1] for row in split} == {address}
    origins = dict.fromkeys(int(asn) for row in split if row[0] != "NA" for asn in row[0].split())
    first = split[0]
    return {
        "outcome": "found" if origins else "not_found",
        "asns": list(origins),
        "prefixes": list(dict.fromkeys(row[2] for row in split if row[2] != "NA")),
        "country": first[3] or None,
        "registry": first[4],
        "allocated": first[5] or None,
        "as_name": first[6] if first[6] != "NA" else None,
    }


def understood(service: Service, address: str) -> Fields:
    if service == "cymru":
        return read_cymru(address, answers.rows(SEED, address))
    readers = {"dshield": read_dshield, "urlhaus": read_urlhaus, "spur": read_spur, "greynoise": read_greynoise}
    status, body = WIRE[service](SEED, address)
    return readers[service](address, status, json.loads(json.dumps(body)))


@pytest.mark.parametrize("service", SERVICES)
def test_what_a_careful_reader_understands_is_what_was_meant(service: Service) -> None:
    for address in addresses():
        fields, meant = understood(service, address), truth(service, SEED, address)
        assert fields == {name: meant[name] for name in fields}, address


@pytest.mark.parametrize("service", SERVICES)
def test_shares_are_as_promised(service: Service) -> None:
    cases = [case(service, SEED, address) for address in strangers()]
    odd = sum(one.oddity is not None for one in cases)
    plain = Counter(one.facts["outcome"] for one in cases if one.oddity is None)
    assert odd / len(cases) == pytest.approx(0.05, abs=0.012)
    assert plain["found"] / len(cases) == pytest.approx(0.60, abs=0.025)
    assert plain["not_found"] / len(cases) == pytest.approx(0.35, abs=0.025)


@pytest.mark.parametrize("service", SERVICES)
def test_every_oddity_occurs_and_spells_an_answer_of_its_own(service: Service) -> None:
    seen = Counter(one.oddity for one in (case(service, SEED, address) for address in addresses()) if one.oddity)
    assert len(seen) >= 4
    assert min(seen.values()) >= 10


@pytest.mark.parametrize("service", SERVICES)
def test_the_same_question_has_the_same_answer(service: Service) -> None:
    for address in strangers()[:200]:
        assert WIRE[service](SEED, address) == WIRE[service](SEED, address)
    differing = sum(WIRE[service](SEED, at) != WIRE[service](SEED + 1, at) for at in strangers()[:200])
    assert differing > 100


def test_answers_do_not_depend_on_who_changes_an_earlier_one() -> None:
    address = next(at for at in strangers() if truth("urlhaus", SEED, at)["url_count"] > 1)
    before = json.dumps(answers.urlhaus(SEED, address))
    answers.urlhaus(SEED, address)[1]["urls"].clear()
    truth("urlhaus", SEED, address)["urls"].clear()
    assert json.dumps(answers.urlhaus(SEED, address)) == before


def test_answers_are_the_same_on_every_machine() -> None:
    """A change of these breaks every stored expectation: it is to be meant."""
    dice = Dice(20250910, "dshield", "26.16.0.9")
    assert [dice.below(100) for _ in range(6)] == [30, 5, 70, 72, 97, 24]


def test_services_know_independently_of_each_other() -> None:
    known = {
        service: {at for at in strangers() if truth(service, SEED, at)["outcome"] == "found"} for service in SERVICES
    }
    for one in SERVICES:
        for other in SERVICES:
            if one < other:
                expected = len(known[one]) * len(known[other]) / len(strangers())
                assert len(known[one] & known[other]) == pytest.approx(expected, rel=0.05)


def test_an_address_may_be_spelt_in_any_way() -> None:
    for service in ("dshield", "spur", "cymru"):
        assert WIRE[service](SEED, "2A1F:C100:0::0005") == WIRE[service](SEED, "2a1f:c100::5")


def test_dates_end_with_the_day_asked_for() -> None:
    early = date(2024, 2, 1)
    for address in strangers()[:500]:
        last = truth("dshield", SEED, address, early)["last_seen"]
        assert last is None or last <= early.isoformat()
        last = truth("greynoise", SEED, address)["last_seen"]
        assert last is None or last <= AS_OF.isoformat()
        for url in truth("urlhaus", SEED, address)["urls"]:
            assert url["added"] <= AS_OF.isoformat()


def test_dshield_attacks_spread_over_all_magnitudes() -> None:
    attacks = [at for at in (truth("dshield", SEED, address)["attacks"] for address in strangers()) if at is not None]
    bands = Counter(0 if at == 0 else len(str(at - 1)) if 1 < at <= 1000 else 1 if at == 1 else 4 for at in attacks)
    for band in range(5):
        assert bands[band] / len(attacks) == pytest.approx(0.2, abs=0.03)
    tens = Counter(at <= 3 for at in attacks if 1 <= at <= 10)  # log-uniform: half of the band is below its root
    assert tens[True] / tens.total() == pytest.approx(0.6, abs=0.06)


def test_pool_members_belong_to_their_pool() -> None:
    for pool, address in members():
        assert pool.place is not None
        reported = truth("dshield", SEED, address)
        if reported["asn"] is not None:
            assert (reported["asn"], reported["as_name"]) == (pool.asn, pool.as_name)
            assert reported["country"] == pool.place.country
            assert ip_network(reported["network"]) in pool.networks
        routed = truth("cymru", SEED, address)
        if routed["outcome"] == "found":
            assert routed["asns"][0] == pool.asn
            assert routed["as_name"].startswith(pool.as_name)
            assert ip_network(routed["prefixes"][0]) in pool.networks


def test_the_registry_of_a_cloud_is_not_where_its_machines_are() -> None:
    countries = {
        pool.name: routed["country"]
        for pool, address in members()
        if (routed := truth("cymru", SEED, address))["country"] and routed["registry"] != "other"
    }
    assert countries["aws"] == "US"
    assert POOLS["aws"].place is not None
    assert POOLS["aws"].place.country == "IE"
    assert countries["saltmarsh"] == "RO"


def test_spur_sees_what_kind_of_pool_it_is() -> None:
    kinds: dict[str, Counter[Any]] = {}
    for pool, address in members():
        facts = truth("spur", SEED, address)
        if facts["outcome"] != "found":
            continue
        if pool.kind == "tor":
            assert facts["is_tor"]
        elif pool.kind == "vpn":
            assert facts["is_vpn"]
            assert facts["operators"] == ["QUIET_HARBOUR_VPN"]
        else:
            assert not facts["is_tor"]
            assert not facts["is_vpn"]
        kinds.setdefault(pool.name, Counter())[facts["infrastructure"]] += 1
        if pool.kind == "telecom":
            kinds.setdefault("proxies", Counter())[bool(facts["proxies"])] += 1
    home = {pool.name for pool in PUBLIC if pool.kind == "telecom"} - {"monsoon"}
    for pool in PUBLIC:
        expected = "MOBILE" if pool.name == "monsoon" else "RESIDENTIAL" if pool.name in home else "DATACENTER"
        assert set(kinds[pool.name]) == {expected}
    assert 0.03 < kinds["proxies"][True] / kinds["proxies"].total() < 0.25


def test_strangers_belong_to_invented_networks() -> None:
    documentation = {*range(64496, 64512), *range(65536, 65552)}
    names: dict[int, set[str]] = {}
    for address in strangers()[:2000]:
        facts = truth("spur", SEED, address)
        if facts["asn"] is not None:
            names.setdefault(facts["asn"], set()).add(facts["organization"])
            assert ip_address(address) in ip_network(truth("dshield", SEED, address)["network"] or f"{address}/32")
    assert set(names) <= documentation - {pool.asn for pool in POOLS.values()}
    assert len(names) > 15
    assert all(len(called) == 1 for called in names.values())


@pytest.mark.parametrize("address", ["10.20.0.1", "192.168.40.9", "fd00:5a1e::1", "203.0.113.7", "127.0.0.1"])
def test_private_addresses(address: str) -> None:
    assert truth("dshield", SEED, address)["outcome"] == "not_found"
    assert truth("spur", SEED, address)["outcome"] == "not_applicable"
    assert truth("greynoise", SEED, address)["outcome"] == "not_applicable"
    assert answers.spur(SEED, address)[0] == 400
    assert answers.greynoise(SEED, address)[0] == 400
    [row] = answers.rows(SEED, address)
    assert [part.strip() for part in row.split("|")] == ["NA", address, "NA", "", "other", "", "NA"]


def test_ipv6_is_no_question_for_two_of_them() -> None:
    for _, address in members(6):
        assert answers.urlhaus(SEED, address) == (200, {"query_status": "invalid_host"})
        assert answers.greynoise(SEED, address)[0] == 400
    found = [truth("dshield", SEED, address)["outcome"] for _, address in members(6)]
    assert Counter(found)["found"] > 0.5 * len(found)


@pytest.mark.parametrize("key", ["", "1.2.3", "example.org", "1.2.3.4.5"])
def test_what_is_no_address(key: str) -> None:
    assert answers.dshield(SEED, key) == (200, {"error": "bad IP address"})
    assert answers.spur(SEED, key)[0] == 400
    assert answers.greynoise(SEED, key)[0] == 400
    expected = "no_results" if key else "invalid_host"
    assert answers.urlhaus(SEED, key) == (200, {"query_status": expected})
    with pytest.raises(ValueError, match="IPv4 or IPv6"):
        answers.rows(SEED, key)


def test_rows_have_the_width_of_the_real_ones() -> None:
    real = "15169   | 74.125.225.229   | 74.125.225.0/24     | US | arin     | 2007-03-13 | GOOGLE - Google Inc., US"
    bars = [place for place, letter in enumerate(real) if letter == "|"]
    for pool, address in members(4):
        row = answers.rows(SEED, address)[0]
        if truth("cymru", SEED, address)["asns"][1:]:
            continue
        assert [place for place, letter in enumerate(row) if letter == "|"][:6] == bars, pool
    row = answers.rows(SEED, "2a1f:c100::5")[0]
    assert row.index("|", 9) == len("15169   | 2001:4860:4860::8888                     ")


def test_systems_have_lines_of_their_own() -> None:
    assert answers.cymru_system_row(16509) is not None
    assert answers.cymru_system_row(4_200_000_000) is None
    line = answers.cymru_system_row(64505) or ""
    parts = [part.strip() for part in line.split("|")]
    assert parts[:3] == ["64505", "TR", "ripencc"]
    assert parts[4] == "Aegean İletişim A.Ş., TR"


def test_the_lists_are_the_listed_part_of_the_pools() -> None:
    exits = answers.tor_exits(SEED).splitlines()
    assert len(exits) == len(set(exits)) == 248
    assert all(ip_address(at) in ip_network("29.31.77.0/24") for at in exits)
    ranges = [line.split(",") for line in answers.cloud_ranges(SEED).splitlines()]
    clouds = [pool for pool in PUBLIC if pool.kind == "cloud"]
    assert {name for _, name in ranges} == {pool.name for pool in clouds}
    for pool in clouds:
        assert [ip_network(cidr) for cidr, name in ranges if name == pool.name] == pool.listed_networks()
