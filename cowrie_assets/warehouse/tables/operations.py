"""What operating the system leaves behind: days that could not be built, alerts, what was pruned, disk use."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Date, Identity, Index, Integer, Table, Text

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
    Column("name", Text, primary_key=True, comment="the check's; 'materialize' or 'run' where that itself failed"),
    Column("partition", Text, primary_key=True, comment="the day; empty where the asset has no days"),
    Column("passed", Boolean, nullable=False, comment="of the newest verdict, as are the columns up to judged_at"),
    Column("severity", Text, nullable=False),
    Column("words", Text, nullable=False, comment="what the check or the run said, in one line"),
    Column("run_id", Text, nullable=False),
    Column("backfill_id", Text, comment="what one backfill brings is told when it has ended"),
    Column("judged_at", moment(), nullable=False, comment="an older verdict that comes late changes nothing"),
    Column("failing_since", moment(), comment="NULL where nothing fails, and the end of what failed was told"),
    Column("told_at", moment(), comment="when the failure was told; NULL again with the note that it recovered"),
    CheckConstraint("severity IN ('WARN', 'ERROR')", name="severity"),
    CheckConstraint("passed OR failing_since IS NOT NULL", name="failing_since"),
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
    Column("next_try_at", moment(), nullable=False, comment="while it is being sent: when it may be sent once more"),
    Column("tries", Integer, nullable=False),
    Column("delivered_at", moment(), comment="NULL until the channel took it"),
    Column("given_up_at", moment(), comment="NULL while it is tried"),
    Column("problem", Text, comment="why the last try failed, without secrets; NULL while it is being sent"),
    CheckConstraint("kind IN ('failure', 'warning', 'recovery')", name="kind"),
    Index(None, "delivered_at", "next_try_at"),
)

# --- written by pruning ----------------------------------------------------------------------------------------------

frozen_days = Table(
    "frozen_days",
    metadata,
    Column("day", Date, primary_key=True, comment="its events' lines were pruned: it is never rebuilt"),
    Column("frozen_at", moment(), nullable=False),
    Column("runs_until", Date, nullable=False, comment="the last day with an event of its sessions: rows stay theirs"),
    large_count("events"),
    large_count("freed_bytes"),
)

lookup_totals = Table(
    "lookup_totals",
    metadata,
    Column("service", Text, primary_key=True, comment="what its pruned rows of lookup_ledger came to"),
    large_count("requests"),
    large_count("keys"),
    large_count("found"),
    large_count("not_found"),
    large_count("unavailable"),
    large_count("not_applicable"),
    large_count("unfinished"),
    Column("last_request_at", moment(), nullable=False),
)

storage_use = Table(
    "storage_use",
    metadata,
    Column("measured_at", moment(), primary_key=True),
    Column("part", Text, primary_key=True, comment="a table, a folder of the state folder (with /), or Dagster's"),
    large_count("bytes"),
    Column("rows", BigInteger, comment="an estimate for tables; NULL for folders"),
)
