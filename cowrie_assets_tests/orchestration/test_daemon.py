"""The UI's own processes at work: webserver, daemon, queue, code server, run workers, against the sandbox's services.

Proved here: a backfill of thirty days over GraphQL ends complete, each check on its own day, within the services'
limits. Not here: longer ones, and what is killed in the middle of them (`test_long_backfills`, in `make soak`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest

from cowrie_assets.assets.ingestion import ingest
from cowrie_assets.automation import jobs
from cowrie_assets.cli.backfill import DAILY
from cowrie_assets.sandbox.server import Sandbox
from cowrie_assets.sandbox.traffic import write_sample_logs
from cowrie_assets.settings import SensorNames
from cowrie_assets.warehouse.database import Database
from cowrie_assets_tests.pipelines import KEYS
from cowrie_assets_tests.ui import Ui, days_between, environment, serving

LAST = date(2025, 9, 12)
EVERYTHING = (*jobs.SESSIONS, *jobs.INVENTORY, *jobs.ENRICHMENT, *jobs.SNAPSHOTS, *jobs.ANSWERS)


@dataclass
class Station:
    """A state folder whose logs are ingested, and nothing more; the sandbox; the UI over both."""

    home: Path
    days: list[str]
    sandbox: Sandbox
    environment: dict[str, str]
    ui: Ui

    @property
    def database(self) -> Database:
        return Database(self.home, "live")

    def instance(self) -> dg.DagsterInstance:
        return dg.DagsterInstance.from_config(str(self.home / "dagster"))

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with self.database.hold(), self.database.connect() as connection:
            return connection.execute(query.encode()).fetchall()

    def evaluations(self, asset: str, check: str) -> dict[str | None, str]:
        """The newest status of a check, by partition."""
        key = dg.AssetCheckKey(dg.AssetKey(asset), check)
        with self.instance() as instance:
            history = instance.event_log_storage.get_asset_check_execution_history(key, limit=5000)
        newest: dict[str | None, str] = {}
        for record in history:
            newest.setdefault(record.partition, record.status.value)
        return newest


def prepare(home: Path, days: int, sessions_per_day: int) -> list[str]:
    """Generate logs of so many days and ingest them into the embedded warehouse of a state folder."""
    logs = home.parent / "logs"
    write_sample_logs(logs, LAST, days=days, sessions_per_day=sessions_per_day)
    database = Database(home, "live")
    with database.hold(), database.connect() as connection:
        ingest(connection, [logs], SensorNames())
    first = LAST - timedelta(days=days - 1)
    (home / "log_folders.json").write_text(json.dumps([str(logs)]))
    (home / "start_date.txt").write_text(f"{first}\n")
    return days_between(first.isoformat(), LAST.isoformat())


RAISED = "".join(f'[services.{name}]\nrate = "1500/s"\n' for name in ("dshield", "urlhaus", "spur", "virustotal"))


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    folder = tmp_path_factory.mktemp("station")
    days = prepare(folder / "state", days=30, sessions_per_day=20)
    (folder / "sensors.toml").write_text(RAISED)
    with Sandbox() as sandbox:
        settings = {**KEYS, "COWRIE_CONFIG": str(folder / "sensors.toml")}
        known = environment(folder / "state", services=sandbox.environment(), **settings)
        with serving(known, folder / "up.log") as ui:
            yield Station(folder / "state", days, sandbox, known, ui)


@pytest.mark.timeout(600)
def test_a_backfill_of_thirty_days_ends_complete_within_the_limits(station: Station) -> None:
    status, assets = station.ui.follow(station.ui.backfill(EVERYTHING, station.days), seconds=500)
    assert status == "COMPLETED_SUCCESS", assets
    for asset in DAILY:
        assert assets[asset]["numPartitionsMaterialized"] == 30
    # One inventory for all days, as one run each phase of at most thirty days.
    with station.instance() as instance:
        runs = instance.get_runs()
    assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}
    assert len(runs) <= 5, [dict(run.tags) for run in runs]
    ledger = station.sandbox.summary()
    assert {service: told["over_limit"] for service, told in ledger.items() if told["over_limit"]} == {}
    assert {service: told["repeated_keys"] for service, told in ledger.items() if told["repeated_keys"]} == {}
    assert ledger["dshield"]["arrivals"] > 0


# Every check that judges days.
DAILY_CHECKS = (
    *(("sessions", check) for check in ("sensors_heard", "clocks_agree")),
    *(("session_snapshots", check) for check in ("source_address_known", "asn_known", "country_known")),
    *((asset, "answered") for asset in jobs.ENRICHMENT),
)


@pytest.mark.parametrize(("asset", "check"), DAILY_CHECKS)
def test_each_check_is_recorded_on_each_of_its_days(station: Station, asset: str, check: str) -> None:
    assert station.evaluations(asset, check) == dict.fromkeys(station.days, "SUCCEEDED")
