"""URLhaus' answers: `query_status` decides, and null lists, numbers in texts and unknown words are survived."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from cowrie_assets.upstreams.contract import Limited, Reading, Refused, Response, Transient, Unsuitable
from cowrie_assets.upstreams.urlhaus import URLhaus
from cowrie_assets_tests.unit.test_upstream_values import (
    NOTHING,
    STATUSES,
    Shape,
    assert_read_or_no_answer,
    assert_shape,
    cuts,
    damaged,
)

SERVICE = URLhaus("https://urlhaus-api.abuse.ch", "MARKER-KEY", "ops-marker@example.org")
SHAPE: Shape = {
    "url_count": (int, NOTHING),
    "online_count": (int,),
    "first_seen": (str, NOTHING),
    "last_added": (str, NOTHING),
    "tags": (list, str),
    "threats": (list, str),
    "blacklists": (list, str),
}
FOUND: dict[str, Any] = {
    "query_status": "ok",
    "urlhaus_reference": "https://urlhaus.abuse.ch/host/59.182.145.194/",
    "host": "59.182.145.194",
    "firstseen": "2026-09-01 10:00:00 UTC",
    "url_count": "3",
    "blacklists": {"spamhaus_dbl": "abused_legit_malware", "surbl": "not listed"},
    "urls": [
        {
            "id": "3612345",
            "url_status": "online",
            "date_added": "2026-09-01 10:00:05 UTC",
            "threat": "malware_download",
            "larted": "true",
            "takedown_time_seconds": None,
            "tags": ["elf", "Mozi", "32-bit"],
        },
        {
            "id": 3612399,
            "url_status": "unknown",
            "date_added": "2026-09-02 00:00:00 UTC",
            "threat": "malware_download",
            "tags": None,
        },
        {"url_status": "offline", "date_added": None, "tags": "elf"},
    ],
}
NOT_FOUND = {"query_status": "no_results"}


def read(body: Any, status: int = 200, address: str = "59.182.145.194", headers: Any = ()) -> Reading:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return SERVICE.read(address, Response(status, raw, dict(headers)))


def test_the_question() -> None:
    request = SERVICE.request("59.182.145.194")
    assert (request.method, request.url) == ("POST", "https://urlhaus-api.abuse.ch/v1/host/")
    assert request.form == {"host": "59.182.145.194"}
    assert request.headers == {
        "Auth-Key": "MARKER-KEY",
        "User-Agent": "cowrie-assets (+ops-marker@example.org)",
    }
    assert "marker" not in (repr(request) + repr(SERVICE)).lower()


def test_ipv6_is_not_for_this_service() -> None:
    with pytest.raises(Unsuitable):
        SERVICE.request("2001:db8::1")


def test_the_recorded_answers(shared_data: Path) -> None:
    folder = shared_data / "api_samples/urlhaus"
    reading = read((folder / "v1_host_ip_2019.json").read_bytes(), address="187.107.132.33")
    assert reading.outcome == "found"
    assert reading.fields == {
        "url_count": 1,
        "online_count": 1,
        "first_seen": "2019-04-11T10:06:01Z",
        "last_added": "2019-04-11T10:06:10Z",
        "tags": [],
        "threats": ["malware_download"],
        "blacklists": [],
    }
    reading = read((folder / "v1_host_no_results.json").read_bytes())
    assert reading.outcome == "not_found"
    assert reading.fields == {
        "url_count": None,
        "online_count": 0,
        "first_seen": None,
        "last_added": None,
        "tags": [],
        "threats": [],
        "blacklists": [],
    }


def test_an_answer_to_another_question_is_none(shared_data: Path) -> None:
    """The recent URLs are `ok` as well, and name no host."""
    body = (shared_data / "api_samples/urlhaus/v1_urls_recent_2024.json").read_bytes()
    with pytest.raises(Transient):
        read(body)


def test_urls_are_summed_up() -> None:
    reading = read(FOUND)
    assert reading.outcome == "found"
    assert reading.fields == {
        "url_count": 3,
        "online_count": 1,
        "first_seen": "2026-09-01T10:00:00Z",
        "last_added": "2026-09-02T00:00:00Z",
        "tags": ["32-bit", "Mozi", "elf"],
        "threats": ["malware_download"],
        "blacklists": ["spamhaus_dbl"],
    }
    assert reading.payload == FOUND
    assert_shape(reading, SHAPE)


@pytest.mark.parametrize("nothing", [None, [], "", {}, [None], ["x"], [[]]])
def test_null_tags_and_null_urls(nothing: Any) -> None:
    reading = read(FOUND | {"urls": nothing, "blacklists": nothing})
    assert (reading.outcome, reading.fields["online_count"], reading.fields["tags"]) == ("found", 0, [])
    assert reading.fields["last_added"] is None
    assert reading.fields["blacklists"] == []
    assert read(FOUND | {"urls": [{"tags": nothing if nothing != ["x"] else None}]}).fields["tags"] == []


@pytest.mark.parametrize("value", ["not listed", "Not listed", "", None, "unknown_return_code", {}, True])
def test_a_blacklist_that_does_not_list_it(value: Any) -> None:
    assert read(FOUND | {"blacklists": {"surbl": value, "spamhaus_dbl": "spammer_domain"}}).fields["blacklists"] == [
        "spamhaus_dbl"
    ]


@pytest.mark.parametrize("host", ["59.182.145.195", "194.145.182.59", "", None, "example.com", 5])
def test_an_answer_about_another_host_is_none(host: Any) -> None:
    with pytest.raises(Transient):
        read(FOUND | {"host": host})


@pytest.mark.parametrize("status", ["http_post_expected", "OK", "", None, [], {"ok": 1}, True, "unknown_auth_key"])
def test_an_unknown_query_status_is_no_negative(status: Any) -> None:
    with pytest.raises(Transient):
        read({"query_status": status})


def test_other_outcomes() -> None:
    with pytest.raises(Unsuitable):
        read({"query_status": "invalid_host"})
    for status, body in ((401, {"error": "Unauthorized"}), (403, {}), (402, {}), (402, b"<html>"), (402, FOUND)):
        with pytest.raises(Refused, match="URLHAUS_API_KEY") as refusal:
            read(body, status)
        assert "MARKER" not in str(refusal.value)
    for status, body in ((402, {"query_status": "ratelimited"}), (429, b""), (200, {"query_status": "ratelimited"})):
        with pytest.raises(Limited) as limited:
            read(body, status, headers={"retry-after": "7"})
        assert limited.value.retry_after == 7


def test_failures_are_never_stored_as_empty_answers() -> None:
    for status in (404, 302, 400, 500, 503):
        with pytest.raises(Transient):
            read(NOT_FOUND, status)
    for nonsense in (b"", b"null", b"[]", b"<html>", b"{}"):
        with pytest.raises(Transient):
            read(nonsense)


def test_a_cut_answer_is_none() -> None:
    for cut in cuts(FOUND):
        with pytest.raises(Transient):
            read(cut)


@given(damaged([FOUND, NOT_FOUND]), STATUSES)
def test_damaged_answers_are_read_or_refused(body: bytes, status: int) -> None:
    assert_read_or_no_answer(SERVICE, "59.182.145.194", Response(status, body), SHAPE)
