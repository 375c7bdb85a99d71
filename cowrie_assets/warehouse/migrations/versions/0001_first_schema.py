"""The first schema: events, sessions, inventories, snapshots, the results of queries 11 and 12."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "asn_infrastructure",
        sa.Column("asn", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("as_name", sa.Text(), nullable=True),
        sa.Column("primary_country", sa.Text(), nullable=True),
        sa.Column("session_count", sa.BigInteger(), nullable=False),
        sa.Column("days_active", sa.BigInteger(), nullable=False),
        sa.Column("first_seen", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("last_seen", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("avg_commands", sa.Numeric(), nullable=False),
        sa.Column("total_downloads", sa.BigInteger(), nullable=False),
        sa.Column("total_ssh_injections", sa.BigInteger(), nullable=False),
        sa.Column(
            "vt_flagged_sessions", sa.BigInteger(), nullable=True, comment="NULL while no file was ever looked up"
        ),
        sa.Column(
            "dshield_flagged_sessions",
            sa.BigInteger(),
            nullable=True,
            comment="NULL while no address was ever looked up",
        ),
        sa.Column("infrastructure_type", sa.Text(), nullable=False),
        sa.Column("asn_percentage", sa.Numeric(), nullable=False),
        sa.PrimaryKeyConstraint("asn", name=op.f("pk_asn_infrastructure")),
    )
    op.create_table(
        "asn_inventory",
        sa.Column("asn_number", sa.BigInteger(), autoincrement=False, nullable=False, comment="up to 4294967295"),
        sa.Column("organization_name", sa.Text(), nullable=True),
        sa.Column("organization_country", sa.Text(), nullable=True),
        sa.Column("rir_registry", sa.Text(), nullable=True),
        sa.Column("first_seen", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("last_seen", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("unique_ip_count", sa.Integer(), nullable=False),
        sa.Column("total_session_count", sa.Integer(), nullable=False),
        sa.Column("enrichment", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("enrichment_updated_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("asn_number BETWEEN 1 AND 4294967295", name=op.f("ck_asn_inventory_asn_number")),
        sa.PrimaryKeyConstraint("asn_number", name=op.f("pk_asn_inventory")),
    )
    op.create_table(
        "commands",
        sa.Column("day", sa.Date(), nullable=False, comment="UTC day of the session's first event"),
        sa.Column("sensor", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False, comment="Cowrie's own, unique only within (sensor, day)"),
        sa.Column(
            "sequence", sa.Integer(), nullable=False, comment="order within the session: time, then event identity"
        ),
        sa.Column("occurred_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column(
            "outcome",
            sa.Text(),
            nullable=False,
            comment="input: as typed; success, failed: what Cowrie made of a part of it",
        ),
        sa.Column("input", sa.Text(), nullable=True),
        sa.CheckConstraint("outcome IN ('input', 'success', 'failed')", name=op.f("ck_commands_outcome")),
        sa.PrimaryKeyConstraint("day", "sensor", "session_id", "sequence", name=op.f("pk_commands")),
    )
    op.create_table(
        "day_builds",
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column(
            "revision", sa.Integer(), nullable=False, comment="the revision of event_days that the asset's rows rest on"
        ),
        sa.Column(
            "editions",
            sa.Text(),
            nullable=False,
            comment="the geo file editions that they rest on; empty where none matter",
        ),
        sa.PrimaryKeyConstraint("asset", "day", name=op.f("pk_day_builds")),
    )
    op.create_table(
        "dead_letter_events",
        sa.Column("sha256", sa.Text(), nullable=False, comment="of the whole text: a copied file adds no dead letter"),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False, comment="where it was seen first"),
        sa.Column("offset_bytes", sa.BigInteger(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False, comment="all of it up to 1 MB, else the first 64 KiB"),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_dead_letter_events")),
    )
    op.create_table(
        "dead_letter_sightings",
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("offset_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False, comment="of the dead letter that lies there"),
        sa.PrimaryKeyConstraint("path", "generation", "offset_bytes", name=op.f("pk_dead_letter_sightings")),
    )
    op.create_index(op.f("ix_dead_letter_sightings_sha256"), "dead_letter_sightings", ["sha256"], unique=False)
    op.create_table(
        "event_chunks",
        sa.Column("day", sa.Date(), nullable=False, comment="UTC day of the events"),
        sa.Column("sensor", sa.Text(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("event_count", sa.Integer(), nullable=False),
        sa.Column("raw_bytes", sa.BigInteger(), nullable=False),
        sa.Column(
            "digests", sa.LargeBinary(), nullable=False, comment="16 bytes an event, in the order of the payload"
        ),
        sa.Column(
            "spans",
            sa.LargeBinary(),
            nullable=False,
            comment="zstd of JSON: session id to its first and last instant here",
        ),
        sa.Column("payload", sa.LargeBinary(), nullable=False, comment="zstd of the raw lines, joined by newlines"),
        sa.PrimaryKeyConstraint("day", "sensor", "sequence", name=op.f("pk_event_chunks")),
    )
    op.create_table(
        "event_days",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column(
            "revision", sa.Integer(), nullable=False, comment="grows whenever sessions that start on this day changed"
        ),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_event_days")),
    )
    op.create_table(
        "files",
        sa.Column("day", sa.Date(), nullable=False, comment="UTC day of the session's first event"),
        sa.Column("sensor", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False, comment="Cowrie's own, unique only within (sensor, day)"),
        sa.Column(
            "sequence", sa.Integer(), nullable=False, comment="order within the session: time, then event identity"
        ),
        sa.Column("occurred_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("transfer", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("filename", sa.Text(), nullable=True),
        sa.CheckConstraint("transfer IN ('download', 'upload', 'failed download')", name=op.f("ck_files_transfer")),
        sa.PrimaryKeyConstraint("day", "sensor", "session_id", "sequence", name=op.f("pk_files")),
    )
    op.create_index(op.f("ix_files_sha256"), "files", ["sha256"], unique=False)
    op.create_table(
        "forwarding_requests",
        sa.Column("day", sa.Date(), nullable=False, comment="UTC day of the session's first event"),
        sa.Column("sensor", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False, comment="Cowrie's own, unique only within (sensor, day)"),
        sa.Column(
            "sequence", sa.Integer(), nullable=False, comment="order within the session: time, then event identity"
        ),
        sa.Column("occurred_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column(
            "destination", sa.Text(), nullable=True, comment="an address or a host name, as asked for; never looked up"
        ),
        sa.Column("destination_port", sa.Integer(), nullable=True),
        sa.Column("source_port", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("day", "sensor", "session_id", "sequence", name=op.f("pk_forwarding_requests")),
    )
    op.create_table(
        "geographic_distribution",
        sa.Column("country", sa.Text(), nullable=False),
        sa.Column("session_count", sa.BigInteger(), nullable=False),
        sa.Column("unique_asns", sa.BigInteger(), nullable=False),
        sa.Column("days_active", sa.BigInteger(), nullable=False),
        sa.Column("first_seen", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("last_seen", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("avg_commands_per_session", sa.Numeric(), nullable=False),
        sa.Column("total_file_downloads", sa.BigInteger(), nullable=False),
        sa.Column("vt_flagged_count", sa.BigInteger(), nullable=True, comment="NULL while no file was ever looked up"),
        sa.Column(
            "dshield_flagged_count", sa.BigInteger(), nullable=True, comment="NULL while no address was ever looked up"
        ),
        sa.Column("country_percentage", sa.Numeric(), nullable=False),
        sa.Column("asn_diversity_ratio", sa.Numeric(), nullable=False),
        sa.PrimaryKeyConstraint("country", name=op.f("pk_geographic_distribution")),
    )
    op.create_table(
        "ip_inventory",
        sa.Column("ip_address", postgresql.INET(), nullable=False),
        sa.Column(
            "is_public", sa.Boolean(), nullable=False, comment="globally routable, and so a question that may leave"
        ),
        sa.Column("current_asn", sa.BigInteger(), nullable=True),
        sa.Column("asn_last_verified", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("asn_reason", sa.Text(), nullable=True, comment="why current_asn is NULL"),
        sa.Column("geo_country", sa.Text(), nullable=True),
        sa.Column("country_reason", sa.Text(), nullable=True, comment="why geo_country is NULL"),
        sa.Column("ip_type", sa.Text(), nullable=True),
        sa.Column("ip_type_reason", sa.Text(), nullable=True, comment="why ip_type is NULL"),
        sa.Column("first_seen", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("last_seen", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("session_count", sa.Integer(), nullable=False),
        sa.Column("enrichment", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("enrichment_updated_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("enrichment_version", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "geo_country ~ '^[A-Z]{2}$' AND geo_country <> 'XX'", name=op.f("ck_ip_inventory_geo_country")
        ),
        sa.PrimaryKeyConstraint("ip_address", name=op.f("pk_ip_inventory")),
    )
    op.create_index(op.f("ix_ip_inventory_current_asn"), "ip_inventory", ["current_asn"], unique=False)
    op.create_table(
        "ip_observations",
        sa.Column("address", postgresql.INET(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column(
            "observed_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="a geo file observes at its build date",
        ),
        sa.Column("asn", sa.BigInteger(), nullable=True),
        sa.Column("as_name", sa.Text(), nullable=True),
        sa.Column("country", sa.Text(), nullable=True),
        sa.Column("prefix", postgresql.CIDR(), nullable=True),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.CheckConstraint("country ~ '^[A-Z]{2}$' AND country <> 'XX'", name=op.f("ck_ip_observations_country")),
        sa.PrimaryKeyConstraint("address", "source", "observed_at", name=op.f("pk_ip_observations")),
    )
    op.create_table(
        "log_files",
        sa.Column("file_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column(
            "generation",
            sa.Integer(),
            nullable=False,
            comment="which content this is at that path: rotation makes a new one",
        ),
        sa.Column("compression", sa.Text(), nullable=False),
        sa.Column(
            "prefix_digest",
            sa.LargeBinary(),
            nullable=False,
            comment="blake2b of the decompressed bytes before offset_bytes",
        ),
        sa.Column(
            "offset_bytes",
            sa.BigInteger(),
            nullable=False,
            comment="decompressed; reading goes on here when the file grows",
        ),
        sa.Column(
            "file_state",
            sa.Text(),
            nullable=True,
            comment="size, times and inode when it was read to its end; NULL while it is not",
        ),
        sa.Column("problem", sa.Text(), nullable=True, comment="what cut the reading short, and the cure"),
        sa.Column(
            "torn_tail",
            sa.Boolean(),
            nullable=False,
            comment="the last dead letter is an unfinished line that may yet grow",
        ),
        sa.Column("total_bytes", sa.BigInteger(), nullable=False),
        sa.Column("record_bytes", sa.BigInteger(), nullable=False),
        sa.Column("blank_bytes", sa.BigInteger(), nullable=False),
        sa.Column("dead_bytes", sa.BigInteger(), nullable=False),
        sa.Column("pending_bytes", sa.BigInteger(), nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.Column("blank_lines", sa.BigInteger(), nullable=False),
        sa.Column("dead_letters", sa.BigInteger(), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.Column("duplicates", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("file_id", name=op.f("pk_log_files")),
        sa.UniqueConstraint("path", "generation", name=op.f("uq_log_files_path_generation")),
    )
    op.create_table(
        "logins",
        sa.Column("day", sa.Date(), nullable=False, comment="UTC day of the session's first event"),
        sa.Column("sensor", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False, comment="Cowrie's own, unique only within (sensor, day)"),
        sa.Column(
            "sequence", sa.Integer(), nullable=False, comment="order within the session: time, then event identity"
        ),
        sa.Column("occurred_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("success", sa.Boolean(), nullable=False),
        sa.Column("username", sa.Text(), nullable=True),
        sa.Column("password", sa.Text(), nullable=True, comment="NULL for a public-key attempt"),
        sa.Column("key_fingerprint", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("day", "sensor", "session_id", "sequence", name=op.f("pk_logins")),
    )
    op.create_table(
        "query_results",
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column(
            "since", postgresql.TIMESTAMP(timezone=True), nullable=True, comment="NULL: from the first session on"
        ),
        sa.Column(
            "until", postgresql.TIMESTAMP(timezone=True), nullable=True, comment="exclusive; NULL: to the last session"
        ),
        sa.Column("minimum_sessions", sa.Integer(), nullable=False),
        sa.Column("row_limit", sa.Integer(), nullable=False),
        sa.Column("sessions", sa.BigInteger(), nullable=False),
        sa.Column("eligible", sa.BigInteger(), nullable=False, comment="sessions with a public source address"),
        sa.Column("covered", sa.BigInteger(), nullable=False, comment="of these, the ones whose key is known"),
        sa.Column(
            "coverage",
            sa.Numeric(),
            sa.Computed("round(covered::numeric / NULLIF(eligible, 0), 4)", persisted=True),
            nullable=True,
        ),
        sa.Column("gate", sa.Text(), nullable=False, comment="passed, below the gate, or nothing eligible"),
        sa.PrimaryKeyConstraint("query", name=op.f("pk_query_results")),
    )
    op.create_table(
        "session_snapshots",
        sa.Column("day", sa.Date(), nullable=False, comment="UTC day of the session's first event"),
        sa.Column("sensor", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False, comment="Cowrie's own, unique only within (sensor, day)"),
        sa.Column("version", sa.SmallInteger(), nullable=False),
        sa.Column(
            "is_current",
            sa.Boolean(),
            nullable=False,
            comment="the best known; older versions stay as they were written",
        ),
        sa.Column("source_ip", postgresql.INET(), nullable=True),
        sa.Column("attacked_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("snapshot_asn", sa.BigInteger(), nullable=True),
        sa.Column("asn_reason", sa.Text(), nullable=True, comment="why snapshot_asn is NULL"),
        sa.Column("asn_basis", sa.Text(), nullable=True),
        sa.Column("asn_observed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("snapshot_country", sa.Text(), nullable=True),
        sa.Column("country_reason", sa.Text(), nullable=True, comment="why snapshot_country is NULL"),
        sa.Column("country_basis", sa.Text(), nullable=True),
        sa.Column("country_observed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("snapshot_ip_type", sa.Text(), nullable=True),
        sa.Column("ip_type_reason", sa.Text(), nullable=True, comment="why snapshot_ip_type is NULL"),
        sa.Column("snapshot_basis", sa.Text(), nullable=True, comment="the weakest of the parts"),
        sa.Column(
            "enrichment_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="when the part farthest from the attack was observed",
        ),
        sa.Column("enrichment_lag", sa.Interval(), nullable=True, comment="between that and the attack"),
        sa.PrimaryKeyConstraint("day", "sensor", "session_id", "version", name=op.f("pk_session_snapshots")),
    )
    op.create_index(
        "ix_session_snapshots_current",
        "session_snapshots",
        ["day", "sensor", "session_id"],
        unique=True,
        postgresql_where="is_current",
    )
    op.create_table(
        "sessions",
        sa.Column("day", sa.Date(), nullable=False, comment="UTC day of the session's first event"),
        sa.Column("sensor", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False, comment="Cowrie's own, unique only within (sensor, day)"),
        sa.Column("first_event_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("last_event_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("event_count", sa.Integer(), nullable=False),
        sa.Column(
            "source_ip", postgresql.INET(), nullable=True, comment="as the log says; NULL where it says nothing usable"
        ),
        sa.Column("source_port", sa.Integer(), nullable=True),
        sa.Column("destination_ip", sa.Text(), nullable=True, comment="text: Cowrie also logs host names here"),
        sa.Column("destination_port", sa.Integer(), nullable=True),
        sa.Column("protocol", sa.Text(), nullable=True),
        sa.Column("client_version", sa.Text(), nullable=True),
        sa.Column("hassh", sa.Text(), nullable=True),
        sa.Column("duration_seconds", sa.Double(), nullable=True),
        sa.Column("login_attempts", sa.Integer(), nullable=False),
        sa.Column("login_successes", sa.Integer(), nullable=False),
        sa.Column("command_count", sa.Integer(), nullable=False, comment="cowrie.command.input only"),
        sa.Column("commands_failed", sa.Integer(), nullable=False),
        sa.Column("file_downloads", sa.Integer(), nullable=False, comment="cowrie.session.file_download"),
        sa.Column("file_uploads", sa.Integer(), nullable=False),
        sa.Column("ssh_key_injections", sa.Integer(), nullable=False, comment="public keys written to authorized_keys"),
        sa.Column("forwarding_requests", sa.Integer(), nullable=False, comment="cowrie.direct-tcpip.request"),
        sa.Column("unknown_events", sa.Integer(), nullable=False),
        sa.Column("tty_log", sa.Text(), nullable=True),
        sa.Column(
            "reported_sensor",
            sa.Text(),
            nullable=True,
            comment="the event's own sensor field, whatever the sensor is called here",
        ),
        sa.Column("closed", sa.Boolean(), nullable=False, comment="cowrie.session.closed was seen"),
        sa.PrimaryKeyConstraint("day", "sensor", "session_id", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_first_event_at"), "sessions", ["first_event_at"], unique=False)
    op.create_index(op.f("ix_sessions_source_ip"), "sessions", ["source_ip"], unique=False)
    op.create_table(
        "ssh_keys",
        sa.Column("day", sa.Date(), nullable=False, comment="UTC day of the session's first event"),
        sa.Column("sensor", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False, comment="Cowrie's own, unique only within (sensor, day)"),
        sa.Column(
            "sequence", sa.Integer(), nullable=False, comment="order within the session: time, then event identity"
        ),
        sa.Column("occurred_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("key_type", sa.Text(), nullable=False),
        sa.Column("key_data", sa.Text(), nullable=False, comment="base64, as planted"),
        sa.Column("fingerprint", sa.Text(), nullable=False, comment="SHA256:… as ssh-keygen -l prints it"),
        sa.Column("remark", sa.Text(), nullable=True, comment="the text behind the key"),
        sa.PrimaryKeyConstraint("day", "sensor", "session_id", "sequence", name=op.f("pk_ssh_keys")),
    )
    op.create_index(op.f("ix_ssh_keys_fingerprint"), "ssh_keys", ["fingerprint"], unique=False)
    op.create_table(
        "warehouse_stamp",
        sa.Column("single", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.CheckConstraint("mode IN ('sandbox', 'live')", name=op.f("ck_warehouse_stamp_mode")),
        sa.CheckConstraint("single", name=op.f("ck_warehouse_stamp_one_row")),
        sa.PrimaryKeyConstraint("single", name=op.f("pk_warehouse_stamp")),
    )
    # Chunks are compressed already: PostgreSQL would only try again, and fail.
    for column in ("digests", "spans", "payload"):
        op.execute(f"ALTER TABLE event_chunks ALTER COLUMN {column} SET STORAGE EXTERNAL")


def downgrade() -> None:
    op.drop_table("warehouse_stamp")
    op.drop_index(op.f("ix_ssh_keys_fingerprint"), table_name="ssh_keys")
    op.drop_table("ssh_keys")
    op.drop_index(op.f("ix_sessions_source_ip"), table_name="sessions")
    op.drop_index(op.f("ix_sessions_first_event_at"), table_name="sessions")
    op.drop_table("sessions")
    op.drop_index("ix_session_snapshots_current", table_name="session_snapshots", postgresql_where="is_current")
    op.drop_table("session_snapshots")
    op.drop_table("query_results")
    op.drop_table("logins")
    op.drop_table("log_files")
    op.drop_table("ip_observations")
    op.drop_index(op.f("ix_ip_inventory_current_asn"), table_name="ip_inventory")
    op.drop_table("ip_inventory")
    op.drop_table("geographic_distribution")
    op.drop_table("forwarding_requests")
    op.drop_index(op.f("ix_files_sha256"), table_name="files")
    op.drop_table("files")
    op.drop_table("event_days")
    op.drop_table("event_chunks")
    op.drop_index(op.f("ix_dead_letter_sightings_sha256"), table_name="dead_letter_sightings")
    op.drop_table("dead_letter_sightings")
    op.drop_table("dead_letter_events")
    op.drop_table("day_builds")
    op.drop_table("commands")
    op.drop_table("asn_inventory")
    op.drop_table("asn_infrastructure")
