-- Query 12, infrastructure by autonomous system: whose networks the attacks came from, at the time.
--
-- Settings, each optional: SET cowrie.since = '2025-09-01'; cowrie.until (exclusive); cowrie.minimum_sessions (50);
-- cowrie.row_limit (500). An AS is one row whatever its name was over time; the name is the one last observed.
WITH settings AS (
    SELECT
        coalesce(nullif(current_setting('cowrie.since', true), ''), '-infinity')::timestamptz AS since,
        coalesce(nullif(current_setting('cowrie.until', true), ''), 'infinity')::timestamptz AS until,
        coalesce(nullif(current_setting('cowrie.minimum_sessions', true), ''), '50')::bigint AS minimum_sessions
),

by_asn_country_day AS (
    SELECT
        snapshot_asn AS asn,
        snapshot_country AS country,
        day,
        count(*) AS session_count,
        min(first_event_at) AS first_seen,
        max(last_event_at) AS last_seen,
        sum(command_count) AS commands,
        sum(file_downloads) AS downloads,
        sum(ssh_key_injections) AS ssh_injections,
        count(vt_flagged) AS vt_known,
        count(*) FILTER (WHERE vt_flagged) AS vt_flagged,
        count(dshield_flagged) AS dshield_known,
        count(*) FILTER (WHERE dshield_flagged) AS dshield_flagged
    FROM session_summaries
    CROSS JOIN settings
    WHERE
        snapshot_asn IS NOT null
        AND first_event_at >= since
        AND first_event_at < until
    GROUP BY snapshot_asn, snapshot_country, day
),

-- The country with most of the AS's sessions; of equal ones the first in the alphabet.
primary_countries AS (
    SELECT DISTINCT ON (asn)
        asn,
        country
    FROM by_asn_country_day
    WHERE country IS NOT null
    GROUP BY asn, country
    ORDER BY asn ASC, sum(session_count) DESC, country ASC
),

by_asn AS (
    SELECT
        asn,
        sum(session_count)::bigint AS session_count,
        count(DISTINCT day) AS days_active,
        min(first_seen) AS first_seen,
        max(last_seen) AS last_seen,
        round(sum(commands) / sum(session_count), 2) AS avg_commands,
        sum(downloads)::bigint AS total_downloads,
        sum(ssh_injections)::bigint AS total_ssh_injections,
        CASE WHEN sum(vt_known) > 0 THEN sum(vt_flagged)::bigint END AS vt_flagged_sessions,
        CASE WHEN sum(dshield_known) > 0 THEN sum(dshield_flagged)::bigint END AS dshield_flagged_sessions,
        round(100 * sum(session_count) / sum(sum(session_count)) OVER (), 2) AS asn_percentage
    FROM by_asn_country_day
    GROUP BY asn
)

SELECT
    by_asn.asn,
    inventory.organization_name AS as_name,
    primary_countries.country AS primary_country,
    by_asn.session_count,
    by_asn.days_active,
    by_asn.first_seen,
    by_asn.last_seen,
    by_asn.avg_commands,
    by_asn.total_downloads,
    by_asn.total_ssh_injections,
    by_asn.vt_flagged_sessions,
    by_asn.dshield_flagged_sessions,
    -- By number where a provider's name says something else (Akamai bought Linode, Vultr trades as Constant), else by
    -- whole words: '%ovh%' and '%aws%' once made clouds of "Movhost" and "Lawson".
    CASE
        WHEN
            by_asn.asn IN (14618, 16509, 8987, 7224)
            OR inventory.organization_name ~* '\m(amazon|aws)\M' THEN 'AWS'
        WHEN by_asn.asn IN (8068, 8075) OR inventory.organization_name ~* '\m(microsoft|azure)\M' THEN 'Azure'
        WHEN by_asn.asn IN (15169, 396982) OR inventory.organization_name ~* '\m(google|gcp)\M' THEN 'GCP'
        WHEN by_asn.asn = 14061 OR inventory.organization_name ~* '\mdigital ?ocean\M' THEN 'DigitalOcean'
        WHEN by_asn.asn = 63949 OR inventory.organization_name ~* '\mlinode\M' THEN 'Linode'
        WHEN by_asn.asn = 16276 OR inventory.organization_name ~* '\movh(cloud)?\M' THEN 'OVH'
        WHEN by_asn.asn IN (24940, 213230) OR inventory.organization_name ~* '\mhetzner\M' THEN 'Hetzner'
        WHEN by_asn.asn IN (37963, 45102) OR inventory.organization_name ~* '\m(alibaba|aliyun)\M' THEN 'Alibaba Cloud'
        WHEN by_asn.asn = 20473 OR inventory.organization_name ~* '\m(vultr|choopa)\M' THEN 'Vultr'
        WHEN
            inventory.organization_name
            ~* '(telecom|telekom|telefonica|telekomunik|chinanet|\m(mobile|broadband|cable|unicom|airtel|isp)\M)'
            THEN 'ISP/Telecom'
        WHEN
            inventory.organization_name
            ~* '(hosting|hostkey|\m(host|data ?cent(er|re)s?|servers?|vps|colo|cloud|scaleway|worldstream)\M)'
            THEN 'Hosting/Datacenter'
        ELSE 'Other'
    END AS infrastructure_type,
    by_asn.asn_percentage
FROM by_asn
CROSS JOIN settings
LEFT JOIN primary_countries ON by_asn.asn = primary_countries.asn
LEFT JOIN asn_inventory AS inventory ON by_asn.asn = inventory.asn_number
WHERE by_asn.session_count >= settings.minimum_sessions
ORDER BY by_asn.session_count DESC, by_asn.asn ASC
LIMIT coalesce(nullif(current_setting('cowrie.row_limit', true), ''), '500')::bigint;
