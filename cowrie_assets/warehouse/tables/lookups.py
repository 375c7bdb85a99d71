"""What services and lists said, and what each question cost."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Double,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, CIDR, INET, JSONB, UUID
from sqlalchemy.schema import SchemaItem

from cowrie_assets.warehouse.tables.columns import count, large_count, metadata, moment, session_key

# --- written by `lookup` alone ----------------------------------------------------------------------------------------

service_answers = Table(
    "service_answers",
    metadata,
    Column("answer_id", BigInteger, Identity(always=True), primary_key=True),
    Column("service", Text, nullable=False),
    Column(
        "key",
        Text,
        nullable=False,
        comment="what was asked about: an address, a SHA-256, the first 5 digits of a SHA-1",
    ),
    Column("answered_at", moment(), nullable=False),
    Column("expires_at", moment(), nullable=False, comment="by the time to live that held when the answer came"),
    Column("outcome", Text, nullable=False),
    Column("fields", JSONB, nullable=False, comment="as the service's own module read the payload, typed"),
    Column("payload", JSONB, nullable=False, comment="what the service sent"),
    Column("run_id", Text),
    CheckConstraint("outcome IN ('found', 'not_found')", name="outcome"),
    Index("ix_service_answers_newest", "service", "key", text("answered_at DESC")),
)

open_questions = Table(
    "open_questions",
    metadata,
    Column("service", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("outcome", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("noted_at", moment(), nullable=False),
    CheckConstraint("outcome IN ('unavailable', 'quota', 'not_configured', 'not_applicable')", name="outcome"),
)

lookup_ledger = Table(
    "lookup_ledger",
    metadata,
    Column("call_id", BigInteger, Identity(always=True), primary_key=True),
    Column("service", Text, nullable=False),
    Column("key", Text, nullable=False, comment="of a batch the first one"),
    Column("key_count", Integer, nullable=False, server_default="1"),
    Column("sent_at", moment(), nullable=False),
    Column("outcome", Text, comment="NULL: sent, and nobody lived to see what came of it"),
    Column("http_status", Integer),
    Column("latency_ms", Integer),
    Column("reason", Text),
    Column("run_id", Text),
    Column("limit_key", Text, nullable=False, comment="the service and a fingerprint of the credential that paid"),
    CheckConstraint("outcome IN ('found', 'not_found', 'unavailable', 'not_applicable')", name="outcome"),
    Index(None, "service", "sent_at"),
    Index(None, "limit_key", "sent_at"),
    Index(None, "run_id"),
)

lookup_counters = Table(
    "lookup_counters",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("service", Text, primary_key=True),
    Column(
        "tier",
        Text,
        primary_key=True,
        comment="redis or memory, database, files, or another process that asked just now",
    ),
    large_count("hits"),
    Column("misses", BigInteger, nullable=False, server_default="0", comment="looked for, and not there or too old"),
    Column("stores", BigInteger, nullable=False, server_default="0", comment="answers written: new and promoted ones"),
    Column("errors", BigInteger, nullable=False, server_default="0", comment="failures of the tier, damaged entries"),
    Column("oldest_answer_at", moment(), comment="when the oldest answer was given that this tier was hit for"),
    Column("counted_at", moment(), nullable=False, server_default=text("clock_timestamp()")),
)

cache_generation = Table(
    "cache_generation",
    metadata,
    Column("only_row", Boolean, primary_key=True, server_default="true"),
    Column(
        "id", UUID, nullable=False, server_default=text("gen_random_uuid()"), comment="new whenever answers are removed"
    ),
    CheckConstraint("only_row", name="only_row"),
)

service_limits = Table(
    "service_limits",
    metadata,
    Column("limit_key", Text, primary_key=True, comment="the service and a fingerprint of the credential"),
    Column("service", Text, nullable=False),
    Column("spacing_seconds", Double, nullable=False, comment="between two requests"),
    Column("sustained_seconds", Double, nullable=False, comment="a key, in the long run: quotas and batches included"),
    Column("next_slot", moment(), nullable=False),
    Column("blocked_until", moment(), comment="a 429 stops every worker until then"),
    Column("blocked_reason", Text, comment="what the service said"),
    Column("failures", Integer, nullable=False, server_default="0", comment="requests in a row without any answer"),
    Column("open_until", moment(), comment="the circuit is open: after five failures in a row nobody asks until then"),
    Column("open_seconds", Double, comment="how long it was opened last; doubled with each probe that fails"),
    Column("probed_until", moment(), comment="one probe is away, and nobody else asks"),
    Column("balance", BigInteger, comment="credits left in the account, where its answers say so"),
    Column("balance_at", moment(), comment="when that was said, or the last credit was charged"),
)

network_spending = Table(
    "network_spending",
    metadata,
    Column("limit_key", Text, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("network", CIDR, primary_key=True, comment="a source's /24 or /48; 0.0.0.0/0: all of them together"),
    Column("keys", Integer, nullable=False, comment="asked about on its account, of a scarce quota"),
)

# --- written by the assets `tor_exits` and `cloud_ranges` -------------------------------------------------------------

list_editions = Table(
    "list_editions",
    metadata,
    Column("list", Text, primary_key=True),
    Column("fetched_at", moment(), primary_key=True),
    Column("valid_until", moment(), nullable=False, comment="as long as a copy of this list counts as current"),
    Column("sha256", Text, nullable=False, comment="of the bytes as they came"),
    count("row_count"),
    Column("etag", Text),
    Column("last_modified", Text),
)


def _listed() -> Sequence[Column[object]]:
    """An entry holds from the edition that brought it until the first one without it."""
    return (
        Column("listed_from", moment(), primary_key=True),
        Column("listed_until", moment(), comment="NULL: it is in the newest edition"),
    )


tor_exits = Table("tor_exits", metadata, Column("address", INET, primary_key=True), *_listed())

cloud_ranges = Table(
    "cloud_ranges",
    metadata,
    Column("prefix", CIDR, primary_key=True),
    Column("provider", Text, primary_key=True),
    *_listed(),
    Index("ix_cloud_ranges_prefix", "prefix", postgresql_using="gist", postgresql_ops={"prefix": "inet_ops"}),
)

# --- written by the asset `geo_databases` -----------------------------------------------------------------------------

geo_databases = Table(
    "geo_databases",
    metadata,
    Column("kind", Text, primary_key=True, comment="city or asn"),
    Column("fetched_at", moment(), primary_key=True),
    Column("source", Text, nullable=False, comment="maxmind or dbip"),
    Column("edition", Text, nullable=False, comment="as its publisher calls it"),
    Column("built_at", moment(), nullable=False),
    Column("sha256", Text, nullable=False, comment="of the file as it lies in the state folder"),
    CheckConstraint("kind IN ('city', 'asn')", name="kind"),
    CheckConstraint("source IN ('maxmind', 'dbip')", name="source"),
)

# --- written by the asset of the same name: one row a day and source address ------------------------------------------


def _asked(answered: str) -> Sequence[SchemaItem]:
    return (
        Column("outcome", Text, nullable=False),
        Column("reason", Text, comment="why there is no answer"),
        Column("answered_at", moment(), comment=answered),
        CheckConstraint(
            "outcome IN ('found', 'not_found', 'unavailable', 'quota', 'not_configured', 'not_applicable')",
            name="outcome",
        ),
        CheckConstraint("(outcome IN ('found', 'not_found')) = (answered_at IS NOT NULL)", name="answered"),
    )


def _enrichment(name: str, *columns: SchemaItem) -> Table:
    return Table(
        name,
        metadata,
        Column("day", Date, primary_key=True),
        Column("address", INET, primary_key=True),
        *_asked("of the answer nearest to the day"),
        *columns,
    )


dshield_enrichment = _enrichment(
    "dshield_enrichment",
    Column("attacks", BigInteger, comment="targets attacked; NULL: never reported"),
    Column("reports", BigInteger, comment="the service's `count`"),
    Column("first_reported", Date),
    Column("last_reported", Date),
    Column("max_risk", BigInteger),
    Column("asn", BigInteger),
    Column("as_name", Text),
    Column("country", Text),
    Column("network", CIDR),
    Column("threat_feeds", ARRAY(Text)),
)

urlhaus_enrichment = _enrichment(
    "urlhaus_enrichment",
    Column("url_count", BigInteger),
    Column("online_count", BigInteger),
    Column("first_seen", moment()),
    Column("last_added", moment()),
    Column("tags", ARRAY(Text)),
    Column("threats", ARRAY(Text)),
    Column("blacklists", ARRAY(Text)),
)

spur_enrichment = _enrichment(
    "spur_enrichment",
    Column("is_vpn", Boolean),
    Column("is_proxy", Boolean),
    Column("is_tor", Boolean),
    Column("is_anonymous", Boolean),
    Column("infrastructure", Text),
    Column("client_types", ARRAY(Text)),
    Column("client_count", BigInteger),
    Column("client_countries", BigInteger),
    Column("behaviors", ARRAY(Text)),
    Column("proxies", ARRAY(Text)),
    Column("risks", ARRAY(Text)),
    Column("services", ARRAY(Text)),
    Column("tunnel_types", ARRAY(Text)),
    Column("tunnel_operators", ARRAY(Text)),
    Column("asn", BigInteger),
    Column("organization", Text),
    Column("country", Text),
)

# --- written by the asset of the same name ----------------------------------------------------------------------------

virustotal_files = Table(
    "virustotal_files",
    metadata,
    Column("day", Date, primary_key=True),
    Column("sha256", Text, primary_key=True, comment="of a file that a session of the day brought or left"),
    *_asked("of the answer nearest to the day"),
    Column("label", Text, comment="the threat, as most engines call it"),
    Column("categories", ARRAY(Text)),
    Column("names", ARRAY(Text)),
    Column("malicious", BigInteger, comment="engines that call it malicious; NULL: the service knows no such file"),
    Column("suspicious", BigInteger),
    Column("undetected", BigInteger),
    Column("harmless", BigInteger),
    Column("engines", BigInteger),
    Column("file_type", Text),
    Column("size", BigInteger),
    Column("meaningful_name", Text),
    Column("tags", ARRAY(Text)),
    Column("first_seen", moment(), comment="by the service"),
    Column("last_seen", moment()),
    Column("analysed_at", moment()),
    Column("times_submitted", BigInteger),
    Column("reputation", BigInteger),
)

password_stats = Table(
    "password_stats",
    metadata,
    *session_key(),
    *_asked("of the oldest answer that it rests on"),
    count("total_attempts"),
    Column("unique_passwords", Integer, nullable=False, comment="distinct ones; a try with a key has none"),
    Column("checked_passwords", Integer, nullable=False, comment="of these, the ones that there is an answer about"),
    Column("breached_passwords", Integer, comment="NULL while none was checked: unavailable is not 'not breached'"),
    Column("breach_prevalence_max", BigInteger, comment="how often the most frequent of them was seen in breaches"),
    Column("novel_password_hashes", ARRAY(Text), comment="SHA-256 of those that were checked and are in no breach"),
)
