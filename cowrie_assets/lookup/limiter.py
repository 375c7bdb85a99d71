"""When a request may leave: slots, blocks and circuits, in the database, where every process sees them (promise P3).

Lives here: reserving a slot and charging the ledger for it in one transaction, the block after a 429, and the circuit
that opens after five failures in a row. Not here: what is asked, quotas (`quotas`). An in-process limiter limits
nothing: each Dagster step is a process of its own, on whatever machine.

Slots are spaced evenly, one row of `service_limits` each service and credential. A crash after reserving loses a slot,
which is the safe side. The clock is the database server's, one for all.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from cowrie_assets.lookup import quotas
from cowrie_assets.lookup.services import Service
from cowrie_assets.warehouse.copy_text import storable
from cowrie_assets.warehouse.event_chunks import Connection

_LONGEST_BLOCK, _SHORTEST_BLOCK = 86400.0, 1.0
# So many requests in a row without any answer, and the circuit opens.
FAILURES_IN_A_ROW = 5
_LONGEST_COOL_DOWN = 900.0
# A probe whose process died is given up after the time that a request may take at the most, and a wait for its slot.
_PROBE_SECONDS = 120.0
_GLANCE = 0.2  # seconds between two looks at somebody else's probe


class NotNow(Exception):
    """No request may leave before the caller's time is up. `outcome` is what that makes of the question."""

    def __init__(self, outcome: str, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.reason = reason


class ShareSpent(NotNow):
    """This key's source network has spent its share; others may be asked about."""


@dataclass(frozen=True)
class Call:
    """A request that may leave now; its ledger row is written already, without an outcome. `left_at` is when, by the
    database's clock."""

    call_id: int
    left_at: datetime
    is_probe: bool = False
    _started: float = field(default_factory=time.monotonic)

    @property
    def latency_ms(self) -> int:
        """How long it has been away."""
        return round(1000 * (time.monotonic() - self._started))

    @property
    def now(self) -> datetime:
        """The database's clock, without asking it: an answer that arrives while it is away has its time, too."""
        return self.left_at + timedelta(seconds=time.monotonic() - self._started)


@dataclass(frozen=True)
class _Reserved:
    """A slot, `wait` seconds from now, that networks paid for on `day`."""

    call_id: int
    wait: float
    is_probe: bool
    payers: Mapping[str, int]
    day: date | None = None


@dataclass(frozen=True)
class _Obstacle:
    """Why no slot was to be had; seconds from now."""

    slot: float
    blocked: float
    reason: str
    is_open: bool
    open_left: float
    open_seconds: float


class Limiter:
    """The limits of one service, over a connection of the caller's own, in autocommit mode."""

    def __init__(self, connection: Connection, service: Service, run_id: str | None) -> None:
        self._connection = connection
        self._service = service
        self._run_id = run_id
        connection.execute(
            """
            INSERT INTO service_limits AS known (limit_key, service, spacing_seconds, sustained_seconds, next_slot)
            VALUES (%s, %s, %s, %s, lookup_now())
            ON CONFLICT (limit_key) DO UPDATE
            SET spacing_seconds = excluded.spacing_seconds, sustained_seconds = excluded.sustained_seconds
            WHERE (known.spacing_seconds, known.sustained_seconds)
                <> (excluded.spacing_seconds, excluded.sustained_seconds)
            """,
            (service.limit_key, service.name, service.spacing, service.sustained),
        )

    def charge(
        self,
        key: str,
        key_count: int,
        seconds_left: float,
        stop: threading.Event,
        networks: Mapping[str, int] | None = None,
    ) -> Call:
        """Wait for a slot, at most `seconds_left`, with its ledger row written before anything leaves. `networks` pay
        for so many keys each, where the service is scarce.

        Raises:
            ShareSpent: one of the networks has no share left today.
            NotNow: the slot would come too late, the quota is spent, the circuit is open, or `stop` was set.
        """
        ends_at = time.monotonic() + seconds_left
        payers = networks if networks and quotas.is_scarce(self._service) else {}
        while True:
            if stop.is_set():
                raise NotNow("quota", "the run was stopped")
            reserved = self._reserve(key, key_count, ends_at - time.monotonic(), payers)
            if reserved is None:
                if stop.wait(self._wait_for_circuit(ends_at - time.monotonic())):
                    raise NotNow("quota", "the run was stopped")
                continue
            if reserved.wait > 0 and stop.wait(reserved.wait):
                self._take_back(reserved)
                raise NotNow("quota", "the run was stopped")
            left_at = self._may_leave(reserved)
            if left_at is not None:
                return Call(reserved.call_id, left_at, reserved.is_probe)
            self._take_back(reserved)

    def block(self, seconds: float | None, reason: str = "the service asked to be left alone") -> None:
        """Let no worker ask before the time is up: what the service said, else what is usual for it."""
        length = self._service.blocked_for if seconds is None else seconds
        self._connection.execute(
            """
            UPDATE service_limits
            SET
                blocked_until = greatest(blocked_until, lookup_now() + make_interval(secs => %s)),
                blocked_reason = %s,
                probed_until = NULL
            WHERE limit_key = %s
            """,
            (min(max(length, _SHORTEST_BLOCK), _LONGEST_BLOCK), storable(reason), self._service.limit_key),
        )

    def failed(self, call: Call, reason: str) -> None:
        """A request had no answer. The fifth in a row opens the circuit, and so does a probe, for twice as long."""
        self._connection.execute(
            """
            UPDATE service_limits
            SET
                failures = failures + 1,
                blocked_reason = %(reason)s,
                open_until = CASE
                    WHEN %(is_probe)s THEN lookup_now() + make_interval(
                        secs => least(%(longest)s, 2 * coalesce(open_seconds, %(cool_down)s))
                    )
                    WHEN failures + 1 = %(most)s THEN lookup_now() + make_interval(secs => %(cool_down)s)
                    ELSE open_until
                END,
                open_seconds = CASE
                    WHEN %(is_probe)s THEN least(%(longest)s, 2 * coalesce(open_seconds, %(cool_down)s))
                    WHEN failures + 1 = %(most)s THEN %(cool_down)s
                    ELSE open_seconds
                END,
                probed_until = CASE WHEN %(is_probe)s THEN NULL ELSE probed_until END
            WHERE limit_key = %(limit_key)s
            """,
            {
                "limit_key": self._service.limit_key,
                "reason": storable(reason),
                "is_probe": call.is_probe,
                "most": FAILURES_IN_A_ROW,
                "cool_down": self._service.cool_down,
                "longest": _LONGEST_COOL_DOWN,
            },
        )

    def succeeded(self) -> None:
        """The service answers: failures before that count no longer."""
        self._connection.execute(
            """
            UPDATE service_limits SET failures = 0, open_until = NULL, open_seconds = NULL, probed_until = NULL
            WHERE limit_key = %s AND failures > 0
            """,
            (self._service.limit_key,),
        )

    def _reserve(self, key: str, key_count: int, seconds_left: float, payers: Mapping[str, int]) -> _Reserved | None:
        values = {
            "limit_key": self._service.limit_key,
            "service": self._service.name,
            "key": key,
            "key_count": key_count,
            "run_id": self._run_id,
            "seconds_left": max(seconds_left, 0.0),
            "most": FAILURES_IN_A_ROW,
            "probe": _PROBE_SECONDS,
        }
        with self._connection.transaction():
            if quotas.is_scarce(self._service):
                self._check_budget(key_count, payers)
            row = self._connection.execute(
                """
                WITH slot AS (
                    UPDATE service_limits
                    SET
                        next_slot = greatest(next_slot, blocked_until, lookup_now())
                        + make_interval(secs => spacing_seconds),
                        probed_until = CASE
                            WHEN failures >= %(most)s
                                THEN greatest(next_slot, blocked_until, lookup_now())
                                    + make_interval(secs => %(probe)s)
                        END,
                        balance = balance - %(key_count)s,
                        balance_at = CASE WHEN balance <= %(key_count)s THEN lookup_now() ELSE balance_at END
                    WHERE
                        limit_key = %(limit_key)s
                        AND greatest(next_slot, blocked_until, lookup_now())
                        <= lookup_now() + make_interval(secs => %(seconds_left)s)
                        AND (
                            failures < %(most)s
                            OR open_until <= lookup_now() AND coalesce(probed_until <= lookup_now(), TRUE)
                        )
                    RETURNING next_slot - make_interval(secs => spacing_seconds) AS begins_at, failures
                ),
                charged AS (
                    INSERT INTO lookup_ledger (service, key, key_count, sent_at, run_id, limit_key)
                    SELECT %(service)s, %(key)s, %(key_count)s, begins_at, %(run_id)s, %(limit_key)s FROM slot
                    RETURNING call_id, sent_at
                )
                SELECT
                    call_id, extract(epoch FROM sent_at - lookup_now())::double precision,
                    failures >= %(most)s
                FROM charged CROSS JOIN slot
                """,
                values,
            ).fetchone()
            if row is None:
                return None
            day = quotas.spend(self._connection, self._service, payers) if payers else None
            return _Reserved(int(row[0]), float(row[1]), bool(row[2]), payers, day)

    def _check_budget(self, key_count: int, payers: Mapping[str, int]) -> None:
        # The row's lock first: two processes would count the same last request otherwise.
        self._connection.execute(
            "SELECT FROM service_limits WHERE limit_key = %s FOR UPDATE", (self._service.limit_key,)
        )
        reason = quotas.used_up(self._connection, self._service, key_count)
        if reason is not None:
            raise NotNow("quota", reason)
        credit = quotas.balance(self._connection, self._service)
        if credit is not None and credit < key_count:
            raise NotNow("quota", quotas.no_credit(self._service))
        allowance = quotas.share(self._connection, self._service) if payers else None
        if allowance is not None:
            spent = quotas.spending(self._connection, self._service, payers)
            for network, keys in payers.items():
                if spent.get(network, 0) + keys > allowance:
                    raise ShareSpent("quota", quotas.share_spent(network, allowance))

    def _wait_for_circuit(self, seconds_left: float) -> float:
        """How long to wait before looking again.

        Raises:
            NotNow: it is of no use.
        """
        what = self._obstacle()
        # A run waits for a first probe and for a second one, by another key; each that fails doubles the time.
        patient = what.open_seconds <= 2 * self._service.cool_down
        in_time = what.open_left <= 0 or (patient and what.open_left <= seconds_left)
        if seconds_left > 0 and what.blocked <= seconds_left:
            if what.is_open and in_time:
                return max(what.open_left, _GLANCE)
            if not what.is_open and what.slot <= seconds_left:
                return 0.0  # what was in the way is over
        if what.blocked > 0 or what.is_open:
            minutes = max(1, round(max(what.blocked, what.open_left) / 60))
            told = f", {FAILURES_IN_A_ROW} failures in a row" if what.is_open and what.blocked <= 0 else ""
            over = "1 minute is" if minutes == 1 else f"{minutes} minutes are"
            raise NotNow("unavailable", f"{what.reason}{told}; nobody asks before {over} over")
        raise NotNow("quota", "the run's time was used up")

    def _obstacle(self) -> _Obstacle:
        row = self._connection.execute(
            """
            SELECT
                greatest(extract(epoch FROM greatest(next_slot, blocked_until) - lookup_now()), 0)::double precision,
                coalesce(extract(epoch FROM blocked_until - lookup_now()), 0)::double precision,
                coalesce(blocked_reason, ''),
                failures >= %s,
                coalesce(extract(epoch FROM open_until - lookup_now()), 0)::double precision,
                coalesce(open_seconds, 0)
            FROM service_limits WHERE limit_key = %s
            """,
            (FAILURES_IN_A_ROW, self._service.limit_key),
        ).fetchone()
        return _Obstacle(*row) if row is not None else _Obstacle(0.0, 0.0, "", False, 0.0, 0.0)

    def _take_back(self, reserved: _Reserved) -> None:
        with self._connection.transaction():
            row = self._connection.execute(
                "DELETE FROM lookup_ledger WHERE call_id = %s RETURNING key_count", (reserved.call_id,)
            ).fetchone()
            self._connection.execute(
                """
                UPDATE service_limits
                SET
                    balance = balance + %s,
                    probed_until = CASE WHEN %s THEN NULL ELSE probed_until END
                WHERE limit_key = %s AND (balance IS NOT NULL OR %s)
                """,
                (row[0] if row else 0, reserved.is_probe, self._service.limit_key, reserved.is_probe),
            )
            if reserved.day is not None:
                quotas.take_back(self._connection, self._service, reserved.payers, reserved.day)

    def _may_leave(self, reserved: _Reserved) -> datetime | None:
        """The moment, looked at after waking: a 429 or a circuit that opened meanwhile stops this worker, too; and one
        that wakes long after its slot (the machine stood still) would leave beside those whose slots are now. Half of
        the padding may be slept through, the other half is for the way."""
        row = self._connection.execute(
            """
            SELECT now.moment
            FROM lookup_ledger AS c
            INNER JOIN service_limits AS l USING (limit_key)
            CROSS JOIN (SELECT lookup_now() AS moment) AS now
            WHERE
                c.call_id = %s AND (l.blocked_until IS NULL OR l.blocked_until <= now.moment)
                AND (%s OR l.failures < %s)
                AND c.sent_at >= now.moment - make_interval(secs => %s)
            """,
            (reserved.call_id, reserved.is_probe, FAILURES_IN_A_ROW, self._service.pad / 2),
        ).fetchone()
        return None if row is None else row[0]
