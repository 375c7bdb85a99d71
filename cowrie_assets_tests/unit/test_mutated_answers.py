"""80,000 damaged answers: each reads as something typed or as no answer, and none as a negative that it does not say.

Here: the damage, and for each service an oracle of its own that knows a negative without the service's parser.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_address
from random import Random
from typing import Any

import orjson
import pytest

from cowrie_assets.upstreams import cymru
from cowrie_assets.upstreams.contract import KeyService, NoAnswer, Reading, Response, Transient
from cowrie_assets_tests.unit import (
    test_cymru,
    test_dshield,
    test_greynoise,
    test_greynoise_bulk,
    test_hibp,
    test_spur,
    test_urlhaus,
    test_virustotal,
)
from cowrie_assets_tests.unit.test_upstream_values import NOTHING, Shape, assert_shape

MUTATIONS_A_SERVICE = 10_000

Ask = Callable[[Response], dict[str, Reading]]
Oracle = Callable[[int, bytes, str], bool]


@dataclass(frozen=True)
class Case:
    """A service: its good answers (status and body), how one is read, and whether an answer denies a key."""

    name: str
    keys: list[str]
    samples: list[tuple[int, bytes]]
    ask: Ask
    denies: Oracle
    shape: Shape


# --- damage -----------------------------------------------------------------------------------------------------------

STATUSES = [200, 200, 404, 404, 204, 301, 400, 401, 402, 403, 409, 418, 424, 429, 500, 502, 503, 504, 0]
BOM, HTML = b"\xef\xbb\xbf", b"<!DOCTYPE html><html><head><title>404 Not Found</title></head></html>"
BODIES = [b"", b" \r\n", b"null", b"[]", b"{}", b'"ok"', b"0", b"\x00", b"\xff", HTML, BOM + HTML, b"<?xml?><ip/>"]
PIECES = [b"\x00", b'"', b"{", b"]", b",", b"\n", b"\r\n", b" ", BOM, b"|", b":", b"NA", b"0", b"-1", b"9" * 30]
VALUES: list[Any] = [
    *(None, "", " ", [], {}, [None], [[]], {"text": None}, {"x": 5}, {"text": {"text": 1}}, [[[[["deep"]]]]]),
    *(True, False, 0, 1, -1, 1.5, -1e300, 2**31, 2**63, -(2**63), 2**64, 10**400),
    *("None", "null", "true", "false", "0", "-5", "NaN", "٣", "x" * 300, "\x00", "ß", "no_results", "NotFoundError"),
    *("ok", "1.2.3.4", "::1", "2026-13-45", "0000-00-00", "9" * 5000, "2026-09-01T10:00:00+99:99"),
]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with each of its keys or positions."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in pairs:
        yield value, key
        yield from _places(item)


def _structure(random: Random, body: bytes) -> bytes:
    """A key that is gone, renamed or there twice, a value that is another's, packed, or any other."""
    try:
        tree = json.loads(body)
        place, key = random.choice(list(_places(tree)))
    except (ValueError, IndexError, RecursionError):
        return _bytes(random, body)
    kind = random.randrange(7)
    if kind == 0:
        del place[key]
    elif kind == 1 and isinstance(place, dict):
        place[random.choice([key.upper(), f"{key}s", key[:-1], ""])] = place.pop(key)
    elif kind == 2 and isinstance(place, dict):
        place[f"\x01{key}"] = random.choice(VALUES)
    elif kind == 3:
        other, position = random.choice(list(_places(tree)))
        place[key], other[position] = other[position], place[key]
    elif kind == 4:
        place[key] = random.choice([[place[key]], {"text": place[key]}, [place[key]] * 2, str(place[key])])
    else:
        place[key] = random.choice(VALUES)
    try:
        return json.dumps(tree).replace("\\u0001", "").encode()
    except (ValueError, RecursionError):  # something is in itself now
        return b"{}"


def _bytes(random: Random, body: bytes) -> bytes:
    at = random.randint(0, len(body))
    to = random.randint(at, min(at + 40, len(body)))
    flipped = bytearray(body)
    for _ in range(random.randint(1, 4) if body else 0):
        flipped[random.randrange(len(body))] = random.randrange(256)
    inserted = body[:at] + random.choice(PIECES) + body[at:]
    without, twice, swapped = (
        body[:at] + body[to:],
        body[:to] + body[at:],
        body[:at] + body[at:to].swapcase() + body[to:],
    )
    return random.choice([bytes(flipped), bytes(flipped), body[:at], body[at:], inserted, without, twice, swapped])


def _lines(random: Random, body: bytes) -> bytes:
    """For answers in lines: one that is gone, there twice or elsewhere, or a column that is another."""
    lines = body.split(b"\n")
    at, to = random.randrange(len(lines)), random.randrange(len(lines))
    match random.randrange(4):
        case 0:
            del lines[at]
        case 1:
            lines.insert(to, lines[at])
        case 2:
            lines[at], lines[to] = lines[to], lines[at]
        case _:
            columns = re.split(rb"([|:])", lines[at])
            columns[random.randrange(len(columns))] = random.choice(PIECES + BODIES)
            lines[at] = b"".join(columns)
    return b"\n".join(lines)


def _wrapped(random: Random, body: bytes) -> bytes:
    words = body.decode("latin-1")
    packed = [BOM + body, HTML + body, b"[" + body + b"]", body * 2, json.dumps(words).encode(), words.encode("utf-16")]
    return random.choice(packed + BODIES)


def mutations(case: Case, times: int) -> Iterator[tuple[int, bytes]]:
    random = Random(case.name)
    kinds = [_structure if case.samples[0][1].startswith(b"{") else _lines] * 6 + [_bytes] * 4 + [_wrapped]
    for _ in range(times):
        status, body = random.choice(case.samples)
        for _ in range(random.choice((0, 1, 1, 1, 1, 2, 2, 3))):
            body = random.choice(kinds)(random, body)
        yield (random.choice(STATUSES) if random.random() < 0.15 else status), body


# --- what counts as a negative ----------------------------------------------------------------------------------------


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body.decode("utf-8-sig").strip())
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _inner(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _is(value: Any, key: str) -> bool:
    """Whether it is the address, perhaps with zeros in front of its octets, or carried by IPv6."""
    written = value.strip() if isinstance(value, str) else ""
    try:
        parsed = ip_address(written if ":" in written else re.sub(r"\b0+(?=[0-9])", "", written))
    except ValueError:
        return False
    return ip_address(key) in (parsed, getattr(parsed, "ipv4_mapped", None))


def _no(value: Any) -> bool:
    return value is False or (isinstance(value, str) and value.strip().lower() == "false")


def _empty(value: Any) -> bool:
    return value is None or value in ("", [], {})


def dshield_denies(status: int, body: bytes, key: str) -> bool:
    """Its counters (one of the two at least) are there, and are null, or what XML left of null."""
    entry = _inner(_parsed(body), "ip")
    number = _inner(entry, "number")
    counters = [entry[name] for name in ("attacks", "count") if name in entry] if isinstance(entry, dict) else []
    nothing: list[Any] = [None, "", "None", {}, {"text": None}, {"text": ""}, {"text": "None"}]
    about = _is(number, key) or _is(_inner(number, "text"), key)
    return status == 200 and about and bool(counters) and all(counter in nothing for counter in counters)


def urlhaus_denies(status: int, body: bytes, key: str) -> bool:
    return status == 200 and _parsed(body).get("query_status") == "no_results"


def spur_denies(status: int, body: bytes, key: str) -> bool:
    """An answer about the address that says nothing beside the minimal keys; 404 without a body, or with an object that
    has no context."""
    parsed = _parsed(body)
    context = parsed.keys() - {"as", "ip", "location", "organization"}
    if status == 404:
        context &= {"ai", "client", "infrastructure", "risks", "services", "tunnels"}
    said = [parsed[name] for name in context]
    silent = all(all(map(_empty, value.values())) if isinstance(value, dict) else _empty(value) for value in said)
    if status == 404:
        return body.removeprefix(BOM).translate(None, b" \r\n\t") in (b"", b"{}") or (silent and bool(parsed))
    return status == 200 and silent and _is(parsed.get("ip"), key)


def greynoise_denies(status: int, body: bytes, key: str) -> bool:
    """404 about the address, which denies noise or says so in words, and affirms nothing."""
    parsed = _parsed(body)
    noise, riot, message = parsed.get("noise"), parsed.get("riot"), parsed.get("message")
    denied = _no(noise) or (noise is None and isinstance(message, str) and "not observed" in message)
    return status == 404 and _is(parsed.get("ip"), key) and denied and (riot is None or _no(riot))


def greynoise_bulk_denies(status: int, body: bytes, key: str) -> bool:
    """All rows about it say no twice (or that services are not licensed); without a row, it is listed."""
    data, listed = (_inner(_parsed(body), *way) for way in (("data",), ("request_metadata", "ips_not_found")))
    denied = []
    for row in data if isinstance(data, list) else []:
        if _is(_inner(row, "ip"), key):
            business = _inner(row, "business_service_intelligence")
            unlicensed = isinstance(business, dict) and business.get("found", 0) is None
            noise = _inner(row, "internet_scanner_intelligence", "found")
            denied.append(_no(noise) and (unlicensed or _no(_inner(business, "found"))))
    return status == 200 and (all(denied) if denied else isinstance(listed, list) and any(_is(v, key) for v in listed))


def virustotal_denies(status: int, body: bytes, key: str) -> bool:
    code = _inner(_parsed(body), "error", "code")
    return status == 404 and isinstance(code, str) and code.strip() == "NotFoundError"


def hibp_denies(status: int, body: bytes, key: str) -> bool:
    return False


def cymru_denies(status: int, body: bytes, key: str) -> bool:
    """A complete row without AS and prefix, or a complete error line with its number."""
    for line in body.split(b"\n")[:-1]:
        written = line.decode("latin-1").strip()
        columns = [column.strip() for column in written.split("|")]
        if (
            len(columns) >= 7
            and columns[0] == "NA"
            and _is(columns[1], key)
            and columns[2].lower() in ("na", "other", "")
        ):
            return True
        error = re.fullmatch(r"Error: no ASN or IP match on line 0*([1-9][0-9]{0,8})\.?", written)
        if error and int(error[1]) == CYMRU_KEYS.index(key) + 3:
            return True
    return False


# --- the services -----------------------------------------------------------------------------------------------------


def _one(service: KeyService, key: str, response: Response) -> dict[str, Reading]:
    return {key: service.read(key, response)}


def _case(name: str, key: str, module: Any, denies: Oracle, *negatives: tuple[int, Any]) -> Case:
    answers = [(200, module.FOUND), (200, module.FOUND), *negatives]
    samples = [(status, json.dumps(body).encode()) for status, body in answers]
    return Case(name, [key], samples, partial(_one, module.SERVICE, key), denies, module.SHAPE)


def _many(response: Response) -> dict[str, Reading]:
    answers = test_greynoise_bulk.SERVICE.read_many(test_greynoise_bulk.ASKED, response)
    return {key: answer for key, answer in answers.items() if isinstance(answer, Reading)}


def _range(response: Response) -> dict[str, Reading]:
    """A row that is lost is a negative about a password: every line is a row, and is in the reading."""
    reading = test_hibp.SERVICE.read("21BD1", response)
    rows = [line.strip(b"\r").partition(b":") for line in response.body.split(b"\n") if line]
    counts = {suffix.decode().upper(): int(count) for suffix, _, count in rows if int(count)}
    assert reading.payload == counts
    return {"21BD1": reading}


XML_LEFTOVERS = {"ip": {"number": "089.248.165.005", "count": {"text": "None"}, "attacks": {}}}
LICENSED_NOT: dict[str, Any] = {"data": [test_greynoise_bulk.row(test_greynoise_bulk.SCANNER, False, None)]}
CYMRU_KEYS = ["140.82.121.3", "192.168.1.1", "89.38.234.0", "2606:4700:4700::1111", "92.42.108.1"]
CYMRU_FOUND = [test_cymru.GITHUB, test_cymru.IPV6, test_cymru.TWO_ORIGINS]
CYMRU_NOT_FOUND = ["Error: no ASN or IP match on line 4.", test_cymru.UNROUTED]
CASES = [
    _case("dshield", "89.248.165.5", test_dshield, dshield_denies, (200, test_dshield.NOT_FOUND), (200, XML_LEFTOVERS)),
    _case("urlhaus", "59.182.145.194", test_urlhaus, urlhaus_denies, (200, test_urlhaus.NOT_FOUND)),
    _case("spur", "148.72.169.225", test_spur, spur_denies, (200, test_spur.MINIMAL), (404, {"message": "not found"})),
    _case("greynoise", "71.6.135.131", test_greynoise, greynoise_denies, (404, test_greynoise.NOT_FOUND)),
    replace(
        _case("greynoise_bulk", "", test_greynoise_bulk, greynoise_bulk_denies, (200, LICENSED_NOT)),
        keys=test_greynoise_bulk.ASKED,
        ask=_many,
    ),
    _case("virustotal", test_virustotal.SHA256, test_virustotal, virustotal_denies, (404, test_virustotal.NOT_FOUND)),
    Case(
        "hibp",
        ["21BD1"],
        [(200, test_hibp.RANGE), (200, test_hibp.RANGE.replace(b"\r", b"") + b"\n")],
        _range,
        hibp_denies,
        test_hibp.SHAPE,
    ),
    Case(
        "cymru",
        CYMRU_KEYS,
        [(200, test_cymru.answer(*rows)) for rows in (CYMRU_FOUND, CYMRU_FOUND + CYMRU_NOT_FOUND, CYMRU_NOT_FOUND)],
        lambda response: cymru.parse(response.body, CYMRU_KEYS),
        cymru_denies,
        test_cymru.SHAPE,
    ),
]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


# --- the tests --------------------------------------------------------------------------------------------------------


def examine(case: Case, status: int, body: bytes) -> list[str]:
    """The outcomes that an answer has, after all of them were checked."""
    headers = {"content-length": str(len(body)), "retry-after": "soon", "x-balance-remaining": "-1"}
    try:
        answers = case.ask(Response(status, body, headers))
    except NoAnswer as failure:
        assert failure.reason
        assert not any(secret in failure.reason for secret in ("MARKER", *case.keys))
        return [type(failure).__name__]
    assert answers.keys() <= set(case.keys)
    for key, reading in answers.items():
        said = reading.outcome == "found" or case.denies(status, body, key)
        assert said, f"not_found that is not said of {key}"
        assert_shape(reading, case.shape)
        orjson.dumps([reading.fields, reading.payload])
    return [reading.outcome for reading in answers.values()]


def examine_all(case: Case, times: int) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    for number, (status, body) in enumerate(mutations(case, times)):
        try:
            outcomes.update(examine(case, status, body))
        except Exception as error:
            raise AssertionError(f"{case.name}, mutation {number}: {error!r} for {status} {body!r}") from error
    return outcomes


@each_case
def test_good_answers_are_read(case: Case) -> None:
    for status, body in case.samples:
        assert set(examine(case, status, body)) <= {"found", "not_found"}


@each_case
def test_damaged_answers_are_typed_or_none_and_deny_only_what_they_say(case: Case) -> None:
    outcomes = examine_all(case, MUTATIONS_A_SERVICE)
    never = {"hibp": "not_found", "cymru": "Transient"}.get(case.name)
    assert {outcome for outcome in ("found", "not_found", "Transient") if outcomes[outcome] < 300} == {never} - {None}


@pytest.mark.parametrize(
    ("name", "status", "body"),
    [
        # An object without "text" is not what XML left of null.
        ("dshield", 200, b'{"ip": {"number": "89.248.165.5", "count": null, "attacks": {"total": 5}}}'),
        # 404 is a negative whatever the body is, unless it begins with "<".
        ("spur", 404, b"no healthy upstream"),
        ("spur", 404, BOM + HTML),
        ("spur", 404, b'{"mess'),
        ("spur", 404, json.dumps(test_spur.FOUND).encode()),
        # 404 with a noise that is neither true nor false, or with all that was found but the noise.
        ("greynoise", 404, b'{"ip": "71.6.135.131", "noise": 1, "riot": false}'),
        ("greynoise", 404, json.dumps(test_greynoise.FOUND | {"noise": None}).encode()),
        # A prefix that is announced has an origin: one of the two was damaged.
        ("cymru", 200, test_cymru.answer(test_cymru.GITHUB.replace("36459", "NA   "))),
    ],
)
def test_negatives_that_are_not_said(name: str, status: int, body: bytes) -> None:
    [case] = [case for case in CASES if case.name == name]
    examine(case, status, body)


def _hasty(case: Case) -> Ask:
    """A reader that takes what it cannot read for a negative."""
    nothing: dict[str, Any] = {name: None if NOTHING in kinds else kinds[0]() for name, kinds in case.shape.items()}
    negatives = dict.fromkeys(case.keys, Reading("not_found", nothing, None))

    def ask(response: Response) -> dict[str, Reading]:
        try:
            return negatives | case.ask(response)
        except Transient:
            return negatives

    return ask


@each_case
def test_the_test_bites(case: Case) -> None:
    with pytest.raises(AssertionError, match="not_found that is not said"):
        examine_all(replace(case, ask=_hasty(case)), 300)
