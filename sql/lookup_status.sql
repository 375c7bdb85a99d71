-- What the questions to the services cost and brought: a row a service that was ever asked. Run it with
--
--     cowrie-assets psql -- -f sql/lookup_status.sql
--
-- requests, requests_today    that left, ever and since 00:00 UTC; keys: asked about by them (a batch has many). What
--                             was pruned of the ledger is still counted, by lookup_totals, but for the latency
-- found, not_found            requests that brought an answer
-- unavailable, not_applicable requests that brought none: failures, and keys that the service does not take
-- unfinished                  requests of which nobody lived to see the end
-- hits_<tier>                 answers that lay in a tier of the cache; hit_share: of all that was looked for
-- oldest_answer_at            of the answers that were used
-- open_keys, main_reason      questions without an answer, and what stands in the way of most of them
-- blocked_until, open_until   nobody asks before then: the service said so, or its circuit is open after failures
-- balance                     credits left in the account, where the service's answers tell
WITH ledger AS (
    SELECT
        service,
        count(*) AS requests,
        count(*) FILTER (WHERE sent_at >= date_trunc('day', lookup_now(), 'UTC')) AS requests_today,
        sum(key_count) AS keys,
        count(*) FILTER (WHERE outcome = 'found') AS found,
        count(*) FILTER (WHERE outcome = 'not_found') AS not_found,
        count(*) FILTER (WHERE outcome = 'unavailable') AS unavailable,
        count(*) FILTER (WHERE outcome = 'not_applicable') AS not_applicable,
        count(*) FILTER (WHERE outcome IS NULL) AS unfinished,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY latency_ms)::integer AS median_latency_ms,
        max(sent_at) AS last_request_at
    FROM lookup_ledger
    GROUP BY service
),

calls AS (
    SELECT
        coalesce(l.service, t.service) AS service,
        coalesce(l.requests, 0) + coalesce(t.requests, 0) AS requests,
        coalesce(l.requests_today, 0) AS requests_today,
        coalesce(l.keys, 0) + coalesce(t.keys, 0) AS keys,
        coalesce(l.found, 0) + coalesce(t.found, 0) AS found,
        coalesce(l.not_found, 0) + coalesce(t.not_found, 0) AS not_found,
        coalesce(l.unavailable, 0) + coalesce(t.unavailable, 0) AS unavailable,
        coalesce(l.not_applicable, 0) + coalesce(t.not_applicable, 0) AS not_applicable,
        coalesce(l.unfinished, 0) + coalesce(t.unfinished, 0) AS unfinished,
        l.median_latency_ms,
        greatest(l.last_request_at, t.last_request_at) AS last_request_at
    FROM ledger AS l
    FULL JOIN lookup_totals AS t ON l.service = t.service
),

tiers AS (
    SELECT
        service,
        coalesce(sum(hits) FILTER (WHERE tier IN ('redis', 'memory')), 0)::bigint AS hits_hot,
        coalesce(sum(hits) FILTER (WHERE tier = 'database'), 0)::bigint AS hits_database,
        coalesce(sum(hits) FILTER (WHERE tier = 'files'), 0)::bigint AS hits_files,
        coalesce(sum(hits) FILTER (WHERE tier = 'another process'), 0)::bigint AS hits_another_process,
        coalesce(sum(errors), 0)::bigint AS tier_errors,
        -- What the hot tier misses the database may have, and so on: what the database missed was in no earlier tier.
        coalesce(sum(misses) FILTER (WHERE tier = 'database'), 0)::bigint AS misses_database,
        min(oldest_answer_at) AS oldest_answer_at
    FROM lookup_counters
    GROUP BY service
),

open_keys AS (
    SELECT
        service,
        count(*) AS open_keys
    FROM open_questions
    WHERE outcome <> 'not_applicable'
    GROUP BY service
),

main_reasons AS (
    SELECT DISTINCT ON (service)
        service,
        reason
    FROM open_questions
    WHERE outcome <> 'not_applicable'
    GROUP BY service, reason
    ORDER BY service ASC, count(*) DESC, reason COLLATE "C" ASC
),

limits AS (
    SELECT
        service,
        max(blocked_until) FILTER (WHERE blocked_until > lookup_now()) AS blocked_until,
        max(open_until) FILTER (WHERE open_until > lookup_now()) AS open_until,
        max(blocked_reason) FILTER (
            WHERE blocked_until > lookup_now() OR open_until > lookup_now()
        ) AS blocked_reason,
        max(balance) AS balance
    FROM service_limits
    GROUP BY service
)

SELECT
    s.service,
    coalesce(c.requests, 0) AS requests,
    coalesce(c.requests_today, 0) AS requests_today,
    coalesce(c.keys, 0)::bigint AS keys,
    coalesce(c.found, 0) AS found,
    coalesce(c.not_found, 0) AS not_found,
    coalesce(c.unavailable, 0) AS unavailable,
    coalesce(c.not_applicable, 0) AS not_applicable,
    coalesce(c.unfinished, 0) AS unfinished,
    c.median_latency_ms,
    c.last_request_at,
    coalesce(t.hits_hot, 0) AS hits_hot,
    coalesce(t.hits_database, 0) AS hits_database,
    coalesce(t.hits_files, 0) AS hits_files,
    coalesce(t.hits_another_process, 0) AS hits_another_process,
    coalesce(t.tier_errors, 0) AS tier_errors,
    round(
        (t.hits_hot + t.hits_database + t.hits_files)::numeric
        / nullif(t.hits_hot + t.hits_database + t.misses_database, 0),
        4
    ) AS hit_share,
    t.oldest_answer_at,
    coalesce(o.open_keys, 0) AS open_keys,
    m.reason AS main_reason,
    l.blocked_until,
    l.open_until,
    l.blocked_reason,
    l.balance
FROM (
    SELECT service FROM calls
    UNION
    SELECT service FROM lookup_counters
    UNION
    SELECT service FROM open_questions
) AS s
LEFT JOIN calls AS c ON s.service = c.service
LEFT JOIN tiers AS t ON s.service = t.service
LEFT JOIN open_keys AS o ON s.service = o.service
LEFT JOIN main_reasons AS m ON s.service = m.service
LEFT JOIN limits AS l ON s.service = l.service
ORDER BY s.service;
