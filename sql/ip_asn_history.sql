-- Which AS announced an address, and since when that was observed: one row for each change of value.
CREATE OR REPLACE VIEW ip_asn_history AS
SELECT
    address AS ip_address,
    asn AS asn_number,
    observed_at,
    source AS verification_source
FROM (
    SELECT
        address,
        asn,
        observed_at,
        source,
        lag(asn) OVER (PARTITION BY address ORDER BY observed_at, source) AS previous_asn
    FROM ip_observations
    WHERE asn IS NOT NULL
) AS observed
WHERE previous_asn IS DISTINCT FROM asn;
