-- How much of what could be known about the sources, files and passwords of the sessions is known: a row a service for
-- the whole window (day empty), then one a day. Run it with
--
--     cowrie-assets psql -- -f sql/verify_enrichment_coverage.sql
--     cowrie-assets psql -- -c "SET cowrie.since = '2025-09-01'" -f sql/verify_enrichment_coverage.sql
--
-- Settings, each optional: cowrie.since; cowrie.until (exclusive); cowrie.gate (0.80).
--
-- sessions: all sessions of the window or day; first_session_at, last_session_at: when the first and the last one of
--     them began
-- eligible_sessions: those that the service can be asked about: with a public source that is not our own (urlhaus
--     and greynoise: IPv4), a file with a SHA-256 (virustotal), a password (hibp), and not noted as not applicable
-- answered_sessions: the service answered: it found something, or said that it has nothing. Failures are no answers.
--     Of several files or passwords all must be answered for; else the weightiest outcome counts: unavailable,
--     quota, not asked, not configured
-- answered_share: of the eligible ones
-- valued_sessions: a finding with the field that matters: dshield country or AS, urlhaus number of URLs, spur
--     infrastructure, virustotal label or number of engines that call it malicious, hibp number of breached
--     passwords, cymru AS, greynoise classification
-- valued_share: of the eligible ones
-- unavailable_sessions, quota_sessions, not_configured_sessions, not_asked_sessions: the eligible ones without an
--     answer, by what stood in the way; they and the answered ones add up to the eligible ones
-- eligible_addresses: distinct sources of the eligible sessions; virustotal: distinct files; hibp: passwords,
--     counted session by session, since no table says which of them raised which question
-- open_addresses: sources of sessions without an answer; virustotal: files without one; hibp: passwords without one,
--     and not more than there are open questions
-- main_reason: why most of the eligible sessions without an answer have none
-- seconds_to_finish: the open addresses at the rate that the service permits; empty while no rate is known
-- seconds_to_gate: until the gate is passed, if the busiest of the open addresses (virustotal: sets of files that
--     came together) are answered first; hibp: if each of its open passwords frees as many sessions
-- gate: passed: answered for at least cowrie.gate of the eligible sessions, not counting those that had no answer
--     for want of a key or contact; 'not configured' where that leaves none. GreyNoise is a sample and has no gate

-- Inlined, so that the planner knows how many sessions the window takes.
WITH settings AS NOT MATERIALIZED (
    SELECT
        coalesce(nullif(current_setting('cowrie.since', true), ''), '-infinity')::timestamptz AS since,
        coalesce(nullif(current_setting('cowrie.until', true), ''), 'infinity')::timestamptz AS until,
        coalesce(nullif(current_setting('cowrie.gate', true), ''), '0.80')::numeric AS gate
),

in_window AS NOT MATERIALIZED (
    SELECT sessions.*
    FROM sessions
    CROSS JOIN settings
    WHERE
        first_event_at >= since
        AND first_event_at < until
),

-- What is known of addresses depends on the day and the address alone: several times fewer rows than sessions. Public
-- are those that session_summaries calls so; to read that view would join the snapshots as well.
by_address AS (
    SELECT
        s.*,
        k.is_public,
        k.is_public AND family(s.source_ip) = 4 AS is_public_ipv4
    FROM (
        SELECT
            day,
            source_ip,
            count(*) AS sessions,
            min(first_event_at) AS first_session_at,
            max(first_event_at) AS last_session_at
        FROM in_window
        GROUP BY day, source_ip
    ) AS s
    LEFT JOIN ip_inventory AS i ON s.source_ip = i.ip_address
    CROSS JOIN LATERAL (
        SELECT s.source_ip IS NOT null AND coalesce(i.is_public AND NOT i.is_own, true) AS is_public
    ) AS k
),

-- Two services have no table by day: of an address the newest answer counts, however old; without one, the question
-- that is open.
by_key AS (
    SELECT
        s.service,
        k.source_ip,
        coalesce(a.outcome, q.outcome) AS outcome,
        q.reason,
        CASE s.service
            WHEN 'cymru' THEN nullif(a.fields ->> 'asn', '') IS NOT null
            WHEN 'greynoise' THEN nullif(a.fields ->> 'classification', '') IS NOT null
        END AS has_value
    FROM (SELECT DISTINCT source_ip FROM by_address WHERE is_public) AS k
    CROSS JOIN (VALUES ('cymru'), ('greynoise')) AS s (service)
    LEFT JOIN LATERAL (
        SELECT
            service_answers.outcome,
            service_answers.fields
        FROM service_answers
        WHERE service_answers.service = s.service AND service_answers.key = host(k.source_ip)
        ORDER BY service_answers.answered_at DESC, service_answers.answer_id DESC
        LIMIT 1
    ) AS a ON true
    LEFT JOIN open_questions AS q ON s.service = q.service AND host(k.source_ip) = q.key
),

asked AS (
    SELECT
        'dshield' AS service,
        b.*,
        b.is_public AS is_askable,
        e.outcome,
        e.reason,
        e.asn IS NOT null OR nullif(e.country, '') IS NOT null AS has_value
    FROM by_address AS b
    LEFT JOIN dshield_enrichment AS e ON b.day = e.day AND b.source_ip = e.address
    UNION ALL
    SELECT
        'urlhaus' AS service,
        b.*,
        b.is_public_ipv4 AS is_askable,
        e.outcome,
        e.reason,
        e.url_count IS NOT null AS has_value
    FROM by_address AS b
    LEFT JOIN urlhaus_enrichment AS e ON b.day = e.day AND b.source_ip = e.address
    UNION ALL
    SELECT
        'spur' AS service,
        b.*,
        b.is_public AS is_askable,
        e.outcome,
        e.reason,
        nullif(e.infrastructure, '') IS NOT null AS has_value
    FROM by_address AS b
    LEFT JOIN spur_enrichment AS e ON b.day = e.day AND b.source_ip = e.address
    UNION ALL
    SELECT
        s.service,
        b.*,
        CASE s.service WHEN 'greynoise' THEN b.is_public_ipv4 ELSE b.is_public END AS is_askable,
        e.outcome,
        e.reason,
        e.has_value
    FROM by_address AS b
    CROSS JOIN (VALUES ('cymru'), ('greynoise')) AS s (service)
    LEFT JOIN by_key AS e ON s.service = e.service AND b.source_ip = e.source_ip
),

judged AS (
    SELECT
        service,
        day,
        source_ip,
        sessions,
        first_session_at,
        last_session_at,
        has_value,
        CASE WHEN is_askable THEN coalesce(outcome, 'not_asked') ELSE 'not_applicable' END AS outcome,
        -- Every session without an answer has a reason, if only the name of its outcome.
        CASE
            WHEN outcome IS null THEN 'not asked yet'
            WHEN outcome NOT IN ('found', 'not_found') THEN coalesce(reason, replace(outcome, '_', ' '))
        END AS reason
    FROM asked
),

-- What is known of files depends on the day and on the files that a session brought together: few rows as well.
file_sets AS (
    SELECT
        row_number() OVER () AS set_id,
        day,
        file_set,
        count(*) AS sessions
    FROM (
        SELECT
            s.day,
            array_agg(DISTINCT lower(b.sha256)) AS file_set
        FROM in_window AS s
        INNER JOIN files AS b ON s.day = b.day AND s.sensor = b.sensor AND s.session_id = b.session_id
        WHERE
            s.file_downloads + s.file_uploads > 0
            AND b.transfer IN ('download', 'upload')
            AND b.sha256 IS NOT null
        GROUP BY s.day, s.sensor, s.session_id
    ) AS by_session
    GROUP BY day, file_set
),

judged_files AS (
    SELECT
        b.set_id,
        b.day,
        f.sha256,
        coalesce(v.outcome, 'not_asked') AS outcome,
        coalesce(v.reason, 'not asked yet') AS reason,
        v.label IS NOT null OR v.malicious IS NOT null AS has_value
    FROM file_sets AS b
    CROSS JOIN LATERAL unnest(b.file_set) AS f (sha256)
    LEFT JOIN virustotal_files AS v ON b.day = v.day AND f.sha256 = v.sha256
    WHERE v.outcome IS DISTINCT FROM 'not_applicable'
),

-- A session is as the worst of its files; of those with an answer a finding tells more.
judged_sets AS (
    SELECT DISTINCT ON (f.set_id)
        b.day,
        b.file_set,
        b.sessions,
        f.outcome,
        f.reason,
        bool_or(f.outcome = 'found' AND f.has_value) OVER whole_set AS has_value,
        count(*) FILTER (WHERE f.outcome IN ('unavailable', 'quota', 'not_asked')) OVER whole_set AS open_files
    FROM judged_files AS f
    INNER JOIN file_sets AS b ON f.set_id = b.set_id
    WINDOW whole_set AS (PARTITION BY f.set_id)
    ORDER BY
        f.set_id ASC,
        array_position(ARRAY['unavailable', 'quota', 'not_asked', 'not_configured', 'found'], f.outcome) ASC,
        f.reason COLLATE "C" ASC
),

judged_passwords AS (
    SELECT
        s.day,
        coalesce(w.outcome, 'not_asked') AS outcome,
        coalesce(w.reason, 'not asked yet') AS reason,
        w.breached_passwords IS NOT null AS has_value,
        count(*) AS sessions,
        sum(coalesce(w.unique_passwords, s.login_attempts)) AS passwords,
        sum(w.unique_passwords - w.checked_passwords) AS unchecked
    FROM in_window AS s
    LEFT JOIN password_stats AS w ON s.day = w.day AND s.sensor = w.sensor AND s.session_id = w.session_id
    WHERE
        s.login_attempts > 0
        AND w.outcome IS DISTINCT FROM 'not_applicable'
        -- Who tried with keys alone has a row that says so, once the day was looked at.
        AND (
            w.outcome IS NOT null
            OR EXISTS (
                SELECT FROM logins AS l
                WHERE
                    s.day = l.day AND s.sensor = l.sensor AND s.session_id = l.session_id
                    AND l.password IS NOT null
            )
        )
    GROUP BY s.day, w.outcome, w.reason, has_value
),

by_session_outcome AS (
    SELECT
        'virustotal' AS service,
        day,
        outcome,
        reason,
        has_value,
        sum(sessions) AS sessions
    FROM judged_sets
    GROUP BY day, outcome, reason, has_value
    UNION ALL
    SELECT
        'hibp' AS service,
        day,
        outcome,
        reason,
        has_value,
        sessions
    FROM judged_passwords
),

key_counts AS (
    SELECT
        'virustotal' AS service,
        day,
        count(DISTINCT sha256) AS eligible_keys,
        count(DISTINCT sha256) FILTER (WHERE outcome NOT IN ('found', 'not_found')) AS open_keys
    FROM judged_files
    GROUP BY GROUPING SETS ((), (day))
    UNION ALL
    SELECT
        'hibp' AS service,
        day,
        sum(passwords)::bigint AS eligible_keys,
        -- least() passes over NULL: where no question is noted as open, nobody has asked yet.
        coalesce(sum(passwords) FILTER (WHERE outcome = 'not_asked'), 0)::bigint + least(
            coalesce(sum(unchecked), 0)::bigint,
            (SELECT nullif(count(*), 0) FROM open_questions WHERE service = 'hibp' AND outcome <> 'not_applicable')
        ) AS open_keys
    FROM judged_passwords
    GROUP BY GROUPING SETS ((), (day))
),

-- An address is one row a day, so that the rows of a day are its distinct addresses.
by_outcome AS (
    SELECT
        service,
        day,
        outcome,
        reason,
        has_value,
        sum(sessions) AS sessions,
        count(*) AS addresses,
        min(first_session_at) AS first_session_at,
        max(last_session_at) AS last_session_at
    FROM judged
    GROUP BY service, day, outcome, reason, has_value
    UNION ALL
    SELECT
        k.service,
        k.day,
        k.outcome,
        k.reason,
        k.has_value,
        k.sessions,
        0 AS addresses,
        null AS first_session_at,
        null AS last_session_at
    FROM by_session_outcome AS k
    UNION ALL
    -- All other sessions have none.
    SELECT
        s.service,
        d.day,
        'not_applicable' AS outcome,
        null AS reason,
        false AS has_value,
        d.sessions - coalesce(sum(k.sessions), 0) AS sessions,
        0 AS addresses,
        d.first_session_at,
        d.last_session_at
    FROM (
        SELECT
            day,
            sum(sessions) AS sessions,
            min(first_session_at) AS first_session_at,
            max(last_session_at) AS last_session_at
        FROM by_address
        GROUP BY day
    ) AS d
    CROSS JOIN (VALUES ('virustotal'), ('hibp')) AS s (service)
    LEFT JOIN by_session_outcome AS k ON s.service = k.service AND d.day = k.day
    GROUP BY s.service, d.day, d.sessions, d.first_session_at, d.last_session_at
),

-- Over days they cannot be summed. Grouping twice is faster than counting distinct ones.
whole_window AS (
    SELECT
        service,
        count(*) AS eligible_addresses,
        count(*) FILTER (WHERE is_open) AS open_addresses
    FROM (
        SELECT
            service,
            source_ip,
            bool_or(outcome NOT IN ('found', 'not_found')) AS is_open
        FROM judged
        WHERE outcome <> 'not_applicable'
        GROUP BY service, source_ip
    ) AS by_service_and_address
    GROUP BY service
),

services AS (
    SELECT
        s.service,
        s.position,
        max(l.sustained_seconds) AS sustained_seconds,
        coalesce(greatest(extract(EPOCH FROM max(l.blocked_until) - now()), 0), 0) AS blocked_seconds
    FROM
        unnest(ARRAY['dshield', 'urlhaus', 'spur', 'virustotal', 'hibp', 'cymru', 'greynoise'])
        WITH ORDINALITY AS s (service, position)
    LEFT JOIN service_limits AS l ON s.service = l.service
    GROUP BY s.service, s.position
),

-- A window without a session has its seven rows as well.
counted AS (
    SELECT
        s.service,
        o.day,
        coalesce(sum(o.sessions), 0)::bigint AS sessions,
        min(o.first_session_at) AS first_session_at,
        max(o.last_session_at) AS last_session_at,
        coalesce(sum(o.sessions) FILTER (WHERE o.outcome <> 'not_applicable'), 0)::bigint AS eligible,
        coalesce(sum(o.sessions) FILTER (WHERE o.outcome IN ('found', 'not_found')), 0)::bigint AS answered,
        coalesce(sum(o.sessions) FILTER (WHERE o.outcome = 'found' AND o.has_value), 0)::bigint AS valued,
        coalesce(sum(o.sessions) FILTER (WHERE o.outcome = 'unavailable'), 0)::bigint AS unavailable,
        coalesce(sum(o.sessions) FILTER (WHERE o.outcome = 'quota'), 0)::bigint AS quota,
        coalesce(sum(o.sessions) FILTER (WHERE o.outcome = 'not_configured'), 0)::bigint AS not_configured,
        coalesce(sum(o.sessions) FILTER (WHERE o.outcome = 'not_asked'), 0)::bigint AS not_asked,
        coalesce(sum(o.addresses) FILTER (WHERE o.outcome <> 'not_applicable'), 0)::bigint AS addresses,
        coalesce(
            sum(o.addresses) FILTER (WHERE o.outcome NOT IN ('found', 'not_found', 'not_applicable')), 0
        )::bigint AS open_addresses
    FROM services AS s
    LEFT JOIN by_outcome AS o ON s.service = o.service
    GROUP BY GROUPING SETS ((s.service), (s.service, o.day))
    HAVING grouping(o.day) = 1 OR o.day IS NOT null
),

-- Of equally frequent reasons the first in the alphabet.
main_reasons AS (
    SELECT DISTINCT ON (service, day)
        service,
        day,
        reason
    FROM by_outcome
    WHERE outcome NOT IN ('found', 'not_found', 'not_applicable')
    GROUP BY GROUPING SETS ((service, reason), (service, day, reason))
    ORDER BY service ASC, day ASC, sum(sessions) DESC, reason COLLATE "C" ASC
),

-- Until the gate is passed so many of the open addresses have to be answered, if the busiest come first.
open_sources AS (
    SELECT
        service,
        day,
        1 AS requests,
        sum(sessions) AS sessions
    FROM judged
    WHERE outcome IN ('unavailable', 'quota', 'not_asked')
    GROUP BY GROUPING SETS ((service, source_ip), (service, day, source_ip))
    UNION ALL
    SELECT
        'virustotal' AS service,
        day,
        max(open_files) AS requests,
        sum(sessions) AS sessions
    FROM judged_sets
    WHERE outcome IN ('unavailable', 'quota', 'not_asked')
    GROUP BY GROUPING SETS ((file_set), (day, file_set))
),

gains AS (
    SELECT
        service,
        day,
        requests,
        sum(sessions) OVER (
            PARTITION BY service, day
            ORDER BY sessions DESC, requests ASC ROWS UNBOUNDED PRECEDING
        ) - sessions AS gained_before
    FROM open_sources
),

to_gate AS (
    SELECT
        c.service,
        c.day,
        sum(g.requests) AS addresses
    FROM gains AS g
    CROSS JOIN settings
    INNER JOIN counted AS c ON g.service = c.service AND coalesce(g.day, 'infinity') = coalesce(c.day, 'infinity')
    WHERE c.answered + g.gained_before < settings.gate * (c.eligible - c.not_configured)
    GROUP BY c.service, c.day
),

rows_of_result AS (
    SELECT
        c.*,
        s.position,
        s.sustained_seconds,
        s.blocked_seconds,
        m.reason AS main_reason,
        CASE
            WHEN c.service = 'hibp'
                THEN ceil(
                    coalesce(k.open_keys, 0) * greatest(settings.gate * (c.eligible - c.not_configured) - c.answered, 0)
                    / greatest((c.eligible - c.not_configured) - c.answered, 1)
                )
            WHEN c.service <> 'greynoise' THEN coalesce(t.addresses, 0)
        END AS addresses_to_gate,
        coalesce(
            k.eligible_keys,
            CASE WHEN c.day IS null THEN coalesce(w.eligible_addresses, 0) ELSE c.addresses END
        ) AS eligible_addresses,
        coalesce(
            k.open_keys,
            CASE WHEN c.day IS null THEN coalesce(w.open_addresses, 0) ELSE c.open_addresses END
        ) AS addresses_left
    FROM counted AS c
    CROSS JOIN settings
    INNER JOIN services AS s ON c.service = s.service
    LEFT JOIN whole_window AS w ON c.service = w.service
    -- The row of the whole window has no day, and NULL equals nothing.
    LEFT JOIN main_reasons AS m ON c.service = m.service AND coalesce(c.day, 'infinity') = coalesce(m.day, 'infinity')
    LEFT JOIN to_gate AS t ON c.service = t.service AND coalesce(c.day, 'infinity') = coalesce(t.day, 'infinity')
    LEFT JOIN key_counts AS k ON c.service = k.service AND coalesce(c.day, 'infinity') = coalesce(k.day, 'infinity')
)

SELECT
    r.service,
    r.day,
    r.sessions,
    r.first_session_at,
    r.last_session_at,
    r.eligible AS eligible_sessions,
    r.answered AS answered_sessions,
    round(r.answered::numeric / nullif(r.eligible, 0), 4) AS answered_share,
    r.valued AS valued_sessions,
    round(r.valued::numeric / nullif(r.eligible, 0), 4) AS valued_share,
    r.unavailable AS unavailable_sessions,
    r.quota AS quota_sessions,
    r.not_configured AS not_configured_sessions,
    r.not_asked AS not_asked_sessions,
    r.eligible_addresses,
    r.addresses_left AS open_addresses,
    r.main_reason,
    r.addresses_left * r.sustained_seconds
    + CASE WHEN r.addresses_left > 0 THEN r.blocked_seconds ELSE 0 END AS seconds_to_finish,
    -- Sets of files share files, so that their sum may be more than there are.
    CASE WHEN r.addresses_to_gate IS NOT null THEN least(r.addresses_to_gate, r.addresses_left) END
    * r.sustained_seconds
    + CASE WHEN r.addresses_to_gate > 0 THEN r.blocked_seconds ELSE 0 END AS seconds_to_gate,
    CASE
        WHEN r.service = 'greynoise' THEN 'sample'
        WHEN r.eligible = 0 THEN 'nothing eligible'
        WHEN r.eligible = r.not_configured THEN 'not configured'
        WHEN r.answered >= settings.gate * (r.eligible - r.not_configured) THEN 'passed'
        ELSE 'below the gate'
    END AS gate
FROM rows_of_result AS r
CROSS JOIN settings
ORDER BY r.position ASC, r.day ASC NULLS FIRST;
