"""Loose JSON becomes typed values or none, and what is not an answer is never read as one.

Here as well: damaging answers at random, and the check of their shape, for the tests of each service.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cowrie_assets.upstreams import values
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

NOTHING = type(None)
Shape = Mapping[str, tuple[type, ...]]

# --- answers that are damaged at random -------------------------------------------------------------------------------

AWKWARD = ["", "None", "null", "5", "-5", "1e5", "NaN", "٣", "true", "US", "XX", "1.2.3.4", "::1", "AS1", "0000-00-00"]
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(AWKWARD),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.just("text"), inner, max_size=3)
    ),
    max_leaves=6,
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from _paths(item, (*path, key))


@st.composite
def replaced(draw: st.DrawFn, bodies: list[dict[str, Any]]) -> bytes:
    """One of the answers with some of its values replaced by any other."""
    body = copy.deepcopy(draw(st.sampled_from(bodies)))
    for _ in range(draw(st.integers(1, 4))):
        *way, last = draw(st.sampled_from(list(_paths(body)) or [("new",)]))
        place = body
        for key in way:
            place = place[key]
        place[last] = draw(JSON_VALUES)
    return json.dumps(body).encode()


@st.composite
def flipped(draw: st.DrawFn, bodies: list[dict[str, Any]]) -> bytes:
    """One of the answers with some of its bytes changed, and perhaps its end cut off."""
    body = bytearray(json.dumps(draw(st.sampled_from(bodies))).encode())
    for at in draw(st.lists(st.integers(0, len(body) - 1), max_size=4)):
        body[at] = draw(st.integers(0, 255))
    return bytes(body[: draw(st.integers(0, len(body)))]) if draw(st.booleans()) else bytes(body)


def damaged(bodies: list[dict[str, Any]]) -> st.SearchStrategy[bytes]:
    return (
        replaced(bodies) | flipped(bodies) | st.binary(max_size=30) | JSON_VALUES.map(lambda v: json.dumps(v).encode())
    )


STATUSES = st.sampled_from([200] * 6 + [400, 401, 402, 403, 404, 404, 429, 301, 500, 503])


def assert_read_or_no_answer(service: KeyService, address: str, response: Response, shape: Shape) -> None:
    """Whatever arrives is a reading of the documented shape, or one of the documented failures, none of which tells of
    the address."""
    try:
        reading = service.read(address, response)
    except NoAnswer as failure:
        assert failure.reason
        assert address not in failure.reason
        return
    assert reading.outcome in ("found", "not_found")
    assert_shape(reading, shape)


def assert_shape(reading: Reading, shape: Shape) -> None:
    assert set(reading.fields) == set(shape)
    for name, kinds in shape.items():
        value = reading.fields[name]
        assert type(value) in kinds, (name, value)
        if isinstance(value, list):
            assert {type(item) for item in value} <= {kinds[-1]}, (name, value)
            assert len(set(value)) == len(value)
        if isinstance(value, str):
            assert value == value.strip() != ""
    json.dumps(reading.fields, allow_nan=False)


def cuts(body: dict[str, Any]) -> Iterator[bytes]:
    """An answer that ends early, at every byte."""
    whole = json.dumps(body).encode()
    yield from (whole[:length] for length in range(len(whole)))


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("read", "value", "expected"),
    [
        (values.text, " GITHUB ", "GITHUB"),
        (values.text, " \t", None),
        (values.text, 5, None),
        (values.text, ["a"], None),
        (values.count, 0, 0),
        (values.count, "1234", 1234),
        (values.count, " 7 ", 7),
        (values.count, 3.0, 3),
        (values.count, 3.5, None),
        (values.count, True, None),
        (values.count, -1, None),
        (values.count, "-1", None),
        (values.count, "1e3", None),
        (values.count, "٣", None),
        (values.count, "", None),
        (values.count, 2**63, None),
        (values.count, "9" * 5000, None),
        (values.count, 1e300, None),
        (values.boolean, True, True),
        (values.boolean, "true", True),
        (values.boolean, "False", False),
        (values.boolean, 1, None),
        (values.boolean, "yes", None),
        (values.items, None, []),
        (values.items, "", []),
        (values.items, {}, []),
        (values.items, ["a", None], ["a", None]),
        (values.items, "elf", ["elf"]),
        (values.items, {"a": 1}, [{"a": 1}]),
        (values.table, None, {}),
        (values.table, [1], {}),
        (values.table, {"a": 1}, {"a": 1}),
        (values.names, ["b", None, " a ", "b", 3, ""], ["b", "a"]),
        (values.country, "US", "US"),
        (values.country, "de ", "DE"),
        (values.country, "", None),
        (values.country, "XX", None),
        (values.country, "zz", None),
        (values.country, "EU", None),
        (values.country, "AP", None),
        (values.country, "A1", None),
        (values.country, "ß", None),
        (values.country, "USA", None),
        (values.asn, 13335, 13335),
        (values.asn, "13335", 13335),
        (values.asn, "AS13335", 13335),
        (values.asn, "as13335", 13335),
        (values.asn, 0, None),
        (values.asn, 2**32 - 1, 4294967295),
        (values.asn, 2**32, None),
        (values.asn, "NA", None),
        (values.asn, True, None),
        (values.asn, "1.10", None),
        (values.address, "1.2.3.4", "1.2.3.4"),
        (values.address, "001.002.003.004", "1.2.3.4"),
        (values.address, "010.020.030.040", "10.20.30.40"),
        (values.address, "1.2.3.256", None),
        (values.address, "1.2.3", None),
        (values.address, "2001:0DB8:0:0::68", "2001:db8::68"),
        (values.address, "::ffff:1.2.3.4", "1.2.3.4"),
        (values.address, "fe80::1%eth0", None),
        (values.address, 16909060, None),
        (values.address, None, None),
        (values.cidr, "1.1.1.0/24", "1.1.1.0/24"),
        (values.cidr, "001.001.001.007/24", "1.1.1.0/24"),
        (values.cidr, "2001:DB8::1/32", "2001:db8::/32"),
        (values.cidr, "1.1.1.0", None),
        (values.cidr, "1.1.1.0/33", None),
        (values.cidr, "1.1.1.0/255.255.255.0", None),
        (values.cidr, "NA", None),
        (values.day, "2026-11-20", "2026-11-20"),
        (values.day, "2026-11-21 05:00:00", "2026-11-21"),
        (values.day, "0000-00-00", None),
        (values.day, "2026-02-30", None),
        (values.day, "20261120", None),
        (values.day, 20261120, None),
        (values.timestamp, "2026-11-20", "2026-11-20T00:00:00Z"),
        (values.timestamp, "2026-11-21 05:00:00", "2026-11-21T05:00:00Z"),
        (values.timestamp, "2026-09-01 10:00:00 UTC", "2026-09-01T10:00:00Z"),
        (values.timestamp, "2026-09-01T10:00:00.123456Z", "2026-09-01T10:00:00Z"),
        (values.timestamp, "2026-09-01T00:30:00+02:00", "2026-08-31T22:30:00Z"),
        (values.timestamp, "0001-01-01T00:00:00+02:00", None),
        (values.timestamp, "2026-09-01 25:00:00", None),
        (values.timestamp, "2026-09-01 10:00:00 PST", None),
        (values.timestamp, None, None),
    ],
)
def test_loose_values_become_typed_ones(read: Callable[[Any], Any], value: Any, expected: Any) -> None:
    got = read(value)
    assert (type(got), got) == (type(expected), expected)


@given(JSON_VALUES)
def test_any_value_becomes_one_of_the_type_or_none(value: Any) -> None:
    assert type(values.text(value)) in (str, NOTHING)
    assert type(values.boolean(value)) in (bool, NOTHING)
    number, system = values.count(value), values.asn(value)
    assert number is None or (type(number) is int and 0 <= number < 2**63)
    assert system is None or (type(system) is int and 0 < system < 2**32)
    assert type(values.items(value)) is list
    assert type(values.table(value)) is dict
    assert all(type(name) is str and name for name in values.names(value))
    assert (address := values.address(value)) is None or str(ip_address(address)) == address
    assert (cidr := values.cidr(value)) is None or str(ip_network(cidr)) == cidr
    assert (instant := values.timestamp(value)) is None or datetime.fromisoformat(instant).tzinfo == UTC


@given(st.datetimes(), st.sampled_from(["", " UTC", "Z", "+00:00"]), st.sampled_from("T "))
def test_instants_sort_as_texts(instant: datetime, zone: str, between: str) -> None:
    written = values.timestamp(instant.isoformat(between, "seconds") + zone)
    assert written == instant.isoformat("T", "seconds") + "Z"


@given(st.ip_addresses())
def test_an_address_is_itself_in_any_spelling(address: Any) -> None:
    usual = values.address(str(address))
    assert usual == values.address(address.exploded) == values.address(str(address).upper())
    assert values.is_about(address.exploded, str(address))
    assert not values.is_about(str(address + 1 if int(address) == 0 else address - 1), str(address))


def test_only_addresses_are_asked() -> None:
    """What is asked goes into a URL and into lines of a protocol."""
    assert values.asked_address("2001:0DB8::68") == "2001:db8::68"
    for no_address in ("1.2.3.4/../../x", "1.2.3.4\nquit", "1.2.3.4?x", "example.com", ""):
        with pytest.raises(Unsuitable):
            values.asked_address(no_address)
    with pytest.raises(Unsuitable):
        values.asked_address("2001:db8::68", ipv4_only=True)


# --- bodies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b'\xef\xbb\xbf{"a": 1}\r\n', {"a": 1}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'{"a": "\\u0000"}', {"a": "\0"}),
    ],
)
def test_an_object_is_read(body: bytes, expected: dict[str, Any]) -> None:
    assert values.json_object(Response(200, body)) == expected


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty answer"),
        (b"\xef\xbb\xbf \n", "empty answer"),
        (b"null", "another shape"),
        (b"[]", "another shape"),
        (b'"ok"', "another shape"),
        (b"<!DOCTYPE html><html></html>", "HTML or XML"),
        (b"\n <?xml version='1.0'?><ip/>", "HTML or XML"),
        (b'{"a": 1', "cut or broken"),
        (b'{"a": 1} {"b": 2}', "cut or broken"),
        (b'{"a": "\xff"}', "cut or broken"),
        (b'{"a": NaN}', "cut or broken"),
        (b'{"a": 1e999}', "cut or broken"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "cut or broken"),
        (b'{"a":' * 500 + b"1" + b"}" * 500, "cut or broken"),
    ],
)
def test_anything_else_is_no_answer(body: bytes, reason: str) -> None:
    with pytest.raises(Transient, match=reason) as failure:
        values.json_object(Response(200, body))
    assert failure.value.status == 200
    assert values.json_object_if_any(Response(200, body)) == {}


# --- statuses and headers ---------------------------------------------------------------------------------------------


def test_we_name_someone_to_write_to() -> None:
    assert values.user_agent("ops@example.org") == "cowrie-assets (+ops@example.org)"
    assert values.user_agent(None) == values.user_agent("") == "cowrie-assets"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        (" 86400 ", 86400.0),
        ("-5", -5.0),
        ("1.5", 1.5),
        ("999999999999", 999999999999.0),
        ("9" * 400, None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("", None),
        ("Sat, 31 Feb 2026 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_passed_on_as_it_was_said(header: str, seconds: float | None) -> None:
    assert values.retry_after({"retry-after": header}) == seconds


@pytest.mark.parametrize("ahead", [timedelta(minutes=5), timedelta(days=-1)])
def test_retry_after_may_be_a_date(ahead: timedelta) -> None:
    header = format_datetime(datetime.now(UTC) + ahead, usegmt=True)
    assert values.retry_after({"retry-after": header}) == pytest.approx(ahead.total_seconds(), abs=3)
    assert values.retry_after({}) is None


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, Refused), (403, Refused), (429, Limited), (404, Transient), (301, Transient), (500, Transient)],
)
def test_a_status_that_carries_no_answer(status: int, kind: type[NoAnswer]) -> None:
    values.check_status(Response(status, b""), answers=(status,), cure="")
    with pytest.raises(kind) as failure:
        values.check_status(Response(status, b"", {"retry-after": "7"}), answers=(200,), cure="set THE_KEY")
    assert failure.value.status == status
    if isinstance(failure.value, Limited):
        assert failure.value.retry_after == 7
    if isinstance(failure.value, Refused):
        assert "set THE_KEY" in failure.value.reason
