"""What a day of an enrichment asset tells in the UI beside its counts, and what a run cost a service.

Lives here: coverage by outcome, why questions are open, the age of the answers, the top rows; requests, hit rates,
quotas. Not here: asking (`cowrie_assets.lookup`), how a table or a picture looks (`cowrie_assets.report`).
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

import dagster as dg

from cowrie_assets.assets.previous import Entry
from cowrie_assets.assets.questions import Question
from cowrie_assets.assets.shown_days import rows_by_day
from cowrie_assets.lookup import quotas
from cowrie_assets.lookup.asking import ANOTHER_PROCESS
from cowrie_assets.lookup.services import Service
from cowrie_assets.report.charts import bars
from cowrie_assets.report.tables import markdown_rows
from cowrie_assets.warehouse.event_chunks import Connection

_OUTCOMES = ("found", "not_found", "unavailable", "quota", "not_configured", "not_applicable")
_MOST_REASONS = 5
_BY_OUTCOME = """
    SELECT day, outcome, reason, count(*) AS number, min(answered_at) AS oldest
    FROM {table} WHERE day = ANY(%(days)s::date[])
    GROUP BY day, outcome, reason
    ORDER BY day, number DESC, outcome, reason
"""
# The sources with the most sessions, with what the service said of each.
_TOP_ADDRESSES = """
    SELECT t.day, host(t.source_ip) AS address, t.sessions, e.outcome, {columns}
    FROM (
        SELECT
            day, source_ip, count(*) AS sessions,
            row_number() OVER (PARTITION BY day ORDER BY count(*) DESC, source_ip) AS place
        FROM sessions WHERE day = ANY(%(days)s::date[]) AND source_ip IS NOT NULL
        GROUP BY day, source_ip
    ) AS t
    INNER JOIN {table} AS e ON t.day = e.day AND t.source_ip = e.address
    WHERE t.place <= 10
    ORDER BY t.day, t.place
"""
_COLUMNS = {
    "dshield_enrichment": 'e.attacks, e.reports, e.last_reported AS "last reported", e.asn AS "AS", '
    "left(e.as_name, 40) AS name, e.country",
    "urlhaus_enrichment": 'e.url_count AS "URLs", e.online_count AS online, e.last_added::date AS "last added", '
    "left(array_to_string(e.tags, ', '), 40) AS tags",
    "spur_enrichment": "lower(e.infrastructure) AS line, concat_ws(', ', CASE WHEN e.is_vpn THEN 'VPN' END, "
    "CASE WHEN e.is_proxy THEN 'proxy' END, CASE WHEN e.is_tor THEN 'Tor' END) AS hides, "
    "left(e.organization, 40) AS organization, e.country",
}
_TOP_FILES = """
    SELECT t.day, left(t.sha256, 16) AS "SHA-256 begins", t.sessions, e.outcome, e.malicious, e.engines,
        left(e.label, 40) AS label, left(e.meaningful_name, 40) AS name
    FROM (
        SELECT
            day, lower(sha256) AS sha256, count(DISTINCT (sensor, session_id)) AS sessions,
            row_number() OVER (PARTITION BY day ORDER BY count(DISTINCT (sensor, session_id)) DESC, lower(sha256))
                AS place
        FROM files WHERE day = ANY(%(days)s::date[]) AND sha256 IS NOT NULL
        GROUP BY day, lower(sha256)
    ) AS t
    INNER JOIN virustotal_files AS e ON t.day = e.day AND t.sha256 = e.sha256
    WHERE t.place <= 10
    ORDER BY t.day, t.place
"""
_TOP_SESSIONS = """
    SELECT day, left(sensor, 40) AS sensor, left(session_id, 40) AS session, outcome, tries, passwords, breached, seen
    FROM (
        SELECT
            day, sensor, session_id, outcome, total_attempts AS tries, unique_passwords AS passwords,
            breached_passwords AS breached, breach_prevalence_max AS seen,
            row_number() OVER (PARTITION BY day ORDER BY unique_passwords DESC, sensor, session_id) AS place
        FROM password_stats WHERE day = ANY(%(days)s::date[])
    ) AS t
    WHERE place <= 10
    ORDER BY day, place
"""
TOP_ROWS = {
    **{
        table: ("most seen addresses", _TOP_ADDRESSES.format(table=table, columns=columns))
        for table, columns in _COLUMNS.items()
    },
    "virustotal_files": ("most brought files", _TOP_FILES),
    "password_stats": ("sessions with the most passwords", _TOP_SESSIONS),
}


def answers_of_days(connection: Connection, question: Question, days: Collection[date]) -> dict[date, dict[str, Entry]]:
    """Of each day its rows by outcome as a picture, the commonest reasons of open questions, when the oldest answer was
    given that it rests on, and its top rows."""
    by_outcome = rows_by_day(connection, _BY_OUTCOME.format(table=question.asset), days)
    title, query = TOP_ROWS[question.asset]
    top = rows_by_day(connection, query, days)
    shown: dict[date, dict[str, Entry]] = {}
    for day in days:
        parts = by_outcome[day]
        counts = [
            (name.replace("_", " "), sum(p["number"] for p in parts if p["outcome"] == name)) for name in _OUTCOMES
        ]
        picture = bars("Rows by outcome", [(name, number) for name, number in counts if number])
        open_for = [{"open": p["number"], "because": p["reason"]} for p in parts if p["reason"] is not None]
        shown[day] = {
            "coverage": dg.MetadataValue.md(f"![Rows by outcome]({picture})"),
            **({"open, and why": dg.MetadataValue.md(markdown_rows(open_for[:_MOST_REASONS]))} if open_for else {}),
            title: dg.MetadataValue.md(markdown_rows(top[day])),
        }
        answered = [p["oldest"] for p in parts if p["oldest"] is not None]
        if answered:
            shown[day]["oldest answer"] = dg.MetadataValue.timestamp(min(answered))
    return shown


def cost_of_run(connection: Connection, service: Service, run_id: str) -> dict[str, Entry]:
    """What a run asked of a service, what each tier of the cache had of what it was looked through for (0 to 1), and
    what is left of the scarcest quota, in keys."""
    requests = connection.execute(
        "SELECT count(*) FROM lookup_ledger WHERE run_id = %s AND service = %s", (run_id, service.name)
    ).fetchone()
    tiers = connection.execute(
        """
        SELECT tier, sum(hits)::bigint, sum(misses)::bigint FROM lookup_counters
        WHERE run_id = %s AND service = %s GROUP BY tier ORDER BY tier
        """,
        (run_id, service.name),
    ).fetchall()
    left = quotas.keys_left(connection, service)
    cost: dict[str, Entry] = {"requests": requests[0] if requests else 0}
    for tier, hits, misses in tiers:
        cost[f"hits: {tier}"] = hits
        if tier != ANOTHER_PROCESS and hits + misses:
            cost[f"hit rate: {tier}"] = round(hits / (hits + misses), 4)
    if left is not None:
        cost["quota left"] = left
    named = " and ".join(map(str, service.quotas)) or ("credits of the account" if service.by_balance else "")
    return {**cost, "quota": named or "none known but the rate"}
