"""Alerts over a real database and a real webhook: each failure is told once and its recovery once, whatever comes
twice, late, at the same time or is killed in between; what a channel does not take waits; no URL is anywhere."""

from __future__ import annotations

import html
import json
import logging
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import requests
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from typer.testing import CliRunner

from cowrie_assets import cli
from cowrie_assets.alerts.channels import Alerts, Channel
from cowrie_assets.alerts.delivery import deliver, send_trials, undelivered
from cowrie_assets.alerts.incidents import Verdict, alone, failing, mark_told, open_backfills, record
from cowrie_assets.alerts.notes import write_notes
from cowrie_assets.alerts.sending import NOT_UNDERSTOOD, send
from cowrie_assets.cli.doctor import examine
from cowrie_assets.settings import Settings
from cowrie_assets.warehouse.database import open_connection
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets_tests.conftest import Server
from cowrie_assets_tests.unit.test_alert_wording import ACTIVE, HOSTILE
from cowrie_assets_tests.webhook import Webhook, running_webhook

NOW = datetime.now(UTC).replace(microsecond=0)
ONE = Alerts({"hook": Channel("hook", "env:ALERT_TEST_HOOK")})
TWO = Alerts({**ONE.channels, "other": Channel("other", "env:ALERT_TEST_OTHER")})


@pytest.fixture(scope="module")
def alerts_database(server: Server) -> str:
    return server.new_database()


@pytest.fixture
def database_url(alerts_database: str) -> str:
    """One database for all of these tests: a new one each takes longer than the tests."""
    with open_connection(alerts_database) as connection:
        connection.execute("TRUNCATE incidents, alert_notes")
    return alerts_database


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    with running_webhook() as running:
        monkeypatch.setenv("ALERT_TEST_HOOK", running.url())
        yield running


def verdict(partition: str = "2025-03-01", *, passed: bool = False, after: float = 0, **changes: Any) -> Verdict:
    """A verdict so many seconds after an hour ago."""
    known = {
        "asset": "sessions",
        "name": "answered",
        "severity": "WARN",
        "words": f"{partition}: said at {after}",
        "run_id": "run-1",
        "backfill_id": None,
        "judged_at": NOW - timedelta(hours=1) + timedelta(seconds=after),
    }
    return Verdict(**{**known, "partition": partition, "passed": passed, **changes})


def days(count: int) -> list[str]:
    return [(date(2025, 3, 1) + timedelta(days=number)).isoformat() for number in range(count)]


def make_all_due(connection: Connection) -> None:
    connection.execute("UPDATE alert_notes SET next_try_at = now()")


# --- what fails -------------------------------------------------------------------------------------------------------


def test_a_verdict_counts_once_and_an_older_one_that_comes_late_not_at_all(connection: Connection) -> None:
    for _ in range(2):
        record(connection, [verdict(after=30, passed=True)])
        record(connection, [verdict(after=20)])
        record(connection, [])
    assert failing(connection) == []
    record(connection, [verdict(after=40), verdict(after=50, words="newest"), verdict(after=45)])
    (known,) = failing(connection)
    assert (known.words, known.failing_since) == ("newest", verdict(after=40).judged_at)
    record(connection, [verdict(after=60, words="again")])
    (known,) = failing(connection)
    assert (known.words, known.failing_since) == ("again", verdict(after=40).judged_at)


def test_words_are_kept_in_one_line_that_every_terminal_can_show(connection: Connection) -> None:
    record(connection, [verdict(words="one\ntwo\x00 \x1b[31m \ud800" + "x" * 5000)])
    (known,) = failing(connection)
    assert known.words.startswith("one two\\x00 \\x1b[31m \\ud800xxx")
    assert len(known.words) == 2002


def test_passing_verdicts_are_forgotten_after_a_week_and_failing_ones_never(connection: Connection) -> None:
    old = NOW - timedelta(days=30)
    record(
        connection, [verdict("a", judged_at=old), verdict("b", passed=True), verdict("c", passed=True, judged_at=old)]
    )
    connection.execute("UPDATE incidents SET judged_at = judged_at - interval '8 days'")
    write_notes(connection, ONE)
    assert connection.execute("SELECT partition FROM incidents").fetchall() == [("a",)]


# --- which notes ------------------------------------------------------------------------------------------------------


def test_a_failure_is_told_once_until_it_recovers_and_then_its_recovery_once(connection: Connection) -> None:
    told: list[str] = []
    for after, passed in ((1, False), (2, False), (3, True), (4, True), (5, False), (6, True)):
        record(connection, [verdict(after=after, passed=passed)])
        told += [note.title for _ in range(2) for note in write_notes(connection, ONE)]
    failed, recovered = "WARN: sessions.answered failed for 2025-03-01", "Recovered: sessions.answered for 2025-03-01"
    assert told == [failed, recovered] * 2


def test_what_recovered_before_it_was_told_is_not_told(connection: Connection) -> None:
    record(connection, [verdict(after=1)])
    record(connection, [verdict(after=2, passed=True)])
    assert write_notes(connection, ONE) == []


@pytest.mark.parametrize(("digest_from", "notes"), [(5, 1), (1000, 13)])
def test_thirteen_failures_are_one_digest_or_thirteen_notes(
    connection: Connection, digest_from: int, notes: int
) -> None:
    alerts = Alerts(TWO.channels, digest_from)
    record(connection, [verdict(day, passed=day not in days(390)[::30]) for day in days(390)])
    written = write_notes(connection, alerts)
    assert (len(written), sum(len(note.about) for note in written)) == (notes, 13)
    assert write_notes(connection, alerts) == []
    rows = connection.execute("SELECT channel, count(*) FROM alert_notes GROUP BY 1 ORDER BY 1").fetchall()
    assert rows == [("hook", notes), ("other", notes)]


def test_what_a_backfill_brings_waits_for_its_end_and_is_one_digest(connection: Connection) -> None:
    record(connection, [verdict(day, backfill_id="b1") for day in days(7)] + [verdict("2025-06-01")])
    assert [note.title for note in write_notes(connection, ONE, {"b2"})] == [
        "WARN: sessions.answered failed for 2025-06-01"
    ]
    assert open_backfills(connection, ONE) == {"b1"}
    record(connection, [verdict("2025-03-01", after=9, passed=True, backfill_id="b1")])  # of its own retry, still in it
    (note,) = write_notes(connection, ONE, {"b1"})
    assert "6 days: 2025-03-02 to 03-07" in note.body
    assert open_backfills(connection, ONE) == set()
    record(connection, [verdict(day, after=10, passed=True, backfill_id="b3") for day in days(7)])
    assert write_notes(connection, ONE) == []
    (note,) = write_notes(connection, ONE, {"b3"})
    assert (note.kind, note.title) == ("recovery", "6 recovered: sessions.answered")


def test_without_a_channel_failures_are_kept_and_told_when_there_is_one(connection: Connection) -> None:
    record(connection, [verdict(day) for day in days(9)])
    assert write_notes(connection, Alerts()) == []
    assert len(failing(connection)) == 9
    assert len(write_notes(connection, ONE)) == 1


def test_warnings_are_not_told_where_only_errors_are_wanted(connection: Connection) -> None:
    record(connection, [verdict("a"), verdict("b", severity="ERROR")])
    severe = Alerts(ONE.channels, severity="ERROR")
    assert [note.about[0].partition for note in write_notes(connection, severe)] == ["b"]
    assert len(failing(connection)) == 2


def test_two_processes_at_once_write_each_note_once_and_send_it_once(
    database_url: str, connection: Connection, hook: Webhook
) -> None:
    def go(_: int) -> int:
        with open_connection(database_url) as own:
            record(own, [verdict(day, after=1) for day in days(4)])
            written = len(write_notes(own, ONE))
            deliver(own, ONE)
            return written

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(go, range(4))) == 4
    assert undelivered(connection) == []
    assert sorted(Counter(hook.titles).values()) == [1, 1, 1, 1]


def test_while_one_process_writes_notes_another_waits_and_finds_nothing_left(
    database_url: str, connection: Connection
) -> None:
    record(connection, [verdict(day) for day in days(3)])

    def write() -> int:
        with open_connection(database_url) as own:
            return len(write_notes(own, ONE))

    with ThreadPoolExecutor(1) as pool:
        with alone(connection):
            other = pool.submit(write)
            time.sleep(0.2)
            assert not other.done()
            mark_told(connection, failing(connection))
        assert other.result() == 0


def test_a_note_that_another_process_takes_is_neither_waited_for_nor_taken(
    database_url: str, connection: Connection, hook: Webhook
) -> None:
    record(connection, [verdict()])
    write_notes(connection, ONE)
    with open_connection(database_url) as own, connection.transaction():
        connection.execute("SELECT 1 FROM alert_notes FOR UPDATE")
        own.execute("SET lock_timeout = '2s'")
        assert deliver(own, ONE).delivered == 0
    assert hook.arrived == []


class Story(RuleBasedStateMachine):
    """Any sequence of verdicts, ends of backfills, rounds and kills."""

    connection: Connection

    @initialize()
    def begin(self) -> None:
        self.connection.execute("TRUNCATE incidents, alert_notes")
        self.clock = 0
        self.newest: dict[str, tuple[int, bool, str | None]] = {}
        self.believed: dict[str, bool] = {}
        self.ended: set[str] = set()

    @rule(
        keys=st.lists(st.sampled_from("abcd"), min_size=1, max_size=4),
        passed=st.booleans(),
        backfill=st.sampled_from([None, None, "b1", "b2"]),
        late=st.booleans(),
    )
    def judge(self, keys: list[str], passed: bool, backfill: str | None, late: bool) -> None:
        self.clock += 10
        after = self.clock - 15 if late else self.clock
        told = []
        for place, key in enumerate(keys):
            at = after + place
            told.append(verdict(key, passed=passed, after=at, backfill_id=backfill))
            if key not in self.newest or self.newest[key][0] < at:
                self.newest[key] = (at, passed, backfill)
        record(self.connection, told)
        record(self.connection, told[:1])

    @rule(backfill=st.sampled_from(["b1", "b2"]), ended=st.booleans())
    def change_backfill(self, backfill: str, ended: bool) -> None:
        (self.ended.add if ended else self.ended.discard)(backfill)

    @rule(digest_from=st.sampled_from([2, 3, 100]))
    def tick(self, digest_from: int) -> None:
        expected = {
            key: passed
            for key, (_, passed, backfill) in self.newest.items()
            if self.believed.get(key, True) != passed and (backfill is None or backfill in self.ended)
        }
        notes = write_notes(self.connection, Alerts(ONE.channels, digest_from), self.ended)
        told = [(incident.partition, note.kind == "recovery") for note in notes for incident in note.about]
        assert sorted(told) == sorted(expected.items())
        assert write_notes(self.connection, ONE, self.ended) == []
        self.believed |= expected

    @precondition(lambda self: self.newest)
    @rule()
    def killed_while_writing(self) -> None:
        """The notes and that they are told are one transaction: a kill leaves both or neither."""
        with (
            mock.patch("cowrie_assets.alerts.notes.mark_told", side_effect=KeyboardInterrupt),
            pytest.raises(KeyboardInterrupt),
        ):
            write_notes(self.connection, ONE, self.ended)

    def teardown(self) -> None:
        """All that was believed was delivered, in order: failed, recovered, failed …"""
        if not hasattr(self, "clock"):
            return
        self.ended = {"b1", "b2"}
        self.tick(100)
        assert {key for key, well in self.believed.items() if not well} == {
            key for key, (_, passed, _) in self.newest.items() if not passed
        }
        taken: list[str] = []
        while undelivered(self.connection):
            deliver(self.connection, ONE, send=lambda _url, title, body, _kind: taken.append(f"{title}\n{body}"))
        for key in self.newest:
            of_key = [note for note in taken if re.search(rf"(for|days:.*) {key}\b|days:.*\b{key}\b", note)]
            recoveries = ["ecovered" in note.partition("\n")[0] for note in of_key]
            assert recoveries == [bool(number % 2) for number in range(len(recoveries))], (key, taken)


@pytest.mark.one_server
def test_any_sequence_tells_each_failure_once_and_each_recovery_once(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALERT_TEST_HOOK", "json://127.0.0.1:9")
    Story.connection = connection
    run_state_machine_as_test(
        Story,
        settings=settings(
            max_examples=40, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


# --- delivery ---------------------------------------------------------------------------------------------------------


def test_a_note_arrives_and_its_recovery_after_it(connection: Connection, hook: Webhook) -> None:
    for after, passed in ((1, False), (2, True)):
        record(connection, [verdict(after=after, passed=passed)])
        write_notes(connection, ONE)
        assert deliver(connection, ONE).delivered == 1
        assert deliver(connection, ONE).delivered == 0
    assert [title.partition(":")[0] for title in hook.titles] == ["WARN", "Recovered"]
    assert "2025-03-01: said at 1" in hook.arrived[0][1]
    assert f"It had failed since {verdict(after=1).judged_at:%Y-%m-%d %H:%M} UTC" in hook.arrived[1][1]


def test_what_is_refused_waits_longer_each_time_and_comes_when_the_channel_is_well(
    connection: Connection, hook: Webhook
) -> None:
    record(connection, [verdict(day) for day in days(3)])
    write_notes(connection, ONE)
    hook.status = 503
    assert deliver(connection, ONE).problems == {"hook": "it refused it with status 503"}
    assert len(hook.arrived) == 1, "the channel is left alone for this round"
    for tries, minutes in ((1, 1), (2, 2), (3, 4), (9, 60)):
        connection.execute("UPDATE alert_notes SET tries = %s, next_try_at = now() WHERE problem <> ''", (tries - 1,))
        deliver(connection, ONE)
        waits = connection.execute(
            "SELECT next_try_at - now() FROM alert_notes WHERE problem <> '' ORDER BY note_id LIMIT 1"
        ).fetchone()
        assert waits is not None
        assert abs(waits[0] - timedelta(minutes=minutes)) < timedelta(seconds=5)
    (first, *_) = undelivered(connection)
    assert (first.tries, first.problem) == (9, "it refused it with status 503")
    hook.status = 200
    hook.arrived.clear()
    delivered = [deliver(connection, ONE).delivered for _ in range(2)]
    assert sum(delivered) == 3, "those that were refused do not wait out their hour"
    assert undelivered(connection) == []


def test_a_channel_that_is_down_hangs_or_has_no_url_does_not_hold_the_others(
    connection: Connection, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    alerts = Alerts(
        {**TWO.channels, "down": Channel("down", "env:ALERT_TEST_DOWN"), "wrong": Channel("wrong", "env:W")}
    )
    monkeypatch.delenv("ALERT_TEST_OTHER", raising=False)
    monkeypatch.setenv("W", "zq://nothing")
    with running_webhook() as closed:
        monkeypatch.setenv("ALERT_TEST_DOWN", closed.url())
    with running_webhook() as slow:
        slow.hangs = True
        hanging = Alerts({**alerts.channels, "slow": Channel("slow", "env:ALERT_TEST_SLOW")})
        monkeypatch.setenv("ALERT_TEST_SLOW", slow.url())
        record(connection, [verdict()])
        write_notes(connection, hanging)
        send("json://127.0.0.1:9/", "", "so that Apprise is loaded", "recovery")
        begun = time.monotonic()
        told = deliver(connection, hanging, seconds=1.0)
        assert time.monotonic() - begun < 2
        assert told.delivered == len(hook.arrived) == 1
        assert told.problems == {
            "other": "it has no URL: set ALERT_TEST_OTHER",
            "down": "it does not answer, or refused it",
            "wrong": NOT_UNDERSTOOD,
            "slow": "it did not answer within 1 s",
        }
        assert deliver(connection, hanging).problems == {}, "a reason is told once"
        waiting = {note.channel: note.problem for note in undelivered(connection)}
        assert waiting == told.problems
    monkeypatch.setenv("ALERT_TEST_OTHER", hook.url())
    assert deliver(connection, hanging).delivered == 1


def test_after_three_days_a_note_is_given_up_and_says_why(connection: Connection, hook: Webhook) -> None:
    record(connection, [verdict()])
    write_notes(connection, TWO)
    connection.execute("UPDATE alert_notes SET written_at = now() - interval '4 days'")
    hook.status = 410
    deliver(connection, ONE)
    problems = {note.channel: (note.given_up_at is not None, note.problem) for note in undelivered(connection)}
    assert problems == {
        "hook": (True, "it refused it with status 410"),
        "other": (True, "sensors.toml has no channel of this name (any more)"),
    }
    make_all_due(connection)
    hook.status = 200
    assert deliver(connection, TWO).delivered == 0


KILLED = """
import os, sys
from cowrie_assets.alerts import delivery
from cowrie_assets.alerts.channels import Alerts, Channel
from cowrie_assets.warehouse.database import open_connection
setattr(delivery, sys.argv[2], lambda *_: os._exit(9))
with open_connection(sys.argv[1]) as connection:
    delivery.deliver(connection, Alerts({"hook": Channel("hook", "env:ALERT_TEST_HOOK")}))
"""


@pytest.mark.one_server
@pytest.mark.parametrize(("killed_in", "copies"), [("_mark_delivered", 2), ("_tried", 1)])
def test_killed_between_sending_and_marking_a_note_is_sent_again_and_never_lost(
    database_url: str, connection: Connection, hook: Webhook, killed_in: str, copies: int
) -> None:
    record(connection, [verdict()])
    write_notes(connection, ONE)
    assert subprocess.run([sys.executable, "-c", KILLED, database_url, killed_in], check=False).returncode == 9
    assert deliver(connection, ONE).delivered == 0, "it may be on its way still"
    make_all_due(connection)
    assert deliver(connection, ONE).delivered == 1
    assert len(hook.arrived) == copies
    make_all_due(connection)
    assert deliver(connection, ONE).delivered == 0


def test_a_test_note_says_of_each_channel_what_came_of_it(hook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALERT_TEST_OTHER", raising=False)
    assert send_trials(TWO) == {"hook": None, "other": "it has no URL: set ALERT_TEST_OTHER"}
    assert hook.titles == ["A test of cowrie-assets"]
    hook.hangs = True
    assert send_trials(ONE, seconds=0.3) == {"hook": "it did not answer within 0.3 s"}


# --- what channels make of it -----------------------------------------------------------------------------------------

CHANNELS = {
    "slack": "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general",
    "discord": "discord://123456789/abcdefghijk",
    "discord, Markdown": "discord://123456789/abcdefghijk?format=markdown",
    "telegram": "tgram://123456789:abcdefg_hijklmnop/12315544/",
    "ntfy": "ntfy://127.0.0.1/topic",
    "ntfy, Markdown": "ntfy://127.0.0.1/topic?format=markdown",
    "mattermost": "mmost://127.0.0.1/abcdefghijklmnopqrstuvwx",
}


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, str):
        yield value


@pytest.mark.one_server
@pytest.mark.parametrize("channel", CHANNELS)
def test_hostile_words_are_inert_as_they_leave_for_each_kind_of_channel(channel: str, connection: Connection) -> None:
    record(connection, [verdict(words=HOSTILE)])
    (note,) = write_notes(connection, ONE)
    answer = mock.Mock(status_code=200, content=b"ok", text="ok", headers={})
    with mock.patch.object(requests.Session, "request", return_value=answer) as request:
        send(CHANNELS[channel], note.title, note.body, note.kind)
    payloads = [json.loads(call.kwargs["data"]) for call in request.call_args_list]
    told = [text for payload in payloads for text in texts(payload) if "everyone" in text]
    assert told
    for text in told:
        # Telegram's title is bold, by tags of Apprise's own; our names have dots.
        plain = re.sub(r"</?b>|sessions\.answered|\r", "", text)
        # These two show entities as the characters that they stand for, once.
        assert ACTIVE.findall(html.unescape(plain) if channel in ("slack", "telegram") else plain) == []


@pytest.mark.one_server
def test_a_digest_that_is_too_long_for_a_channel_arrives_in_parts(connection: Connection) -> None:
    record(connection, [verdict(day) for day in days(780)[::2]])
    (note,) = write_notes(connection, ONE)
    assert len(note.body) > 2000
    answer = mock.Mock(status_code=200, content=b"ok", text="ok", headers={})
    with mock.patch.object(requests.Session, "request", return_value=answer) as request:
        assert send(CHANNELS["discord"], note.title, note.body, note.kind) is None
    parts = [json.loads(call.kwargs["data"])["content"] for call in request.call_args_list]
    assert len(parts) > 1
    assert max(map(len, parts)) <= 2000
    assert all(day[5:] in "".join(parts) for day in days(780)[::2])


# --- secrets ----------------------------------------------------------------------------------------------------------

MARK = "zqalerttoken7"


@pytest.mark.one_server
def test_no_url_is_in_a_log_a_table_or_a_reason(
    connection: Connection,
    hook: Webhook,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("apprise", "urllib3", "urllib3.connectionpool", "urllib3.util.retry"):
        caplog.set_level(logging.DEBUG, name)
    with running_webhook() as closed:
        pass
    urls = {
        "hook": hook.url(f"{MARK}?X-Key={MARK}").replace("://", f"://user:{MARK}@"),
        "down": closed.url(MARK),
        "wrong": f"zq://{MARK}",
        "broken": f"slack://{MARK}",
        "mail": f"mailtos://user:{MARK}@127.0.0.1:9?from=a@example.org&to=b@example.org",
    }
    alerts = Alerts({name: Channel(name, f"env:ALERT_TEST_{name.upper()}") for name in urls})
    for name, url in urls.items():
        monkeypatch.setenv(f"ALERT_TEST_{name.upper()}", url)
    record(connection, [verdict()])
    write_notes(connection, alerts)
    told = [repr(deliver(connection, alerts))]
    make_all_due(connection)
    hook.status = 500
    told += [repr(deliver(connection, alerts)), repr(send_trials(alerts))]
    assert any(MARK in path for path in hook.paths)
    rows = connection.execute("SELECT n::text FROM alert_notes AS n").fetchall()
    captured = capfd.readouterr()
    logged = "".join(f"{entry.getMessage()} {entry.args!r}" for entry in caplog.records)
    for place in (*told, repr(rows), captured.out, captured.err, logged, caplog.text):
        assert MARK not in place
    assert len(undelivered(connection)) == 4


def test_an_error_of_a_sender_is_told_by_its_kind_alone(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALERT_TEST_HOOK", "json://127.0.0.1:9")
    record(connection, [verdict()])
    write_notes(connection, ONE)

    def fail(url: str, *_: str) -> str | None:
        raise RuntimeError(f"cannot use {url}")

    assert deliver(connection, ONE, send=fail).problems == {"hook": "sending failed (RuntimeError)"}


def test_other_users_of_the_http_library_are_logged_as_before(caplog: pytest.LogCaptureFixture, hook: Webhook) -> None:
    send(hook.url(), "a", "b", "recovery")
    with caplog.at_level(logging.DEBUG, "urllib3.connectionpool"):
        requests.post(f"http://127.0.0.1:{hook.port}/mine", json={"title": "", "message": ""}, timeout=5)
    assert "/mine" in caplog.text


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.fixture
def command(
    database_url: str, hook: Webhook, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[int, str]]:
    """`cowrie-assets …` in this process, over the database and with the channels hook and other: code and output."""
    (tmp_path / "sensors.toml").write_text(
        '[alerts.channels]\nhook = "env:ALERT_TEST_HOOK"\nother = "env:ALERT_TEST_OTHER"\n'
    )
    for name in ("ALERT_TEST_OTHER", "COWRIE_SANDBOX_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COWRIE_HOME", str(tmp_path))
    monkeypatch.setenv("COWRIE_CONFIG", str(tmp_path / "sensors.toml"))
    monkeypatch.setenv("COWRIE_DATABASE_URL", database_url)
    monkeypatch.setenv("COWRIE_MODE", "live")

    def run(*words: str) -> tuple[int, str]:
        told = CliRunner().invoke(cli.app, words)
        return told.exit_code, told.output

    return run


def test_the_command_shows_what_fails_and_which_notes_wait_and_why(
    command: Callable[..., tuple[int, str]], connection: Connection
) -> None:
    code, told = command("alerts")
    assert (code, "Nothing fails." in told) == (0, True)
    record(connection, [verdict(words="few\x1b[31m"), verdict("2025-03-02", backfill_id="b1")])
    write_notes(connection, TWO)
    deliver(connection, TWO)
    code, told = command("alerts")
    assert code == 0
    for said in (
        "2 failing",
        "sessions.answered 2025-03-01 (WARN)",
        "few\\x1b[31m",
        "told 2",
        "will be told when backfill b1 has ended",
        "1 notes not delivered",
        "to other: WARN: sessions.answered failed for 2025-03-01",
        "it has no URL: set ALERT_TEST_OTHER",
    ):
        assert said in told, said
    code, told = command("alerts", "--json")
    known = json.loads(told)
    assert known["channels"] == ["hook", "other"]
    assert [incident["partition"] for incident in known["failing"]] == ["2025-03-01", "2025-03-02"]
    assert [note["channel"] for note in known["undelivered"]] == ["other"]


def test_the_command_and_the_doctor_say_which_channel_does_not_work(
    command: Callable[..., tuple[int, str]], hook: Webhook, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, told = command("alerts", "--test")
    assert code == 1
    assert "hook: took the test note" in told
    assert "other: no: it has no URL: set ALERT_TEST_OTHER" in told
    (found,) = [finding for finding in examine(Settings.from_environment()) if finding.what == "alerts"]
    assert (found.state, found.found) == ("broken", "other: it has no URL: set ALERT_TEST_OTHER")
    monkeypatch.setenv("ALERT_TEST_OTHER", hook.url())
    assert command("alerts", "--test")[0] == 0
    (found,) = [finding for finding in examine(Settings.from_environment()) if finding.what == "alerts"]
    assert (found.state, found.found) == ("good", "channels: hook, other")
    monkeypatch.setenv("ALERT_TEST_OTHER", "zq://nothing")
    (found,) = [finding for finding in examine(Settings.from_environment()) if finding.what == "alerts"]
    assert (found.state, found.found) == ("broken", f"other: {NOT_UNDERSTOOD}")
    (tmp_path / "sensors.toml").write_text("")
    code, told = command("alerts", "--test")
    assert code == 1
    assert "No channel is set" in told
    (found,) = [finding for finding in examine(Settings.from_environment()) if finding.what == "alerts"]
    assert found.state == "warning"
