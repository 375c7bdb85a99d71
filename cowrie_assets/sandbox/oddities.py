"""What no campaign has, but real logs do: odd sessions, hostile text, lines that are no events.

Lives here: every oddity of the sandbox, each at least once in every sample. Not here: ordinary sessions (`campaigns`),
duplicates and rotation (`traffic`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Protocol

from cowrie_assets.sandbox.campaigns import invented_key
from cowrie_assets.sandbox.eventlines import Sensor, SessionLog
from cowrie_assets.sandbox.pools import POOLS

# What would do harm in a terminal, a web page, a Markdown report, a spreadsheet or a query that was built by hand.
HOSTILE_TEXTS = (
    "<script>alert('harbour')</script>",
    '"><img src=x onerror=alert(1)>',
    "=cmd|' /C calc'!A0",
    "@SUM(1+9)*cmd|' /C calc'!A0",
    "[free lunch](javascript:alert(1)) **bold** | a | table |",
    "`backticks` ~~~ ``` # heading",
    "\x1b[31mred\x1b[0m\x1b]0;new title\x07",
    "'; DROP TABLE sessions; --",
    "{{ 7 * 7 }} ${7*7} %s %(name)s",
    "right\u202eto left, zero\u200bwidth, naïve 海 🌊",
    "tab\tand\\backslash\r\nnew line",
)
NUL_TEXT = "drift\0wood"
FUTURE = timedelta(days=36_500)

_INVALID = b"\xff\xfe"
_SPELT_INVALID = "INVALID-BYTES"
_MALFORMED = (
    b'{"eventid":"cowrie.login.failed","username":"root","password":"torn%d',
    b"Traceback (most recent call last): disk full, attempt %d",
    b'["cowrie.login.failed", %d]',
    b'"only a string %d"',
    b'{"message":"no event id","number":%d,"timestamp":"2025-01-01T00:00:00.000000Z"}',
    b'{"eventid":"cowrie.session.connect","session":"%d","timestamp":"yesterday at noon","src_ip":"26.16.0.1"}',
    b'{"eventid":"webtrap.request","session":"%d","timestamp":"2025-01-01T00:00:00.000000Z"}',
    b"<html><body>502 Bad Gateway %d</body></html>",
    b'{"eventid":"cowrie.session.closed","session":"%d","duration":1.5}',
)


class Begin(Protocol):
    """Starts a session's log; without a session id it gets a new one."""

    def __call__(
        self, sensor: Sensor, source: str, start: datetime, protocol: str = "ssh", session_id: str | None = None
    ) -> SessionLog: ...


def malformed_line(number: int) -> bytes:
    """A line that is no event, another one for every number."""
    return _MALFORMED[number % len(_MALFORMED)] % number


def midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def odd_sessions(begin: Begin, days: Sequence[date], sensors: Sequence[Sensor]) -> Iterator[SessionLog]:
    """Every odd session but the one in the future. There must be at least two days and two sensors."""
    for sensor in sensors:
        for day, following in pairwise(days):
            yield _across_midnight(begin, sensor, day, following)
        yield _hostile_logins(begin, sensor, midnight(days[0]) + timedelta(hours=6))
        yield _hostile_commands(begin, sensor, midnight(days[-1]) + timedelta(hours=7))
    yield from _reused_id(begin, midnight(days[0]) + timedelta(hours=3), sensors[0], sensors[1])
    yield from _inside(begin, sensors[1], midnight(days[1]) + timedelta(hours=10))
    yield _without_connect(begin, sensors[0], midnight(days[0]) + timedelta(seconds=4))
    yield _without_close(begin, sensors[1], midnight(days[1]) + timedelta(hours=15))
    yield _silent_for_a_day(begin, sensors[1], midnight(days[0]) + timedelta(minutes=35))
    yield _unreadable(begin, sensors[0], midnight(days[1]) + timedelta(hours=12))


def future_session(begin: Begin, days: Sequence[date], sensor: Sensor) -> SessionLog:
    """One event from a clock that ran away. The sensor wrote it on the second day; it has nothing else of its own:
    its address speaks in another session, too.
    """
    written_at = midnight(days[1]) + timedelta(hours=12)
    log = begin(sensor, POOLS["aegean"].address(1), midnight(days[-1]) + FUTURE)
    log.connect()
    log.lines = [line._replace(written_at=written_at) for line in log.lines]
    return log


def _across_midnight(begin: Begin, sensor: Sensor, day: date, following: date) -> SessionLog:
    source = POOLS["lantern"].address(day.toordinal() % 200)
    log = begin(sensor, source, midnight(following) - timedelta(minutes=2))
    log.connect()
    log.login("root", "tide-table", success=True)
    # This line reaches the disk late: it is of one day and stands in the file of the next.
    log.lines[-1] = log.lines[-1]._replace(written_at=midnight(following) + timedelta(hours=1, minutes=30))
    log.open_shell("linux-x64-lsb")
    for command in ("w", "sleep 200", "uptime"):
        log.wait(50, 90)
        log.command(command)
    log.close_shell()
    log.close()
    return log


def _hostile_logins(begin: Begin, sensor: Sensor, start: datetime) -> SessionLog:
    log = begin(sensor, POOLS["lantern"].address(5), start)
    log.connect()
    for text in (*HOSTILE_TEXTS, NUL_TEXT):
        log.wait(0.5, 2)
        log.login("root", text)
    log.login(HOSTILE_TEXTS[0], "anchor")
    log.close()
    return log


def _hostile_commands(begin: Begin, sensor: Sensor, start: datetime) -> SessionLog:
    log = begin(sensor, POOLS["pampas"].address(7), start, "telnet")
    log.connect()
    log.login("admin", "admin", success=True)
    log.open_shell("linux-mips-msb")
    for text in HOSTILE_TEXTS:
        log.wait(0.5, 2)
        log.command(f"echo {text}")
    log.close_shell()
    log.close()
    return log


def _reused_id(begin: Begin, start: datetime, sensor: Sensor, other: Sensor) -> Iterator[SessionLog]:
    """One id three times: again after more than 24 hours, and at the other sensor, which is another session."""
    first = _short(begin(sensor, POOLS["monsoon"].address(2), start))
    yield first
    yield _short(begin(sensor, POOLS["hetzner"].address(3), start + timedelta(hours=27), session_id=first.session_id))
    yield _short(begin(other, POOLS["aegean"].address(1), start + timedelta(minutes=9), session_id=first.session_id))


def _inside(begin: Begin, sensor: Sensor, start: datetime) -> Iterator[SessionLog]:
    """Sources that are not public, one in each private prefix."""
    for turn in range(len(POOLS["internal"].networks)):
        yield _short(begin(sensor, POOLS["internal"].address(5 * turn), start + timedelta(minutes=turn)))


def _short(log: SessionLog) -> SessionLog:
    log.connect()
    log.key_login("git", invented_key("offered by nobody"))
    log.close()
    return log


def _without_connect(begin: Begin, sensor: Sensor, start: datetime) -> SessionLog:
    """It began before the logs do."""
    log = begin(sensor, POOLS["azure"].address(5), start)
    log.command("tail -f /var/log/messages")
    log.close()
    return log


def _without_close(begin: Begin, sensor: Sensor, start: datetime) -> SessionLog:
    """The sensor was switched off meanwhile."""
    log = begin(sensor, POOLS["red-delta"].address(11), start)
    log.connect()
    log.login("root", "ebb")
    return log


def _silent_for_a_day(begin: Begin, sensor: Sensor, start: datetime) -> SessionLog:
    """23 hours between two events: an hour less than what would make it two sessions."""
    log = begin(sensor, POOLS["fjordlink"].address(5), start)
    log.connect()
    log.login("root", "patience", success=True)
    log.wait(23 * 3600, 23 * 3600 + 60)
    log.command("echo still here")
    log.close()
    return log


def _unreadable(begin: Begin, sensor: Sensor, start: datetime) -> SessionLog:
    """Bytes that are no UTF-8, an event id of the future, and messages that are lists."""
    log = begin(sensor, POOLS["jade-river"].address(13), start)
    log.connect()
    log.login("root", f"sea{_SPELT_INVALID}weed")
    data = log.lines[-1].data.replace(_SPELT_INVALID.encode(), _INVALID)
    log.lines[-1] = log.lines[-1]._replace(data=data)
    log.write("sample.unknown", "An event of a Cowrie that is yet to be written", depth=3, currents=["ebb", "flood"])
    tried = {"username": "root", "password": "in parts"}
    log.write("login.failed", ["login attempt", "[root/in parts]", "failed"], **tried)
    log.close()
    return log
