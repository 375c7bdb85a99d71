-- What Team Cymru answered, as observations at the moment of the answer. Its country is the one of the registration,
-- not a place, so it is kept among the details. An address that nobody announces gets a row without an AS.
INSERT INTO ip_observations (address, source, observed_at, asn, as_name, prefix, details)
SELECT
    a.key::inet,
    'cymru',
    a.answered_at,
    (a.fields ->> 'asn')::bigint,
    a.fields ->> 'as_name',
    (a.fields ->> 'prefix')::cidr,
    jsonb_strip_nulls(
        jsonb_build_object(
            'registry_country', a.fields -> 'registry_country',
            'registry', a.fields -> 'registry',
            'allocated', a.fields -> 'allocated',
            'asns', a.fields -> 'asns'
        )
    )
FROM service_answers AS a
WHERE
    a.service = 'cymru'
    AND NOT EXISTS (
        SELECT 1
        FROM ip_observations AS o
        WHERE o.address = a.key::inet AND o.source = 'cymru' AND o.observed_at = a.answered_at
    );
