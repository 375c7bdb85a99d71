"""What happened, session by session, whose the sources were, and what was true at the time."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    Index,
    Integer,
    Interval,
    SmallInteger,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import CIDR, INET, JSONB

from cowrie_assets.warehouse.tables.columns import count, detail, metadata, moment, session_key

# --- written by the asset `sessions` ----------------------------------------------------------------------------------

sessions = Table(
    "sessions",
    metadata,
    *session_key(),
    Column("first_event_at", moment(), nullable=False),
    Column("last_event_at", moment(), nullable=False),
    count("event_count"),
    Column("source_ip", INET, comment="as the log says; NULL where it says nothing usable"),
    Column("source_port", Integer),
    Column("destination_ip", Text, comment="text: Cowrie also logs host names here"),
    Column("destination_port", Integer),
    Column("protocol", Text),
    Column("client_version", Text),
    Column("hassh", Text),
    Column("duration_seconds", Double),
    count("login_attempts"),
    count("login_successes"),
    Column("command_count", Integer, nullable=False, comment="cowrie.command.input only"),
    count("commands_failed"),
    Column("file_downloads", Integer, nullable=False, comment="cowrie.session.file_download"),
    count("file_uploads"),
    Column("ssh_key_injections", Integer, nullable=False, comment="public keys written to authorized_keys"),
    Column("forwarding_requests", Integer, nullable=False, comment="cowrie.direct-tcpip.request"),
    count("unknown_events"),
    Column("tty_log", Text),
    Column("reported_sensor", Text, comment="the event's own sensor field, whatever the sensor is called here"),
    Column("closed", Boolean, nullable=False, comment="cowrie.session.closed was seen"),
    Index(None, "source_ip"),
    Index(None, "first_event_at"),
)

logins = detail(
    "logins",
    Column("success", Boolean, nullable=False),
    Column("username", Text),
    Column("password", Text, comment="NULL for a public-key attempt"),
    Column("key_fingerprint", Text),
)

commands = detail(
    "commands",
    Column(
        "outcome", Text, nullable=False, comment="input: as typed; success, failed: what Cowrie made of a part of it"
    ),
    Column("input", Text),
    CheckConstraint("outcome IN ('input', 'success', 'failed')", name="outcome"),
)

files = detail(
    "files",
    Column("transfer", Text, nullable=False),
    Column("sha256", Text),
    Column("url", Text),
    Column("filename", Text),
    CheckConstraint("transfer IN ('download', 'upload', 'failed download')", name="transfer"),
    Index(None, "sha256"),
)

ssh_keys = detail(
    "ssh_keys",
    Column("key_type", Text, nullable=False),
    Column("key_data", Text, nullable=False, comment="base64, as planted"),
    Column("fingerprint", Text, nullable=False, comment="SHA256:… as ssh-keygen -l prints it"),
    Column("remark", Text, comment="the text behind the key"),
    Index(None, "fingerprint"),
)

forwarding_requests = detail(
    "forwarding_requests",
    Column("destination", Text, comment="an address or a host name, as asked for; never looked up"),
    Column("destination_port", Integer),
    Column("source_port", Integer),
)

# --- written by the inventory -----------------------------------------------------------------------------------------

asn_inventory = Table(
    "asn_inventory",
    metadata,
    Column("asn_number", BigInteger, primary_key=True, autoincrement=False, comment="up to 4294967295"),
    Column("organization_name", Text),
    Column("organization_country", Text),
    Column("rir_registry", Text),
    Column("first_seen", moment(), nullable=False),
    Column("last_seen", moment(), nullable=False),
    count("unique_ip_count"),
    count("total_session_count"),
    Column("enrichment", JSONB, nullable=False, server_default="{}"),
    Column("enrichment_updated_at", moment()),
    CheckConstraint("asn_number BETWEEN 1 AND 4294967295", name="asn_number"),
)

ip_inventory = Table(
    "ip_inventory",
    metadata,
    Column("ip_address", INET, primary_key=True),
    Column("is_public", Boolean, nullable=False, comment="globally routable"),
    Column("is_own", Boolean, nullable=False, server_default="false", comment="a sensor's; never asked about"),
    Column("current_asn", BigInteger),
    Column("asn_last_verified", moment()),
    Column("asn_reason", Text, comment="why current_asn is NULL"),
    Column("geo_country", Text),
    Column("country_reason", Text, comment="why geo_country is NULL"),
    Column("ip_type", Text),
    Column("ip_type_reason", Text, comment="why ip_type is NULL"),
    Column("first_seen", moment(), nullable=False),
    Column("last_seen", moment(), nullable=False),
    count("session_count"),
    Column("enrichment", JSONB, nullable=False, server_default="{}"),
    Column("enrichment_updated_at", moment()),
    Column("enrichment_version", Text, nullable=False),
    CheckConstraint("geo_country ~ '^[A-Z]{2}$' AND geo_country <> 'XX'", name="geo_country"),
    Index(None, "current_asn"),
)

ip_observations = Table(
    "ip_observations",
    metadata,
    Column("address", INET, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("observed_at", moment(), primary_key=True, comment="a geo file observes at its build date"),
    Column("asn", BigInteger),
    Column("as_name", Text),
    Column("country", Text),
    Column("prefix", CIDR),
    Column("details", JSONB, nullable=False, server_default="{}"),
    CheckConstraint("country ~ '^[A-Z]{2}$' AND country <> 'XX'", name="country"),
)

# --- written by the asset `session_snapshots` -------------------------------------------------------------------------

session_snapshots = Table(
    "session_snapshots",
    metadata,
    *session_key(),
    Column("version", SmallInteger, primary_key=True),
    Column("is_current", Boolean, nullable=False, comment="the best known; older versions stay as they were written"),
    Column("source_ip", INET),
    Column("attacked_at", moment(), nullable=False),
    Column("snapshot_asn", BigInteger),
    Column("asn_reason", Text, comment="why snapshot_asn is NULL"),
    Column("asn_basis", Text),
    Column("asn_observed_at", moment()),
    Column("snapshot_country", Text),
    Column("country_reason", Text, comment="why snapshot_country is NULL"),
    Column("country_basis", Text),
    Column("country_observed_at", moment()),
    Column("snapshot_ip_type", Text),
    Column("ip_type_reason", Text, comment="why snapshot_ip_type is NULL"),
    Column("ip_type_basis", Text),
    Column("ip_type_observed_at", moment(), comment="when the list was fetched"),
    Column("snapshot_basis", Text, comment="the weakest of the parts"),
    Column("enrichment_at", moment(), comment="when the part farthest from the attack was observed"),
    Column("enrichment_lag", Interval, comment="between that and the attack"),
    Index("ix_session_snapshots_current", "day", "sensor", "session_id", unique=True, postgresql_where="is_current"),
)
