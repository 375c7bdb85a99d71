-- One row a session: what happened, and what was known of its source at the time of the attack.
-- `enrichment` holds a key for each service that ever answered; none is asked yet, so it is NULL, and so are the flags:
-- NULL is "nobody was asked", FALSE would be "asked, and clean".
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
    NULL::boolean AS dshield_flagged,
    p.snapshot_asn,
    p.snapshot_country,
    p.snapshot_ip_type,
    p.enrichment_at,
    NULL::jsonb AS enrichment,
    s.day,
    -- An address that is not in the inventory yet counts as public until it is known to be none.
    coalesce(i.is_public, s.source_ip IS NOT NULL) AS has_public_source,
    p.snapshot_basis
FROM sessions AS s
LEFT JOIN session_snapshots AS p
    ON s.day = p.day AND s.sensor = p.sensor AND s.session_id = p.session_id AND p.is_current
LEFT JOIN ip_inventory AS i ON s.source_ip = i.ip_address;
