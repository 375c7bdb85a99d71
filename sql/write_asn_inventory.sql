-- One row an AS that an attacking address was ever observed in: its name as last observed (by the geo file, else by
-- Team Cymru), how it is registered, when its addresses attacked, and how many addresses and sessions are its own now.
-- An AS that lost its addresses keeps its row and its name.
WITH newest AS (
    SELECT DISTINCT ON (address, source)
        address,
        source,
        asn,
        observed_at
    FROM ip_observations
    ORDER BY address ASC, source ASC, observed_at DESC
),

current_as AS (
    SELECT DISTINCT ON (address)
        address,
        asn
    FROM newest
    WHERE asn IS NOT NULL
    ORDER BY address ASC, observed_at DESC, source ASC
),

registrations AS (
    SELECT DISTINCT ON (asn)
        asn,
        as_name,
        details ->> 'registry_country' AS country,
        details ->> 'registry' AS registry,
        observed_at
    FROM ip_observations
    WHERE source = 'cymru' AND asn IS NOT NULL
    ORDER BY asn ASC, observed_at DESC, address ASC
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
        (array_agg(as_name ORDER BY observed_at DESC) FILTER (WHERE source = 'geoip_asn'))[1] AS as_name,
        max(observed_at) FILTER (WHERE source = 'geoip_asn') AS observed_at
    FROM ip_observations
    WHERE asn IS NOT NULL
    GROUP BY asn, address
),

facts AS (
    SELECT
        m.asn AS asn_number,
        (array_agg(m.as_name ORDER BY m.observed_at DESC NULLS LAST, m.as_name ASC))[1] AS file_name,
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
    asn_number, organization_name, organization_country, rir_registry, first_seen, last_seen, unique_ip_count,
    total_session_count, enrichment, enrichment_updated_at
)
SELECT
    facts.asn_number,
    coalesce(facts.file_name, registrations.as_name),
    registrations.country,
    registrations.registry,
    facts.first_seen,
    facts.last_seen,
    facts.unique_ip_count,
    facts.total_session_count,
    jsonb_strip_nulls(
        jsonb_build_object(
            'maxmind',
            CASE
                WHEN facts.observed_at IS NOT NULL
                    THEN jsonb_build_object('asn_org', facts.file_name, 'observed_at', facts.observed_at)
            END,
            'cymru',
            CASE
                WHEN registrations.asn IS NOT NULL THEN jsonb_build_object(
                    'as_name', registrations.as_name,
                    'country', registrations.country,
                    'registry', registrations.registry,
                    'observed_at', registrations.observed_at
                )
            END
        )
    ),
    now()
FROM facts
LEFT JOIN registrations ON facts.asn_number = registrations.asn
ON CONFLICT (asn_number) DO UPDATE SET
    organization_name = excluded.organization_name,
    organization_country = excluded.organization_country,
    rir_registry = excluded.rir_registry,
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
    known.organization_name, known.organization_country, known.rir_registry, known.first_seen, known.last_seen,
    known.unique_ip_count, known.total_session_count, known.enrichment
) IS DISTINCT FROM (
    excluded.organization_name, excluded.organization_country, excluded.rir_registry, excluded.first_seen,
    excluded.last_seen, excluded.unique_ip_count, excluded.total_session_count, excluded.enrichment
);
