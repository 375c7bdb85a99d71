"""`backfill`: a range of days in steps, each once; interrupted, it goes on; a day that fails stops no other."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import dagster as dg
import pytest
from rich.console import Console

from cowrie_assets.cli.backfill import DAILY, Backfill, run_backfill
from cowrie_assets.cli.frame import Interrupted
from cowrie_assets.cli.launch import Outcome, Runner
from cowrie_assets.definitions import build_definitions
from cowrie_assets.settings import Settings, SettingsError
from cowrie_assets.warehouse.database import open_connection
from cowrie_assets_tests.conftest import Server
from cowrie_assets_tests.loglines import event, write_log
from cowrie_assets_tests.rows import all_digests

FIRST, LAST = date(2025, 3, 1), date(2025, 4, 4)  # 35 days: two runs a phase


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, embedded_server: Server) -> str:
    """A warehouse with events, and nothing more, of the first, the tenth and the last day of the range."""
    url = embedded_server.new_database(migrated=False)
    days = (0, 9, (LAST - FIRST).days)
    write_log(tmp_path / "logs" / "a", [event(f"{day:04x}", day * 86400) for day in days])
    environment = {
        "COWRIE_HOME": str(tmp_path / "home"), "COWRIE_DATABASE_URL": url, "COWRIE_MODE": "live", "DAGSTER_HOME": "",
    }  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    Settings.from_environment().remember_log_folders((tmp_path / "logs",))
    with dg.DagsterInstance.ephemeral() as instance:
        assert build_definitions().resolve_job_def("ingest").execute_in_process(instance=instance).success
    return url


def fill(first: date = FIRST, last: date = LAST, only: tuple[str, ...] = (), *, anew: bool = False) -> Outcome:
    settings = Settings.from_environment()
    backfill = Backfill.of(settings, first, last, only)
    return run_backfill(settings, Console(quiet=True), backfill, 60.0, anew=anew, verbose=False)


def runs_so_far() -> int:
    with dg.DagsterInstance.get() as instance:
        return instance.get_runs_count()


def test_every_day_of_the_range_is_built_and_another_time_changes_no_row(url: str) -> None:
    with open_connection(url) as connection:
        assert fill().exit_code == 0
        before = all_digests(connection)
        assert fill(only=("session_snapshots",)).exit_code == 0
        after = all_digests(connection)
    # What counts, and says when it was.
    changed = {table for table in before if before[table] != after[table]}
    assert changed <= {"lookup_counters", "query_results", "incidents"}
    with dg.DagsterInstance.get() as instance:
        for asset in DAILY:
            assert len(instance.get_materialized_partitions(dg.AssetKey(asset))) == 35


def test_interrupted_it_goes_on_with_the_step_that_was_under_way(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run, only = Runner.run, ("session_snapshots",)
    taken: list[tuple[str, ...]] = []

    def interrupted(self: Runner, job: str, assets: tuple[str, ...], *others: object) -> None:
        if len(taken) == 1:
            raise KeyboardInterrupt
        taken.append(assets)
        run(self, job, assets, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(Runner, "run", interrupted)
    with pytest.raises(Interrupted):
        fill(only=only)
    monkeypatch.setattr(Runner, "run", run)
    counts = [runs_so_far()]
    for _ in range(2):  # the rest; then, as it was complete, another one
        assert fill(only=only).failed_steps == []
        counts.append(runs_so_far())
    assert [counts[1] - counts[0], counts[2] - counts[1]] == [2, 3]


def test_anew_takes_every_step_again(url: str) -> None:
    settings = Settings.from_environment()
    backfill = Backfill.of(settings, FIRST, LAST, ["session_snapshots"])
    notes = settings.state.backfills / f"{backfill.name}.json"
    settings.state.write(notes, '["session_snapshots, 2025-03-01 to 2025-03-30"]')
    fill(only=("session_snapshots",), anew=True)
    assert runs_so_far() == 3


def test_a_day_that_fails_is_named_and_the_others_are_complete(url: str) -> None:
    with open_connection(url) as connection:
        connection.execute("UPDATE event_chunks SET payload = '\\x00' WHERE day = '2025-03-10'")
    outcome = fill(only=("sessions", "session_snapshots"))
    assert outcome.exit_code == 1
    (told,) = outcome.failed_steps
    assert told.startswith("1 of 30 days of sessions failed, the others are done. 2025-03-10: ZstdError")
    with dg.DagsterInstance.get() as instance:
        assert instance.get_materialized_partitions(dg.AssetKey("session_snapshots")) >= {"2025-03-01", "2025-04-04"}
        newest = instance.get_latest_materialization_event(dg.AssetKey("infrastructure_report"))
        assert newest is not None
        assert newest.run_id == instance.get_runs(limit=1)[0].run_id


def test_only_the_named_assets_and_what_rests_on_them(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, start_date=FIRST)
    steps = list(Backfill.of(settings, FIRST, LAST, ["spur_enrichment"]).steps())
    assert [step.words for step in steps] == [
        "spur_enrichment, 2025-03-31 to 2025-04-04",
        "spur_enrichment, 2025-03-01 to 2025-03-30",
        "session_summaries and 5 more",
    ]


def test_what_there_is_not_is_refused_in_words(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, start_date=FIRST)
    with pytest.raises(SettingsError, match="'events' is no daily asset; there are sessions, "):
        Backfill.of(settings, FIRST, LAST, ["events"])
    with pytest.raises(SettingsError, match="the first is 2025-03-01, the last is today"):
        Backfill.of(settings, date(2025, 1, 1), date(2025, 2, 1), ())
    assert Backfill.of(settings, date(2025, 1, 1), LAST, ()).first == FIRST
