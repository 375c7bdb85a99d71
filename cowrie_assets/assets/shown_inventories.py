"""What the inventories, the range lists and the geo files tell in the UI beside their counts.

Lives here: their numbers, tables and pictures, read from the written rows. Not here: how a table or a picture looks
(`cowrie_assets.report`), the daily assets (`shown_days`, `shown_answers`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from psycopg.rows import dict_row

from cowrie_assets.assets.previous import Entry
from cowrie_assets.report.charts import bars
from cowrie_assets.report.tables import markdown_rows
from cowrie_assets.warehouse.event_chunks import Connection

_SYSTEMS = """
    SELECT
        asn_number AS "AS", left(organization_name, 60) AS name, organization_country AS country,
        unique_ip_count AS addresses, total_session_count AS sessions, last_seen AS "last seen"
    FROM asn_inventory ORDER BY total_session_count DESC, asn_number LIMIT 15
"""
_TYPES = """
    SELECT coalesce(ip_type, 'none: ' || ip_type_reason) AS type, count(*) AS addresses, sum(session_count)::bigint
        AS sessions
    FROM ip_inventory GROUP BY 1 ORDER BY addresses DESC, 1
"""
_UNKNOWN = """
    SELECT p.part AS unknown, p.reason AS because, count(*) AS addresses
    FROM ip_inventory
    CROSS JOIN LATERAL (VALUES ('AS', asn_reason), ('country', country_reason)) AS p (part, reason)
    WHERE p.reason IS NOT NULL
    GROUP BY p.part, p.reason ORDER BY p.part, addresses DESC, p.reason
"""
_ADDRESSES = """
    SELECT
        host(ip_address) AS address, session_count AS sessions, current_asn AS "AS", geo_country AS country,
        ip_type AS type, first_seen AS "first seen", last_seen AS "last seen"
    FROM ip_inventory ORDER BY session_count DESC, ip_address LIMIT 15
"""
_EDITIONS = """
    SELECT
        e.fetched_at AS fetched, e.valid_until AS "current until", e.row_count AS entries,
        (SELECT count(*) FROM {list} AS n WHERE n.listed_from = e.fetched_at) AS added,
        (SELECT count(*) FROM {list} AS g WHERE g.listed_until = e.fetched_at) AS removed
    FROM list_editions AS e WHERE e.list = %(list)s ORDER BY e.fetched_at DESC LIMIT 5
"""
_PROVIDERS = """
    SELECT left(provider, 60) AS provider, count(*) AS ranges FROM cloud_ranges WHERE listed_until IS NULL
    GROUP BY provider ORDER BY ranges DESC, 1 LIMIT 15
"""
_BUILDS = """
    SELECT kind, source, left(edition, 40) AS edition, built_at AS built, max(fetched_at) AS noted
    FROM geo_databases GROUP BY kind, source, edition, built_at ORDER BY noted DESC, kind LIMIT 8
"""


def systems(connection: Connection) -> dict[str, Entry]:
    """The autonomous systems with the most sessions, as table and picture."""
    top = _rows(connection, _SYSTEMS)
    named = [(f"AS{row['AS']} {row['name'] or ''}".strip(), row["sessions"]) for row in top]
    return {"top networks": dg.MetadataValue.md(markdown_rows(top)), **_bars("chart", "Networks by sessions", named)}


def addresses(connection: Connection) -> dict[str, Entry]:
    """The addresses by type, as table and picture, why AS and country are unknown, and those with the most sessions."""
    types = _rows(connection, _TYPES)
    return {
        "by type": dg.MetadataValue.md(markdown_rows(types)),
        "unknown, and why": dg.MetadataValue.md(markdown_rows(_rows(connection, _UNKNOWN))),
        "top addresses": dg.MetadataValue.md(markdown_rows(_rows(connection, _ADDRESSES))),
        **_bars("chart", "Addresses by type", [(row["type"], row["addresses"]) for row in types]),
    }


def editions(connection: Connection, name: str, now: datetime | None = None) -> dict[str, Entry]:
    """A range list's edition and its age, beside those before it; of the clouds, whose they are."""
    known = _rows(connection, _EDITIONS.format(list=name), list=name)
    shown: dict[str, Entry] = {"editions": dg.MetadataValue.md(markdown_rows(known))}
    if known:
        newest = known[0]
        shown = {
            "edition": dg.MetadataValue.timestamp(newest["fetched"]),
            "current until": dg.MetadataValue.timestamp(newest["current until"]),
            "age, hours": round(((now or datetime.now(UTC)) - newest["fetched"]).total_seconds() / 3600, 1),
            **({"entries, edition before": known[1]["entries"]} if len(known) > 1 else {}),
            **shown,
        }
    if name == "cloud_ranges":
        providers = _rows(connection, _PROVIDERS)
        shown |= _bars("chart", "Ranges by provider", [(row["provider"], row["ranges"]) for row in providers])
    return shown


def builds(connection: Connection) -> dict[str, Entry]:
    """The builds of the geo files that were noted last."""
    return {"builds": dg.MetadataValue.md(markdown_rows(_rows(connection, _BUILDS)))}


def _bars(entry: str, title: str, counts: Sequence[tuple[str, int]]) -> dict[str, Entry]:
    return {entry: dg.MetadataValue.md(f"![{title}]({bars(title, counts)})")} if counts else {}


def _rows(connection: Connection, query: str, **values: object) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query.encode(), values).fetchall()
