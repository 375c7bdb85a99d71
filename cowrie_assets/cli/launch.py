"""Running the Dagster job from the command line, phase by phase.

Lives here: runs in this process, with their progress. Not here: Dagster's home (`instance`), the UI (`serve`), printing
results (`show`), what the assets do.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from cowrie_assets.alerts.sensor import Told, tell
from cowrie_assets.assets.daily import FAILED_DAYS
from cowrie_assets.assets.ingestion import NothingToLoad, partition_days
from cowrie_assets.assets.questions import QUESTIONS
from cowrie_assets.assets.reconstruction import days_due
from cowrie_assets.automation import jobs
from cowrie_assets.cli.frame import Interrupted
from cowrie_assets.cli.instance import end_dead_runs, prepare_dagster_home
from cowrie_assets.definitions import build_definitions
from cowrie_assets.lookup.configured import configured_services, max_time
from cowrie_assets.partitions import ranges
from cowrie_assets.progress import Status, read_statuses
from cowrie_assets.report.escaping import visible
from cowrie_assets.settings import Settings
from cowrie_assets.warehouse.database import Database, WarehouseError

_SECONDS_OF_SILENCE = 30.0
_INTERRUPTIONS = frozenset({"KeyboardInterrupt", "SystemExit", "DagsterExecutionInterruptedError"})


@dataclass
class Outcome:
    """What a pipeline run came to. `checks` has the newest evaluation of each (asset, check, partition). A failed step
    ends the pipeline (`stopped`), unless it only names days that failed: those behind them go on."""

    settings: Settings
    database: Database
    failed_steps: list[str] = field(default_factory=list)
    stopped: bool = False
    checks: dict[tuple[str, str, str | None], dg.AssetCheckEvaluation] = field(default_factory=dict)
    ingested: Mapping[str, Any] = field(default_factory=dict)
    days: int = 0
    minimum_sessions: int = 1
    told: Told | None = None

    @property
    def exit_code(self) -> int:
        errors = (check for check in self.checks.values() if not check.passed)
        failed = any(check.severity == dg.AssetCheckSeverity.ERROR for check in errors)
        return 1 if self.failed_steps or failed else 0


def run_pipeline(settings: Settings, console: Console, *, minimum_sessions: int, verbose: bool = False) -> Outcome:
    """Ingest, then bring every day that is due and every answer up to date. Each phase is a Dagster run.

    Raises:
        NothingToLoad, WarehouseError, GeoFileError: the reason why nothing could be done, in words.
        Interrupted: Ctrl-C.
    """
    outcome = Outcome(settings, open_database(settings), minimum_sessions=minimum_sessions)
    with interruptible(), runners(outcome, console, verbose) as new_runner:
        new_runner().run(jobs.INGEST_JOB, jobs.INGEST)
        # The first day may have moved: definitions are cheap, and the partitions follow from the state folder.
        runner = new_runner()
        runner.run_days(jobs.SESSIONS)
        runner.run(jobs.DAILY_JOB, jobs.INVENTORY)
        runner.enrich()
        runner.conclude()
    return outcome


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C within ends the command, in words."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted from None


def open_database(settings: Settings) -> Database:
    return Database(settings.home, settings.mode, settings.database_url)


@contextmanager
def runners(outcome: Outcome, console: Console, verbose: bool) -> Iterator[Callable[[], Runner]]:
    """Dagster at work on the warehouse, with the progress on the console; each runner knows the days of its making."""
    prepare_dagster_home(outcome.settings)
    with ExitStack() as stack:
        stack.enter_context(outcome.database.hold())
        instance = stack.enter_context(dg.DagsterInstance.get())
        end_dead_runs(instance)
        try:
            with _display(console, outcome.settings):
                yield lambda: Runner(outcome.settings, instance, outcome, verbose)
        finally:
            # Also where nothing could be loaded: that is what somebody wants to be told of.
            if not isinstance(sys.exception(), KeyboardInterrupt):
                with suppress(WarehouseError), outcome.database.connect() as connection:
                    outcome.told = tell(instance, outcome.settings, connection)


class Runner:
    """Runs parts of the jobs in this process, on the same instance that the UI shows."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance, outcome: Outcome, verbose: bool) -> None:
        self._settings = settings
        self._instance = instance
        self._outcome = outcome
        self._level = "INFO" if verbose else "CRITICAL"
        self.definitions = build_definitions(settings=settings)

    def run_days(self, assets: tuple[str, ...]) -> None:
        """Run a daily asset over all its due days, in as few runs as their gaps allow."""
        if self._outcome.stopped:
            return
        with self._outcome.database.connect() as connection:
            days = partition_days(days_due(connection, assets[0]), self._settings.start_date)
        self._outcome.days = max(self._outcome.days, len(days))
        for first, last in ranges(days):
            self.run(jobs.DAILY_JOB, assets, tags=jobs.range_tags(first, last))

    def enrich(self) -> None:
        """Ask the services about all days that can gain by it, the newest stretch first. In each stretch they share the
        time that is left, so that no service goes without because another is slow."""
        configured = {
            name: service.not_configured is None for name, service in configured_services(self._settings).items()
        }
        ends_at = time.monotonic() + max_time(self._settings)
        with self._outcome.database.connect() as connection:
            due = {
                asset: partition_days(
                    question.due(connection, can_ask=configured[question.service]), self._settings.start_date
                )
                for asset, question in QUESTIONS.items()
            }
        for first, last in reversed(ranges(set().union(*due.values()))):
            assets = [asset for asset, days in due.items() if any(first <= day <= last for day in days)]
            asked = sum(configured[QUESTIONS[asset].service] for asset in assets)
            share = max(0.0, ends_at - time.monotonic()) / max(1, asked)
            config = {asset: {"config": {"max_time": share}} for asset in assets}
            self.run(jobs.DAILY_JOB, assets, config, jobs.range_tags(first, last))

    def conclude(self) -> None:
        """Bring snapshots, view, queries and report up to date, and collect what the checks say."""
        self.run_days(jobs.SNAPSHOTS)
        self.run(jobs.DAILY_JOB, jobs.ANSWERS, _query_config(self._outcome.minimum_sessions))
        self.collect_checks()

    def collect_checks(self) -> None:
        """What the checks said last, also of days that no run was about."""
        for key, evaluation in _stored_checks(self.definitions, self._instance):
            self._outcome.checks.setdefault(key, evaluation)

    def run(
        self,
        job: str,
        assets: Iterable[str],
        config: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        if self._outcome.stopped:
            return
        result = self.definitions.resolve_job_def(job).execute_in_process(
            asset_selection=[dg.AssetKey(name) for name in assets],
            instance=self._instance,
            run_config={"ops": config or {}, "loggers": {"console": {"config": {"log_level": self._level}}}},
            tags={**jobs.this_process(), **(tags or {})},
            raise_on_error=False,
        )
        for evaluation in result.get_asset_check_evaluations():
            self._outcome.checks[_check_key(evaluation)] = evaluation
        for event in result.all_events:
            if event.is_step_materialization and event.asset_key == dg.AssetKey("events"):
                metadata = event.step_materialization_data.materialization.metadata
                self._outcome.ingested = {key: value.value for key, value in metadata.items()}
            if event.is_step_failure and event.step_key is not None:
                self._fail(event)

    def _fail(self, event: dg.DagsterEvent) -> None:
        said = event.step_failure_data.user_failure_data
        if said is not None and FAILED_DAYS in said.metadata:
            self._outcome.failed_steps.append(said.description or f"{event.step_key}: some days failed")
            return
        self._outcome.stopped = True
        error = event.step_failure_data.error
        while error is not None and error.cause is not None:
            error = error.cause
        kind, message = (error.cls_name, error.message) if error is not None else ("", "")
        message = message.partition(": ")[2].strip() or message.strip()
        if kind in _INTERRUPTIONS:  # Dagster takes Ctrl-C for a failed step
            raise KeyboardInterrupt
        if kind == NothingToLoad.__name__:
            raise NothingToLoad(message)
        self._outcome.failed_steps.append(f"{event.step_key}: {kind}: {message}")


def _query_config(minimum_sessions: int) -> dict[str, Any]:
    queries = ("geographic_distribution", "asn_infrastructure")
    return {name: {"config": {"minimum_sessions": minimum_sessions}} for name in queries}


def _check_key(evaluation: dg.AssetCheckEvaluation) -> tuple[str, str, str | None]:
    return evaluation.asset_key.to_user_string(), evaluation.check_name, evaluation.partition


def _stored_checks(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> Iterator[tuple[tuple[str, str, str | None], dg.AssetCheckEvaluation]]:
    """Evaluations of earlier runs, newest first: days that are not due keep the state they have."""
    for checks in definitions.asset_checks or ():
        for key in checks.check_keys:
            for record in instance.event_log_storage.get_asset_check_execution_history(key, limit=10_000):
                evaluation = record.evaluation
                if isinstance(evaluation, dg.AssetCheckEvaluation):  # else it was planned, and never came to it
                    yield _check_key(evaluation), evaluation


@contextmanager
def _display(console: Console, settings: Settings) -> Iterator[None]:
    """Show the phases' status files as they change; where there is no terminal, a line when a phase ends."""
    for path in settings.state.status.glob("*.json") if settings.state.status.exists() else ():
        path.unlink(missing_ok=True)
    ended = threading.Event()
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, TextColumn("{task.fields[note]}", markup=False), console=console, transient=True) as bars:
        follow = _draw if console.is_terminal else _tell
        thread = threading.Thread(target=follow, args=(bars, settings, ended), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _tell(bars: Progress, settings: Settings, ended: threading.Event) -> None:
    """A line when a phase ends, and now and then one of a phase that takes long."""
    told: list[Status] = []
    last, spoken_at = False, time.monotonic()
    while not last:
        last = ended.wait(0.2)  # what ended since the look before is told, too
        statuses = read_statuses(settings.state.status)
        for status in statuses:
            if status.finished and status not in told:
                told.append(status)
                spoken_at = time.monotonic()
                bars.console.print(f"{status.phase}: {status.done:,} {status.unit} done", markup=False)
        if time.monotonic() - spoken_at >= _SECONDS_OF_SILENCE and statuses and not statuses[-1].finished:
            spoken_at = time.monotonic()
            now = statuses[-1]
            of = f" of {now.total:,}" if now.total is not None else ""
            note = f"; {visible(now.note)}" if now.note else ""
            bars.console.print(f"{now.phase}: {now.done:,}{of} {now.unit}{note}", markup=False, soft_wrap=True)


def _draw(bars: Progress, settings: Settings, ended: threading.Event) -> None:
    tasks: dict[str, Any] = {}
    while not ended.wait(0.2):
        for status in read_statuses(settings.state.status):
            if status.phase not in tasks:
                tasks[status.phase] = bars.add_task(f"{status.phase} ({status.unit})", total=status.total, note="")
            total = status.done if status.finished and status.total is None else status.total
            bars.update(tasks[status.phase], completed=status.done, total=total, note=status.note[:60])
