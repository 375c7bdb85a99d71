-- Query 13, anonymization: day by day, how the attackers hid and what kind of line they came from.
--
-- Settings, each optional: SET cowrie.since = '2025-09-01'; cowrie.until (exclusive); cowrie.minimum_sessions (1);
-- cowrie.row_limit (100000). Sessions without a public source are left out; a day is the UTC day of the session.
--
-- Nobody asked is no zero. What Spur alone can tell (VPN, proxy, residential, datacenter, mobile) is a share of the
-- sessions that Spur answered for; what the lists can tell as well (Tor, hosting, any of the three) is a share of the
-- sessions that Spur or the lists could judge; both are NULL where there was none.

-- Inlined, so that the planner knows how many sessions the window takes: a fourth of the time.
WITH settings AS NOT MATERIALIZED (
    SELECT
        coalesce(nullif(current_setting('cowrie.since', true), ''), '-infinity')::timestamptz AS since,
        coalesce(nullif(current_setting('cowrie.until', true), ''), 'infinity')::timestamptz AS until,
        coalesce(nullif(current_setting('cowrie.minimum_sessions', true), ''), '1')::bigint AS minimum_sessions
),

by_day AS (
    SELECT
        day AS attack_date,
        count(*) AS session_count,
        count(spur_answered_at) AS spur_answered,
        count(*) FILTER (WHERE spur_answered_at IS NOT null OR lists_consulted) AS classified,
        count(*) FILTER (WHERE spur_is_vpn) AS vpn,
        count(*) FILTER (WHERE spur_is_proxy) AS proxy,
        count(*) FILTER (WHERE spur_is_tor OR snapshot_ip_type = 'tor') AS tor,
        count(*) FILTER (
            WHERE spur_is_vpn OR spur_is_proxy OR spur_is_tor OR snapshot_ip_type = 'tor'
        ) AS anonymized,
        count(*) FILTER (WHERE spur_infrastructure = 'RESIDENTIAL') AS residential,
        count(*) FILTER (WHERE spur_infrastructure = 'DATACENTER') AS datacenter,
        count(*) FILTER (WHERE spur_infrastructure = 'HOSTING' OR snapshot_ip_type = 'cloud') AS hosting,
        count(*) FILTER (WHERE spur_infrastructure = 'MOBILE') AS mobile
    FROM session_summaries
    CROSS JOIN settings
    WHERE
        has_public_source
        AND first_event_at >= since
        AND first_event_at < until
    GROUP BY day
)

SELECT
    by_day.attack_date,
    by_day.session_count,
    by_day.spur_answered AS spur_answered_sessions,
    by_day.classified AS classified_sessions,
    CASE WHEN by_day.spur_answered > 0 THEN by_day.vpn END AS vpn_sessions,
    round(by_day.vpn::numeric / nullif(by_day.spur_answered, 0), 4) AS vpn_ratio,
    CASE WHEN by_day.spur_answered > 0 THEN by_day.proxy END AS proxy_sessions,
    round(by_day.proxy::numeric / nullif(by_day.spur_answered, 0), 4) AS proxy_ratio,
    CASE WHEN by_day.classified > 0 THEN by_day.tor END AS tor_sessions,
    round(by_day.tor::numeric / nullif(by_day.classified, 0), 4) AS tor_ratio,
    CASE WHEN by_day.classified > 0 THEN by_day.anonymized END AS anonymized_sessions,
    round(by_day.anonymized::numeric / nullif(by_day.classified, 0), 4) AS anonymization_ratio,
    CASE WHEN by_day.spur_answered > 0 THEN by_day.residential END AS residential_count,
    round(by_day.residential::numeric / nullif(by_day.spur_answered, 0), 4) AS residential_ratio,
    CASE WHEN by_day.spur_answered > 0 THEN by_day.datacenter END AS datacenter_count,
    round(by_day.datacenter::numeric / nullif(by_day.spur_answered, 0), 4) AS datacenter_ratio,
    CASE WHEN by_day.classified > 0 THEN by_day.hosting END AS hosting_count,
    round(by_day.hosting::numeric / nullif(by_day.classified, 0), 4) AS hosting_ratio,
    CASE WHEN by_day.spur_answered > 0 THEN by_day.mobile END AS mobile_count,
    round(by_day.mobile::numeric / nullif(by_day.spur_answered, 0), 4) AS mobile_ratio
FROM by_day
CROSS JOIN settings
WHERE by_day.session_count >= settings.minimum_sessions
ORDER BY by_day.attack_date DESC
LIMIT coalesce(nullif(current_setting('cowrie.row_limit', true), ''), '100000')::bigint;
