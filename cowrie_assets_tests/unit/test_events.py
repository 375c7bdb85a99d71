"""One line of a log, read as an event: its identity is its JSON value, its instant sorts as text, and no byte is lost.

Lines are spelt here by a writer of our own, which chooses order, spacing and escapes at random, so that an agreement
between two spellings is not an agreement of one JSON library with itself.
"""

from __future__ import annotations

import gc
import itertools
import json
import random
import re
import time
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cowrie_assets.cowrie.events import (
    DIGEST_BYTES,
    NO_EVENT_ID,
    NO_TIMESTAMP,
    NOT_AN_OBJECT,
    NOT_JSON,
    PADDING,
    Event,
    NotAnEvent,
    Segment,
    digest,
    event_instant,
    load_event,
    parse_lines,
    salvage,
    uncollected,
)
from cowrie_assets_tests import loglines

T = TypeVar("T")
STAMP = "2025-03-01T12:00:00.000000Z"
REASONS = {NOT_JSON, NOT_AN_OBJECT, NO_EVENT_ID, NO_TIMESTAMP}
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def event(**fields: Any) -> dict[str, Any]:
    return {"eventid": "cowrie.login.failed", "timestamp": STAMP, **fields}


def line(**fields: Any) -> bytes:
    return loglines.line(event(**fields)).rstrip(b"\n")


def strict(text: bytes) -> Event | None:
    """The event of a line that is nothing else."""
    [(same, found)] = parse_lines([text])
    assert same is text
    return None if found is None else Event(*found)


def read(text: bytes) -> list[Segment]:
    """A line as ingestion reads it: by the strict rules, else by the forgiving ones."""
    event = strict(text)
    return list(salvage(text)) if event is None else [Segment(text, event, None)]


def only_event(text: bytes) -> Event:
    [segment] = read(text)
    assert segment.event is not None, segment.reason
    return segment.event


# --- values and spellings ---------------------------------------------------------------------------------------------

# Surrogates that stand for a byte of invalid UTF-8. 0xfe and 0xff are never part of a character, so that several of
# them in a row stay what they are.
BYTES_OF_NO_CHARACTER = "\udcfe\udcff"
TEXTS = st.text(st.characters(codec="utf-8") | st.sampled_from('"\\/\0\b\t\x1f\x7f' + BYTES_OF_NO_CHARACTER))
# Integers of 64 bits: those beyond have a test of their own.
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=12
)
EVENTS = st.dictionaries(TEXTS, VALUES, max_size=5).map(lambda fields: fields | event())
SEEDS = st.integers(0, 2**32)

# Few values, much alike, so that both equal and nearly equal pairs come up.
LOOKALIKES = st.recursive(
    st.sampled_from([None, True, False, 0, 1, -1, 0.0, 1.0, 1.5, "", "0", "1", "null", "a", "\udcff", "\\udcff", "é"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)


class Speller:
    """Writes JSON values as bytes, every choice that JSON and the forgiving rules leave open taken at random."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def line(self, value: dict[str, Any]) -> bytes:
        around = [self._pick([b"", b" ", b"\r", b"\t", b"\0\0\0"]) for _ in range(2)]
        start = self._pick([b"", b"", BYTE_ORDER_MARK])
        return around[0] + start + self._value(value).encode("utf-8", "surrogateescape") + around[1]

    def _value(self, value: object) -> str:
        if isinstance(value, dict):
            items = list(value.items())
            self._random.shuffle(items)
            members = [f"{self._text(k)}{self._space()}:{self._space()}{self._value(v)}" for k, v in items]
            return "{" + self._space() + f"{self._space()},{self._space()}".join(members) + self._space() + "}"
        if isinstance(value, list):
            return "[" + self._space() + f"{self._space()},".join(map(self._value, value)) + self._space() + "]"
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, float):
            return self._pick([repr(value), format(value, ".17e"), format(value, ".17E")])
        return json.dumps(value)

    def _text(self, text: str) -> str:
        return '"' + "".join(map(self._character, text)) + '"'

    def _character(self, char: str) -> str:
        short = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", "/": "\\/"}
        units = char.encode("utf-16-be", "surrogatepass").hex()
        escape = "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
        spellings = [escape, escape.upper().replace("\\U", "\\u"), short.get(char, escape)]
        if char in '"\\':
            spellings.append("\\" + char)
        elif char != "\n":  # a line holds none
            spellings += [char] * 3
        return self._pick(spellings)

    def _space(self) -> str:
        return self._pick(["", "", " ", "  ", "\t", "\r"])

    def _pick(self, choices: list[T]) -> T:
        return self._random.choice(choices)


# --- identity ---------------------------------------------------------------------------------------------------------


@given(EVENTS, SEEDS, SEEDS)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_one_value_is_one_event_however_it_is_spelt(value: dict[str, Any], one: int, other: int) -> None:
    first, second = only_event(Speller(one).line(value)), only_event(Speller(other).line(value))
    assert first.value == second.value == value
    assert first.digest == second.digest == digest(value)
    assert first.instant == second.instant == STAMP


@given(LOOKALIKES, LOOKALIKES)
@settings(max_examples=200, deadline=None)
def test_two_values_are_two_events(one: object, other: object) -> None:
    # Python holds 1, 1.0 and True for equal, JSON does not.
    equal = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (digest(event(x=one)) == digest(event(x=other))) is equal


def test_the_order_of_keys_makes_no_difference_to_what_orjson_cannot_write() -> None:
    fields = {"b": "\udcff", "a": {"d": 1, "c": "\ud800"}}
    turned = {"a": {"c": "\ud800", "d": 1}, "b": "\udcff"}
    assert digest(event(**fields)) == digest(turned | event())


def test_a_field_more_is_another_event() -> None:
    assert digest(event()) != digest(event(x=None))
    assert len(digest(event())) == DIGEST_BYTES


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(b'"\x01\x1f"', rb'"\u0001\u001f"', id="raw control characters and their escapes"),
        pytest.param(b'"\0"', rb'"\u0000"', id="a raw NUL and its escape"),
        pytest.param(b'"\xff"', rb'"\udcff"', id="a byte of no character and the escape that stands for it"),
        pytest.param('"\U0001f30a"'.encode(), rb'"\ud83c\udf0a"', id="a character beyond the basic plane"),
        pytest.param(b'"/"', rb'"\/"', id="an escaped slash"),
        pytest.param(b"1E2", b"100.0", id="an exponent"),
        pytest.param(b"[1,2]", b" [ 1 ,\t2\r] ", id="spacing"),
        pytest.param(b'{"a":1,"b":2}', b'{"b":2,"a":1}', id="order of keys"),
        pytest.param(b'{"a":1,"a":2}', b'{"a":2}', id="a key twice, of which the last counts"),
    ],
)
def test_two_spellings_of_a_field_have_one_digest(one: bytes, other: bytes) -> None:
    start, end = line()[:-1] + b',"x":', b"}"
    assert only_event(start + one + end).digest == only_event(start + other + end).digest


@pytest.mark.parametrize("number", ["18446744073709551616", "-9223372036854775809", "1" + "0" * 30])
def test_a_huge_integer_makes_no_difference_between_the_readers(number: str) -> None:
    # A last line without its newline is read by `salvage`, the same line in a rotated copy by `parse_lines`: with two
    # digests it would be two events.
    text = line()[:-1] + f',"x":{number}}}'.encode()
    assert [strict(text)] == [segment.event for segment in salvage(text)]


@pytest.mark.parametrize("number", ["1e400", "-1e400"])
def test_a_number_beyond_all_floats_is_not_null(number: str) -> None:
    # Python's reader makes infinity of it, and orjson writes infinity as null.
    events = [segment.event for segment in read(line()[:-1] + f',"x":{number}}}'.encode())]
    assert digest(event(x=None)) not in {found.digest for found in events if found is not None}


def test_two_lone_surrogates_are_not_the_character_they_would_make() -> None:
    # Half a character as an escape, then a byte of no character. A third surrogate elsewhere sends both values through
    # the same branch of `digest`.
    halves, whole = line(y="\ud800")[:-1] + b',"x":"\\ud83d\xff"}', line(y="\ud800")[:-1] + b',"x":"\\ud83d\\udcff"}'
    assert only_event(halves).value != only_event(whole).value
    assert only_event(halves).digest != only_event(whole).digest


# --- instants ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stamp", "instant"),
    [
        pytest.param("2025-03-01T12:00:00.123456Z", "2025-03-01T12:00:00.123456Z", id="as Cowrie writes it"),
        pytest.param("2025-03-01T12:00:00.123456", "2025-03-01T12:00:00.123456Z", id="without a zone"),
        pytest.param("2025-03-01T12:00:00Z", "2025-03-01T12:00:00.000000Z", id="without a fraction"),
        pytest.param("2025-03-01T12:00:00.5Z", "2025-03-01T12:00:00.500000Z", id="one digit of a fraction"),
        pytest.param("2025-03-01T12:00:00.123Z", "2025-03-01T12:00:00.123000Z", id="milliseconds"),
        pytest.param("2025-03-01T12:00:00.123456789Z", "2025-03-01T12:00:00.123456Z", id="nanoseconds"),
        pytest.param("2025-03-01T12:00:00,123456Z", "2025-03-01T12:00:00.123456Z", id="a comma"),
        pytest.param("2025-03-01 12:00:00.123456Z", "2025-03-01T12:00:00.123456Z", id="a space"),
        pytest.param("2025-03-01T12:00:00.123456+00:00", "2025-03-01T12:00:00.123456Z", id="offset zero"),
        pytest.param("2025-03-01T12:00:00.123456-00:00", "2025-03-01T12:00:00.123456Z", id="offset minus zero"),
        pytest.param("2025-03-01T00:30:00+05:45", "2025-02-28T18:45:00.000000Z", id="an offset into the day before"),
        pytest.param("2025-12-31T23:30:00-0800", "2026-01-01T07:30:00.000000Z", id="an offset into the next year"),
        pytest.param("20250301T120000Z", "2025-03-01T12:00:00.000000Z", id="the basic form"),
        pytest.param("2025-03-01", "2025-03-01T00:00:00.000000Z", id="a day"),
        pytest.param("0999-03-01T12:00:00Z", "0999-03-01T12:00:00.000000Z", id="a year of three digits"),
    ],
)
def test_a_timestamp_is_read_as_utc(stamp: str, instant: str) -> None:
    assert event_instant(event(timestamp=stamp)) == instant


@pytest.mark.parametrize(
    "stamp",
    [
        "",
        "yesterday at noon",
        "2025-02-29T12:00:00.000000Z",
        "2025-03-01T12:00:60.000000Z",
        "2025-03-01T25:00:00.000000Z",
        "2025-03-01T12:00:00.000000ZZ",
        "２０２５-03-01T12:00:00.000000Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "2025-03-01T12:00:00.00000\ud800Z",
        1740830400,
        1740830400.5,
        None,
        ["2025-03-01T12:00:00Z"],
        True,
    ],
)
def test_what_is_no_timestamp_is_refused(stamp: object) -> None:
    with pytest.raises(NotAnEvent, match=f"^{NO_TIMESTAMP}$"):
        event_instant(event(timestamp=stamp))
    assert strict(line(timestamp=stamp)) is None


def test_midnight_as_24_hours_is_the_next_day_or_refused() -> None:
    # Python reads it from 3.13 or so on; what must not happen is that it stays as it is and sorts behind 23:59.
    try:
        instant = event_instant(event(timestamp="2025-03-01T24:00:00.000000Z"))
    except NotAnEvent:
        return
    assert instant == "2025-03-02T00:00:00.000000Z"


def full(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")


def with_z(moment: datetime) -> str:
    return full(moment.astimezone(UTC)).replace("+00:00", "Z")


STYLES: list[Callable[[datetime], str]] = [
    with_z,
    full,
    datetime.isoformat,
    lambda moment: full(moment).replace(".", ","),
    lambda moment: full(moment).replace("T", " "),
    lambda moment: with_z(moment).removesuffix("Z"),
]
MOMENTS = st.datetimes(
    # Bounds have no zone here; a day away from the ends of time, every offset is possible.
    datetime(2, 1, 1),  # noqa: DTZ001
    datetime(9998, 12, 31),  # noqa: DTZ001
    timezones=st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)


@given(
    MOMENTS,
    MOMENTS | st.timedeltas(timedelta(seconds=-2), timedelta(seconds=2)),
    st.tuples(*[st.sampled_from(STYLES)] * 2),
)
@settings(max_examples=200, deadline=None)
def test_instants_sort_as_text_like_the_moments_they_mean(
    first: datetime, then: datetime | timedelta, styles: tuple[Callable[[datetime], str], ...]
) -> None:
    second = then if isinstance(then, datetime) else first + then
    one, other = (
        event_instant(event(timestamp=style(moment))) for style, moment in zip(styles, (first, second), strict=True)
    )
    assert (one < other, one == other) == (first < second, first == second)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", one, re.ASCII)


def test_a_week_date_becomes_a_date() -> None:
    # It has 27 characters like Cowrie's own form. As it is it sorts behind every day of its year, and PostgreSQL
    # refuses it: the day could never be rebuilt.
    assert event_instant(event(timestamp="2025-W09-6T12:00:00.123456Z")) == "2025-03-01T12:00:00.123456Z"


@pytest.mark.parametrize(
    "stamp", ["2025-03-01T12:00:00.1234Z\0Z", "2025-03-01T12:00Z\0:.123456Z", "2025-03-01T12:00:00.Z\x009999Z"]
)
def test_a_timestamp_with_a_nul_is_refused_or_cleaned(stamp: str) -> None:
    # datetime.fromisoformat stops at the NUL, and PostgreSQL takes none: after one such line the day could never be
    # rebuilt.
    try:
        instant = event_instant(event(timestamp=stamp))
    except NotAnEvent:
        return
    assert re.fullmatch(r"2025-03-01T12:00:00\.\d{6}Z", instant, re.ASCII)


# --- what is an event -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", NOT_JSON),
        (b"   ", NOT_JSON),
        (b"Traceback (most recent call last):", NOT_JSON),
        (line()[:-1], NOT_JSON),
        (b"[" + line() + b"]", NOT_AN_OBJECT),
        (b'"cowrie.login.failed"', NOT_AN_OBJECT),
        (b"null", NOT_AN_OBJECT),
        (b"42", NOT_AN_OBJECT),
        (b"{}", NO_EVENT_ID),
        (line(eventid="webtrap.request"), NO_EVENT_ID),
        (line(eventid="cowries.login.failed"), NO_EVENT_ID),
        (line(eventid="Cowrie.login.failed"), NO_EVENT_ID),
        (line(eventid=["cowrie.login.failed"]), NO_EVENT_ID),
        (line(eventid=None), NO_EVENT_ID),
        (b'{"eventid":"cowrie.login.failed"}', NO_TIMESTAMP),
        (line(timestamp=None), NO_TIMESTAMP),
    ],
)
def test_what_is_no_event_has_a_reason(text: bytes, reason: str) -> None:
    assert strict(text) is None
    assert list(salvage(text)) == [Segment(text, None, reason)]


@pytest.mark.parametrize("constant", [b"NaN", b"Infinity", b"-Infinity"])
def test_what_python_takes_for_json_and_json_does_not_is_refused(constant: bytes) -> None:
    text = line()[:-1] + b',"x":' + constant + b"}"
    assert read(text) == [Segment(text, None, NOT_JSON)]


def test_an_event_id_that_nobody_knows_yet_is_an_event() -> None:
    assert only_event(line(eventid="cowrie.of.the.future")).value["eventid"] == "cowrie.of.the.future"


@pytest.mark.parametrize("digits", [20, 300, 400, 4000, 5000])
def test_an_integer_of_any_length_is_an_event_or_not_json(digits: int) -> None:
    text = line()[:-1] + b',"x":' + b"7" * digits + b"}"
    [segment] = read(text)
    assert segment.raw == text
    assert segment.event is not None or segment.reason == NOT_JSON


@pytest.mark.parametrize("depth", [10, 254, 255, 600, 995, 1020, 1024, 1025, 100_000])
@pytest.mark.parametrize("brackets", [b"[]", b"{}"])
def test_deep_nesting_is_an_event_or_not_json(depth: int, brackets: bytes) -> None:
    opening = b"[" if brackets == b"[]" else b'{"":'
    text = line()[:-1] + b',"x":' + opening * depth + b"0" + brackets[1:] * depth + b"}"
    for padding in (b"", b"\0"):
        [segment] = read(padding + text)
        assert segment.event is not None or segment.reason == NOT_JSON


def from_a_deeper_stack(levels: int, call: Callable[[], Any]) -> Any:
    return call() if levels == 0 else from_a_deeper_stack(levels - 1, call)


def test_what_was_an_event_when_it_was_stored_is_one_for_every_caller() -> None:
    # The standard library's reader recurses, so how deep it reads depends on who calls it. The raw control character
    # keeps orjson, which has limits of its own, from reading the line.
    text = line()[:-1] + b',"y":"\x01","x":' + b"[" * 700 + b"]" * 700 + b"}"
    [segment] = read(text)
    if segment.event is not None:
        assert from_a_deeper_stack(400, lambda: load_event(text)[0]) == segment.event.value


def test_the_readers_agree_on_how_deep_an_event_may_be() -> None:
    # Else a last line without its newline, which is read by `salvage`, is none, and an event in a rotated copy.
    for depth in range(240, 270):
        text = line()[:-1] + b',"x":' + b"[" * depth + b"]" * depth + b"}"
        assert [strict(text)] == [segment.event for segment in salvage(text)], depth


@pytest.mark.parametrize("depth", [300, 5_000])
def test_deep_nesting_behind_a_record_does_not_cost_the_record(depth: int) -> None:
    # Where the record was read before the rest was written, it is an event already.
    for rest in (b"[" * depth, line()[:-1] + b',"x":' + b"[" * depth + b"]" * depth + b"}"):
        record, deep = salvage(line() + rest)
        assert (record.raw, record.event) == (line(), strict(line()))
        assert deep == Segment(rest, None, NOT_JSON)


def test_brackets_in_a_string_are_no_nesting() -> None:
    for text in (line(input="[" * 9_000), line(input='\\"[{' * 9_000), b"\0" + line(input="{[" * 9_000)):
        assert only_event(text).value["input"].count("[") == 9_000


# --- what surrounds events --------------------------------------------------------------------------------------------


def test_half_a_megabyte_of_nul_before_a_record_is_padding() -> None:
    text = b"\0" * 540_597 + line(username="root")
    assert list(salvage(text)) == [Segment(text, strict(line(username="root")), None)]


@pytest.mark.parametrize("before", [b"\0", b" ", b"\t", b"\r", BYTE_ORDER_MARK, b"\0\0" + BYTE_ORDER_MARK + b" \0"])
@pytest.mark.parametrize("after", [b"", b"\0\0", b" \t", b"\r"])
def test_padding_belongs_to_the_record_and_changes_nothing(before: bytes, after: bytes) -> None:
    text = before + line() + after
    assert read(text) == [Segment(text, strict(line()), None)]


@pytest.mark.parametrize("between", [b"", b" ", b"\r", b"\0\0\0", BYTE_ORDER_MARK])
def test_glued_records_are_as_many_events(between: bytes) -> None:
    lines = [line(number=number, password="\udcff") for number in range(4)]
    segments = list(salvage(between.join(lines)))
    assert [segment.event for segment in segments] == [only_event(text) for text in lines]
    assert [segment.raw for segment in segments] == [lines[0], *(between + text for text in lines[1:])]


@pytest.mark.parametrize("rest", [line()[:-1], b"garbage", b"{}", b"17", BYTE_ORDER_MARK])
def test_text_behind_a_record_is_a_segment_of_its_own(rest: bytes) -> None:
    event_segment, torn = salvage(line() + rest)
    assert (event_segment.raw, event_segment.event) == (line(), strict(line()))
    assert (torn.raw, torn.event) == (rest, None)
    # That is what makes a file read in two pieces, cut behind the record, give the same rows.
    assert [torn] == list(salvage(rest))


def test_invalid_utf8_is_kept_byte_by_byte() -> None:
    text = line()[:-1] + b',"password":"sea\xff\xfe\xc3weed \xed\xa0\x80"}'
    password = only_event(text).value["password"]
    assert password.encode("utf-8", "surrogateescape") == b"sea\xff\xfe\xc3weed \xed\xa0\x80"


def test_a_lone_surrogate_is_kept() -> None:
    assert only_event(line(password="half \ud83d of a character")).value["password"] == "half \ud83d of a character"


def test_the_time_for_glued_records_grows_with_their_number() -> None:
    # A line may have 16 MiB: a shipper that loses newlines, or a file with old Macintosh line ends, costs minutes.
    def seconds(records: int) -> float:
        text = line() * records
        begun = time.process_time()
        assert sum(1 for _ in salvage(text)) == records
        return time.process_time() - begun

    assert min(seconds(8_000) for _ in range(2)) < 8 * min(seconds(2_000) for _ in range(3))


def test_lines_are_read_one_by_one_and_in_order() -> None:
    lines = [line(number=1), b"", b"\0" + line(), line(timestamp="2025-03-01T12:00:00Z"), b"[]", line(number=2)]
    found = list(parse_lines(lines))
    assert [text for text, _ in found] == lines
    assert [event is not None for _, event in found] == [True, False, False, False, False, True]


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_left_as_it_was(enabled: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(KeyError), uncollected():
            assert not gc.isenabled()
            raise KeyError
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_the_time_for_a_torn_line_grows_with_its_length() -> None:
    # An attacker types brackets and quotes; whoever reads the log while its last line is half written waits for hours.
    def seconds(quotes: int) -> float:
        text = line()[:-1] + b',"input":"' + b"[" * 300 + b'\\"' * quotes
        begun = time.process_time()
        assert list(salvage(text)) == [Segment(text, None, NOT_JSON)]
        return time.process_time() - begun

    assert min(seconds(4_000) for _ in range(2)) < 8 * min(seconds(1_000) for _ in range(3))


def test_a_long_string_takes_memory_in_proportion() -> None:
    text = b"\0" + line(input="[" * 300 + "a" * (1 << 20))
    tracemalloc.start()
    try:
        assert [segment.event is not None for segment in salvage(text)] == [True]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 40 * len(text)


# --- any bytes at all -------------------------------------------------------------------------------------------------

FRAGMENTS = st.sampled_from(
    [
        line(),
        line(password="\udcff", number=1),
        line(eventid="webtrap.request"),
        line(timestamp="noon"),
        line()[:-1],
        line()[1:],
        b'{"eventid":"cowrie.x","timestamp":"2025-03-01T12:00:00Z","x":"\x01\0"}',
        BYTE_ORDER_MARK,
        *(bytes([byte]) for byte in b'{}[]":,\\\0 \t\r\n1-eN\xff\xc3\xa9\xed\xa0'),
    ]
)
LINES = st.binary(max_size=60) | st.lists(FRAGMENTS | st.binary(max_size=3), max_size=8).map(b"".join)


@given(LINES)
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_cut_into_segments_that_add_up(text: bytes) -> None:
    segments = list(salvage(text))
    assert b"".join(segment.raw for segment in segments) == text
    assert all((segment.event is None) == (segment.reason in REASONS) for segment in segments)
    # Behind text that is none only the unmistakable start of an event begins a segment of its own.
    following = itertools.pairwise(segments)
    assert all(second.raw.startswith(b'{"eventid"') for first, second in following if first.event is None)


@given(LINES)
@settings(max_examples=200, deadline=None)
def test_what_the_strict_reader_takes_the_forgiving_one_reads_alike(text: bytes) -> None:
    event = strict(text)
    if event is not None:
        assert list(salvage(text)) == [Segment(text, event, None)]


@given(LINES | st.builds(lambda value, seed: Speller(seed).line(value), EVENTS, SEEDS))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_stored_line_is_read_again_as_the_event_it_was(text: bytes) -> None:
    for segment in read(text):
        if segment.event is not None:
            again, instant = load_event(segment.raw.strip(PADDING))  # as ingestion stores it
            assert Event(again, instant, digest(again)) == segment.event


@pytest.mark.parametrize("stamp", ["2025-03-01T13:00:00+01:00", "2025-03-01 12:00:00", STAMP])
def test_a_stored_line_has_the_instant_that_it_had(stamp: str) -> None:
    assert load_event(line(timestamp=stamp)) == (event(timestamp=stamp), STAMP)


def test_a_stored_line_that_is_no_event_is_refused() -> None:
    with pytest.raises(NotAnEvent, match=NOT_JSON):
        load_event(b"rust")
