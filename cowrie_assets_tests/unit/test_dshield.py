"""DShield's answers: its counters decide, its AS is read either way, and nothing else is a negative."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cowrie_assets.upstreams.contract import Limited, NoAnswer, Reading, Refused, Response, Transient, Unsuitable
from cowrie_assets.upstreams.dshield import DShield
from cowrie_assets_tests.unit.test_upstream_values import (
    NOTHING,
    STATUSES,
    Shape,
    assert_read_or_no_answer,
    assert_shape,
    cuts,
    damaged,
)

SERVICE = DShield("https://isc.sans.edu/", "ops-marker@example.org")
SHAPE: Shape = {
    "attacks": (int, NOTHING),
    "reports": (int, NOTHING),
    "first_reported": (str, NOTHING),
    "last_reported": (str, NOTHING),
    "max_risk": (int, NOTHING),
    "asn": (int, NOTHING),
    "as_name": (str, NOTHING),
    "country": (str, NOTHING),
    "network": (str, NOTHING),
    "threat_feeds": (list, str),
}
FOUND: dict[str, Any] = {
    "ip": {
        "number": "89.248.165.5",
        "count": 1234,
        "attacks": 56,
        "maxdate": "2026-11-20",
        "mindate": "2026-08-01",
        "updated": "2026-11-21 05:00:00",
        "comment": None,
        "maxrisk": 9,
        "as": 202425,
        "asname": "INT-NETWORK",
        "ascountry": "NL",
        "assize": 12288,
        "network": "89.248.165.0/24",
        "threatfeeds": {"shodan": {"lastseen": "2026-11-20"}, "ciarmy": {"lastseen": "2026-11-19"}},
    }
}
NOT_FOUND: dict[str, Any] = {
    "ip": FOUND["ip"] | {"count": None, "attacks": None, "maxdate": None, "mindate": None, "maxrisk": None}
}


def read(body: Any, status: int = 200, address: str = "89.248.165.5", headers: Any = ()) -> Reading:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return SERVICE.read(address, Response(status, raw, dict(headers)))


def about(**changes: Any) -> Reading:
    return read({"ip": FOUND["ip"] | changes})


def test_the_question() -> None:
    request = SERVICE.request("89.248.165.5")
    assert (request.method, request.url, request.form) == ("GET", "https://isc.sans.edu/api/ip/89.248.165.5?json", None)
    assert request.headers == {"User-Agent": "cowrie-assets (+ops-marker@example.org)"}
    assert "marker" not in repr(request) + repr(SERVICE)


def test_the_recorded_answer(shared_data: Path) -> None:
    body = (shared_data / "api_samples/dshield/isc_api_ip_1.1.1.1_2026-10-05.json").read_bytes()
    reading = read(body, address="1.1.1.1")
    assert reading.outcome == "not_found"
    assert reading.fields == {
        "attacks": None,
        "reports": None,
        "first_reported": None,
        "last_reported": None,
        "max_risk": None,
        "asn": 13335,
        "as_name": "CLOUDFLARENET",
        "country": "US",
        "network": "1.1.1.0/24",
        "threat_feeds": ["mastodon", "openresolver", "rosti"],
    }
    assert reading.payload == json.loads(body)


def test_what_was_reported_is_found() -> None:
    reading = read(FOUND)
    assert reading.outcome == "found"
    assert reading.fields == {
        "attacks": 56,
        "reports": 1234,
        "first_reported": "2026-08-01",
        "last_reported": "2026-11-20",
        "max_risk": 9,
        "asn": 202425,
        "as_name": "INT-NETWORK",
        "country": "NL",
        "network": "89.248.165.0/24",
        "threat_feeds": ["ciarmy", "shodan"],
    }
    assert about(count=0, attacks=0).outcome == "found"  # an answer of 2018
    assert about(count=None).outcome == "found"
    assert_shape(reading, SHAPE)


def test_what_nobody_reported_is_not_found_and_has_its_as() -> None:
    reading = read(NOT_FOUND)
    assert (reading.outcome, reading.fields["asn"], reading.fields["attacks"]) == ("not_found", 202425, None)


def test_the_asn_was_guessed_the_field_is_as() -> None:
    assert about(**{"as": None, "asn": 13335}).fields["asn"] is None
    assert about(**{"as": "13335"}).fields["asn"] == 13335
    assert about(**{"as": 0}).fields["asn"] is None


def test_the_country_may_be_an_empty_text() -> None:
    assert [about(ascountry=code).fields["country"] for code in ("", "XX", None, "nl")] == [None, None, None, "NL"]


@pytest.mark.parametrize("nothing", [None, {}, "None", ""])
def test_leftovers_of_xml_mean_nothing(nothing: Any) -> None:
    reading = about(
        count=nothing, attacks=nothing, mindate=nothing, maxrisk=nothing, asname=nothing, threatfeeds=nothing
    )
    assert reading.outcome == "not_found"
    assert (reading.fields["first_reported"], reading.fields["as_name"], reading.fields["max_risk"]) == (None,) * 3
    assert about(count={"text": "5"}, attacks="7").fields["reports"] == 5


def test_the_octets_of_an_answer_may_be_padded() -> None:
    assert about(number="089.248.165.005").outcome == "found"


@pytest.mark.parametrize("number", ["89.248.165.6", "5.165.248.89", None, "", "none", 5, {}])
def test_an_answer_about_another_address_is_none(number: Any) -> None:
    with pytest.raises(Transient):
        about(number=number)


@pytest.mark.parametrize("unreadable", [-5, "many", [], [5], 1.5, True])
def test_counters_that_are_no_numbers_are_no_negative(unreadable: Any) -> None:
    with pytest.raises(Transient):
        about(count=unreadable, attacks=None)
    with pytest.raises(Transient):
        read({"ip": {"number": "89.248.165.5", "as": 202425}})


def test_a_bad_address_is_not_for_this_service() -> None:
    for status in (200, 400):
        with pytest.raises(Unsuitable):
            read({"error": "bad IP address"}, status)


@pytest.mark.parametrize(
    "body",
    [{"error": "database is down"}, {"ip": None}, {"ip": []}, {}, b"", b"null", b"[]", b"<html>", b"<?xml?><ip/>"],
)
def test_what_makes_no_sense_is_no_negative(body: Any) -> None:
    with pytest.raises(Transient):
        read(body)


def test_failures_are_never_stored_as_empty_answers() -> None:
    for status in (400, 404, 301, 302, 500, 502, 503, 504, 418):
        with pytest.raises(Transient):
            read(NOT_FOUND, status)
    for status in (401, 403):
        with pytest.raises(Refused, match="DSHIELD_EMAIL") as refusal:
            read(b"<html>", status)
        assert "marker" not in str(refusal.value)
    with pytest.raises(Limited) as limited:
        read(b"", 429, headers={"retry-after": "300"})
    assert (limited.value.retry_after, limited.value.status) == (300, 429)


def test_a_cut_answer_is_none() -> None:
    for body in (FOUND, NOT_FOUND):
        for cut in cuts(body):
            with pytest.raises(Transient):
                read(cut)


@given(damaged([FOUND, NOT_FOUND]), STATUSES, st.sampled_from([{}, {"retry-after": "x"}]))
def test_damaged_answers_are_read_or_refused(body: bytes, status: int, headers: dict[str, str]) -> None:
    assert_read_or_no_answer(SERVICE, "89.248.165.5", Response(status, body, headers), SHAPE)


def test_ipv6_is_asked_as_well() -> None:
    assert SERVICE.request("2001:db8::1").url.endswith("/api/ip/2001:db8::1?json")
    with pytest.raises(NoAnswer):
        SERVICE.request("example.com")
