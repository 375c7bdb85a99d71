"""What an operator sees of each asset in the UI: what it is, the code behind it, what it came to, and that before.

Proved here: with the real definitions, in process, over logs and answers whose every name is hostile. Rendered is the
Markdown with a parser of the same standard as the UI's, so that "none of it is active" means: no HTML, no link, no
picture but our own. Not here: the numbers themselves (`test_shown`), pictures (`test_charts`), a browser.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest
from markdown_it import MarkdownIt

from cowrie_assets.assets.infrastructure import QUERIES
from cowrie_assets.assets.lists import LISTS
from cowrie_assets.assets.previous import NOW_AND_BEFORE
from cowrie_assets.assets.questions import QUESTIONS
from cowrie_assets.automation.jobs import range_tags
from cowrie_assets.definitions import build_definitions
from cowrie_assets.settings import Settings
from cowrie_assets.warehouse.database import open_connection
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets.warehouse.views import sql_file
from cowrie_assets_tests.conftest import Server
from cowrie_assets_tests.integration.test_asking import insert_answer
from cowrie_assets_tests.loglines import START, event, write_log
from cowrie_assets_tests.unit.test_charts import drawn, words

DAYS = [START.date() + timedelta(days=number) for number in range(3)]
DAILY = ("sessions", "session_snapshots", *QUESTIONS)
MADE_BY_SQL = {
    "session_snapshots": ["write_session_snapshots.sql"],
    "asn_inventory": ["observe_cymru_answers.sql", "write_asn_inventory.sql"],
    "ip_inventory": ["write_ip_inventory.sql"],
    "session_summaries": ["session_summaries.sql", "enrichment_cache.sql", "ip_asn_history.sql"],
    **{question.asset: [question.sql] for question in QUESTIONS.values()},
    **{query.name: [query.sql_name, "query_coverage.sql"] for query in QUERIES},
}
UNPARTITIONED = {
    *("events", "geo_databases", "asn_inventory", "ip_inventory", "session_summaries", "infrastructure_report"),
    *(query.name for query in QUERIES),
}
HOSTILE = (
    "<img src=x onerror=alert(1)> ](http://evil.example) `a` |b| ~~c~~ @everyone www.evil.example\n# d\r\n\x1b[31m"
)
# What remains of it where only its beginning has room.
MARK = "<img src=x onerror"
SHA256 = "ab" * 32
SOURCES = ("8.8.4.4", "9.9.9.9")


# --- the definitions --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dg.AssetSpec]:
    definitions = build_definitions(settings=Settings(home=tmp_path_factory.mktemp("home")))
    return {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}


def test_every_asset_says_what_it_is_whose_it_is_and_why_running_it_twice_is_safe(
    specs: dict[str, dg.AssetSpec],
) -> None:
    for name, spec in specs.items():
        assert "twice" in (spec.description or ""), name
        assert spec.group_name not in (None, "default"), name
        assert spec.kinds, name
        assert spec.owners == ["team:honeypot"], name


def test_every_asset_links_to_the_function_that_makes_it_and_to_the_files_behind_it(
    specs: dict[str, dg.AssetSpec],
) -> None:
    for name, spec in specs.items():
        first, *others = spec.metadata["dagster/code_references"].code_references
        line = Path(first.file_path).read_text().splitlines()[first.line_number - 1]
        # Its own module, not that of a decorator around it.
        assert line.strip().startswith(("@dg.asset", "@dg.graph")), (name, first)
        files = [Path(link.file_path) for link in others]
        assert all(file.is_file() for file in files), name
        assert [file.name for file in files if file.suffix == ".sql"] == MADE_BY_SQL.get(name, [])
        assert files or name == "storage_use", name


def test_the_sql_behind_an_asset_is_shown_before_it_ever_ran(specs: dict[str, dg.AssetSpec]) -> None:
    shown = {name: str(spec.metadata["sql"].value) for name, spec in specs.items() if "sql" in spec.metadata}
    assert set(shown) == set(MADE_BY_SQL)
    for name, text in shown.items():
        for file in MADE_BY_SQL[name]:
            assert f"```sql\n-- sql/{file}\n{sql_file(file).read_text()}\n```" in text


def test_a_backfill_of_an_old_day_makes_nothing_fresh(specs: dict[str, dg.AssetSpec]) -> None:
    """Dagster's policies look at the newest materialization: of a daily asset that may be a day of last spring. Its
    freshness is the check `up_to_date`."""
    policies = {name: spec.freshness_policy for name, spec in specs.items() if spec.freshness_policy is not None}
    assert set(policies) >= UNPARTITIONED | set(LISTS)
    assert not set(policies) & set(DAILY)
    assert all(spec.partitions_def is None for name, spec in specs.items() if name in policies)
    assert {windows(policies[name]) for name in UNPARTITIONED} == {(26, 36)}


def test_lists_are_to_be_looked_at_by_their_life_and_the_schedule(tmp_path: Path) -> None:
    def lists(automation: dict[str, object], checks: dict[str, object]) -> dict[str, tuple[float, float]]:
        settings = Settings(home=tmp_path, automation=automation, checks=checks)
        specs = build_definitions(settings=settings).resolve_all_asset_specs()
        return {name: windows(spec.freshness_policy) for spec in specs if (name := spec.key.to_user_string()) in LISTS}

    assert lists({}, {}) == {"tor_exits": (8, 48), "cloud_ranges": (26, 48)}
    assert lists({"lists_every": "1d"}, {"lists_age": "3d"}) == {"tor_exits": (26, 72), "cloud_ranges": (26, 72)}
    assert lists({}, {"lists_age": "1h"}) == {"tor_exits": (8, 10), "cloud_ranges": (26, 28)}


def windows(policy: dg.FreshnessPolicy | None) -> tuple[float, float]:
    """Hours until a warning, and until a failure."""
    known = json.loads(dg.serialize_value(policy))  # type: ignore[arg-type]  # it has no other public face
    warn, fail = ((known[name]["days"] * 24 + known[name]["seconds"] / 3600) for name in ("warn_window", "fail_window"))
    return warn, fail


# --- what was materialized --------------------------------------------------------------------------------------------


class World:
    """Three days of hostile logs with hostile answers about them, and all assets over them, run once and once more."""

    def __init__(self, home: Path, connection: Connection, instance: dg.DagsterInstance) -> None:
        self.logs = home / "logs"
        self.connection = connection
        self.instance = instance
        self.definitions = build_definitions()

    def run(self, job: str, *assets: str, tags: Mapping[str, str] | None = None) -> None:
        # Few sessions are enough for a network to be shown, where that is among what runs.
        few = {"asn_infrastructure": {"config": {"minimum_sessions": 1}}} if job == "daily" and not assets else {}
        result = self.definitions.resolve_job_def(job).execute_in_process(
            asset_selection=[dg.AssetKey(name) for name in assets] or None,
            instance=self.instance,
            tags=dict(tags or {}),
            run_config={"ops": few, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        assert result.success

    def days(self, first: date = DAYS[0], last: date = DAYS[-1], *assets: str) -> None:
        self.run("daily", *assets, tags=range_tags(first, last))

    def told(self, asset: str, day: date | None = None) -> dict[str, dg.MetadataValue]:
        """The metadata of the newest materialization."""
        wanted = dg.AssetRecordsFilter(
            asset_key=dg.AssetKey(asset), asset_partitions=None if day is None else [day.isoformat()]
        )
        (record,) = self.instance.fetch_materializations(wanted, limit=1).records
        assert record.asset_materialization is not None
        return dict(record.asset_materialization.metadata)

    def everything(self) -> Iterator[tuple[str, dict[str, dg.MetadataValue]]]:
        for asset in (*sorted(UNPARTITIONED), *LISTS):
            yield asset, self.told(asset)
        for asset in DAILY:
            for day in DAYS:
                yield asset, self.told(asset, day)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, embedded_server: Server) -> Iterator[World]:
    home = tmp_path_factory.mktemp("metadata")
    url = embedded_server.new_database()
    with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.ephemeral(tempdir=str(home)) as instance:
        for name, value in {"HOME": str(home / "home"), "DATABASE_URL": url, "MODE": "live"}.items():
            patch.setenv(f"COWRIE_{name}", value)
        Settings.from_environment().remember_log_folders((home / "logs",))
        with open_connection(url) as connection:
            write_hostile_logs(home / "logs")
            answer_hostilely(connection)
            world = World(home, connection, instance)
            world.run("ingest")
            world.days()
            yield world


def write_hostile_logs(logs: Path) -> None:
    events = []
    for number in range(len(DAYS)):
        begin = number * 86400
        # The second day has a session less, so that it is not taken for the first one.
        for at, source in enumerate((*SOURCES, SOURCES[0])[: 2 if number == 1 else 3]):
            name, later = f"{number}{at}<b>|`", begin + 60 * at
            about = {"sensor": HOSTILE, "src_ip": source}
            events += [
                event(name, later, **about),
                event(name, later + 1, "login.success", username=HOSTILE, password=HOSTILE, **about),
                event(name, later + 2, "command.input", input=HOSTILE, **about),
                event(name, later + 3, "session.file_download", shasum=SHA256, url=HOSTILE, outfile=HOSTILE, **about),
                event(name, later + 9, "session.closed", duration=9.0, **about),
            ]
    write_log(logs / "cowrie.json", events)
    (logs / "](x)`|<img src=x onerror=alert(1)>.json.gz").write_bytes(b"\x1f\x8b\x08 torn")


def answer_hostilely(connection: Connection) -> None:
    begin, end = START - timedelta(days=1), START + timedelta(days=5000)
    names = {"as_name": HOSTILE, "organization": HOSTILE, "infrastructure": HOSTILE, "tags": [HOSTILE]}
    facts = {"asn": 64500, "attacks": 7, "url_count": 3, "is_vpn": True, "prefix": "8.8.4.0/24"}
    for service in ("dshield", "urlhaus", "spur", "cymru", "greynoise"):
        for source in SOURCES:
            insert_answer(connection, service, source, begin, end, "found", {**names, **facts})
    fields = {"label": HOSTILE, "meaningful_name": HOSTILE, "malicious": 40, "engines": 60}
    insert_answer(connection, "virustotal", SHA256, begin, end, "found", fields)
    for name, entry in (("tor_exits", "address"), ("cloud_ranges", "prefix, provider")):
        connection.execute(
            "INSERT INTO list_editions (list, fetched_at, valid_until, sha256, row_count) VALUES (%s, %s, %s, 'x', 1)",
            (name, begin, end),
        )
        values = ("9.9.9.9",) if name == "tor_exits" else ("8.8.4.0/24", HOSTILE)
        marks = ", ".join(["%s"] * len(values))
        connection.execute(f"INSERT INTO {name} ({entry}, listed_from) VALUES ({marks}, %s)".encode(), (*values, begin))
    connection.execute(
        "INSERT INTO geo_databases (kind, fetched_at, source, edition, built_at, sha256) "
        "VALUES ('city', %s, 'dbip', %s, %s, 'x')",
        (begin, HOSTILE, begin),
    )


def test_none_of_what_attackers_and_services_said_is_active_in_any_asset(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    monkeypatch.setattr(parser, "validateLink", lambda _: True)  # whatever a link leads to, it is one
    read: dict[str, str] = {}
    for asset, metadata in world.everything():
        for name, value in metadata.items():
            where = f"{asset}: {name}"
            if not isinstance(value, dg.MarkdownMetadataValue):
                # The UI shows these as they are; it looks for no markup in them.
                assert isinstance(value.value, str | int | float | None), where
                continue
            text = str(value.md_str)
            assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) <= 1, where
            tokens = [each for token in parser.parse(text) for each in (token, *(token.children or []))]
            assert {token.type for token in tokens} <= HARMLESS, where
            pictures = [str(token.attrs["src"]) for token in tokens if token.type == "image"]
            plain = [token.content for token in tokens if token.type in ("text", "code_inline")]
            # GitHub's Markdown, which the UI speaks, makes links of addresses that are plain text.
            assert not re.search(r"https?://\w|www\.\w|\w@\w|(?<!\w)@everyone", "\n".join(plain)), where
            read[asset] = read.get(asset, "") + "\n".join([*plain, *(w for uri in pictures for w in words(drawn(uri)))])
    for asset in MENTIONED:
        assert MARK in read[asset], f"{asset} shows nothing of what was made up for it"


HARMLESS = {
    *(
        f"{name}_{edge}"
        for name in ("table", "thead", "tbody", "tr", "th", "td", "paragraph")
        for edge in ("open", "close")
    ),
    *("bullet_list_open", "bullet_list_close", "list_item_open", "list_item_close"),
    *("inline", "text", "softbreak", "image", "code_inline"),
}
MENTIONED = (
    *("events", "sessions", "geo_databases", "cloud_ranges", "asn_inventory", "dshield_enrichment"),
    *("urlhaus_enrichment", "spur_enrichment", "virustotal_files", "password_stats", "asn_infrastructure"),
)


def test_a_materialization_repeats_no_sql_and_is_small(world: World) -> None:
    for asset, metadata in world.everything():
        sizes = {name: len(str(value.value)) for name, value in metadata.items()}
        assert not [name for name, value in metadata.items() if "SELECT" in str(value.value)], asset
        assert sum(sizes.values()) < 15_000, (asset, sizes)


def test_a_day_of_sessions_shows_what_an_operator_wants(world: World) -> None:
    told = world.told("sessions", DAYS[0])
    numbers = {name: value.value for name, value in told.items() if isinstance(value.value, int)}
    assert numbers["dagster/row_count"] == numbers["sessions"] == 3
    assert (numbers["addresses"], numbers["sensors"], numbers["logins"], numbers["downloads"]) == (2, 1, 3, 3)
    assert {"by sensor", "sessions by hour"} <= set(told)


@pytest.mark.parametrize("asset", QUESTIONS)
def test_a_day_of_answers_shows_coverage_cost_and_age(world: World, asset: str) -> None:
    told = world.told(asset, DAYS[1])
    assert {"coverage", "run: requests", "run: quota", "run: left open", "dagster/row_count"} <= set(told)
    rates = [value.value for name, value in told.items() if name.startswith("run: hit rate: ")]
    if asset == "password_stats":
        assert told["answered share of sessions"].value == 0.0
        assert "open, and why" in told
        return
    assert isinstance(told["oldest answer"], dg.TimestampMetadataValue)
    assert max(float(str(rate)) for rate in rates) == 1.0
    assert next(value.value for name, value in told.items() if name.startswith("answered share")) == 1.0


def test_quotas_that_are_left_are_numbers(world: World) -> None:
    assert isinstance(world.told("virustotal_files", DAYS[0])["run: quota left"], dg.IntMetadataValue)
    inventory = world.told("ip_inventory")
    assert isinstance(inventory["greynoise: quota left"], dg.IntMetadataValue)
    assert inventory["cymru: requests"].value == 0
    assert {"by type", "top addresses", "chart"} <= set(inventory)


def test_the_value_of_before_stands_beside_the_new_one_of_the_same_day(world: World) -> None:
    assert NOW_AND_BEFORE not in world.told("sessions", DAYS[0])
    late = [event("late", 0, sensor="beta", src_ip="1.1.1.1")]
    write_log(world.logs / "late.json", late)
    world.run("ingest")
    world.days(DAYS[0], DAYS[1])
    first, second = (told_table(world.told("sessions", day)) for day in DAYS[:2])
    assert (first["rows"], first["addresses"], first["sensors"]) == (("4", "3"), ("3", "2"), ("2", "1"))
    assert (second["rows"], second["addresses"]) == (("2", "2"), ("2", "2"))
    assert NOW_AND_BEFORE not in world.told("sessions", DAYS[2])
    # Those without days, once for the asset; and what is a number stays one, so that Dagster plots it.
    told = world.told("session_summaries")
    assert told_table(told)["rows"] == ("9", "8")
    assert isinstance(told["dagster/row_count"], dg.IntMetadataValue)
    assert told_table(world.told("events"))["new events"] == ("1", "40")
    for asset in sorted(UNPARTITIONED):
        assert NOW_AND_BEFORE in world.told(asset), asset
    for asset in DAILY:
        assert NOW_AND_BEFORE in world.told(asset, DAYS[1]), asset


def told_table(metadata: Mapping[str, dg.MetadataValue]) -> dict[str, tuple[str, str]]:
    """By name, the value now and the one before."""
    lines = str(metadata[NOW_AND_BEFORE].value).splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name: (now, before) for name, now, before in rows}


def test_what_was_before_is_found_in_two_queries_however_many_days_there_are(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    for name in ("get_latest_storage_id_by_partition", "fetch_materializations"):
        real = getattr(dg.DagsterInstance, name)

        def counted(*args: object, real: object = real, name: str = name, **kwargs: object) -> object:
            asked.append(name)
            return real(*args, **kwargs)  # type: ignore[operator]

        monkeypatch.setattr(dg.DagsterInstance, name, counted)
    world.days(DAYS[0], DAYS[2], "sessions")
    # Once for the asset, and once for each of its two checks, which say which materialization they judge.
    assert sorted(asked) == [*["fetch_materializations"] * 3, *["get_latest_storage_id_by_partition"] * 3]
