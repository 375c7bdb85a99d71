"""Sanity of the infrastructure queries: what their stored results must agree on with a plain recount.

Lives here: two checks a query, and the recount of one. Not here: the queries, what they must show (`positives`). The
system before this one printed "complete" over queries that had returned nothing, or an SQL error.
"""

from collections.abc import Iterable
from decimal import Decimal

import dagster as dg
from psycopg import sql

from cowrie_assets.assets.infrastructure import QUERIES, InfrastructureQuery
from cowrie_assets.checks.positives import missing_positives, positives_query
from cowrie_assets.checks.thresholds import Thresholds
from cowrie_assets.checks.verdict import Verdict, evaluation
from cowrie_assets.resources import Warehouse
from cowrie_assets.warehouse.event_chunks import Connection

_COLUMNS = {
    "geographic_distribution": ("snapshot_country", "country", "country_percentage"),
    "asn_infrastructure": ("snapshot_asn", "asn", "asn_percentage"),
}
# Counted from the tables, not from the view that the queries read, in the window that the result was made for.
_RECOUNT = """
    WITH base AS (SELECT * FROM query_results WHERE query = {name}),
    counted AS (
        SELECT p.{key} AS key, count(*) AS sessions
        FROM session_snapshots AS p CROSS JOIN base
        WHERE
            p.is_current AND p.{key} IS NOT NULL
            AND p.attacked_at >= coalesce(base.since, '-infinity') AND p.attacked_at < coalesce(base.until, 'infinity')
        GROUP BY p.{key}
    ),
    told AS (SELECT {column} AS key, session_count AS sessions FROM {table})
    SELECT coalesce(counted.key, told.key)::text, told.sessions, counted.sessions
    FROM counted FULL JOIN told USING (key) CROSS JOIN base
    WHERE
        counted.sessions IS DISTINCT FROM told.sessions
        AND (
            told.key IS NOT NULL
            -- A row may be missing when it has too few sessions, or when the result is full and it would be its last.
            OR counted.sessions >= base.minimum_sessions
            AND (
                (SELECT count(*) FROM told) < base.row_limit
                OR counted.sessions > (SELECT min(sessions) FROM told)
            )
        )
    ORDER BY counted.sessions DESC NULLS FIRST
    LIMIT 3
"""


# Public sources that are not our own, in the window of the result: what queries 13 and 14 count.
_ELIGIBLE = """
    FROM sessions AS s
    CROSS JOIN base
    LEFT JOIN ip_inventory AS i ON s.source_ip = i.ip_address
    LEFT JOIN spur_enrichment AS x ON s.day = x.day AND s.source_ip = x.address
    LEFT JOIN dshield_enrichment AS d ON s.day = d.day AND s.source_ip = d.address
    LEFT JOIN session_snapshots AS p
        ON s.day = p.day AND s.sensor = p.sensor AND s.session_id = p.session_id AND p.is_current
    WHERE
        s.source_ip IS NOT NULL AND i.is_public IS NOT FALSE AND i.is_own IS NOT TRUE
        AND s.first_event_at >= coalesce(base.since, '-infinity')
        AND s.first_event_at < coalesce(base.until, 'infinity')
"""
_OTHER_RECOUNTS = {
    "anonymization": f"""
        WITH base AS (SELECT * FROM query_results WHERE query = 'anonymization'),
        counted AS (
            SELECT
                s.day, count(*) AS sessions, count(*) FILTER (WHERE x.is_vpn) AS vpn,
                count(*) FILTER (WHERE x.is_tor OR p.snapshot_ip_type = 'tor') AS tor
            {_ELIGIBLE} GROUP BY s.day
        )
        SELECT coalesce(c.day, a.attack_date)::text, a.session_count, c.sessions
        FROM counted AS c FULL JOIN anonymization AS a ON c.day = a.attack_date CROSS JOIN base
        WHERE
            (coalesce(c.sessions, 0) >= base.minimum_sessions OR a.attack_date IS NOT NULL)
            AND (
                (c.sessions, c.vpn, c.tor)
                IS DISTINCT FROM (a.session_count, coalesce(a.vpn_sessions, 0), coalesce(a.tor_sessions, 0))
            )
        ORDER BY 1 LIMIT 3
    """,  # noqa: S608 - constants of this file
    "reputation_distribution": f"""
        WITH base AS (SELECT * FROM query_results WHERE query = 'reputation_distribution'),
        counted AS (
            SELECT
                CASE
                    WHEN d.attacks IS NULL THEN 'no_data'
                    ELSE (ARRAY['0', '1-10', '11-100', '101-1000', '>1000'])[
                        1 + width_bucket(d.attacks, ARRAY[1, 11, 101, 1001]::bigint[])
                    ]
                END AS bucket,
                count(*) AS sessions
            {_ELIGIBLE} GROUP BY 1
        )
        SELECT coalesce(c.bucket, r.reputation_bucket), r.session_count, c.sessions
        FROM counted AS c FULL JOIN reputation_distribution AS r ON c.bucket = r.reputation_bucket CROSS JOIN base
        WHERE
            (coalesce(c.sessions, 0) >= base.minimum_sessions OR r.reputation_bucket IS NOT NULL)
            AND c.sessions IS DISTINCT FROM r.session_count
        ORDER BY 1 LIMIT 3
    """,  # noqa: S608 - constants of this file
}


def recount_query(query: InfrastructureQuery) -> str:
    """The recount of a query: a row a finding, with what the result tells and what was counted."""
    if query.name not in _COLUMNS:
        return _OTHER_RECOUNTS[query.name]
    key, column, _ = _COLUMNS[query.name]
    return _RECOUNT.format(name=f"'{query.name}'", key=key, column=column, table=query.name)


def findings(connection: Connection, query: InfrastructureQuery) -> list[str]:
    """What is wrong with the stored result of a query; empty where nothing is."""
    if query.name in _COLUMNS:
        return _findings_by_snapshot(connection, query)
    base = connection.execute("SELECT sessions FROM query_results WHERE query = %s", (query.name,)).fetchone()
    if base is None:
        return ["it has never run"]
    found = [
        f"{query.label} {name}: {told or 0} sessions told, {counted or 0} counted, or their parts differ"
        for name, told, counted in connection.execute(recount_query(query).encode())
    ]
    return found if base[0] else [*found, "there is no session in its window"]


def _findings_by_snapshot(connection: Connection, query: InfrastructureQuery) -> list[str]:
    _, column, percentage = _COLUMNS[query.name]
    base = connection.execute("SELECT sessions, covered FROM query_results WHERE query = %s", (query.name,)).fetchone()
    if base is None:
        return ["it has never run"]
    identifiers = {"table": sql.Identifier(query.name), "percentage": sql.Identifier(percentage)}
    found = [
        f"{column} {name}: {told or 0} sessions told, {counted or 0} counted"
        for name, told, counted in connection.execute(recount_query(query).encode())
    ]
    summary = sql.SQL("SELECT count(*), coalesce(sum({percentage}), 0) FROM {table}").format(**identifiers)
    rows, share = connection.execute(summary).fetchone() or (0, 0)
    # Each percentage is rounded to two decimals.
    if share > 100 + rows * Decimal("0.005"):
        found.append(f"its percentages add up to {share}")
    if not base[0]:
        found.append("there is no session in its window")
    return found + (_countries_without_asn(connection) if column == "country" else [])


def _countries_without_asn(connection: Connection) -> list[str]:
    """In production every country once had 0 ASNs: the key that the query read is in no answer of the service."""
    query = """
        SELECT g.country FROM geographic_distribution AS g CROSS JOIN query_results AS base
        WHERE base.query = 'geographic_distribution' AND g.unique_asns = 0 AND EXISTS (
            SELECT FROM session_snapshots AS p
            WHERE p.is_current AND p.snapshot_country = g.country AND p.snapshot_asn IS NOT NULL
                AND p.attacked_at >= coalesce(base.since, '-infinity')
                AND p.attacked_at < coalesce(base.until, 'infinity')
        )
        ORDER BY g.country LIMIT 3
    """
    return [f"country {country} has sessions with an ASN, and 0 ASNs" for (country,) in connection.execute(query)]


def judge_recount(connection: Connection, query: InfrastructureQuery) -> Verdict:
    """Whether the result agrees with a recount, in words."""
    found = findings(connection, query)
    numbers = {"findings": len(found), "rows": _rows(connection, query)}
    if found:
        cure = "Materialize the query again over all sessions; if it stays, report it with sql/ and the rows."
        return Verdict(False, f"{'; '.join(found)}. {cure}", numbers)
    return Verdict(True, f"All {numbers['rows']:,} rows agree with a recount.", numbers)


def judge_positives(connection: Connection, query: InfrastructureQuery, least: int) -> Verdict:
    """Whether the result shows something of all that the tables hold, in words."""
    base = connection.execute(
        "SELECT sessions, minimum_sessions FROM query_results WHERE query = %s", (query.name,)
    ).fetchone()
    if base is None:
        return Verdict(False, f"{query.name} has never run: materialize it.")
    missing, there = missing_positives(connection, query, least)
    rows = _rows(connection, query)
    numbers = {"kinds of positives in the tables": there, "kinds not shown": len(missing), "rows": rows}
    if missing:
        cure = (
            f"The query, or the view that it reads, loses them: compare sql/{query.sql_name} with how it was shipped."
        )
        return Verdict(False, f"{'; '.join(missing)}. {cure}", numbers)
    if not rows:
        words = (
            f"The result is empty: of {base[0]:,} sessions in its window no {query.label} has {base[1]:,} or more. To "
            "see smaller ones, set minimum_sessions in the run config of the query."
        )
        return Verdict(True, words, numbers)
    return Verdict(True, f"The result shows each of the {there} kinds of positives that the tables hold.", numbers)


def _rows(connection: Connection, query: InfrastructureQuery) -> int:
    row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(query.name))).fetchone()
    return row[0] if row else 0


def query_checks(thresholds: Thresholds) -> list[dg.AssetChecksDefinition]:
    return [_checks(query, thresholds.positives) for query in QUERIES]


def _checks(query: InfrastructureQuery, least: int) -> dg.AssetChecksDefinition:
    threshold = f"more than 0 of whatever {least} sessions or more have in the tables"

    @dg.multi_asset_check(
        name=f"{query.name}_sanity",
        specs=[
            dg.AssetCheckSpec(
                "agrees_with_a_recount",
                asset=query.name,
                description="Each row's sessions equal a plain count over the tables, and its percentages make sense.",
            ),
            dg.AssetCheckSpec(
                "shows_positives",
                asset=query.name,
                description=f"The result shows {threshold}, in the rows that it has.",
            ),
        ],
        can_subset=True,
    )
    def sanity(context: dg.AssetCheckExecutionContext, warehouse: Warehouse) -> Iterable[dg.AssetCheckEvaluation]:
        error = dg.AssetCheckSeverity.ERROR
        with warehouse.connect() as connection:
            for key in sorted(context.selected_asset_check_keys):
                if key.name == "agrees_with_a_recount":
                    verdict, text = judge_recount(connection, query), recount_query(query)
                    yield evaluation(key, verdict, threshold="exact agreement", sql=text, severity=error)
                else:
                    verdict, text = judge_positives(connection, query, least), positives_query(query)
                    yield evaluation(key, verdict, threshold=threshold, sql=text, severity=error)

    return sanity
