"""The services: answers, ledger, limits, lists, enrichment by day, the results of queries 13 and 14."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "anonymization",
        sa.Column("attack_date", sa.Date(), nullable=False),
        sa.Column("session_count", sa.BigInteger(), nullable=False),
        sa.Column(
            "spur_answered_sessions", sa.BigInteger(), nullable=False, comment="the base of what Spur alone can tell"
        ),
        sa.Column(
            "classified_sessions", sa.BigInteger(), nullable=False, comment="Spur answered, or the lists were there"
        ),
        sa.Column(
            "vpn_sessions", sa.BigInteger(), nullable=True, comment="NULL while no address of the day was answered for"
        ),
        sa.Column("vpn_ratio", sa.Numeric(), nullable=True, comment="of spur_answered_sessions"),
        sa.Column(
            "proxy_sessions",
            sa.BigInteger(),
            nullable=True,
            comment="NULL while no address of the day was answered for",
        ),
        sa.Column("proxy_ratio", sa.Numeric(), nullable=True, comment="of spur_answered_sessions"),
        sa.Column("tor_sessions", sa.BigInteger(), nullable=True, comment="by Spur or by the list of exits"),
        sa.Column("tor_ratio", sa.Numeric(), nullable=True, comment="of classified_sessions"),
        sa.Column("anonymized_sessions", sa.BigInteger(), nullable=True, comment="any of the three"),
        sa.Column("anonymization_ratio", sa.Numeric(), nullable=True, comment="of classified_sessions"),
        sa.Column(
            "residential_count",
            sa.BigInteger(),
            nullable=True,
            comment="NULL while no address of the day was answered for",
        ),
        sa.Column("residential_ratio", sa.Numeric(), nullable=True, comment="of spur_answered_sessions"),
        sa.Column(
            "datacenter_count",
            sa.BigInteger(),
            nullable=True,
            comment="NULL while no address of the day was answered for",
        ),
        sa.Column("datacenter_ratio", sa.Numeric(), nullable=True, comment="of spur_answered_sessions"),
        sa.Column(
            "hosting_count", sa.BigInteger(), nullable=True, comment="a hoster by Spur, or in the list of clouds"
        ),
        sa.Column("hosting_ratio", sa.Numeric(), nullable=True, comment="of classified_sessions"),
        sa.Column(
            "mobile_count", sa.BigInteger(), nullable=True, comment="NULL while no address of the day was answered for"
        ),
        sa.Column("mobile_ratio", sa.Numeric(), nullable=True, comment="of spur_answered_sessions"),
        sa.PrimaryKeyConstraint("attack_date", name=op.f("pk_anonymization")),
    )
    op.create_table(
        "cloud_ranges",
        sa.Column("prefix", postgresql.CIDR(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("listed_from", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column(
            "listed_until",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="NULL: it is in the newest edition",
        ),
        sa.PrimaryKeyConstraint("prefix", "provider", "listed_from", name=op.f("pk_cloud_ranges")),
    )
    op.create_index(
        "ix_cloud_ranges_prefix",
        "cloud_ranges",
        ["prefix"],
        unique=False,
        postgresql_using="gist",
        postgresql_ops={"prefix": "inet_ops"},
    )
    op.create_table(
        "dshield_enrichment",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("address", postgresql.INET(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True, comment="why there is no answer"),
        sa.Column(
            "answered_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="of the answer nearest to the day",
        ),
        sa.Column("attacks", sa.BigInteger(), nullable=True, comment="targets attacked; NULL: never reported"),
        sa.Column("reports", sa.BigInteger(), nullable=True, comment="the service's `count`"),
        sa.Column("first_reported", sa.Date(), nullable=True),
        sa.Column("last_reported", sa.Date(), nullable=True),
        sa.Column("max_risk", sa.BigInteger(), nullable=True),
        sa.Column("asn", sa.BigInteger(), nullable=True),
        sa.Column("as_name", sa.Text(), nullable=True),
        sa.Column("country", sa.Text(), nullable=True),
        sa.Column("network", postgresql.CIDR(), nullable=True),
        sa.Column("threat_feeds", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.CheckConstraint(
            "(outcome IN ('found', 'not_found')) = (answered_at IS NOT NULL)",
            name=op.f("ck_dshield_enrichment_answered"),
        ),
        sa.CheckConstraint(
            "outcome IN ('found', 'not_found', 'unavailable', 'quota', 'not_configured', 'not_applicable')",
            name=op.f("ck_dshield_enrichment_outcome"),
        ),
        sa.PrimaryKeyConstraint("day", "address", name=op.f("pk_dshield_enrichment")),
    )
    op.create_table(
        "list_editions",
        sa.Column("list", sa.Text(), nullable=False),
        sa.Column("fetched_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column(
            "valid_until",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="as long as a copy of this list counts as current",
        ),
        sa.Column("sha256", sa.Text(), nullable=False, comment="of the bytes as they came"),
        sa.Column("row_count", sa.Integer(), nullable=False),
        sa.Column("etag", sa.Text(), nullable=True),
        sa.Column("last_modified", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("list", "fetched_at", name=op.f("pk_list_editions")),
    )
    op.create_table(
        "lookup_counters",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column(
            "tier", sa.Text(), nullable=False, comment="where the answer lay: database, or another process that asked"
        ),
        sa.Column("hits", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "service", "tier", name=op.f("pk_lookup_counters")),
    )
    op.create_table(
        "lookup_ledger",
        sa.Column("call_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False, comment="of a batch the first one"),
        sa.Column("key_count", sa.Integer(), server_default="1", nullable=False),
        sa.Column("sent_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True, comment="NULL: sent, and nobody lived to see what came of it"),
        sa.Column("http_status", sa.Integer(), nullable=True),
        sa.Column("latency_ms", sa.Integer(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column(
            "limit_key", sa.Text(), nullable=False, comment="the service and a fingerprint of the credential that paid"
        ),
        sa.CheckConstraint(
            "outcome IN ('found', 'not_found', 'unavailable', 'not_applicable')", name=op.f("ck_lookup_ledger_outcome")
        ),
        sa.PrimaryKeyConstraint("call_id", name=op.f("pk_lookup_ledger")),
    )
    op.create_index(op.f("ix_lookup_ledger_run_id"), "lookup_ledger", ["run_id"], unique=False)
    op.create_index(op.f("ix_lookup_ledger_service_sent_at"), "lookup_ledger", ["service", "sent_at"], unique=False)
    op.create_table(
        "open_questions",
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("noted_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint(
            "outcome IN ('unavailable', 'quota', 'not_configured', 'not_applicable')",
            name=op.f("ck_open_questions_outcome"),
        ),
        sa.PrimaryKeyConstraint("service", "key", name=op.f("pk_open_questions")),
    )
    op.create_table(
        "reputation_distribution",
        sa.Column("reputation_bucket", sa.Text(), nullable=False),
        sa.Column("session_count", sa.BigInteger(), nullable=False),
        sa.Column(
            "answered_sessions", sa.BigInteger(), nullable=False, comment="of these, the ones DShield answered for"
        ),
        sa.Column("avg_commands", sa.Numeric(), nullable=False),
        sa.Column("total_downloads", sa.BigInteger(), nullable=False),
        sa.Column("total_ssh_injections", sa.BigInteger(), nullable=False),
        sa.Column("vt_flagged_count", sa.BigInteger(), nullable=True, comment="NULL while no file was ever looked up"),
        sa.Column(
            "dshield_flagged_count", sa.BigInteger(), nullable=True, comment="NULL while no address was ever looked up"
        ),
        sa.Column("percentage", sa.Numeric(), nullable=False),
        sa.Column("avg_attack_count", sa.Numeric(), nullable=True, comment="NULL without data"),
        sa.Column("max_attack_count", sa.BigInteger(), nullable=True, comment="NULL without data"),
        sa.Column(
            "answered_later_share",
            sa.Numeric(),
            nullable=True,
            comment="of answered_sessions, those whose answer is younger than their day",
        ),
        sa.PrimaryKeyConstraint("reputation_bucket", name=op.f("pk_reputation_distribution")),
    )
    op.create_table(
        "service_answers",
        sa.Column("answer_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False, comment="what was asked about: an address"),
        sa.Column("answered_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column(
            "expires_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="by the time to live that held when the answer came",
        ),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column(
            "fields",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="as the service's own module read the payload, typed",
        ),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="what the service sent"),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.CheckConstraint("outcome IN ('found', 'not_found')", name=op.f("ck_service_answers_outcome")),
        sa.PrimaryKeyConstraint("answer_id", name=op.f("pk_service_answers")),
    )
    op.create_index(
        "ix_service_answers_newest",
        "service_answers",
        ["service", "key", sa.literal_column("answered_at DESC")],
        unique=False,
    )
    op.create_table(
        "service_limits",
        sa.Column("limit_key", sa.Text(), nullable=False, comment="the service and a fingerprint of the credential"),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("spacing_seconds", sa.Double(), nullable=False, comment="between two requests"),
        sa.Column(
            "sustained_seconds",
            sa.Double(),
            nullable=False,
            comment="a key, in the long run: quotas and batches included",
        ),
        sa.Column("next_slot", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column(
            "blocked_until",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="a 429 stops every worker until then",
        ),
        sa.Column("blocked_reason", sa.Text(), nullable=True, comment="what the service said"),
        sa.PrimaryKeyConstraint("limit_key", name=op.f("pk_service_limits")),
    )
    op.create_table(
        "spur_enrichment",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("address", postgresql.INET(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True, comment="why there is no answer"),
        sa.Column(
            "answered_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="of the answer nearest to the day",
        ),
        sa.Column("is_vpn", sa.Boolean(), nullable=True),
        sa.Column("is_proxy", sa.Boolean(), nullable=True),
        sa.Column("is_tor", sa.Boolean(), nullable=True),
        sa.Column("is_anonymous", sa.Boolean(), nullable=True),
        sa.Column("infrastructure", sa.Text(), nullable=True),
        sa.Column("client_types", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.Column("client_count", sa.BigInteger(), nullable=True),
        sa.Column("client_countries", sa.BigInteger(), nullable=True),
        sa.Column("behaviors", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.Column("proxies", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.Column("risks", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.Column("services", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.Column("tunnel_types", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.Column("tunnel_operators", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.Column("asn", sa.BigInteger(), nullable=True),
        sa.Column("organization", sa.Text(), nullable=True),
        sa.Column("country", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(outcome IN ('found', 'not_found')) = (answered_at IS NOT NULL)", name=op.f("ck_spur_enrichment_answered")
        ),
        sa.CheckConstraint(
            "outcome IN ('found', 'not_found', 'unavailable', 'quota', 'not_configured', 'not_applicable')",
            name=op.f("ck_spur_enrichment_outcome"),
        ),
        sa.PrimaryKeyConstraint("day", "address", name=op.f("pk_spur_enrichment")),
    )
    op.create_table(
        "tor_exits",
        sa.Column("address", postgresql.INET(), nullable=False),
        sa.Column("listed_from", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column(
            "listed_until",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="NULL: it is in the newest edition",
        ),
        sa.PrimaryKeyConstraint("address", "listed_from", name=op.f("pk_tor_exits")),
    )
    op.create_table(
        "urlhaus_enrichment",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("address", postgresql.INET(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True, comment="why there is no answer"),
        sa.Column(
            "answered_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="of the answer nearest to the day",
        ),
        sa.Column("url_count", sa.BigInteger(), nullable=True),
        sa.Column("online_count", sa.BigInteger(), nullable=True),
        sa.Column("first_seen", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("last_added", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("tags", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.Column("threats", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.Column("blacklists", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.CheckConstraint(
            "(outcome IN ('found', 'not_found')) = (answered_at IS NOT NULL)",
            name=op.f("ck_urlhaus_enrichment_answered"),
        ),
        sa.CheckConstraint(
            "outcome IN ('found', 'not_found', 'unavailable', 'quota', 'not_configured', 'not_applicable')",
            name=op.f("ck_urlhaus_enrichment_outcome"),
        ),
        sa.PrimaryKeyConstraint("day", "address", name=op.f("pk_urlhaus_enrichment")),
    )
    op.alter_column(
        "day_builds",
        "editions",
        new_column_name="evidence",
        comment="digest of the observations that they rest on; empty where none matter",
        existing_comment="the geo file editions that they rest on; empty where none matter",
    )
    op.add_column(
        "ip_inventory",
        sa.Column(
            "is_own", sa.Boolean(), server_default="false", nullable=False, comment="a sensor's; never asked about"
        ),
    )
    op.alter_column(
        "ip_inventory",
        "is_public",
        existing_type=sa.BOOLEAN(),
        comment="globally routable",
        existing_comment="globally routable, and so a question that may leave",
        existing_nullable=False,
    )
    op.add_column("session_snapshots", sa.Column("ip_type_basis", sa.Text(), nullable=True))
    op.add_column(
        "session_snapshots",
        sa.Column(
            "ip_type_observed_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="when the list was fetched",
        ),
    )


def downgrade() -> None:
    op.drop_column("session_snapshots", "ip_type_observed_at")
    op.drop_column("session_snapshots", "ip_type_basis")
    op.alter_column(
        "ip_inventory",
        "is_public",
        existing_type=sa.BOOLEAN(),
        comment="globally routable, and so a question that may leave",
        existing_comment="globally routable",
        existing_nullable=False,
    )
    op.drop_column("ip_inventory", "is_own")
    op.alter_column(
        "day_builds",
        "evidence",
        new_column_name="editions",
        comment="the geo file editions that they rest on; empty where none matter",
        existing_comment="digest of the observations that they rest on; empty where none matter",
    )
    op.drop_table("urlhaus_enrichment")
    op.drop_table("tor_exits")
    op.drop_table("spur_enrichment")
    op.drop_table("service_limits")
    op.drop_index("ix_service_answers_newest", table_name="service_answers")
    op.drop_table("service_answers")
    op.drop_table("reputation_distribution")
    op.drop_table("open_questions")
    op.drop_index(op.f("ix_lookup_ledger_service_sent_at"), table_name="lookup_ledger")
    op.drop_index(op.f("ix_lookup_ledger_run_id"), table_name="lookup_ledger")
    op.drop_table("lookup_ledger")
    op.drop_table("lookup_counters")
    op.drop_table("list_editions")
    op.drop_table("dshield_enrichment")
    op.drop_index(
        "ix_cloud_ranges_prefix",
        table_name="cloud_ranges",
        postgresql_using="gist",
        postgresql_ops={"prefix": "inet_ops"},
    )
    op.drop_table("cloud_ranges")
    op.drop_table("anonymization")
