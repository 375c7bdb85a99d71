"""The daily schedule and the sensor behind it: which days follow an ingestion, and that commands are left alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from cowrie_assets.automation import COMMAND_TAG
from cowrie_assets.cli.launch import Outcome
from cowrie_assets.definitions import build_definitions
from cowrie_assets.settings import Settings
from cowrie_assets_tests.conftest import Server
from cowrie_assets_tests.loglines import event, write_log
from cowrie_assets_tests.pipelines import run_live


@pytest.fixture
def ingested(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, embedded_server: Server
) -> Iterator[tuple[dg.Definitions, dg.DagsterInstance]]:
    """Definitions over logs of three days with a gap, after the job `ingest` and nothing else."""
    url = embedded_server.new_database(migrated=False)
    logs = tmp_path / "logs"
    write_log(logs / "a", [event("aa11"), event("bb22", 86400), event("cc33", 5 * 86400)])
    monkeypatch.setenv("COWRIE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COWRIE_DATABASE_URL", url)
    monkeypatch.setenv("COWRIE_MODE", "live")
    Settings.from_environment().remember_log_folders((logs,))
    with dg.DagsterInstance.ephemeral() as instance:
        definitions = build_definitions()
        assert definitions.resolve_job_def("ingest").execute_in_process(instance=instance).success
        yield build_definitions(), instance


def requests(definitions: dg.Definitions, instance: dg.DagsterInstance, tags: dict[str, str] | None = None) -> Any:
    sensor = definitions.resolve_sensor_def("after_ingest")
    run = instance.get_runs()[0]
    if tags:
        run = run.with_tags({**run.tags, **tags})
    built = dg.build_run_status_sensor_context(
        sensor_name="after_ingest",
        dagster_event=instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_SUCCESS)[0].get_dagster_event(),
        dagster_instance=instance,
        dagster_run=run,
        resources=definitions.resources,
    )
    with built as context:
        evaluated: Any = sensor(context)
        return list(evaluated)


def test_the_days_that_can_change_follow_an_ingestion(
    ingested: tuple[dg.Definitions, dg.DagsterInstance],
) -> None:
    definitions, instance = ingested
    asked = requests(definitions, instance)
    assert [sorted(request.tags.values()) for request in asked] == [["2025-03-01", "2025-03-02"], ["2025-03-06"]]
    assert len({request.run_key for request in asked}) == 2
    # What is asked for can be run, and leaves nothing to do but today's refresh.
    for request in asked:
        job = definitions.resolve_job_def("daily")
        assert job.execute_in_process(instance=instance, tags=dict(request.tags)).success
    again = requests(definitions, instance)
    assert [dict(request.tags) for request in again] == [{"dagster/partition": f"{datetime.now(UTC):%Y-%m-%d}"}]


def test_a_command_runs_the_rest_itself(ingested: tuple[dg.Definitions, dg.DagsterInstance]) -> None:
    definitions, instance = ingested
    (skip,) = requests(definitions, instance, {COMMAND_TAG: "1 1"})
    assert isinstance(skip, dg.SkipReason)


def test_the_schedule_runs_daily_in_utc(tmp_path: Path) -> None:
    schedule = build_definitions(settings=Settings(home=tmp_path)).resolve_schedule_def("every_day")
    assert (schedule.cron_schedule, schedule.execution_timezone, schedule.job_name) == ("20 0 * * *", "UTC", "ingest")


def test_a_run_on_the_command_line_tags_its_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, embedded_server: Server
) -> None:
    write_log(tmp_path / "logs" / "a", [event("aa11")])
    outcome: Outcome = run_live(
        monkeypatch, tmp_path / "home", tmp_path / "logs", url=embedded_server.new_database(migrated=False)
    )
    assert outcome.exit_code == 0
    with dg.DagsterInstance.get() as instance:
        assert all(COMMAND_TAG in run.tags for run in instance.get_runs())
