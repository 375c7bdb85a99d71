-- What was TRUE of each source address when it attacked, for the sessions of one day (SET cowrie.day = '2025-09-10').
--
-- Each part (AS, country, type) takes the observation in force at the attack, else the last one before it, else the
-- first one after it. A snapshot is written as a unit; a better one becomes current, and the old version stays as it
-- was written. An edition of a range list observes all addresses, and is in force for as long as it is current.
CREATE TEMPORARY TABLE fresh_snapshots ON COMMIT DROP AS
WITH attacks AS (
    SELECT
        s.day,
        s.sensor,
        s.session_id,
        s.source_ip,
        s.first_event_at AS attacked_at,
        i.is_public
    FROM sessions AS s
    LEFT JOIN ip_inventory AS i ON s.source_ip = i.ip_address
    WHERE s.day = current_setting('cowrie.day')::date
),

observations AS (
    SELECT o.*
    FROM ip_observations AS o
    WHERE o.address IN (SELECT attacks.source_ip FROM attacks)
),

asked AS (
    SELECT
        address,
        bool_or(source = 'geoip_asn') AS for_asn,
        bool_or(source = 'cymru') AS for_announcement,
        bool_or(source = 'geoip_city') AS for_country
    FROM observations
    GROUP BY address
),

asns AS (
    SELECT
        address,
        asn AS known,
        observed_at,
        row_number() OVER in_time = 1 AS is_first,
        lead(observed_at, 1, 'infinity') OVER in_time AS next_observed_at,
        lead(asn) OVER in_time AS next_known
    FROM observations
    WHERE asn IS NOT NULL
    WINDOW in_time AS (PARTITION BY address ORDER BY observed_at, source)
),

countries AS (
    SELECT
        address,
        country AS known,
        observed_at,
        row_number() OVER in_time = 1 AS is_first,
        lead(observed_at, 1, 'infinity') OVER in_time AS next_observed_at,
        lead(country) OVER in_time AS next_known
    FROM observations
    WHERE country IS NOT NULL
    WINDOW in_time AS (PARTITION BY address ORDER BY observed_at, source)
),

-- The editions that can matter on this day: its own, the last one before it and the first one after it.
editions AS (
    SELECT
        e.list,
        e.fetched_at,
        e.valid_until,
        e.fetched_at = (SELECT min(f.fetched_at) FROM list_editions AS f WHERE f.list = e.list) AS is_first,
        lead(e.fetched_at, 1, 'infinity') OVER (PARTITION BY e.list ORDER BY e.fetched_at) AS next_fetched_at
    FROM list_editions AS e
    WHERE
        e.fetched_at >= coalesce(
            (
                SELECT max(f.fetched_at)
                FROM list_editions AS f
                WHERE f.list = e.list AND f.fetched_at <= current_setting('cowrie.day')::date
            ),
            '-infinity'
        )
        AND e.fetched_at <= coalesce(
            (
                SELECT min(f.fetched_at)
                FROM list_editions AS f
                WHERE f.list = e.list AND f.fetched_at >= current_setting('cowrie.day')::date + 1
            ),
            'infinity'
        )
),

-- (A range that overlaps a single address contains it; the index on prefixes knows this operator.)
entries AS (
    SELECT
        a.source_ip,
        'tor_exits' AS list,
        1 AS precedence,
        'tor' AS ip_type,
        t.listed_from,
        coalesce(t.listed_until, 'infinity') AS listed_until
    FROM (SELECT DISTINCT attacks.source_ip FROM attacks WHERE attacks.is_public) AS a
    INNER JOIN tor_exits AS t ON a.source_ip = t.address
    UNION ALL
    SELECT
        a.source_ip,
        'cloud_ranges' AS list,
        2 AS precedence,
        'cloud' AS ip_type,
        c.listed_from,
        coalesce(c.listed_until, 'infinity') AS listed_until
    FROM (SELECT DISTINCT attacks.source_ip FROM attacks WHERE attacks.is_public) AS a
    INNER JOIN cloud_ranges AS c ON a.source_ip && c.prefix
),

types AS (
    SELECT DISTINCT ON (attacks.sensor, attacks.session_id)
        attacks.sensor,
        attacks.session_id,
        entries.ip_type AS known,
        editions.fetched_at AS observed_at,
        CASE
            WHEN attacks.attacked_at < editions.fetched_at THEN 'observed_after'
            WHEN attacks.attacked_at < editions.valid_until THEN 'in_force'
            WHEN isfinite(editions.next_fetched_at) AND entries.listed_until > editions.next_fetched_at THEN 'in_force'
            ELSE 'observed_before'
        END AS basis
    FROM attacks
    INNER JOIN entries ON attacks.source_ip = entries.source_ip
    INNER JOIN editions
        ON
            entries.list = editions.list
            AND (attacks.attacked_at >= editions.fetched_at OR editions.is_first)
            AND attacks.attacked_at < editions.next_fetched_at
            AND entries.listed_from <= editions.fetched_at
            AND entries.listed_until > editions.fetched_at
    ORDER BY
        attacks.sensor ASC, attacks.session_id ASC, entries.precedence ASC, entries.listed_from ASC
),

-- The range of an observation ends where the next one begins, and the first one also serves all time before it: so each
-- attack meets exactly one, by a range join, which costs a twentieth more than a plain one.
parts AS (
    SELECT
        attacks.*,
        asked.for_asn,
        asked.for_announcement,
        asked.for_country,
        types.known AS ip_type,
        types.basis AS ip_type_basis,
        types.observed_at AS ip_type_observed_at,
        asns.known AS asn,
        asns.observed_at AS asn_observed_at,
        CASE
            WHEN asns.known IS NULL THEN NULL
            WHEN attacks.attacked_at < asns.observed_at THEN 'observed_after'
            WHEN asns.next_known = asns.known THEN 'in_force'
            ELSE 'observed_before'
        END AS asn_basis,
        countries.known AS country,
        countries.observed_at AS country_observed_at,
        CASE
            WHEN countries.known IS NULL THEN NULL
            WHEN attacks.attacked_at < countries.observed_at THEN 'observed_after'
            WHEN countries.next_known = countries.known THEN 'in_force'
            ELSE 'observed_before'
        END AS country_basis
    FROM attacks
    LEFT JOIN asked ON attacks.source_ip = asked.address
    LEFT JOIN types ON attacks.sensor = types.sensor AND attacks.session_id = types.session_id
    LEFT JOIN asns
        ON
            attacks.source_ip = asns.address
            AND (attacks.attacked_at >= asns.observed_at OR asns.is_first)
            AND attacks.attacked_at < asns.next_observed_at
    LEFT JOIN countries
        ON
            attacks.source_ip = countries.address
            AND (attacks.attacked_at >= countries.observed_at OR countries.is_first)
            AND attacks.attacked_at < countries.next_observed_at
)

SELECT
    day,
    sensor,
    session_id,
    source_ip,
    attacked_at,
    asn AS snapshot_asn,
    asn_basis,
    asn_observed_at,
    country AS snapshot_country,
    country_basis,
    country_observed_at,
    CASE
        WHEN asn IS NOT NULL THEN NULL
        WHEN source_ip IS NULL THEN 'no source address'
        WHEN is_public IS NULL THEN 'not in the inventory yet'
        WHEN NOT is_public THEN 'private address'
        WHEN for_announcement THEN 'not announced'
        WHEN for_asn THEN 'not in geo database'
        ELSE 'no geo database'
    END AS asn_reason,
    CASE
        WHEN country IS NOT NULL THEN NULL
        WHEN source_ip IS NULL THEN 'no source address'
        WHEN is_public IS NULL THEN 'not in the inventory yet'
        WHEN NOT is_public THEN 'private address'
        WHEN for_country THEN 'not in geo database'
        ELSE 'no geo database'
    END AS country_reason,
    ip_type AS snapshot_ip_type,
    ip_type_basis,
    ip_type_observed_at,
    CASE
        WHEN ip_type IS NOT NULL THEN NULL
        WHEN source_ip IS NULL THEN 'no source address'
        WHEN is_public IS NULL THEN 'not in the inventory yet'
        WHEN NOT is_public THEN 'private address'
        WHEN EXISTS (SELECT 1 FROM list_editions) THEN 'in none of the lists'
        ELSE 'no range lists yet'
    END AS ip_type_reason,
    CASE
        WHEN 'observed_after' IN (asn_basis, country_basis, ip_type_basis) THEN 'observed_after'
        WHEN 'observed_before' IN (asn_basis, country_basis, ip_type_basis) THEN 'observed_before'
        WHEN 'in_force' IN (asn_basis, country_basis, ip_type_basis) THEN 'in_force'
    END AS snapshot_basis,
    num_nonnulls(asn, country, ip_type) AS known_parts,
    farthest.lag,
    farthest.observed_at AS enrichment_at
FROM parts
LEFT JOIN LATERAL (
    SELECT
        observed.observed_at,
        greatest(parts.attacked_at - observed.observed_at, observed.observed_at - parts.attacked_at) AS lag
    FROM
        (
            VALUES
            (1, parts.asn_observed_at), (2, parts.country_observed_at), (3, parts.ip_type_observed_at)
        ) AS observed (part, observed_at)
    WHERE observed.observed_at IS NOT NULL
    ORDER BY lag DESC, observed.part ASC
    LIMIT 1
) AS farthest ON TRUE;

-- A current snapshot gives way when its session is not what it was (late lines moved its start), or when any part of it
-- is known otherwise now: a nearer observation, a better basis, one that refutes what seemed in force, an outdated
-- reason. It does not give way to one that knows less.
UPDATE session_snapshots AS old
SET is_current = FALSE
WHERE
    old.day = current_setting('cowrie.day')::date
    AND old.is_current
    AND NOT EXISTS (
        SELECT 1
        FROM fresh_snapshots AS fresh
        WHERE
            fresh.sensor = old.sensor
            AND fresh.session_id = old.session_id
            AND fresh.attacked_at = old.attacked_at
            AND fresh.source_ip IS NOT DISTINCT FROM old.source_ip
            AND (
                fresh.known_parts < num_nonnulls(old.snapshot_asn, old.snapshot_country, old.snapshot_ip_type)
                OR (
                    fresh.snapshot_asn, fresh.asn_basis, fresh.asn_observed_at, fresh.asn_reason,
                    fresh.snapshot_country, fresh.country_basis, fresh.country_observed_at, fresh.country_reason,
                    fresh.snapshot_ip_type, fresh.ip_type_basis, fresh.ip_type_observed_at, fresh.ip_type_reason
                ) IS NOT DISTINCT FROM (
                    old.snapshot_asn, old.asn_basis, old.asn_observed_at, old.asn_reason,
                    old.snapshot_country, old.country_basis, old.country_observed_at, old.country_reason,
                    old.snapshot_ip_type, old.ip_type_basis, old.ip_type_observed_at, old.ip_type_reason
                )
            )
    );

INSERT INTO session_snapshots (
    day, sensor, session_id, version, is_current, source_ip, attacked_at,
    snapshot_asn, asn_reason, asn_basis, asn_observed_at,
    snapshot_country, country_reason, country_basis, country_observed_at,
    snapshot_ip_type, ip_type_reason, ip_type_basis, ip_type_observed_at, snapshot_basis, enrichment_at, enrichment_lag
)
SELECT
    fresh.day,
    fresh.sensor,
    fresh.session_id,
    coalesce(max(old.version), 0) + 1,
    TRUE,
    fresh.source_ip,
    fresh.attacked_at,
    fresh.snapshot_asn,
    fresh.asn_reason,
    fresh.asn_basis,
    fresh.asn_observed_at,
    fresh.snapshot_country,
    fresh.country_reason,
    fresh.country_basis,
    fresh.country_observed_at,
    fresh.snapshot_ip_type,
    fresh.ip_type_reason,
    fresh.ip_type_basis,
    fresh.ip_type_observed_at,
    fresh.snapshot_basis,
    fresh.enrichment_at,
    fresh.lag
FROM fresh_snapshots AS fresh
LEFT JOIN session_snapshots AS old
    ON fresh.day = old.day AND fresh.sensor = old.sensor AND fresh.session_id = old.session_id
GROUP BY
    fresh.day, fresh.sensor, fresh.session_id, fresh.source_ip, fresh.attacked_at,
    fresh.snapshot_asn, fresh.asn_reason, fresh.asn_basis, fresh.asn_observed_at,
    fresh.snapshot_country, fresh.country_reason, fresh.country_basis, fresh.country_observed_at,
    fresh.snapshot_ip_type, fresh.ip_type_reason, fresh.ip_type_basis, fresh.ip_type_observed_at,
    fresh.snapshot_basis, fresh.enrichment_at, fresh.lag
HAVING NOT coalesce(bool_or(old.is_current), FALSE);
