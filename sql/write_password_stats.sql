-- What Pwned Passwords (Have I Been Pwned) knew of the passwords of a day: SET cowrie.day = '2025-09-10'.
--
-- PostgreSQL knows no SHA-1, so whoever runs this has filled `day_passwords` (password as stored, prefix and suffix of
-- its SHA-1, its SHA-256) with all passwords of the day. Each range takes the answer nearest to the day, of those that
-- were still good when the day began. A password that no range in hand can tell about is not checked: that is not "in
-- no breach", and the session says what stands in the way.
CREATE TEMPORARY TABLE fresh_stats ON COMMIT DROP AS
WITH settings AS (
    SELECT current_setting('cowrie.day')::date AS day
),

nearest AS MATERIALIZED (
    SELECT DISTINCT ON (ranges.prefix)
        ranges.prefix,
        a.answered_at,
        a.payload
    FROM (SELECT DISTINCT prefix FROM day_passwords) AS ranges
    CROSS JOIN settings
    INNER JOIN service_answers AS a ON a.service = 'hibp' AND ranges.prefix = a.key
    WHERE a.expires_at > settings.day
    ORDER BY
        ranges.prefix ASC,
        greatest(a.answered_at - (settings.day + 1), settings.day - a.answered_at, '0') ASC,
        a.answered_at DESC
),

-- A range is large: each is unpacked once for a password, and not for a session. Who is not in it was in no breach.
judged AS MATERIALIZED (
    SELECT
        known.password,
        known.sha256,
        nearest.answered_at,
        CASE WHEN nearest.prefix IS NOT NULL THEN coalesce((nearest.payload ->> known.suffix)::bigint, 0) END AS seen,
        CASE WHEN nearest.prefix IS NULL THEN coalesce(open_questions.outcome, 'quota') END AS outcome,
        CASE WHEN nearest.prefix IS NULL THEN coalesce(open_questions.reason, 'not asked yet') END AS reason
    FROM day_passwords AS known
    LEFT JOIN nearest ON known.prefix = nearest.prefix
    LEFT JOIN open_questions ON open_questions.service = 'hibp' AND known.prefix = open_questions.key
),

attempts AS (
    SELECT
        l.sensor,
        l.session_id,
        count(*)::integer AS total_attempts
    FROM logins AS l
    CROSS JOIN settings
    WHERE l.day = settings.day
    GROUP BY l.sensor, l.session_id
),

tried AS MATERIALIZED (
    SELECT DISTINCT
        l.sensor,
        l.session_id,
        judged.sha256,
        judged.seen,
        judged.answered_at,
        judged.outcome,
        judged.reason
    FROM logins AS l
    CROSS JOIN settings
    INNER JOIN judged ON l.password = judged.password
    WHERE l.day = settings.day
),

told AS (
    SELECT
        sensor,
        session_id,
        count(*)::integer AS unique_passwords,
        count(seen)::integer AS checked_passwords,
        CASE WHEN count(seen) > 0 THEN count(*) FILTER (WHERE seen > 0) END::integer AS breached_passwords,
        max(seen) AS breach_prevalence_max,
        CASE
            WHEN count(seen) > 0
                THEN coalesce(array_agg(sha256 ORDER BY sha256 COLLATE "C" ASC) FILTER (WHERE seen = 0), '{}')
        END AS novel_password_hashes,
        min(answered_at) AS oldest_answer_at
    FROM tried
    GROUP BY sensor, session_id
),

-- What may pass by itself weighs more than what waits for the operator; of equal ones the first in the alphabet.
in_the_way AS (
    SELECT DISTINCT ON (sensor, session_id)
        sensor,
        session_id,
        outcome,
        reason
    FROM tried
    WHERE seen IS NULL
    ORDER BY
        sensor ASC,
        session_id ASC,
        array_position(ARRAY['unavailable', 'quota', 'not_configured', 'not_applicable'], outcome) ASC,
        reason COLLATE "C" ASC
)

SELECT
    settings.day,
    attempts.sensor,
    attempts.session_id,
    CASE
        WHEN told.session_id IS NULL THEN 'not_applicable'
        WHEN in_the_way.session_id IS NOT NULL THEN in_the_way.outcome
        WHEN told.breached_passwords > 0 THEN 'found'
        ELSE 'not_found'
    END AS outcome,
    CASE WHEN told.session_id IS NULL THEN 'no password' ELSE in_the_way.reason END AS reason,
    CASE WHEN in_the_way.session_id IS NULL THEN told.oldest_answer_at END AS answered_at,
    attempts.total_attempts,
    coalesce(told.unique_passwords, 0) AS unique_passwords,
    coalesce(told.checked_passwords, 0) AS checked_passwords,
    told.breached_passwords,
    told.breach_prevalence_max,
    told.novel_password_hashes
FROM attempts
CROSS JOIN settings
LEFT JOIN told ON attempts.sensor = told.sensor AND attempts.session_id = told.session_id
LEFT JOIN in_the_way ON attempts.sensor = in_the_way.sensor AND attempts.session_id = in_the_way.session_id;
