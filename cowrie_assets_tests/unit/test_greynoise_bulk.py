"""GreyNoise's answers about a batch: each address has its own, and only a whole row or its list denies one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from cowrie_assets.upstreams.contract import (
    BulkService,
    Limited,
    NoAnswer,
    Reading,
    Refused,
    Response,
    Transient,
    Unsuitable,
)
from cowrie_assets.upstreams.greynoise_bulk import GreyNoiseBulk
from cowrie_assets_tests.unit import test_greynoise
from cowrie_assets_tests.unit.test_upstream_values import NOTHING, STATUSES, Shape, assert_shape, cuts, damaged

SERVICE = GreyNoiseBulk("https://api.greynoise.io/", "MARKER-KEY", "ops-marker@example.org")
SHAPE: Shape = {**test_greynoise.SHAPE, "riot_licensed": (bool, NOTHING), "tags": (list, str)}
NOTHING_KNOWN: dict[str, Any] = test_greynoise.NOTHING_KNOWN | {"riot_licensed": None, "tags": []}
SCANNER, SERVER, BOTH_DENY, LISTED, INVALID, FORGOTTEN = ASKED = [f"71.6.135.{n}" for n in range(131, 137)]


def row(address: Any, scanner: Any = False, business: Any = False, **known: Any) -> dict[str, Any]:
    return {
        "ip": address,
        "internet_scanner_intelligence": {"found": scanner, **known},
        "business_service_intelligence": {"found": business, "trust_level": ""},
    }


ROW = row(
    SCANNER,
    True,
    classification="benign",
    last_seen="2026-11-20",
    tags=[{"id": "x", "slug": "shodan", "name": "Shodan"}, {"name": "ADB Check"}],
    actor="Shodan.io",
)
FOUND: dict[str, Any] = {
    "data": [
        ROW,
        row(SERVER) | {"business_service_intelligence": {"found": True, "name": "Google Public DNS"}},
        row(BOTH_DENY),
    ],
    "request_metadata": {
        "restricted_fields": [],
        "message": "ok",
        "ips_not_found": [LISTED, "9.9.9.9"],
        "invalid_ips": [INVALID],
    },
}


def read(body: Any, status: int = 200, asked: Any = ASKED, headers: Any = ()) -> dict[str, Reading | Unsuitable]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return SERVICE.read_many(asked, Response(status, raw, dict(headers)))


def only(*rows: Any, **metadata: Any) -> Reading | Unsuitable | None:
    answers = read({"data": list(rows), "request_metadata": metadata}, asked=[SCANNER])
    assert set(answers) <= {SCANNER}
    return answers.get(SCANNER)


def outcome(answer: Reading | Unsuitable | None) -> str | None:
    return answer.outcome if isinstance(answer, Reading) else type(answer).__name__ if answer else None


def test_the_question() -> None:
    service: BulkService = SERVICE
    request = service.request_many([SCANNER, "::ffff:71.6.135.131", SERVER])
    assert (request.method, request.url) == ("POST", "https://api.greynoise.io/v3/ip?quick=false")
    assert request.headers == {
        "key": "MARKER-KEY",
        "User-Agent": "cowrie-assets (+ops-marker@example.org)",
        "Content-Type": "application/json",
    }
    assert (request.form, json.loads(request.content or b"")) == (None, {"ips": [SCANNER, SERVER]})
    assert "marker" not in (repr(request) + repr(SERVICE)).lower()


def test_what_is_not_asked() -> None:
    for no_address in ("2001:db8::1", "example.com", ""):
        with pytest.raises(Unsuitable):
            SERVICE.request_many([SCANNER, no_address])
    assert SERVICE.request_many([SCANNER] * 10_000).content
    with pytest.raises(ValueError, match="10000") as raised:
        SERVICE.request_many([SCANNER] * 10_001)
    assert SCANNER not in str(raised.value)


def test_the_recorded_answers(shared_data: Path) -> None:
    """They are of the question about one address, whose body is what a row is in a batch."""
    rows = {}
    for name in ("full_200", "quick_200", "shodan_2025", "404"):
        body = json.loads((shared_data / f"api_samples/greynoise/v3_ip_{name}.json").read_bytes())
        answer = read({"data": [body]}, asked=[body["ip"]])[body["ip"]]
        assert isinstance(answer, Reading)
        assert_shape(answer, SHAPE)
        assert answer.payload == body
        rows[name] = answer
    licensed = NOTHING_KNOWN | {"riot_licensed": True}
    assert {name: answer.outcome for name, answer in rows.items() if answer.outcome == "not_found"} == {
        "404": "not_found"
    }
    assert rows["404"].fields == licensed
    assert rows["quick_200"].fields == licensed | {"noise": True, "classification": "suspicious"}
    assert rows["full_200"].fields == licensed | {
        "noise": True,
        "classification": "suspicious",
        "name": "unknown",
        "last_seen": "2025-09-19",
        "tags": ["SMBv1 Crawler"],
    }
    assert rows["shodan_2025"].fields == licensed | {
        "noise": True,
        "classification": "benign",
        "name": "Shodan.io",
        "last_seen": "2025-06-26",
        "tags": ["ADB Check"],
    }


def test_every_address_has_its_answer() -> None:
    answers = read(FOUND)
    assert {address: outcome(answer) for address, answer in answers.items()} == {
        SCANNER: "found",
        SERVER: "found",
        BOTH_DENY: "not_found",
        LISTED: "not_found",
        INVALID: "Unsuitable",
    }
    readings = {address: answer for address, answer in answers.items() if isinstance(answer, Reading)}
    for reading in readings.values():
        assert_shape(reading, SHAPE)
    licensed = NOTHING_KNOWN | {"riot_licensed": True}
    assert readings[SCANNER].fields == licensed | {
        "noise": True,
        "classification": "benign",
        "name": "Shodan.io",
        "last_seen": "2026-11-20",
        "tags": ["ADB Check", "Shodan"],
    }
    assert readings[SCANNER].payload == ROW
    assert readings[SERVER].fields == licensed | {"riot": True, "name": "Google Public DNS"}
    assert readings[BOTH_DENY].fields == licensed
    assert readings[LISTED].fields == NOTHING_KNOWN
    assert readings[LISTED].payload == {"request_metadata": {"ips_not_found": [LISTED]}}


def test_the_names_are_those_of_the_community() -> None:
    assert set(test_greynoise.SHAPE) < set(SHAPE)


def test_services_may_not_be_licensed() -> None:
    for scanner, expected in ((True, "found"), (False, "not_found")):
        answer = only(row(SCANNER, scanner, None))
        assert isinstance(answer, Reading)
        assert (answer.outcome, answer.fields["riot"], answer.fields["riot_licensed"]) == (expected, False, False)


@pytest.mark.parametrize(
    "broken",
    [
        {"ip": SCANNER},
        row(SCANNER, None),
        row(SCANNER, "maybe", True),
        row(SCANNER, False, "maybe"),
        row(SCANNER, False, []),
        row(SCANNER) | {"business_service_intelligence": {}},
        row(SCANNER) | {"business_service_intelligence": None},
        row(SCANNER) | {"internet_scanner_intelligence": [{"found": False}]},
    ],
)
def test_a_broken_row_is_no_answer(broken: Any) -> None:
    assert only(broken) is None
    assert only(broken, row(SCANNER), ips_not_found=[SCANNER], invalid_ips=[SCANNER]) is None
    assert outcome(only(row(SCANNER, True), broken)) == "found"


@pytest.mark.parametrize(
    "stray", [None, [], "x", {}, row(SERVER, True), row(None, True), row([SCANNER], True), [ROW], row("x", True)]
)
def test_rows_about_nothing_asked_are_left_out(stray: Any) -> None:
    assert only(stray) is None
    assert outcome(only(stray, ROW)) == "found"


def test_what_is_said_twice() -> None:
    assert outcome(only(row(SCANNER), ROW)) == "found"
    assert outcome(only(ROW, ips_not_found=[SCANNER], invalid_ips=[SCANNER])) == "found"
    assert outcome(only(row(SCANNER), ips_not_found=[SCANNER])) == "not_found"
    assert outcome(only(ips_not_found=[SCANNER], invalid_ips=[SCANNER])) == "Unsuitable"
    assert only(ips_not_found=SCANNER, invalid_ips=SCANNER) is None
    assert only(ips_not_found=[[SCANNER], None, 5]) is None


def test_an_address_is_itself_in_any_spelling() -> None:
    asked = ["::ffff:71.6.135.131", "71.6.135.131"]
    answers = read({"data": [row(" 071.006.135.131", True)]}, asked=asked)
    assert {address: outcome(answer) for address, answer in answers.items()} == dict.fromkeys(asked, "found")


def test_nothing_is_said_of_an_address_that_is_not_mentioned() -> None:
    assert read({"data": []}) == {}
    assert read({"request_metadata": {}}) == {}
    assert only(ROW | {"ip": SERVER}) is None


@pytest.mark.parametrize("body", [b"", b"<html>", b"null", b"[]", {}, {"message": "x"}, {"data": {}}, [ROW], ROW])
def test_what_is_no_answer_to_a_batch_is_none(body: Any) -> None:
    with pytest.raises(Transient):
        read(body)


def test_other_statuses() -> None:
    with pytest.raises(Transient, match="took none of the batch"):
        read({"message": "too many"}, 400)
    for status in (401, 403):
        with pytest.raises(Refused, match="GREYNOISE_API_KEY") as refusal:
            read(FOUND, status)
        assert "MARKER" not in str(refusal.value)
    for status in (204, 302, 404, 500, 503):
        with pytest.raises(Transient):
            read(FOUND, status)
    with pytest.raises(Limited) as limited:
        read(b"", 429, headers={"retry-after": "7"})
    assert limited.value.retry_after == 7


def test_a_cut_answer_is_none() -> None:
    for cut in cuts(FOUND):
        with pytest.raises(Transient):
            read(cut)


@given(damaged([FOUND]), STATUSES)
def test_damaged_answers_are_read_or_refused(body: bytes, status: int) -> None:
    try:
        answers = read(body, status)
    except NoAnswer as failure:
        assert not any(address in failure.reason for address in ASKED)
        return
    assert set(answers) <= set(ASKED)
    for answer in answers.values():
        if isinstance(answer, Reading):
            assert_shape(answer, SHAPE)
