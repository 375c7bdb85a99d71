-- One row a source address: what its sessions add up to, and what was last observed of it. `public_addresses` (a
-- temporary table that the asset fills) holds the globally routable ones, and whether they are the operator's own.
--
-- MaxMind's file says where an address is, Team Cymru how it is registered; the AS is the one last observed by either.
WITH newest AS (
    SELECT DISTINCT ON (address, source) *
    FROM ip_observations
    ORDER BY address ASC, source ASC, observed_at DESC
),

asns AS (
    SELECT DISTINCT ON (address)
        address,
        asn,
        observed_at
    FROM newest
    WHERE asn IS NOT NULL
    ORDER BY address ASC, observed_at DESC, source ASC
),

greynoise AS (
    SELECT DISTINCT ON (key)
        key::inet AS address,
        answered_at,
        fields
    FROM service_answers
    WHERE service = 'greynoise'
    ORDER BY key ASC, answered_at DESC
),

-- In the newest edition of a list; of several clouds the one that names the smallest range.
exits AS (
    SELECT
        address,
        listed_from
    FROM tor_exits
    WHERE listed_until IS NULL
),

clouds AS (
    SELECT DISTINCT ON (p.address)
        p.address,
        c.provider,
        c.listed_from
    FROM public_addresses AS p
    INNER JOIN cloud_ranges AS c ON p.address && c.prefix
    WHERE c.listed_until IS NULL
    ORDER BY p.address ASC, masklen(c.prefix) DESC, c.provider ASC
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
        coalesce(p.is_own, FALSE) AS is_own,
        asns.asn AS current_asn,
        asns.observed_at AS asn_last_verified,
        CASE
            WHEN asns.asn IS NOT NULL THEN NULL
            WHEN p.address IS NULL THEN 'private address'
            WHEN cymru.address IS NOT NULL THEN 'not announced'
            WHEN systems.address IS NOT NULL THEN 'not in geo database'
            ELSE 'no geo database'
        END AS asn_reason,
        places.country AS geo_country,
        CASE
            WHEN places.country IS NOT NULL THEN NULL
            WHEN p.address IS NULL THEN 'private address'
            WHEN places.address IS NULL THEN 'no geo database'
            ELSE 'not in geo database'
        END AS country_reason,
        CASE
            WHEN exits.address IS NOT NULL THEN 'tor'
            WHEN clouds.address IS NOT NULL THEN 'cloud'
        END AS ip_type,
        CASE
            WHEN exits.address IS NOT NULL OR clouds.address IS NOT NULL THEN NULL
            WHEN p.address IS NULL THEN 'private address'
            WHEN EXISTS (SELECT 1 FROM list_editions) THEN 'in none of the lists'
            ELSE 'no range lists yet'
        END AS ip_type_reason,
        a.first_seen,
        a.last_seen,
        a.session_count,
        jsonb_strip_nulls(
            jsonb_build_object(
                'maxmind',
                CASE
                    WHEN systems.address IS NOT NULL OR places.address IS NOT NULL
                        THEN coalesce(places.details, '{}') || jsonb_build_object(
                            'country', places.country,
                            'asn', systems.asn,
                            'asn_org', systems.as_name,
                            'prefix', systems.prefix,
                            'cached_at', greatest(systems.observed_at, places.observed_at)
                        )
                END,
                'cymru',
                CASE
                    WHEN cymru.address IS NOT NULL THEN jsonb_build_object(
                        'asn', cymru.asn,
                        'as_name', cymru.as_name,
                        'asn_org', cymru.as_name,
                        'prefix', cymru.prefix,
                        'country', cymru.details -> 'registry_country',
                        'registry', cymru.details -> 'registry',
                        'allocated', cymru.details -> 'allocated',
                        'asns', cymru.details -> 'asns',
                        'cached_at', cymru.observed_at
                    )
                END,
                'greynoise',
                greynoise.fields || jsonb_build_object('cached_at', greynoise.answered_at),
                'ip_classification',
                CASE
                    WHEN exits.address IS NOT NULL
                        THEN
                            jsonb_build_object(
                                'ip_type', 'tor',
                                'source', 'tor_exits',
                                'classified_at', exits.listed_from
                            )
                    WHEN clouds.address IS NOT NULL THEN jsonb_build_object(
                        'ip_type', 'cloud',
                        'provider', clouds.provider,
                        'source', 'cloud_ranges',
                        'classified_at', clouds.listed_from
                    )
                END
            )
        ) AS enrichment
    FROM by_address AS a
    LEFT JOIN public_addresses AS p ON a.source_ip = p.address
    LEFT JOIN asns ON a.source_ip = asns.address
    LEFT JOIN newest AS systems ON a.source_ip = systems.address AND systems.source = 'geoip_asn'
    LEFT JOIN newest AS places ON a.source_ip = places.address AND places.source = 'geoip_city'
    LEFT JOIN newest AS cymru ON a.source_ip = cymru.address AND cymru.source = 'cymru'
    LEFT JOIN greynoise ON a.source_ip = greynoise.address
    LEFT JOIN exits ON a.source_ip = exits.address
    LEFT JOIN clouds ON a.source_ip = clouds.address
),

gone AS (
    DELETE FROM ip_inventory
    WHERE ip_address NOT IN (SELECT facts.ip_address FROM facts)
)

INSERT INTO ip_inventory AS known (
    ip_address, is_public, is_own, current_asn, asn_last_verified, asn_reason, geo_country, country_reason, ip_type,
    ip_type_reason, first_seen, last_seen, session_count, enrichment, enrichment_updated_at, enrichment_version
)
SELECT
    ip_address,
    is_public,
    is_own,
    current_asn,
    asn_last_verified,
    asn_reason,
    geo_country,
    country_reason,
    ip_type,
    ip_type_reason,
    first_seen,
    last_seen,
    session_count,
    enrichment,
    CASE WHEN enrichment <> '{}' THEN now() END,
    '2'
FROM facts
ON CONFLICT (ip_address) DO UPDATE SET
    is_public = excluded.is_public,
    is_own = excluded.is_own,
    current_asn = excluded.current_asn,
    asn_last_verified = excluded.asn_last_verified,
    asn_reason = excluded.asn_reason,
    geo_country = excluded.geo_country,
    country_reason = excluded.country_reason,
    ip_type = excluded.ip_type,
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
    known.is_public, known.is_own, known.current_asn, known.asn_last_verified, known.asn_reason, known.geo_country,
    known.country_reason, known.ip_type, known.ip_type_reason, known.first_seen, known.last_seen,
    known.session_count, known.enrichment, known.enrichment_version
) IS DISTINCT FROM (
    excluded.is_public, excluded.is_own, excluded.current_asn, excluded.asn_last_verified, excluded.asn_reason,
    excluded.geo_country, excluded.country_reason, excluded.ip_type, excluded.ip_type_reason, excluded.first_seen,
    excluded.last_seen, excluded.session_count, excluded.enrichment, excluded.enrichment_version
);
