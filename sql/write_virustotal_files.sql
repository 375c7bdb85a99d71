-- What VirusTotal knew of the files of a day: SET cowrie.day = '2025-09-10'.
--
-- A file is what a session of the day brought or left, by its SHA-256. Each takes the answer nearest to the day, of
-- those that were still good when the day began: so an old day keeps what was learnt then, whenever it is built again.
-- One without an answer says why.
CREATE TEMPORARY TABLE fresh_files ON COMMIT DROP AS
WITH settings AS (
    SELECT current_setting('cowrie.day')::date AS day
),

brought AS (
    SELECT DISTINCT lower(f.sha256) AS sha256
    FROM files AS f
    CROSS JOIN settings
    WHERE
        f.day = settings.day
        AND f.transfer IN ('download', 'upload')
        AND f.sha256 ~* '^[0-9a-f]{64}$'
),

nearest AS (
    SELECT DISTINCT ON (brought.sha256)
        brought.sha256,
        a.outcome,
        a.answered_at,
        a.fields
    FROM brought
    CROSS JOIN settings
    INNER JOIN service_answers AS a ON a.service = 'virustotal' AND brought.sha256 = a.key
    WHERE a.expires_at > settings.day
    ORDER BY
        brought.sha256 ASC,
        greatest(a.answered_at - (settings.day + 1), settings.day - a.answered_at, '0') ASC,
        a.answered_at DESC
)

SELECT
    settings.day,
    brought.sha256,
    coalesce(nearest.outcome, open_questions.outcome, 'quota') AS outcome,
    CASE WHEN nearest.sha256 IS NULL THEN coalesce(open_questions.reason, 'not asked yet') END AS reason,
    nearest.answered_at,
    coalesce(nearest.fields, '{}') AS fields
FROM brought
CROSS JOIN settings
LEFT JOIN nearest ON brought.sha256 = nearest.sha256
LEFT JOIN open_questions ON open_questions.service = 'virustotal' AND brought.sha256 = open_questions.key;
