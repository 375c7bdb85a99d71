"""What runs by itself: new logs are noticed, exactly the days that follow are asked for, each change once, and nothing
while something runs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from cowrie_assets.automation.jobs import COMMAND_TAG, range_tags, this_process
from cowrie_assets.cli.launch import Outcome
from cowrie_assets.definitions import build_definitions
from cowrie_assets.settings import Settings
from cowrie_assets.warehouse.database import open_connection
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets_tests.conftest import Server
from cowrie_assets_tests.loglines import event, write_log
from cowrie_assets_tests.pipelines import run_live

YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)
Request = tuple[tuple[str, ...], tuple[str, ...]]  # days, assets (none: all of the job)


class World:
    """Definitions, an instance and logs of three days with a gap; ticks of sensors, and the runs that they ask for."""

    def __init__(self, logs: Path, instance: dg.DagsterInstance, connection: Connection) -> None:
        self.logs = logs
        self.instance = instance
        self.connection = connection
        self.cursor: str | None = None

    def ingest(self, tags: Mapping[str, str] | None = None) -> None:
        job = build_definitions().resolve_job_def("ingest")
        assert job.execute_in_process(instance=self.instance, tags=dict(tags or {})).success

    def tick(self, name: str = "due_days") -> list[dg.RunRequest] | str:
        """What a sensor asks for, or why it asks for nothing."""
        definitions = build_definitions()
        sensor = definitions.resolve_sensor_def(name)
        context = dg.build_sensor_context(
            self.instance, self.cursor, resources=definitions.resources, sensor_name=name, definitions=definitions
        )
        with context as opened:
            data = sensor.evaluate_tick(opened)
        if name == "due_days":
            self.cursor = data.cursor
        return list(data.run_requests or []) or str(data.skip_message)

    def keys(self, name: str) -> list[str | None]:
        requests = self.tick(name)
        assert not isinstance(requests, str)
        return [request.run_key for request in requests]

    def run(self, requests: list[dg.RunRequest] | str) -> None:
        assert not isinstance(requests, str)
        for request in requests:
            result = _job(request).execute_in_process(
                instance=self.instance,
                asset_selection=list(request.asset_selection) if request.asset_selection else None,
                run_config=dict(request.run_config or {}),
                tags={
                    **request.tags,
                    "dagster/run_key": str(request.run_key),
                    "dagster/sensor_name": "due_days",
                },
                raise_on_error=False,
            )
            assert result.success or "sessions" in {event.step_key for event in result.all_events if event.is_failure}

    def follow(self) -> list[list[Request]]:
        """Tick after tick until nothing is asked for; the requests of each."""
        asked = []
        while not isinstance(requests := self.tick(), str):
            asked.append([of(request) for request in requests])
            assert len(asked) < 10
            self.run(requests)
        return asked


def of(request: dg.RunRequest) -> Request:
    tags = [value for key, value in sorted(request.tags.items(), reverse=True) if "partition" in key]
    names = [key.to_user_string() for key in request.asset_selection or ()]
    return tuple(tags), (*names, *(key.name for key in request.asset_check_keys or ()))


def _job(request: dg.RunRequest) -> dg.JobDefinition:
    definitions = build_definitions()
    if not request.asset_check_keys:
        return definitions.resolve_job_def("daily")
    # In this process a run of checks alone is a job of its own.
    checks = reduce(or_, [dg.AssetSelection.checks(key) for key in request.asset_check_keys])
    job = dg.define_asset_job("checks", checks)
    return dg.Definitions.merge(definitions, dg.Definitions(jobs=[job])).resolve_job_def("checks")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, embedded_server: Server) -> Iterator[World]:
    url = embedded_server.new_database(migrated=False)
    logs = tmp_path / "logs"
    write_log(logs / "a", [event("aa11"), event("bb22", 86400), event("cc33", 5 * 86400)])
    monkeypatch.setenv("COWRIE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COWRIE_DATABASE_URL", url)
    monkeypatch.setenv("COWRIE_MODE", "live")
    Settings.from_environment().remember_log_folders((logs,))
    with dg.DagsterInstance.ephemeral() as instance:
        build_definitions().resolve_job_def("ingest").execute_in_process(instance=instance)
        with open_connection(url) as connection:
            yield World(logs, instance, connection)


# --- due_days ---------------------------------------------------------------------------------------------------------

DAYS = (("2025-03-01", "2025-03-02"), ("2025-03-06",))
NEWEST = ("2025-03-10",)
DAILY = (
    "sessions", "session_snapshots", "dshield_enrichment", "urlhaus_enrichment", "spur_enrichment",
    "virustotal_files", "password_stats",
)  # fmt: skip


def test_days_with_gaps_follow_in_steps_and_then_the_newest_day(world: World) -> None:
    write_log(world.logs / "b", [event("dd44", 9 * 86400)])
    world.ingest()
    first, second, third, last = world.follow()
    assert first == [(days, ("sessions",)) for days in (*DAYS, NEWEST)]
    # What has no days runs once, with the newest of them; the others follow without it.
    assert second == [(NEWEST, ())]
    assert third == [(days, DAILY[1:]) for days in DAYS]
    assert last == [((YESTERDAY.isoformat(),), ())]
    assert world.tick() == "nothing ran since it was looked last"


def test_late_lines_ask_for_exactly_their_day(world: World) -> None:
    world.follow()
    write_log(world.logs / "b", [event("dd44", 86400 + 60)])
    world.ingest({"dagster/sensor_name": "new_logs"})
    assert world.follow() == [[(("2025-03-02",), ())]]


def test_the_scheduled_ingestion_brings_lists_and_queries_up_to_date_also_where_no_day_changed(world: World) -> None:
    world.follow()
    world.ingest()
    assert world.follow() == [[((YESTERDAY.isoformat(),), ())]]
    world.ingest({"dagster/sensor_name": "new_logs"})
    assert world.follow() == []


def test_today_waits_until_it_is_complete(world: World) -> None:
    world.follow()
    begin = datetime(2025, 3, 1, tzinfo=UTC)
    seconds = (datetime.now(UTC) - begin).total_seconds()
    write_log(world.logs / "b", [event("ee55", seconds)])
    world.ingest({"dagster/sensor_name": "new_logs"})
    assert world.follow() == []


def test_nothing_is_asked_for_while_a_run_goes_on_or_a_command(world: World) -> None:
    run = world.instance.create_run_for_job(build_definitions().resolve_job_def("lists"))
    assert world.tick() == "a run of lists goes on"
    world.instance.delete_run(run.run_id)
    world.ingest(this_process())
    assert world.tick() == "a command goes on"


def test_what_a_dead_command_left_undone_is_done(world: World) -> None:
    world.ingest({COMMAND_TAG: "1 1"})
    assert world.follow()[0] == [(days, ("sessions",)) for days in DAYS]


def test_a_day_that_failed_is_left_alone_until_it_changes_and_the_others_are_complete(world: World) -> None:
    world.connection.execute("UPDATE event_chunks SET payload = '\\x00' WHERE day = '2025-03-02'")
    asked = [request for tick in world.follow() for request in tick]
    assert [days for days, assets in asked if assets == ("sessions",)] == [*DAYS]
    # The checks behind the failed step, which Dagster left out, also of the day that is done.
    assert [days for days, checks in asked if "sensors_heard" in checks] == [DAYS[0]]
    built = world.connection.execute("SELECT array_agg(DISTINCT day::text ORDER BY day::text) FROM session_snapshots")
    assert built.fetchone() == (["2025-03-01", "2025-03-06"],)
    world.connection.execute("UPDATE event_days SET revision = revision + 1 WHERE day = '2025-03-02'")
    world.ingest({"dagster/sensor_name": "new_logs"})
    assert world.follow() == [[(("2025-03-02",), ())]]


def test_a_run_that_failed_is_not_asked_for_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its days are due as before; asking for them each half minute would be a storm."""
    world.follow()
    write_log(world.logs / "b", [event("dd44", 86400 + 60)])
    world.ingest({"dagster/sensor_name": "new_logs"})
    requests = world.tick()
    assert not isinstance(requests, str)
    for request in requests:  # it cannot even start
        tags = {**request.tags, "dagster/run_key": str(request.run_key), "dagster/sensor_name": "due_days"}
        run = world.instance.create_run_for_job(build_definitions().resolve_job_def("daily"), tags=tags)
        world.instance.report_run_failed(run)
    assert world.tick() == "no day is due"


def test_questions_of_old_days_share_the_time_newest_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.follow()
    monkeypatch.setenv("COWRIE_OFFLINE", "")
    monkeypatch.setenv("SPUR_API_KEY", "spur-key")
    world.connection.execute("UPDATE spur_enrichment SET outcome = 'unavailable'")
    world.ingest()
    requests = world.tick()
    assert not isinstance(requests, str)
    assert [of(request)[0] for request in requests] == [(YESTERDAY.isoformat(),), DAYS[1], DAYS[0]]
    newest, *older = requests
    assert dict(newest.run_config or {}) == {}
    for request in older:
        assert request.asset_selection is not None
        assert "dagster/priority" not in request.tags
        assert request.run_config == {"ops": {"spur_enrichment": {"config": {"max_time": 900.0}}}}


def test_what_is_asked_for_evaluates_its_checks_on_its_own_days(world: World) -> None:
    world.follow()
    records = world.instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(dg.AssetKey("session_snapshots"), "asn_known"), limit=50
    )
    days = [record.evaluation.partition for record in records if record.evaluation is not None]
    assert {"2025-03-01", "2025-03-02", "2025-03-06"} <= set(days)


# --- new_logs ---------------------------------------------------------------------------------------------------------


def test_a_new_or_grown_log_is_noticed_once_for_each_change(world: World) -> None:
    assert world.tick("new_logs") == "no log file is new or has grown"
    write_log(world.logs / "b", [event("dd44", 86400)])
    first = world.keys("new_logs")
    assert world.keys("new_logs") == first
    with (world.logs / "a").open("a") as file:
        file.write(json.dumps(event("aa11", 5)) + "\n")
    assert len({*first, *world.keys("new_logs")}) == 2
    world.ingest()
    assert world.tick("new_logs") == "no log file is new or has grown"


def test_a_folder_that_is_gone_is_told_and_asks_for_nothing(world: World) -> None:
    os.rename(world.logs, world.logs.with_name("elsewhere"))  # noqa: PTH104
    assert "does not exist" in str(world.tick("new_logs"))


# --- changed_answers --------------------------------------------------------------------------------------------------


def test_queries_follow_what_was_materialized_without_them_once(world: World) -> None:
    definitions = build_definitions()

    def requested(cursor: Any = None) -> tuple[set[str], Any]:
        answers = ("session_summaries", "anonymization", "infrastructure_report")
        result = dg.evaluate_automation_conditions(definitions, world.instance, cursor=cursor)
        return {name for name in answers if result.get_num_requested(dg.AssetKey(name))}, result.cursor

    def run(*assets: str) -> None:
        job = definitions.resolve_job_def("daily")
        assert job.execute_in_process(
            instance=world.instance,
            asset_selection=[dg.AssetKey(asset) for asset in assets] or None,
            tags=range_tags(date(2025, 3, 1), date(2025, 3, 2)),
        ).success

    run()
    none, cursor = requested()
    assert none == set()
    run("session_snapshots")
    follows, cursor = requested(cursor)
    assert follows == {"session_summaries", "anonymization", "infrastructure_report"}
    run("session_snapshots", "session_summaries", "anonymization", "infrastructure_report")
    assert requested(cursor)[0] == set()


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_the_schedule_runs_the_ingestion(tmp_path: Path) -> None:
    schedule = build_definitions(settings=Settings(home=tmp_path)).resolve_schedule_def("every_day")
    assert (schedule.cron_schedule, schedule.execution_timezone, schedule.job_name) == ("20 0 * * *", "UTC", "ingest")


def test_every_tick_of_every_schedule_asks_for_a_run_that_its_job_can_have(world: World) -> None:
    definitions = build_definitions()
    moment = datetime(2025, 3, 3, 4, 0, tzinfo=UTC)
    for schedule in definitions.schedules or ():
        assert isinstance(schedule, dg.ScheduleDefinition)
        with dg.build_schedule_context(world.instance, moment, resources=definitions.resources) as context:
            (request,) = schedule.evaluate_tick(context).run_requests or ()
        job = definitions.resolve_job_def(schedule.job_name)
        if schedule.name not in ("current_lists", "housekeeping"):  # nobody is asked here, nothing trimmed
            assert job.execute_in_process(instance=world.instance, tags=dict(request.tags)).success, schedule.name
        if schedule.name == "silent_sensors":
            assert request.tags["dagster/partition"] == "2025-03-02"


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
