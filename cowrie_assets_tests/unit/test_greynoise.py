"""GreyNoise's answers: 404 is its negative, but only with a body that says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from cowrie_assets.upstreams.contract import Limited, Reading, Refused, Response, Transient, Unsuitable
from cowrie_assets.upstreams.greynoise import GreyNoise
from cowrie_assets_tests.unit.test_upstream_values import (
    NOTHING,
    STATUSES,
    Shape,
    assert_read_or_no_answer,
    assert_shape,
    cuts,
    damaged,
)

SERVICE = GreyNoise("https://api.greynoise.io", "MARKER-KEY", "ops-marker@example.org")
SHAPE: Shape = {
    "noise": (bool,),
    "riot": (bool,),
    "classification": (str, NOTHING),
    "name": (str, NOTHING),
    "last_seen": (str, NOTHING),
    "link": (str, NOTHING),
}
FOUND: dict[str, Any] = {
    "ip": "71.6.135.131",
    "noise": True,
    "riot": False,
    "classification": "malicious",
    "name": "unknown",
    "link": "https://viz.greynoise.io/ip/71.6.135.131",
    "last_seen": "2026-11-20",
    "message": "Success",
}
NOT_FOUND = {
    "ip": "71.6.135.131",
    "noise": False,
    "riot": False,
    "message": "IP not observed scanning the internet.",
}
NOTHING_KNOWN = {"noise": False, "riot": False, "classification": None, "name": None, "last_seen": None, "link": None}


def read(body: Any, status: int = 200, address: str = "71.6.135.131", headers: Any = ()) -> Reading:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return SERVICE.read(address, Response(status, raw, dict(headers)))


def test_the_question() -> None:
    request = SERVICE.request("71.6.135.131")
    assert (request.method, request.url) == ("GET", "https://api.greynoise.io/v3/community/71.6.135.131")
    assert request.headers == {"key": "MARKER-KEY", "User-Agent": "cowrie-assets (+ops-marker@example.org)"}
    assert "marker" not in (repr(request) + repr(SERVICE)).lower()


def test_ipv6_is_not_for_this_service() -> None:
    with pytest.raises(Unsuitable):
        SERVICE.request("2001:db8::1")


def test_the_recorded_answers(shared_data: Path) -> None:
    folder = shared_data / "api_samples/greynoise"
    reading = read((folder / "community_v3_200_2021.json").read_bytes())
    assert reading.outcome == "found"
    assert reading.fields == {
        "noise": True,
        "riot": False,
        "classification": "benign",
        "name": "Shodan.io",
        "last_seen": "2021-05-10",
        "link": "https://viz.greynoise.io/ip/71.6.135.131",
    }
    reading = read((folder / "community_v3_404.json").read_bytes(), 404, "191.15.13.2")
    assert reading.outcome == "not_found"
    assert reading.fields == NOTHING_KNOWN


def test_answers_of_the_paid_interface_are_none(shared_data: Path) -> None:
    for name in ("v3_ip_full_200.json", "v3_ip_quick_200.json", "v3_ip_shodan_2025.json"):
        body = (shared_data / "api_samples/greynoise" / name).read_bytes()
        with pytest.raises(Transient):
            read(body, address=json.loads(body)["ip"])
    body = (shared_data / "api_samples/greynoise/v3_ip_404.json").read_bytes()
    with pytest.raises(Transient):
        read(body, 404, json.loads(body)["ip"])


def test_what_scans_is_found() -> None:
    reading = read(FOUND)
    assert (reading.outcome, reading.fields["noise"], reading.fields["last_seen"]) == ("found", True, "2026-11-20")
    assert reading.payload == FOUND
    sparse = read({"ip": "71.6.135.131", "riot": "true", "last_seen": "", "name": None})
    assert sparse.fields == NOTHING_KNOWN | {"riot": True}
    assert_shape(sparse, SHAPE)


@pytest.mark.parametrize("body", [NOT_FOUND, {"ip": "71.6.135.131", "message": "IP not observed."}])
def test_404_with_a_body_is_the_negative(body: dict[str, Any]) -> None:
    reading = read(body, 404)
    assert (reading.outcome, reading.fields) == ("not_found", NOTHING_KNOWN)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><h1>404 Not Found</h1></html>",
        b"null",
        b"[]",
        {"message": "no Route matched with those values"},  # a gateway in front of the service
        {"error": "not found"},
        {"ip": "71.6.135.132", "noise": False, "message": "IP not observed."},
        {"ip": "71.6.135.131"},
        FOUND,
    ],
)
def test_any_other_404_is_none(body: Any) -> None:
    with pytest.raises(Transient):
        read(body, 404)


@pytest.mark.parametrize("body", [FOUND | {"ip": "71.6.135.132"}, {"ip": "71.6.135.131"}, {}, b"", b"<html>", b"null"])
def test_a_200_that_says_nothing_of_the_address_is_none(body: Any) -> None:
    with pytest.raises(Transient):
        read(body)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"plan": "Community", "rate_limit": "25-W"}, "has no lookups left (429, Community, 25-W)"),
        (
            {
                "plan": "unauthenticated",
                "rate-limit": "100-lookups/day",
                "message": "You have hit your daily limit ...",
            },
            "has no lookups left (429, unauthenticated, 100-lookups/day)",
        ),
        ({"plan": "MARKER-KEY", "rate_limit": "71.6.135.131"}, "has no lookups left (429)"),
        ({"plan": ["x"], "rate_limit": 25}, "has no lookups left (429)"),
        (b"<html>", "has no lookups left (429)"),
    ],
)
def test_no_lookups_left(body: Any, reason: str) -> None:
    with pytest.raises(Limited) as limited:
        read(body, 429, headers={"retry-after": "60"})
    assert (limited.value.reason, limited.value.status, limited.value.retry_after) == (reason, 429, 60)


def test_other_statuses() -> None:
    with pytest.raises(Unsuitable):
        read({"message": "not routable"}, 400)
    for status in (401, 403):
        with pytest.raises(Refused, match="GREYNOISE_API_KEY"):
            read(b"", status)
    for status in (302, 500, 503):
        with pytest.raises(Transient):
            read(NOT_FOUND, status)


def test_a_cut_answer_is_none() -> None:
    for status, body in ((200, FOUND), (404, NOT_FOUND)):
        for cut in cuts(body):
            with pytest.raises(Transient):
                read(cut, status)


@given(damaged([FOUND, NOT_FOUND]), STATUSES)
def test_damaged_answers_are_read_or_refused(body: bytes, status: int) -> None:
    assert_read_or_no_answer(SERVICE, "71.6.135.131", Response(status, body), SHAPE)
