"""A tick of the sensors that look at the warehouse and the logs takes less than a second on 390 days of two sensors."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from cowrie_assets.assets.reconstruction import rebuild_day
from cowrie_assets.definitions import build_definitions
from cowrie_assets.warehouse.database import Database
from cowrie_assets_tests.orchestration.test_daemon import prepare

pytestmark = pytest.mark.alone
ROUNDS = 3


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """390 days of logs of two sensors, ingested, with their sessions."""
    home = tmp_path_factory.mktemp("speed") / "state"
    days = prepare(home, days=390, sessions_per_day=20)
    database = Database(home, "live")
    with database.hold():
        with database.connect() as connection:
            for (day,) in connection.execute("SELECT day FROM event_days ORDER BY day").fetchall():
                rebuild_day(connection, day)
        assert len(days) == 390
        yield home


@pytest.mark.parametrize("name", ["new_logs", "due_days"])
def test_a_tick_takes_less_than_a_second(
    home: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COWRIE_HOME", str(home))
    monkeypatch.setenv("COWRIE_MODE", "live")
    monkeypatch.delenv("COWRIE_DATABASE_URL", raising=False)
    definitions = build_definitions()
    sensor = definitions.resolve_sensor_def(name)
    seconds = []
    with dg.DagsterInstance.ephemeral() as instance:
        # Something ran, so that there is something to look at.
        instance.create_run_for_job(definitions.resolve_job_def("lists"), status=dg.DagsterRunStatus.SUCCESS)
        for _ in range(ROUNDS):
            context = dg.build_sensor_context(
                instance, resources=definitions.resources, sensor_name=name, definitions=definitions
            )
            with context as opened:
                begun = time.monotonic()
                told = sensor.evaluate_tick(opened)
                seconds.append(time.monotonic() - begun)
    with capsys.disabled():
        print(f"\n{name}: {statistics.median(seconds):.2f} s, {len(told.run_requests or ())} requests")  # noqa: T201
    assert bool(told.run_requests) == (name == "due_days")
    assert statistics.median(seconds) < 1
