-- Query 11, geographic distribution: where the attacks came from, by the country of the source at the time.
--
-- Settings, each optional: SET cowrie.since = '2025-09-01'; cowrie.until (exclusive); cowrie.minimum_sessions (100);
-- cowrie.row_limit (200). A session whose country is unknown is in no row and not in the percentage: coverage tells how
-- many.
WITH settings AS (
    SELECT
        coalesce(nullif(current_setting('cowrie.since', true), ''), '-infinity')::timestamptz AS since,
        coalesce(nullif(current_setting('cowrie.until', true), ''), 'infinity')::timestamptz AS until,
        coalesce(nullif(current_setting('cowrie.minimum_sessions', true), ''), '100')::bigint AS minimum_sessions
),

-- Grouped twice: counting distinct ASNs and days over this result is three times as fast as over the sessions.
by_country_asn_day AS (
    SELECT
        snapshot_country AS country,
        snapshot_asn AS asn,
        day,
        count(*) AS session_count,
        min(first_event_at) AS first_seen,
        max(last_event_at) AS last_seen,
        sum(command_count) AS commands,
        sum(file_downloads) AS file_downloads,
        count(vt_flagged) AS vt_known,
        count(*) FILTER (WHERE vt_flagged) AS vt_flagged,
        count(dshield_flagged) AS dshield_known,
        count(*) FILTER (WHERE dshield_flagged) AS dshield_flagged
    FROM session_summaries
    CROSS JOIN settings
    WHERE
        snapshot_country IS NOT null
        AND first_event_at >= since
        AND first_event_at < until
    GROUP BY snapshot_country, snapshot_asn, day
),

by_country AS (
    SELECT
        country,
        sum(session_count)::bigint AS session_count,
        count(DISTINCT asn) AS unique_asns,
        count(DISTINCT day) AS days_active,
        min(first_seen) AS first_seen,
        max(last_seen) AS last_seen,
        round(sum(commands) / sum(session_count), 2) AS avg_commands_per_session,
        sum(file_downloads)::bigint AS total_file_downloads,
        CASE WHEN sum(vt_known) > 0 THEN sum(vt_flagged)::bigint END AS vt_flagged_count,
        CASE WHEN sum(dshield_known) > 0 THEN sum(dshield_flagged)::bigint END AS dshield_flagged_count,
        round(100 * sum(session_count) / sum(sum(session_count)) OVER (), 2) AS country_percentage,
        round(count(DISTINCT asn) / sum(session_count), 3) AS asn_diversity_ratio
    FROM by_country_asn_day
    GROUP BY country
)

SELECT by_country.*
FROM by_country
CROSS JOIN settings
WHERE by_country.session_count >= settings.minimum_sessions
ORDER BY by_country.session_count DESC, by_country.country ASC
LIMIT coalesce(nullif(current_setting('cowrie.row_limit', true), ''), '200')::bigint;
