"""When a request may leave: slots, blocks and quotas, in the database, where every process sees them (promise P3).

Lives here: reserving a slot and charging the ledger for it in one transaction, and the block after a 429. Not here:
what is asked. An in-process limiter limits nothing: each Dagster step is a process of its own, on whatever machine.

Slots are spaced evenly, one row of `service_limits` each service and credential. A crash after reserving loses a slot,
which is the safe side. The clock is the database server's, one for all.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from cowrie_assets.lookup.services import Service
from cowrie_assets.warehouse.copy_text import storable
from cowrie_assets.warehouse.event_chunks import Connection

_LONGEST_BLOCK, _SHORTEST_BLOCK = 86400.0, 1.0
_QUOTA_PAD = 2.0  # seconds: the server counts from the arrival, which is later than the slot


class NotNow(Exception):
    """No request may leave before the caller's time is up. `outcome` is what that makes of the question."""

    def __init__(self, outcome: str, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.reason = reason


@dataclass(frozen=True)
class Call:
    """A request that may leave now; its ledger row is written already, without an outcome."""

    call_id: int
    left_at: float = field(default_factory=time.monotonic)

    @property
    def latency_ms(self) -> int:
        """How long it has been away."""
        return round(1000 * (time.monotonic() - self.left_at))


class Limiter:
    """The limits of one service, over a connection of the caller's own, in autocommit mode."""

    def __init__(self, connection: Connection, service: Service, run_id: str | None) -> None:
        self._connection = connection
        self._service = service
        self._run_id = run_id
        connection.execute(
            """
            INSERT INTO service_limits AS known (limit_key, service, spacing_seconds, sustained_seconds, next_slot)
            VALUES (%s, %s, %s, %s, clock_timestamp())
            ON CONFLICT (limit_key) DO UPDATE
            SET spacing_seconds = excluded.spacing_seconds, sustained_seconds = excluded.sustained_seconds
            WHERE (known.spacing_seconds, known.sustained_seconds)
                <> (excluded.spacing_seconds, excluded.sustained_seconds)
            """,
            (service.limit_key, service.name, service.spacing, service.sustained),
        )

    def charge(self, key: str, key_count: int, seconds_left: float, stop: threading.Event) -> Call:
        """Wait for a slot, at most `seconds_left`, with its ledger row written before anything leaves.

        Raises:
            NotNow: the slot would come too late, the quota is spent, or `stop` was set.
        """
        ends_at = time.monotonic() + seconds_left
        while True:
            if stop.is_set():
                raise NotNow("quota", "the run was stopped")
            call_id, wait = self._reserve(key, key_count, ends_at - time.monotonic())
            if wait > 0 and stop.wait(wait):
                self._take_back(call_id)
                raise NotNow("quota", "the run was stopped")
            if self._may_leave(call_id):
                return Call(call_id)
            self._take_back(call_id)

    def block(self, seconds: float | None, reason: str = "the service asked to be left alone") -> None:
        """Let no worker ask before the time is up: what the service said, else what is usual for it."""
        length = self._service.blocked_for if seconds is None else seconds
        self._connection.execute(
            """
            UPDATE service_limits
            SET
                blocked_until = greatest(blocked_until, clock_timestamp() + make_interval(secs => %s)),
                blocked_reason = %s
            WHERE limit_key = %s
            """,
            (min(max(length, _SHORTEST_BLOCK), _LONGEST_BLOCK), storable(reason), self._service.limit_key),
        )

    def _reserve(self, key: str, key_count: int, seconds_left: float) -> tuple[int, float]:
        values = {
            "limit_key": self._service.limit_key,
            "service": self._service.name,
            "key": key,
            "key_count": key_count,
            "run_id": self._run_id,
            "seconds_left": max(seconds_left, 0.0),
        }
        with self._connection.transaction():
            if self._service.quota is not None:
                self._check_quota(self._service.quota)
            row = self._connection.execute(
                """
                WITH slot AS (
                    UPDATE service_limits
                    SET
                        next_slot = greatest(next_slot, blocked_until, clock_timestamp())
                        + make_interval(secs => spacing_seconds)
                    WHERE
                        limit_key = %(limit_key)s
                        AND greatest(next_slot, blocked_until, clock_timestamp())
                        <= clock_timestamp() + make_interval(secs => %(seconds_left)s)
                    RETURNING next_slot - make_interval(secs => spacing_seconds) AS begins_at
                )
                INSERT INTO lookup_ledger (service, key, key_count, sent_at, run_id, limit_key)
                SELECT %(service)s, %(key)s, %(key_count)s, begins_at, %(run_id)s, %(limit_key)s FROM slot
                RETURNING call_id, extract(epoch FROM sent_at - clock_timestamp())::double precision
                """,
                values,
            ).fetchone()
        if row is None:
            blocked = self._blocked_seconds()
            if blocked > 0:
                said = self._connection.execute(
                    "SELECT blocked_reason FROM service_limits WHERE limit_key = %s", (self._service.limit_key,)
                ).fetchone()
                why = said[0] if said is not None else ""
                raise NotNow("unavailable", f"{why}; nobody asks before {max(1, round(blocked / 60))} minutes are over")
            raise NotNow("quota", "the run's time was used up")
        return int(row[0]), float(row[1])

    def _check_quota(self, quota: int) -> None:
        # The row's lock first: two processes would count the same last request otherwise.
        self._connection.execute(
            "SELECT FROM service_limits WHERE limit_key = %s FOR UPDATE", (self._service.limit_key,)
        )
        # Of the calls in the window the one that has to leave it before another may come.
        row = self._connection.execute(
            """
            SELECT extract(epoch FROM sent_at + make_interval(secs => %(window)s) - clock_timestamp())
            FROM lookup_ledger
            WHERE
                service = %(service)s
                AND limit_key = %(limit_key)s
                AND sent_at > clock_timestamp() - make_interval(secs => %(window)s)
            ORDER BY sent_at DESC
            OFFSET %(quota)s - 1
            LIMIT 1
            """,
            {
                "service": self._service.name,
                "limit_key": self._service.limit_key,
                "window": self._service.quota_window + _QUOTA_PAD,
                "quota": quota,
            },
        ).fetchone()
        if row is not None:
            days = float(row[0]) / 86400
            raise NotNow("quota", f"the quota of {quota} is used up, the next request may leave in {days:.1f} days")

    def _take_back(self, call_id: int) -> None:
        self._connection.execute("DELETE FROM lookup_ledger WHERE call_id = %s", (call_id,))

    def _may_leave(self, call_id: int) -> bool:
        """Looked at after waking: a 429 that came meanwhile stops this worker, too; and one that wakes later after
        its slot than the window is padded (the machine stood still) would leave beside those whose slots are now."""
        row = self._connection.execute(
            """
            SELECT extract(epoch FROM clock_timestamp() - c.sent_at)
            FROM lookup_ledger AS c
            INNER JOIN service_limits AS l USING (limit_key)
            WHERE c.call_id = %s AND (l.blocked_until IS NULL OR l.blocked_until <= clock_timestamp())
            """,
            (call_id,),
        ).fetchone()
        return row is not None and float(row[0]) <= self._service.pad

    def _blocked_seconds(self) -> float:
        row = self._connection.execute(
            "SELECT extract(epoch FROM blocked_until - clock_timestamp()) FROM service_limits WHERE limit_key = %s",
            (self._service.limit_key,),
        ).fetchone()
        return float(row[0]) if row is not None and row[0] is not None else 0.0
