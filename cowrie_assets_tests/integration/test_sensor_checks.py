"""Sensors that fall silent, and clocks that are wrong, are told: by day, in words, and only then.

Proved here: who counts as reporting daily and for how long silence is told; that a session's length by its events is
held against Cowrie's, and events against the moment of their loading; that real logs of 13 sensors pass; that names out
of logs stay harmless. Not here: what Dagster records of it (orchestration/test_partitioned_checks.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard

from cowrie_assets.assets.ingestion import ingest
from cowrie_assets.assets.reconstruction import days_due, rebuild_day
from cowrie_assets.checks import clocks, silence
from cowrie_assets.checks.thresholds import Silence, Thresholds
from cowrie_assets.checks.verdict import Verdict
from cowrie_assets.settings import SensorNames
from cowrie_assets.warehouse.database import open_connection
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets_tests.loglines import event, write_log

pytestmark = pytest.mark.one_server

DAY = date(2025, 9, 20)
LONG_AFTER = datetime(2026, 1, 1, tzinfo=UTC)
SILENCE, SKEW = Thresholds().silence, Thresholds().clock_skew


def midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def add_chunk(
    connection: Connection,
    day: date,
    sensor: str = "harbour",
    events: int = 10,
    loaded_at: datetime | None = LONG_AFTER,
    last: datetime | None = None,
) -> None:
    instant = (last or midnight(day)).isoformat().replace("+00:00", "Z")
    spans = zstandard.compress(orjson.dumps({"aa11": [instant, instant]}))
    connection.execute(
        """
        INSERT INTO event_chunks (day, sensor, sequence, event_count, raw_bytes, digests, spans, payload, loaded_at)
        SELECT %s, %s, coalesce(max(sequence), 0) + 1, %s, 0, '', %b, '', %s
        FROM event_chunks WHERE day = %s AND sensor = %s
        """,
        (day, sensor, events, spans, loaded_at, day, sensor),
    )


# --- silence -------------------------------------------------------------------------------------------------------


def report(connection: Connection, sensor: str, pattern: str) -> None:
    """Events on the days before `DAY` and on it: a character a day, `x` for events, the last one being the day."""
    for number, sign in enumerate(reversed(pattern)):
        if sign == "x":
            add_chunk(connection, DAY - timedelta(days=number), sensor)


def heard(connection: Connection, day: date = DAY, limits: Silence = SILENCE, now: datetime = LONG_AFTER) -> Verdict:
    ((told, verdict),) = silence.judge_days(connection, [day], limits, now)
    assert told == day
    return verdict


@pytest.mark.parametrize(
    ("pattern", "passed"),
    [
        ("xxxxxxx-", False),
        ("x-xxxxx-", False),  # six of seven
        ("xxxxxx--", False),  # its second day of silence
        ("xxxxx---", True),  # its third: not daily any more
        ("x-xx-xx-", True),  # five of seven
        ("x-------", True),
        ("xxxxxx-", False),  # six days old
        ("xxxxx-", True),  # five days old
        ("xxxxxxxx", True),
        ("-------x", True),  # a new sensor
    ],
)
def test_a_sensor_is_silent_if_it_had_events_on_six_of_the_seven_days_before(
    empty: Connection, pattern: str, passed: bool
) -> None:
    report(empty, "hill", "xxxxxxxx")
    report(empty, "harbour", pattern)
    assert heard(empty).passed is passed


def test_silence_is_told_with_the_sensors_last_day_and_its_usual_number(empty: Connection) -> None:
    report(empty, "hill", "xxxxxxxx")
    report(empty, "harbour", "xxxxxx--")
    add_chunk(empty, DAY - timedelta(days=3), "harbour", events=1_000)
    verdict = heard(empty)
    # Six days of 10 events, one of them with 1,000 more: the day before had none.
    assert verdict.words.startswith(
        "2025-09-20: 1 of 2 sensors silent: `harbour` (events on 6 of the 7 days before, last on 2025-09-18, about 176 "
        "a day). Look whether it is up"
    )
    assert verdict.numbers == {"sensors heard": 1, "sensors silent": 1, "events": 10}


def test_silence_is_told_on_two_days_and_then_no_more(empty: Connection) -> None:
    report(empty, "hill", "xxxxxxxxxxx")
    report(empty, "harbour", "xxxxxxx----")
    days = [DAY - timedelta(days=3 - number) for number in range(4)]
    verdicts = dict(silence.judge_days(empty, days, Silence(), LONG_AFTER))
    assert [verdicts[day].passed for day in days] == [False, False, True, True]
    assert verdicts[DAY].words == (
        "2025-09-20: 1 sensors heard, none that reports daily is missing. Not heard, and not expected: `harbour` (4 of "
        "7) had events on fewer than 6 of the days before."
    )


def test_a_day_that_is_not_over_is_not_judged(empty: Connection) -> None:
    report(empty, "hill", "xxxxxxxx")
    report(empty, "harbour", "xxxxxxx-")
    end = midnight(DAY + timedelta(days=1))
    before = heard(empty, now=end - timedelta(seconds=1))
    assert (before.passed, before.words) == (True, "2025-09-20: the day is not over, so nobody is silent yet.")
    assert not heard(empty, now=end).passed


def test_a_day_without_any_event_fails_also_where_no_single_sensor_reports_daily(empty: Connection) -> None:
    report(empty, "harbour", "x-x-x-x-")
    report(empty, "hill", "-x-x-x--")
    verdict = heard(empty)
    assert not verdict.passed
    assert "no event of any sensor, on 7 of the 7 days before there were" in verdict.words
    assert "All at once: first look at what brings the logs here." in verdict.words


def test_a_day_without_any_event_in_quiet_times_passes_and_says_so(empty: Connection) -> None:
    report(empty, "harbour", "x--x----")
    verdict = heard(empty)
    assert (verdict.passed, verdict.words.split(". ")[0]) == (True, "2025-09-20: no event")
    assert heard(empty, DAY + timedelta(days=100)).words == "2025-12-29: no event."


def test_how_many_days_count_can_be_set(empty: Connection) -> None:
    report(empty, "hill", "xxxxxxxx")
    report(empty, "harbour", "----xx--")
    assert heard(empty).passed
    assert not heard(empty, limits=Silence(days=3, heard=2)).passed
    assert heard(empty, limits=Silence(days=3, heard=3)).passed


def test_many_silent_sensors_are_named_five_at_a_time_and_their_names_stay_harmless(empty: Connection) -> None:
    report(empty, "hill", "xxxxxxxx")
    hostile = "`|<img src=x>\x1b[31m@everyone"
    for number in range(7):
        report(empty, f"{hostile}{number}", "xxxxxxx-")
    words = heard(empty).words
    assert "7 of 8 sensors silent: " in words
    assert " and 2 more." in words
    assert "\x1b" not in words
    # One code span a name: nothing in it ends the span.
    assert words.split(" Look whether")[0].count("`") == 10


def test_thirty_days_are_one_query(empty: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    report(empty, "harbour", "x" * 40)
    asked: list[Any] = []
    execute = empty.execute

    def counted(*args: Any) -> Any:
        asked.append(args)
        return execute(*args)

    monkeypatch.setattr(empty, "execute", counted)
    days = [DAY - timedelta(days=number) for number in range(30)]
    assert all(verdict.passed for _, verdict in silence.judge_days(empty, days, Silence(), LONG_AFTER))
    assert len(asked) == 1


# --- clocks --------------------------------------------------------------------------------------------------------

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)


def session(begin: float, end: float, duration: object, name: str = "aa11", **also: float) -> list[dict[str, object]]:
    """A session from `begin` to `end`, in seconds of its sensor's clock, that Cowrie says lasted `duration`."""
    said: Mapping[str, object] = {"duration": duration} if duration is not None else {}
    return [
        event(name, begin),
        *(event(name, at, "command.input", input=what) for what, at in also.items()),
        event(name, end, "session.closed", **said),
    ]


def clock(connection: Connection, tmp_path: Path, events: list[dict[str, object]]) -> Verdict:
    """What the check says of the day of these events, loaded and rebuilt."""
    write_log(tmp_path / "cowrie.json", events)
    ingest(connection, [tmp_path], SensorNames())
    rebuild_day(connection, NOON.date())
    ((_, verdict),) = clocks.judge_days(connection, [NOON.date()], SKEW)
    return verdict


@pytest.mark.parametrize(
    ("events", "passed"),
    [
        (session(0, 20, 20.1), True),
        (session(0, 20, "20.0"), True),
        (session(0, 301, 1), True),  # the limit itself
        (session(0, 302, 1), False),
        (session(0, 20, 321), False),
        # Ten minutes long, set back by eight after nine of them: Cowrie counts two.
        (session(0, 120, 120, uptime=540), False),
        # Set back by an hour: closed before it began, and the duration is less than nothing.
        (session(0, -3590, -3590.2), False),
        (session(0, -3590, "-3590.2"), False),
        # Set forward by an hour: both move, and nothing is left to see.
        (session(0, 3610, 3610), True),
        # Its beginning, or its end, is in a log that is not here: nothing to compare.
        (session(0, 20, 2000)[1:], True),
        (session(0, 900, 900, uptime=800)[:2], True),
    ],
)
def test_sessions_must_be_as_long_as_cowrie_says(
    database_url: str, tmp_path: Path, events: list[dict[str, object]], passed: bool
) -> None:
    with open_connection(database_url) as connection:
        assert clock(connection, tmp_path, events).passed is passed


def test_a_clock_that_was_set_is_told_with_sensor_sessions_and_by_how_much(database_url: str, tmp_path: Path) -> None:
    events = [
        *session(0, -3590, -3590.2),
        *(entry for n in range(5) for entry in session(n, n + 10, 10, name=f"bb{n}")),
    ]
    with open_connection(database_url) as connection:
        verdict = clock(connection, tmp_path, events)
    assert verdict.words == (
        "2025-03-01: `alpha`: the clock was set while sessions ran: 1 of 6 are up to 1 hour longer or shorter by "
        "their events than Cowrie says (`cowrie-assets session <id>` of `aa11`). Times of these sensors cannot be "
        "trusted by that much, and no session is corrected. On the sensor, see whether its clock is kept "
        "(`timedatectl`, `chronyc tracking`) and whether Cowrie logs in UTC."
    )
    assert verdict.numbers["sessions that disagree"] == 1
    assert verdict.numbers["sessions compared"] == 6


@pytest.mark.parametrize(
    ("loaded", "last", "passed"),
    [
        (-299, 0, True),
        (-301, 0, False),
        (-7200, 0, False),  # a log in local time
        (60, 0, True),
        # After the day was over nothing on it can be from the future, however wrong its clock was.
        (13 * 3600, 0, True),
    ],
)
def test_events_from_the_future_are_told(empty: Connection, loaded: int, last: int, passed: bool) -> None:
    moment = NOON + timedelta(seconds=last)
    add_chunk(empty, NOON.date(), loaded_at=NOON + timedelta(seconds=loaded), last=moment)
    # Later loads of the same day do not make it right.
    add_chunk(empty, NOON.date(), loaded_at=NOON + timedelta(hours=9), last=moment)
    # What was loaded before the moment was noted is not judged.
    add_chunk(empty, NOON.date(), loaded_at=None, last=NOON + timedelta(hours=11))
    ((_, verdict),) = clocks.judge_days(empty, [NOON.date()], SKEW)
    assert verdict.passed is passed
    if loaded == -7200:
        assert "`harbour`: the clock is at least 2 hours ahead" in verdict.words
        assert verdict.numbers["farthest ahead, seconds"] == 7200.0


def test_loading_notes_its_moment_and_loading_again_changes_nothing(database_url: str, tmp_path: Path) -> None:
    write_log(tmp_path / "cowrie.json", session(0, 20, 20))
    with open_connection(database_url) as connection:
        ingest(connection, [tmp_path], SensorNames())
        rows = connection.execute("SELECT loaded_at, now() - loaded_at < '1 minute' FROM event_chunks").fetchall()
        assert [new for _, new in rows] == [True]
        ingest(connection, [tmp_path], SensorNames())
        again = connection.execute("SELECT loaded_at FROM event_chunks").fetchall()
    assert again == [(moment,) for moment, _ in rows]


def test_a_day_without_sessions_says_so(empty: Connection) -> None:
    ((_, verdict),) = clocks.judge_days(empty, [DAY], SKEW)
    assert (verdict.passed, verdict.words) == (True, "2025-09-20: no session to judge.")


def test_session_ids_out_of_logs_stay_harmless(database_url: str, tmp_path: Path) -> None:
    hostile = "`|<b>\x1b[31m"
    with open_connection(database_url) as connection:
        words = clock(connection, tmp_path, session(0, 900, 1, name=hostile)).words
    assert "\x1b" not in words
    # The sensor, the command, the session, and two commands of the cure: nothing ends a span early.
    assert words.count("`") == 10


# Sources of every form in which Cowrie ever wrote a duration: number, text, milliseconds.
REAL = ("Axiom", "hoanb1", "Nyx", "pol-alvarezzz", "JaydenMura", "Vignesh942", "jasonmpittman", "deroux", "ranguli")


@pytest.mark.one_server
def test_no_clock_of_a_real_sensor_disagrees(database_url: str, shared_data: Path) -> None:
    with open_connection(database_url) as connection:
        folders = [folder for folder in (shared_data / "cowrie").iterdir() if folder.name.startswith(REAL)]
        assert len(folders) == len(REAL)
        ingest(connection, folders, SensorNames())
        days = sorted(days_due(connection, "sessions"))
        for day in days:
            rebuild_day(connection, day)
        verdicts = dict(clocks.judge_days(connection, days, SKEW))
    assert [verdict.words for verdict in verdicts.values() if not verdict.passed] == []
    assert sum(int(str(verdict.numbers["sessions compared"])) for verdict in verdicts.values()) > 2_500
    # Far from the threshold: it could be a second.
    assert max(float(str(verdict.numbers["farthest apart, seconds"])) for verdict in verdicts.values()) < 0.25
