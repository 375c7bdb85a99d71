"""Sanity of the infrastructure queries: where the tables hold something, the result must not show zero of it.

Lives here: what each query must show, and how the tables are asked for it without the view that the query reads. Not
here: whether its numbers are right (`queries`); a recount that knows every column would be the query once more.
"""

from dataclasses import dataclass

from cowrie_assets.assets.infrastructure import InfrastructureQuery
from cowrie_assets.warehouse.event_chunks import Connection


@dataclass(frozen=True)
class Positive:
    """Sessions of the tables that are positive by `tables`, and what the result shows of them by `shown`, in SQL."""

    what: str
    tables: str
    shown: str


@dataclass(frozen=True)
class _Sought:
    """What a query must show. `row` is the key of the row that a session belongs to: rows with too few sessions are not
    there, and their sessions not sought."""

    row: str
    positives: tuple[Positive, ...]
    eligible: str = "TRUE"


def _sum(column: str) -> str:
    return f"coalesce(sum(r.{column}), 0)"


_REPORTED = "d.attacks > 0 OR d.reports > 0"
_MALWARE = """s.file_downloads + s.file_uploads > 0 AND EXISTS (
            SELECT FROM files AS b INNER JOIN virustotal_files AS v ON b.day = v.day AND lower(b.sha256) = v.sha256
            WHERE b.day = s.day AND b.sensor = s.sensor AND b.session_id = s.session_id
                AND b.transfer IN ('download', 'upload') AND v.answered_at IS NOT NULL AND v.malicious > 0
        )"""
_PUBLIC = "s.source_ip IS NOT NULL AND i.is_public IS NOT FALSE AND i.is_own IS NOT TRUE"
_BUCKET = """CASE
        WHEN d.attacks IS NULL THEN 'no_data' WHEN d.attacks > 1000 THEN '>1000' WHEN d.attacks > 100 THEN '101-1000'
        WHEN d.attacks > 10 THEN '11-100' WHEN d.attacks > 0 THEN '1-10' ELSE '0'
    END"""
_SOUGHT = {
    "geographic_distribution": _Sought(
        "p.snapshot_country",
        (
            Positive("sessions with an AS", "p.snapshot_asn IS NOT NULL", _sum("unique_asns")),
            Positive("sessions with downloads", "s.file_downloads > 0", _sum("total_file_downloads")),
            Positive("sessions with malware, by VirusTotal", _MALWARE, _sum("vt_flagged_count")),
            Positive("sessions of reported attackers, by DShield", _REPORTED, _sum("dshield_flagged_count")),
        ),
    ),
    "asn_infrastructure": _Sought(
        "p.snapshot_asn",
        (
            Positive("sessions with a country", "p.snapshot_country IS NOT NULL", "count(r.primary_country)"),
            Positive("sessions with downloads", "s.file_downloads > 0", _sum("total_downloads")),
            Positive("sessions with planted keys", "s.ssh_key_injections > 0", _sum("total_ssh_injections")),
            Positive("sessions with malware, by VirusTotal", _MALWARE, _sum("vt_flagged_sessions")),
            Positive("sessions of reported attackers, by DShield", _REPORTED, _sum("dshield_flagged_sessions")),
        ),
    ),
    "anonymization": _Sought(
        "s.day",
        (
            Positive("sessions through a VPN", "x.is_vpn", _sum("vpn_sessions")),
            Positive("sessions through a proxy", "x.is_proxy", _sum("proxy_sessions")),
            Positive("sessions through Tor", "x.is_tor OR p.snapshot_ip_type = 'tor'", _sum("tor_sessions")),
            Positive(
                "anonymized sessions",
                "x.is_vpn OR x.is_proxy OR x.is_tor OR p.snapshot_ip_type = 'tor'",
                _sum("anonymized_sessions"),
            ),
            Positive("sessions from home lines", "x.infrastructure = 'RESIDENTIAL'", _sum("residential_count")),
            Positive("sessions from datacenters", "x.infrastructure = 'DATACENTER'", _sum("datacenter_count")),
            Positive(
                "sessions from hosters",
                "x.infrastructure = 'HOSTING' OR p.snapshot_ip_type = 'cloud'",
                _sum("hosting_count"),
            ),
            Positive("sessions from mobile lines", "x.infrastructure = 'MOBILE'", _sum("mobile_count")),
        ),
        eligible=_PUBLIC,
    ),
    "reputation_distribution": _Sought(
        _BUCKET,
        (
            Positive(
                "sessions whose attacks DShield counts",
                "d.attacks IS NOT NULL",
                "coalesce(sum(r.session_count) FILTER (WHERE r.reputation_bucket <> 'no_data'), 0)",
            ),
            Positive("sessions that DShield answered for", "d.answered_at IS NOT NULL", _sum("answered_sessions")),
            Positive("sessions with downloads", "s.file_downloads > 0", _sum("total_downloads")),
            Positive("sessions with planted keys", "s.ssh_key_injections > 0", _sum("total_ssh_injections")),
            Positive("sessions with malware, by VirusTotal", _MALWARE, _sum("vt_flagged_count")),
            Positive("sessions of reported attackers, by DShield", _REPORTED, _sum("dshield_flagged_count")),
        ),
        eligible=_PUBLIC,
    ),
}


def positives_of(query: InfrastructureQuery) -> tuple[Positive, ...]:
    """What the query must show where it is there."""
    return _SOUGHT[query.name].positives


def positives_query(query: InfrastructureQuery) -> str:
    """SQL that gives one row: for each positive how many sessions of the tables have it, in the window of the result
    and in rows that it must have; then for each what the result shows."""
    sought = _SOUGHT[query.name]
    counts = [f"count(*) FILTER (WHERE {p.tables}) AS n_{number}" for number, p in enumerate(sought.positives)]
    sums = [f"coalesce(sum(n_{number}), 0)" for number in range(len(counts))]
    shown = [f"(SELECT {positive.shown} FROM {query.name} AS r)" for positive in sought.positives]  # noqa: S608
    between = ",\n        "
    # A row may be missing when it has too few sessions, or when the result is full and it, or one with as many, would
    # be behind its end.
    return f"""
    WITH base AS (SELECT * FROM query_results WHERE query = '{query.name}'),
    counted AS (
        SELECT
        {sought.row} AS key,
        count(*) AS sessions,
        {between.join(counts)}
        FROM sessions AS s
        CROSS JOIN base
        LEFT JOIN session_snapshots AS p
            ON s.day = p.day AND s.sensor = p.sensor AND s.session_id = p.session_id AND p.is_current
        LEFT JOIN ip_inventory AS i ON s.source_ip = i.ip_address
        LEFT JOIN spur_enrichment AS x ON s.day = x.day AND s.source_ip = x.address
        LEFT JOIN dshield_enrichment AS d ON s.day = d.day AND s.source_ip = d.address
        WHERE
            {sought.eligible}
            AND s.first_event_at >= coalesce(base.since, '-infinity')
            AND s.first_event_at < coalesce(base.until, 'infinity')
        GROUP BY key
    ),
    due AS (
        SELECT counted.*, count(*) OVER (ORDER BY counted.sessions DESC) AS place
        FROM counted CROSS JOIN base
        WHERE key IS NOT NULL AND counted.sessions >= base.minimum_sessions
    )
    SELECT
        {between.join(sums)},
        {between.join(shown)}
    FROM due CROSS JOIN base
    WHERE place <= base.row_limit
    """  # noqa: S608 - constants of this file


def missing_positives(connection: Connection, query: InfrastructureQuery, least: int) -> tuple[list[str], int]:
    """What the result shows none of although `least` sessions or more have it, in words; and how many positives there
    were to show."""
    numbers = [int(value) for value in connection.execute(positives_query(query).encode()).fetchone() or ()]
    positives = positives_of(query)
    in_tables, shown = numbers[: len(positives)], numbers[len(positives) :]
    there = [(p, count, told) for p, count, told in zip(positives, in_tables, shown, strict=True) if count >= least]
    return [f"{count:,} {p.what} in the tables, 0 in the result" for p, count, told in there if not told], len(there)
