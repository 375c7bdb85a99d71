"""What operating the system leaves behind: days that could not be built, alerts, what was pruned, disk use."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Date, Identity, Index, Integer, Table, Text

from cowrie_assets.warehouse.tables.columns import large_count, metadata, moment

# --- written by each daily asset, when a day of its run cannot be built ----------------------------------------------

day_failures = Table(
    "day_failures",
    metadata,
    Column("asset", Text, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("revision", Integer, nullable=False, comment="of event_days: a day that changes is tried again"),
    Column("failed_at", moment(), nullable=False),
    Column("reason", Text, nullable=False),
)

# --- written by the sensor `alerts` ----------------------------------------------------------------------------------

incidents = Table(
    "incidents",
    metadata,
    Column("asset", Text, primary_key=True),
    Column("name", Text, primary_key=True, comment="the check's name; 'materialize' where the run itself failed"),
    Column("partition", Text, primary_key=True, comment="the day; empty where the asset has no days"),
    Column("severity", Text, nullable=False),
    Column("words", Text, nullable=False, comment="what the check or the run said, as it said it"),
    Column("run_id", Text, nullable=False),
    Column("backfill_id", Text, comment="failures of one backfill are told in one digest"),
    Column("judged_at", moment(), nullable=False, comment="of the newest verdict: an older one that comes late is not"),
    Column("failing_since", moment(), nullable=False),
    Column("told_at", moment(), comment="when the note of the failure was written; NULL: it waits for its digest"),
    Column("recovered_at", moment(), comment="NULL while it fails"),
    CheckConstraint("severity IN ('WARN', 'ERROR')", name="severity"),
)

alert_notes = Table(
    "alert_notes",
    metadata,
    Column("note_id", BigInteger, Identity(always=True), primary_key=True),
    Column("channel", Text, nullable=False, comment="its name in sensors.toml, never its URL"),
    Column("kind", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("written_at", moment(), nullable=False),
    Column("next_try_at", moment(), nullable=False),
    Column("tries", Integer, nullable=False),
    Column("delivered_at", moment(), comment="NULL until the channel took it"),
    Column("problem", Text, comment="why the last try failed, without secrets"),
    CheckConstraint("kind IN ('failure', 'recovery', 'digest')", name="kind"),
    Index(None, "delivered_at", "next_try_at"),
)

# --- written by pruning ----------------------------------------------------------------------------------------------

frozen_days = Table(
    "frozen_days",
    metadata,
    Column("day", Date, primary_key=True, comment="its events' lines were pruned: it is never rebuilt"),
    Column("frozen_at", moment(), nullable=False),
    large_count("events"),
    large_count("freed_bytes"),
)

storage_use = Table(
    "storage_use",
    metadata,
    Column("measured_at", moment(), primary_key=True),
    Column("part", Text, primary_key=True, comment="a table, or a folder of the state folder"),
    large_count("bytes"),
    Column("rows", BigInteger, comment="an estimate for tables; NULL for folders"),
)
