"""The one definition of the schema. Migrations build it, a test proves that both agree.

Lives here: tables with typed columns. Not here: views (`sql/*.sql`, made by `views`), rows (each group of tables is
written by the one asset named above it).
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Date,
    Double,
    Identity,
    Index,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import CIDR, INET, JSONB, TIMESTAMP
from sqlalchemy.schema import SchemaItem

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _time() -> TIMESTAMP:
    return TIMESTAMP(timezone=True)


def _count(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False)


def _bytes(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


def _session_key() -> Sequence[Column[object]]:
    return (
        Column("day", Date, primary_key=True, comment="UTC day of the session's first event"),
        Column("sensor", Text, primary_key=True),
        Column("session_id", Text, primary_key=True, comment="Cowrie's own, unique only within (sensor, day)"),
    )


def _detail(name: str, *columns: SchemaItem) -> Table:
    return Table(
        name,
        metadata,
        *_session_key(),
        Column("sequence", Integer, primary_key=True, comment="order within the session: time, then event identity"),
        Column("occurred_at", _time(), nullable=False),
        *columns,
    )


# Made with the database itself: a sandbox warehouse never serves live data, nor the other way round.
warehouse_stamp = Table(
    "warehouse_stamp",
    metadata,
    Column("single", Boolean, primary_key=True, server_default="true"),
    Column("mode", Text, nullable=False),
    CheckConstraint("single", name="one_row"),
    CheckConstraint("mode IN ('sandbox', 'live')", name="mode"),
)

# --- written by the asset `events` ------------------------------------------------------------------------------------

log_files = Table(
    "log_files",
    metadata,
    Column("file_id", BigInteger, Identity(always=True), primary_key=True),
    Column("path", Text, nullable=False),
    Column(
        "generation", Integer, nullable=False, comment="which content this is at that path: rotation makes a new one"
    ),
    Column("compression", Text, nullable=False),
    Column(
        "prefix_digest", LargeBinary, nullable=False, comment="blake2b of the decompressed bytes before offset_bytes"
    ),
    Column(
        "offset_bytes", BigInteger, nullable=False, comment="decompressed; reading goes on here when the file grows"
    ),
    Column("file_state", Text, comment="size, times and inode when it was read to its end; NULL while it is not"),
    Column("problem", Text, comment="what cut the reading short, and the cure"),
    Column(
        "torn_tail", Boolean, nullable=False, comment="the last dead letter is an unfinished line that may yet grow"
    ),
    _bytes("total_bytes"),
    _bytes("record_bytes"),
    _bytes("blank_bytes"),
    _bytes("dead_bytes"),
    _bytes("pending_bytes"),
    _bytes("records"),
    _bytes("blank_lines"),
    _bytes("dead_letters"),
    _bytes("events"),
    _bytes("duplicates"),
    UniqueConstraint("path", "generation"),
)

event_chunks = Table(
    "event_chunks",
    metadata,
    Column("day", Date, primary_key=True, comment="UTC day of the events"),
    Column("sensor", Text, primary_key=True),
    Column("sequence", Integer, primary_key=True),
    _count("event_count"),
    _bytes("raw_bytes"),
    Column("digests", LargeBinary, nullable=False, comment="16 bytes an event, in the order of the payload"),
    Column("spans", LargeBinary, nullable=False, comment="zstd of JSON: session id to its first and last instant here"),
    Column("payload", LargeBinary, nullable=False, comment="zstd of the raw lines, joined by newlines"),
)

dead_letter_events = Table(
    "dead_letter_events",
    metadata,
    Column("sha256", Text, primary_key=True, comment="of the whole text: a copied file adds no dead letter"),
    Column("reason", Text, nullable=False),
    Column("path", Text, nullable=False, comment="where it was seen first"),
    Column("offset_bytes", BigInteger, nullable=False),
    Column("length", BigInteger, nullable=False),
    Column("content", LargeBinary, nullable=False, comment="all of it up to 1 MB, else the first 64 KiB"),
)

dead_letter_sightings = Table(
    "dead_letter_sightings",
    metadata,
    Column("path", Text, primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("offset_bytes", BigInteger, primary_key=True),
    Column("sha256", Text, nullable=False, comment="of the dead letter that lies there"),
    Index(None, "sha256"),
)

event_days = Table(
    "event_days",
    metadata,
    Column("day", Date, primary_key=True),
    Column("revision", Integer, nullable=False, comment="grows whenever sessions that start on this day changed"),
)

# --- written by each daily asset in the transaction that writes its day -----------------------------------------------

day_builds = Table(
    "day_builds",
    metadata,
    Column("asset", Text, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("revision", Integer, nullable=False, comment="the revision of event_days that the asset's rows rest on"),
    Column(
        "editions", Text, nullable=False, comment="the geo file editions that they rest on; empty where none matter"
    ),
)

# --- written by the asset `sessions` ----------------------------------------------------------------------------------

sessions = Table(
    "sessions",
    metadata,
    *_session_key(),
    Column("first_event_at", _time(), nullable=False),
    Column("last_event_at", _time(), nullable=False),
    _count("event_count"),
    Column("source_ip", INET, comment="as the log says; NULL where it says nothing usable"),
    Column("source_port", Integer),
    Column("destination_ip", Text, comment="text: Cowrie also logs host names here"),
    Column("destination_port", Integer),
    Column("protocol", Text),
    Column("client_version", Text),
    Column("hassh", Text),
    Column("duration_seconds", Double),
    _count("login_attempts"),
    _count("login_successes"),
    Column("command_count", Integer, nullable=False, comment="cowrie.command.input only"),
    _count("commands_failed"),
    Column("file_downloads", Integer, nullable=False, comment="cowrie.session.file_download"),
    _count("file_uploads"),
    Column("ssh_key_injections", Integer, nullable=False, comment="public keys written to authorized_keys"),
    Column("forwarding_requests", Integer, nullable=False, comment="cowrie.direct-tcpip.request"),
    _count("unknown_events"),
    Column("tty_log", Text),
    Column("reported_sensor", Text, comment="the event's own sensor field, whatever the sensor is called here"),
    Column("closed", Boolean, nullable=False, comment="cowrie.session.closed was seen"),
    Index(None, "source_ip"),
    Index(None, "first_event_at"),
)

logins = _detail(
    "logins",
    Column("success", Boolean, nullable=False),
    Column("username", Text),
    Column("password", Text, comment="NULL for a public-key attempt"),
    Column("key_fingerprint", Text),
)

commands = _detail(
    "commands",
    Column(
        "outcome", Text, nullable=False, comment="input: as typed; success, failed: what Cowrie made of a part of it"
    ),
    Column("input", Text),
    CheckConstraint("outcome IN ('input', 'success', 'failed')", name="outcome"),
)

files = _detail(
    "files",
    Column("transfer", Text, nullable=False),
    Column("sha256", Text),
    Column("url", Text),
    Column("filename", Text),
    CheckConstraint("transfer IN ('download', 'upload', 'failed download')", name="transfer"),
    Index(None, "sha256"),
)

ssh_keys = _detail(
    "ssh_keys",
    Column("key_type", Text, nullable=False),
    Column("key_data", Text, nullable=False, comment="base64, as planted"),
    Column("fingerprint", Text, nullable=False, comment="SHA256:… as ssh-keygen -l prints it"),
    Column("remark", Text, comment="the text behind the key"),
    Index(None, "fingerprint"),
)

forwarding_requests = _detail(
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
    Column("first_seen", _time(), nullable=False),
    Column("last_seen", _time(), nullable=False),
    _count("unique_ip_count"),
    _count("total_session_count"),
    Column("enrichment", JSONB, nullable=False, server_default="{}"),
    Column("enrichment_updated_at", _time()),
    CheckConstraint("asn_number BETWEEN 1 AND 4294967295", name="asn_number"),
)

ip_inventory = Table(
    "ip_inventory",
    metadata,
    Column("ip_address", INET, primary_key=True),
    Column("is_public", Boolean, nullable=False, comment="globally routable, and so a question that may leave"),
    Column("current_asn", BigInteger),
    Column("asn_last_verified", _time()),
    Column("asn_reason", Text, comment="why current_asn is NULL"),
    Column("geo_country", Text),
    Column("country_reason", Text, comment="why geo_country is NULL"),
    Column("ip_type", Text),
    Column("ip_type_reason", Text, comment="why ip_type is NULL"),
    Column("first_seen", _time(), nullable=False),
    Column("last_seen", _time(), nullable=False),
    _count("session_count"),
    Column("enrichment", JSONB, nullable=False, server_default="{}"),
    Column("enrichment_updated_at", _time()),
    Column("enrichment_version", Text, nullable=False),
    CheckConstraint("geo_country ~ '^[A-Z]{2}$' AND geo_country <> 'XX'", name="geo_country"),
    Index(None, "current_asn"),
)

ip_observations = Table(
    "ip_observations",
    metadata,
    Column("address", INET, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("observed_at", _time(), primary_key=True, comment="a geo file observes at its build date"),
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
    *_session_key(),
    Column("version", SmallInteger, primary_key=True),
    Column("is_current", Boolean, nullable=False, comment="the best known; older versions stay as they were written"),
    Column("source_ip", INET),
    Column("attacked_at", _time(), nullable=False),
    Column("snapshot_asn", BigInteger),
    Column("asn_reason", Text, comment="why snapshot_asn is NULL"),
    Column("asn_basis", Text),
    Column("asn_observed_at", _time()),
    Column("snapshot_country", Text),
    Column("country_reason", Text, comment="why snapshot_country is NULL"),
    Column("country_basis", Text),
    Column("country_observed_at", _time()),
    Column("snapshot_ip_type", Text),
    Column("ip_type_reason", Text, comment="why snapshot_ip_type is NULL"),
    Column("snapshot_basis", Text, comment="the weakest of the parts"),
    Column("enrichment_at", _time(), comment="when the part farthest from the attack was observed"),
    Column("enrichment_lag", Interval, comment="between that and the attack"),
    Index("ix_session_snapshots_current", "day", "sensor", "session_id", unique=True, postgresql_where="is_current"),
)

# --- written by the infrastructure queries, one table each ------------------------------------------------------------

geographic_distribution = Table(
    "geographic_distribution",
    metadata,
    Column("country", Text, primary_key=True),
    _bytes("session_count"),
    _bytes("unique_asns"),
    _bytes("days_active"),
    Column("first_seen", _time(), nullable=False),
    Column("last_seen", _time(), nullable=False),
    Column("avg_commands_per_session", Numeric, nullable=False),
    _bytes("total_file_downloads"),
    Column("vt_flagged_count", BigInteger, comment="NULL while no file was ever looked up"),
    Column("dshield_flagged_count", BigInteger, comment="NULL while no address was ever looked up"),
    Column("country_percentage", Numeric, nullable=False),
    Column("asn_diversity_ratio", Numeric, nullable=False),
)

asn_infrastructure = Table(
    "asn_infrastructure",
    metadata,
    Column("asn", BigInteger, primary_key=True, autoincrement=False),
    Column("as_name", Text),
    Column("primary_country", Text),
    _bytes("session_count"),
    _bytes("days_active"),
    Column("first_seen", _time(), nullable=False),
    Column("last_seen", _time(), nullable=False),
    Column("avg_commands", Numeric, nullable=False),
    _bytes("total_downloads"),
    _bytes("total_ssh_injections"),
    Column("vt_flagged_sessions", BigInteger, comment="NULL while no file was ever looked up"),
    Column("dshield_flagged_sessions", BigInteger, comment="NULL while no address was ever looked up"),
    Column("infrastructure_type", Text, nullable=False),
    Column("asn_percentage", Numeric, nullable=False),
)

query_results = Table(
    "query_results",
    metadata,
    Column("query", Text, primary_key=True),
    Column("since", _time(), comment="NULL: from the first session on"),
    Column("until", _time(), comment="exclusive; NULL: to the last session"),
    Column("minimum_sessions", Integer, nullable=False),
    Column("row_limit", Integer, nullable=False),
    _bytes("sessions"),
    Column("eligible", BigInteger, nullable=False, comment="sessions with a public source address"),
    Column("covered", BigInteger, nullable=False, comment="of these, the ones whose key is known"),
    Column("coverage", Numeric, Computed("round(covered::numeric / NULLIF(eligible, 0), 4)", persisted=True)),
    Column("gate", Text, nullable=False, comment="passed, below the gate, or nothing eligible"),
)
