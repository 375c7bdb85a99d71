-- Query 14, reputation: sessions by the number of targets that DShield had on record as attacked by their source.
--
-- Settings, each optional: SET cowrie.since = '2025-09-01'; cowrie.until (exclusive); cowrie.minimum_sessions (1);
-- cowrie.row_limit (100). Sessions without a public source are left out, and not in the percentage.
--
-- 'no_data' is both, never reported and nobody answered: answered_sessions tells them apart. DShield says what it knows
-- on the day it is asked; answered_later_share is the part of a bucket's answers that came after the session's day, in
-- which the attack that is being judged may itself be counted.

-- Inlined, so that the planner knows how many sessions the window takes: a fourth of the time.
WITH settings AS NOT MATERIALIZED (
    SELECT
        coalesce(nullif(current_setting('cowrie.since', true), ''), '-infinity')::timestamptz AS since,
        coalesce(nullif(current_setting('cowrie.until', true), ''), 'infinity')::timestamptz AS until,
        coalesce(nullif(current_setting('cowrie.minimum_sessions', true), ''), '1')::bigint AS minimum_sessions
),

attacks AS (
    SELECT
        CASE
            WHEN dshield_attacks IS null THEN 'no_data'
            WHEN dshield_attacks > 1000 THEN '>1000'
            WHEN dshield_attacks > 100 THEN '101-1000'
            WHEN dshield_attacks > 10 THEN '11-100'
            WHEN dshield_attacks > 0 THEN '1-10'
            ELSE '0'
        END AS reputation_bucket,
        dshield_attacks AS attack_count,
        dshield_answered_at AS answered_at,
        (day + 1)::timestamp AT TIME ZONE 'UTC' AS day_ended_at,
        command_count,
        file_downloads,
        ssh_key_injections,
        vt_flagged,
        dshield_flagged
    FROM session_summaries
    CROSS JOIN settings
    WHERE
        has_public_source
        AND first_event_at >= since
        AND first_event_at < until
),

by_bucket AS (
    SELECT
        reputation_bucket,
        count(*) AS session_count,
        count(answered_at) AS answered_sessions,
        round(avg(command_count), 2) AS avg_commands,
        sum(file_downloads)::bigint AS total_downloads,
        sum(ssh_key_injections)::bigint AS total_ssh_injections,
        CASE WHEN count(vt_flagged) > 0 THEN count(*) FILTER (WHERE vt_flagged) END AS vt_flagged_count,
        CASE WHEN count(dshield_flagged) > 0 THEN count(*) FILTER (WHERE dshield_flagged) END AS dshield_flagged_count,
        round(100 * count(*) / sum(count(*)) OVER (), 2) AS percentage,
        round(avg(attack_count), 2) AS avg_attack_count,
        max(attack_count) AS max_attack_count,
        round(
            count(*) FILTER (WHERE answered_at > day_ended_at)::numeric / nullif(count(answered_at), 0), 4
        ) AS answered_later_share
    FROM attacks
    GROUP BY reputation_bucket
)

SELECT by_bucket.*
FROM by_bucket
CROSS JOIN settings
WHERE by_bucket.session_count >= settings.minimum_sessions
ORDER BY
    array_position(ARRAY['no_data', '0', '1-10', '11-100', '101-1000', '>1000'], by_bucket.reputation_bucket) ASC
LIMIT coalesce(nullif(current_setting('cowrie.row_limit', true), ''), '100')::bigint;
