-- One row a session: what happened, and what was known of its source, files and passwords at the time of the attack.
--
-- `enrichment` holds a key for each service that answered, with the answer nearest to the session's day; a service that
-- never answered is absent: `password_stats` until all passwords of the session are checked, `virustotal` until one of
-- its files is. The flags are NULL while nobody answered: FALSE is "asked, and clean". `vt_answered_at` and
-- `password_answered_at` are of the oldest answer that a session's files or passwords rest on.
CREATE OR REPLACE VIEW session_summaries AS
SELECT
    s.session_id,
    s.sensor,
    s.source_ip,
    s.first_event_at,
    s.last_event_at,
    s.event_count,
    s.command_count,
    s.login_attempts,
    s.file_downloads,
    s.ssh_key_injections,
    f.is_malicious AS vt_flagged,
    CASE WHEN d.answered_at IS NOT NULL THEN coalesce(d.attacks, 0) > 0 OR coalesce(d.reports, 0) > 0
    END AS dshield_flagged,
    p.snapshot_asn,
    p.snapshot_country,
    p.snapshot_ip_type,
    p.enrichment_at,
    nullif(
        jsonb_strip_nulls(
            jsonb_build_object(
                'dshield',
                CASE
                    WHEN d.answered_at IS NOT NULL THEN jsonb_build_object(
                        'answered_at', d.answered_at,
                        'outcome', d.outcome,
                        'country', d.country,
                        'asn', d.asn,
                        'as_name', d.as_name,
                        'attacks', d.attacks,
                        'ip', jsonb_build_object(
                            'number', host(d.address),
                            'count', d.reports,
                            'attacks', d.attacks,
                            'mindate', d.first_reported,
                            'maxdate', d.last_reported,
                            'maxrisk', d.max_risk,
                            'as', d.asn,
                            'asname', d.as_name,
                            'ascountry', d.country,
                            'network', d.network,
                            'threatfeeds', to_jsonb(d.threat_feeds)
                        )
                    )
                END,
                'urlhaus',
                CASE
                    WHEN u.answered_at IS NOT NULL THEN jsonb_build_object(
                        'answered_at', u.answered_at,
                        'outcome', u.outcome,
                        'url_count', u.url_count,
                        'online_count', u.online_count,
                        'firstseen', u.first_seen,
                        'tags', to_jsonb(u.tags),
                        'threats', to_jsonb(u.threats),
                        'blacklists', to_jsonb(u.blacklists)
                    )
                END,
                'spur',
                CASE
                    WHEN x.answered_at IS NOT NULL THEN jsonb_build_object(
                        'answered_at', x.answered_at,
                        'outcome', x.outcome,
                        'is_vpn', x.is_vpn,
                        'is_proxy', x.is_proxy,
                        'is_tor', x.is_tor,
                        'is_anonymous', x.is_anonymous,
                        'infrastructure', x.infrastructure,
                        'client', jsonb_build_object(
                            'types', to_jsonb(x.client_types),
                            'count', x.client_count,
                            'countries', x.client_countries,
                            'behaviors', to_jsonb(x.behaviors),
                            'proxies', to_jsonb(x.proxies)
                        ),
                        'risks', to_jsonb(x.risks),
                        'services', to_jsonb(x.services),
                        'tunnel_types', to_jsonb(x.tunnel_types),
                        'tunnel_operators', to_jsonb(x.tunnel_operators),
                        'asn', x.asn,
                        'organization', x.organization,
                        'country', x.country
                    )
                END,
                'password_stats',
                (
                    SELECT
                        jsonb_build_object(
                            'answered_at', w.answered_at,
                            'outcome', w.outcome,
                            'total_attempts', w.total_attempts,
                            'unique_passwords', w.unique_passwords,
                            'breached_passwords', w.breached_passwords,
                            'breach_prevalence_max', w.breach_prevalence_max,
                            'novel_password_hashes', to_jsonb(w.novel_password_hashes)
                        )
                    FROM password_stats AS w
                    WHERE
                        s.day = w.day AND s.sensor = w.sensor AND s.session_id = w.session_id
                        AND w.outcome IN ('found', 'not_found')
                ),
                'virustotal',
                CASE
                    WHEN f.answered_at IS NOT NULL THEN (
                        SELECT
                            jsonb_build_object(
                                'malicious', max(v.malicious),
                                -- As the one is called that most engines call malicious.
                                'label', (array_agg(v.label ORDER BY v.malicious DESC NULLS LAST, v.sha256 ASC))[1],
                                'files', jsonb_agg(
                                    jsonb_build_object(
                                        'sha256', v.sha256,
                                        'outcome', v.outcome,
                                        'answered_at', v.answered_at,
                                        'label', v.label,
                                        'malicious', v.malicious,
                                        'suspicious', v.suspicious,
                                        'undetected', v.undetected,
                                        'harmless', v.harmless,
                                        'first_seen', v.first_seen
                                    ) ORDER BY v.malicious DESC NULLS LAST, v.sha256 ASC
                                )
                            )
                        FROM unnest(f.answered_files) AS v
                    )
                END
            )
        ),
        '{}'
    ) AS enrichment,
    s.day,
    -- An address that is not in the inventory yet counts as public until it is known to be none.
    CASE
        WHEN s.source_ip IS NULL THEN FALSE
        ELSE coalesce(i.is_public AND NOT i.is_own, TRUE)
    END AS has_public_source,
    p.snapshot_basis,
    -- Whether a list could have told the type of the address: not being in a list says something then.
    coalesce(p.snapshot_ip_type IS NOT NULL OR p.ip_type_reason = 'in none of the lists', FALSE) AS lists_consulted,
    d.answered_at AS dshield_answered_at,
    d.attacks AS dshield_attacks,
    u.answered_at AS urlhaus_answered_at,
    u.url_count AS urlhaus_url_count,
    x.answered_at AS spur_answered_at,
    x.is_vpn AS spur_is_vpn,
    x.is_proxy AS spur_is_proxy,
    x.is_tor AS spur_is_tor,
    x.infrastructure AS spur_infrastructure,
    (
        SELECT w.answered_at
        FROM password_stats AS w
        WHERE s.day = w.day AND s.sensor = w.sensor AND s.session_id = w.session_id
    ) AS password_answered_at,
    f.answered_at AS vt_answered_at,
    s.login_attempts > 0 AND EXISTS (
        SELECT FROM logins AS l
        WHERE
            s.day = l.day AND s.sensor = l.sensor AND s.session_id = l.session_id
            AND l.password IS NOT NULL
    ) AS has_password,
    s.file_downloads + s.file_uploads > 0 AND EXISTS (
        SELECT FROM files AS b
        WHERE
            s.day = b.day AND s.sensor = b.sensor AND s.session_id = b.session_id
            AND b.transfer IN ('download', 'upload') AND b.sha256 IS NOT NULL
    ) AS has_file
FROM sessions AS s
LEFT JOIN session_snapshots AS p
    ON s.day = p.day AND s.sensor = p.sensor AND s.session_id = p.session_id AND p.is_current
LEFT JOIN ip_inventory AS i ON s.source_ip = i.ip_address
LEFT JOIN dshield_enrichment AS d ON s.day = d.day AND s.source_ip = d.address
LEFT JOIN urlhaus_enrichment AS u ON s.day = u.day AND s.source_ip = u.address
LEFT JOIN spur_enrichment AS x ON s.day = x.day AND s.source_ip = x.address
-- Grouped by what it is joined by, so that a query that asks for none of its columns does not make it. Passwords are
-- looked up above instead: with one more join the planner would no longer order all of them (join_collapse_limit), and
-- a query whose window comes from a CTE would read every session.
LEFT JOIN (
    SELECT
        b.day,
        b.sensor,
        b.session_id,
        bool_or(coalesce(v.malicious, 0) > 0) AS is_malicious,
        min(v.answered_at) AS answered_at,
        -- Each once, however often the session brought it.
        array_agg(DISTINCT v) AS answered_files
    FROM files AS b
    INNER JOIN virustotal_files AS v ON b.day = v.day AND lower(b.sha256) = v.sha256
    WHERE b.transfer IN ('download', 'upload') AND v.answered_at IS NOT NULL
    GROUP BY b.day, b.sensor, b.session_id
) AS f ON s.day = f.day AND s.sensor = f.sensor AND s.session_id = f.session_id;
