-- What the snapshots of each day can rest on, as a digest: the observations of its source addresses, and of each range
-- list the editions around it. A day whose digest changed is due. (SET cowrie.day = '2025-09-10' for one day alone.)
WITH settings AS (
    SELECT nullif(current_setting('cowrie.day', true), '')::date AS only_day
),

sources AS (
    SELECT DISTINCT
        s.day,
        s.source_ip
    FROM sessions AS s
    CROSS JOIN settings
    WHERE s.source_ip IS NOT null AND (settings.only_day IS null OR s.day = settings.only_day)
),

observed AS (
    SELECT
        sources.day,
        count(*) AS observations,
        bit_xor(
            hashtextextended(concat_ws(' ', o.address, o.source, extract(EPOCH FROM o.observed_at)), 0)
        ) AS digest
    FROM sources
    INNER JOIN ip_observations AS o ON sources.source_ip = o.address
    GROUP BY sources.day
),

days AS (
    SELECT e.day
    FROM event_days AS e
    CROSS JOIN settings
    WHERE settings.only_day IS null OR e.day = settings.only_day
),

lists AS (
    SELECT DISTINCT e.list
    FROM list_editions AS e
),

around AS (
    SELECT
        days.day,
        string_agg(
            concat_ws(
                ' ',
                lists.list,
                (
                    SELECT extract(EPOCH FROM max(e.fetched_at))
                    FROM list_editions AS e
                    WHERE e.list = lists.list AND e.fetched_at <= days.day
                ),
                (
                    SELECT count(*)
                    FROM list_editions AS e
                    WHERE e.list = lists.list AND e.fetched_at > days.day AND e.fetched_at < days.day + 1
                ),
                (
                    SELECT extract(EPOCH FROM min(e.fetched_at))
                    FROM list_editions AS e
                    WHERE e.list = lists.list AND e.fetched_at >= days.day + 1
                )
            ),
            ', ' ORDER BY lists.list
        ) AS editions
    FROM days
    CROSS JOIN lists
    GROUP BY days.day
)

SELECT
    days.day,
    concat_ws(' ', observed.observations, observed.digest, around.editions) AS evidence
FROM days
LEFT JOIN observed ON days.day = observed.day
LEFT JOIN around ON days.day = around.day;
