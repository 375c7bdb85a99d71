"""What a day of `sessions` or of `session_snapshots` tells in the UI beside its counts: tables and pictures.

Lives here: their numbers, read from the written rows, for all days of a run at once. Not here: how a table or a picture
looks (`cowrie_assets.report`), the days of the other daily assets (`shown_answers`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import date
from typing import Any

import dagster as dg
from psycopg.rows import dict_row

from cowrie_assets.assets.previous import Entry
from cowrie_assets.report.charts import HOURS, columns
from cowrie_assets.report.tables import Row, markdown_rows
from cowrie_assets.warehouse.event_chunks import Connection

_SENSORS = """
    SELECT
        day, left(sensor, 60) AS sensor, count(*) AS sessions, count(DISTINCT source_ip) AS addresses,
        sum(login_attempts) AS logins, sum(login_successes) AS accepted, sum(command_count) AS commands,
        sum(file_downloads) AS downloads
    FROM sessions WHERE day = ANY(%(days)s::date[])
    GROUP BY GROUPING SETS ((day), (day, sensor))
    ORDER BY day, sessions DESC, sensor
"""
_SESSION_HOURS = """
    SELECT day, sensor AS part, extract(hour FROM first_event_at AT TIME ZONE 'UTC')::int AS hour, count(*) AS number
    FROM sessions WHERE day = ANY(%(days)s::date[])
    GROUP BY day, sensor, hour
"""
_BASIS_HOURS = """
    SELECT
        day, replace(coalesce(snapshot_basis, 'unknown'), '_', ' ') AS part,
        extract(hour FROM attacked_at AT TIME ZONE 'UTC')::int AS hour, count(*) AS number
    FROM session_snapshots WHERE is_current AND day = ANY(%(days)s::date[])
    GROUP BY day, part, hour
"""
_KNOWN = """
    SELECT
        day, count(snapshot_asn) AS "with an AS", count(snapshot_country) AS "with a country",
        count(snapshot_ip_type) AS "with a type", max(version) - 1 AS "times improved, at most"
    FROM session_snapshots WHERE is_current AND day = ANY(%(days)s::date[])
    GROUP BY day
"""
_UNKNOWN = """
    SELECT s.day, p.part AS unknown, p.reason AS because, count(*) AS sessions
    FROM session_snapshots AS s
    CROSS JOIN LATERAL (
        VALUES ('AS', s.asn_reason), ('country', s.country_reason), ('type', s.ip_type_reason)
    ) AS p (part, reason)
    WHERE s.is_current AND s.day = ANY(%(days)s::date[]) AND p.reason IS NOT NULL
    GROUP BY s.day, p.part, p.reason
    ORDER BY s.day, p.part, sessions DESC, p.reason
"""
# The strongest first; the others behind it as they come.
_BASES = ("in force", "observed before", "observed after", "unknown")
_MOST_SENSORS = 15


def sessions_of_days(connection: Connection, days: Collection[date]) -> dict[date, dict[str, Entry]]:
    """Of each day its addresses and sensors, a table of the sensors, and its sessions by hour."""
    by_sensor = rows_by_day(connection, _SENSORS, days)
    hours = rows_by_day(connection, _SESSION_HOURS, days)
    shown: dict[date, dict[str, Entry]] = {}
    for day in days:
        whole, sensors = _parted(by_sensor[day])
        shown[day] = {
            "addresses": int(whole.get("addresses", 0)),
            "sensors": len(sensors),
            "logins accepted": int(whole.get("accepted", 0)),
            "downloads": int(whole.get("downloads", 0)),
            "by sensor": dg.MetadataValue.md(markdown_rows(sensors[:_MOST_SENSORS])),
        }
        if hours[day]:
            busiest = sorted({row["part"] for row in hours[day]}, key=lambda name: (-_sum(hours[day], name), name))
            shown[day]["sessions by hour"] = _picture("Sessions by hour (UTC) and sensor", hours[day], busiest)
    return shown


def snapshots_of_days(connection: Connection, days: Collection[date]) -> dict[date, dict[str, Entry]]:
    """Of each day how many sessions have each part, why the others have not, and the basis by hour."""
    known = rows_by_day(connection, _KNOWN, days)
    unknown = rows_by_day(connection, _UNKNOWN, days)
    hours = rows_by_day(connection, _BASIS_HOURS, days)
    shown: dict[date, dict[str, Entry]] = {}
    for day in days:
        shown[day] = {name: int(number) for row in known[day] for name, number in row.items()}
        shown[day]["unknown, and why"] = dg.MetadataValue.md(markdown_rows(unknown[day]))
        if hours[day]:
            title = "Sessions by hour (UTC) and basis of their snapshot"
            shown[day]["basis by hour"] = _picture(title, hours[day], _BASES)
    return shown


def rows_by_day(
    connection: Connection, query: str, days: Collection[date], **others: object
) -> Mapping[date, list[dict[str, Any]]]:
    """The rows of a query that has `day` for its first column, in their order, without it; none for the other days."""
    by_day: dict[date, list[dict[str, Any]]] = defaultdict(list)
    with connection.cursor(row_factory=dict_row) as cursor:
        for row in cursor.execute(query.encode(), {"days": list(days), **others}):
            by_day[row.pop("day")].append(row)
    return by_day


def _parted(rows: Iterable[dict[str, Any]]) -> tuple[dict[str, Any], list[Row]]:
    """The row of the whole day (empty on a day without sessions), and those of its sensors."""
    whole: dict[str, Any] = {}
    sensors: list[Row] = []
    for row in rows:
        if row["sensor"] is None:
            whole = row
        else:
            sensors.append({name: int(value) if name != "sensor" else value for name, value in row.items()})
    return whole, sensors


def _sum(rows: Iterable[Mapping[str, Any]], part: str) -> int:
    return sum(row["number"] for row in rows if row["part"] == part)


def _picture(title: str, rows: Iterable[Mapping[str, Any]], order: Iterable[str]) -> dg.MetadataValue:
    parts = {name: [0.0] * len(HOURS) for name in order}
    for row in rows:
        parts[row["part"]][row["hour"]] += row["number"]
    present = {name: numbers for name, numbers in parts.items() if any(numbers)}
    return dg.MetadataValue.md(f"![{title}]({columns(title, HOURS, present)})")
