"""The definitions: loaded in a blink without network or database, drawn as designed, each part described."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from cowrie_assets.assets.infrastructure import QUERIES
from cowrie_assets.definitions import build_definitions
from cowrie_assets.resources import GeoFiles, Warehouse
from cowrie_assets.settings import Settings
from cowrie_assets.warehouse.tables import metadata
from cowrie_assets.warehouse.views import VIEWS
from cowrie_assets_tests.orchestration.definitions_snapshot import SNAPSHOT, snapshot
from cowrie_assets_tests.orchestration.test_daemon import DAILY_CHECKS

EDGES = {
    "events": set(),
    "sessions": {"events"},
    "tor_exits": set(),
    "cloud_ranges": set(),
    "geo_databases": set(),
    "asn_inventory": {"sessions", "geo_databases"},
    "ip_inventory": {"asn_inventory", "sessions", "geo_databases", "tor_exits", "cloud_ranges"},
    "dshield_enrichment": {"sessions"},
    "urlhaus_enrichment": {"sessions"},
    "spur_enrichment": {"sessions"},
    "virustotal_files": {"sessions"},
    "password_stats": {"sessions"},
    "session_snapshots": {"sessions", "ip_inventory"},
    "session_summaries": {
        "sessions",
        "session_snapshots",
        "dshield_enrichment",
        "urlhaus_enrichment",
        "spur_enrichment",
        "virustotal_files",
        "password_stats",
    },
    **{query.name: {"session_summaries"} for query in QUERIES},
    "infrastructure_report": {query.name for query in QUERIES},
    "storage_use": set(),
}
ANSWERS = {
    "dshield": "dshield_enrichment",
    "urlhaus": "urlhaus_enrichment",
    "spur": "spur_enrichment",
    "virustotal": "virustotal_files",
    "hibp": "password_stats",
}
DAILY = {"sessions", "session_snapshots", *ANSWERS.values()}
CHECKS = {
    ("events", "files_add_up"),
    ("events", "store_adds_up"),
    ("session_snapshots", "source_address_known"),
    ("session_snapshots", "asn_known"),
    ("session_snapshots", "country_known"),
    *((asset, "answered") for asset in ANSWERS.values()),
    *(("session_summaries", f"{service}_answered") for service in (*ANSWERS, "cymru")),
    *((name, "is_current") for name in ("geo_databases", "tor_exits", "cloud_ranges")),
    *((query.name, name) for query in QUERIES for name in ("agrees_with_a_recount", "shows_positives")),
    ("sessions", "sensors_heard"),
    ("sessions", "clocks_agree"),
    ("session_summaries", "up_to_date"),
}

LOADING = """
import socket, sys, time, warnings
warnings.filterwarnings("error", category=DeprecationWarning, module="cowrie_assets")
def refuse(*_): raise AssertionError("definitions opened a connection")
socket.socket.connect = refuse
begun = time.monotonic()
import psycopg
psycopg.connect = refuse
import cowrie_assets.definitions
print(time.monotonic() - begun)
assert "apprise" not in sys.modules and "alembic" not in sys.modules
"""


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    return build_definitions(settings=Settings(home=tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="module")
def specs(definitions: dg.Definitions) -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}


@pytest.mark.alone
def test_definitions_load_in_under_three_seconds_without_network_or_database(tmp_path: Path) -> None:
    seconds = []
    for _ in range(3):
        command = [sys.executable, "-c", LOADING]
        environment = {"PATH": "/usr/bin:/bin", "COWRIE_HOME": str(tmp_path), "HOME": str(tmp_path)}
        told = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        assert told.stderr == ""
        seconds.append(float(told.stdout))
    assert sorted(seconds)[1] < 3


def test_loading_leaves_no_trace(tmp_path: Path) -> None:
    build_definitions(settings=Settings(home=tmp_path / "home"))
    assert list(tmp_path.iterdir()) == []


def test_edges_are_as_drawn(specs: dict[str, dg.AssetSpec]) -> None:
    drawn = {name: {dep.asset_key.to_user_string() for dep in spec.deps} for name, spec in specs.items()}
    assert drawn == EDGES


def test_daily_assets_are_partitioned_and_today_is_a_partition(specs: dict[str, dg.AssetSpec]) -> None:
    assert {name for name, spec in specs.items() if spec.partitions_def is not None} == DAILY
    for name in DAILY:
        partitions = specs[name].partitions_def
        assert isinstance(partitions, dg.DailyPartitionsDefinition)
        assert partitions.get_last_partition_key() == f"{datetime.now(UTC):%Y-%m-%d}"


def test_every_asset_says_what_it_is(specs: dict[str, dg.AssetSpec]) -> None:
    for name, spec in specs.items():
        assert spec.description, name
        assert spec.group_name not in (None, "default"), name
        assert spec.kinds, name
        assert spec.owners, name


def test_every_asset_but_the_report_is_a_table_or_a_view(specs: dict[str, dg.AssetSpec]) -> None:
    stored = {*metadata.tables, *VIEWS, "events", "infrastructure_report"}  # `events` keeps its rows in event_chunks
    assert set(specs) <= stored


def test_daily_assets_run_thirty_days_at_a_time(definitions: dg.Definitions) -> None:
    for assets in definitions.assets or ():
        if isinstance(assets, dg.AssetsDefinition) and assets.partitions_def is not None:
            assert assets.backfill_policy == dg.BackfillPolicy.multi_run(30)


def test_checks_are_there(definitions: dg.Definitions) -> None:
    found = {(key.asset_key.to_user_string(), key.name) for c in definitions.asset_checks or () for key in c.check_keys}
    assert found == CHECKS


def test_every_check_that_judges_days_is_looked_at_behind_a_backfill(definitions: dg.Definitions) -> None:
    specs = [spec for checks in definitions.asset_checks or () for spec in checks.check_specs]
    by_day = {(spec.asset_key.to_user_string(), spec.name) for spec in specs if spec.partitions_def is not None}
    assert by_day == set(DAILY_CHECKS)


def test_unpartitioned_assets_share_a_pool_of_one(definitions: dg.Definitions) -> None:
    """A job backfill was seen to run the inventory twice at the same time."""
    for assets in definitions.assets or ():
        if isinstance(assets, dg.AssetsDefinition) and assets.partitions_def is None:
            nodes = assets.node_def.iterate_op_defs()
            pools = {node.name: node.pool for node in nodes}
            assert {pool for name, pool in pools.items() if not name.startswith(("pass_2", "pass_3"))} == {"one_writer"}


def test_jobs_resolve(definitions: dg.Definitions) -> None:
    assert definitions.resolve_job_def("daily").partitions_def is not None
    assert definitions.resolve_job_def("ingest").partitions_def is None


def test_resources_can_be_replaced(tmp_path: Path) -> None:
    geo_files = GeoFiles(asn="/elsewhere.mmdb")
    definitions = build_definitions({"geo_files": geo_files}, Settings(home=tmp_path))
    assert definitions.resources is not None
    assert definitions.resources["geo_files"] is geo_files


def test_the_database_address_goes_by_name_never_by_value(tmp_path: Path) -> None:
    """A database password lay in git once; the UI shows what a resource is made of."""
    settings = Settings(home=tmp_path, database_url="postgresql://me:hunter2@db/cowrie")
    resources = build_definitions(settings=settings).resources
    assert resources is not None
    warehouse = resources["warehouse"]
    assert isinstance(warehouse, Warehouse)
    assert "hunter2" not in repr(warehouse) + str(warehouse._convert_to_config_dictionary())


def test_the_first_partition_follows_the_earliest_event(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    settings.state.save_earliest_day(datetime(2018, 5, 6, tzinfo=UTC).date())
    specs = build_definitions(settings=settings).resolve_all_asset_specs()
    firsts = {spec.partitions_def.get_first_partition_key() for spec in specs if spec.partitions_def is not None}
    assert firsts == {"2018-05-06"}


def test_the_definitions_are_those_of_the_snapshot() -> None:
    """A change is meant, and read: run the module `definitions_snapshot`, and look at the diff."""
    assert snapshot() == SNAPSHOT.read_text(encoding="utf-8")
