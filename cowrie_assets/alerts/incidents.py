"""What fails now: verdicts of checks and runs, the newest of each (asset, name, partition).

Lives here: the table `incidents`, how a verdict changes it, what of it the operator has not been told. Not here: where
verdicts come from (`reading`), the words (`wording`), writing notes (`notes`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from cowrie_assets.alerts.channels import Alerts, Severity
from cowrie_assets.report.escaping import visible
from cowrie_assets.warehouse.event_chunks import Connection

# Names of verdicts that are no check's.
MATERIALIZE = "materialize"
RUN = "run"

_LOCK = 0x616C6572
_LONGEST_WORDS = 2000
# So long an older verdict may come late: its run judged first and ended last.
_REMEMBERED = "7 days"

_RECORD = f"""
WITH judged AS (
    SELECT
        *,
        max(judged_at) FILTER (WHERE passed) OVER (PARTITION BY asset, name, partition) AS last_pass
    FROM unnest(
        %(asset)s::text[], %(name)s::text[], %(partition)s::text[], %(passed)s::boolean[], %(severity)s::text[],
        %(words)s::text[], %(run_id)s::text[], %(backfill_id)s::text[], %(judged_at)s::timestamptz[]
    ) AS verdict (asset, name, partition, passed, severity, words, run_id, backfill_id, judged_at)
), since AS (
    SELECT
        *,
        min(judged_at) FILTER (WHERE NOT passed AND judged_at >= coalesce(last_pass, '-infinity'))
            OVER (PARTITION BY asset, name, partition) AS failing_since
    FROM judged
), newest AS (
    SELECT DISTINCT ON (asset, name, partition) *
    FROM since
    ORDER BY asset, name, partition, judged_at DESC, passed
)
INSERT INTO incidents AS known
    (asset, name, partition, passed, severity, words, run_id, backfill_id, judged_at, failing_since)
SELECT asset, name, partition, passed, severity, words, run_id, backfill_id, judged_at, failing_since
FROM newest
WHERE NOT passed OR judged_at > now() - interval '{_REMEMBERED}' OR EXISTS (
    SELECT 1 FROM incidents AS i
    WHERE i.asset = newest.asset AND i.name = newest.name AND i.partition = newest.partition
)
ON CONFLICT (asset, name, partition) DO UPDATE SET
    passed = excluded.passed,
    severity = excluded.severity,
    words = excluded.words,
    run_id = excluded.run_id,
    backfill_id = excluded.backfill_id,
    judged_at = excluded.judged_at,
    failing_since = CASE
        WHEN excluded.passed AND known.told_at IS NULL THEN NULL
        ELSE coalesce(known.failing_since, excluded.failing_since)
    END
WHERE known.judged_at < excluded.judged_at
"""  # noqa: S608 - the interval is a constant of this file

_FAILURE = "NOT passed AND told_at IS NULL AND severity = ANY(%(severities)s)"
_RECOVERY = "passed AND told_at IS NOT NULL"


@dataclass(frozen=True)
class Verdict:
    """What one check, or one run's work on one asset, came to for one partition ("" where there are none)."""

    asset: str
    name: str
    partition: str
    passed: bool
    severity: Severity
    words: str
    run_id: str
    backfill_id: str | None
    judged_at: datetime


@dataclass(frozen=True)
class Incident(Verdict):
    """A row of `incidents`: the newest verdict, since when it fails, and whether that was told."""

    failing_since: datetime | None
    told_at: datetime | None

    @property
    def key(self) -> tuple[str, str, str]:
        return self.asset, self.name, self.partition


def record(connection: Connection, verdicts: Sequence[Verdict]) -> None:
    """Take verdicts in, any number of times and in any order: the newest of each key counts. Atomic."""
    columns = {
        name: [getattr(verdict, name) for verdict in verdicts]
        for name in ("asset", "name", "partition", "passed", "severity", "run_id", "backfill_id", "judged_at")
    }
    with alone(connection):
        connection.execute(_RECORD.encode(), {**columns, "words": [one_line(verdict.words) for verdict in verdicts]})


def one_line(text: str) -> str:
    """Text for the table: one line, nothing in it that PostgreSQL or a terminal could not take."""
    line = visible(" ".join(text.split()))
    return line if len(line) <= _LONGEST_WORDS else f"{line[:_LONGEST_WORDS]} …"


def failing(connection: Connection) -> list[Incident]:
    """What fails now, told or not, the longest first."""
    return _select(connection, "NOT passed", "failing_since, asset, name, partition", {})


def untold(connection: Connection, alerts: Alerts, ended: Collection[str]) -> list[Incident]:
    """Failures and recoveries that the operator does not know of. What a backfill brought waits until it is among
    those that have `ended`: until then more may come, and what failed may recover."""
    condition = f"(({_FAILURE}) OR ({_RECOVERY})) AND (backfill_id IS NULL OR backfill_id = ANY(%(ended)s))"
    values = {"severities": _told_severities(alerts), "ended": list(ended)}
    return _select(connection, condition, "asset, name, partition", values)


def open_backfills(connection: Connection, alerts: Alerts) -> set[str]:
    """The backfills whose end something waits for."""
    query = (
        f"SELECT DISTINCT backfill_id FROM incidents WHERE backfill_id IS NOT NULL AND (({_FAILURE}) OR ({_RECOVERY}))"  # noqa: S608 - constants of this file
    )
    return {name for (name,) in connection.execute(query.encode(), {"severities": _told_severities(alerts)})}


def mark_told(connection: Connection, incidents: Sequence[Incident]) -> None:
    """Keep that these are told; of what recovered, nothing remains to be told. In the caller's transaction."""
    keys = [[incident.key[part] for incident in incidents] for part in range(3)]
    connection.execute(
        """
        UPDATE incidents SET
            told_at = CASE WHEN passed THEN NULL ELSE now() END,
            failing_since = CASE WHEN passed THEN NULL ELSE failing_since END
        FROM unnest(%s::text[], %s::text[], %s::text[]) AS told (asset, name, partition)
        WHERE
            incidents.asset = told.asset AND incidents.name = told.name
            AND incidents.partition = told.partition
        """,
        keys,
    )


def forget_long_passed(connection: Connection) -> None:
    """Passing verdicts are kept only so that an older one that comes late is known to be older."""
    old = f"judged_at < now() - interval '{_REMEMBERED}'"
    connection.execute(f"DELETE FROM incidents WHERE passed AND told_at IS NULL AND {old}".encode())  # noqa: S608


@contextmanager
def alone(connection: Connection) -> Iterator[None]:
    """A transaction beside which no other process changes incidents or writes notes."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        yield


def _told_severities(alerts: Alerts) -> list[str]:
    return ["ERROR"] if alerts.severity == "ERROR" else ["WARN", "ERROR"]


def _select(connection: Connection, condition: str, order: str, values: dict[str, list[str]]) -> list[Incident]:
    query = f"""
    SELECT asset, name, partition, passed, severity, words, run_id, backfill_id, judged_at, failing_since, told_at
    FROM incidents
    WHERE {condition}
    ORDER BY {order}
    """  # noqa: S608 - all parts are constants of this file
    with connection.cursor(row_factory=class_row(Incident)) as cursor:
        return cursor.execute(query.encode(), values).fetchall()
