"""A day's sessions, rebuilt from the stored events and written as a whole.

Lives here: the day's lock, its transaction, which days are due. Not here: Dagster (`sessions`), what events mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime

from cowrie_assets.cowrie.events import uncollected
from cowrie_assets.cowrie.sessions import reconstruct
from cowrie_assets.warehouse.event_chunks import (
    Connection,
    day_revision,
    frozen_since,
    sensors_of_day,
    sessions_starting,
)
from cowrie_assets.warehouse.session_rows import SESSION_TABLES, DayRows
from cowrie_assets.warehouse.views import sql_file

ENRICHMENT_ASSETS = ("dshield_enrichment", "urlhaus_enrichment", "spur_enrichment")
DAILY_ASSETS = ("sessions", "session_snapshots", *ENRICHMENT_ASSETS, "virustotal_files", "password_stats")
_DAY_LOCK = 0x6461


@dataclass(frozen=True)
class Rebuilt:
    """What one day came to; counts of rows by table. `frozen_at`: its lines were pruned then, so that the rows are what
    they were before; None where they were rebuilt."""

    day: date
    rows: dict[str, int]
    frozen_at: datetime | None = None


def rebuild_day(connection: Connection, day: date) -> Rebuilt:
    """Replace the day's sessions and their details. Safe to repeat: the result follows from the stored events alone.
    A frozen day is left as it is."""
    with connection.transaction():
        hold_day(connection, "sessions", day)
        frozen_at = frozen_since(connection, day)
        if frozen_at is not None:
            return Rebuilt(day, _rows_of(connection, day), frozen_at)
        return _rebuild(connection, day)


def _rebuild(connection: Connection, day: date) -> Rebuilt:
    with daily_build(connection, "sessions", day):
        rows = DayRows(day)
        with uncollected():
            for sensor in sensors_of_day(connection, day):
                for session_id, events in sessions_starting(connection, day, sensor):
                    rows.add(sensor, reconstruct(session_id, events))
        rows.write(connection)
    return Rebuilt(day, {table: len(lines) for table, lines in rows.rows.items()})


def _rows_of(connection: Connection, day: date) -> dict[str, int]:
    counts = {}
    for table in SESSION_TABLES:
        query = f"SELECT count(*) FROM {table} WHERE day = %s"  # noqa: S608 - a constant of this project
        row = connection.execute(query.encode(), (day,)).fetchone()
        counts[table] = row[0] if row else 0
    return counts


def hold_day(connection: Connection, asset: str, day: date) -> None:
    """Take an asset's lock on a day, until the caller's transaction ends."""
    connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", (_DAY_LOCK + DAILY_ASSETS.index(asset), day.toordinal()))


@contextmanager
def daily_build(connection: Connection, asset: str, day: date) -> Iterator[None]:
    """Hold an asset's lock on a day, and note in the same transaction what its rows rest on: the revision of the day's
    sessions, and for snapshots the digest of what was observed."""
    hold_day(connection, asset, day)
    # Read before the rows are: what comes in meanwhile makes the day due again. Other assets rest on the sessions as
    # they were built, which for a day that could not be rebuilt is an older revision.
    revision = day_revision(connection, day) if asset == "sessions" else _sessions_revision(connection, day)
    evidence = evidence_of_days(connection, day).get(day, "") if asset == "session_snapshots" else ""
    yield
    connection.execute(
        """
        INSERT INTO day_builds AS known (asset, day, revision, evidence) VALUES (%s, %s, %s, %s)
        ON CONFLICT (asset, day) DO UPDATE SET revision = excluded.revision, evidence = excluded.evidence
        WHERE (known.revision, known.evidence) IS DISTINCT FROM (excluded.revision, excluded.evidence)
        """,
        (asset, day, revision, evidence),
    )


def note_failures(connection: Connection, asset: str, days: Iterable[date], failed: Mapping[date, str]) -> None:
    """Keep which of an asset's days failed, and why; those that did not have recovered."""
    with connection.transaction():
        connection.execute("DELETE FROM day_failures WHERE asset = %s AND day = ANY(%s::date[])", (asset, list(days)))
        connection.execute(
            """
            INSERT INTO day_failures (asset, day, revision, failed_at, reason)
            SELECT %s, f.day, coalesce(d.revision, 0), now(), f.reason
            FROM unnest(%s::date[], %s::text[]) AS f (day, reason) LEFT JOIN event_days AS d ON f.day = d.day
            """,
            (asset, list(failed), list(failed.values())),
        )


def failed_days(connection: Connection, asset: str) -> dict[date, str]:
    """The days that failed in this asset, or in the sessions that it rests on, and have not changed since: why."""
    rows = connection.execute(
        """
        SELECT f.day, f.reason FROM day_failures AS f LEFT JOIN event_days AS d ON f.day = d.day
        WHERE f.asset IN (%s, 'sessions') AND f.revision = coalesce(d.revision, 0)
        """,
        (asset,),
    )
    return dict(rows.fetchall())


def days_due(connection: Connection, asset: str) -> set[date]:
    """The days that a daily asset has not yet built from what is there now, also after a kill in between. Sessions of a
    frozen day are never rebuilt, whatever comes late; the other daily assets go on working from its rows."""
    rows = connection.execute(
        """
        SELECT
            e.day,
            b.revision = CASE WHEN f.day IS NULL THEN e.revision ELSE coalesce(s.revision, 0) END,
            b.evidence
        FROM event_days AS e
        LEFT JOIN day_builds AS b ON e.day = b.day AND b.asset = %(asset)s
        LEFT JOIN day_builds AS s ON e.day = s.day AND s.asset = 'sessions'
        LEFT JOIN frozen_days AS f ON e.day = f.day
        WHERE %(asset)s <> 'sessions' OR f.day IS NULL
        """,
        {"asset": asset},
    ).fetchall()
    due = {day for day, is_current, _ in rows if not is_current}
    if asset == "session_snapshots":
        evidence = evidence_of_days(connection)
        due |= {day for day, _, built_from in rows if built_from != evidence[day]}
        # Written before their addresses were in the inventory, say by hand in the UI.
        early = connection.execute(
            "SELECT DISTINCT day FROM session_snapshots WHERE is_current "
            "AND 'not in the inventory yet' IN (asn_reason, country_reason)"
        )
        due |= {day for (day,) in early}
    return due


def revisions(connection: Connection) -> dict[date, int]:
    """By day, how often its sessions' events changed."""
    return dict(connection.execute("SELECT day, revision FROM event_days").fetchall())


def _sessions_revision(connection: Connection, day: date) -> int:
    row = connection.execute("SELECT revision FROM day_builds WHERE asset = 'sessions' AND day = %s", (day,)).fetchone()
    return row[0] if row else 0


def evidence_of_days(connection: Connection, day: date | None = None) -> dict[date, str]:
    """By day, the digest of what its snapshots can rest on."""
    with connection.transaction():
        connection.execute("SELECT set_config('cowrie.day', %s, true)", (day.isoformat() if day else "",))
        return dict(connection.execute(sql_file("day_evidence.sql").read_bytes()).fetchall())
