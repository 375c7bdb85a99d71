"""The sandbox's sample: Cowrie logs of two sensors as a user would have them, and the truth about what they hold.

Lives here: when sessions happen, which file a line lies in, what the files hold besides events, and the counts, which
are taken while the lines are made, so that they do not depend on any parser. Not here: what sessions consist of
(`campaigns`, `oddities`), how events are spelt (`eventlines`), whose the addresses are (`pools`).
"""

from __future__ import annotations

import gzip
import io
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random

from cowrie_assets.sandbox.campaigns import CAMPAIGNS, Campaign
from cowrie_assets.sandbox.eventlines import DurationStyle, Line, Sensor, SessionLog
from cowrie_assets.sandbox.oddities import future_session, malformed_line, midnight, odd_sessions
from cowrie_assets.sandbox.pools import POOLS

SENSORS = (
    Sensor("harbour-east", "172.31.9.4", "2a1f:e100::4", None),
    Sensor("lighthouse-west", "172.31.40.7", "2a1f:e200::7", "5f0c7a52-6d1e-11f0-9b1d-0242ac1f2807"),
)
# On the last day sessions start no later than this, so that all of them are over at midnight.
_LAST_START_HOUR = 23.3
_OVERLAP_LINES = 25
_MALFORMED_PER_FILE = 5
_BLANK_LINES = (b"", b"  ")
_TORN_TAIL = b'{"eventid":"cowrie.login.failed","username":"root","password":"half a wo'


@dataclass(frozen=True)
class SampleTruth:
    """What was written.

    `events` are distinct (sensor, JSON value) and `sessions` are (sensor, session id), cut where more than 24 hours
    pass between two events. The one event in the far future is in neither: it and its session are `out_of_range_*`.
    `total_bytes` is what the files hold decompressed, the `pending_bytes` of unfinished last lines included. All
    malformed lines differ. Source addresses are those of all sessions.
    """

    files: int
    total_bytes: int
    events: int
    duplicate_records: int
    malformed_lines: int
    blank_lines: int
    pending_bytes: int
    sessions: int
    source_addresses: int
    out_of_range_events: int
    out_of_range_sessions: int


def write_sample_logs(
    folder: Path, last_day: date, days: int = 4, seed: int = 20250910, sessions_per_day: int = 1500
) -> SampleTruth:
    """Write the logs of `days` days below the folder, one subfolder a sensor; the same bytes for the same arguments.

    Besides `sessions_per_day` a fixed number of odd sessions is written. Files of the same names are replaced.

    Raises:
        ValueError: fewer than two days; some oddities need two.
    """
    if days < 2:
        raise ValueError(f"a sample has at least 2 days, not {days}")
    stage = _Stage([last_day - timedelta(days=days - 1 - number) for number in range(days)], Random(seed))
    for day in stage.days:
        stage.play_day(day, sessions_per_day)
    for log in odd_sessions(stage.begin, stage.days, SENSORS):
        stage.finish(log)
    sessions, events = stage.sessions, stage.events
    stage.finish(future_session(stage.begin, stage.days, SENSORS[0]))

    written: Counter[str] = Counter()
    for sensor in SENSORS:
        written += _write_sensor(folder / sensor.name, stage, sensor)
    return SampleTruth(
        files=written["files"],
        total_bytes=written["bytes"],
        events=events,
        duplicate_records=written["duplicates"],
        malformed_lines=written["malformed"],
        blank_lines=written["blank"],
        pending_bytes=written["pending"],
        sessions=sessions,
        source_addresses=len(stage.sources),
        out_of_range_events=stage.events - events,
        out_of_range_sessions=stage.sessions - sessions,
    )


class _Stage:
    """The days on which sessions are played, the lines that come of it, and the counts."""

    def __init__(self, days: list[date], rng: Random) -> None:
        self.days = days
        self.rng = rng
        self.sessions = 0
        self.events = 0
        self.malformed = 0
        self.sources: set[str] = set()
        self.lines: dict[str, list[Line]] = defaultdict(list)
        self._begun = 0
        self._fresh_hosts: Counter[str] = Counter()

    def begin(
        self, sensor: Sensor, source: str, start: datetime, protocol: str = "ssh", session_id: str | None = None
    ) -> SessionLog:
        # Half chance, half number: no id comes twice but those that are meant to.
        self._begun += 1
        new_id = f"{self.rng.getrandbits(24):06x}{self._begun:06x}"
        durations = self._durations(sensor, start)
        return SessionLog(
            sensor, session_id or new_id, source, protocol=protocol, start=start, durations=durations, rng=self.rng
        )

    def finish(self, log: SessionLog) -> None:
        self.sessions += 1
        self.events += len(log.lines)
        self.sources.add(log.source)
        self.lines[log.sensor.name] += log.lines

    def play_day(self, day: date, session_count: int) -> None:
        remaining = session_count
        for campaign in CAMPAIGNS:
            count = remaining if campaign is CAMPAIGNS[-1] else min(remaining, round(session_count * campaign.share))
            remaining -= count
            for _ in range(count):
                self._play(campaign, day)

    def _play(self, campaign: Campaign, day: date) -> None:
        first, last = campaign.hours
        if day == self.days[-1]:
            last = min(last, _LAST_START_HOUR)
        start = midnight(day) + timedelta(hours=self.rng.uniform(first, last))
        log = self.begin(self.rng.choice(SENSORS), self._source(campaign), start, campaign.protocol)
        log.connect()
        log.wait(0.02, 0.3)
        campaign.play(log, self.rng)
        if self.rng.random() < 0.99:  # now and then the end of a session is never logged
            log.close()
        self.finish(log)

    def _source(self, campaign: Campaign) -> str:
        if campaign.hosts:
            host = int(campaign.hosts * self.rng.random() ** 2)
        else:
            host = self._fresh_hosts[campaign.name]
            self._fresh_hosts[campaign.name] += 1
        index, pool = divmod(host, len(campaign.pools))
        # Every campaign has hosts of its own, also where two use one pool.
        return POOLS[campaign.pools[pool]].address(100 * CAMPAIGNS.index(campaign) + index)

    def _durations(self, sensor: Sensor, start: datetime) -> DurationStyle:
        """The sensor with the newer Cowrie gets a still newer one for the last two days (the last of two)."""
        if sensor.uuid is None:
            return "seconds"
        return "milliseconds" if start.date() >= self.days[max(1, len(self.days) - 2)] else "text"


def _write_sensor(folder: Path, stage: _Stage, sensor: Sensor) -> Counter[str]:
    """Write the files of a sensor: older days compressed, the day before the last rotated, the last one live."""
    folder.mkdir(parents=True, exist_ok=True)
    counts: Counter[str] = Counter()
    events = _by_day(_delayed(stage.lines[sensor.name], stage), stage.days)
    overlaps = {following: events[day][-_OVERLAP_LINES:] for day, following in pairwise(stage.days)}
    for day in stage.days:
        copies = overlaps.get(day, [])
        # What a copying rotation leaves behind: the next file starts with the last lines of this one.
        lines = copies + events[day]
        repeated = _repeat_some(lines, stage.rng)
        counts.update(duplicates=len(copies) + repeated)
        for _ in range(_MALFORMED_PER_FILE):
            lines.insert(stage.rng.randrange(len(lines)), malformed_line(stage.malformed))
            stage.malformed += 1
        for blank in _BLANK_LINES:
            lines.insert(stage.rng.randrange(len(lines)), blank)
        tail = _TORN_TAIL if day == stage.days[-1] else b""
        content = b"".join(line + b"\n" for line in lines) + tail
        _write_file(folder, day, stage.days, content)
        counts.update(
            files=1, bytes=len(content), malformed=_MALFORMED_PER_FILE, blank=len(_BLANK_LINES), pending=len(tail)
        )
    return counts


def _delayed(lines: list[Line], stage: _Stage) -> list[Line]:
    """The lines in the order of writing: a few are seconds late, which puts them out of order, and very few are so
    late that they reach the file of a following day.
    """
    end = midnight(stage.days[-1]) + timedelta(hours=23, minutes=59)
    delayed = []
    for line in lines:
        chance = stage.rng.random()
        if chance < 0.006:
            seconds = stage.rng.uniform(2, 120) if chance < 0.005 else stage.rng.uniform(3600, 30 * 3600)
            written_at = min(line.written_at + timedelta(seconds=seconds), max(end, line.written_at))
            delayed.append(line._replace(written_at=written_at))
        else:
            delayed.append(line)
    return sorted(delayed, key=lambda line: line.written_at)


def _by_day(lines: list[Line], days: list[date]) -> dict[date, list[bytes]]:
    files: dict[date, list[bytes]] = {day: [] for day in days}
    for line in lines:
        files[line.written_at.date()].append(line.data)
    return files


def _repeat_some(lines: list[bytes], rng: Random) -> int:
    """Write some lines a second time, shortly behind the first; returns how many."""
    repeats = 1 + len(lines) // 400
    for _ in range(repeats):
        at = rng.randrange(len(lines))
        lines.insert(at + rng.randrange(1, 5), lines[at])
    return repeats


def _write_file(folder: Path, day: date, days: list[date], content: bytes) -> None:
    if day == days[-1]:
        _write_new(folder / "cowrie.json", content)
    elif day == days[-2]:
        _write_new(folder / f"cowrie.json.{day}", content)
    else:
        # Not gzip.compress: the header it writes differs between versions of Python.
        packed = io.BytesIO()
        with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=packed, mtime=0) as file:
            file.write(content)
        _write_new(folder / f"cowrie.json.{day}.gz", packed.getvalue())


def _write_new(path: Path, content: bytes) -> None:
    """A file that says the same already keeps its times, so that a second demo finds nothing to read."""
    if not path.exists() or path.read_bytes() != content:
        path.write_bytes(content)
