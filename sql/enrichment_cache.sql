-- The cache of answers: the newest one for each service and key.
CREATE OR REPLACE VIEW enrichment_cache AS
SELECT DISTINCT ON (service, key)
    service,
    key AS cache_key,
    payload AS cache_value,
    fields,
    outcome,
    answered_at AS created_at,
    expires_at
FROM service_answers
ORDER BY service ASC, key ASC, answered_at DESC, answer_id DESC;
