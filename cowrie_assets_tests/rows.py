"""What a warehouse holds, in a form that two of them can be compared by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import date

from cowrie_assets.warehouse.event_chunks import Connection, stored_lines
from cowrie_assets.warehouse.log_files import mark_changed
from cowrie_assets.warehouse.session_rows import SESSION_TABLES

# Rows that follow from the logs alone, whatever the files are called and in whatever order they came.
# A torn last line of a compressed file is dead as long as that file is not replaced by the whole one.
DEAD_LETTERS = "SELECT sha256, length, content FROM dead_letter_events"
NOT_TORN = " WHERE reason NOT LIKE 'torn last line%'"


def digest(connection: Connection, query: str) -> str:
    """A hash over the sorted rows of a query."""
    rows = sorted(repr(row) for row in connection.execute(query.encode()))
    return hashlib.sha256("\n".join(rows).encode("utf-8", "surrogatepass")).hexdigest()


def log_digests(connection: Connection, *, torn: bool = True) -> dict[str, str]:
    """Hashes of all that promise P5 says is the same: events, sessions with their details, dead letters (with or
    without torn last lines)."""
    events = sorted(f"{sensor} {identity.hex()}" for sensor, identity, _ in stored_lines(connection))
    return {
        "events": hashlib.sha256("\n".join(events).encode()).hexdigest(),
        "dead letters": digest(connection, DEAD_LETTERS + ("" if torn else NOT_TORN)),
        **{table: digest(connection, f"SELECT * FROM {table}") for table in SESSION_TABLES},
    }


def empty(connection: Connection) -> None:
    """Make a warehouse as good as new."""
    tables = connection.execute(
        "SELECT string_agg(table_name, ', ') FROM information_schema.tables WHERE table_schema = 'public' "
        "AND table_type = 'BASE TABLE' AND table_name NOT IN ('alembic_version', 'warehouse_stamp')"
    ).fetchone()
    assert tables is not None
    connection.execute(f"TRUNCATE {tables[0]}".encode())


def all_digests(connection: Connection) -> dict[str, str]:
    """Hashes of every table."""
    tables = connection.execute(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
    ).fetchall()
    return {name: digest(connection, f"SELECT * FROM {name}") for (name,) in tables}


def sessions_changed(connection: Connection, days: Iterable[date]) -> None:
    """Events of these days changed, and their sessions were built anew: what rests on them is due."""
    days = list(days)
    mark_changed(connection, days)
    connection.execute(
        """
        INSERT INTO day_builds (asset, day, revision, evidence)
        SELECT 'sessions', day, revision, '' FROM event_days WHERE day = ANY(%s::date[])
        ON CONFLICT (asset, day) DO UPDATE SET revision = excluded.revision
        """,
        (days,),
    )
