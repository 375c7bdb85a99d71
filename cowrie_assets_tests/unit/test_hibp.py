"""Ranges of breached passwords: all rows are rows, or there is no answer, and padding is nobody's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cowrie_assets.upstreams.contract import (
    KeyService,
    Limited,
    NoAnswer,
    Reading,
    Refused,
    Request,
    Response,
    Transient,
    Unsuitable,
)
from cowrie_assets.upstreams.hibp import PwnedPasswords, sha1_of, split
from cowrie_assets.upstreams.http import Sender
from cowrie_assets_tests.unit.test_upstream_http import listening
from cowrie_assets_tests.unit.test_upstream_values import STATUSES, Shape, assert_shape

SERVICE = PwnedPasswords("https://api.pwnedpasswords.com/", "ops-marker@example.org")
SHAPE: Shape = {"suffixes": (int,)}
A, B, C = "0018A45C4D1DEF81644B54AB7F969B88D65", "00D4F6E8FA6EECAD2A3AA415EEC418D38EC", "F" * 35
RANGE = f"{A}:10\r\n{B}:2\r\n{C}:0\r\n{C[1:]}0:613".encode()
COUNTS = {A: 10, B: 2, f"{C[1:]}0": 613}


def read(body: bytes, status: int = 200, headers: Any = None) -> Reading:
    sent = {"content-length": str(len(body))} if headers is None else headers
    return SERVICE.read("21BD1", Response(status, body, sent))


def test_the_question() -> None:
    service: KeyService = SERVICE
    request = service.request("21BD1")
    assert (request.method, request.url) == ("GET", "https://api.pwnedpasswords.com/range/21BD1")
    assert request.headers == {"Add-Padding": "true", "User-Agent": "cowrie-assets (+ops-marker@example.org)"}
    assert "marker" not in repr(request) + repr(SERVICE)


@pytest.mark.parametrize("key", ["", "21bd1", "21BD", "21BD10", "21BDG", "21BD1\n", "٣٣٣٣٣", A, "../x?"])
def test_only_prefixes_are_asked(key: str) -> None:
    with pytest.raises(Unsuitable) as raised:
        SERVICE.request(key)
    assert not key or key not in str(raised.value)


def test_a_password_and_its_range() -> None:
    digest = sha1_of(b"alexguo029")  # the example of the service's documentation
    assert digest == "21BD100D4F6E8FA6EECAD2A3AA415EEC418D38EC"
    assert split(digest) == split(digest.lower()) == ("21BD1", "00D4F6E8FA6EECAD2A3AA415EEC418D38EC")
    for wrong in ("", digest[1:], digest + "\n", "g" * 40):
        with pytest.raises(ValueError, match="not the 40") as raised:
            split(wrong)
        assert not wrong or wrong not in str(raised.value)


@given(st.binary())
def test_any_password_is_in_a_range(password: bytes) -> None:
    prefix, suffix = split(sha1_of(password))
    assert SERVICE.request(prefix).url.endswith(prefix)
    assert read(f"{suffix}:1".encode()).payload == {suffix: 1}


def test_the_recorded_answer(shared_data: Path) -> None:
    body = (shared_data / "api_samples/hibp/range_21BD1_excerpt.txt").read_bytes()
    reading = read(body)
    assert (reading.outcome, reading.fields) == ("found", {"suffixes": 12})
    assert reading.payload["00D4F6E8FA6EECAD2A3AA415EEC418D38EC"] == 2
    assert list(reading.payload.items())[-1] == ("03052B53A891BDEA802D11691B9748C12DC", 6)


def test_a_range_without_its_padding() -> None:
    for body in (RANGE, RANGE + b"\r\n", RANGE.replace(b"\r", b""), RANGE + b"\n", RANGE.lower()):
        reading = read(body)
        assert (reading.outcome, reading.fields, reading.payload) == ("found", {"suffixes": 3}, COUNTS)
        assert_shape(reading, SHAPE)
    assert read(f"{C}:0\r\n{C}:0\r\n".encode()).payload == {}
    assert read(f"{C}:0\r\n{C}:7\r\n{C}:0\r\n{C}:7".encode()).payload == {C: 7}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\r\n",
        b"<html><body>Service unavailable</body></html>",
        b"null",
        b"{}",
        b"\xef\xbb\xbf" + RANGE,
        RANGE + b"\r\n\r\n",
        b"\r\n" + RANGE,
        RANGE + b"\r",
        f"{A[1:]}:1".encode(),
        f"{A}0:1".encode(),
        f"{A[1:]}G:1".encode(),
        f"{A}:-1".encode(),
        f"{A}:01".encode(),
        f"{A}:00".encode(),
        f"{A}: 1".encode(),
        f"{A}:1 ".encode(),
        f"{A}:1.0".encode(),
        f"{A}:1,000".encode(),
        f"{A}:٣".encode(),
        f"{A}:{'9' * 19}".encode(),
        f"{A}:".encode(),
        f"{A}:1{B}:2".encode(),
        f"{A}:1\r\n{A}:2".encode(),
        f"{A}:1\r\n{A.lower()}:2".encode(),
    ],
)
def test_what_is_no_range_is_none(body: bytes) -> None:
    with pytest.raises(Transient) as raised:
        read(body)
    assert A not in str(raised.value)


def test_a_cut_row_is_noticed_but_in_its_count() -> None:
    for end in range(len(RANGE)):
        tail = RANGE[:end].rpartition(b"\n")[2]
        if end and (not tail or tail[36:].isdigit()):
            whole = read(RANGE[:end]).payload
            assert {suffix for suffix in whole if suffix not in COUNTS} == set()
            assert all(0 < count <= COUNTS[suffix] for suffix, count in whole.items())
        else:
            with pytest.raises(Transient):
                read(RANGE[:end])


@pytest.mark.parametrize(
    ("head", "body", "whole"),
    [
        (f"Content-Length: {len(RANGE)}", RANGE, True),
        (f"Content-Length: {len(RANGE)}", RANGE[:-1], False),
        (f"Content-Length: {len(RANGE)}", RANGE[: RANGE.index(b"\n") + 1], False),
        ("Transfer-Encoding: chunked", b"%x\r\n%s\r\n0\r\n\r\n" % (len(RANGE), RANGE), True),
        ("Transfer-Encoding: chunked", b"%x\r\n%s\r\n" % (len(RANGE), RANGE), False),
        ("X-No-Length: here", RANGE, False),
    ],
)
def test_http_tells_of_the_cuts_that_rows_cannot(head: str, body: bytes, whole: bool) -> None:
    def talk(connection: Any) -> None:
        connection.recv(65536)
        connection.sendall(f"HTTP/1.1 200 OK\r\nConnection: close\r\n{head}\r\n\r\n".encode() + body)

    with listening(talk) as port, Sender(total_timeout=5) as sender:
        if whole:
            response = sender.send(Request(f"http://127.0.0.1:{port}/range/21BD1"))
            assert SERVICE.read("21BD1", response).payload == COUNTS
        else:
            with pytest.raises(Transient):
                SERVICE.read("21BD1", sender.send(Request(f"http://127.0.0.1:{port}/range/21BD1")))


def test_an_answer_whose_end_nothing_tells_is_none() -> None:
    with pytest.raises(Transient, match="end"):
        read(RANGE, headers={"content-type": "text/plain"})
    assert read(RANGE, headers={"transfer-encoding": "chunked"}).payload == COUNTS


def test_other_statuses() -> None:
    with pytest.raises(Unsuitable):
        read(b"The hash prefix was not in a valid format", 400)
    for status in (204, 301, 304, 404, 500, 503):
        with pytest.raises(Transient):
            read(RANGE, status)
    for status in (401, 403):
        with pytest.raises(Refused, match="DSHIELD_EMAIL") as refusal:
            read(b"", status)
        assert "marker" not in str(refusal.value)
    with pytest.raises(Limited) as limited:
        read(b"", 429, {"retry-after": "7"})
    assert limited.value.retry_after == 7


ROWS = st.dictionaries(st.text("0123456789ABCDEF", min_size=35, max_size=35), st.integers(0, 10**18 - 1), min_size=1)


@given(ROWS, st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_every_range_is_read(rows: dict[str, int], end: str, last: bool) -> None:
    body = end.join(f"{suffix}:{count}" for suffix, count in rows.items()) + (end if last else "")
    assert read(body.encode()).payload == {suffix: count for suffix, count in rows.items() if count}


@given(
    st.lists(st.tuples(st.integers(0, len(RANGE) - 1), st.integers(0, 255)), max_size=3) | st.binary(max_size=50),
    st.integers(0, len(RANGE)),
    STATUSES,
)
def test_damaged_answers_are_read_or_refused(flips: Any, end: int, status: int) -> None:
    body = bytearray(flips if isinstance(flips, bytes) else RANGE)
    for at, byte in [] if isinstance(flips, bytes) else flips:
        body[at] = byte
    try:
        reading = read(bytes(body[:end]), status)
    except NoAnswer as failure:
        assert "21BD1" not in failure.reason
        return
    assert reading.outcome == "found"
    assert_shape(reading, SHAPE)
    assert len(reading.payload) == reading.fields["suffixes"]
    assert all(len(suffix) == 35 and count > 0 for suffix, count in reading.payload.items())
    json.dumps(reading.payload)
