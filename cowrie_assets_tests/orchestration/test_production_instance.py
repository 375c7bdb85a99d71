"""The production instance on a real PostgreSQL: `docker/dagster.yaml` as it is, with the commands of `compose.yaml`.

Proved here, without Docker: database, password, queue, limits and retries; days and a range of days; a run that the web
server takes, the queue starts and the code server executes; the viewer; runs that a code server left behind. Not here:
what can be read from the files alone (`unit/test_docker.py`).
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import dagster as dg
import httpx
import psycopg
import pytest
from dagster_postgres import PostgresEventLogStorage, PostgresRunStorage, PostgresScheduleStorage

from cowrie_assets.automation import jobs
from cowrie_assets.definitions import build_definitions
from cowrie_assets.warehouse.database import Database
from cowrie_assets.warehouse.embedded import EmbeddedServer
from cowrie_assets_tests.loglines import event, write_log
from cowrie_assets_tests.production import DOCKER, PASSWORD, Production, prepare_databases, production_instance

LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) { __typename ... on LaunchRunSuccess { run { runId } } }
}
"""
INGEST = {
    "selector": {
        "repositoryLocationName": "cowrie_assets.definitions",
        "repositoryName": "__repository__",
        "jobName": jobs.INGEST_JOB,
    },
    "runConfigData": {},
}


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    with production_instance(tmp_path_factory.mktemp("production")) as ready:
        events = [event(f"{day}aa{day}", day * 86400) for day in range(4)]
        write_log(ready.folder / "logs/harbour/cowrie.json", events)
        assert ready.run("true").returncode == 0
        yield ready


@pytest.fixture
def instance(production: Production, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """The instance as any of its processes opens it."""
    for name, value in production.environment.items():
        if name not in ("PATH", "HOME"):
            monkeypatch.setenv(name, value)
    with dg.DagsterInstance.get() as opened:
        yield opened


def sessions_by_day(production: Production) -> dict[str, int]:
    with Database(production.folder, "live", production.environment["COWRIE_DATABASE_URL"]).connect() as connection:
        found = connection.execute("SELECT first_event_at::date::text, count(*) FROM session_summaries GROUP BY 1")
        return dict(found.fetchall())


def wait_until(true: Callable[[], bool], seconds: float, told: Callable[[], str]) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, told()
        time.sleep(0.2)


def test_the_instance_is_what_the_file_says(instance: dg.DagsterInstance, production: Production) -> None:
    events = instance.event_log_storage
    assert isinstance(events, PostgresEventLogStorage)
    assert events.postgres_url == production.environment["DAGSTER_POSTGRES_URL"]
    assert isinstance(instance.run_storage, PostgresRunStorage)
    assert isinstance(instance.schedule_storage, PostgresScheduleStorage)
    assert isinstance(instance.run_coordinator, dg.QueuedRunCoordinator)
    assert isinstance(instance.run_launcher, dg.DefaultRunLauncher)
    limits = instance.get_concurrency_config()
    assert limits.run_queue_config is not None
    assert limits.run_queue_config.max_concurrent_runs == 3
    assert limits.run_queue_config.tag_concurrency_limits == [{"key": "dagster/backfill", "limit": 2}]
    assert limits.pool_config.default_pool_limit == 1
    assert limits.pool_config.pool_granularity is not None
    assert limits.pool_config.pool_granularity.value == "op"
    assert instance.run_retries_enabled
    assert (instance.run_retries_max_retries, instance.run_retries_retry_on_asset_or_op_failure) == (2, False)
    assert instance.run_monitoring_enabled
    assert (instance.run_monitoring_start_timeout_seconds, instance.run_monitoring_cancel_timeout_seconds) == (180, 60)
    assert not instance.telemetry_enabled
    # Artifacts and what runs print lie on the volume.
    home = Path(production.environment["COWRIE_HOME"])
    assert home in Path(instance.root_directory).parents
    assert home in Path(instance.storage_directory()).parents


def test_the_role_has_its_two_databases_and_nothing_else(production: Production) -> None:
    with psycopg.connect(production.server.url("postgres")) as connection:
        role = connection.execute(
            "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication FROM pg_roles WHERE rolname = 'cowrie'"
        ).fetchone()
        owned = connection.execute(
            "SELECT datname, datcollate FROM pg_database WHERE datdba = 'cowrie'::regrole ORDER BY 1"
        ).fetchall()
    assert role == (False, False, False, False)
    assert owned == [("cowrie", "C.UTF-8"), ("dagster", "C.UTF-8")]


def test_without_the_password_file_nobody_gets_in(
    instance: dg.DagsterInstance, production: Production, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = production.environment["COWRIE_DATABASE_URL"]
    psycopg.connect(url).close()
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(url)


def test_a_day_and_a_range_of_days_run_on_it(instance: dg.DagsterInstance, production: Production) -> None:
    assert build_definitions().resolve_job_def(jobs.INGEST_JOB).execute_in_process(instance=instance).success
    daily = build_definitions().resolve_job_def(jobs.DAILY_JOB)
    day = jobs.range_tags(date(2025, 3, 1), date(2025, 3, 1))
    sessions = [dg.AssetKey("sessions")]
    assert daily.execute_in_process(instance=instance, tags=day, asset_selection=sessions).success
    days = jobs.range_tags(date(2025, 3, 2), date(2025, 3, 4))
    several = [dg.AssetKey(name) for name in (*jobs.SESSIONS, *jobs.INVENTORY, *jobs.SNAPSHOTS, "session_summaries")]
    assert daily.execute_in_process(instance=instance, tags=days, asset_selection=several).success
    assert sessions_by_day(production) == {f"2025-03-0{day}": 1 for day in range(1, 5)}
    stored = instance.get_materialized_partitions(dg.AssetKey("sessions"))
    assert stored == {f"2025-03-0{day}" for day in range(1, 5)}
    assert "one_writer" in instance.event_log_storage.get_concurrency_keys()


@dataclass
class Services:
    """Code server, web server, viewer and daemon, all healthy."""

    production: Production

    def graphql(self, service: str, query: str, variables: dict[str, Any] | None = None) -> Any:
        url = f"http://127.0.0.1:{self.production.ports[service]}/graphql"
        return httpx.post(url, json={"query": query, "variables": variables}, timeout=60).json()["data"]

    def launch(self) -> str:
        launched = self.graphql("webserver", LAUNCH, {"params": INGEST})["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess"
        return str(launched["run"]["runId"])

    def wait_for(self, run_id: str, *statuses: str) -> str:
        query = f'{{ runOrError(runId: "{run_id}") {{ ... on Run {{ status }} }} }}'
        found = ""

        def arrived() -> bool:
            nonlocal found
            found = str(self.graphql("webserver", query)["runOrError"]["status"])
            return found in statuses

        wait_until(arrived, 60, lambda: self.production.log("daemon") + self.production.log("code"))
        return found


@pytest.fixture(scope="module")
def services(production: Production) -> Iterator[Services]:
    # In the order of `depends_on`.
    for group in (("code",), ("webserver", "viewer", "daemon")):
        for service in group:
            production.start(service)
        for service in group:
            wait_until(partial(production.healthy, service), 60, partial(production.log, service))
    yield Services(production)
    production.end()


def test_a_run_goes_from_the_web_server_through_the_queue_to_the_code_server(
    services: Services, production: Production
) -> None:
    run_id = services.launch()
    assert services.wait_for(run_id, "SUCCESS", "FAILURE", "CANCELED") == "SUCCESS", production.log("code")
    for service in ("code", "webserver", "viewer", "daemon"):
        assert PASSWORD not in production.log(service)


def test_the_viewer_shows_and_takes_no_order(services: Services) -> None:
    assert services.graphql("viewer", "{ runsOrError { __typename } }")["runsOrError"]["__typename"] == "Runs"
    assert services.graphql("viewer", LAUNCH, {"params": INGEST})["launchRun"]["__typename"] == "UnauthorizedError"


def test_a_run_whose_code_server_was_killed_is_ended_to_be_tried_again(
    services: Services, production: Production, instance: dg.DagsterInstance
) -> None:
    ending = end_dead_runs()
    of_a_command = instance.create_run_for_job(build_definitions().resolve_job_def(jobs.INGEST_JOB))
    begun = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job_name=jobs.INGEST_JOB)
    instance.report_dagster_event(begun, run_id=of_a_command.run_id)
    with psycopg.connect(production.server.url("cowrie")) as holder:
        holder.execute("LOCK TABLE log_files, event_chunks IN ACCESS EXCLUSIVE MODE")  # it waits there
        run_id = services.launch()
        services.wait_for(run_id, "STARTED")
        production.kill("code")
        production.kill("daemon")  # it would start the second try
    # Dagster itself takes it for running; so is, maybe, what followed from the run before.
    dead = ending.dead_runs(instance)
    assert run_id in dead
    ending.end_runs(instance, dead)
    run = instance.get_run_by_id(run_id)
    assert run is not None
    assert (run.status, run.tags["dagster/will_retry"]) == (dg.DagsterRunStatus.FAILURE, "true")
    assert ending.dead_runs(instance) == []
    untouched = instance.get_run_by_id(of_a_command.run_id)
    assert untouched is not None
    assert untouched.status == dg.DagsterRunStatus.STARTED, "a command's run is not the code server's"


def end_dead_runs() -> ModuleType:
    """The script of the image as a module."""
    spec = importlib.util.spec_from_file_location("end_dead_runs", DOCKER / "end_dead_runs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_databases_are_not_made_with_an_empty_password(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "cowrie_password").write_text("")
    server = EmbeddedServer(tmp_path / "server")
    with server.hold():
        told = prepare_databases(server, secrets)
        assert told.returncode != 0
        assert "cowrie_password is empty or cannot be read" in told.stderr
        with psycopg.connect(server.url("postgres")) as connection:
            assert connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'cowrie'").fetchone() is None
