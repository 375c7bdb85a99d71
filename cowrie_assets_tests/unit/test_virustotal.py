"""VirusTotal's answers: 404 needs its code to be a negative, and a used up quota is no speed limit."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cowrie_assets.upstreams import virustotal
from cowrie_assets.upstreams.contract import (
    KeyService,
    Limited,
    NoAnswer,
    Reading,
    Refused,
    Response,
    Transient,
    Unsuitable,
)
from cowrie_assets.upstreams.virustotal import VirusTotal, until_reset
from cowrie_assets_tests.unit.test_upstream_values import (
    JSON_VALUES,
    NOTHING,
    STATUSES,
    Shape,
    assert_read_or_no_answer,
    assert_shape,
    cuts,
    damaged,
)

SERVICE = VirusTotal("https://www.virustotal.com/", "MARKER-KEY", "ops-marker@example.org")
SHA256 = "3625d068896953595e75df328676a08bc071977ac1ff95d44b745bbcb7018c6f"
SHAPE: Shape = {
    "label": (str, NOTHING),
    "categories": (list, str),
    "names": (list, str),
    "malicious": (int, NOTHING),
    "suspicious": (int, NOTHING),
    "undetected": (int, NOTHING),
    "harmless": (int, NOTHING),
    "engines": (int, NOTHING),
    "file_type": (str, NOTHING),
    "size": (int, NOTHING),
    "meaningful_name": (str, NOTHING),
    "tags": (list, str),
    "first_seen": (str, NOTHING),
    "last_seen": (str, NOTHING),
    "analysed_at": (str, NOTHING),
    "times_submitted": (int, NOTHING),
    "reputation": (int, NOTHING),
}
NOTHING_KNOWN: dict[str, Any] = dict.fromkeys(SHAPE) | {"categories": [], "names": [], "tags": []}
ATTRIBUTES: dict[str, Any] = {
    "sha256": SHA256,
    "size": 95268,
    "type_description": "ELF",
    "meaningful_name": "bin.sh",
    "tags": ["elf", "64bits", "elf"],
    "first_submission_date": 1700000000,
    "last_submission_date": "1763600000",
    "last_analysis_date": 1763600000.0,
    "times_submitted": 12,
    "reputation": -5,
    "last_analysis_stats": {"malicious": 41, "suspicious": 0, "undetected": 22, "harmless": 0, "type-unsupported": 13},
    "last_analysis_results": {"Bkav": {"category": "malicious", "engine_name": "Bkav", "result": "Linux.Mirai"}},
    "popular_threat_classification": {
        "suggested_threat_label": "trojan.mirai/gafgyt",
        "popular_threat_category": [{"count": 2, "value": "miner"}, {"count": 20, "value": "trojan"}],
        "popular_threat_name": [{"value": "rare"}, {"count": "3", "value": "gafgyt"}, {"count": 15, "value": "mirai"}],
    },
}
FOUND: dict[str, Any] = {"data": {"type": "file", "id": SHA256, "attributes": ATTRIBUTES}}
NOT_FOUND = {"error": {"code": "NotFoundError", "message": f'File "{SHA256}" not found'}}


def read(body: Any, status: int = 200, sha256: str = SHA256, headers: Any = ()) -> Reading:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return SERVICE.read(sha256, Response(status, raw, dict(headers)))


def report(**changes: Any) -> Reading:
    return read({"data": {"id": SHA256, "attributes": ATTRIBUTES | changes}})


def failure(code: Any, status: int, headers: Any = ()) -> NoAnswer:
    with pytest.raises(NoAnswer) as raised:
        read({"error": {"code": code, "message": f"MARKER {SHA256}"}}, status, headers=headers)
    assert "MARKER" not in str(raised.value)
    assert SHA256 not in str(raised.value)
    return raised.value


def test_the_question() -> None:
    service: KeyService = SERVICE
    request = service.request(SHA256.upper())
    assert (request.method, request.url) == ("GET", f"https://www.virustotal.com/api/v3/files/{SHA256}")
    assert request.headers == {"x-apikey": "MARKER-KEY", "User-Agent": "cowrie-assets (+ops-marker@example.org)"}
    assert "marker" not in (repr(request) + repr(SERVICE)).lower()


@pytest.mark.parametrize(
    "key", ["", "d41d8cd98f00b204e9800998ecf8427e", SHA256[1:], SHA256 + "\n", "g" * 64, "../" + SHA256[3:], "٣" * 64]
)
def test_only_sha256_is_asked(key: str) -> None:
    with pytest.raises(Unsuitable) as raised:
        SERVICE.request(key)
    assert key not in str(raised.value) or not key
    with pytest.raises(Unsuitable):
        read(NOT_FOUND, 404, key)


def test_a_report_is_found() -> None:
    reading = read(FOUND)
    assert reading.outcome == "found"
    assert reading.fields == {
        "label": "trojan.mirai/gafgyt",
        "categories": ["trojan", "miner"],
        "names": ["mirai", "gafgyt", "rare"],
        "malicious": 41,
        "suspicious": 0,
        "undetected": 22,
        "harmless": 0,
        "engines": 63,
        "file_type": "ELF",
        "size": 95268,
        "meaningful_name": "bin.sh",
        "tags": ["64bits", "elf"],
        "first_seen": "2023-11-14T22:13:20Z",
        "last_seen": "2025-11-20T00:53:20Z",
        "analysed_at": "2025-11-20T00:53:20Z",
        "times_submitted": 12,
        "reputation": -5,
    }
    assert_shape(reading, SHAPE)
    kept = {name: value for name, value in ATTRIBUTES.items() if name != "last_analysis_results"}
    assert reading.payload == {"data": FOUND["data"] | {"attributes": kept}}
    assert read(FOUND, sha256=SHA256.upper()) == reading


def test_the_recorded_answers(shared_data: Path) -> None:
    folder = shared_data / "api_samples/virustotal"
    assert read((folder / "v3_404.json").read_bytes(), 404).outcome == "not_found"
    with pytest.raises(Limited, match="no requests left today"):
        read((folder / "v3_429.json").read_bytes(), 429)
    body = json.loads((folder / "v3_files_elf_2025_excerpt.json").read_bytes())
    sha256 = body["data"]["id"]
    with pytest.raises(Transient, match="without verdicts"):  # they lie outside the excerpt
        read(body, sha256=sha256)
    body["data"]["attributes"]["last_analysis_stats"] = {"malicious": 2, "undetected": 1}
    reading = read(body, sha256=sha256)
    known = {"malicious": 2, "undetected": 1, "engines": 3, "file_type": "ELF", "size": 18040, "reputation": 0}
    assert reading.fields == NOTHING_KNOWN | known | {"meaningful_name": "PwnKit"}
    assert "last_analysis_results" not in reading.payload["data"]["attributes"]
    report_on_an_address = (folder / "v3_ip_addresses_2021.json").read_bytes()
    with pytest.raises(Transient):
        read(report_on_an_address)


def test_a_clean_file_has_no_threat() -> None:
    clean = {"sha256": SHA256, "last_analysis_stats": {"malicious": 0, "undetected": 60}}
    reading = read({"data": {"id": SHA256, "attributes": clean}})
    assert reading.fields == NOTHING_KNOWN | {"malicious": 0, "undetected": 60, "engines": 60}
    assert report(last_analysis_stats={}).fields["engines"] is None


@pytest.mark.parametrize("named", [{"id": SHA256}, {"attributes": {"sha256": SHA256.upper()}}])
def test_one_name_of_the_file_is_enough(named: dict[str, Any]) -> None:
    attributes = {"last_analysis_stats": {"malicious": 1}} | named.get("attributes", {})
    assert read({"data": named | {"attributes": attributes}}).outcome == "found"


@pytest.mark.parametrize(
    "body",
    [
        {"data": FOUND["data"] | {"id": "0" * 64}},
        {"data": FOUND["data"] | {"attributes": ATTRIBUTES | {"sha256": "0" * 64}}},
        {"data": {"attributes": {"last_analysis_stats": {}}}},
        {"data": FOUND["data"] | {"attributes": None}},
        {"data": FOUND["data"] | {"attributes": ATTRIBUTES | {"last_analysis_stats": None}}},
        {"data": [FOUND["data"]]},
        NOT_FOUND,
        {},
        b"",
        b"null",
        b"<html>",
    ],
)
def test_a_200_that_is_no_report_on_the_file_is_none(body: Any) -> None:
    with pytest.raises(Transient):
        read(body)


@pytest.mark.parametrize(
    ("value", "instant"),
    [
        (1, "1970-01-01T00:00:01Z"),
        (253402300799, "9999-12-31T23:59:59Z"),
        (253402300800, None),
        (0, None),
        (-1, None),
        (2**62, None),
        ("soon", None),
        (True, None),
    ],
)
def test_instants(value: Any, instant: str | None) -> None:
    assert report(last_analysis_date=value).fields["analysed_at"] == instant


@pytest.mark.parametrize(
    ("value", "number"),
    [(7, 7), (" -7 ", -7), (-7.0, -7), ("7", 7), (0, 0), (-1.5, None), (-(2**63), None), (False, None), ("--7", None)],
)
def test_a_reputation_may_be_negative(value: Any, number: int | None) -> None:
    got = report(reputation=value).fields["reputation"]
    assert (type(got), got) == (type(number), number)


def test_404_with_its_code_is_the_negative() -> None:
    reading = read(NOT_FOUND, 404)
    assert (reading.outcome, reading.fields, reading.payload) == ("not_found", NOTHING_KNOWN, NOT_FOUND)
    for body in (b"", b"<html>", b"null", {}, {"error": "NotFoundError"}, {"code": "NotFoundError"}, FOUND):
        with pytest.raises(Transient):
            read(body, 404)
    for unknown in (None, "notfounderror", "NotFound", ["NotFoundError"], 5):
        assert type(failure(unknown, 404)) is Transient


def test_other_statuses() -> None:
    for code in ("InvalidArgumentError", "BadRequestError"):
        assert type(failure(code, 400)) is Unsuitable
    for code, status in (("NotAvailableYet", 400), ("", 400), ("AlreadyExistsError", 409), ("FailedDependency", 424)):
        assert type(failure(code, status)) is Transient
    for status in (204, 302, 500, 503, 504):
        assert type(failure("NotFoundError", status)) is Transient
    for code, status in (("WrongCredentialsError", 401), ("QuotaExceededError", 401), ("ForbiddenError", 403)):
        refusal = failure(code, status)
        assert type(refusal) is Refused
        assert "VT_API_KEY" in refusal.reason


def test_a_quota_is_used_up_until_midnight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virustotal, "until_reset", lambda now: 3600.0 if now.tzinfo is UTC else None)
    for code, headers, seconds, reason in (
        ("QuotaExceededError", {}, 3600, "has no requests left today (429, QuotaExceededError)"),
        ("QuotaExceededError", {"retry-after": "120"}, 120, "has no requests left today (429, QuotaExceededError)"),
        ("TooManyRequestsError", {}, 60, "asks us to slow down (429)"),
        ("TooManyRequestsError", {"retry-after": "7"}, 7, "asks us to slow down (429)"),
        ("", {"retry-after": "soon"}, 60, "asks us to slow down (429)"),
    ):
        limited = failure(code, 429, headers)
        assert isinstance(limited, Limited)
        assert (limited.reason, limited.retry_after, limited.status) == (reason, seconds, 429)
    with pytest.raises(Limited):
        read(b"<html>", 429)


@pytest.mark.parametrize(
    ("now", "seconds"),
    [
        (datetime(2026, 12, 31, 23, 59, 59, 500000, tzinfo=UTC), 0.5),
        (datetime(2026, 2, 28, 0, 0, tzinfo=UTC), 86400),
        (datetime(2026, 6, 1, 1, 0, tzinfo=timezone(timedelta(hours=2))), 3600),
    ],
)
def test_the_day_ends_at_midnight_utc(now: datetime, seconds: float) -> None:
    assert until_reset(now) == seconds


@given(st.integers(0, 2**32), st.integers(-12, 14))
def test_the_day_ends_within_a_day(seconds: int, hours: int) -> None:
    now = datetime.fromtimestamp(seconds, timezone(timedelta(hours=hours)))
    assert until_reset(now) == 86400 - seconds % 86400


@given(JSON_VALUES)
def test_any_value_has_a_type_or_none(value: Any) -> None:
    strange = dict.fromkeys(ATTRIBUTES, value) | {"sha256": SHA256}
    stats = dict.fromkeys(ATTRIBUTES["last_analysis_stats"], value)
    threat = {"popular_threat_category": [{"count": value, "value": "x"}], "popular_threat_name": value}
    assert_shape(report(**strange | {"last_analysis_stats": stats, "popular_threat_classification": threat}), SHAPE)


def test_a_cut_answer_is_none() -> None:
    for status, body in ((200, FOUND), (404, NOT_FOUND)):
        for cut in cuts(body):
            with pytest.raises(Transient):
                read(cut, status)


@given(damaged([FOUND, NOT_FOUND]), STATUSES)
def test_damaged_answers_are_read_or_refused(body: bytes, status: int) -> None:
    assert_read_or_no_answer(SERVICE, SHA256, Response(status, body), SHAPE)
