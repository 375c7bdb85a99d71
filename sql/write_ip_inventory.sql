-- One row a source address: what its sessions add up to, and what was last observed of it. `public_addresses` (a
-- temporary table that the asset fills) holds the globally routable ones.
WITH asns AS (
    SELECT DISTINCT ON (address) *
    FROM ip_observations
    WHERE source = 'geoip_asn'
    ORDER BY address ASC, observed_at DESC
),

places AS (
    SELECT DISTINCT ON (address) *
    FROM ip_observations
    WHERE source = 'geoip_city'
    ORDER BY address ASC, observed_at DESC
),

by_address AS (
    SELECT
        source_ip,
        min(first_event_at) AS first_seen,
        max(last_event_at) AS last_seen,
        count(*)::int AS session_count
    FROM sessions
    WHERE source_ip IS NOT NULL
    GROUP BY source_ip
),

facts AS (
    SELECT
        a.source_ip AS ip_address,
        p.address IS NOT NULL AS is_public,
        asns.asn AS current_asn,
        CASE WHEN asns.asn IS NOT NULL THEN asns.observed_at END AS asn_last_verified,
        CASE
            WHEN asns.asn IS NOT NULL THEN NULL
            WHEN p.address IS NULL THEN 'private address'
            WHEN asns.address IS NULL THEN 'no geo database'
            ELSE 'not in geo database'
        END AS asn_reason,
        places.country AS geo_country,
        CASE
            WHEN places.country IS NOT NULL THEN NULL
            WHEN p.address IS NULL THEN 'private address'
            WHEN places.address IS NULL THEN 'no geo database'
            ELSE 'not in geo database'
        END AS country_reason,
        a.first_seen,
        a.last_seen,
        a.session_count,
        CASE
            WHEN asns.address IS NULL AND places.address IS NULL THEN '{}'::jsonb
            ELSE jsonb_build_object(
                'maxmind',
                coalesce(places.details, '{}') || jsonb_strip_nulls(
                    jsonb_build_object(
                        'country', places.country,
                        'asn', asns.asn,
                        'asn_org', asns.as_name,
                        'prefix', asns.prefix,
                        'cached_at', greatest(asns.observed_at, places.observed_at)
                    )
                )
            )
        END AS enrichment
    FROM by_address AS a
    LEFT JOIN public_addresses AS p ON a.source_ip = p.address
    LEFT JOIN asns ON a.source_ip = asns.address
    LEFT JOIN places ON a.source_ip = places.address
),

gone AS (
    DELETE FROM ip_inventory
    WHERE ip_address NOT IN (SELECT facts.ip_address FROM facts)
)

INSERT INTO ip_inventory AS known (
    ip_address, is_public, current_asn, asn_last_verified, asn_reason, geo_country, country_reason, ip_type_reason,
    first_seen, last_seen, session_count, enrichment, enrichment_updated_at, enrichment_version
)
SELECT
    ip_address,
    is_public,
    current_asn,
    asn_last_verified,
    asn_reason,
    geo_country,
    country_reason,
    'no range lists yet',
    first_seen,
    last_seen,
    session_count,
    enrichment,
    CASE WHEN enrichment <> '{}' THEN now() END,
    '1'
FROM facts
ON CONFLICT (ip_address) DO UPDATE SET
    is_public = excluded.is_public,
    current_asn = excluded.current_asn,
    asn_last_verified = excluded.asn_last_verified,
    asn_reason = excluded.asn_reason,
    geo_country = excluded.geo_country,
    country_reason = excluded.country_reason,
    ip_type_reason = excluded.ip_type_reason,
    first_seen = excluded.first_seen,
    last_seen = excluded.last_seen,
    session_count = excluded.session_count,
    enrichment = excluded.enrichment,
    enrichment_updated_at = CASE
        WHEN known.enrichment = excluded.enrichment THEN known.enrichment_updated_at
        ELSE excluded.enrichment_updated_at
    END,
    enrichment_version = excluded.enrichment_version
WHERE
(
    known.is_public, known.current_asn, known.asn_last_verified, known.asn_reason, known.geo_country,
    known.country_reason, known.ip_type_reason, known.first_seen, known.last_seen, known.session_count,
    known.enrichment, known.enrichment_version
) IS DISTINCT FROM (
    excluded.is_public, excluded.current_asn, excluded.asn_last_verified, excluded.asn_reason,
    excluded.geo_country, excluded.country_reason, excluded.ip_type_reason, excluded.first_seen, excluded.last_seen,
    excluded.session_count, excluded.enrichment, excluded.enrichment_version
);
