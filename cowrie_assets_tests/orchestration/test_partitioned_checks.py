"""Daily checks are recorded by day, whatever a run is about: a day, a range with a gap in its data, a check alone, the
same range again; and a check of freshness is not content with a run of an old day.

Proved here: with the real definitions, in process. The trap behind it is pinned too: a check *result* of a run over
several days loses its day. When that test fails, Dagster has mended it, and `AssetCheckEvaluation` is needed no more.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import dagster as dg
import pytest

from cowrie_assets.assets.ingestion import ingest
from cowrie_assets.automation.jobs import DAILY_JOB, INGEST_JOB
from cowrie_assets.checks.freshness import UP_TO_DATE, WATCH_DAY_JOB, WATCH_JOB, WATCHED, WATCHED_DAILY
from cowrie_assets.definitions import build_definitions
from cowrie_assets.resources import CowrieLogs, GeoFiles, Warehouse
from cowrie_assets.settings import SensorNames, Settings
from cowrie_assets.warehouse.database import open_connection
from cowrie_assets_tests.conftest import Server
from cowrie_assets_tests.loglines import event, write_log

FIRST = date(2025, 3, 1)
DAYS = [FIRST + timedelta(days=number) for number in range(5)]
WITH_DATA = (DAYS[0], DAYS[1], DAYS[4])
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class System(NamedTuple):
    """The real definitions over a warehouse of their own."""

    definitions: dg.Definitions
    url: str
    logs: Path


@pytest.fixture(scope="module")
def system(embedded_server: Server, tmp_path_factory: pytest.TempPathFactory) -> System:
    """Logs of three days out of five are loaded, and nothing is built of them yet."""
    home = tmp_path_factory.mktemp("home")
    logs = home / "logs"
    events = []
    for day in WITH_DATA:
        begin = (day - FIRST).days * 86_400
        events += [event(f"aa{day.day}", begin), event(f"aa{day.day}", begin + 9, "session.closed", duration=9.0)]
        events += [event(f"bb{day.day}", begin, src_ip="9.9.9.9", sensor="beta")]
    write_log(logs / "cowrie.json", events)
    url = embedded_server.new_database()
    with open_connection(url) as connection:
        ingest(connection, [logs], SensorNames())
    definitions = build_definitions(
        {
            "warehouse": Warehouse(home=str(home), database_url=url),
            "geo_files": GeoFiles(),
            "cowrie_logs": CowrieLogs(folders=[str(logs)]),
        },
        Settings(home=home, start_date=FIRST, offline=True),
    )
    return System(definitions, url, logs)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as opened:
        yield opened


def tags(first: date, last: date | None = None) -> dict[str, str]:
    if last is None:
        return {"dagster/partition": first.isoformat()}
    return {
        "dagster/asset_partition_range_start": first.isoformat(),
        "dagster/asset_partition_range_end": last.isoformat(),
    }


def run(
    definitions: dg.Definitions, instance: dg.DagsterInstance, job: str, tagged: dict[str, str] | None = None
) -> None:
    result = definitions.resolve_job_def(job).execute_in_process(instance=instance, tags=tagged or {}, run_config=QUIET)
    assert result.success


def specs(definitions: dg.Definitions) -> list[dg.AssetCheckSpec]:
    return [spec for checks in definitions.asset_checks or () for spec in checks.check_specs]


def recorded(
    instance: dg.DagsterInstance, key: dg.AssetCheckKey
) -> list[tuple[str, str | None, dg.AssetCheckEvaluation | None]]:
    """Status, day, and evaluation of all that Dagster has of a check, planned or done, oldest first."""
    history = instance.event_log_storage.get_asset_check_execution_history(key, limit=100)
    return [
        (
            record.status.value,
            record.partition,
            record.evaluation if isinstance(record.evaluation, dg.AssetCheckEvaluation) else None,
        )
        for record in reversed(history)
    ]


def assert_recorded_by_day(definitions: dg.Definitions, instance: dg.DagsterInstance, days: list[date]) -> None:
    """Each daily check has exactly one evaluation on each of these days, and no other evaluation has a day."""
    by_day = [spec for spec in specs(definitions) if spec.partitions_def is not None]
    assert len(by_day) == 10, "2 of sessions, 3 of snapshots, 5 of services"
    for spec in by_day:
        found = recorded(instance, spec.key)
        assert sorted(str(day) for _, day, _ in found) == [day.isoformat() for day in days], spec.key
        for status, day, evaluation in found:
            assert status in ("SUCCEEDED", "FAILED"), (spec.key, "left as planned")
            assert evaluation is not None
            assert evaluation.partition == day
            # Else Dagster takes it for one on an older materialization, and shows the day as missing.
            assert evaluation.target_materialization_data is not None
            assert (evaluation.description or "").startswith(f"{day}: ")
            assert evaluation.metadata["threshold"].value
            assert str(evaluation.metadata["sql"].value).startswith(("```sql\n", "sql/"))
    for spec in specs(definitions):
        found = recorded(instance, spec.key)
        if spec.partitions_def is None and found:
            # Dagster 1.13.27 plans every check of such a run for the days of its last asset by name, virustotal_files,
            # also those that have none. What comes has none, and is what the UI shows.
            assert {evaluation.partition for _, _, evaluation in found if evaluation is not None} == {None}
            assert found[-1][2] is not None, (spec.key, "its newest record was only planned")


def test_a_run_of_a_single_day_records_its_checks_on_that_day(system: System, instance: dg.DagsterInstance) -> None:
    run(system.definitions, instance, DAILY_JOB, tags(DAYS[1]))
    assert_recorded_by_day(system.definitions, instance, [DAYS[1]])


def test_a_run_over_a_range_with_a_gap_records_each_day_and_so_does_the_same_range_again(
    system: System, instance: dg.DagsterInstance
) -> None:
    run(system.definitions, instance, DAILY_JOB, tags(DAYS[0], DAYS[-1]))
    assert_recorded_by_day(system.definitions, instance, DAYS)
    run(system.definitions, instance, DAILY_JOB, tags(DAYS[0], DAYS[-1]))
    assert_recorded_by_day(system.definitions, instance, sorted([*DAYS, *DAYS]))
    sessions = dg.AssetKey("sessions")
    compared = [
        str(evaluation.metadata["sessions compared"].value)
        for _, _, evaluation in recorded(instance, dg.AssetCheckKey(sessions, "clocks_agree"))[:5]
        if evaluation is not None and "sessions compared" in evaluation.metadata
    ]
    # What is said of a day is of that day: one session of each day with data was closed.
    assert sorted(compared) == ["0", "0", "1", "1", "1"]


@pytest.mark.parametrize(
    ("asset", "name"),
    [("session_snapshots", "asn_known"), ("dshield_enrichment", "answered"), ("sessions", "clocks_agree")],
)
@pytest.mark.parametrize("last", [None, DAYS[2]])
def test_a_run_of_a_check_alone_records_it_by_day_and_no_other(
    system: System, instance: dg.DagsterInstance, asset: str, name: str, last: date | None
) -> None:
    key = dg.AssetCheckKey(dg.AssetKey(asset), name)
    alone = dg.Definitions(
        assets=system.definitions.assets,
        asset_checks=system.definitions.asset_checks,
        jobs=[dg.define_asset_job("alone", selection=dg.AssetSelection.checks(key))],
        resources=system.definitions.resources,
        executor=system.definitions.executor,
    )
    run(alone, instance, "alone", tags(DAYS[0], last))
    days = DAYS[:1] if last is None else DAYS[:3]
    assert [(status in ("SUCCEEDED", "FAILED"), day) for status, day, _ in recorded(instance, key)] == [
        (True, day.isoformat()) for day in days
    ]
    assert [spec.key for spec in specs(system.definitions) if recorded(instance, spec.key)] == [key]
    assert instance.get_materialized_partitions(dg.AssetKey(asset)) == set()


def test_a_daily_check_that_is_given_no_day_says_so(system: System, instance: dg.DagsterInstance) -> None:
    with pytest.raises(dg.Failure, match="choose a day"):
        run(system.definitions, instance, WATCH_DAY_JOB)


def test_what_time_alone_can_turn_is_watched_without_a_run_of_any_asset(
    system: System, instance: dg.DagsterInstance
) -> None:
    run(system.definitions, instance, WATCH_JOB)
    run(system.definitions, instance, WATCH_DAY_JOB, tags(DAYS[2]))
    seen = {spec.key for spec in specs(system.definitions) if recorded(instance, spec.key)}
    assert seen == {*WATCHED, *WATCHED_DAILY}
    for key in seen:
        ((_, day, evaluation),) = recorded(instance, key)
        assert day == (DAYS[2].isoformat() if key in WATCHED_DAILY else None)
        assert evaluation is not None
        assert evaluation.severity == dg.AssetCheckSeverity.WARN
        assert instance.get_latest_materialization_event(key.asset_key) is None


def test_a_run_of_an_old_day_makes_nothing_fresh(system: System, instance: dg.DagsterInstance) -> None:
    """The definitions' own logs are of March: the newest complete day is missing, and stays so."""

    def up_to_date() -> dg.AssetCheckEvaluation:
        run(system.definitions, instance, WATCH_JOB)
        newest = recorded(instance, UP_TO_DATE)[-1][2]
        assert newest is not None
        return newest

    assert (up_to_date().description or "").startswith("The logs were never read here: run `make run`")
    run(system.definitions, instance, INGEST_JOB)
    before = up_to_date()
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    assert not before.passed
    assert f"No event of {yesterday} came, though the logs were read since: the newest event is of 2025-03-05" in str(
        before.description
    )
    run(system.definitions, instance, DAILY_JOB, tags(DAYS[0]))
    after = up_to_date()
    assert (after.passed, after.description) == (before.passed, before.description)
    # With yesterday's events it is, once they are built: then the old days that nobody built are told.
    write_log(
        system.logs / "cowrie.json.new",
        [
            event("cc33", timestamp=f"{yesterday}T12:00:00.000000Z"),
            event("cc33", timestamp=f"{yesterday}T12:00:01.000000Z"),
        ],
    )
    run(system.definitions, instance, INGEST_JOB)
    assert up_to_date().passed, "it came in just now, and is being built"
    run(system.definitions, instance, DAILY_JOB, tags(yesterday))
    assert up_to_date().passed


def test_a_check_result_of_a_run_over_several_days_still_loses_its_day() -> None:
    """Dagster 1.13.27. If this fails it was mended: daily checks may return `AssetCheckResult` again."""
    daily = dg.DailyPartitionsDefinition("2025-03-01", end_date="2025-03-10")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")

        @dg.asset(partitions_def=daily, backfill_policy=dg.BackfillPolicy.single_run())
        def tiny() -> None: ...

        @dg.asset_check(asset="tiny", partitions_def=daily)
        def as_result() -> dg.AssetCheckResult:
            return dg.AssetCheckResult(passed=True)

    definitions = dg.Definitions(
        assets=[tiny], asset_checks=[as_result], jobs=[dg.define_asset_job("job", selection="tiny")]
    )
    with dg.DagsterInstance.ephemeral() as instance:
        run(definitions, instance, "job", tags(DAYS[0], DAYS[2]))
        found = [(status, day) for status, day, _ in recorded(instance, as_result.check_key)]
    assert sorted(found, key=str) == [
        ("PLANNED", "2025-03-01"),
        ("PLANNED", "2025-03-02"),
        ("PLANNED", "2025-03-03"),
        ("SUCCEEDED", None),
    ]
