"""Pruning of the warehouse: what is removed was asked for, and what rests on it stays as it was."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from cowrie_assets.assets import freezing
from cowrie_assets.assets.freezing import freeze_day, late_events, late_in_words, prune_events
from cowrie_assets.assets.ingestion import ingest
from cowrie_assets.assets.reconstruction import days_due, rebuild_day
from cowrie_assets.cli.show import show_session
from cowrie_assets.lookup.services import SERVICES
from cowrie_assets.lookup.status import statuses
from cowrie_assets.settings import SensorNames
from cowrie_assets.warehouse.database import open_connection
from cowrie_assets.warehouse.event_chunks import Connection, stored_lines
from cowrie_assets.warehouse.pruning import Prunable, prune_list_copies, prune_notes, pruning_alone
from cowrie_assets.warehouse.session_rows import SESSION_TABLES
from cowrie_assets.warehouse.storage import Use, forecast, keep_measurement, shown_bytes, size_of, with_growth
from cowrie_assets_tests.integration.test_idempotence import records
from cowrie_assets_tests.integration.test_ingestion import load, one
from cowrie_assets_tests.loglines import event, stamp, write_log
from cowrie_assets_tests.rows import all_digests, digest, empty

pytestmark = pytest.mark.one_server

NOW = datetime(2025, 3, 20, 12, tzinfo=UTC)


def at(session: str, day: int, hour: float, **fields: Any) -> dict[str, Any]:
    """An event of a day of March 2025."""
    return event(session, **fields) | {"timestamp": stamp((day - 1) * 86400 + (hour - 12) * 3600)}


def day(number: int) -> date:
    return date(2025, 3, number)


def freeze_until(connection: Connection, last: int) -> Prunable:
    """Prune the lines of all days up to this one of March."""
    return prune_events(connection, 20 - last - 1, NOW, apply=True)


def sessions(connection: Connection) -> list[tuple[str, int, int]]:
    """Id, day of March, events."""
    return connection.execute(
        "SELECT session_id, extract(day FROM day)::int, event_count FROM sessions ORDER BY 1, 2"
    ).fetchall()


class TestEvents:
    def test_pruned_lines_are_known_when_they_come_again(self, connection: Connection, tmp_path: Path) -> None:
        events = [at("aa11", 1, 12), at("bb22", 2, 12), at("cc33", 3, 12), at("cc33", 3, 13, event_id="command.input")]
        log = write_log(tmp_path / "a" / "cowrie.json", events)
        load(connection, tmp_path / "a")
        rows = {table: digest(connection, f"SELECT * FROM {table}") for table in SESSION_TABLES}
        found = freeze_until(connection, 2)
        assert (found.rows, found.bytes > 0, found.oldest) == (2, True, datetime(2025, 3, 1, tzinfo=UTC))
        assert [line.count(b"cc33") for _, _, line in stored_lines(connection)] == [1, 1]
        (tmp_path / "b").mkdir()
        log.rename(tmp_path / "b" / "copy.json")
        again = load(connection, tmp_path / "b")
        assert (again.events, again.duplicates, again.changed_days) == (0, 4, set())
        assert {table: digest(connection, f"SELECT * FROM {table}") for table in SESSION_TABLES} == rows
        assert one(connection, "SELECT sum(events)::int, sum(freed_bytes) > 0 FROM frozen_days") == (2, True)

    def test_a_dry_run_changes_nothing_and_tells_the_same(self, connection: Connection, tmp_path: Path) -> None:
        write_log(tmp_path / "cowrie.json", [at("aa11", 1, 12), at("bb22", 2, 12)])
        load(connection, tmp_path)
        before = all_digests(connection)
        dry = prune_events(connection, 7, NOW, apply=False)
        assert all_digests(connection) == before
        assert prune_events(connection, 7, NOW, apply=True) == dry
        assert prune_events(connection, 7, NOW, apply=True).rows == 0
        assert prune_events(connection, None, NOW, apply=True) == Prunable("event_chunks", dry.what)

    def test_a_frozen_day_is_left_as_it_is_and_says_so(self, connection: Connection, tmp_path: Path) -> None:
        write_log(tmp_path / "cowrie.json", [at("aa11", 1, 12), at("bb22", 1, 13)])
        load(connection, tmp_path)
        assert rebuild_day(connection, day(1)).frozen_at is None
        freeze_until(connection, 1)
        rebuilt = rebuild_day(connection, day(1))
        assert (rebuilt.frozen_at, rebuilt.rows["sessions"]) == (NOW, 2)
        assert sessions(connection) == [("aa11", 1, 1), ("bb22", 1, 1)]

    def test_late_events_of_a_frozen_day_are_stored_counted_and_told(
        self, connection: Connection, tmp_path: Path
    ) -> None:
        write_log(tmp_path / "a.json", [at("aa11", 1, 12)])
        load(connection, tmp_path)
        freeze_until(connection, 1)
        assert late_in_words(late_events(connection)) == ""
        write_log(tmp_path / "b.json", [at("aa11", 1, 13), at("bb22", 1, 14)])
        assert load(connection, tmp_path).events == 2
        assert sessions(connection) == [("aa11", 1, 1)]
        (late,) = late_events(connection)
        assert (late.day, late.events) == (day(1), 2)
        assert "1 frozen days (2025-03-01), 2 of them dated there" in late_in_words([late])
        assert days_due(connection, "sessions") == set()
        assert days_due(connection, "dshield_enrichment") == {day(1)}
        # Their lines are in no session: they are not pruned either.
        freeze_until(connection, 1)
        assert len(list(stored_lines(connection))) == 2

    def test_a_session_that_runs_out_of_a_frozen_day_stays_what_it_is(
        self, connection: Connection, tmp_path: Path
    ) -> None:
        write_log(tmp_path / "a.json", [at("aa11", 1, 23), at("aa11", 2, 1), at("bb22", 2, 2)])
        load(connection, tmp_path)
        freeze_until(connection, 1)
        assert rebuild_day(connection, day(2)).rows["sessions"] == 1
        write_log(tmp_path / "b.json", [at("aa11", 2, 3), at("bb22", 2, 4)])
        load(connection, tmp_path)
        assert sessions(connection) == [("aa11", 1, 2), ("bb22", 2, 2)]
        assert [(late.day, late.events) for late in late_events(connection)] == [(day(1), 0)]

    def test_a_late_event_of_a_frozen_day_takes_no_session_from_the_next(
        self, connection: Connection, tmp_path: Path
    ) -> None:
        write_log(tmp_path / "a.json", [at("aa11", 1, 12), at("bb22", 2, 1)])
        load(connection, tmp_path)
        freeze_until(connection, 1)
        write_log(tmp_path / "b.json", [at("bb22", 1, 23), at("bb22", 2, 2)])
        load(connection, tmp_path)
        assert sessions(connection) == [("aa11", 1, 1), ("bb22", 2, 2)]

    def test_a_gap_that_was_open_when_the_day_was_frozen_stays_open(
        self, connection: Connection, tmp_path: Path
    ) -> None:
        """Filled later, the second session would become part of the first, which is never rebuilt."""
        write_log(tmp_path / "a.json", [at("aa11", 1, 0.5), at("aa11", 2, 23)])
        load(connection, tmp_path)
        freeze_until(connection, 1)
        write_log(tmp_path / "b.json", [at("aa11", 2, 0.25)])
        load(connection, tmp_path)
        assert sessions(connection) == [("aa11", 1, 1), ("aa11", 2, 2)]

    def test_a_gap_behind_a_session_of_a_frozen_day_stays_open(self, connection: Connection, tmp_path: Path) -> None:
        write_log(tmp_path / "a.json", [at("aa11", 1, 23), at("aa11", 2, 0.25), at("aa11", 3, 23)])
        load(connection, tmp_path)
        freeze_until(connection, 1)
        write_log(tmp_path / "b.json", [at("aa11", 3, 0.1)])
        load(connection, tmp_path)
        assert sessions(connection) == [("aa11", 1, 2), ("aa11", 3, 2)]

    def test_the_command_session_says_that_lines_were_pruned(self, connection: Connection, tmp_path: Path) -> None:
        write_log(tmp_path / "a.json", [at("aa11", 1, 23), at("aa11", 2, 1, event_id="session.closed")])
        load(connection, tmp_path)
        freeze_until(connection, 1)
        console = Console(record=True, file=io.StringIO(), width=200)
        assert show_session(console, connection, "aa11") == 2
        told = console.export_text().splitlines()
        assert told[0] == "alpha 2025-03-01"
        assert told[1].strip() == "The lines of this day were pruned on 2025-03-20 ([retention] of sensors.toml)."
        assert told[2] == "alpha 2025-03-02"
        assert "cowrie.session.closed" in told[3]

    def test_a_day_that_comes_late_does_not_run_on_into_a_frozen_one(
        self, connection: Connection, tmp_path: Path
    ) -> None:
        write_log(tmp_path / "a.json", [at("aa11", 3, 1)])
        load(connection, tmp_path)
        freeze_until(connection, 3)
        write_log(tmp_path / "b.json", [at("aa11", 2, 23)])
        load(connection, tmp_path)
        assert sessions(connection) == [("aa11", 2, 1), ("aa11", 3, 1)]
        assert late_events(connection) == []

    def test_lines_that_sessions_still_need_are_not_pruned(self, connection: Connection, tmp_path: Path) -> None:
        """Those of a day that waits to be built, and of the days into which its sessions may run."""
        write_log(tmp_path / "a.json", [at("aa11", 1, 12), at("aa11", 5, 12), at("bb22", 6, 12), at("cc33", 8, 12)])
        load(connection, tmp_path)
        write_log(tmp_path / "b.json", [at("dd44", 5, 12)])
        ingest(connection, [tmp_path], SensorNames())
        found = freeze_until(connection, 10)
        assert "2 days are left" in found.note
        frozen = connection.execute("SELECT extract(day FROM day)::int FROM frozen_days ORDER BY 1").fetchall()
        assert frozen == [(1,), (8,)]
        assert not freeze_day(connection, day(5), NOW)

    def test_killed_between_two_days_it_goes_on(
        self, connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_log(tmp_path / "a.json", [at("aa11", number, 12) for number in (1, 3, 5)])
        load(connection, tmp_path)
        whole = freezing.freeze_day

        def die_on_the_third(connection: Connection, day_: date, now: datetime) -> bool:
            if day_ == day(3):
                with connection.transaction():
                    connection.execute("UPDATE event_chunks SET payload = '' WHERE day = %s", (day_,))
                    raise KeyboardInterrupt
            return whole(connection, day_, now)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(freezing, "freeze_day", die_on_the_third)
            freeze_until(connection, 10)
        assert len(list(stored_lines(connection))) == 2
        freeze_until(connection, 10)
        assert len(list(stored_lines(connection))) == 0
        assert one(connection, "SELECT count(*) FROM frozen_days") == 3


@pytest.mark.one_server
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    loads=st.lists(st.tuples(st.lists(records(), min_size=1, max_size=12), st.integers(0, 5)), min_size=2, max_size=4)
)
def test_whatever_comes_when_no_session_is_lost_and_nothing_waits_unseen(
    new_connection: Callable[[], AbstractContextManager[Connection]],
    loads: list[tuple[list[dict[str, Any]], int]],
) -> None:
    """Days are frozen between loads in any order. Frozen days keep their rows; every id with an event on a kept day is
    in some session; and rebuilding all kept days changes nothing, so the days to rebuild were all known."""
    with new_connection() as connection, TemporaryDirectory() as folder:
        kept: dict[date, str] = {}
        for number, (events, last) in enumerate(loads):
            write_log(Path(folder) / f"{number}.json", events)
            load(connection, Path(folder))
            for frozen, rows in kept.items():
                assert digest(connection, f"SELECT * FROM sessions WHERE day = '{frozen}'") == rows
            for offset in range(last):
                if freeze_day(connection, day(1 + offset), NOW):
                    kept[day(1 + offset)] = digest(
                        connection, f"SELECT * FROM sessions WHERE day = '{day(1 + offset)}'"
                    )
        before = digest(connection, "SELECT * FROM sessions")
        known = set(connection.execute("SELECT sensor, session_id FROM sessions").fetchall())
        for (stored,) in connection.execute("SELECT day FROM event_days").fetchall():
            rebuild_day(connection, stored)
        assert digest(connection, "SELECT * FROM sessions") == before
        pruned = {str(frozen) for frozen in kept}
        for sensor, _, line in stored_lines(connection):
            value = json.loads(line)
            assert value["timestamp"][:10] in pruned or (sensor, value["session"]) in known
        empty(connection)


DAYS: dict[str, int | None] = {"ledger": 400, "alert_notes": 90, "storage_use": 400}


class TestNotes:
    def ask(self, connection: Connection, days_ago: float, outcome: str | None = "found", keys: int = 1) -> None:
        connection.execute(
            "INSERT INTO lookup_ledger (service, key, key_count, sent_at, outcome, latency_ms, run_id, limit_key) "
            "VALUES ('virustotal', 'k', %s, %s, %s, 100, 'r', 'virustotal')",
            (keys, NOW - timedelta(days=days_ago), outcome),
        )

    def count(self, connection: Connection, run: str, days_ago: float, hits: int) -> None:
        connection.execute(
            "INSERT INTO lookup_counters (run_id, service, tier, hits, misses, stores, errors, oldest_answer_at, "
            "counted_at) VALUES (%s, 'virustotal', 'database', %s, 1, 2, 3, %s, %s)",
            (run, hits, NOW - timedelta(days=days_ago + 1), NOW - timedelta(days=days_ago)),
        )

    def test_status_tells_the_same_after_the_ledger_was_pruned(self, connection: Connection) -> None:
        for days_ago, outcome, keys in ((900, "found", 500), (500, "not_found", 1), (401, None, 1), (399, "found", 2)):
            self.ask(connection, days_ago, outcome, keys)
        for run, days_ago, hits in (("a", 700, 5), ("b", 600, 7), ("c", 3, 11)):
            self.count(connection, run, days_ago, hits)
        services = {"virustotal": SERVICES["virustotal"]}
        before = statuses(connection, services)
        assert (before[0].told.requests, before[0].told.keys, before[0].told.hits_database) == (4, 504, 23)
        told = {part.part: part.rows for part in prune_notes(connection, DAYS, NOW, apply=True)}
        assert told == {
            "lookup_ledger": 3,
            "lookup_counters": 2,
            "network_spending": 0,
            "alert_notes": 0,
            "storage_use": 0,
        }
        assert statuses(connection, services) == before
        assert one(connection, "SELECT count(*) FROM lookup_ledger") == 1
        assert one(connection, "SELECT count(*) FROM lookup_counters") == 2
        # What goes later is added to it, and nothing twice.
        assert sum(part.rows for part in prune_notes(connection, {**DAYS, "ledger": 2}, NOW, apply=True)) == 2
        assert sum(part.rows for part in prune_notes(connection, {**DAYS, "ledger": 2}, NOW, apply=True)) == 0
        (after,) = statuses(connection, services)
        assert after.told.requests == before[0].told.requests
        assert after.told.hits_database == before[0].told.hits_database
        assert after.told.last_request_at == before[0].told.last_request_at

    def test_only_notes_that_are_settled_go(self, connection: Connection) -> None:
        old, recent = NOW - timedelta(days=91), NOW - timedelta(days=1)
        for title, delivered, given_up in (
            ("old", old, None),
            ("given up", None, old),
            ("late", recent, None),
            ("on its way", None, None),
        ):
            connection.execute(
                "INSERT INTO alert_notes (channel, kind, title, body, written_at, next_try_at, tries, delivered_at, "
                "given_up_at) VALUES ('mail', 'failure', %s, '', %s, %s, 1, %s, %s)",
                (title, old, old, delivered, given_up),
            )
        list(prune_notes(connection, DAYS, NOW, apply=True))
        assert {title for (title,) in connection.execute("SELECT title FROM alert_notes")} == {"late", "on its way"}

    def test_accounts_of_networks_and_measurements_go(self, connection: Connection) -> None:
        connection.execute(
            "INSERT INTO network_spending VALUES ('v', '2024-01-01', '192.0.2.0/24', 1), "
            "('v', '2025-03-19', '192.0.2.0/24', 1)"
        )
        for days_ago in (500, 3):
            keep_measurement(connection, [Use("cache/", 1)], NOW - timedelta(days=days_ago))
        dry = list(prune_notes(connection, DAYS, NOW, apply=False))
        assert one(connection, "SELECT count(*) FROM storage_use") == 2
        assert list(prune_notes(connection, DAYS, NOW, apply=True)) == dry
        assert one(connection, "SELECT count(*) FROM storage_use") == 1
        assert one(connection, "SELECT min(day) FROM network_spending") == day(19)

    def test_two_never_prune_at_once(self, database_url: str, connection: Connection) -> None:
        with open_connection(database_url) as other, pruning_alone(connection) as first, pruning_alone(other) as second:
            assert (first, second) == (True, False)
        with pruning_alone(connection) as again:
            assert again


def test_the_newest_copy_of_a_list_stays_however_old(tmp_path: Path) -> None:
    def write(name: str, days_ago: float) -> None:
        (tmp_path / name).write_text("192.0.2.1\n")
        moment = (NOW - timedelta(days=days_ago)).timestamp()
        os.utime(tmp_path / name, (moment, moment))

    for name, days_ago in (
        ("tor_exits.txt", 300),
        ("cloud_ranges.csv", 1),
        ("cloud_ranges.json", 200),
        (".tor_exits.txt.new", 2),
        (".cloud_ranges.csv.new", 0.1),
    ):
        write(name, days_ago)
    assert prune_list_copies(tmp_path, 30, NOW, apply=False).rows == 2
    assert prune_list_copies(tmp_path, 30, NOW, apply=True).rows == 2
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"tor_exits.txt", "cloud_ranges.csv", ".cloud_ranges.csv.new"}
    assert prune_list_copies(tmp_path / "absent", 30, NOW, apply=True).rows == 0


class TestGrowth:
    def test_growth_is_told_since_a_week_and_the_disk_is_full_in_so_many_days(
        self, connection: Connection, tmp_path: Path
    ) -> None:
        now = [Use("cache/", 8_000), Use("sessions", 1_000, 10), Use("new", 5)]
        assert forecast(tmp_path, with_growth(connection, now, NOW), embedded=True).growth is None
        for days_ago, size in ((20, 1), (10, 3_000), (7, 1_000), (1, 7_000)):
            keep_measurement(connection, [Use("cache/", size), Use("sessions", 300)], NOW - timedelta(days=days_ago))
        grown = {use.part: use.growth for use in with_growth(connection, now, NOW)}
        assert grown == {"cache/": 1_000, "sessions": 100, "new": None}
        here = forecast(tmp_path, with_growth(connection, now, NOW), embedded=True)
        assert here.growth == 1_100
        assert here.days is not None
        assert here.days == pytest.approx(here.free_bytes / 1_100)
        assert "full in" in here.words
        elsewhere = forecast(tmp_path, with_growth(connection, now, NOW), embedded=False)
        assert elsewhere.growth == 1_000

    def test_a_day_old_measurement_serves_until_there_is_one_of_a_week(self, connection: Connection) -> None:
        keep_measurement(connection, [Use("cache/", 100)], NOW - timedelta(days=2))
        keep_measurement(connection, [Use("cache/", 150)], NOW - timedelta(hours=1))
        assert [use.growth for use in with_growth(connection, [Use("cache/", 200)], NOW)] == [50]

    def test_sizes_are_what_the_disk_gives(self, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "file").write_bytes(b"x" * 100_000)
        (tmp_path / "loop").symlink_to(tmp_path)
        assert 100_000 <= size_of(tmp_path) < 150_000
        assert size_of(tmp_path / "absent") == 0
        assert [shown_bytes(size) for size in (999, 1_500, 2_340_000, -5_000)] == [
            "999 bytes",
            "1.5 kB",
            "2.3 MB",
            "-5.0 kB",
        ]
