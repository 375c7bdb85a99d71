"""Events of old days: their lines are pruned, and the day is frozen.

Lives here: which days may be frozen, a day's freezing, and what came for a frozen day since. Not here: what a frozen
day means for the days beside it (`cowrie_assets.warehouse.event_chunks`).

Of a frozen day's events the digests, spans and counts stay: its logs are known still when they come again, and the
account of records adds up. Its sessions stay as they were built, and are never rebuilt.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from cowrie_assets.assets.reconstruction import days_due, hold_day
from cowrie_assets.warehouse.event_chunks import Connection, day_revision, frozen_since, hold_frozen_days
from cowrie_assets.warehouse.pruning import Prunable, reclaim

_WHAT = "lines of events; sessions stay"


@dataclass(frozen=True)
class LateEvents:
    """A frozen day for which events came after its lines were pruned. `events` of them are of the day itself; others
    are of later days, and belong to its sessions."""

    day: date
    frozen_at: datetime
    events: int


def prune_events(connection: Connection, days: int | None, now: datetime, *, apply: bool) -> Prunable:
    """What of the events is older than so many days (None: for ever); its lines pruned where `apply` says so, oldest
    day first, each in a transaction of its own."""
    if days is None:
        return Prunable("event_chunks", _WHAT)
    cut = now.astimezone(UTC).date() - timedelta(days=days)
    old = _old_days(connection, cut)
    waiting = _unbuilt(connection, old)
    if apply:
        for day in [day for day in old if day not in waiting]:
            freeze_day(connection, day, now)
        if len(waiting) < len(old):
            reclaim(connection, "event_chunks")
    going = {day: figures for day, figures in old.items() if day not in waiting}
    note = f"{len(waiting)} days are left: their sessions are not built from their events" if waiting else ""
    return Prunable(
        "event_chunks",
        _WHAT,
        sum(events for events, _ in going.values()),
        sum(size for _, size in going.values()),
        datetime.combine(min(going), time(), UTC) if going else None,
        datetime.combine(cut, time(), UTC),
        note,
    )


def freeze_day(connection: Connection, day: date, now: datetime) -> bool:
    """Prune a day's lines for good, and note it in the same transaction; False where its sessions are not what its
    events say now, or it is frozen already."""
    with connection.transaction():
        hold_frozen_days(connection)
        hold_day(connection, "sessions", day)
        built: Any = connection.execute(
            "SELECT revision FROM day_builds WHERE asset = 'sessions' AND day = %s", (day,)
        ).fetchone()
        if frozen_since(connection, day) is not None or built is None or built[0] != day_revision(connection, day):
            return False
        connection.execute(
            """
            INSERT INTO frozen_days (day, frozen_at, runs_until, events, freed_bytes)
            SELECT
                %(day)s,
                %(now)s,
                greatest(
                    %(day)s,
                    (SELECT max((s.last_event_at AT TIME ZONE 'UTC')::date) FROM sessions AS s WHERE s.day = %(day)s)
                ),
                coalesce(sum(event_count), 0),
                coalesce(sum(octet_length(payload)), 0)
            FROM event_chunks
            WHERE day = %(day)s
            """,
            {"day": day, "now": now},
        )
        connection.execute("UPDATE event_chunks SET payload = '' WHERE day = %s", (day,))
    return True


def late_events(connection: Connection) -> list[LateEvents]:
    """The frozen days whose sessions would be other ones with what came since: its events are stored and counted."""
    rows = connection.execute(
        """
        SELECT f.day, f.frozen_at, coalesce(sum(c.event_count) FILTER (WHERE octet_length(c.payload) > 0), 0)::bigint
        FROM frozen_days AS f
        INNER JOIN event_days AS e ON f.day = e.day
        INNER JOIN day_builds AS b ON f.day = b.day AND b.asset = 'sessions'
        LEFT JOIN event_chunks AS c ON f.day = c.day
        WHERE e.revision <> b.revision
        GROUP BY f.day, f.frozen_at
        ORDER BY f.day
        """
    )
    return [LateEvents(*row) for row in rows]


def late_in_words(late: list[LateEvents]) -> str:
    """What came for frozen days, in a sentence; empty where nothing did."""
    if not late:
        return ""
    events, days = sum(day.events for day in late), ", ".join(str(day.day) for day in late[:5])
    more = f" and {len(late) - 5} more" if len(late) > 5 else ""
    return (
        f"Late events came for {len(late)} frozen days ({days}{more}), {events:,} of them dated there: they are "
        "stored, and their sessions stay as they were, because the lines of these days were pruned. If logs come "
        "that late, set [retention] events to more days."
    )


def _old_days(connection: Connection, cut: date) -> dict[date, tuple[int, int]]:
    """Days before the cut that have lines and are not frozen: their events, and the bytes of their lines."""
    rows = connection.execute(
        """
        SELECT c.day, sum(c.event_count)::bigint, sum(octet_length(c.payload))::bigint
        FROM event_chunks AS c
        WHERE c.day < %s AND NOT EXISTS (SELECT FROM frozen_days AS f WHERE f.day = c.day)
        GROUP BY c.day
        ORDER BY c.day
        """,
        (cut,),
    )
    return {day: (events, size) for day, events, size in rows}


def _unbuilt(connection: Connection, days: dict[date, tuple[int, int]]) -> set[date]:
    """Of these, in their order, the days that are not to be frozen yet: sessions of them, or of a day before that may
    run on into them, are not built from what is stored."""
    built: dict[date, int] = dict(
        connection.execute("SELECT day, revision FROM day_builds WHERE asset = 'sessions'").fetchall()
    )
    due = days_due(connection, "sessions")
    unbuilt: set[date] = set()
    for day in days:
        if day in due or day not in built or day - timedelta(days=1) in unbuilt:
            unbuilt.add(day)
    return unbuilt
