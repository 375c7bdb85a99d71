-- What the infrastructure queries rest on: sessions in the window, those with a public source (eligible), and those of
-- them whose country (query 11) and whose AS (query 12) at the time of the attack are known, whose anonymity somebody
-- could judge (query 13: Spur answered, or range lists were there), and whose source DShield answered for (query 14).
WITH settings AS (
    SELECT
        coalesce(nullif(current_setting('cowrie.since', true), ''), '-infinity')::timestamptz AS since,
        coalesce(nullif(current_setting('cowrie.until', true), ''), 'infinity')::timestamptz AS until
)

SELECT
    count(*) AS sessions,
    count(*) FILTER (WHERE has_public_source) AS eligible,
    count(*) FILTER (WHERE has_public_source AND snapshot_country IS NOT null) AS with_country,
    count(*) FILTER (WHERE has_public_source AND snapshot_asn IS NOT null) AS with_asn,
    count(*) FILTER (WHERE has_public_source AND (spur_answered_at IS NOT null OR lists_consulted)) AS classified,
    count(*) FILTER (WHERE has_public_source AND dshield_answered_at IS NOT null) AS with_dshield
FROM session_summaries
CROSS JOIN settings
WHERE
    first_event_at >= since
    AND first_event_at < until;
