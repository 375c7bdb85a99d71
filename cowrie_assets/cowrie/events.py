"""One line of a Cowrie log, read as an event, or the reason why it is none.

Lives here: what counts as an event, when it happened, its identity. Not here: files (`logfiles`), what events mean
together (`sessions`), where they are kept.
"""

from __future__ import annotations

import gc
import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson

DIGEST_BYTES = 16
# Deeper than any event, and shallow enough for every reader and writer of JSON from anywhere on the stack.
MAX_DEPTH = 254
# What surrounds a record without being part of it. NUL: after a power loss a file system leaves a block of zeros where
# the data had not reached the disk; a real log of 2022 has 540,597 of them before a good record.
PADDING = b"\0 \t\r\n"

NOT_JSON = "not JSON"
NOT_AN_OBJECT = "JSON, but not an object"
NO_EVENT_ID = "no cowrie event id"
NO_TIMESTAMP = "no readable timestamp"


class NotAnEvent(ValueError):
    """The line is no Cowrie event; `args[0]` is the reason, one of this module's constants."""


class Event(NamedTuple):
    """One event. `instant` is UTC as `YYYY-MM-DDTHH:MM:SS.ffffffZ`, so that it sorts as text; `digest` has 16 bytes."""

    value: dict[str, Any]
    instant: str
    digest: bytes


class Segment(NamedTuple):
    """A part of a line: an event, or text that is none, with the reason. `raw` has its padding: bytes add up."""

    raw: bytes
    event: Event | None
    reason: str | None


def parse_lines(lines: list[bytes]) -> Iterator[tuple[bytes, tuple[dict[str, Any], str, bytes] | None]]:
    """Each line with its event (value, instant, digest), or None where it is not simply a Cowrie event in valid JSON
    with a timestamp as Cowrie writes it; `salvage` then looks closer.

    One flat loop: nearly all lines pass here, and a call or a named tuple a line costs as much as parsing the line.
    """
    loads, dumps, sort_keys, read_time = orjson.loads, orjson.dumps, orjson.OPT_SORT_KEYS, datetime.fromisoformat
    for line in lines:
        try:
            value = loads(line)
            stamp = value["timestamp"]
            if value["eventid"][:7] == "cowrie." and is_sortable(stamp):
                read_time(stamp)
                yield line, (value, stamp, blake2b(dumps(value, option=sort_keys), digest_size=DIGEST_BYTES).digest())
                continue
        except (ValueError, TypeError, LookupError):
            pass
        yield line, None


def is_sortable(stamp: str) -> bool:
    """Whether a timestamp has the very form that sorts as text (24:00:00 is the next day to newer Pythons)."""
    return (
        len(stamp) == 27
        and stamp[26] == "Z"
        and stamp[19] == "."
        and stamp[10] == "T"
        and stamp[7] == "-"
        and stamp[11:13] != "24"
        and "\0" not in stamp  # the C reader of timestamps stops there
    )


@contextmanager
def uncollected() -> Iterator[None]:
    """Leave the garbage collector off: parsing makes only what reference counting frees, and is a quarter faster so."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def salvage(line: bytes) -> Iterator[Segment]:
    """Read a line that `parse_lines` left, by the forgiving rules: NUL padding, raw control characters and invalid
    UTF-8 in strings, and several records on one line (a writer killed in mid-line continues there after its restart).

    Text that follows an event on its line, or that the next event follows, is a segment of its own. That makes a file
    that is read while it grows give the same rows as the finished file, wherever the first reading happened to stop.
    """
    text = line.decode("utf-8", "surrogateescape")
    many = text.count("[") + text.count("{") > MAX_DEPTH
    begun = 0
    while True:
        padding = _LEADING_PADDING.match(text, begun)
        value_at = padding.end() if padding else begun
        try:
            if many and _too_deep(text, begun):
                raise NotAnEvent(NOT_JSON)
            value, end = _DECODER.raw_decode(text, value_at)
            event = Event(value, event_instant(value), digest(value))
        except ValueError as error:
            reason = str(error) if isinstance(error, NotAnEvent) else NOT_JSON
            # Behind torn text the next record may begin; inside a string its quotes would be escaped.
            following = _EVENT_START.search(text, value_at + 1) if reason == NOT_JSON else None
            yield Segment(_raw(text[begun : following.start() if following else None]), None, reason)
            if following is None:
                return
            begun = following.start()
            continue
        if _ONLY_PADDING.match(text, end):
            yield Segment(_raw(text[begun:]), event, None)
            return
        yield Segment(_raw(text[begun:end]), event, None)
        begun = end


def event_instant(value: object) -> str:
    """When the event happened, in UTC; a timestamp without a zone is UTC, as Cowrie writes it.

    Raises:
        NotAnEvent: the value is no object, has no `cowrie.*` event id or no readable timestamp.
    """
    if not isinstance(value, dict):
        raise NotAnEvent(NOT_AN_OBJECT)
    event_id = value.get("eventid")
    if not isinstance(event_id, str) or not event_id.startswith("cowrie."):
        raise NotAnEvent(NO_EVENT_ID)
    stamp = value.get("timestamp")
    if not isinstance(stamp, str) or "\0" in stamp:
        raise NotAnEvent(NO_TIMESTAMP)
    try:
        moment = datetime.fromisoformat(stamp)
        if is_sortable(stamp):
            return stamp
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise NotAnEvent(NO_TIMESTAMP) from None
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def digest(value: dict[str, Any]) -> bytes:
    """The identity of an event within its sensor: the JSON value, whatever its spacing, escapes or order of keys."""
    try:
        canonical = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # lone surrogates
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        canonical = text.encode("utf-8", "surrogatepass")
    return blake2b(canonical, digest_size=DIGEST_BYTES).digest()


def load_event(line: bytes) -> tuple[dict[str, Any], str]:
    """Read a stored line again: its value and instant. It was an event when it was stored, so it is one now."""
    try:
        value: dict[str, Any] = orjson.loads(line)
    except orjson.JSONDecodeError:
        value = next(_require(segment) for segment in salvage(line))
    stamp = value["timestamp"]
    return value, stamp if is_sortable(stamp) else event_instant(value)


def _require(segment: Segment) -> dict[str, Any]:
    if segment.event is None:
        raise NotAnEvent(segment.reason)
    return segment.event.value


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _too_deep(text: str, begun: int) -> bool:
    """Whether the first value from here on nests deeper than MAX_DEPTH, outside of strings."""
    depth = 0
    for token in _BRACKET_OR_STRING.finditer(text, begun):
        char = text[token.start()]
        if char in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif char in "]}":
            depth -= 1
            if depth <= 0:
                return False
    return False


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"{digits[:20]} is beyond all numbers")
    return value


def _integer(digits: str) -> float:
    """As orjson reads it: beyond 64 bits an integer is a float, so that both readers see the same value."""
    if len(digits) > 20:
        return _float(digits)
    value = int(digits)
    return value if -(2**63) <= value < 2**64 else float(value)


_EVENT_START = re.compile(r'\{"eventid"\s*:')
_LEADING_PADDING = re.compile("[\0 \t\r\n\ufeff]*")
_ONLY_PADDING = re.compile("[\0 \t\r\n]*\\Z")
_BRACKET_OR_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)
_DECODER = json.JSONDecoder(strict=False, parse_constant=_refuse, parse_float=_float, parse_int=_integer)
