"""A warm refresh does at least 5,000 sessions a second, and asks nobody: a collapse shows itself before `make bench`.

Proved here, with a tenth of what the benchmark refreshes. Not here: how fast it is (`benchmarks.refreshing`).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from cowrie_assets.warehouse.database import open_connection
from cowrie_assets_tests.benchmarks.refreshing import ASKED, LIMIT, Refresh, Size, generate, refresh, totals
from cowrie_assets_tests.conftest import Server

# As many sessions a day as there.
SIZE = Size(sessions=20_000, addresses=2_000, days=6)
ROUNDS = 3


@pytest.mark.alone
def test_a_warm_refresh_is_quick_and_asks_nobody(embedded_server: Server, tmp_path: Path) -> None:
    url = embedded_server.new_database()
    with open_connection(url) as connection:
        generate(connection, SIZE)
        run = Refresh(connection, url, SIZE)
        rates: list[float] = []
        # Whoever else is at work on this machine may spoil a round, though the waiting for a core does not count.
        while len(rates) < ROUNDS and max(rates, default=0) < LIMIT:
            _, taken = totals(refresh(run, connection, tmp_path))
            rates.append(SIZE.sessions / taken.worked)
        ledger = connection.execute("SELECT count(*)::int FROM lookup_ledger").fetchone()
        rows = [connection.execute(f"SELECT count(*) FROM {name}_enrichment".encode()).fetchone() for name in ASKED]
        days = connection.execute("SELECT count(*) FROM (SELECT DISTINCT day, source_ip FROM sessions) AS s").fetchone()
    assert ledger == (0,), "nobody was asked"
    assert rows == [days] * len(ASKED)
    assert max(rates) >= LIMIT, [round(rate) for rate in rates]
