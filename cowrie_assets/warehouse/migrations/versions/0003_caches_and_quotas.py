"""Caches and quotas: one clock, the id of the answers, circuits, what networks spent, files, passwords, geo files."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# The clock of limits and answers. Tests move it with `cowrie.clock_offset`; nothing else sets that.
_CLOCK = """
CREATE FUNCTION lookup_now() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
    SELECT clock_timestamp() + coalesce(nullif(current_setting('cowrie.clock_offset', true), ''), '0')::interval
$$
"""
# A hot cache says that the warehouse knows an answer: it must not say so of one that was removed.
_GENERATION = """
INSERT INTO cache_generation DEFAULT VALUES;
CREATE FUNCTION renew_cache_generation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE public.cache_generation SET id = gen_random_uuid();
    RETURN NULL;
END
$$;
CREATE TRIGGER answers_removed AFTER DELETE OR TRUNCATE ON service_answers
FOR EACH STATEMENT EXECUTE FUNCTION renew_cache_generation()
"""


def upgrade() -> None:
    op.create_table(
        "cache_generation",
        sa.Column("only_row", sa.Boolean(), server_default="true", nullable=False),
        sa.Column(
            "id",
            sa.UUID(),
            server_default=sa.text("gen_random_uuid()"),
            nullable=False,
            comment="new whenever answers are removed",
        ),
        sa.CheckConstraint("only_row", name=op.f("ck_cache_generation_only_row")),
        sa.PrimaryKeyConstraint("only_row", name=op.f("pk_cache_generation")),
    )
    op.create_table(
        "geo_databases",
        sa.Column("kind", sa.Text(), nullable=False, comment="city or asn"),
        sa.Column("fetched_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("source", sa.Text(), nullable=False, comment="maxmind or dbip"),
        sa.Column("edition", sa.Text(), nullable=False, comment="as its publisher calls it"),
        sa.Column("built_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False, comment="of the file as it lies in the state folder"),
        sa.CheckConstraint("kind IN ('city', 'asn')", name=op.f("ck_geo_databases_kind")),
        sa.CheckConstraint("source IN ('maxmind', 'dbip')", name=op.f("ck_geo_databases_source")),
        sa.PrimaryKeyConstraint("kind", "fetched_at", name=op.f("pk_geo_databases")),
    )
    op.create_table(
        "network_spending",
        sa.Column("limit_key", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column(
            "network",
            postgresql.CIDR(),
            nullable=False,
            comment="a source's /24 or /48; 0.0.0.0/0: all of them together",
        ),
        sa.Column("keys", sa.Integer(), nullable=False, comment="asked about on its account, of a scarce quota"),
        sa.PrimaryKeyConstraint("limit_key", "day", "network", name=op.f("pk_network_spending")),
    )
    op.create_table(
        "password_stats",
        sa.Column("day", sa.Date(), nullable=False, comment="UTC day of the session's first event"),
        sa.Column("sensor", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False, comment="Cowrie's own, unique only within (sensor, day)"),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True, comment="why there is no answer"),
        sa.Column(
            "answered_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="of the oldest answer that it rests on",
        ),
        sa.Column("total_attempts", sa.Integer(), nullable=False),
        sa.Column("unique_passwords", sa.Integer(), nullable=False, comment="distinct ones; a try with a key has none"),
        sa.Column(
            "checked_passwords",
            sa.Integer(),
            nullable=False,
            comment="of these, the ones that there is an answer about",
        ),
        sa.Column(
            "breached_passwords",
            sa.Integer(),
            nullable=True,
            comment="NULL while none was checked: unavailable is not 'not breached'",
        ),
        sa.Column(
            "breach_prevalence_max",
            sa.BigInteger(),
            nullable=True,
            comment="how often the most frequent of them was seen in breaches",
        ),
        sa.Column(
            "novel_password_hashes",
            postgresql.ARRAY(sa.Text()),
            nullable=True,
            comment="SHA-256 of those that were checked and are in no breach",
        ),
        sa.CheckConstraint(
            "(outcome IN ('found', 'not_found')) = (answered_at IS NOT NULL)", name=op.f("ck_password_stats_answered")
        ),
        sa.CheckConstraint(
            "outcome IN ('found', 'not_found', 'unavailable', 'quota', 'not_configured', 'not_applicable')",
            name=op.f("ck_password_stats_outcome"),
        ),
        sa.PrimaryKeyConstraint("day", "sensor", "session_id", name=op.f("pk_password_stats")),
    )
    op.create_table(
        "virustotal_files",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False, comment="of a file that a session of the day brought or left"),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True, comment="why there is no answer"),
        sa.Column(
            "answered_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="of the answer nearest to the day",
        ),
        sa.Column("label", sa.Text(), nullable=True, comment="the threat, as most engines call it"),
        sa.Column("categories", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.Column("names", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.Column(
            "malicious",
            sa.BigInteger(),
            nullable=True,
            comment="engines that call it malicious; NULL: the service knows no such file",
        ),
        sa.Column("suspicious", sa.BigInteger(), nullable=True),
        sa.Column("undetected", sa.BigInteger(), nullable=True),
        sa.Column("harmless", sa.BigInteger(), nullable=True),
        sa.Column("engines", sa.BigInteger(), nullable=True),
        sa.Column("file_type", sa.Text(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("meaningful_name", sa.Text(), nullable=True),
        sa.Column("tags", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.Column("first_seen", postgresql.TIMESTAMP(timezone=True), nullable=True, comment="by the service"),
        sa.Column("last_seen", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("analysed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("times_submitted", sa.BigInteger(), nullable=True),
        sa.Column("reputation", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "(outcome IN ('found', 'not_found')) = (answered_at IS NOT NULL)", name=op.f("ck_virustotal_files_answered")
        ),
        sa.CheckConstraint(
            "outcome IN ('found', 'not_found', 'unavailable', 'quota', 'not_configured', 'not_applicable')",
            name=op.f("ck_virustotal_files_outcome"),
        ),
        sa.PrimaryKeyConstraint("day", "sha256", name=op.f("pk_virustotal_files")),
    )
    op.add_column(
        "lookup_counters",
        sa.Column(
            "misses",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="looked for, and not there or too old",
        ),
    )
    op.add_column(
        "lookup_counters",
        sa.Column(
            "stores",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="answers written: new and promoted ones",
        ),
    )
    op.add_column(
        "lookup_counters",
        sa.Column(
            "errors",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="failures of the tier, damaged entries",
        ),
    )
    op.add_column(
        "lookup_counters",
        sa.Column(
            "oldest_answer_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="when the oldest answer was given that this tier was hit for",
        ),
    )
    op.add_column(
        "lookup_counters",
        sa.Column(
            "counted_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
    )
    op.alter_column(
        "lookup_counters",
        "tier",
        existing_type=sa.TEXT(),
        comment="redis or memory, database, files, or another process that asked just now",
        existing_comment="where the answer lay: database, or another process that asked",
        existing_nullable=False,
    )
    op.create_index(op.f("ix_lookup_ledger_limit_key_sent_at"), "lookup_ledger", ["limit_key", "sent_at"], unique=False)
    op.alter_column(
        "service_answers",
        "key",
        existing_type=sa.TEXT(),
        comment="what was asked about: an address, a SHA-256, the first 5 digits of a SHA-1",
        existing_comment="what was asked about: an address",
        existing_nullable=False,
    )
    op.add_column(
        "service_limits",
        sa.Column(
            "failures", sa.Integer(), server_default="0", nullable=False, comment="requests in a row without any answer"
        ),
    )
    op.add_column(
        "service_limits",
        sa.Column(
            "open_until",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="the circuit is open: after five failures in a row nobody asks until then",
        ),
    )
    op.add_column(
        "service_limits",
        sa.Column(
            "open_seconds",
            sa.Double(),
            nullable=True,
            comment="how long it was opened last; doubled with each probe that fails",
        ),
    )
    op.add_column(
        "service_limits",
        sa.Column(
            "probed_until",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="one probe is away, and nobody else asks",
        ),
    )
    op.add_column(
        "service_limits",
        sa.Column(
            "balance", sa.BigInteger(), nullable=True, comment="credits left in the account, where its answers say so"
        ),
    )
    op.add_column(
        "service_limits",
        sa.Column(
            "balance_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="when that was said, or the last credit was charged",
        ),
    )
    op.execute(_CLOCK)
    op.execute(_GENERATION)


def downgrade() -> None:
    op.execute("DROP TRIGGER answers_removed ON service_answers")
    op.execute("DROP FUNCTION renew_cache_generation()")
    op.execute("DROP FUNCTION lookup_now()")
    op.drop_column("service_limits", "balance_at")
    op.drop_column("service_limits", "balance")
    op.drop_column("service_limits", "probed_until")
    op.drop_column("service_limits", "open_seconds")
    op.drop_column("service_limits", "open_until")
    op.drop_column("service_limits", "failures")
    op.alter_column(
        "service_answers",
        "key",
        existing_type=sa.TEXT(),
        comment="what was asked about: an address",
        existing_comment="what was asked about: an address, a SHA-256, the first 5 digits of a SHA-1",
        existing_nullable=False,
    )
    op.drop_index(op.f("ix_lookup_ledger_limit_key_sent_at"), table_name="lookup_ledger")
    op.alter_column(
        "lookup_counters",
        "tier",
        existing_type=sa.TEXT(),
        comment="where the answer lay: database, or another process that asked",
        existing_comment="redis or memory, database, files, or another process that asked just now",
        existing_nullable=False,
    )
    op.drop_column("lookup_counters", "counted_at")
    op.drop_column("lookup_counters", "oldest_answer_at")
    op.drop_column("lookup_counters", "errors")
    op.drop_column("lookup_counters", "stores")
    op.drop_column("lookup_counters", "misses")
    op.drop_table("virustotal_files")
    op.drop_table("password_stats")
    op.drop_table("network_spending")
    op.drop_table("geo_databases")
    op.drop_table("cache_generation")
