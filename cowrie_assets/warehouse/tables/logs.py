"""What ingestion and the daily rebuilding keep of the logs themselves."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from cowrie_assets.warehouse.tables.columns import count, large_count, metadata, moment

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
    large_count("total_bytes"),
    large_count("record_bytes"),
    large_count("blank_bytes"),
    large_count("dead_bytes"),
    large_count("pending_bytes"),
    large_count("records"),
    large_count("blank_lines"),
    large_count("dead_letters"),
    large_count("events"),
    large_count("duplicates"),
    UniqueConstraint("path", "generation"),
)

event_chunks = Table(
    "event_chunks",
    metadata,
    Column("day", Date, primary_key=True, comment="UTC day of the events"),
    Column("sensor", Text, primary_key=True),
    Column("sequence", Integer, primary_key=True),
    count("event_count"),
    large_count("raw_bytes"),
    Column("digests", LargeBinary, nullable=False, comment="16 bytes an event, in the order of the payload"),
    Column("spans", LargeBinary, nullable=False, comment="zstd of JSON: session id to its first and last instant here"),
    Column("payload", LargeBinary, nullable=False, comment="zstd of the raw lines, joined by newlines"),
    # By the server's clock: what a sensor's clock can be held against. No rebuilt row depends on it.
    Column("loaded_at", moment(), server_default=text("clock_timestamp()"), comment="NULL: loaded before 0004"),
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
        "evidence",
        Text,
        nullable=False,
        comment="digest of the observations that they rest on; empty where none matter",
    ),
)
