"""Ingestion: re-ingesting is a no-op (P5), no record is lost (P6), bad input is named and survived."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from cowrie_assets.assets.ingestion import (
    Ingested,
    NothingToLoad,
    count_out_of_range,
    ingest,
    partition_days,
)
from cowrie_assets.assets.reconstruction import days_due, rebuild_day
from cowrie_assets.checks.conservation import check_files, check_store
from cowrie_assets.settings import Sensor, SensorNames
from cowrie_assets.warehouse.event_chunks import Connection, session_days, session_events
from cowrie_assets_tests.conftest import Server
from cowrie_assets_tests.loglines import event, line, stamp, write_log
from cowrie_assets_tests.rows import all_digests, log_digests


def load(connection: Connection, *folders: Path, names: SensorNames | None = None) -> Ingested:
    """Ingest, rebuild what is due, and hold the conservation checks each time."""
    done = ingest(connection, folders, names or SensorNames())
    for day in sorted(days_due(connection, "sessions")):
        rebuild_day(connection, day)
    for check in (check_files, check_store):
        passed, words = check(connection)
        assert passed, words
    return done


def one(connection: Connection, query: str) -> object:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0] if len(row) == 1 else row


def test_loading_twice_changes_no_row(connection: Connection, tmp_path: Path) -> None:
    """213,000 events became 426,000 in the system before this one."""
    write_log(tmp_path / "cowrie.json", [event("aa11", second) for second in range(50)])
    first = load(connection, tmp_path)
    before = all_digests(connection)
    second = load(connection, tmp_path)
    assert (first.events, second.events, second.unchanged_files) == (50, 0, 1)
    assert all_digests(connection) == before


def test_a_copy_under_another_name_adds_only_duplicates(connection: Connection, tmp_path: Path) -> None:
    log = write_log(tmp_path / "a" / "cowrie.json", [event("aa11", second) for second in range(50)])
    load(connection, tmp_path / "a")
    before = log_digests(connection)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "anything.gz").write_bytes(gzip.compress(log.read_bytes()))
    log.unlink()
    done = load(connection, tmp_path / "b")
    assert (done.records, done.events, done.duplicates) == (50, 0, 50)
    assert log_digests(connection) == before


def test_the_same_json_value_is_the_same_event_however_it_is_written(connection: Connection, tmp_path: Path) -> None:
    value = event("aa11", 1, "login.failed", username="rüt", password="p/w")
    texts = [
        json.dumps(value),
        json.dumps(dict(reversed(value.items())), separators=(",", ":"), ensure_ascii=False),
        json.dumps(value).replace("p/w", "p\\/w"),
    ]
    (tmp_path / "cowrie.json").write_text("\n".join(texts) + "\n", encoding="utf-8")
    done = load(connection, tmp_path)
    assert (done.records, done.events) == (3, 1)


def test_the_same_event_of_two_sensors_is_two_events(connection: Connection, tmp_path: Path) -> None:
    write_log(tmp_path / "cowrie.json", [event("aa11", 1), event("aa11", 1, sensor="beta")])
    assert load(connection, tmp_path).events == 2
    assert one(connection, "SELECT count(*) FROM sessions") == 2


def test_sensors_are_named_by_folder_then_by_what_they_report(connection: Connection, tmp_path: Path) -> None:
    """In a container the reported name changes with every restart."""
    write_log(tmp_path / "east" / "cowrie.json", [event("aa11", 1, sensor="f00dcafe0001")])
    write_log(tmp_path / "else" / "cowrie.json", [event("bb22", 1, sensor="f00dcafe0002")])
    write_log(tmp_path / "else" / "cowrie.json.1", [event("cc33", 1, sensor="other")])
    names = SensorNames((Sensor("harbour", logs=tmp_path / "east"), Sensor("hill", reported=("f00dcafe*",))))
    load(connection, tmp_path, names=names)
    rows = connection.execute("SELECT session_id, sensor, reported_sensor FROM sessions ORDER BY 1").fetchall()
    assert rows == [("aa11", "harbour", "f00dcafe0001"), ("bb22", "hill", "f00dcafe0002"), ("cc33", "other", "other")]


@pytest.mark.parametrize("cut", range(1, 400, 7))
def test_a_growing_file_torn_in_mid_line_loses_nothing_and_leaves_no_dead_letter(
    new_connection: Callable[[], Connection], tmp_path: Path, cut: int
) -> None:
    whole = b"".join(line(event("aa11", second)) for second in range(3))
    log = tmp_path / "cowrie.json"
    with new_connection() as connection:
        log.write_bytes(line(event("zz99", 0)) + whole[:cut])
        first = load(connection, tmp_path)
        assert first.dead_letters == 0
        log.write_bytes(line(event("zz99", 0)) + whole)
        second = load(connection, tmp_path)
        assert first.events + second.events == 4
        assert (second.duplicates, second.pending_bytes, second.dead_letters) == (0, 0, 0)
        assert one(connection, "SELECT count(*) FROM dead_letter_events") == 0


def test_a_whole_last_line_without_newline_is_a_record(connection: Connection, tmp_path: Path) -> None:
    log = tmp_path / "cowrie.json"
    log.write_bytes(line(event("aa11", 1)) + line(event("aa11", 2)).rstrip(b"\n"))
    assert load(connection, tmp_path).events == 2
    log.write_bytes(log.read_bytes() + b"\n" + line(event("aa11", 3)))
    done = load(connection, tmp_path)
    assert (done.events, done.duplicates, done.pending_bytes) == (1, 0, 0)


def test_a_torn_line_of_a_compressed_file_is_dead_until_the_whole_file_comes(
    connection: Connection, tmp_path: Path
) -> None:
    text = b"".join(line(event("aa11", second)) for second in range(3))
    log = tmp_path / "cowrie.json.1.gz"
    log.write_bytes(gzip.compress(text[:-20]))
    done = load(connection, tmp_path)
    assert (done.events, done.dead_letters) == (2, 1)
    log.write_bytes(gzip.compress(text))
    done = load(connection, tmp_path)
    assert (done.events, done.duplicates) == (1, 0)
    assert one(connection, "SELECT count(*) FROM dead_letter_events") == 0
    assert one(connection, "SELECT sum(dead_letters)::int FROM log_files") == 0


def test_rotation_under_the_same_name_begins_a_new_generation(connection: Connection, tmp_path: Path) -> None:
    log = write_log(tmp_path / "cowrie.json", [event("aa11", second) for second in range(9)])
    load(connection, tmp_path)
    log.rename(tmp_path / "cowrie.json.2025-03-01")
    write_log(log, [event("bb22", second) for second in range(20, 25)])
    done = load(connection, tmp_path)
    assert (done.events, done.duplicates) == (5, 9)
    assert one(connection, "SELECT max(generation) FROM log_files") == 2


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_compression_is_known_by_content(
    connection: Connection, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    """`.gz` was judged before decompression once, and refused as no JSON."""
    text = b"".join(line(event("aa11", second)) for second in range(9))
    (tmp_path / "var__log__cowrie").write_bytes(pack(text))
    assert load(connection, tmp_path).events == 9


def test_good_lines_around_bad_ones_load_and_every_byte_is_accounted_for(
    connection: Connection, tmp_path: Path
) -> None:
    bad = [b'{"eventid":"cowrie.x", torn', b"plain text", b"[1,2]", b'{"eventid":"other.x"}', b'{"eventid":"cowrie.x"}']
    good = [line(event("aa11", second)) for second in range(4)]
    text = b"".join(a + b + b"\n" for a, b in zip(good, bad, strict=False)) + bad[4] + b"\n\n  \n" + b'{"event'
    (tmp_path / "cowrie.json").write_bytes(text)
    done = load(connection, tmp_path)
    assert (done.events, done.dead_letters, done.pending_bytes) == (4, 5, len(b'{"event'))
    row = connection.execute("SELECT total_bytes, blank_lines FROM log_files").fetchone()
    assert row == (len(text), 2)
    letters = connection.execute("SELECT content, reason, offset_bytes FROM dead_letter_events ORDER BY 3").fetchall()
    assert [letter[0] for letter in letters] == bad
    assert [letter[1] for letter in letters] == [
        "not JSON",
        "not JSON",
        "JSON, but not an object",
        "no cowrie event id",
        "no readable timestamp",
    ]
    assert all(text[offset:].startswith(content) for content, _, offset in letters)


def test_two_records_glued_on_one_line_are_two_records(connection: Connection, tmp_path: Path) -> None:
    """A writer killed in mid-line goes on there after its restart."""
    glued = line(event("aa11", 1)).rstrip(b"\n") + line(event("aa11", 2)) + b"\0" * 5000 + line(event("aa11", 3))
    (tmp_path / "cowrie.json").write_bytes(glued)
    done = load(connection, tmp_path)
    assert (done.events, done.dead_letters) == (3, 0)


def test_a_record_behind_a_torn_one_on_its_line_is_saved(connection: Connection, tmp_path: Path) -> None:
    torn = line(event("aa11", 1))[:-30]
    (tmp_path / "cowrie.json").write_bytes(line(event("aa11", 0)) + torn + line(event("aa11", 2)))
    done = load(connection, tmp_path)
    assert (done.events, done.dead_letters) == (2, 1)
    assert one(connection, "SELECT content FROM dead_letter_events") == torn


def test_hostile_text_is_stored_losslessly(connection: Connection, tmp_path: Path) -> None:
    """`\\u0000 cannot be converted to text` stopped production once."""
    password = "a\0b\\u0000\ud800<script>" + "x" * 2_000_000
    (tmp_path / "cowrie.json").write_bytes(
        line(event("aa11", 1, "login.failed", username="r\tt\\N", password=password))
    )
    load(connection, tmp_path)
    from cowrie_assets.warehouse.copy_text import original

    row = connection.execute("SELECT username, password FROM logins").fetchone()
    assert row is not None
    assert [original(value) for value in row] == ["r\tt\\N", password]
    ((sensor, day),) = session_days(connection, "aa11")
    assert session_events(connection, sensor, day, "aa11")[0][2]["password"] == password


def test_unknown_events_are_kept_and_counted(connection: Connection, tmp_path: Path) -> None:
    write_log(tmp_path / "cowrie.json", [event("aa11", 1), event("aa11", 2, "brand.new", anything=[1])])
    load(connection, tmp_path)
    assert one(connection, "SELECT event_count, unknown_events FROM sessions") == (2, 1)


def test_an_event_of_the_future_is_counted_and_makes_no_partition(connection: Connection, tmp_path: Path) -> None:
    future = event("ff00", 1) | {"timestamp": "2199-01-01T00:00:00.000000Z"}
    past = event("ff01", 1) | {"timestamp": "1970-01-01T00:00:07.000000Z"}
    write_log(tmp_path / "cowrie.json", [event("aa11", 1), future, past])
    done = ingest(connection, [tmp_path], SensorNames())
    assert done.events == 3
    assert count_out_of_range(connection) == 2
    assert partition_days(done.changed_days) == {date(2025, 3, 1)}


class TestLateData:
    """The days whose sessions change are known: no more, no fewer."""

    def changed(self, connection: Connection, folder: Path, name: str, *events: dict[str, object]) -> set[int]:
        write_log(folder / name, list(events))
        return {day.day for day in load(connection, folder).changed_days}

    def at(self, session: str, day: int, hour: float) -> dict[str, object]:
        return event(session) | {"timestamp": stamp((day - 1) * 86400 + (hour - 12) * 3600)}

    def test_a_late_event_changes_the_day_its_session_began(self, connection: Connection, tmp_path: Path) -> None:
        assert self.changed(connection, tmp_path, "a", self.at("aa11", 1, 23), self.at("bb22", 2, 5)) == {1, 2}
        assert self.changed(connection, tmp_path, "b", self.at("aa11", 2, 1)) == {1}
        rows = connection.execute("SELECT session_id, extract(day FROM day)::int, event_count FROM sessions ORDER BY 1")
        assert rows.fetchall() == [("aa11", 1, 2), ("bb22", 2, 1)]

    def test_an_earlier_start_moves_a_session_and_both_days_change(
        self, connection: Connection, tmp_path: Path
    ) -> None:
        assert self.changed(connection, tmp_path, "a", self.at("aa11", 3, 2)) == {3}
        assert self.changed(connection, tmp_path, "b", self.at("aa11", 2, 20)) == {2, 3}
        assert one(connection, "SELECT extract(day FROM day)::int FROM sessions") == 2

    def test_an_event_in_between_joins_two_sessions(self, connection: Connection, tmp_path: Path) -> None:
        assert self.changed(connection, tmp_path, "a", self.at("aa11", 1, 12), self.at("aa11", 3, 11)) == {1, 3}
        assert one(connection, "SELECT count(*) FROM sessions") == 2
        assert self.changed(connection, tmp_path, "b", self.at("aa11", 2, 12)) == {1, 3}
        assert one(connection, "SELECT event_count FROM sessions") == 3

    def test_exactly_24_hours_is_still_the_same_session(self, connection: Connection, tmp_path: Path) -> None:
        self.changed(connection, tmp_path, "a", self.at("aa11", 1, 12), self.at("aa11", 2, 12))
        assert one(connection, "SELECT count(*) FROM sessions") == 1

    def test_more_than_24_hours_of_silence_begin_a_new_session(self, connection: Connection, tmp_path: Path) -> None:
        self.changed(connection, tmp_path, "a", self.at("aa11", 1, 12), self.at("aa11", 2, 12.001))
        assert one(connection, "SELECT count(*) FROM sessions") == 2

    def test_duplicates_change_no_day(self, connection: Connection, tmp_path: Path) -> None:
        self.changed(connection, tmp_path, "a", self.at("aa11", 1, 12))
        assert self.changed(connection, tmp_path, "b", self.at("aa11", 1, 12)) == set()


class TestBadInput:
    """Each is a clear message that names file and cure."""

    def refused(self, connection: Connection, *folders: Path) -> str:
        with pytest.raises(NothingToLoad) as refusal:
            load(connection, *folders)
        return str(refusal.value)

    def test_missing_folder(self, connection: Connection, tmp_path: Path) -> None:
        """A file literally named `*.json*` was opened once; nothing was loaded, exit 0."""
        assert f"{tmp_path / 'no'} does not exist" in self.refused(connection, tmp_path / "no")

    def test_no_folder(self, connection: Connection) -> None:
        assert "no log folder is named" in self.refused(connection)

    def test_empty_folder(self, connection: Connection, tmp_path: Path) -> None:
        assert f"no file below {tmp_path}" in self.refused(connection, tmp_path)

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"", "empty"),
            (b"2025-03-01T12:00:00 [cowrie] New connection\n", "cowrie.json is wanted"),
            (b'{"event_type":"alert","src_ip":"1.2.3.4"}\n', "JSON of another tool"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n", "git lfs pull"),
            (b"\x7fELF\x02\x01\x01\0\0\0" * 100, "a binary file"),
            (gzip.compress(b"")[:-4], "cut off"),
            (gzip.compress(b"\0" * 400_000_000, 9), "decompression bomb"),
        ],
        ids=["empty", "text", "other JSON", "LFS pointer", "binary", "truncated", "bomb"],
    )
    def test_a_file_that_is_no_cowrie_log(
        self, connection: Connection, tmp_path: Path, content: bytes, said: str
    ) -> None:
        (tmp_path / "cowrie.json").write_bytes(content)
        message = self.refused(connection, tmp_path)
        assert said in message
        assert str(tmp_path / "cowrie.json") in message

    @pytest.mark.skipif(os.geteuid() == 0, reason="root can read every file")
    def test_unreadable_file(self, connection: Connection, tmp_path: Path) -> None:
        write_log(tmp_path / "cowrie.json", [event("aa11")]).chmod(0)
        assert "give this user the right to read it" in self.refused(connection, tmp_path)

    def test_one_bad_file_does_not_stop_the_others(self, connection: Connection, tmp_path: Path) -> None:
        write_log(tmp_path / "a.json", [event("aa11")])
        (tmp_path / "b.json").write_bytes(b"\x7fELF\0\0\0\0")
        done = load(connection, tmp_path)
        assert (done.events, [path.name for path, _ in done.skipped]) == (1, ["b.json"])

    def test_what_precedes_the_cut_of_a_truncated_gzip_is_loaded(self, connection: Connection, tmp_path: Path) -> None:
        text = b"".join(line(event("aa11", second)) for second in range(5000))
        packed = gzip.compress(text)
        (tmp_path / "cowrie.json.gz").write_bytes(packed[: len(packed) // 2])
        done = load(connection, tmp_path)
        assert 1000 < done.events < 5000
        assert "cut off" in done.problems[0][1]

    def test_lines_before_a_bomb_are_loaded(self, connection: Connection, tmp_path: Path) -> None:
        with gzip.open(tmp_path / "cowrie.json.gz", "wb") as log:
            log.write(line(event("aa11")))
            for _ in range(400):
                log.write(b"x" * (1 << 20))
        done = load(connection, tmp_path)
        assert (done.events, done.dead_letters) == (1, 1)
        assert "decompression bomb" in done.problems[0][1]

    def test_a_line_of_100_megabytes_is_kept_by_its_head(self, connection: Connection, tmp_path: Path) -> None:
        write_long_line(tmp_path / "cowrie.json")
        done = load(connection, tmp_path)
        assert (done.events, done.dead_letters) == (2, 1)
        assert one(connection, "SELECT length, octet_length(content) FROM dead_letter_events") == (100_000_000, 65536)
        assert load(connection, tmp_path).unchanged_files == 1


def write_long_line(path: Path) -> None:
    with path.open("wb") as log:
        log.write(line(event("aa11", 1)))
        for _ in range(100):
            log.write(b"x" * 1_000_000)
        log.write(b"\n" + line(event("aa11", 2)))


def write_days(path: Path, days: int) -> None:
    text = b"".join(line(event(f"{number:08x}@@", number, padding="p" * 300)) for number in range(20_000))
    with path.open("wb") as log:
        for day in range(1, days + 1):
            log.write(text.replace(b"2025-03-01", f"2025-02-{day:02}".encode()).replace(b"@@", f"{day:02}".encode()))


def write_bomb(path: Path) -> None:
    with gzip.open(path, "wb") as log:
        log.write(line(event("aa11")))
        for _ in range(400):
            log.write(b"x" * (1 << 20))


PEAK_OF_LOADING = """
import resource, sys
from pathlib import Path
from cowrie_assets.assets.ingestion import ingest
from cowrie_assets.settings import SensorNames
from cowrie_assets.warehouse.database import open_connection
with open_connection(sys.argv[1]) as connection:
    ingest(connection, [Path(sys.argv[2])], SensorNames())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def peak_mebibytes(server: Server, log: Path) -> int:
    """The most memory that a process of its own has while it loads a log into a new database."""
    command = [sys.executable, "-c", PEAK_OF_LOADING, server.new_database(), str(log)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_memory_grows_neither_with_files_nor_lines_nor_bombs(embedded_server: Server, tmp_path: Path) -> None:
    write_days(tmp_path / "small.json", 1)  # 10 MB
    write_days(tmp_path / "large.json", 20)  # 200 MB
    write_long_line(tmp_path / "long.json")
    write_bomb(tmp_path / "bomb.json.gz")
    base = peak_mebibytes(embedded_server, tmp_path / "small.json")
    peaks = {
        name: peak_mebibytes(embedded_server, tmp_path / name) for name in ("large.json", "long.json", "bomb.json.gz")
    }
    assert all(peak - base < 200 for peak in peaks.values()), (base, peaks)


def test_a_mended_file_leaves_the_dead_letters_of_others(connection: Connection, tmp_path: Path) -> None:
    """They were taken back by path and place once, also those of a copy and of an earlier content."""
    text = b"".join(line(event("aa11", second)) for second in range(3))
    for name in ("a.gz", "b.gz"):
        (tmp_path / name).write_bytes(gzip.compress(text[:-20]))
    load(connection, tmp_path)
    (tmp_path / "a.gz").write_bytes(gzip.compress(text))
    load(connection, tmp_path)
    assert one(connection, "SELECT count(*) FROM dead_letter_events") == 1
    (tmp_path / "b.gz").write_bytes(gzip.compress(text))
    load(connection, tmp_path)
    assert one(connection, "SELECT count(*) FROM dead_letter_events") == 0


@pytest.mark.parametrize("before", [0, 700_000])
def test_whether_a_line_is_too_long_does_not_depend_on_its_place(
    connection: Connection, tmp_path: Path, before: int
) -> None:
    text = line(event("aa11", 1, padding="p" * before)) + line(event("aa11", 2, padding="q" * (17 << 20)))
    (tmp_path / "cowrie.json").write_bytes(text)
    done = load(connection, tmp_path)
    assert (done.events, done.dead_letters) == (1, 1)


def test_a_remembered_folder_that_is_gone_does_not_stop_the_others(connection: Connection, tmp_path: Path) -> None:
    write_log(tmp_path / "here" / "cowrie.json", [event("aa11")])
    done = load(connection, tmp_path / "gone", tmp_path / "here")
    assert (done.events, done.skipped) == (1, [(tmp_path / "gone", "does not exist any more")])


def test_a_log_linked_into_a_sensors_folder_is_that_sensors(connection: Connection, tmp_path: Path) -> None:
    log = write_log(tmp_path / "store" / "cowrie.json", [event("aa11")])
    (tmp_path / "harbour").mkdir()
    (tmp_path / "harbour" / "cowrie.json").symlink_to(log)
    load(connection, tmp_path / "harbour", names=SensorNames((Sensor("harbour", logs=tmp_path / "harbour"),)))
    assert one(connection, "SELECT sensor FROM sessions") == "harbour"
