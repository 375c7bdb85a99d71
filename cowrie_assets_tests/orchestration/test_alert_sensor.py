"""The sensor `alerts` over real runs: what fails in them is told once, in a digest where it is much, and its recovery;
what a canceled, killed or interrupted run leaves; how fast a tick is over 390 days."""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from cowrie_assets.alerts.incidents import failing
from cowrie_assets.alerts.reading import Position
from cowrie_assets.alerts.sensor import Told, alerts_sensor, tell
from cowrie_assets.assets.daily import FAILED_DAYS
from cowrie_assets.assets.reconstruction import DAILY_ASSETS
from cowrie_assets.definitions import build_definitions
from cowrie_assets.resources import Warehouse
from cowrie_assets.settings import Settings
from cowrie_assets.warehouse.database import open_connection
from cowrie_assets_tests.conftest import Server
from cowrie_assets_tests.webhook import Webhook, running_webhook

FIRST = date(2024, 3, 1)
DAYS = [(FIRST + timedelta(days=number)).isoformat() for number in range(390)]
BAD = DAYS[::30]
DAILY = dg.DailyPartitionsDefinition(start_date=DAYS[0], end_date="2025-03-26", timezone="UTC")


class Weather:
    """What is wrong at the moment: the days whose checks fail, those that cannot be built, those that a failed run does
    not come to, and the steps that raise."""

    def __init__(self) -> None:
        self.failing_checks: set[str] = set()
        self.failing_days: set[str] = set()
        self.left_out: set[str] = set()
        self.raises: dict[str, BaseException] = {}

    def strike(self, step: str) -> None:
        if step in self.raises:
            raise self.raises[step]


def definitions(weather: Weather, checks: int = 1) -> dg.Definitions:
    """Small assets of each shape there is: by day, not by day, a graph; and a check of days."""

    @dg.asset(partitions_def=DAILY)
    def made(context: dg.AssetExecutionContext) -> None:
        weather.strike("made")
        failed = [day for day in context.partition_keys if day in weather.failing_days]
        for day in context.partition_keys:
            if day not in weather.failing_days | weather.left_out:
                context.log_event(dg.AssetMaterialization("made", partition=day))
        if failed:
            raise dg.Failure(f"{len(failed)} days failed", metadata={FAILED_DAYS: dg.MetadataValue.json(failed)})

    @dg.asset(deps=["made"])
    def single() -> None:
        weather.strike("single")

    @dg.op(ins={"made": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing))
    def first_pass() -> None:
        weather.strike("graph")

    @dg.op(ins={"before": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing))
    def second_pass() -> None:
        pass

    @dg.graph_asset(ins={"made": dg.AssetIn("made", dagster_type=dg.Nothing)})
    def graph(made: Any) -> Any:
        return second_pass(first_pass(made))

    names = [f"answered_{number}" for number in range(checks)]

    @dg.multi_asset_check(
        specs=[dg.AssetCheckSpec(name, asset="made", partitions_def=DAILY) for name in names], can_subset=True
    )
    def made_checks(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckEvaluation]:
        weather.strike("check")
        for key in context.selected_asset_check_keys:
            for day in context.op_execution_context.partition_keys:
                passed = day not in weather.failing_checks or key.name != names[0]
                yield dg.AssetCheckEvaluation(
                    asset_key=key.asset_key,
                    check_name=key.name,
                    passed=passed,
                    severity=dg.AssetCheckSeverity.WARN,
                    description=f"{day}: @everyone look at https://evil.example",
                    partition=day,
                )

    @dg.op
    def plain() -> None:
        weather.strike("plain")

    @dg.job
    def no_assets() -> None:
        plain()

    return dg.Definitions(
        assets=[made, single, graph],
        asset_checks=[made_checks],
        jobs=[dg.define_asset_job("all", selection="*"), no_assets],
        executor=dg.in_process_executor,
    )


class World:
    """An instance, a warehouse, a webhook, and the sensor with its cursor."""

    def __init__(self, instance: dg.DagsterInstance, url: str, home: Path, hook: Webhook) -> None:
        self.instance, self.hook, self.url = instance, hook, url
        self.weather = Weather()
        self.definitions = definitions(self.weather)
        self.settings = Settings(
            home=home, database_url=url, alerts={"channels": {"hook": "env:ALERT_TEST_HOOK"}}, config=home / "s.toml"
        )
        self.warehouse = Warehouse(home=str(home), database_url=url)
        self.cursor: str | None = None

    def run(self, first: str, last: str | None = None, *, job: str = "all", assets: str = "", **tags: str) -> str:
        days = {"dagster/partition": first}
        if last is not None:
            days = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
        result = self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            tags={**(days if first else {}), **{f"dagster/{name}": text for name, text in tags.items()}},
            asset_selection=[dg.AssetKey(name) for name in assets.split()] or None,
            raise_on_error=False,
        )
        return result.run_id

    def tick(self) -> str:
        """What the sensor says when it has read all runs; on a busy machine that takes it several ticks."""
        while "goes on" in (told := self.one_tick()[0]):
            pass
        return told

    def one_tick(self) -> tuple[str, float]:
        """What the sensor says, and how many seconds it took."""
        sensor = alerts_sensor(self.settings, daily={"made"})
        context = dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, resources={"warehouse": self.warehouse}
        )
        with context:
            begun = time.perf_counter()
            said = sensor(context)
            took = time.perf_counter() - begun
            self.cursor = context.cursor
        assert isinstance(said, dg.SkipReason)
        return said.skip_message or "", took

    def failing(self) -> dict[tuple[str, str], list[str]]:
        found: dict[tuple[str, str], list[str]] = {}
        with open_connection(self.url) as connection:
            for incident in sorted(failing(connection), key=lambda known: known.partition):
                found.setdefault((incident.asset, incident.name), []).append(incident.partition)
        return found

    def words(self) -> set[str]:
        with open_connection(self.url) as connection:
            return {incident.words for incident in failing(connection)}


@pytest.fixture(scope="module")
def alerts_database(embedded_server: Server) -> str:
    return embedded_server.new_database()


@contextmanager
def world(instance: dg.DagsterInstance, url: str, home: Path, patch: pytest.MonkeyPatch) -> Iterator[World]:
    with running_webhook() as hook:
        patch.setenv("ALERT_TEST_HOOK", hook.url())
        with open_connection(url) as connection:
            connection.execute("TRUNCATE incidents, alert_notes")
        yield World(instance, url, home, hook)


@pytest.fixture
def quick(alerts_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with (
        dg.DagsterInstance.ephemeral() as instance,
        world(instance, alerts_database, tmp_path, monkeypatch) as found,
    ):
        yield found


@pytest.fixture
def sqlite(alerts_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """With the storage of the embedded default."""
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with (
        dg.DagsterInstance.from_config(str(tmp_path / "dagster")) as instance,
        world(instance, alerts_database, tmp_path, monkeypatch) as found,
    ):
        yield found


@pytest.mark.alone
def test_thirteen_failing_days_of_390_are_one_digest_and_no_tick_takes_a_second(
    quick: World, capsys: pytest.CaptureFixture[str]
) -> None:
    quick.definitions = definitions(quick.weather, checks=2)
    quick.weather.failing_checks = set(BAD)
    assert quick.tick() == "0 failing, notes: 0 written, 0 delivered"  # loads what sends, beside the runs
    for start in range(0, 390, 30):
        quick.run(DAYS[start], DAYS[start + 29], assets="made")
    busy = [quick.one_tick()]
    while "goes on" in busy[-1][0]:
        assert quick.hook.arrived == [], "a digest has to wait for the rest of it"
        busy.append(quick.one_tick())
    assert quick.failing() == {("made", "answered_0"): BAD}
    assert busy[-1][0] == "13 failing, notes: 1 written, 1 delivered"
    ((title, body),) = quick.hook.arrived
    assert title == "WARN: 13 failures: made.answered_0"
    assert "13 days: 2024-03-01, 03-31, 04-30," in body
    assert all(day[5:] in body for day in BAD)
    assert "@everyone" not in body
    quiet = [quick.one_tick() for _ in range(2)]
    assert {said for said, _ in quiet} == {"13 failing, notes: 0 written, 0 delivered"}
    # All but one are repaired.
    quick.weather.failing_checks = set(BAD[:1])
    for day in BAD[1:]:
        quick.run(day, assets="made")
    busy.append(quick.one_tick())
    while "goes on" in busy[-1][0]:
        busy.append(quick.one_tick())
    assert busy[-1][0] == "1 failing, notes: 1 written, 1 delivered"
    assert quick.hook.titles[1:] == ["12 recovered: made.answered_0"]
    # The cursor is lost: all is read again, and nothing is told again.
    quick.cursor = None
    again = [quick.one_tick() for _ in range(6)]
    assert again[-1][0] == "1 failing, notes: 0 written, 0 delivered"
    assert len(quick.hook.arrived) == 2
    with capsys.disabled():
        told = [", ".join(f"{took:.3f}" for _, took in ticks) for ticks in (busy, quiet)]
        print(f"\nalerts over 390 days x 2 checks: ticks with news {told[0]} s, without {told[1]} s")  # noqa: T201
    assert max(took for _, took in [*busy, *quiet, *again]) < 1.0


def test_on_sqlite_a_failing_check_arrives_at_the_webhook_once_and_so_does_its_recovery(sqlite: World) -> None:
    sqlite.weather.failing_checks = set(DAYS[:5])
    sqlite.run(DAYS[0], DAYS[5], assets="made")
    assert [sqlite.tick() for _ in range(2)] == [
        "5 failing, notes: 1 written, 1 delivered",
        "5 failing, notes: 0 written, 0 delivered",
    ]
    assert "5 days: 2024-03-01 to 03-05" in sqlite.hook.arrived[0][1]
    sqlite.weather.failing_checks = {DAYS[1]}
    sqlite.run(DAYS[0], assets="made")
    sqlite.tick()
    assert sqlite.hook.titles[1:] == ["Recovered: made.answered_0 for 2024-03-01"]
    assert len(sqlite.failing()["made", "answered_0"]) == 4


def test_without_a_digest_thirteen_failing_days_are_thirteen_notes(quick: World) -> None:
    quick.settings = replace(quick.settings, alerts={**quick.settings.alerts, "digest_from": 1000})
    quick.weather.failing_checks = set(DAYS[0:26:2])
    quick.run(DAYS[0], DAYS[29], assets="made")
    quick.tick()
    assert sorted(quick.hook.titles) == [f"WARN: made.answered_0 failed for {day}" for day in DAYS[0:26:2]]
    quick.tick()
    assert len(quick.hook.arrived) == 13


def test_a_failed_day_is_told_and_the_other_days_of_its_run_are_not(quick: World) -> None:
    quick.weather.failing_days, quick.weather.left_out = {DAYS[1]}, {DAYS[2]}
    quick.run(DAYS[0], DAYS[2])
    quick.tick()
    # What only waited for it is told by nobody, and neither are its checks.
    assert quick.failing() == {("made", "materialize"): [DAYS[1]]}
    assert quick.words() == {"1 days failed"}
    assert quick.hook.titles == ["ERROR: made was not built for 2024-03-02"]
    quick.weather.failing_days = set()
    quick.run(DAYS[1])
    quick.tick()
    assert quick.hook.titles[1:] == ["Recovered: made for 2024-03-02"]
    assert quick.failing() == {}


@pytest.mark.parametrize(
    ("step", "failed"),
    [
        ("made", {("made", "materialize"): DAYS[:3]}),
        ("single", {("single", "materialize"): [""]}),
        ("graph", {("graph", "materialize"): [""]}),
        ("check", {("made", "answered_0"): DAYS[:3]}),
    ],
)
@pytest.mark.parametrize("backfill", [False, True])
def test_a_step_that_raises_fails_what_it_was_to_make_and_the_next_run_recovers_it(
    quick: World, step: str, failed: dict[tuple[str, str], list[str]], backfill: bool
) -> None:
    tags = {"backfill": "gone"} if backfill else {}
    try:
        raise ValueError("the inner\x1b cause\nand more")
    except ValueError as cause:
        outer = RuntimeError("outer")
        outer.__cause__ = cause
    quick.weather.raises = {step: outer}
    quick.run(DAYS[0], DAYS[2], **tags)
    quick.tick()
    assert quick.failing() == failed
    (words,) = quick.words()
    assert words.endswith("ValueError: the inner\\x1b cause")
    assert len(quick.hook.arrived) == sum(map(len, failed.values()))
    quick.weather.raises = {}
    quick.run(DAYS[0], DAYS[2], **tags)
    quick.tick()
    assert quick.failing() == {}
    assert sum(title.startswith("Recovered") for title in quick.hook.titles) == sum(map(len, failed.values()))


def test_a_single_day_that_raises_fails_on_its_day(quick: World) -> None:
    for step in ("made", "check"):
        quick.weather.raises = {step: ValueError("no")}
        quick.run(DAYS[5])
    quick.tick()
    # The second run built the day that the first did not.
    assert quick.failing() == {("made", "answered_0"): [DAYS[5]]}


def test_a_job_without_assets_fails_by_its_name_and_recovers_with_its_next_success(quick: World) -> None:
    quick.weather.raises = {"plain": ValueError("no")}
    quick.run("", job="no_assets")
    quick.tick()
    assert quick.hook.titles == ["ERROR: job no_assets failed"]
    quick.weather.raises = {}
    quick.run("", job="no_assets")
    quick.tick()
    assert quick.hook.titles[1:] == ["Recovered: job no_assets"]


def create_run(quick: World, *, begun: str | None = None) -> dg.DagsterRun:
    """A run over two days that is about to start, or in the midst of a step."""
    job = quick.definitions.resolve_job_def("all")
    run = quick.instance.create_run_for_job(
        job,
        tags={
            "dagster/asset_partition_range_start": DAYS[0],
            "dagster/asset_partition_range_end": DAYS[1],
        },
        status=dg.DagsterRunStatus.STARTED,
    )
    if begun is not None:
        event = dg.DagsterEvent(event_type_value="STEP_START", job_name="all", step_key=begun)
        quick.instance.report_dagster_event(event, run.run_id, log_level=logging.DEBUG)
    return run


@pytest.mark.parametrize(
    ("begun", "failed"),
    [
        ("made", {("made", "materialize"): DAYS[:2]}),
        (
            None,
            {("made", "materialize"): DAYS[:2], ("single", "materialize"): [""], ("graph", "materialize"): [""]},
        ),
    ],
)
def test_a_run_that_is_killed_fails_what_it_was_about(
    quick: World, begun: str | None, failed: dict[tuple[str, str], list[str]]
) -> None:
    quick.instance.report_run_failed(create_run(quick, begun=begun), "its process is gone: run it again")
    quick.tick()
    assert quick.failing() == failed
    assert quick.words() == {"the run ended early: its process is gone: run it again"}
    quick.run(DAYS[0], DAYS[1])
    quick.tick()
    assert quick.failing() == {}


def test_a_canceled_or_interrupted_run_is_no_failure_and_what_it_judged_counts(quick: World) -> None:
    quick.instance.report_run_canceled(create_run(quick, begun="made"))
    quick.weather.raises = {"made": KeyboardInterrupt()}
    with suppress(KeyboardInterrupt):
        quick.run(DAYS[0])
    assert quick.tick().startswith("0 failing")
    quick.weather.raises = {"single": KeyboardInterrupt()}
    quick.weather.failing_checks = {DAYS[0]}
    with suppress(KeyboardInterrupt):
        quick.run(DAYS[0])
    quick.tick()
    assert quick.failing() == {("made", "answered_0"): [DAYS[0]]}


def test_failures_of_a_backfill_wait_until_it_has_ended(quick: World, monkeypatch: pytest.MonkeyPatch) -> None:
    backfill = SimpleNamespace(status=SimpleNamespace(value="REQUESTED"))
    monkeypatch.setattr(quick.instance, "get_backfill", lambda name: backfill if name == "b1" else None)
    quick.weather.failing_checks = set(DAYS)
    for start in range(0, 9, 3):
        quick.run(DAYS[start], DAYS[start + 2], assets="made", backfill="b1")
        told = "notes: 0 written, 0 delivered, more to tell when backfills end: 1"
        assert quick.tick() == f"{start + 3} failing, {told}"
    for status in ("CANCELING", "FAILING"):
        backfill.status.value = status
        quick.tick()
        assert quick.hook.arrived == []
    # Its last run ends while the sensor looks: it is told with the others.
    has_ended = quick.instance.get_backfill

    def end(name: str) -> Any:
        if backfill.status.value != "COMPLETED_SUCCESS":
            quick.run(DAYS[9], DAYS[11], assets="made", backfill="b1")
            backfill.status.value = "COMPLETED_SUCCESS"
        return has_ended(name)

    monkeypatch.setattr(quick.instance, "get_backfill", end)
    quick.tick()
    ((title, body),) = quick.hook.arrived
    assert title == "WARN: 12 failures: made.answered_0"
    assert "12 days: 2024-03-01 to 03-12" in body
    assert "backfill b1" in body


def test_a_channel_that_takes_nothing_is_told_in_the_tick_without_its_url_and_the_note_comes_later(
    quick: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("ALERT_TEST_HOOK", quick.hook.url("zqtoken"))
    quick.weather.failing_checks = {DAYS[0]}
    quick.hook.status = 500
    quick.run(DAYS[0], assets="made")
    said = quick.tick()
    assert said == ("1 failing, notes: 1 written, 0 delivered, 1 waits for channel hook: it refused it with status 500")
    captured = capfd.readouterr()
    told = f"{said} {quick.cursor} {caplog.text} {captured.out} {captured.err} {quick.definitions} {quick.settings}"
    assert "channel hook did not take a note: it refused it with status 500" in told
    assert "zqtoken" not in told
    assert quick.hook.paths == ["/zqtoken"]
    quick.hook.status = 200
    with open_connection(quick.url) as connection:
        connection.execute("UPDATE alert_notes SET next_try_at = now()")
    assert quick.tick() == "1 failing, notes: 0 written, 1 delivered"


def test_a_command_tells_as_the_sensor_does_and_both_together_tell_once(quick: World) -> None:
    quick.weather.failing_checks = {DAYS[0]}
    quick.run(DAYS[0], assets="made")

    def told() -> Told:
        with open_connection(quick.url) as connection:
            return tell(quick.instance, quick.settings, connection, daily={"made"})

    assert told().words == "1 failing, notes: 1 written, 1 delivered"
    assert quick.tick() == told().words == "1 failing, notes: 0 written, 0 delivered"
    quick.weather.failing_checks = set()
    quick.run(DAYS[0], assets="made")
    quick.tick()
    assert told().failing == 0
    assert [title.partition(":")[0] for title in quick.hook.titles] == ["WARN", "Recovered"]
    assert json.loads((quick.settings.home / "alerts_position.json").read_text())["handled"]


def test_a_run_stored_late_or_by_a_clock_that_is_behind_is_read_all_the_same(quick: World) -> None:
    run = quick.run(DAYS[0], assets="made")
    (record,) = quick.instance.get_run_records()
    now = datetime.now(UTC)
    late = Position(now).after(record)
    assert (late.read_until, list(late.handled)) == (now, [run])
    ahead = Position(now - timedelta(hours=1)).after(record._replace(update_timestamp=now + timedelta(days=1)))
    assert ahead.read_until <= datetime.now(UTC)
    old = Position(now, {"old": now - timedelta(minutes=16)}).after(record)
    assert list(old.handled) == [run], "what is past the overlap is asked for no more"
    assert Position.parse(str(late)) == late
    for broken in (None, "", "[]", "{}", '{"read_until": 1, "handled": {}}'):
        assert now - Position.parse(broken).read_until > timedelta(hours=23)


def test_the_sensor_is_on_and_knows_which_assets_have_days(tmp_path: Path) -> None:
    whole = build_definitions(settings=Settings(home=tmp_path))
    sensor = whole.resolve_sensor_def("alerts")
    assert (sensor.default_status, sensor.minimum_interval_seconds) == (dg.DefaultSensorStatus.RUNNING, 30)
    assert sensor.required_resource_keys == {"warehouse"}
    by_day = {spec.key.to_user_string() for spec in whole.resolve_all_asset_specs() if spec.partitions_def}
    assert by_day == set(DAILY_ASSETS)


def test_without_channels_incidents_are_kept(quick: World) -> None:
    quick.settings = replace(quick.settings, alerts={})
    quick.weather.failing_checks = {DAYS[0]}
    quick.run(DAYS[0], assets="made")
    assert quick.tick() == "1 failing, notes: 0 written, 0 delivered"
    assert quick.failing() == {("made", "answered_0"): [DAYS[0]]}
