"""Sensors: what runs because something happened.

Lives here: new logs are loaded, and the days that follow from what was loaded are run. Not here: which days are due
(`assets.reconstruction`, `assets.questions`), what runs by the clock (`schedules`), alerts (`cowrie_assets.alerts`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import date
from hashlib import blake2b

import dagster as dg

from cowrie_assets.assets.daily import UNCHECKED_TAG
from cowrie_assets.assets.ingestion import NothingToLoad, changed_files
from cowrie_assets.assets.questions import QUESTIONS
from cowrie_assets.assets.reconstruction import DAILY_ASSETS
from cowrie_assets.automation.cadence import Cadence
from cowrie_assets.automation.due import DueDays
from cowrie_assets.automation.jobs import (
    ANSWERS,
    COMMAND_TAG,
    DAILY_JOB,
    DAILY_RUNS,
    INGEST_JOB,
    INGEST_RUNS,
    RANGE_TAGS,
    RUNNING,
    TODAYS_PRIORITY,
    is_alive,
)
from cowrie_assets.resources import AnswerCache, CowrieLogs, Warehouse
from cowrie_assets.warehouse.database import WarehouseUnreachable

NEW_LOGS = "new_logs"
DUE_DAYS = "due_days"
_UNFINISHED = [dg.DagsterRunStatus.QUEUED, *RUNNING]
_ACTIVE_BACKFILL = ("REQUESTED", "CANCELING", "FAILING")
_SENSOR_TAG = "dagster/sensor_name"
_RUN_KEY_TAG = "dagster/run_key"


def sensors(
    cadence: Cadence, first_day: date, check_keys: Iterable[dg.AssetCheckKey] = ()
) -> list[dg.SensorDefinition]:
    """`check_keys` are those of the daily assets."""
    return [_new_logs(cadence), _due_days(cadence, first_day, list(check_keys)), _changed_answers()]


def _new_logs(cadence: Cadence) -> dg.SensorDefinition:
    @dg.sensor(
        name=NEW_LOGS,
        job=INGEST_RUNS,
        minimum_interval_seconds=int(cadence.watch_every),
        default_status=_status(cadence.switched_on),
        description=(
            "Looks whether a log file is new or has grown, and runs the job ingest if so. A file that cannot be read "
            "is tried once, and again when it has changed."
        ),
    )
    def new_logs(
        context: dg.SensorEvaluationContext, warehouse: Warehouse, cowrie_logs: CowrieLogs
    ) -> dg.RunRequest | dg.SkipReason:
        if context.instance.get_runs(dg.RunsFilter(job_name=INGEST_JOB, statuses=_UNFINISHED), limit=1):
            return dg.SkipReason("logs are being loaded")
        try:
            with warehouse.connect() as connection:
                changed = changed_files(connection, cowrie_logs.paths)
        except NothingToLoad as nothing:
            return dg.SkipReason(str(nothing))
        except WarehouseUnreachable as away:
            return dg.SkipReason(str(away))
        if not changed:
            return dg.SkipReason("no log file is new or has grown")
        key = blake2b(repr(sorted(changed.items())).encode(), digest_size=16).hexdigest()
        context.log.info(f"{len(changed)} log files are new or have grown")
        return dg.RunRequest(run_key=key)

    return new_logs


def _due_days(cadence: Cadence, first_day: date, check_keys: list[dg.AssetCheckKey]) -> dg.SensorDefinition:
    @dg.sensor(
        name=DUE_DAYS,
        job=DAILY_RUNS,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={"warehouse", "answer_cache", *(question.service for question in QUESTIONS.values())},
        description=(
            "Once nothing runs: the daily job over exactly the days whose events, or what is known of their sources, "
            "changed since they were built. After an ingestion by the schedule or by hand also over days with "
            "questions that no service has answered. A day that failed is left alone until it changes."
        ),
    )
    def due_days(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        cursor = _Cursor.of(context.cursor)
        if reason := _busy(context.instance):
            return dg.SkipReason(reason)
        newest = context.instance.get_runs(limit=1)
        if not newest or cursor.seen == newest[0].run_id:
            return dg.SkipReason("nothing ran since it was looked last")
        ingestion = _ingestion_to_follow(context.instance)
        follows = ingestion is not None and ingestion != cursor.followed
        warehouse: Warehouse = context.resources.warehouse
        try:
            with warehouse.connect() as connection:
                due = DueDays(connection, first_day, cadence.newest_day())
                requests = _new(context.instance, [*due.changed(), *_unchecked(context.instance, check_keys)])
                if not requests and follows:
                    requests = list(due.unanswered(_askable(context), _max_time(context), str(ingestion)))
                    cursor = replace(cursor, followed=ingestion)
        except WarehouseUnreachable as away:
            return dg.SkipReason(str(away))
        if not requests:
            context.update_cursor(replace(cursor, seen=newest[0].run_id).text)
            return dg.SkipReason("no day is due")
        return dg.SensorResult(run_requests=requests, cursor=cursor.text)

    return due_days


def _changed_answers() -> dg.SensorDefinition:
    return dg.AutomationConditionSensorDefinition(
        "changed_answers",
        target=dg.AssetSelection.assets(*ANSWERS),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        run_tags=TODAYS_PRIORITY,
        description=(
            "The view, the queries and the report, once each time that daily assets were materialized without them: by "
            "hand, or by a backfill of some of them."
        ),
    )


@dataclass(frozen=True)
class _Cursor:
    """`seen`: the newest run when nothing was due; `followed`: the ingestion whose unanswered questions were asked."""

    seen: str | None = None
    followed: str | None = None

    @classmethod
    def of(cls, text: str | None) -> _Cursor:
        known = json.loads(text) if text else {}
        return cls(known.get("seen"), known.get("followed"))

    @property
    def text(self) -> str:
        return json.dumps(asdict(self))


def _busy(instance: dg.DagsterInstance) -> str | None:
    """Why it is not yet time to look: a run or a backfill goes on, or a command is between two of its runs."""
    unfinished = instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED), limit=1)
    if unfinished:
        return f"a run of {unfinished[0].job_name} goes on"
    if any(backfill.status.value in _ACTIVE_BACKFILL for backfill in instance.get_backfills(limit=50)):
        return "a backfill goes on"
    newest = instance.get_runs(limit=1)
    return "a command goes on" if newest and is_alive(newest[0].tags) else None


def _ingestion_to_follow(instance: dg.DagsterInstance) -> str | None:
    """The newest ingestion by the schedule or by hand. A command runs what follows itself; the sensor of new logs looks
    too often to ask about everything each time."""
    done = dg.RunsFilter(job_name=INGEST_JOB, statuses=[dg.DagsterRunStatus.SUCCESS])
    for run in instance.get_runs(done, limit=100):
        if COMMAND_TAG not in run.tags and run.tags.get(_SENSOR_TAG) != NEW_LOGS:
            return run.run_id
    return None


def _new(instance: dg.DagsterInstance, requests: Iterable[dg.RunRequest]) -> list[dg.RunRequest]:
    """Those that were not made before. A request says what its days rest on: what failed is not asked for again."""
    tags = {_SENSOR_TAG: DUE_DAYS}
    return [
        request
        for request in requests
        if not instance.get_runs(dg.RunsFilter(tags={**tags, _RUN_KEY_TAG: str(request.run_key)}), limit=1)
    ]


def _unchecked(instance: dg.DagsterInstance, check_keys: list[dg.AssetCheckKey]) -> Iterator[dg.RunRequest]:
    """The checks of runs of which some days failed: the days that are done have theirs evaluated all the same."""
    for asset in DAILY_ASSETS:
        keys = [key for key in check_keys if key.asset_key == dg.AssetKey(asset)]
        for run in instance.get_runs(dg.RunsFilter(tags={UNCHECKED_TAG: asset}), limit=100) if keys else ():
            days = {name: value for name, value in run.tags.items() if name in RANGE_TAGS}
            yield dg.RunRequest(
                run_key=f"checks of {asset} in {run.run_id}",
                job_name=DAILY_JOB,
                asset_selection=[],
                asset_check_keys=keys,
                tags=days,
            )


def _askable(context: dg.SensorEvaluationContext) -> set[str]:
    """The daily assets whose service can be asked now."""
    clients = {asset: getattr(context.resources, question.service) for asset, question in QUESTIONS.items()}
    return {asset for asset, client in clients.items() if client.service().not_configured is None}


def _max_time(context: dg.SensorEvaluationContext) -> float:
    cache: AnswerCache = context.resources.answer_cache
    return cache.max_time


def _status(switched_on: bool) -> dg.DefaultSensorStatus:
    return dg.DefaultSensorStatus.RUNNING if switched_on else dg.DefaultSensorStatus.STOPPED
