"""Spur's answers: what ends at an address, what leads there and who sits behind it are three things."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cowrie_assets.upstreams.contract import Limited, Reading, Refused, Response, Transient, Unsuitable
from cowrie_assets.upstreams.spur import Spur
from cowrie_assets_tests.unit.test_upstream_values import (
    NOTHING,
    STATUSES,
    Shape,
    assert_read_or_no_answer,
    assert_shape,
    cuts,
    damaged,
)

SERVICE = Spur("https://api.spur.us", "MARKER-TOKEN", "ops-marker@example.org")
SHAPE: Shape = {
    "is_vpn": (bool,),
    "is_proxy": (bool,),
    "is_tor": (bool,),
    "is_anonymous": (bool,),
    "infrastructure": (str, NOTHING),
    "client_types": (list, str),
    "client_count": (int, NOTHING),
    "client_countries": (int, NOTHING),
    "behaviors": (list, str),
    "proxies": (list, str),
    "risks": (list, str),
    "services": (list, str),
    "tunnel_types": (list, str),
    "tunnel_operators": (list, str),
    "asn": (int, NOTHING),
    "organization": (str, NOTHING),
    "country": (str, NOTHING),
    "balance": (int, NOTHING),
}
FOUND: dict[str, Any] = {
    "as": {"number": 30083, "organization": "AS-30083-GO-DADDY-COM-LLC"},
    "client": {
        "behaviors": ["TOR_PROXY_USER"],
        "concentration": {"city": "Polska", "country": "PL", "density": 0.202, "skew": 45},
        "count": 14,
        "countries": 1,
        "proxies": ["LUMINATI_PROXY"],
        "types": ["MOBILE", "DESKTOP"],
    },
    "infrastructure": "DATACENTER",
    "ip": "148.72.169.225",
    "location": {"city": "St Louis", "country": "US", "state": "Missouri"},
    "organization": "GoDaddy.com, LLC",
    "risks": ["WEB_SCRAPING", "TUNNEL"],
    "services": ["OPENVPN", "IPSEC"],
    "tunnels": [{"anonymous": True, "entries": ["148.72.160.1"], "operator": "NORD_VPN", "type": "VPN"}],
    "ai": {"scrapers": True, "bots": False, "services": ["OPENAI"]},
}
MINIMAL: dict[str, Any] = {
    "as": {"number": 7922, "organization": "Comcast"},
    "ip": "148.72.169.225",
    "location": {"country": "US"},
    "organization": "Comcast",
}
NOTHING_KNOWN: dict[str, Any] = {
    "is_vpn": False,
    "is_proxy": False,
    "is_tor": False,
    "is_anonymous": False,
    "infrastructure": None,
    "client_types": [],
    "client_count": None,
    "client_countries": None,
    "behaviors": [],
    "proxies": [],
    "risks": [],
    "services": [],
    "tunnel_types": [],
    "tunnel_operators": [],
    "asn": None,
    "organization": None,
    "country": None,
    "balance": None,
}


def read(body: Any, status: int = 200, address: str = "148.72.169.225", headers: Any = ()) -> Reading:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return SERVICE.read(address, Response(status, raw, dict(headers)))


def facts(**known: Any) -> dict[str, Any]:
    assert set(known) <= set(NOTHING_KNOWN)
    return NOTHING_KNOWN | {"country": "US"} | known


def proxied(*proxies: str, **known: Any) -> dict[str, Any]:
    return facts(
        is_proxy=True,
        is_anonymous=True,
        proxies=[f"{name}_PROXY" for name in proxies],
        **({"risks": ["CALLBACK_PROXY"]} | known),
    )


def test_the_question() -> None:
    request = SERVICE.request("148.72.169.225")
    assert (request.method, request.url) == ("GET", "https://api.spur.us/v2/context/148.72.169.225")
    assert request.headers == {"Token": "MARKER-TOKEN", "User-Agent": "cowrie-assets (+ops-marker@example.org)"}
    assert "marker" not in (repr(request) + repr(SERVICE)).lower()
    assert SERVICE.request("2001:db8::1").url == "https://api.spur.us/v2/context/2001:db8::1"


EIGHT = ("ABCPROXY", "DATAIMPULSE", "EARNFM", "INFATICA", "IPIDEA", "IPROYAL", "NODEMAVEN", "OXYLABS")
COMCAST = "Comcast Cable Communications, LLC"
RECORDED: dict[str, dict[str, Any]] = {
    "ai_scraper_response": facts(
        infrastructure="DATACENTER",
        client_types=["DESKTOP"],
        client_count=1,
        client_countries=1,
        asn=8075,
        organization="Microsoft Corporation",
    ),
    "ipv6": facts(asn=22773, organization="Cox Communications Inc."),
    "library_of_congress": facts(asn=2532, organization="Library of Congress"),
    "mullvad_vpn": facts(
        is_vpn=True,
        is_anonymous=True,
        behaviors=["FILE_SHARING"],
        risks=["TUNNEL"],
        tunnel_types=["VPN"],
        tunnel_operators=["MULLVAD_VPN"],
        asn=11878,
        organization="tzulo, inc.",
    ),
    "proton_vpn": proxied(
        "NETNUT",
        "NSOCKS",
        is_vpn=True,
        infrastructure="DATACENTER",
        client_types=["MOBILE"],
        client_count=1,
        behaviors=["FILE_SHARING"],
        risks=["CALLBACK_PROXY", "TUNNEL"],
        tunnel_types=["VPN"],
        tunnel_operators=["PROTON_VPN"],
        asn=9009,
        organization="M247 Europe SRL",
    ),
    "residential_response": facts(
        infrastructure="RESIDENTIAL",
        client_types=["DESKTOP"],
        client_count=1,
        client_countries=1,
        asn=7922,
        organization=COMCAST,
    ),
    "rvpn_dataimpulse": proxied(
        "DATAIMPULSE",
        client_types=["MOBILE", "DESKTOP"],
        client_count=8,
        client_countries=2,
        asn=3356,
        organization="Lumen (Level 3)",
    ),
    "rvpn_geonode_proxy": proxied(
        "ABCPROXY", "DATAIMPULSE", "EARNFM", "GEONODE", "IPIDEA", asn=2914, organization="NTT America, Inc."
    ),
    "rvpn_infatica": proxied(*EIGHT, asn=701, organization="Verizon Business"),
    "rvpn_ipidea": proxied(
        *("ABCPROXY", "DATAIMPULSE", "IPIDEA", "NSOCKS", "PACKETSTREAM", "PROXYRACK"),
        is_vpn=True,
        client_types=["DESKTOP"],
        client_count=2,
        client_countries=1,
        risks=["CALLBACK_PROXY", "GEO_MISMATCH", "TUNNEL"],
        tunnel_types=["VPN"],
        tunnel_operators=["MYSTERIUM_VPN"],
        asn=214483,
        organization="FiberPower LLC",
    ),
    "rvpn_massive_proxy": proxied("MASSIVE", asn=7922, organization=COMCAST),
    "rvpn_nodemaven": proxied(
        *EIGHT,
        client_types=["DESKTOP", "MOBILE"],
        client_count=40,
        client_countries=1,
        asn=7922,
        organization=COMCAST,
    ),
    "rvpn_soax_proxy": proxied(
        *("DATAIMPULSE", "IPROYAL", "MASSIVE", "NODEMAVEN", "SOAX", "YILU"),
        client_types=["MOBILE"],
        client_count=2,
        client_countries=1,
        asn=13693,
        organization="Vexus Fiber",
    ),
    "rvpn_virginia_beach": proxied("DATAIMPULSE", "IPIDEA", asn=6079, organization="RCN"),
    "rvrpn_earnfm": proxied(
        *("DATAIMPULSE", "EARNFM", "GEONODE", "PACKETSTREAM", "PROXYRACK"),
        infrastructure="DATACENTER",
        client_count=1,
        client_countries=1,
        risks=["CALLBACK_PROXY", "GEO_MISMATCH"],
        tunnel_types=["PROXY"],
        asn=40403,
        organization="Rocks Computer Services, LLC",
    ),
    "tor_response": proxied(
        is_tor=True,
        infrastructure="DATACENTER",
        client_count=500,
        client_countries=100,
        behaviors=["TOR_PROXY_USER"],
        risks=["CALLBACK_PROXY", "TUNNEL"],
        tunnel_types=["TOR"],
        tunnel_operators=["Tor Project"],
        asn=60729,
        organization="ZWIEBELFREUNDE",
        country="DE",
    ),
    "vpn_abcproxy": proxied(
        *("ABCPROXY", "DATAIMPULSE"),
        infrastructure="DATACENTER",
        client_types=["DESKTOP"],
        client_count=1,
        risks=["CALLBACK_PROXY", "TUNNEL"],
        services=["SOCKS5"],
        tunnel_types=["PROXY"],
        tunnel_operators=["OCULUS_PROXY"],
        asn=213541,
        organization="WS Telecom Inc",
    ),
    "vpn_response": proxied(
        *("9PROXY", "ABCPROXY", "GOPROXY", "NETNUT"),
        is_vpn=True,
        infrastructure="DATACENTER",
        client_types=["MOBILE", "DESKTOP"],
        client_count=4,
        client_countries=2,
        behaviors=["FILE_SHARING", "TOR_PROXY_USER"],
        risks=["CALLBACK_PROXY", "GEO_MISMATCH", "TUNNEL"],
        services=["OPENVPN"],
        tunnel_types=["VPN"],
        tunnel_operators=["PROTON_VPN"],
        asn=49981,
        organization="WorldStream",
        country="NL",
    ),
}
RECORDED["rvpn_oxylabs_proxy"] = RECORDED["rvpn_nodemaven"]


def test_the_recorded_answers(shared_data: Path) -> None:
    files = {
        path.stem.split("__")[1]: path for path in (shared_data / "api_samples/spur").glob("usips-spur-rs__*.json")
    }
    assert set(files) == set(RECORDED)
    for name, path in files.items():
        body = json.loads(path.read_bytes())
        reading = read(body, address=body["ip"])
        assert reading.fields == RECORDED[name], name
        assert reading.outcome == ("not_found" if name in ("ipv6", "library_of_congress") else "found"), name


def test_what_has_context_is_found() -> None:
    reading = read(FOUND, headers={"x-balance-remaining": "49283"})
    assert reading.outcome == "found"
    assert reading.fields == {
        "is_vpn": True,
        "is_proxy": True,
        "is_tor": False,
        "is_anonymous": True,
        "infrastructure": "DATACENTER",
        "client_types": ["MOBILE", "DESKTOP"],
        "client_count": 14,
        "client_countries": 1,
        "behaviors": ["TOR_PROXY_USER"],
        "proxies": ["LUMINATI_PROXY"],
        "risks": ["TUNNEL", "WEB_SCRAPING"],
        "services": ["IPSEC", "OPENVPN"],
        "tunnel_types": ["VPN"],
        "tunnel_operators": ["NORD_VPN"],
        "asn": 30083,
        "organization": "AS-30083-GO-DADDY-COM-LLC",
        "country": "US",
        "balance": 49283,
    }
    assert reading.payload == FOUND
    assert_shape(reading, SHAPE)


def test_a_minimal_answer_is_not_found_and_has_its_as() -> None:
    reading = read(MINIMAL)
    assert reading.outcome == "not_found"
    assert reading.fields == facts(asn=7922, organization="Comcast")
    empty: dict[str, Any] = {
        "client": None,
        "tunnels": [],
        "risks": None,
        "services": [],
        "infrastructure": "",
        "ai": {},
    }
    assert read(MINIMAL | empty).outcome == "not_found"
    assert read(MINIMAL | {"client": {"types": [], "behaviors": None}}).outcome == "not_found"
    assert read(MINIMAL | {"ai": {"scrapers": True}}).outcome == "found"


@pytest.mark.parametrize("key", FOUND)
def test_every_key_is_optional(key: str) -> None:
    assert read({name: value for name, value in FOUND.items() if name != key}).outcome == "found"
    assert read(FOUND | {key: None}).outcome == "found"


@pytest.mark.parametrize(
    ("tunnels", "flags"),
    [
        ([{"type": "vpn"}], (True, False, False, True)),
        ([{"type": "PROXY"}], (False, True, False, True)),
        ([{"type": "TOR", "entries": [{"ip": "1.2.3.4"}]}], (False, False, True, True)),
        ([{"type": "OTHER", "anonymous": True}], (False, False, False, True)),
        ([{"type": "OTHER", "anonymous": "false"}], (False, False, False, False)),
        ([{"type": "VPN"}, {"type": "TOR"}], (True, False, True, True)),
        ({"type": "VPN"}, (True, False, False, True)),
        ([None, "VPN", ["VPN"], {"type": None}], (False, False, False, False)),
    ],
)
def test_tunnels_decide_what_it_is(tunnels: Any, flags: tuple[bool, ...]) -> None:
    fields = read(MINIMAL | {"tunnels": tunnels}).fields
    assert (fields["is_vpn"], fields["is_proxy"], fields["is_tor"], fields["is_anonymous"]) == flags


def test_users_of_tor_behind_an_address_make_it_no_exit() -> None:
    fields = read(MINIMAL | {"client": {"behaviors": ["TOR_PROXY_USER"]}}).fields
    assert (fields["is_tor"], fields["is_anonymous"], fields["behaviors"]) == (False, False, ["TOR_PROXY_USER"])


@pytest.mark.parametrize("context", [{"client": {"proxies": ["X_PROXY"]}}, {"risks": ["CALLBACK_PROXY"]}])
def test_a_proxy_needs_no_tunnel(context: dict[str, Any]) -> None:
    fields = read(MINIMAL | context).fields
    assert (fields["is_proxy"], fields["tunnel_types"]) == (True, [])


def test_vpn_was_always_0_positional_lists_were_read_as_objects() -> None:
    slots = ["148.72.169.225", 30083, "GoDaddy", "US", None, None, True, *[None] * 11]
    with pytest.raises(Transient):
        read(slots)
    assert read(FOUND | {"client": slots, "as": slots, "location": slots}).outcome == "found"


@pytest.mark.parametrize("ip", ["148.72.169.226", "225.169.72.148", "", 5, ["148.72.169.225"]])
def test_an_answer_about_another_address_is_none(ip: Any) -> None:
    with pytest.raises(Transient):
        read(FOUND | {"ip": ip})


@pytest.mark.parametrize(
    "body", [{}, {"message": "try later"}, {"error": "x"}, b"", b"null", b"[]", b"<html>", b'{"ip"']
)
def test_failures_are_never_stored_as_empty_answers(body: Any) -> None:
    with pytest.raises(Transient):
        read(body)
    for status in (301, 500, 503):
        with pytest.raises(Transient):
            read(body, status)


@pytest.mark.parametrize("body", [b"", {}, {"message": "not found"}])
def test_404_is_not_found(body: Any) -> None:
    reading = read(body, 404, headers={"x-balance-remaining": "7"})
    assert (reading.outcome, reading.fields) == ("not_found", NOTHING_KNOWN | {"balance": 7})
    with pytest.raises(Transient):
        read(b"<html>", 404)


def test_other_statuses() -> None:
    with pytest.raises(Unsuitable):
        read({}, 400)
    for status in (401, 403):
        with pytest.raises(Refused, match="SPUR_API_KEY") as refusal:
            read({}, status)
        assert "MARKER" not in str(refusal.value)
    with pytest.raises(Limited, match="no queries left") as limited:
        read({}, 429)
    assert limited.value.retry_after is None
    with pytest.raises(Limited) as limited:
        read({}, 429, headers={"retry-after": "60"})
    assert limited.value.retry_after == 60


def test_a_cut_answer_is_none() -> None:
    for body in (FOUND, MINIMAL):
        for cut in cuts(body):
            with pytest.raises(Transient):
                read(cut)


@given(damaged([FOUND, MINIMAL]), STATUSES, st.sampled_from(["", "5", "-1", "many"]))
def test_damaged_answers_are_read_or_refused(body: bytes, status: int, balance: str) -> None:
    response = Response(status, body, {"x-balance-remaining": balance})
    assert_read_or_no_answer(SERVICE, "148.72.169.225", response, SHAPE)
