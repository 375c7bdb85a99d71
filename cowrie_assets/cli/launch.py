"""Running the Dagster job from the command line, phase by phase, and serving its UI.

Lives here: Dagster's home, runs in this process with their progress, the UI's process. Not here: printing results
(`show`), what the assets do.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
from psycopg import conninfo
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from cowrie_assets import automation
from cowrie_assets.assets.ingestion import NothingToLoad, partition_days
from cowrie_assets.assets.questions import QUESTIONS
from cowrie_assets.assets.reconstruction import days_due
from cowrie_assets.cli import Interrupted
from cowrie_assets.definitions import build_definitions
from cowrie_assets.lookup.configured import configured_services, max_time
from cowrie_assets.partitions import ranges
from cowrie_assets.progress import Status, read_statuses
from cowrie_assets.report.escaping import visible
from cowrie_assets.settings import Settings, SettingsError
from cowrie_assets.warehouse.database import Database

_SECONDS_OF_SILENCE = 30.0
_EDITED_MARK = "# as shipped: "
_INTERRUPTIONS = frozenset({"KeyboardInterrupt", "SystemExit", "DagsterExecutionInterruptedError"})


@dataclass
class Outcome:
    """What a pipeline run came to. `checks` has the newest evaluation of each (asset, check, partition)."""

    settings: Settings
    database: Database
    failed_steps: list[str] = field(default_factory=list)
    checks: dict[tuple[str, str, str | None], dg.AssetCheckEvaluation] = field(default_factory=dict)
    ingested: Mapping[str, Any] = field(default_factory=dict)
    days: int = 0
    minimum_sessions: int = 1

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
        new_runner().run(automation.INGEST_JOB, automation.INGEST)
        # The first day may have moved: definitions are cheap, and the partitions follow from the state folder.
        runner = new_runner()
        runner.run_days(automation.SESSIONS)
        runner.run(automation.DAILY_JOB, automation.INVENTORY)
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
        _end_dead_runs(instance)
        stack.enter_context(_display(console, outcome.settings))
        yield lambda: Runner(outcome.settings, instance, outcome, verbose)


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
        if self._outcome.failed_steps:
            return
        with self._outcome.database.connect() as connection:
            days = partition_days(days_due(connection, assets[0]), self._settings.start_date)
        self._outcome.days = max(self._outcome.days, len(days))
        for first, last in ranges(days):
            self.run(automation.DAILY_JOB, assets, tags=automation.range_tags(first, last))

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
            self.run(automation.DAILY_JOB, assets, config, automation.range_tags(first, last))

    def conclude(self) -> None:
        """Bring snapshots, view, queries and report up to date, and collect what the checks say."""
        self.run_days(automation.SNAPSHOTS)
        self.run(automation.DAILY_JOB, automation.ANSWERS, _query_config(self._outcome.minimum_sessions))
        for key, evaluation in _stored_checks(self.definitions, self._instance):
            self._outcome.checks.setdefault(key, evaluation)

    def run(
        self,
        job: str,
        assets: Iterable[str],
        config: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        if self._outcome.failed_steps:
            return
        result = self.definitions.resolve_job_def(job).execute_in_process(
            asset_selection=[dg.AssetKey(name) for name in assets],
            instance=self._instance,
            run_config={"ops": config or {}, "loggers": {"console": {"config": {"log_level": self._level}}}},
            tags={automation.COMMAND_TAG: _this_process(), **(tags or {})},
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


def prepare_dagster_home(settings: Settings) -> Path:
    """Dagster's home below the state folder, with the shipped dagster.yaml unless the operator edited it there."""
    home = settings.state.dagster
    home.mkdir(parents=True, exist_ok=True)
    os.environ["DAGSTER_HOME"] = str(home)
    # Resources that run elsewhere (the UI's code server) read the same settings.
    os.environ["COWRIE_HOME"] = str(settings.home.parent if settings.mode == "sandbox" else settings.home)
    os.environ["COWRIE_MODE"] = settings.mode
    shipped = _shipped("dagster.yaml").read_text(encoding="utf-8")
    target = home / "dagster.yaml"
    if not target.exists() or _is_as_shipped(target.read_text(encoding="utf-8")):
        text = f"{_EDITED_MARK}{sha256(shipped.encode()).hexdigest()}\n{shipped}"
        settings.state.write(target, text)
    return home


def serve_ui(settings: Settings, console: Console, port: int) -> int:
    """Run `dagster dev` on 127.0.0.1 until it ends; the embedded database stays up for as long."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise SettingsError(
                f"port {port} is in use: is the UI open already? Else name another one: --port"
            ) from None
    prepare_dagster_home(settings)
    database = Database(settings.home, settings.mode, settings.database_url)
    command = [sys.executable, "-m", "dagster", "dev", "-h", "127.0.0.1", "-p", str(port)]
    # Started in the background of a script we inherit "ignore Ctrl-C", and Dagster, which ends on SIGTERM as on Ctrl-C,
    # would ignore both: such a UI could only be killed.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with database.hold():
        console.print(f"Dagster UI: http://127.0.0.1:{port} (Ctrl-C ends it)", markup=False)
        process = subprocess.Popen([*command, "-w", str(_shipped("workspace.yaml"))])
        try:
            return process.wait()
        except KeyboardInterrupt:  # it reached Dagster as well, which is ending
            return process.wait()
        finally:
            if process.poll() is None:  # SIGTERM reached only us
                process.terminate()
                process.wait()


def open_psql(database: Database, arguments: list[str]) -> int:
    """psql on the warehouse: the one that the embedded server brings, also for an external database."""
    from cowrie_assets.warehouse.embedded import EmbeddedServer

    with database.hold():
        binary = EmbeddedServer(Path("/")).binary("psql")
        address = conninfo.conninfo_to_dict(database.url)
        # A password in an argument is seen by everyone who lists processes.
        password = {"PGPASSWORD": str(address.pop("password"))} if address.get("password") else {}
        environment = {**os.environ, "PGTZ": "UTC", **password}
        process = subprocess.Popen(
            [str(binary), "-d", conninfo.make_conninfo("", **address), *arguments], env=environment
        )
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:  # psql's own: it cancels a query
                continue


def _shipped(name: str) -> Path:
    """A file of the project's top folder: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).parents[1]
    return package.parent / name if (package.parent / name).exists() else package / name


def _is_as_shipped(text: str) -> bool:
    first, _, rest = text.partition("\n")
    return first == _EDITED_MARK + sha256(rest.encode()).hexdigest()


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


def _this_process() -> str:
    return f"{os.getpid()} {psutil.Process().create_time():.2f}"


def _end_dead_runs(instance: dg.DagsterInstance) -> None:
    """Runs of a command that was killed hold their place in the pool for ever, unless somebody ends them."""
    unfinished = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.NOT_STARTED]
    for run in instance.get_runs(dg.RunsFilter(statuses=unfinished)):
        tag = run.tags.get(automation.COMMAND_TAG)
        if tag is None or _is_alive(tag):
            continue
        instance.report_run_failed(run, "its process is gone: run it again, it goes on where it was")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def _is_alive(tag: str) -> bool:
    pid, _, started = tag.partition(" ")
    try:
        process = psutil.Process(int(pid))
        return f"{process.create_time():.2f}" == started and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


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
