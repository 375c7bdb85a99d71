"""A day's enrichment rows: which questions its sources raise, and the answers nearest to the day.

Lives here: the order of asking, the day's transaction, which days can still gain answers. Not here: Dagster
(`enrichment`), asking (`cowrie_assets.lookup`), which answer is the nearest (`sql/write_enrichment.sql`).
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime, time

from psycopg import sql

from cowrie_assets.assets.observation import telling_addresses
from cowrie_assets.assets.reconstruction import daily_build, days_due
from cowrie_assets.lookup.gate import OWN
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets.warehouse.views import sql_file

_ASKED = ("outcome", "reason", "answered_at")  # of every such table


def table_of(service: str) -> str:
    return f"{service}_enrichment"


def address_needs(connection: Connection, days: Collection[date]) -> dict[str, datetime]:
    """The source addresses of the days, most telling first, each with the moment at which an answer must be good: the
    beginning of the last of its days."""
    sources = telling_addresses(connection, days)
    return {address: datetime.combine(day, time(), UTC) for address, day in sources.items()}


def write_enrichment(connection: Connection, service: str, day: date) -> dict[str, int]:
    """Replace a day's rows of a service; their number by outcome. Safe to repeat."""
    table = sql.Identifier(table_of(service))
    with connection.transaction(), daily_build(connection, table_of(service), day):
        for name, value in (("service", service), ("day", day.isoformat())):
            connection.execute("SELECT set_config(%s, %s, true)", (f"cowrie.{name}", value))
        connection.execute(sql_file("write_enrichment.sql").read_bytes())
        connection.execute(sql.SQL("DELETE FROM {} WHERE day = %s").format(table), (day,))
        insert_answers(connection, table_of(service), "fresh_enrichment", ("day", "address", *_ASKED))
        counts = connection.execute("SELECT outcome, count(*) FROM fresh_enrichment GROUP BY outcome ORDER BY outcome")
        return dict(counts.fetchall())


def insert_answers(connection: Connection, table: str, fresh: str, own: Collection[str]) -> None:
    """Insert rows whose `own` columns are in `fresh`; the others are fields that the service's module reads, of the
    table's own row type. By name: a whole row of JSON out of each, and a row of the table out of that, took twice as
    long (23 ms a day for 2,000 addresses)."""
    described = connection.execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(sql.Identifier(table))).description or ()
    names = [column.name for column in described]
    values = [sql.Identifier("fresh" if name in own else "known", name) for name in names]
    connection.execute(
        sql.SQL(
            """
            INSERT INTO {table} ({names})
            SELECT {values}
            FROM {fresh} AS fresh
            CROSS JOIN LATERAL jsonb_populate_record(NULL::{table}, fresh.fields) AS known
            """
        ).format(
            table=sql.Identifier(table),
            fresh=sql.Identifier(fresh),
            names=sql.SQL(", ").join(map(sql.Identifier, names)),
            values=sql.SQL(", ").join(values),
        )
    )


def asked_days_due(connection: Connection, table: str, *, can_ask: bool) -> set[date]:
    """The days whose sessions changed, and those with a question that could get its answer now, or whose service is no
    longer configured, which takes it out of the gate."""
    outcomes = ["unavailable", "quota", *(["not_configured"] if can_ask else [])]
    open_days = connection.execute(
        sql.SQL("SELECT DISTINCT day FROM {} WHERE outcome = ANY(%s)").format(sql.Identifier(table)), (outcomes,)
    )
    return days_due(connection, table) | {day for (day,) in open_days}


def enrichment_days_due(connection: Connection, service: str, *, can_ask: bool) -> set[date]:
    """The days that are due, and those with an address that may be the operator's own no more."""
    table = table_of(service)
    disowned = connection.execute(
        sql.SQL(
            """
            SELECT DISTINCT e.day
            FROM {} AS e
            LEFT JOIN ip_inventory AS i ON e.address = i.ip_address
            WHERE e.outcome = 'not_applicable' AND e.reason = %s AND i.is_own IS NOT TRUE
            """
        ).format(sql.Identifier(table)),
        (OWN,),
    )
    return asked_days_due(connection, table, can_ask=can_ask) | {day for (day,) in disowned}
