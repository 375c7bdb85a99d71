"""Dagster keeps every run and every event for ever: what of them is old goes, and what the UI shows stays.

Lives here: which runs, events, check executions and backfills may go. Not here: how (`instance_storage`); ticks, which
Dagster trims itself (`retention` of dagster.yaml).

The state of a day in the UI is read from its newest materialization, that of a check from its newest evaluation, and a
failed day from the run that failed. These stay, however old. So the storage grows with the days there are, by the
newest event of each asset and check, and not with how often they were built.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path

import dagster as dg

from cowrie_assets.assets.instance_storage import InstanceStorage, naive
from cowrie_assets.warehouse.pruning import Prunable
from cowrie_assets.warehouse.storage import size_of

FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_RUNS = "finished runs with their logs"
_EVENTS = "events and check evaluations that newer ones replaced"
_BACKFILLS = "finished backfills"

# Ids are given anew in SQLite once the highest row is gone, and sensors go by them: the highest of a table stays.
_OLD_EVENTS = """
    SELECT e.id, length(e.event), e."timestamp"
    FROM event_logs AS e
    WHERE
        e."timestamp" < :cut
        AND (e.run_id IS NULL OR e.run_id NOT IN :staying)
        AND e.id < (SELECT max(h.id) FROM event_logs AS h)
        AND e.id NOT IN (
            SELECT max(n.id)
            FROM event_logs AS n
            WHERE n.asset_key IS NOT NULL AND n.dagster_event_type <> 'ASSET_MATERIALIZATION_PLANNED'
            GROUP BY n.dagster_event_type, n.asset_key, n."partition"
        )
"""
# A run over days plans what has no days once a day as well, and it is never made or judged so. Such a check is known by
# verdicts without a day alone, such an asset by materializations without one.
_CHECK_WITHOUT_DAYS = """
    (c.asset_key, c.check_name) IN (
        SELECT u.asset_key, u.check_name
        FROM asset_check_executions AS u
        WHERE u.execution_status IN ('SUCCEEDED', 'FAILED')
        GROUP BY u.asset_key, u.check_name
        HAVING count(u."partition") = 0
    )
"""
_ASSET_WITHOUT_DAYS = """
    n.asset_key IN (
        SELECT u.asset_key
        FROM event_logs AS u
        WHERE u.asset_key IS NOT NULL AND u.dagster_event_type = 'ASSET_MATERIALIZATION'
        GROUP BY u.asset_key
        HAVING count(u."partition") = 0
    )
"""
_NEWEST_CHECKS = """
    SELECT max(n.id) FROM asset_check_executions AS n GROUP BY n.asset_key, n.check_name, n."partition"
"""
# The newest of each check and day, and the newest that came to an end: the one may be planned still.
_OLD_CHECKS = f"""
    SELECT c.id, length(c.evaluation_event), c.evaluation_event_timestamp
    FROM asset_check_executions AS c
    WHERE
        c.evaluation_event_timestamp < :cut
        AND c.run_id NOT IN :staying
        AND c.id < (SELECT max(h.id) FROM asset_check_executions AS h)
        AND (c.id NOT IN ({_NEWEST_CHECKS}) OR (c."partition" IS NOT NULL AND {_CHECK_WITHOUT_DAYS}))
        AND c.id NOT IN (
            SELECT max(n.id)
            FROM asset_check_executions AS n
            WHERE n.execution_status IN ('SUCCEEDED', 'FAILED')
            GROUP BY n.asset_key, n.check_name, n."partition"
        )
"""  # noqa: S608 - constants of this file
# Runs that materialized nothing of a day though they were the last to try: it failed, if they did.
_LAST_ATTEMPTS = f"""
    SELECT DISTINCT e.run_id
    FROM event_logs AS e
    INNER JOIN (
        SELECT
            max(CASE WHEN n.dagster_event_type = 'ASSET_MATERIALIZATION_PLANNED' THEN n.id END) AS planned,
            max(CASE WHEN n.dagster_event_type = 'ASSET_MATERIALIZATION' THEN n.id ELSE 0 END) AS made
        FROM event_logs AS n
        WHERE
            n.asset_key IS NOT NULL
            AND n.dagster_event_type IN ('ASSET_MATERIALIZATION_PLANNED', 'ASSET_MATERIALIZATION')
            AND NOT (n."partition" IS NOT NULL AND {_ASSET_WITHOUT_DAYS})
        GROUP BY n.asset_key, n."partition"
    ) AS newest ON e.id = newest.planned
    WHERE newest.planned > newest.made
"""  # noqa: S608 - constants of this file
# A check that was planned and never came to it is judged by its run: once that is gone, it is in progress for ever.
_PLANNED_CHECKS = f"""
    SELECT DISTINCT c.run_id
    FROM asset_check_executions AS c
    WHERE
        c.execution_status = 'PLANNED'
        AND c.id IN ({_NEWEST_CHECKS})
        AND NOT (c."partition" IS NOT NULL AND {_CHECK_WITHOUT_DAYS})
"""  # noqa: S608 - constants of this file
_BACKFILL_ENDED = "(b.status IN ('COMPLETED', 'COMPLETED_SUCCESS', 'COMPLETED_FAILED', 'FAILED', 'CANCELED'))"
_OLD_BACKFILLS = f"""
    SELECT b."key", length(b.body), b."timestamp"
    FROM bulk_actions AS b
    WHERE
        b."timestamp" < :cut
        AND {_BACKFILL_ENDED}
        AND b.id < (SELECT max(h.id) FROM bulk_actions AS h)
        AND NOT EXISTS (SELECT 1 FROM runs AS r WHERE r.backfill_id = b."key" AND r.run_id NOT IN :leaving)
"""  # noqa: S608 - a constant of this file
_UNFINISHED_BACKFILLS = f'SELECT r.run_id FROM runs AS r INNER JOIN bulk_actions AS b ON r.backfill_id = b."key" WHERE NOT {_BACKFILL_ENDED}'  # noqa: S608, E501
_ROOTS = "SELECT run_id, value FROM run_tags WHERE \"key\" IN ('dagster/root_run_id', 'dagster/parent_run_id')"


@dataclass(frozen=True)
class _Old:
    """What of an instance is older than the cut, and rests nothing on it."""

    runs: list[dg.DagsterRun]
    oldest_run: datetime | None
    events: list[tuple[int, int, datetime]]
    checks: list[tuple[int, int, datetime]]
    backfills: list[tuple[str, int, datetime]]
    ownerless: list[Path]


def trim_instance(instance: dg.DagsterInstance, days: int | None, now: datetime, *, apply: bool) -> list[Prunable]:
    """What of Dagster's storage is older than so many days (None: for ever); removed where `apply` says so. Killed
    anywhere, the next time does the rest. Recent and unfinished runs stay as they are."""
    if days is None:
        return [Prunable("dagster runs", _RUNS)]
    storage = InstanceStorage(instance)
    if storage.obstacle:
        return [Prunable("dagster runs", _RUNS, note=f"nothing of Dagster's storage is trimmed: {storage.obstacle}")]
    cut = now - timedelta(days=days)
    old = _look(instance, storage, cut, now)
    told = _told(storage, old, cut)
    if not apply:
        return told
    storage.delete_events(event_id for event_id, _, _ in old.events)
    storage.delete_checks(check_id for check_id, _, _ in old.checks)
    storage.delete_runs([run.run_id for run in old.runs])
    storage.delete_backfills(key for key, _, _ in old.backfills)
    storage.delete_ownerless_logs(old.ownerless)
    problems = storage.give_back()
    return [*told, Prunable("dagster files", "room in files", note="; ".join(problems))] if problems else told


def _look(instance: dg.DagsterInstance, storage: InstanceStorage, cut: datetime, now: datetime) -> _Old:
    records = instance.get_run_records(dg.RunsFilter(statuses=FINISHED, updated_before=cut))
    needed = _needed(storage, records)
    leaving = [record for record in records if record.dagster_run.run_id not in needed]
    leaving_ids = {record.dagster_run.run_id for record in leaving}
    begun = storage.runs("SELECT run_id FROM runs WHERE create_timestamp < :cut", cut=naive(cut))
    staying = [run_id for (run_id,) in begun if run_id not in leaving_ids]
    return _Old(
        runs=[record.dagster_run for record in leaving],
        oldest_run=min((record.create_timestamp for record in leaving), default=None),
        events=[tuple(row) for row in storage.events(_OLD_EVENTS, cut=naive(cut), staying=staying)],
        checks=[tuple(row) for row in storage.events(_OLD_CHECKS, cut=naive(cut), staying=staying)],
        backfills=[tuple(row) for row in storage.runs(_OLD_BACKFILLS, cut=naive(cut), leaving=leaving_ids)],
        ownerless=storage.ownerless_logs(now),
    )


def _needed(storage: InstanceStorage, records: Sequence[dg.RunRecord]) -> set[str]:
    """Of these finished runs, those that something else is read from."""
    by_id = {record.dagster_run.run_id: record.dagster_run for record in records}
    failed = {run_id for run_id, run in by_id.items() if run.status == dg.DagsterRunStatus.FAILURE}
    attempts = {run_id for (run_id,) in storage.events(_LAST_ATTEMPTS)}
    planned = storage.events(_PLANNED_CHECKS)
    newest_runs = storage.events("SELECT last_run_id FROM asset_keys WHERE last_run_id IS NOT NULL")
    highest = storage.runs("SELECT run_id FROM runs WHERE id = (SELECT max(h.id) FROM runs AS h)")
    backfilled = storage.runs(_UNFINISHED_BACKFILLS)
    needed = {run_id for (run_id,) in chain(planned, newest_runs, highest, backfilled)} | (attempts & failed)
    # A run that was tried again is asked for by the page of its last try.
    roots = storage.runs(_ROOTS)
    return needed | {root for run_id, root in roots if run_id not in by_id or run_id in needed}


def _told(storage: InstanceStorage, old: _Old, cut: datetime) -> list[Prunable]:
    replaced = [*old.events, *old.checks]
    files = sum(storage.bytes_of_files(run.run_id) for run in old.runs) + sum(map(size_of, old.ownerless))
    ownerless = f"{len(old.ownerless)} of them of runs that there are not any more" if old.ownerless else ""
    return [
        Prunable(
            "dagster runs", _RUNS, len(old.runs) + len(old.ownerless), files, _aware(old.oldest_run), cut, ownerless
        ),
        Prunable(
            "dagster events",
            _EVENTS,
            len(replaced),
            sum(size or 0 for _, size, _ in replaced),
            _aware(min((moment for _, _, moment in replaced), default=None)),
            cut,
        ),
        Prunable(
            "dagster backfills",
            _BACKFILLS,
            len(old.backfills),
            sum(size or 0 for _, size, _ in old.backfills),
            _aware(min((moment for _, _, moment in old.backfills), default=None)),
            cut,
        ),
    ]


def _aware(moment: datetime | str | None) -> datetime | None:
    """Dagster's times as they come from SQLite (text) and PostgreSQL."""
    if moment is None:
        return None
    known = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return known if known.tzinfo is not None else known.replace(tzinfo=UTC)
