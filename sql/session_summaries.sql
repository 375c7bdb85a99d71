-- One row a session: what happened, and what was known of its source at the time of the attack.
--
-- `enrichment` holds a key for each service that answered about the source, with the answer nearest to the session's
-- day; a service that never answered is absent. The flags are NULL while nobody answered: FALSE is "asked, and clean".
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
    NULL::boolean AS vt_flagged,
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
    x.infrastructure AS spur_infrastructure
FROM sessions AS s
LEFT JOIN session_snapshots AS p
    ON s.day = p.day AND s.sensor = p.sensor AND s.session_id = p.session_id AND p.is_current
LEFT JOIN ip_inventory AS i ON s.source_ip = i.ip_address
LEFT JOIN dshield_enrichment AS d ON s.day = d.day AND s.source_ip = d.address
LEFT JOIN urlhaus_enrichment AS u ON s.day = u.day AND s.source_ip = u.address
LEFT JOIN spur_enrichment AS x ON s.day = x.day AND s.source_ip = x.address;
