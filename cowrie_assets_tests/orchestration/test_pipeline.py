"""The whole pipeline as Dagster runs it: twice, with late data, after kills, with a failing step or check."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from cowrie_assets.cli.launch import Outcome
from cowrie_assets.lookup.services import SERVICES
from cowrie_assets.sandbox.server import Sandbox
from cowrie_assets.sandbox.traffic import SampleTruth, write_sample_logs
from cowrie_assets.settings import Settings
from cowrie_assets_tests.conftest import SAMPLE_LAST_DAY, Server
from cowrie_assets_tests.loglines import event, stamp, write_log
from cowrie_assets_tests.pipelines import run_live
from cowrie_assets_tests.rows import all_digests


def digests(outcome: Outcome) -> dict[str, str]:
    with outcome.database.hold(), outcome.database.connect() as connection:
        return all_digests(connection)


def value(outcome: Outcome, query: str) -> object:
    with outcome.database.hold(), outcome.database.connect() as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0] if len(row) == 1 else row


def failed_checks(outcome: Outcome) -> set[str]:
    return {check for (_, check, _), found in outcome.checks.items() if not found.passed}


@pytest.fixture
def url(embedded_server: Server) -> str:
    return embedded_server.new_database(migrated=False)


def test_the_sample_comes_through_and_a_second_run_changes_no_row(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    url: str,
    sample: tuple[Path, SampleTruth],
    sample_geo_files: tuple[Path, Path],
) -> None:
    folder, truth = sample
    first = run_live(monkeypatch, tmp_path, folder, url=url, geo_files=sample_geo_files)
    assert first.exit_code == 0
    assert first.days == 4
    stored = "SELECT sum(records)::int, sum(events)::int, sum(duplicates)::int, sum(pending_bytes)::int FROM log_files"
    events = truth.events + truth.out_of_range_events
    assert value(first, stored) == (
        events + truth.duplicate_records,
        events,
        truth.duplicate_records,
        truth.pending_bytes,
    )
    assert value(first, "SELECT count(*)::int FROM dead_letter_events") == truth.malformed_lines
    assert value(first, "SELECT count(*)::int FROM sessions") == truth.sessions
    assert value(first, "SELECT count(*)::int FROM ip_inventory") == truth.source_addresses
    before = digests(first)
    second = run_live(monkeypatch, tmp_path, folder, url=url, geo_files=sample_geo_files)
    assert (second.exit_code, second.days) == (0, 0)
    # What is looked for in the cache is counted, and each check's verdict has its time; all else is as it was.
    changed = {name for name, told in digests(second).items() if told != before[name]}
    assert changed <= {"lookup_counters", "incidents"}
    # Days that were not due keep the state that their checks had.
    assert set(second.checks) == set(first.checks)
    assert failed_checks(first) == failed_checks(second) == {"is_current", "up_to_date"}, "as old as the sample"


def test_every_promised_column_has_a_value_somewhere_on_the_sample(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    url: str,
) -> None:
    """`snapshot_ip_type` read a key that nobody wrote once: 0 % for ever, and nobody noticed."""
    # Less than the demo's sample: thousands of passwords take half a minute to ask about.
    write_sample_logs(tmp_path / "logs", SAMPLE_LAST_DAY, sessions_per_day=150)
    config = tmp_path / "sensors.toml"
    config.write_text("".join(f'[services.{name}]\nrate = "1500/s"\n' for name in SERVICES))
    with Sandbox() as services:
        services.faults({"dshield": [{"kind": "429", "retry_after": "1"}]})
        outcome = run_live(
            monkeypatch,
            tmp_path / "home",
            tmp_path / "logs",
            url=url,
            services=services.environment(),
            config=config,
        )
    # What has no value in a run without a window or a problem.
    waiting = {("log_files", "problem"), ("query_results", "since"), ("query_results", "until")}
    waiting |= {(table, "listed_until") for table in ("tor_exits", "cloud_ranges")}
    # A first run knows no answer beforehand; no circuit was open, and no file is without an answer.
    waiting |= {("lookup_counters", "oldest_answer_at"), ("virustotal_files", "reason")}
    waiting |= {("service_limits", name) for name in ("open_until", "open_seconds", "probed_until")}
    waiting |= {("incidents", "backfill_id"), ("incidents", "told_at")}
    # Written where a day fails, where channels are told, and where something is pruned or measured.
    elsewhere = {"alert_notes", "day_failures", "frozen_days", "lookup_totals", "storage_use"}
    empty = set()
    with outcome.database.hold(), outcome.database.connect() as connection:
        columns = connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
        ).fetchall()
        for table, column in columns:
            if table in elsewhere:
                continue
            row = connection.execute(f'SELECT count("{column}") FROM {table}'.encode()).fetchone()
            if not row or not row[0]:
                empty.add((table, column))
    assert empty == waiting


def test_late_lines_bring_exactly_their_days_up_to_date(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, sample_geo_files: tuple[Path, Path]
) -> None:
    logs = tmp_path / "logs"
    at = [event(f"s{day}") | {"timestamp": stamp(day * 86400)} for day in range(5)]
    write_log(logs / "cowrie.json", at)
    run_live(monkeypatch, tmp_path / "home", logs, url=url, geo_files=sample_geo_files)
    # Half a day earlier: the session of 3 March now begins on 2 March.
    write_log(logs / "late.json", [event("s2") | {"timestamp": stamp(2 * 86400 - 13 * 3600)}])
    outcome = run_live(monkeypatch, tmp_path / "home", logs, url=url, geo_files=sample_geo_files)
    assert outcome.days == 2
    assert (
        value(outcome, "SELECT array_agg(day ORDER BY day)::text FROM sessions WHERE session_id = 's2'")
        == "{2025-03-02}"
    )
    current = "SELECT count(*)::int FROM session_snapshots WHERE is_current AND session_id = 's2'"
    assert value(outcome, current) == 1
    assert value(outcome, "SELECT sum(session_count)::int FROM ip_inventory") == 5


def test_earlier_logs_move_the_first_partition_within_one_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str
) -> None:
    write_log(tmp_path / "logs" / "a", [event("aa11") | {"timestamp": "2016-02-29T10:00:00.000000Z"}])
    outcome = run_live(monkeypatch, tmp_path / "home", tmp_path / "logs", url=url)
    assert (outcome.exit_code, outcome.days) == (0, 1)
    assert Settings.from_environment().first_day == date(2016, 2, 29)


def test_geo_files_that_come_later_fill_what_was_unknown(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    url: str,
    sample: tuple[Path, SampleTruth],
    sample_geo_files: tuple[Path, Path],
) -> None:
    without = run_live(monkeypatch, tmp_path, sample[0], url=url)
    assert without.exit_code == 0, "a missing geo file is a warning"
    reasons = "SELECT DISTINCT country_reason FROM session_snapshots WHERE is_current ORDER BY 1"
    assert (
        value(without, f"SELECT array_agg(r)::text FROM ({reasons}) AS x (r)")
        == '{"no geo database","private address"}'
    )
    assert failed_checks(without) == {"asn_known", "country_known", "is_current", "up_to_date"}
    with_files = run_live(monkeypatch, tmp_path, sample[0], url=url, geo_files=sample_geo_files)
    assert failed_checks(with_files) == {"is_current", "up_to_date"}, "they are as old as the sample"
    known = "SELECT count(*) FILTER (WHERE snapshot_country IS NOT NULL) * 100 / count(*) FROM session_summaries"
    assert int(str(value(with_files, known))) > 90


def test_a_day_that_was_not_built_is_due_in_the_next_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str
) -> None:
    """Killed between ingestion and rebuilding, a run must leave a mark that the next one sees."""
    from cowrie_assets.assets import snapshots

    write_log(tmp_path / "logs" / "a", [event("aa11")])

    def fail(*_: object) -> None:
        raise RuntimeError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(snapshots, "write_snapshots", fail)
        outcome = run_live(monkeypatch, tmp_path / "home", tmp_path / "logs", url=url)
    assert outcome.exit_code == 1
    (told,) = outcome.failed_steps
    assert told.startswith("1 of 1 days of session_snapshots failed. 2025-03-01: RuntimeError: the disk is full.")
    healed = run_live(monkeypatch, tmp_path / "home", tmp_path / "logs", url=url)
    assert (healed.exit_code, healed.days) == (0, 1)


def test_a_failed_check_of_severity_error_fails_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str
) -> None:
    write_log(tmp_path / "logs" / "a", [event("aa11"), event("aa11", 5)])
    outcome = run_live(monkeypatch, tmp_path / "home", tmp_path / "logs", url=url)
    assert outcome.exit_code == 0
    with outcome.database.connect() as connection:
        connection.execute("UPDATE log_files SET events = events - 1, duplicates = duplicates + 1")
    assert run_live(monkeypatch, tmp_path / "home", tmp_path / "logs", url=url).exit_code == 1


def test_runs_and_checks_are_in_the_instance_that_the_ui_shows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str
) -> None:
    write_log(tmp_path / "logs" / "a", [event("aa11"), event("bb22", 86400)])
    run_live(monkeypatch, tmp_path / "home", tmp_path / "logs", url=url)
    with dg.DagsterInstance.get() as instance:
        assert Path(instance.root_directory) == tmp_path / "home" / "dagster"
        days = instance.get_materialized_partitions(dg.AssetKey("sessions"))
        assert days == {"2025-03-01", "2025-03-02"}
        assert {run.status for run in instance.get_runs()} == {dg.DagsterRunStatus.SUCCESS}


def test_a_killed_command_blocks_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, sample: tuple[Path, SampleTruth]
) -> None:
    """Its run holds the pool's only place for ever, unless the next command gives it back."""
    home = tmp_path / "home"
    environment = {**os.environ, "COWRIE_HOME": str(home), "COWRIE_DATABASE_URL": url, "COWRIE_MODE": "live"}
    command = [sys.executable, "-m", "cowrie_assets", "run", "--logs", str(sample[0])]
    for _ in range(3):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        status = home / "status" / "events.json"
        status.unlink(missing_ok=True)
        while not status.exists() and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    begun = time.monotonic()
    outcome = run_live(monkeypatch, home, sample[0], url=url)
    assert time.monotonic() - begun < 60
    assert outcome.exit_code == 0
    assert value(outcome, "SELECT count(*)::int FROM sessions") == sample[1].sessions
    with dg.DagsterInstance.get() as instance:
        assert not instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))


def test_an_edited_dagster_yaml_is_kept_and_a_shipped_one_is_renewed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from cowrie_assets.cli.instance import prepare_dagster_home

    for name in ("DAGSTER_HOME", "COWRIE_HOME", "COWRIE_MODE"):
        monkeypatch.setenv(name, "")
    settings = Settings(home=tmp_path)
    target = prepare_dagster_home(settings) / "dagster.yaml"
    shipped = target.read_text()
    assert "telemetry" in shipped
    target.write_text(shipped.splitlines()[0] + "\nedited: true\n")
    prepare_dagster_home(settings)
    assert "edited: true" in target.read_text()
    target.unlink()
    prepare_dagster_home(settings)
    assert target.read_text() == shipped


def test_progress_is_written_for_whoever_watches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str) -> None:
    write_log(tmp_path / "logs" / "a", [event("aa11")])
    run_live(monkeypatch, tmp_path / "home", tmp_path / "logs", url=url)
    status = json.loads((tmp_path / "home" / "status" / "sessions.json").read_text())
    assert status == {
        "phase": "sessions",
        "unit": "days",
        "total": 1,
        "done": 1,
        "note": "2025-03-01",
        "finished": True,
    }
