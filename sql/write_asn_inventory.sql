-- One row an AS: the addresses that were last observed in it, and what their sessions add up to.
WITH current_as AS (
    SELECT DISTINCT ON (address)
        address,
        asn,
        as_name,
        observed_at
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

facts AS (
    SELECT
        c.asn AS asn_number,
        (array_agg(c.as_name ORDER BY c.observed_at DESC, c.as_name ASC))[1] AS organization_name,
        min(a.first_seen) AS first_seen,
        max(a.last_seen) AS last_seen,
        count(*)::int AS unique_ip_count,
        sum(a.session_count)::int AS total_session_count,
        max(c.observed_at) AS observed_at
    FROM by_address AS a
    INNER JOIN current_as AS c ON a.source_ip = c.address
    WHERE c.asn IS NOT NULL
    GROUP BY c.asn
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
