"""What the infrastructure queries came to, one table each."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Computed, Date, Integer, Numeric, Table, Text

from cowrie_assets.warehouse.tables.columns import large_count, metadata, moment

# --- written by the infrastructure queries, one table each ------------------------------------------------------------

geographic_distribution = Table(
    "geographic_distribution",
    metadata,
    Column("country", Text, primary_key=True),
    large_count("session_count"),
    large_count("unique_asns"),
    large_count("days_active"),
    Column("first_seen", moment(), nullable=False),
    Column("last_seen", moment(), nullable=False),
    Column("avg_commands_per_session", Numeric, nullable=False),
    large_count("total_file_downloads"),
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
    large_count("session_count"),
    large_count("days_active"),
    Column("first_seen", moment(), nullable=False),
    Column("last_seen", moment(), nullable=False),
    Column("avg_commands", Numeric, nullable=False),
    large_count("total_downloads"),
    large_count("total_ssh_injections"),
    Column("vt_flagged_sessions", BigInteger, comment="NULL while no file was ever looked up"),
    Column("dshield_flagged_sessions", BigInteger, comment="NULL while no address was ever looked up"),
    Column("infrastructure_type", Text, nullable=False),
    Column("asn_percentage", Numeric, nullable=False),
)

_SPUR_SHARE = "NULL while no address of the day was answered for"

anonymization = Table(
    "anonymization",
    metadata,
    Column("attack_date", Date, primary_key=True),
    large_count("session_count"),
    Column("spur_answered_sessions", BigInteger, nullable=False, comment="the base of what Spur alone can tell"),
    Column("classified_sessions", BigInteger, nullable=False, comment="Spur answered, or the lists were there"),
    Column("vpn_sessions", BigInteger, comment=_SPUR_SHARE),
    Column("vpn_ratio", Numeric, comment="of spur_answered_sessions"),
    Column("proxy_sessions", BigInteger, comment=_SPUR_SHARE),
    Column("proxy_ratio", Numeric, comment="of spur_answered_sessions"),
    Column("tor_sessions", BigInteger, comment="by Spur or by the list of exits"),
    Column("tor_ratio", Numeric, comment="of classified_sessions"),
    Column("anonymized_sessions", BigInteger, comment="any of the three"),
    Column("anonymization_ratio", Numeric, comment="of classified_sessions"),
    Column("residential_count", BigInteger, comment=_SPUR_SHARE),
    Column("residential_ratio", Numeric, comment="of spur_answered_sessions"),
    Column("datacenter_count", BigInteger, comment=_SPUR_SHARE),
    Column("datacenter_ratio", Numeric, comment="of spur_answered_sessions"),
    Column("hosting_count", BigInteger, comment="a hoster by Spur, or in the list of clouds"),
    Column("hosting_ratio", Numeric, comment="of classified_sessions"),
    Column("mobile_count", BigInteger, comment=_SPUR_SHARE),
    Column("mobile_ratio", Numeric, comment="of spur_answered_sessions"),
)

reputation_distribution = Table(
    "reputation_distribution",
    metadata,
    Column("reputation_bucket", Text, primary_key=True),
    large_count("session_count"),
    Column("answered_sessions", BigInteger, nullable=False, comment="of these, the ones DShield answered for"),
    Column("avg_commands", Numeric, nullable=False),
    large_count("total_downloads"),
    large_count("total_ssh_injections"),
    Column("vt_flagged_count", BigInteger, comment="NULL while no file was ever looked up"),
    Column("dshield_flagged_count", BigInteger, comment="NULL while no address was ever looked up"),
    Column("percentage", Numeric, nullable=False),
    Column("avg_attack_count", Numeric, comment="NULL without data"),
    Column("max_attack_count", BigInteger, comment="NULL without data"),
    Column(
        "answered_later_share", Numeric, comment="of answered_sessions, those whose answer is younger than their day"
    ),
)

query_results = Table(
    "query_results",
    metadata,
    Column("query", Text, primary_key=True),
    Column("since", moment(), comment="NULL: from the first session on"),
    Column("until", moment(), comment="exclusive; NULL: to the last session"),
    Column("minimum_sessions", Integer, nullable=False),
    Column("row_limit", Integer, nullable=False),
    large_count("sessions"),
    Column("eligible", BigInteger, nullable=False, comment="sessions with a public source address"),
    Column("covered", BigInteger, nullable=False, comment="of these, the ones whose key is known"),
    Column("coverage", Numeric, Computed("round(covered::numeric / NULLIF(eligible, 0), 4)", persisted=True)),
    Column("gate", Text, nullable=False, comment="passed, below the gate, or nothing eligible"),
)
