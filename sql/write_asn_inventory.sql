-- One row an AS that an attacking address was ever observed in: its name as last observed, when its addresses attacked,
-- and how many addresses and sessions are its own now. An AS that lost its addresses keeps its row and its name.
WITH current_as AS (
    SELECT DISTINCT ON (address)
        address,
        asn
    FROM ip_observations
    WHERE source = 'geoip_asn'
    ORDER BY address ASC, observed_at DESC
),

by_address AS (
    SELECT
        source_ip,
        min(first_event_at) AS first_seen,
        max(last_event_at) AS last_seen,
        count(*) AS session_count
    FROM sessions
    WHERE source_ip IS NOT NULL
    GROUP BY source_ip
),

members AS (
    SELECT
        asn,
        address,
        (array_agg(as_name ORDER BY observed_at DESC))[1] AS as_name,
        max(observed_at) AS observed_at
    FROM ip_observations
    WHERE asn IS NOT NULL
    GROUP BY asn, address
),

facts AS (
    SELECT
        m.asn AS asn_number,
        (array_agg(m.as_name ORDER BY m.observed_at DESC, m.as_name ASC))[1] AS organization_name,
        min(a.first_seen) AS first_seen,
        max(a.last_seen) AS last_seen,
        count(*) FILTER (WHERE c.asn = m.asn)::int AS unique_ip_count,
        coalesce(sum(a.session_count) FILTER (WHERE c.asn = m.asn), 0)::int AS total_session_count,
        max(m.observed_at) AS observed_at
    FROM members AS m
    INNER JOIN by_address AS a ON m.address = a.source_ip
    LEFT JOIN current_as AS c ON m.address = c.address
    GROUP BY m.asn
),

gone AS (
    DELETE FROM asn_inventory
    WHERE asn_number NOT IN (SELECT facts.asn_number FROM facts)
)

INSERT INTO asn_inventory AS known (
    asn_number, organization_name, first_seen, last_seen, unique_ip_count, total_session_count, enrichment,
    enrichment_updated_at
)
SELECT
    asn_number,
    organization_name,
    first_seen,
    last_seen,
    unique_ip_count,
    total_session_count,
    jsonb_build_object('maxmind', jsonb_build_object('asn_org', organization_name, 'observed_at', observed_at)),
    now()
FROM facts
ON CONFLICT (asn_number) DO UPDATE SET
    organization_name = excluded.organization_name,
    first_seen = excluded.first_seen,
    last_seen = excluded.last_seen,
    unique_ip_count = excluded.unique_ip_count,
    total_session_count = excluded.total_session_count,
    enrichment = excluded.enrichment,
    enrichment_updated_at = CASE
        WHEN known.enrichment = excluded.enrichment THEN known.enrichment_updated_at
        ELSE excluded.enrichment_updated_at
    END
WHERE
(
    known.organization_name, known.first_seen, known.last_seen, known.unique_ip_count, known.total_session_count,
    known.enrichment
) IS DISTINCT FROM (
    excluded.organization_name, excluded.first_seen, excluded.last_seen, excluded.unique_ip_count,
    excluded.total_session_count, excluded.enrichment
);
