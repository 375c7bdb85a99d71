"""The store of events: compressed chunks of raw lines, append-only, each event once.

Lives here: adding what is new, reading a day's sessions back, which days an addition touches, and what a frozen day
(one whose lines were pruned, `cowrie_assets.assets.freezing`) means for the days beside it. Not here: where lines come
from (`cowrie_assets.assets.ingestion`), what events mean (`cowrie_assets.cowrie.sessions`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zlib import crc32

import orjson
import psycopg
import zstandard
from psycopg.rows import TupleRow

from cowrie_assets.cowrie.events import DIGEST_BYTES, load_event
from cowrie_assets.cowrie.sessions import StoredEvent, continues
from cowrie_assets.warehouse.copy_text import storable

Connection = psycopg.Connection[TupleRow]
Spans = dict[str, tuple[str, str]]  # session id -> first and last instant
DAY = timedelta(days=1)
# A day is rebuilt in parts, by session, once its lines are more than this: memory follows the part, not the day.
PART_BYTES = 256 << 20
_FEW = 100
# Shared by those who add events, held alone by who freezes a day: which days are frozen stays as it was looked up.
_FREEZING_LOCK = 0x66726565


# An event on its way into the store: line, digest, session id, instant, the caller's number for the file it came from.
# A plain tuple: a named one costs a quarter of a microsecond more, and there is one for every line of every log.
NewEvent = tuple[bytes, bytes, str | None, str, int]


@dataclass
class Added:
    """What one addition changed: new events by file, and the days whose sessions are not what they were."""

    events_by_file: Counter[int] = field(default_factory=Counter)
    changed_days: set[date] = field(default_factory=set)


def add_events(connection: Connection, sensor: str, events_by_day: dict[date, list[NewEvent]]) -> Added:
    """Append the events that the store does not have yet, one chunk a day. The caller holds the transaction."""
    added = Added()
    connection.execute("SELECT pg_advisory_xact_lock_shared(%s)", (_FREEZING_LOCK,))
    before = _SpanReader(connection, sensor)
    additions: dict[date, Spans] = {}
    for day in sorted(events_by_day):
        known = _digests(connection, day, sensor)
        fresh = []
        for event in events_by_day[day]:
            if event[1] not in known:
                known.add(event[1])
                fresh.append(event)
        if not fresh:
            continue
        before.load(day)  # before this addition is written
        added.events_by_file.update([event[4] for event in fresh])
        additions[day] = _spans_of(fresh)
        _insert_chunk(connection, day, sensor, fresh, additions[day])
    walked: set[tuple[date, str]] = set()
    for day in sorted(additions):
        near = [
            before.load(day - DAY),
            before.load(day + DAY),
            additions.get(day - DAY, {}),
            additions.get(day + DAY, {}),
        ]
        running = additions[day].keys() & set().union(*near)
        # Nearly every session lies within its day: then that day changes, and no other.
        if len(running) < len(additions[day]):
            added.changed_days.add(day)
        for session_id in running:
            if (day, session_id) not in walked:
                added.changed_days.update(_changed_days(before, additions, day, session_id, walked))
    return added


def hold_frozen_days(connection: Connection) -> None:
    """Wait for those who add events, and keep them waiting until the caller's transaction ends."""
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_FREEZING_LOCK,))


def frozen_since(connection: Connection, day: date) -> datetime | None:
    """When the lines of a day were pruned; None where it is not frozen."""
    row = connection.execute("SELECT frozen_at FROM frozen_days WHERE day = %s", (day,)).fetchone()
    return row[0] if row else None


def day_revision(connection: Connection, day: date) -> int:
    row = connection.execute("SELECT revision FROM event_days WHERE day = %s", (day,)).fetchone()
    return row[0] if row else 0


def sensors_of_day(connection: Connection, day: date) -> list[str]:
    rows = connection.execute("SELECT DISTINCT sensor FROM event_chunks WHERE day = %s ORDER BY sensor", (day,))
    return [sensor for (sensor,) in rows]


def sessions_starting(connection: Connection, day: date, sensor: str) -> Iterator[tuple[str, list[StoredEvent]]]:
    """Each session of the sensor that begins on this day, with all its events, however far it runs."""
    reader = _SpanReader(connection, sensor)
    starting = {
        session_id
        for session_id, (first, _) in reader.load(day).items()
        if not reader.links(day - DAY, session_id, first)
    }
    row = connection.execute(
        "SELECT sum(raw_bytes) FROM event_chunks WHERE day = %s AND sensor = %s", (day, sensor)
    ).fetchone()
    parts = 1 + int(row[0] or 0) // PART_BYTES if row else 1
    for part in range(parts):
        wanted = (
            {s for s in starting if crc32(s.encode("utf-8", "surrogatepass")) % parts == part}
            if parts > 1
            else starting
        )
        events: dict[str, list[StoredEvent]] = {}
        _collect(connection, day, sensor, wanted, events)
        following, running = day, wanted
        while running := {s for s in running if reader.links_on(following, s)}:
            following += DAY
            _collect(connection, following, sensor, running, events)
        yield from events.items()


def session_days(connection: Connection, session_id: str) -> Iterator[tuple[str, date]]:
    """Every (sensor, day) with an event of a session id, in order."""
    rows = connection.execute("SELECT sensor, day, spans FROM event_chunks ORDER BY sensor, day, sequence").fetchall()
    found = {(sensor, day) for sensor, day, spans in rows if session_id in unpack_spans(spans)}
    yield from sorted(found)


def session_events(connection: Connection, sensor: str, day: date, session_id: str) -> list[StoredEvent]:
    events: dict[str, list[StoredEvent]] = {}
    _collect(connection, day, sensor, {session_id}, events)
    return sorted(events.get(session_id, []), key=lambda event: event[:2])


def stored_lines(connection: Connection) -> Iterator[tuple[str, bytes, bytes]]:
    """Every stored event as (sensor, digest, raw line), chunk by chunk, but for pruned lines; for tests and checks of
    the store itself."""
    with connection.transaction(), connection.cursor(name="stored_lines") as cursor:
        cursor.itersize = 1
        cursor.execute("SELECT sensor, digests, payload FROM event_chunks ORDER BY day, sensor, sequence")
        for sensor, digests, payload in cursor:
            for position, line in enumerate(_lines(payload) if payload else ()):
                yield sensor, digests[position * DIGEST_BYTES : (position + 1) * DIGEST_BYTES], line


def unpack_spans(packed: bytes) -> Spans:
    spans: Spans = orjson.loads(zstandard.decompress(packed))
    return spans


class _SpanReader:
    """The spans of one sensor's days, as they were when each was first asked for."""

    def __init__(self, connection: Connection, sensor: str) -> None:
        self._connection = connection
        self._sensor = sensor
        self._days: dict[date, Spans] = {}
        rows = connection.execute("SELECT day, runs_until FROM frozen_days")
        self._frozen: dict[date, date] = dict(rows.fetchall())
        self._owned: dict[date, set[str]] = {}

    def load(self, day: date) -> Spans:
        spans = self._days.get(day)
        if spans is None:
            spans = {}
            rows = self._connection.execute(
                "SELECT spans FROM event_chunks WHERE day = %s AND sensor = %s", (day, self._sensor)
            )
            for (packed,) in rows:
                _merge(spans, unpack_spans(packed))
            self._days[day] = spans
        return spans

    def links(self, day: date, session_id: str, first: str) -> bool:
        """Whether the session's events of a day go on at `first`, on the following day."""
        decided = self.decided(day, session_id)
        if decided is not None:
            return decided
        earlier = self.load(day).get(session_id)
        return earlier is not None and continues(earlier[1], first)

    def links_on(self, day: date, session_id: str) -> bool:
        later = self.load(day + DAY).get(session_id)
        return later is not None and self.links(day, session_id, later[0])

    def decided(self, day: date, session_id: str) -> bool | None:
        """Whether the session goes on into the following day, where that was decided for good when lines were pruned;
        None where it follows from the spans.

        The rows of a frozen day stay as they are, however far they run: what is theirs of a later day begins no session
        there, and nothing else of that day becomes theirs. Nor does a session run on into a frozen day.
        """
        if not self._frozen:
            return None
        following = day + DAY
        if following in self._frozen:
            return False
        if day in self._frozen or session_id in self._owned_by_frozen(day):
            return session_id in self._owned_by_frozen(following)
        return None

    def _owned_by_frozen(self, day: date) -> set[str]:
        """The ids whose events of this day belong to rows of frozen days before it."""
        owned = self._owned.get(day)
        if owned is None:
            owned = set()
            reaching = [frozen for frozen, until in self._frozen.items() if frozen < day <= until]
            if reaching:
                rows = self._connection.execute(
                    "SELECT session_id FROM sessions WHERE day = ANY(%s) AND sensor = %s AND last_event_at >= %s",
                    (reaching, self._sensor, datetime.combine(day, time(), UTC)),
                )
                owned.update(session_id for (session_id,) in rows)
            self._owned[day] = owned
        return owned


class _AfterReader:
    """The same days with the additions in place."""

    def __init__(self, before: _SpanReader, additions: dict[date, Spans]) -> None:
        self._before = before
        self._additions = additions

    def get(self, day: date, session_id: str) -> tuple[str, str] | None:
        old = self._before.load(day).get(session_id)
        new = self._additions.get(day, {}).get(session_id)
        if old is None or new is None:
            return new or old
        return min(old[0], new[0]), max(old[1], new[1])


def _changed_days(
    before: _SpanReader, additions: dict[date, Spans], day: date, session_id: str, walked: set[tuple[date, str]]
) -> Iterator[date]:
    """The start of the session that an addition belongs to now, and every start inside it that is none any more.

    Events of one id on one UTC day are never more than 24 h apart, so a session is a chain of consecutive days. Its
    later days are noted in `walked`: an id that speaks every day for a month is one chain, walked once.
    """
    after = _AfterReader(before, additions)

    def linked(earlier: date, get: Callable[[date, str], tuple[str, str] | None]) -> bool:
        decided = before.decided(earlier, session_id)
        if decided is not None:
            return decided
        left, right = get(earlier, session_id), get(earlier + DAY, session_id)
        return left is not None and right is not None and continues(left[1], right[0])

    start = day
    while linked(start - DAY, after.get):
        start -= DAY
    yield start
    following = start
    while linked(following, after.get):
        following += DAY
        walked.add((following, session_id))
        if session_id in before.load(following) and not linked(following - DAY, lambda d, s: before.load(d).get(s)):
            yield following


def _digests(connection: Connection, day: date, sensor: str) -> set[bytes]:
    known: set[bytes] = set()
    for (digests,) in connection.execute(
        "SELECT digests FROM event_chunks WHERE day = %s AND sensor = %s", (day, sensor), binary=True
    ):
        known.update(digests[start : start + DIGEST_BYTES] for start in range(0, len(digests), DIGEST_BYTES))
    return known


def _spans_of(events: Iterable[NewEvent]) -> Spans:
    spans: Spans = {}
    for _, _, session_id, instant, _ in events:
        if session_id is None:
            continue
        span = spans.get(session_id)
        if span is None:
            spans[session_id] = (instant, instant)
        elif instant > span[1]:
            spans[session_id] = (span[0], instant)
        elif instant < span[0]:
            spans[session_id] = (instant, span[1])
    return spans


def _merge(into: Spans, spans: Spans) -> None:
    for session_id, (first, last) in spans.items():
        known = into.get(session_id)
        into[session_id] = (first, last) if known is None else (min(first, known[0]), max(last, known[1]))


def _insert_chunk(connection: Connection, day: date, sensor: str, events: list[NewEvent], spans: Spans) -> None:
    lines = b"\n".join([event[0] for event in events])
    connection.execute(
        """
        INSERT INTO event_chunks (day, sensor, sequence, event_count, raw_bytes, digests, spans, payload)
        SELECT %s, %s, coalesce(max(sequence), 0) + 1, %s, %s, %b, %b, %b
        FROM event_chunks WHERE day = %s AND sensor = %s
        """,
        (
            day,
            sensor,
            len(events),
            len(lines),
            b"".join([event[1] for event in events]),
            zstandard.compress(orjson.dumps(spans), 1),
            zstandard.compress(lines, 3),
            day,
            sensor,
        ),
    )


def _lines(payload: bytes) -> list[bytes]:
    return zstandard.decompress(payload).split(b"\n")


def _collect(
    connection: Connection, day: date, sensor: str, wanted: set[str], events: dict[str, list[StoredEvent]]
) -> None:
    """Add the wanted sessions' events of a day. A chunk that holds none of them is not unpacked."""
    rows = connection.execute(
        "SELECT digests, spans, payload FROM event_chunks WHERE day = %s AND sensor = %s ORDER BY sequence",
        (day, sensor),
        binary=True,
    ).fetchall()
    for digests, spans, payload in rows:
        here = wanted.intersection(unpack_spans(spans))
        if not here or not payload:  # without a payload: its lines were pruned
            continue
        # A few sessions run on over midnight: of the next day's lines only those that may be theirs are parsed.
        may_be_wanted = _mentions(here) if len(here) <= _FEW else None
        for position, line in enumerate(_lines(payload)):
            if may_be_wanted is not None and may_be_wanted(line) is None:
                continue
            value, instant = load_event(line)
            session_id = session_id_of(value)
            if session_id in here:
                start = position * DIGEST_BYTES
                stored = (instant, digests[start : start + DIGEST_BYTES], value)
                known = events.get(session_id)
                if known is None:
                    events[session_id] = [stored]
                else:
                    known.append(stored)


def _mentions(session_ids: set[str]) -> Callable[[bytes], object]:
    """Whether a line holds one of the ids, or an escape behind which one could hide."""
    texts = [re.escape(session_id.encode("utf-8", "surrogatepass")) for session_id in session_ids]
    return re.compile(b"|".join([*texts, rb"\\u00"])).search


def session_id_of(value: dict[str, Any]) -> str | None:
    """The session that an event belongs to; None for the few events that belong to none.

    Cowrie's ids have 8 to 32 hex digits. Over 128 characters it is none of hers, and would not fit an index.
    """
    session_id = value.get("session")
    if type(session_id) is not str or not 0 < len(session_id) <= 128:
        return None
    return session_id if session_id.isalnum() else storable(session_id)
