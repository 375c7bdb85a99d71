"""A day that cannot be built fails alone, is named, and is repaired by building it again; what may pass is tried again,
what cannot is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from cowrie_assets.assets import patience
from cowrie_assets.assets.daily import FAILED_DAYS
from cowrie_assets.assets.previous import NOW_AND_BEFORE
from cowrie_assets.assets.reconstruction import days_due, failed_days
from cowrie_assets.automation.jobs import range_tags
from cowrie_assets.definitions import build_definitions
from cowrie_assets.settings import Settings
from cowrie_assets.warehouse.database import open_connection
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets_tests.conftest import Server
from cowrie_assets_tests.loglines import event, write_log

DAYS = [f"2025-03-0{number}" for number in range(1, 6)]
BAD = date(2025, 3, 3)


class World:
    """Five days of logs, ingested, of which the third cannot be read back."""

    def __init__(self, connection: Connection, instance: dg.DagsterInstance) -> None:
        self.connection = connection
        self.instance = instance
        self.definitions = build_definitions()

    def run(self, *assets: str, first: str = DAYS[0], last: str = DAYS[-1]) -> dg.ExecuteInProcessResult:
        return self.definitions.resolve_job_def("daily").execute_in_process(
            asset_selection=[dg.AssetKey(name) for name in assets],
            instance=self.instance,
            tags=range_tags(date.fromisoformat(first), date.fromisoformat(last)),
            raise_on_error=False,
        )

    def break_day(self) -> None:
        self.connection.execute("ALTER TABLE event_chunks ADD COLUMN IF NOT EXISTS saved bytea")
        self.connection.execute(
            "UPDATE event_chunks SET saved = payload, payload = '\\x00' WHERE day = %s AND saved IS NULL", (BAD,)
        )

    def mend_day(self) -> None:
        self.connection.execute("UPDATE event_chunks SET payload = saved WHERE day = %s", (BAD,))

    def materialized(self, asset: str) -> set[str]:
        return set(self.instance.get_materialized_partitions(dg.AssetKey(asset)))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, embedded_server: Server) -> Iterator[World]:
    url = embedded_server.new_database(migrated=False)
    write_log(tmp_path / "logs" / "a", [event(f"{number:04x}", number * 86400) for number in range(5)])
    monkeypatch.setenv("COWRIE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COWRIE_DATABASE_URL", url)
    monkeypatch.setenv("COWRIE_MODE", "live")
    Settings.from_environment().remember_log_folders((tmp_path / "logs",))
    with dg.DagsterInstance.ephemeral() as instance:
        assert build_definitions().resolve_job_def("ingest").execute_in_process(instance=instance).success
        with open_connection(url) as connection:
            yield World(connection, instance)


def test_the_other_days_of_the_run_are_built_and_materialized(world: World) -> None:
    world.break_day()
    result = world.run("sessions")
    assert not result.success
    assert world.materialized("sessions") == {*DAYS} - {BAD.isoformat()}
    stored = world.connection.execute("SELECT array_agg(day::text ORDER BY day) FROM sessions").fetchone()
    assert stored == ([day for day in DAYS if day != BAD.isoformat()],)


def test_the_failure_names_the_day_and_its_reason(world: World) -> None:
    world.break_day()
    (failure,) = world.run("sessions").filter_events(lambda event: event.is_step_failure)
    told = failure.step_failure_data.user_failure_data
    assert told is not None
    assert told.description is not None
    assert told.description.startswith("1 of 5 days of sessions failed, the others are done. 2025-03-03: ZstdError: ")
    assert told.metadata[FAILED_DAYS].value == ["2025-03-03"]
    assert set(failed_days(world.connection, "session_snapshots")) == {BAD}


def test_its_metadata_is_that_of_a_run_without_a_failure(world: World) -> None:
    world.break_day()
    world.run("sessions")
    with_failure = _metadata_by_day(world.instance)
    world.run("sessions", first=DAYS[0], last=DAYS[1])
    without = _metadata_by_day(world.instance)
    assert {day: without[day] for day in DAYS[:2]} == {day: with_failure[day] for day in DAYS[:2]}


def test_building_it_again_mends_it(world: World) -> None:
    world.break_day()
    world.run("sessions")
    world.mend_day()
    assert world.run("sessions", first=BAD.isoformat(), last=BAD.isoformat()).success
    assert failed_days(world.connection, "sessions") == {}
    assert days_due(world.connection, "sessions") == set()


def test_what_rests_on_a_failed_day_is_due_once_it_is_mended(world: World) -> None:
    """Else its snapshots, made from the sessions of before, would count as built from those after."""
    world.break_day()
    world.run("sessions")
    assert world.run("ip_inventory", "asn_inventory", "session_snapshots", "spur_enrichment").success
    assert BAD in days_due(world.connection, "session_snapshots")
    world.mend_day()
    assert world.run("sessions", first=BAD.isoformat(), last=BAD.isoformat()).success
    assert days_due(world.connection, "spur_enrichment") == {BAD}


def test_a_permanent_failure_is_not_tried_again_by_steps_nor_by_runs(world: World) -> None:
    world.break_day()
    result = world.run("sessions")
    assert result.filter_events(lambda event: event.is_step_up_for_retry) == []
    run = world.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags["dagster/retry_on_asset_or_op_failure"] == "false"


def test_a_lost_connection_is_tried_again_with_growing_waits_and_not_for_ever(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = []
    monkeypatch.setattr(patience, "FIRST_WAIT", 0.01)

    def lost(*_: object) -> None:
        waits.append(dg.OpExecutionContext.get().retry_number)
        raise psycopg.OperationalError("the connection is lost")

    monkeypatch.setattr("cowrie_assets.assets.sessions.rebuild_day", lost)
    result = world.run("sessions")
    assert not result.success
    assert waits == [0, 1, 2, 3]
    retries = result.filter_events(lambda event: event.is_step_up_for_retry)
    assert [event.event_specific_data.seconds_to_wait for event in retries] == [0.01, 0.02, 0.04]  # type: ignore[union-attr]
    assert failed_days(world.connection, "sessions") == {}


def test_a_connection_that_comes_back_leaves_no_failure(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from cowrie_assets.assets.reconstruction import rebuild_day

    monkeypatch.setattr(patience, "FIRST_WAIT", 0.01)
    lost = iter([True])

    def sometimes(connection: Connection, day: date) -> object:
        if day == BAD and next(lost, False):
            connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return rebuild_day(connection, day)

    monkeypatch.setattr("cowrie_assets.assets.sessions.rebuild_day", sometimes)
    assert world.run("sessions").success
    assert world.materialized("sessions") == {*DAYS}


def _but_for_before(metadata: Mapping[str, object]) -> dict[str, object]:
    """The second time there is a first one beside it."""
    return {name: value for name, value in metadata.items() if name != NOW_AND_BEFORE}


def _metadata_by_day(instance: dg.DagsterInstance) -> dict[str, object]:
    records = instance.fetch_materializations(dg.AssetKey("sessions"), limit=50, ascending=True).records
    return {
        str(record.partition_key): _but_for_before(record.asset_materialization.metadata)
        for record in records
        if record.asset_materialization is not None
    }
