"""Locks that all processes share, held by a database connection: one question, or one talk with a service, at a time.

Lives here: taking and giving back. A killed process gives its own back with its connection. Not here: what they guard.
"""

from __future__ import annotations

import psycopg

from cowrie_assets.warehouse.event_chunks import Connection

# A service with one of its keys, or as a whole (0).
_NAMES = "hashtext(%s), coalesce(hashtext(%s::text), 0)"


def take(connection: Connection, service: str, key: str | None = None, *, patiently: bool) -> bool:
    """Whether the lock is ours now; with patience after a second's wait, so that time and Ctrl-C are heard between."""
    if not patiently:
        row = connection.execute(f"SELECT pg_try_advisory_lock({_NAMES})".encode(), (service, key)).fetchone()
        return bool(row and row[0])
    try:
        with connection.transaction():
            connection.execute("SET LOCAL lock_timeout = '1s'")
            connection.execute(f"SELECT pg_advisory_lock({_NAMES})".encode(), (service, key))
    except psycopg.errors.LockNotAvailable:
        return False
    return True


def give_back(connection: Connection, service: str, key: str | None = None) -> None:
    if not connection.closed:
        connection.execute(f"SELECT pg_advisory_unlock({_NAMES})".encode(), (service, key))
