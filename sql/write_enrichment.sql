-- What a service knew of the source addresses of a day: SET cowrie.day = '2025-09-10'; SET cowrie.service = 'dshield'.
--
-- Each address takes the answer nearest to the day, of those that were still good when the day began: so an old day
-- keeps what was learnt then, whenever it is built again. An address without one says why.
CREATE TEMPORARY TABLE fresh_enrichment ON COMMIT DROP AS
WITH settings AS (
    SELECT
        current_setting('cowrie.service') AS service,
        current_setting('cowrie.day')::date AS day
),

sources AS (
    SELECT DISTINCT s.source_ip AS address
    FROM sessions AS s
    CROSS JOIN settings
    WHERE s.day = settings.day AND s.source_ip IS NOT NULL
),

nearest AS (
    SELECT DISTINCT ON (sources.address)
        sources.address,
        a.outcome,
        a.answered_at,
        a.fields
    FROM sources
    CROSS JOIN settings
    INNER JOIN service_answers AS a ON settings.service = a.service AND a.key = host(sources.address)
    WHERE a.expires_at > settings.day
    ORDER BY
        sources.address ASC,
        greatest(a.answered_at - (settings.day + 1), settings.day - a.answered_at, '0') ASC,
        a.answered_at DESC
)

SELECT
    settings.day,
    sources.address,
    coalesce(nearest.outcome, open_questions.outcome, 'quota') AS outcome,
    CASE WHEN nearest.address IS NULL THEN coalesce(open_questions.reason, 'not asked yet') END AS reason,
    nearest.answered_at,
    coalesce(nearest.fields, '{}') AS fields
FROM sources
CROSS JOIN settings
LEFT JOIN nearest ON sources.address = nearest.address
LEFT JOIN open_questions
    ON settings.service = open_questions.service AND host(sources.address) = open_questions.key;
