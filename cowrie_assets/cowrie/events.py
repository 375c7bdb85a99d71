"""One line of a Cowrie log, read as an event, or the reason why it is none.

Lives here: what counts as an event, when it happened, its identity. Not here: files (`logfiles`), what events mean
together (`sessions`), where they are kept.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson

DIGEST_BYTES = 16
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
    return len(stamp) == 27 and stamp[26] == "Z" and stamp[19] == "." and stamp[10] == "T" and stamp[11:13] != "24"


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

    Text that follows an event on its line is a segment of its own. That makes a file that is read while it grows give
    the same rows as the finished file, wherever the first reading happened to stop.
    """
    rest = line
    while True:
        padding = len(rest) - len(rest.lstrip(PADDING + _BYTE_ORDER_MARK))
        text = rest[padding:].decode("utf-8", "surrogateescape")
        try:
            value, end = _DECODER.raw_decode(text)
            event = Event(value, event_instant(value), digest(value))
        except NotAnEvent as error:
            yield Segment(rest, None, str(error))
            return
        except (ValueError, RecursionError):  # also integers of more than 4,300 digits
            yield Segment(rest, None, NOT_JSON)
            return
        cut = padding + len(text[:end].encode("utf-8", "surrogateescape"))
        if not rest[cut:].strip(PADDING):
            yield Segment(rest, event, None)
            return
        yield Segment(rest[:cut], event, None)
        rest = rest[cut:]


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
    if not isinstance(stamp, str):
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
    except TypeError:  # lone surrogates, or integers beyond 64 bits
        canonical = json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")
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


_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(strict=False, parse_constant=_refuse)
