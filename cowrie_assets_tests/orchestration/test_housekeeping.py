"""Trimming Dagster's own storage, and the asset and the command that prune: what is old goes, what is shown stays."""

import io
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dagster as dg
import psycopg
import pytest
import sqlalchemy as sa
from dagster_graphql.test.utils import define_out_of_process_context, execute_dagster_graphql
from psycopg import conninfo, sql
from rich.console import Console

from cowrie_assets.assets import instance_storage
from cowrie_assets.assets.housekeeping import prune, storage_use
from cowrie_assets.assets.instance_storage import KNOWN_SCHEMAS, InstanceStorage
from cowrie_assets.assets.instance_trimming import trim_instance
from cowrie_assets.cli.prune import prune_and_tell
from cowrie_assets.lookup.retention import DEFAULTS
from cowrie_assets.resources import RetentionPeriods, Warehouse
from cowrie_assets.settings import Settings, StateFolder
from cowrie_assets.warehouse.database import open_connection
from cowrie_assets.warehouse.pruning import pruning_alone
from cowrie_assets_tests.conftest import Server

DAYS = dg.DailyPartitionsDefinition("2025-03-01", end_date="2025-03-08")
KEYS = DAYS.get_partition_keys()
MADE = [dg.AssetKey("made"), dg.AssetKey("counted"), dg.AssetKey("entire")]
DAILY_CHECKS = [dg.AssetCheckKey(dg.AssetKey("made"), name) for name in ("good", "odd")]
CHECKS = [*DAILY_CHECKS, dg.AssetCheckKey(dg.AssetKey("entire"), "sound")]


BROKEN, UNCOUNTED, UNCHECKED = "test/broken", "test/uncounted", "test/unchecked"


@dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
def made(context: dg.AssetExecutionContext) -> None:
    if context.run.tags.get(BROKEN) in context.partition_keys:
        raise RuntimeError("broken")
    for key in context.partition_keys:
        context.add_asset_metadata({"blob": f"{key} " + "x" * 500_000}, partition_key=key)


@dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run(), deps=[made])
def counted(context: dg.AssetExecutionContext) -> None:
    if UNCOUNTED in context.run.tags:
        raise RuntimeError("not counted")
    sys.stdout.write(f"counted {context.partition_keys}\n")


# Dagster plans it once a day in a run over days, because the last asset of the run, by name, has days.
@dg.asset(name="entire")
def whole() -> None:
    """Without days."""


@dg.multi_asset_check(
    specs=[dg.AssetCheckSpec(key.name, asset=made, partitions_def=DAYS) for key in DAILY_CHECKS], can_subset=True
)
def judged(context: dg.AssetCheckExecutionContext) -> Iterable[dg.AssetCheckEvaluation]:
    if UNCHECKED in context.run.tags:
        raise RuntimeError("no verdict")
    for check in sorted(context.selected_asset_check_keys):
        for day in context.partition_keys:
            passed = check.name == "good" or day != KEYS[1]
            yield dg.AssetCheckEvaluation(
                asset_key=check.asset_key, check_name=check.name, passed=passed, partition=day, metadata={}
            )


@dg.asset_check(asset=whole)
def sound() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


def small_definitions() -> dg.Definitions:
    return dg.Definitions(
        assets=[made, counted, whole],
        asset_checks=[judged, sound],
        jobs=[
            dg.define_asset_job("days", dg.AssetSelection.assets(made, counted)),
            dg.define_asset_job("all", dg.AssetSelection.assets(whole)),
            dg.define_asset_job("mixed", dg.AssetSelection.assets(made, counted, whole)),
            dg.define_asset_job("check", dg.AssetSelection.checks(sound)),
        ],
        executor=dg.in_process_executor,
    )


Instances = Callable[[], dg.DagsterInstance]
SETTINGS = "telemetry:\n  enabled: false\n"
KINDS = ["sqlite", "postgresql"]


@dataclass
class History:
    """An instance with runs of every kind, old and recent; the moment between them, and the runs by name."""

    home: Path
    database: str | None
    between: datetime
    runs: dict[str, str]


@pytest.fixture(scope="module")
def histories() -> dict[str, History]:
    """Made once, and copied for each test."""
    return {}


@pytest.fixture(params=KINDS)
def history(
    request: pytest.FixtureRequest,
    histories: dict[str, History],
    tmp_path_factory: pytest.TempPathFactory,
    embedded_server: Server,
) -> History:
    kind: str = request.param
    if kind not in histories:
        home = tmp_path_factory.mktemp("history")
        database = embedded_server.new_database(migrated=False) if kind == "postgresql" else None
        write_settings(home, database)
        with dg.DagsterInstance.from_config(str(home)) as instance:
            histories[kind] = History(home, database, *make_history(instance))
    return histories[kind]


@pytest.fixture
def new_instance(history: History, tmp_path: Path, embedded_server: Server) -> Iterator[Instances]:
    """Opens a copy of the history as often as wanted, as processes of their own would."""
    home = tmp_path / "dagster"
    shutil.copytree(history.home, home)
    if history.database is not None:
        write_settings(home, copy_of(history.database, embedded_server))
    opened: list[dg.DagsterInstance] = []

    def new() -> dg.DagsterInstance:
        opened.append(dg.DagsterInstance.from_config(str(home)))
        return opened[-1]

    yield new
    for instance in opened:
        instance.dispose()


def copy_of(database: str, server: Server) -> str:
    names = (f"cowrie_assets_test_{secrets.token_hex(6)}", str(conninfo.conninfo_to_dict(database)["dbname"]))
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*map(sql.Identifier, names)))
    return server.url(names[0])


def write_settings(home: Path, database: str | None) -> None:
    storage = ""
    if database is not None:
        parts = conninfo.conninfo_to_dict(database)
        host = quote(str(parts["host"]), safe="/")
        url = f"postgresql+psycopg2://postgres@/{parts['dbname']}?host={host}&port={parts['port']}"
        storage = f"storage:\n  postgres:\n    postgres_url: '{url}'\n"
    (home / "dagster.yaml").write_text(SETTINGS + storage)


def run(
    instance: dg.DagsterInstance,
    *days: str,
    job: str = "days",
    broken: bool = False,
    tags: dict[str, str] | None = None,
) -> str:
    """The id of a run over these days; `broken`: its last day cannot be made."""
    ranged = {"dagster/asset_partition_range_start": days[0], "dagster/asset_partition_range_end": days[-1]}
    known = ranged if len(days) > 1 else {"dagster/partition": days[0]}
    result = (
        small_definitions()
        .resolve_job_def(job)
        .execute_in_process(
            instance=instance,
            tags={**known, **({BROKEN: days[-1]} if broken else {}), **(tags or {})},
            run_config={"loggers": QUIET},
            raise_on_error=False,
        )
    )
    return result.run_id


QUIET = {"console": {"config": {"log_level": "CRITICAL"}}}


def run_whole(instance: dg.DagsterInstance, name: str = "all") -> str:
    job = small_definitions().resolve_job_def(name)
    return job.execute_in_process(instance=instance, run_config={"loggers": QUIET}).run_id


def shown(instance: dg.DagsterInstance, *, cached: bool) -> dict[str, Any]:
    """What the UI reads of assets and checks: from Dagster's cache of it, or anew."""
    storage: Any = instance.event_log_storage
    state: dict[str, Any] = {}
    for key in MADE:
        if not cached:
            storage.wipe_asset_cached_status(key)
        partitions = set() if key == MADE[2] else set(KEYS)
        state[f"{key} newest"] = instance.get_latest_materialization_event(key)
        state[f"{key} made"] = instance.get_materialized_partitions(key)
        if partitions:
            status = instance.get_status_by_partition(key, KEYS, DAYS)
            state[f"{key} status"] = {day: getattr((status or {})[day], "value", None) for day in KEYS}
        for day in partitions:
            records = instance.fetch_materializations(
                dg.AssetRecordsFilter(asset_key=key, asset_partitions=[day]), limit=1
            )
            state[f"{key} {day}"] = records.records
        state[f"{key} tags"] = storage.get_latest_tags_by_partition(
            key, dg.DagsterEventType.ASSET_MATERIALIZATION, ["dagster/data_version"]
        )
    for check in CHECKS:
        newest: dict[tuple[str | None, str], Any] = {}
        for record in storage.get_asset_check_execution_history(check, limit=10_000):
            newest.setdefault((record.partition, "newest"), record)
            if record.status.value != "PLANNED":
                newest.setdefault((record.partition, "verdict"), record)
        if check not in DAILY_CHECKS:  # what was planned of it with a day
            newest = {key: record for key, record in newest.items() if key[0] is None}
        state[f"{check}"] = newest
        state[f"{check} by day"] = {
            info.partition_key: info
            for info in storage.get_asset_check_partition_info([check])
            if info.partition_key is None or check in DAILY_CHECKS
        }
    return state


def make_history(instance: dg.DagsterInstance) -> tuple[datetime, dict[str, str]]:
    """Old runs of every kind, and recent ones; the moment between them, and the runs by name."""
    names = {"backfill": run(instance, *KEYS[:4])}
    names["failed, mixed"] = run(instance, *KEYS[:2], job="mixed", broken=True)
    names["replaced"] = run(instance, *KEYS[:2])
    names["failed"] = run(instance, KEYS[4], broken=True)
    names["failed, mended"] = run(instance, KEYS[2], broken=True)
    names["mending"] = run(instance, KEYS[2])
    names["uncounted"] = run(instance, KEYS[5], tags={UNCOUNTED: "yes"})
    names["unchecked"] = run(instance, KEYS[3], tags={UNCHECKED: "yes"})
    names["unfinished"] = instance.create_run_for_job(
        small_definitions().resolve_job_def("all"), status=dg.DagsterRunStatus.STARTED
    ).run_id
    canceled = instance.create_run_for_job(
        small_definitions().resolve_job_def("days"), tags={"dagster/partition": KEYS[6]}
    )
    names["canceled"] = canceled.run_id
    instance.report_run_canceled(canceled)
    names["whole, old"] = run_whole(instance)
    names["whole, last"] = run_whole(instance)
    names["tried again"] = run(instance, KEYS[0])
    time.sleep(1.1)  # Dagster's own times are of whole seconds in places
    between = datetime.now(UTC)
    time.sleep(1.1)
    again = {"dagster/root_run_id": names["tried again"], "dagster/parent_run_id": names["tried again"]}
    names["recent"] = run(instance, KEYS[0], tags=again)
    return between, names


LEFT = {"failed", "uncounted", "unchecked", "canceled", "whole, last", "unfinished", "tried again", "recent"}


def size_of_index(instance: dg.DagsterInstance) -> int:
    return sum(path.stat().st_size for path in Path(instance.root_directory).glob("history/runs/index.db*"))


def test_trimming_leaves_what_is_shown_and_gives_the_room_back(new_instance: Instances, history: History) -> None:
    instance, between, names = new_instance(), history.between, history.runs
    planned = "SELECT count(*) FROM asset_check_executions WHERE check_name = 'sound' AND \"partition\" IS NOT NULL"
    assert InstanceStorage(instance).events(planned) != [(0,)]
    anew, cached = shown(instance, cached=False), shown(instance, cached=True)
    state = dict.fromkeys(KEYS[:4], "MATERIALIZED") | {KEYS[4]: "FAILED", KEYS[6]: None}
    assert anew["AssetKey(['made']) status"] == state | {KEYS[5]: "MATERIALIZED"}
    assert anew["AssetKey(['counted']) status"] == state | {KEYS[5]: "FAILED"}
    now = between + timedelta(days=90)
    before = size_of_index(instance)
    dry = trim_instance(instance, 90, now, apply=False)
    assert shown(instance, cached=True) == cached
    assert trim_instance(instance, 90, now, apply=True) == dry
    by_part = {part.part: part for part in dry}
    assert len(instance.get_run_records()) == len(LEFT)
    assert by_part["dagster events"].bytes > 1_000_000
    other = new_instance()
    assert {name for name, run_id in names.items() if other.has_run(run_id)} == LEFT
    assert shown(other, cached=True) == cached
    assert shown(other, cached=False) == anew
    assert all(part.rows == 0 for part in trim_instance(other, 90, now, apply=True))
    # Runs that stay are whole.
    for name in ("failed", "recent"):
        assert instance.all_logs(names[name])
        assert instance.get_run_stats(names[name]).end_time is not None
    if instance.event_log_storage.is_run_sharded:
        assert before - size_of_index(instance) > by_part["dagster events"].bytes // 2
    left = {path.name for path in Path(instance.storage_directory()).iterdir()}
    assert left <= {names[name] for name in LEFT}
    assert InstanceStorage(instance).events(planned) == [(0,)]
    # The rows that say what ran are gone as well, and sensors' cursors are never behind a new event.
    storage = InstanceStorage(instance)
    assert {run_id for (run_id,) in storage.runs("SELECT DISTINCT run_id FROM run_tags")} <= {
        names[name] for name in LEFT
    }
    highest = storage.events("SELECT max(id) FROM event_logs")[0][0]
    new = run(instance, KEYS[6])
    assert storage.events("SELECT min(id) FROM event_logs WHERE run_id = :run_id", run_id=new)[0][0] > highest


def test_ids_are_never_given_twice(tmp_path: Path) -> None:
    """SQLite would, if the newest rows went: then a sensor's cursor would lie ahead of what happens next."""
    (tmp_path / "dagster.yaml").write_text(SETTINGS)
    later = datetime.now(UTC) + timedelta(days=50)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        slow = instance.create_run_for_job(
            small_definitions().resolve_job_def("all"), status=dg.DagsterRunStatus.STARTED
        )
        run_whole(instance)
        newest = run_whole(instance, "check")
        instance.report_run_canceled(slow)
        storage = InstanceStorage(instance)
        highest = storage.events("SELECT max(id) FROM event_logs")
        trim_instance(instance, 7, later, apply=True)
        assert not instance.has_run(slow.run_id)
        assert storage.events("SELECT max(id) FROM event_logs") == highest
        assert instance.get_run_records(limit=1)[0].dagster_run.run_id == newest


def test_killed_anywhere_the_next_trimming_does_the_rest(
    new_instance: Instances, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance, between, names = new_instance(), history.between, history.runs
    anew = shown(instance, cached=False)
    now = between + timedelta(days=90)
    monkeypatch.setattr(instance_storage, "_BATCH", 7)
    whole, left = instance_storage._change, 0

    def die_in_time(connect: Any, statement: str, **values: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        whole(connect, statement, **values)

    monkeypatch.setattr(instance_storage, "_change", die_in_time)
    for allowed in (1, 2, 3, 5, 8):
        left = allowed
        with pytest.raises(KeyboardInterrupt):
            trim_instance(instance, 90, now, apply=True)
        assert shown(instance, cached=False) == anew
    left = 10_000
    trim_instance(instance, 90, now, apply=True)
    assert shown(instance, cached=False) == anew
    assert {name for name, run_id in names.items() if instance.has_run(run_id)} == LEFT
    assert all(part.rows == 0 for part in trim_instance(instance, 90, now, apply=True))


def test_backfills_go_with_the_last_of_their_runs(new_instance: Instances) -> None:
    instance = new_instance()
    old = datetime.now(UTC) - timedelta(days=100)
    with instance.run_storage.connect() as connection:  # type: ignore[attr-defined]
        for number, (key, status) in enumerate(
            (("done", "COMPLETED_SUCCESS"), ("active", "REQUESTED"), ("kept", "COMPLETED_FAILED"), ("last", "CANCELED"))
        ):
            statement = sa.text(
                'INSERT INTO bulk_actions (id, "key", status, "timestamp", body) '
                "VALUES (:id, :key, :status, :at, :body)"
            ).bindparams(sa.bindparam("at", type_=sa.TIMESTAMP()))
            values = {"id": number + 1, "key": key, "status": status, "at": old.replace(tzinfo=None), "body": "{}"}
            connection.execute(statement, values)
    job = small_definitions().resolve_job_def("all")
    job.execute_in_process(instance=instance, tags={"dagster/backfill": "kept"}, run_config={"loggers": QUIET})
    storage = InstanceStorage(instance)
    assert storage.runs("SELECT count(*) FROM runs WHERE backfill_id = 'kept'")[0][0] == 1
    going_on = job.execute_in_process(
        instance=instance, tags={"dagster/backfill": "active"}, run_config={"loggers": QUIET}
    )
    job.execute_in_process(instance=instance, run_config={"loggers": QUIET})
    trim_instance(instance, 90, datetime.now(UTC), apply=True)
    assert {key for (key,) in storage.runs('SELECT "key" FROM bulk_actions')} == {"active", "kept", "last"}
    trim_instance(instance, 90, datetime.now(UTC) + timedelta(days=100), apply=True)
    assert {key for (key,) in storage.runs('SELECT "key" FROM bulk_actions')} == {"active", "last"}
    assert instance.has_run(going_on.run_id)


def test_the_installed_dagster_has_the_schema_that_trimming_knows(new_instance: Instances) -> None:
    instance = new_instance()
    known, newest = instance.event_log_storage.alembic_version() or (None, None)
    assert newest in KNOWN_SCHEMAS
    assert known == newest
    assert InstanceStorage(instance).obstacle == ""


def test_a_schema_that_is_not_known_is_left_alone_in_words(
    new_instance: Instances, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance, between = new_instance(), history.between
    runs = len(instance.get_run_records())
    monkeypatch.setattr(instance_storage, "KNOWN_SCHEMAS", frozenset({"000000000000"}))
    (told,) = trim_instance(instance, 90, between + timedelta(days=90), apply=True)
    assert "is not the one that this version knows (000000000000): run dagster instance migrate" in told.note
    assert len(instance.get_run_records()) == runs
    with dg.DagsterInstance.ephemeral() as memory:
        (told,) = trim_instance(memory, 90, datetime.now(UTC), apply=True)
        assert told.note == "nothing of Dagster's storage is trimmed: it lies in memory"
    assert trim_instance(instance, None, datetime.now(UTC), apply=True)[0].cut is None


def test_logs_that_looking_at_a_pruned_run_makes_anew_are_removed(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text(SETTINGS)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        kept = run_whole(instance)
        gone = "3b1f2c64-0000-4000-8000-000000000000"
        assert instance.all_logs(gone) == []
        logs = tmp_path / "history" / "runs"
        assert (logs / f"{gone}.db").exists()
        now = datetime.now(UTC)
        assert trim_instance(instance, 90, now, apply=True)[0].rows == 0
        found = trim_instance(instance, 90, now + timedelta(days=2), apply=True)[0]
        assert (found.rows, found.note) == (1, "1 of them of runs that there are not any more")
        assert {path.name for path in logs.glob("*.db")} == {"index.db", f"{kept}.db"}


@pytest.fixture
def database(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    url = server.new_database()
    monkeypatch.setenv("COWRIE_DATABASE_URL", url)
    return url


def materialize(instance: dg.DagsterInstance, home: Path, *, apply: bool = True) -> dict[str, Any]:
    result = dg.materialize(
        [storage_use],
        instance=instance,
        resources={
            "warehouse": Warehouse(home=str(home), database_url=dg.EnvVar("COWRIE_DATABASE_URL")),
            "retention": RetentionPeriods(**{**DEFAULTS, "events": 30}),
        },
        run_config={"ops": {"storage_use": {"config": {"apply": apply}}}, "loggers": QUIET},
    )
    (event,) = result.asset_materializations_for_node("storage_use")
    return {name: value.value for name, value in event.metadata.items()}


def test_the_asset_measures_prunes_and_shows(database: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "cache").mkdir(parents=True)
    (home / "cache" / "answer").write_bytes(b"x" * 300_000)
    (home / "dagster").mkdir()
    (home / "dagster" / "dagster.yaml").write_text(SETTINGS)
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance, open_connection(database) as connection:
        connection.execute(
            "INSERT INTO lookup_ledger (service, key, sent_at, outcome, limit_key) "
            "VALUES ('v', 'k', now() - interval '500 days', 'found', 'v')"
        )
        connection.execute("INSERT INTO storage_use VALUES (now() - interval '8 days', 'cache/', 1000, NULL)")
        dry = materialize(instance, home, apply=False)
        assert connection.execute("SELECT count(*) FROM lookup_ledger").fetchone() == (1,)
        assert "| lookup&#95;ledger | requests, summed by service | 1 |" in dry["would be removed"]
        told = materialize(instance, home)
        assert connection.execute("SELECT count(*) FROM lookup_ledger").fetchone() == (0,)
        assert "| lookup&#95;ledger | requests, summed by service | 1 |" in told["removed"]
        assert "| event&#95;chunks | lines of events; sessions stay | 0 |" in told["removed"]
        assert "cache&#47;" in told["parts"]
        assert told["bytes a day"] == pytest.approx((300_000 - 1000) / 8, rel=0.1)
        assert told["free bytes"] > 0
        assert "full in" in told["disk"]
        assert told["chart"].startswith("![What takes the disk](data:image/")
        assert told["late events"] == "none came for frozen days"
        parts = {part for (part,) in connection.execute("SELECT DISTINCT part FROM storage_use")}
        assert {"cache/", "dagster/", "lists/", "sessions", "event_chunks"} <= parts
        assert "postgres/" not in parts  # another server's
        assert instance.get_run_records()[0].dagster_run.status == dg.DagsterRunStatus.SUCCESS


def test_the_command_shows_first_and_removes_when_it_is_told_to(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DAGSTER_HOME", "COWRIE_HOME", "COWRIE_MODE"):  # the command sets them
        monkeypatch.setenv(name, "")
    settings = Settings(home=tmp_path, database_url=database, retention={"ledger": 100, "events": 500})

    def told(*, apply: bool) -> str:
        console = Console(record=True, file=io.StringIO(), width=150)
        prune_and_tell(settings, console, apply=apply)
        return console.export_text()

    with open_connection(database) as connection:
        connection.execute(
            "INSERT INTO lookup_ledger (service, key, sent_at, outcome, limit_key) "
            "VALUES ('v', 'k', now() - interval '101 days', 'found', 'v')"
        )
        shown_first = told(apply=False)
        assert "Nothing was removed. To remove" in shown_first
        assert connection.execute("SELECT count(*) FROM lookup_ledger").fetchone() == (1,)
        removed = told(apply=True)
        assert shown_first.splitlines()[:-1] == removed.splitlines()[:-1]
        assert "Removed: " in removed
        assert connection.execute("SELECT count(*) FROM lookup_ledger").fetchone() == (0,)
        assert "There is nothing to remove." in told(apply=False)


def test_who_comes_while_somebody_prunes_does_nothing_and_says_so(database: str, tmp_path: Path) -> None:
    with (
        open_connection(database) as other,
        open_connection(database) as connection,
        pruning_alone(other),
        dg.DagsterInstance.ephemeral() as instance,
    ):
        (told,) = prune(connection, instance, StateFolder(tmp_path), DEFAULTS, datetime.now(UTC), apply=True)
    assert told.note == "somebody else prunes at this moment: nothing was done here"


SHOWN_IN_THE_UI = """
{
  assetNodes {
    assetKey { path }
    partitionStats { numMaterialized numFailed numPartitions numMaterializing }
    assetMaterializations(limit: 1) { partition runId stepKey timestamp metadataEntries { label } tags { key value } }
    latestMaterializationByPartition { partition runId timestamp runOrError { __typename } }
    staleStatus
    assetChecksOrError {
      ... on AssetChecks {
        checks {
          name
          executionForLatestMaterialization { runId status partition evaluation { success } }
          partitionStatuses { ... on AssetCheckTimePartitionStatuses { ranges { startKey endKey status } } }
        }
      }
    }
  }
  runsOrError { ... on Runs { results { runId status stats { __typename } } } }
}
"""


def test_the_ui_shows_an_asset_whose_run_is_gone(new_instance: Instances, history: History) -> None:
    instance = new_instance()
    with define_out_of_process_context(__file__, "small_definitions", instance) as context:
        before = execute_dagster_graphql(context, SHOWN_IN_THE_UI)
        trim_instance(instance, 90, history.between + timedelta(days=90), apply=True)
        after = execute_dagster_graphql(context, SHOWN_IN_THE_UI)
    assert not before.errors and not after.errors
    runs = [{run.pop("__typename") for run in found_runs(result.data)} for result in (before, after)]
    assert runs == [{"Run"}, {"Run", "RunNotFoundError"}]
    for was, is_now in zip(before.data["assetNodes"], after.data["assetNodes"], strict=True):
        assert is_now == was
    assert len(after.data["runsOrError"]["results"]) == len(LEFT)


def found_runs(told: Mapping[str, Any]) -> list[dict[str, str]]:
    """Of each newest materialization of a day."""
    newest = [made for node in told["assetNodes"] for made in node["latestMaterializationByPartition"]]
    return [made["runOrError"] for made in newest if made is not None]
