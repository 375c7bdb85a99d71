"""The ledger told: what each service was asked, what it cost, what the cache saved, and what stands in the way now.

Lives here: one row a service. Not here: the counting (`sql/lookup_status.sql`), printing (`cli`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from psycopg.rows import class_row

from cowrie_assets.lookup import quotas
from cowrie_assets.lookup.services import Service
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets.warehouse.views import sql_file


@dataclass(frozen=True)
class Told:
    """What the ledger and the counters say of one service; `sql/lookup_status.sql` says what each number is."""

    service: str
    requests: int = 0
    requests_today: int = 0
    keys: int = 0
    found: int = 0
    not_found: int = 0
    unavailable: int = 0
    not_applicable: int = 0
    unfinished: int = 0
    median_latency_ms: int | None = None
    last_request_at: datetime | None = None
    hits_hot: int = 0
    hits_database: int = 0
    hits_files: int = 0
    hits_another_process: int = 0
    tier_errors: int = 0
    hit_share: Decimal | None = None
    oldest_answer_at: datetime | None = None
    open_keys: int = 0
    main_reason: str | None = None
    blocked_until: datetime | None = None
    open_until: datetime | None = None
    blocked_reason: str | None = None
    balance: int | None = None


@dataclass(frozen=True)
class Status:
    """One service: what is told of it, and what it is as configured now. `keys_left` of its scarcest quota, or of its
    account; None where nothing is known to be scarce."""

    told: Told
    quotas: tuple[str, ...]
    keys_left: int | None
    not_configured: str | None


def statuses(connection: Connection, services: Mapping[str, Service]) -> list[Status]:
    """Every service there is, in the order in which they are listed."""
    with connection.cursor(row_factory=class_row(Told)) as cursor:
        told = {row.service: row for row in cursor.execute(sql_file("lookup_status.sql").read_bytes())}
    return [
        Status(
            told=told.get(name, Told(name)),
            quotas=tuple(str(quota) for quota in service.quotas),
            keys_left=quotas.keys_left(connection, service),
            not_configured=service.not_configured,
        )
        for name, service in services.items()
    ]
