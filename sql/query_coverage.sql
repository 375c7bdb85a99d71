-- What the infrastructure queries rest on: sessions in the window, those with a public source (eligible), and those of
-- them whose country (query 11) and whose AS (query 12) at the time of the attack are known.
WITH settings AS (
    SELECT
        coalesce(nullif(current_setting('cowrie.since', true), ''), '-infinity')::timestamptz AS since,
        coalesce(nullif(current_setting('cowrie.until', true), ''), 'infinity')::timestamptz AS until
)

SELECT
    count(*) AS sessions,
    count(*) FILTER (WHERE has_public_source) AS eligible,
    count(*) FILTER (WHERE has_public_source AND snapshot_country IS NOT null) AS with_country,
    count(*) FILTER (WHERE has_public_source AND snapshot_asn IS NOT null) AS with_asn
FROM session_summaries
CROSS JOIN settings
WHERE
    first_event_at >= since
    AND first_event_at < until;
