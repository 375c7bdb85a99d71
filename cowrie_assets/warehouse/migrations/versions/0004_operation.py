"""Operating it: days that could not be built, alerts, frozen days, disk use."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # In two steps: what is there already was loaded nobody knows when.
    op.add_column(
        "event_chunks",
        sa.Column("loaded_at", postgresql.TIMESTAMP(timezone=True), nullable=True, comment="NULL: loaded before 0004"),
    )
    op.alter_column("event_chunks", "loaded_at", server_default=sa.text("clock_timestamp()"))
    op.create_table(
        "alert_notes",
        sa.Column("note_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False, comment="its name in sensors.toml, never its URL"),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("written_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column(
            "next_try_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="while it is being sent: when it may be sent once more",
        ),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column(
            "delivered_at", postgresql.TIMESTAMP(timezone=True), nullable=True, comment="NULL until the channel took it"
        ),
        sa.Column("given_up_at", postgresql.TIMESTAMP(timezone=True), nullable=True, comment="NULL while it is tried"),
        sa.Column(
            "problem",
            sa.Text(),
            nullable=True,
            comment="why the last try failed, without secrets; NULL while it is being sent",
        ),
        sa.CheckConstraint("kind IN ('failure', 'warning', 'recovery')", name=op.f("ck_alert_notes_kind")),
        sa.PrimaryKeyConstraint("note_id", name=op.f("pk_alert_notes")),
    )
    op.create_index(
        op.f("ix_alert_notes_delivered_at_next_try_at"), "alert_notes", ["delivered_at", "next_try_at"], unique=False
    )
    op.create_table(
        "day_failures",
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False, comment="of event_days: a day that changes is tried again"),
        sa.Column("failed_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("asset", "day", name=op.f("pk_day_failures")),
    )
    op.create_table(
        "frozen_days",
        sa.Column("day", sa.Date(), nullable=False, comment="its events' lines were pruned: it is never rebuilt"),
        sa.Column("frozen_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column(
            "runs_until",
            sa.Date(),
            nullable=False,
            comment="the last day with an event of its sessions: rows stay theirs",
        ),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.Column("freed_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_frozen_days")),
    )
    op.create_table(
        "incidents",
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column(
            "name", sa.Text(), nullable=False, comment="the check's; 'materialize' or 'run' where that itself failed"
        ),
        sa.Column("partition", sa.Text(), nullable=False, comment="the day; empty where the asset has no days"),
        sa.Column(
            "passed",
            sa.Boolean(),
            nullable=False,
            comment="of the newest verdict, as are the columns up to judged_at",
        ),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("words", sa.Text(), nullable=False, comment="what the check or the run said, in one line"),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column(
            "backfill_id", sa.Text(), nullable=True, comment="what one backfill brings is told when it has ended"
        ),
        sa.Column(
            "judged_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="an older verdict that comes late changes nothing",
        ),
        sa.Column(
            "failing_since",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="NULL where nothing fails, and the end of what failed was told",
        ),
        sa.Column(
            "told_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="when the failure was told; NULL again with the note that it recovered",
        ),
        sa.CheckConstraint("severity IN ('WARN', 'ERROR')", name=op.f("ck_incidents_severity")),
        sa.CheckConstraint("passed OR failing_since IS NOT NULL", name=op.f("ck_incidents_failing_since")),
        sa.PrimaryKeyConstraint("asset", "name", "partition", name=op.f("pk_incidents")),
    )
    op.create_table(
        "lookup_totals",
        sa.Column("service", sa.Text(), nullable=False, comment="what its pruned rows of lookup_ledger came to"),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("keys", sa.BigInteger(), nullable=False),
        sa.Column("found", sa.BigInteger(), nullable=False),
        sa.Column("not_found", sa.BigInteger(), nullable=False),
        sa.Column("unavailable", sa.BigInteger(), nullable=False),
        sa.Column("not_applicable", sa.BigInteger(), nullable=False),
        sa.Column("unfinished", sa.BigInteger(), nullable=False),
        sa.Column("last_request_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("service", name=op.f("pk_lookup_totals")),
    )
    op.create_table(
        "storage_use",
        sa.Column("measured_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column(
            "part",
            sa.Text(),
            nullable=False,
            comment="a table, a folder of the state folder (with /), or Dagster's",
        ),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=True, comment="an estimate for tables; NULL for folders"),
        sa.PrimaryKeyConstraint("measured_at", "part", name=op.f("pk_storage_use")),
    )


def downgrade() -> None:
    op.drop_column("event_chunks", "loaded_at")
    op.drop_table("storage_use")
    op.drop_table("lookup_totals")
    op.drop_table("incidents")
    op.drop_table("frozen_days")
    op.drop_table("day_failures")
    op.drop_index(op.f("ix_alert_notes_delivered_at_next_try_at"), table_name="alert_notes")
    op.drop_table("alert_notes")
