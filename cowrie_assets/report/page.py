"""The infrastructure report: one HTML page that needs nothing from anywhere.

Lives here: what it shows beside the queries. Not here: how it looks (`templates/report.html.j2`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from psycopg.rows import dict_row

from cowrie_assets.report.charts import chart
from cowrie_assets.report.escaping import visible
from cowrie_assets.report.tables import QueryResult, shown
from cowrie_assets.warehouse.coverage import Gates, coverage
from cowrie_assets.warehouse.event_chunks import Connection

_LISTS = {
    "Top credentials": """
        SELECT username, password, count(*) AS attempts, count(DISTINCT (day, sensor, session_id)) AS sessions,
            count(*) FILTER (WHERE success) AS accepted
        FROM logins WHERE password IS NOT NULL
        GROUP BY username, password ORDER BY attempts DESC, username, password LIMIT 25
    """,
    "Top commands": """
        SELECT input AS command, count(*) AS times, count(DISTINCT (day, sensor, session_id)) AS sessions
        FROM commands WHERE outcome = 'input' AND input <> ''
        GROUP BY input ORDER BY times DESC, input LIMIT 25
    """,
    "Newest files": """
        SELECT sha256, max(occurred_at) AS last_seen, count(*) AS transfers, min(transfer) AS transfer, min(url) AS url,
            min(filename) AS filename
        FROM files WHERE sha256 IS NOT NULL
        GROUP BY sha256 ORDER BY last_seen DESC, sha256 LIMIT 25
    """,
}
_LONGEST_TEXT = 300


def write_report(
    connection: Connection, folder: Path, results: list[QueryResult], gates: Gates, *, sandbox: bool
) -> Path:
    """Write `infrastructure_report.html`, replaced at once."""
    # Imported here: definitions load without it.
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415

    environment = Environment(
        loader=PackageLoader("cowrie_assets.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["shown"] = _shown
    charts = {result.name: chart(result) for result in results if result.rows}
    lists = {title: _rows(connection, query) for title, query in _LISTS.items()}
    page = environment.get_template("report.html.j2").render(
        results=results,
        charts=charts,
        lists=lists,
        sandbox=sandbox,
        base=_base(connection),
        services=[row for row in coverage(connection, gates=gates) if row.day is None],
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "infrastructure_report.html"
    new = path.with_suffix(".html.new")
    new.write_text(page, encoding="utf-8")
    new.replace(path)
    return path


def _shown(value: Any, column: str = "") -> str:
    text = visible(shown(value, column))
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}… ({len(text):,} characters)"


def _rows(connection: Connection, query: str) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query.encode()).fetchall()


def _base(connection: Connection) -> dict[str, Any]:
    query = """
        SELECT count(*) AS sessions, count(DISTINCT source_ip) AS addresses, count(DISTINCT sensor) AS sensors,
            min(first_event_at) AS first_event, max(last_event_at) AS last_event
        FROM sessions
    """
    return _rows(connection, query)[0]
