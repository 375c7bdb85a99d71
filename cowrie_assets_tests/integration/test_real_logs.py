"""The main job on real Cowrie logs, against an independent count of the raw lines by other code (`oracle`)."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from cowrie_assets.assets.infrastructure import QUERIES, read_result
from cowrie_assets.cowrie.addresses import is_public
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets_tests.conftest import Server
from cowrie_assets_tests.integration.test_ingestion import load
from cowrie_assets_tests.oracle import Oracle, count
from cowrie_assets_tests.pipelines import run_live
from cowrie_assets_tests.rows import log_digests

pytestmark = pytest.mark.one_server


@pytest.fixture(scope="module")
def oracle(shared_data: Path) -> Oracle:
    logs = sorted((shared_data / "cowrie").rglob("*.gz"))
    return count(logs, shared_data / "mmdb" / "city.mmdb", shared_data / "mmdb" / "asn.mmdb")


@pytest.mark.parametrize("place", ["embedded", "external"])
def test_the_main_job_agrees_with_an_independent_count(
    place: str,
    oracle: Oracle,
    shared_data: Path,
    external_server: Server | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if place == "external" and external_server is None:
        pytest.skip("TEST_POSTGRES_URL names no external PostgreSQL")
    url = external_server.new_database(migrated=False) if place == "external" and external_server else None
    geo_files = (shared_data / "mmdb" / "city.mmdb", shared_data / "mmdb" / "asn.mmdb")
    outcome = run_live(monkeypatch, tmp_path, shared_data / "cowrie", url=url, geo_files=geo_files, minimum_sessions=10)
    assert outcome.exit_code == 0, outcome.failed_steps
    with outcome.database.hold(), outcome.database.connect() as connection:
        assert totals(connection) == {name: getattr(oracle, name) for name in totals(connection)}
        assert totals(connection) | {"sessions": 27_251, "addresses": 2_333, "events": 135_444} == totals(connection)
        addresses = connection.execute("SELECT host(ip_address), current_asn FROM ip_inventory").fetchall()
        public = [asn for address, asn in addresses if is_public(address)]
        assert sum(asn is not None for asn in public) / len(public) > 0.95
        eleven, twelve = (read_result(connection, query).rows for query in QUERIES[:2])
    assert_same(eleven, oracle.geographic(minimum=10, limit=200))
    assert_same(twelve, oracle.asn_infrastructure(minimum=10, limit=500))
    # 114 countries and 725 networks are in the logs: the comparison is not one of empty tables.
    assert len(eleven) > 40
    assert len(twelve) > 150


def totals(connection: Connection) -> dict[str, int]:
    queries = {
        "records": "SELECT sum(records) FROM log_files",
        "events": "SELECT sum(event_count) FROM event_chunks",
        "duplicates": "SELECT sum(duplicates) FROM log_files",
        "dead_letters": "SELECT count(*) FROM dead_letter_events",
        "pending_bytes": "SELECT sum(pending_bytes) FROM log_files",
        "sessions": "SELECT count(*) FROM sessions",
        "addresses": "SELECT count(DISTINCT source_ip) FROM sessions",
        "logins": "SELECT count(*) FROM logins",
        "login_successes": "SELECT count(*) FROM logins WHERE success",
        "commands": "SELECT count(*) FROM commands WHERE outcome = 'input'",
        "failed_commands": "SELECT count(*) FROM commands WHERE outcome = 'failed'",
        "downloads": "SELECT count(*) FROM files WHERE transfer = 'download'",
        "uploads": "SELECT count(*) FROM files WHERE transfer = 'upload'",
        "forwarding_requests": "SELECT count(*) FROM forwarding_requests",
        "ssh_keys": "SELECT count(*) FROM ssh_keys",
    }
    known = {field.name for field in fields(Oracle)}
    assert set(queries) <= known | set(dir(Oracle))
    found = {}
    for name, query in queries.items():
        row = connection.execute(query.encode()).fetchone()
        assert row is not None
        found[name] = int(row[0])
    return found


def assert_same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Row by row, over the columns that the oracle counts; the order of equal counts is the query's own."""
    assert [{name: row[name] for name in expected[0]} for row in found] == expected


def test_any_order_and_copies_under_other_names_give_the_same_rows(
    shared_data: Path, new_connection: Callable[[], AbstractContextManager[Connection]], tmp_path: Path
) -> None:
    with new_connection() as connection:
        load(connection, shared_data / "cowrie")
        expected = log_digests(connection)
    texts = [gzip.decompress(path.read_bytes()) for path in sorted((shared_data / "cowrie").rglob("*.gz"))]
    lines = [line for text in texts if b'"cowrie.' in text for line in text.split(b"\n") if line]
    random.Random(7).shuffle(lines)
    with new_connection() as connection:
        for part in (2, 0, 1):
            third = tmp_path / "thirds" / f"part-{part}"
            third.parent.mkdir(exist_ok=True)
            third.write_bytes(b"\n".join(lines[part::3]) + b"\n")
            load(connection, third.parent)
        assert log_digests(connection) == expected
        copies = tmp_path / "copies"
        copies.mkdir()
        for number, path in enumerate(sorted((tmp_path / "thirds").iterdir())):
            (copies / f"copy.{number}.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
            path.unlink()
        done = load(connection, copies)
        assert done.events == 0
        assert log_digests(connection) == expected
