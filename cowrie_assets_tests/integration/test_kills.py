"""P10: a loading run is killed at random moments; the next run ends in the same rows as an undisturbed one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from cowrie_assets.sandbox.traffic import SampleTruth
from cowrie_assets.warehouse.database import open_connection
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets_tests.conftest import Server
from cowrie_assets_tests.integration.test_ingestion import load
from cowrie_assets_tests.rows import log_digests

pytestmark = pytest.mark.one_server

LOADING = """
import sys
from pathlib import Path
from cowrie_assets.assets import ingestion
from cowrie_assets.assets.reconstruction import days_due, rebuild_day
from cowrie_assets.settings import SensorNames
from cowrie_assets.warehouse.database import open_connection
ingestion.FLUSH_BYTES = 2 << 20  # many transactions, so that many moments lie between two of them
with open_connection(sys.argv[1]) as connection:
    print("begun", flush=True)
    ingestion.ingest(connection, [Path(sys.argv[2])], SensorNames())
    for day in sorted(days_due(connection, "sessions")):
        rebuild_day(connection, day)
"""


def loading(url: str, folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", LOADING, url, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def test_ten_kills_at_random_moments_change_no_row(
    embedded_server: Server,
    new_connection: Callable[[], AbstractContextManager[Connection]],
    sample: tuple[Path, SampleTruth],
) -> None:
    folder, _ = sample
    with new_connection() as connection:
        begun = time.monotonic()
        load(connection, folder)
        seconds = time.monotonic() - begun
        expected = log_digests(connection)
    chance = random.Random(20250912)
    killed = 0
    for _ in range(10):
        url = embedded_server.new_database()
        process = loading(url, folder)
        begun = time.monotonic()
        try:
            process.wait(timeout=chance.uniform(0, seconds))
            seconds = time.monotonic() - begun  # it ended first, and so shows how long its work takes by now
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
        with open_connection(url) as connection:
            load(connection, folder)
            assert log_digests(connection) == expected
    # The moments are spread over the whole of the work, so nearly all of them hit it.
    assert killed >= 5


@pytest.mark.soak
def test_a_hundred_kills_of_one_database(embedded_server: Server, sample: tuple[Path, SampleTruth]) -> None:
    """The same database killed again and again comes forward all the same."""
    folder, truth = sample
    url = embedded_server.new_database()
    chance = random.Random(os.getpid())
    for _ in range(100):
        process = loading(url, folder)
        time.sleep(chance.uniform(0, 0.4))
        process.kill()
        process.wait()
    with open_connection(url) as connection:
        load(connection, folder)
        row = connection.execute("SELECT sum(event_count)::int FROM event_chunks").fetchone()
        assert row == (truth.events + truth.out_of_range_events,)
