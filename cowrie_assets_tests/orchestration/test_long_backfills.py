"""390 days through webserver, daemon and queue (`make soak`): with days that fail, with processes that are killed, with
two backfills and the daily run at once."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import dagster as dg
import psutil
import pytest

from cowrie_assets.cli.backfill import DAILY
from cowrie_assets.sandbox.server import Sandbox
from cowrie_assets_tests.orchestration.test_daemon import DAILY_CHECKS, EVERYTHING, RAISED, Station, prepare
from cowrie_assets_tests.pipelines import KEYS
from cowrie_assets_tests.rows import digest
from cowrie_assets_tests.ui import Ui, end, environment, wait_until

pytestmark = [pytest.mark.soak, pytest.mark.timeout(7200)]

DAYS = 390
ENOUGH = 2400.0
AT_WORK = 15.0
# Rows that follow from the logs and the answers, in every table that a day has rows in.
TABLES = {
    "sessions": "SELECT * FROM sessions",
    "session_snapshots": (
        "SELECT day, sensor, session_id, snapshot_asn, snapshot_country FROM session_snapshots WHERE is_current"
    ),
    "spur_enrichment": "SELECT day, address, outcome, is_vpn FROM spur_enrichment",
    "password_stats": "SELECT day, session_id, outcome FROM password_stats",
    "ip_inventory": "SELECT ip_address, current_asn, geo_country FROM ip_inventory",
    "anonymization": "SELECT * FROM anonymization",
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def station(tmp_path: Path, sandbox: Sandbox) -> Iterator[Station]:
    """390 days of ingested logs and the UI over them; the sandbox's ledger is empty."""
    days = prepare(tmp_path / "state", days=DAYS, sessions_per_day=20)
    (tmp_path / "sensors.toml").write_text(RAISED)
    sandbox.reset()
    known = environment(
        tmp_path / "state",
        services=sandbox.environment(),
        **{**KEYS, "COWRIE_CONFIG": str(tmp_path / "sensors.toml")},
    )
    ui = Ui(known, tmp_path / "up.log")
    try:
        ui.start()
        yield Station(tmp_path / "state", days, sandbox, known, ui)
    finally:
        ui.stop()


def tell(words: str) -> None:
    """For whoever reads the proof's output."""
    sys.stdout.write(f"{words}\n")


def rows(station: Station) -> dict[str, str]:
    with station.database.hold(), station.database.connect() as connection:
        return {table: digest(connection, query) for table, query in TABLES.items()}


def execute(station: Station, statement: str) -> None:
    with station.database.hold(), station.database.connect() as connection:
        connection.execute(statement.encode())


def within_limits(station: Station) -> bool:
    return not any(told["over_limit"] for told in station.sandbox.summary().values())


def workers(station: Station) -> list[psutil.Process]:
    """The processes of runs that have been at work for a while: what the code server spawned for them."""
    found = []
    for child in (child for server in station.ui.find("api", "grpc") for child in server.children()):
        with suppress(psutil.Error):
            if "spawn_main" in " ".join(child.cmdline()) and time.time() - child.create_time() > AT_WORK:
                found.append(child)
    return found


def asked(station: Station) -> int:
    """The requests that have arrived at the services about days' addresses, files and passwords."""
    ledger = station.sandbox.summary()
    return sum(ledger[service]["arrivals"] for service in ("dshield", "urlhaus", "spur", "virustotal", "hibp"))


def is_quiet(station: Station) -> Callable[[], bool]:
    """Whether nothing runs and no sensor has anything left to ask for, three looks in a row."""
    looks = [0]

    def quiet() -> bool:
        unfinished = ("QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING")
        query = """query Runs($filter: RunsFilter!) { runsOrError(filter: $filter, limit: 1) {
            ... on Runs { results { runId } } } }"""
        busy = station.ui.graphql(query, filter={"statuses": list(unfinished)})["runsOrError"]["results"]
        looks[0] = 0 if busy else looks[0] + 1
        return looks[0] >= 3

    return quiet


def wait_for_quiet(station: Station) -> None:
    wait_until(is_quiet(station), ENOUGH, station.ui.tail, every=35.0)


def assert_complete(station: Station, without: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    """Every day is materialized to the last table, every check of a daily asset recorded on its own day."""
    days = set(station.days) - without
    with station.instance() as instance:
        for asset in DAILY:
            assert set(instance.get_materialized_partitions(dg.AssetKey(asset))) >= days, asset
    for asset, check in DAILY_CHECKS:
        told = station.evaluations(asset, check)
        assert None not in told
        assert {day: told.get(day) for day in days if told.get(day) not in ("SUCCEEDED", "FAILED")} == {}, (
            asset,
            check,
        )
    (counted,) = station.rows("SELECT sum(session_count) FROM anonymization")
    (there,) = station.rows(
        "SELECT count(*) FROM sessions AS s INNER JOIN ip_inventory AS i ON s.source_ip = i.ip_address "
        "WHERE i.is_public AND NOT i.is_own"
    )
    assert counted == there


def test_three_days_that_fail_leave_387_complete_are_named_and_repaired_by_one_click(station: Station) -> None:
    failing = {station.days[5], station.days[180], station.days[388]}
    listed = ", ".join(map(repr, sorted(failing)))
    execute(station, f"ALTER TABLE sessions ADD CONSTRAINT broken CHECK (day::text NOT IN ({listed})) NOT VALID")
    backfill = station.ui.backfill(EVERYTHING, station.days)
    begun = time.monotonic()
    status, assets = station.ui.follow(backfill, ENOUGH)
    assert status == "COMPLETED_FAILED"
    assert assets["sessions"]["numPartitionsFailed"] == 3
    wait_for_quiet(station)
    tell(f"387 of 390 days complete after {time.monotonic() - begun:.0f} s")
    assert_complete(station, without=failing)
    named = station.rows("SELECT day::text FROM day_failures WHERE asset = 'sessions'")
    assert {str(day) for (day,) in named} == failing
    execute(station, "ALTER TABLE sessions DROP CONSTRAINT broken")
    status, _ = station.ui.follow(station.ui.again(backfill), ENOUGH)
    assert status == "COMPLETED_SUCCESS"
    wait_for_quiet(station)
    assert_complete(station)
    assert station.rows("SELECT count(*) FROM day_failures") == [(0,)]
    assert within_limits(station)


def test_killed_processes_leave_the_same_rows_and_ask_again_at_most_what_was_in_flight(station: Station) -> None:
    backfill = station.ui.backfill(EVERYTHING, station.days)
    begun = time.monotonic()
    kills = ("worker", "daemon", "worker that asks", "webserver", "worker that asks")
    for kill in kills:
        if "asks" in kill:
            wait_until(lambda: asked(station) > 0, ENOUGH, station.ui.tail, every=1.0)
        wait_until(lambda: bool(workers(station)), ENOUGH, station.ui.tail)
        end(workers(station)[:1] if "worker" in kill else station.ui.find({"daemon": "_daemon"}.get(kill, kill)))
        tell(f"killed: {kill}, after {time.monotonic() - begun:.0f} s, with {asked(station):,} requests so far")
        if "worker" not in kill:  # it takes the others along; somebody starts it again
            time.sleep(5)
            station.ui.stop()
            station.ui.start()
    status, assets = station.ui.follow(backfill, ENOUGH)
    wait_for_quiet(station)
    tell(f"{status} after {time.monotonic() - begun:.0f} s")
    assert status in ("COMPLETED_SUCCESS", "COMPLETED_FAILED"), assets
    with station.instance() as instance:
        lost = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
    assert len(lost) >= 3, "the killed workers' runs failed, and were tried again"
    assert_complete(station)
    ledger = station.sandbox.summary()
    repeated = {service: told["repeated_keys"] for service, told in ledger.items() if told["repeated_keys"]}
    tell(f"{len(lost)} runs lost, requests made twice: {repeated or 'none'} of {asked(station):,}")
    # Three runs at once, each asks one service at a time through two connections: so many a kill were under way.
    assert sum(repeated.values()) <= len(kills) * 3 * 2, repeated
    assert within_limits(station)
    undisturbed = rows(station)
    assert station.ui.follow(station.ui.backfill(EVERYTHING, station.days), ENOUGH)[0] == "COMPLETED_SUCCESS"
    assert rows(station) == undisturbed


def test_two_overlapping_backfills_and_the_daily_run_end_without_deadlock_or_double_rows(station: Station) -> None:
    backfills = [
        station.ui.backfill(EVERYTHING, station.days[:250]),
        station.ui.backfill(EVERYTHING, station.days[140:]),
    ]
    query = """mutation Launch($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
        __typename ... on PythonError { message } } }"""
    selector = {
        "repositoryLocationName": "cowrie_assets.definitions",
        "repositoryName": "__repository__",
        "pipelineName": "daily",
    }
    tags = [{"key": "dagster/partition", "value": station.days[-1]}, {"key": "dagster/priority", "value": "10"}]
    params = {"selector": selector, "mode": "default", "executionMetadata": {"tags": tags}}
    begun = time.time()
    launched = station.ui.graphql(query, params=params)["launchPipelineExecution"]["__typename"]
    assert launched == "LaunchRunSuccess"
    for backfill in backfills:
        assert station.ui.follow(backfill, ENOUGH)[0] == "COMPLETED_SUCCESS"
    wait_for_quiet(station)
    with station.instance() as instance:
        daily = [record for record in instance.get_run_records() if record.dagster_run.job_name == "daily"]
        others = [record for record in instance.get_run_records() if record.dagster_run.job_name != "daily"]
    assert {record.dagster_run.status for record in (*daily, *others)} == {dg.DagsterRunStatus.SUCCESS}
    # The daily run had a place of its own beside the backfills', and did not wait for their end.
    waited = (daily[-1].start_time or 0) - begun
    tell(f"the daily run began after {waited:.0f} s, the backfills ended after {time.time() - begun:.0f} s")
    assert waited < 60
    assert_complete(station)
    assert station.rows(
        "SELECT count(*) FROM (SELECT FROM session_snapshots WHERE is_current GROUP BY day, sensor, session_id "
        "HAVING count(*) > 1) AS twice"
    ) == [(0,)]
    assert within_limits(station)
