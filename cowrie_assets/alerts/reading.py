"""What finished runs of Dagster say: a verdict for each check that was evaluated, and for each asset of each day that
was built or was to be built.

Lives here: events of a run to verdicts, and how far runs have been read. Not here: what becomes of verdicts
(`incidents`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg

from cowrie_assets.alerts.incidents import MATERIALIZE, RUN, Verdict
from cowrie_assets.assets.daily import FAILED_DAYS

_STATUSES = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
# A run is found by the clock of the process that ended it, and may be stored a moment after a younger one.
_OVERLAP = timedelta(minutes=15)
_FIRST_LOOK = timedelta(days=1)
_RUNS_AT_ONCE = 100
# Dagster takes Ctrl-C for a failed step; whoever pressed it knows.
_INTERRUPTIONS = frozenset({"KeyboardInterrupt", "SystemExit", "DagsterExecutionInterruptedError"})
_Type = dg.DagsterEventType
_JUDGED = {_Type.ASSET_CHECK_EVALUATION, _Type.ASSET_MATERIALIZATION}
_OF_FAILURES = {
    _Type.ASSET_MATERIALIZATION_PLANNED,
    _Type.ASSET_CHECK_EVALUATION_PLANNED,
    _Type.STEP_START,
    _Type.STEP_SUCCESS,
    _Type.STEP_FAILURE,
    _Type.RUN_FAILURE,
}


@dataclass(frozen=True)
class Position:
    """How far finished runs have been read: up to `read_until`, and of the last minutes before it those in `handled`,
    by the moment at which they ended."""

    read_until: datetime
    handled: dict[str, datetime] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str | None) -> Position:
        """As `str` writes it; where there is none, or none that can be read, a day ago: not all of the past."""
        try:
            told = json.loads(text or "")
            handled = {str(run): datetime.fromisoformat(at) for run, at in told["handled"].items()}
            return cls(datetime.fromisoformat(told["read_until"]), handled)
        except (ValueError, TypeError, KeyError, AttributeError):
            return cls(datetime.now(UTC) - _FIRST_LOOK)

    def __str__(self) -> str:
        handled = {run: at.isoformat() for run, at in self.handled.items()}
        return json.dumps({"read_until": self.read_until.isoformat(), "handled": handled})

    def after(self, record: dg.RunRecord) -> Position:
        """The position when this run has been read as well."""
        # A clock that is ahead must not hide what ends by the others in the meantime.
        read_until = max(self.read_until, min(record.update_timestamp, datetime.now(UTC)))
        handled = {**self.handled, record.dagster_run.run_id: record.update_timestamp}
        recent = {run: at for run, at in handled.items() if at > read_until - _OVERLAP}
        return replace(self, read_until=read_until, handled=recent)


def finished_runs(instance: dg.DagsterInstance, position: Position) -> Sequence[dg.RunRecord]:
    """The next runs that ended and have not been read, the oldest first; empty where there are none."""
    records = instance.get_run_records(
        dg.RunsFilter(statuses=_STATUSES, updated_after=position.read_until - _OVERLAP),
        order_by="update_timestamp",
        ascending=True,
        limit=_RUNS_AT_ONCE + len(position.handled),
    )
    return [record for record in records if record.dagster_run.run_id not in position.handled]


def verdicts_of(instance: dg.DagsterInstance, ended: dg.RunRecord, daily: Collection[str]) -> list[Verdict]:
    """The verdicts of a run that ended. `daily` are the assets by day: Dagster says of none whether it is one.

    A canceled run has verdicts of what it came to, and none of what it did not.
    """
    return list(_Reading(instance, ended, daily).verdicts())


class _Reading:
    """One run's events, sorted."""

    def __init__(self, instance: dg.DagsterInstance, ended: dg.RunRecord, daily: Collection[str]) -> None:
        self._run, self._daily = (run := ended.dagster_run), daily
        self._ended_at = datetime.fromtimestamp(ended.end_time, UTC) if ended.end_time else ended.update_timestamp
        self._days = _days(run.tags)
        failed = run.status == dg.DagsterRunStatus.FAILURE
        entries = instance.all_logs(run.run_id, of_type=_JUDGED | _OF_FAILURES if failed else _JUDGED)
        self._events: dict[dg.DagsterEventType, list[tuple[dg.DagsterEvent, datetime]]] = {}
        for entry in entries:
            event = entry.get_dagster_event()
            self._events.setdefault(event.event_type, []).append((event, datetime.fromtimestamp(entry.timestamp, UTC)))

    def verdicts(self) -> Iterator[Verdict]:
        judged = [*self._evaluations(), *self._materializations()]
        yield from judged
        done = {(verdict.asset, verdict.name, verdict.partition) for verdict in judged}
        if self._run.status == dg.DagsterRunStatus.FAILURE:
            for verdict in self._failures():
                if (verdict.asset, verdict.name, verdict.partition) not in done:
                    yield verdict
        elif self._run.status == dg.DagsterRunStatus.SUCCESS:
            yield self._verdict(self._label, RUN, self._span, True, "the run succeeded", self._ended_at)

    def _evaluations(self) -> Iterator[Verdict]:
        for event, at in self._events.get(_Type.ASSET_CHECK_EVALUATION, ()):
            found = event.asset_check_evaluation_data
            yield Verdict(
                asset=found.asset_key.to_user_string(),
                name=found.check_name,
                partition=found.partition or "",
                passed=found.passed,
                severity="WARN" if found.severity == dg.AssetCheckSeverity.WARN else "ERROR",
                words=found.description or ("passed" if found.passed else "failed, and said nothing"),
                run_id=self._run.run_id,
                backfill_id=self._backfill,
                judged_at=at,
            )

    def _materializations(self) -> Iterator[Verdict]:
        for event, at in self._events.get(_Type.ASSET_MATERIALIZATION, ()):
            if event.asset_key is not None:
                asset = event.asset_key.to_user_string()
                yield self._verdict(asset, MATERIALIZE, event.partition or "", True, "it was built", at)

    def _failures(self) -> Iterator[Verdict]:
        """What was to be done in the steps that failed; where none did, in those that never ended; where the run died
        between two steps or before the first, all that it had before it. Assets behind a failed step have none."""
        failed_steps = self._events.get(_Type.STEP_FAILURE, [])
        for event, at in failed_steps:
            error = event.step_failure_data.error
            if _root_cause(error)[0] in _INTERRUPTIONS:
                continue
            told = event.step_failure_data.user_failure_data
            words = told.description if told is not None and told.description else ": ".join(_root_cause(error))
            named = told.metadata.get(FAILED_DAYS) if told is not None else None
            days = named.value if named is not None and isinstance(named.value, list) else None
            undone = list(self._planned_in({event.step_key or ""}, words, at, days))
            yield from undone or [self._verdict(self._label, RUN, self._span, False, words, at)]
        if failed_steps:
            return
        end = self._events.get(_Type.RUN_FAILURE, [])
        error = getattr(end[-1][0].event_specific_data, "error", None) if end else None
        if _root_cause(error)[0] in _INTERRUPTIONS:
            return
        said = ": ".join(_root_cause(error)) if error else (end and end[-1][0].message) or "nobody knows why"
        begun, done = self._steps(_Type.STEP_START), self._steps(_Type.STEP_SUCCESS)
        words = f"the run ended early: {said}"
        undone = list(self._planned_in(begun - done or None, words, self._ended_at))
        yield from undone or [self._verdict(self._label, RUN, self._span, False, words, self._ended_at)]

    def _planned_in(
        self, steps: Collection[str] | None, words: str, at: datetime, days: Sequence[Any] | None = None
    ) -> Iterator[Verdict]:
        """A failing verdict for all that was planned in these steps (None: in any); of daily assets for `days`, else
        for the days of the run."""
        assets, checks = dict[str, None](), dict[tuple[str, str, bool], None]()
        for event, _ in self._events.get(_Type.ASSET_MATERIALIZATION_PLANNED, ()):
            if _belongs(event.step_key, steps):
                assets[event.asset_materialization_planned_data.asset_key.to_user_string()] = None
        for event, _ in self._events.get(_Type.ASSET_CHECK_EVALUATION_PLANNED, ()):
            if _belongs(event.step_key, steps):
                planned = event.asset_check_planned_data
                by_day = planned.partitions_subset is not None
                checks[planned.asset_key.to_user_string(), planned.check_name, by_day] = None
        for asset in assets:
            for day in (self._days if days is None else map(str, days)) if asset in self._daily else [""]:
                yield self._verdict(asset, MATERIALIZE, day, False, words, at)
        if steps is None and assets:
            return  # the checks follow when there is something to check
        for asset, name, by_day in checks:
            for day in self._days if by_day else [""]:
                yield self._verdict(asset, name, day, False, f"could not be evaluated: {words}", at)

    def _steps(self, kind: dg.DagsterEventType) -> set[str]:
        return {event.step_key or "" for event, _ in self._events.get(kind, ())}

    def _verdict(self, asset: str, name: str, partition: str, passed: bool, words: str, at: datetime) -> Verdict:
        return Verdict(asset, name, partition, passed, "ERROR", words, self._run.run_id, self._backfill, at)

    @property
    def _backfill(self) -> str | None:
        return self._run.tags.get("dagster/backfill")

    @property
    def _label(self) -> str:
        """The job and, where only a part of it ran, which."""
        selected = sorted(key.to_user_string() for key in self._run.asset_selection or ())
        return f"{self._run.job_name} ({', '.join(selected)})" if selected else self._run.job_name

    @property
    def _span(self) -> str:
        return " to ".join(dict.fromkeys([self._days[0], self._days[-1]]))


def _days(tags: Any) -> list[str]:
    """The days of a run, by its tags; one without a name where it has none."""
    first, last = (tags.get(f"dagster/asset_partition_range_{end}") for end in ("start", "end"))
    if first is None or last is None:
        return [tags.get("dagster/partition") or ""]
    begin, end = date.fromisoformat(first), date.fromisoformat(last)
    return [(begin + timedelta(days=number)).isoformat() for number in range((end - begin).days + 1)]


def _belongs(step: str | None, steps: Collection[str] | None) -> bool:
    """Whether what is planned in a step is lost with one of `steps`. What a graph makes is planned in its last step."""
    return steps is None or _node(step) in {_node(other) for other in steps}


def _node(step: str | None) -> str:
    return (step or "").partition(".")[0].partition("[")[0]


def _root_cause(error: Any) -> tuple[str, str]:
    """The name and the first line of the error that all others came from; both empty where there is none."""
    if error is None:
        return "", ""
    while error.cause is not None:
        error = error.cause
    message = error.message.partition(": ")[2].strip() or error.message.strip()
    return error.cls_name or "error", message.partition("\n")[0]
