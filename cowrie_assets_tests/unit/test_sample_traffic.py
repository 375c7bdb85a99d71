"""The sandbox's sample: the same every time, honest about what it holds, and with every oddity it promises.

The recount here uses nothing but the standard library's json on the written files.
"""

from __future__ import annotations

import gzip
import ipaddress
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from hashlib import md5
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import geoip2.database
import geoip2.errors
import pytest

from cowrie_assets.sandbox.geofiles import write_geo_files
from cowrie_assets.sandbox.pools import POOLS, Pool
from cowrie_assets.sandbox.traffic import SampleTruth, write_sample_logs

LAST_DAY = date(2025, 9, 10)
PUBLIC = [pool for pool in POOLS.values() if pool.kind != "private"]

Event = dict[str, Any]


class Sample:
    """The files of a folder, taken apart."""

    def __init__(self, folder: Path, last_day: date) -> None:
        self.horizon = datetime(last_day.year, last_day.month, last_day.day, tzinfo=UTC) + timedelta(days=2)
        self.lines: dict[str, list[bytes]] = {}
        self.pending: list[bytes] = []
        self.blank = self.bytes = 0
        self.malformed: list[bytes] = []
        self.records: list[Event] = []
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
                self._read(path.relative_to(folder).as_posix(), content)
        self.events = list({(e["sensor"], json.dumps(e, sort_keys=True)): e for e in self.records}.values())

    def _read(self, name: str, content: bytes) -> None:
        *lines, tail = content.split(b"\n")
        self.bytes += len(content)
        self.lines[name] = lines
        self.pending += [tail] if tail else []
        for line in lines:
            event = as_event(line)
            if not line.strip():
                self.blank += 1
            elif event is None:
                self.malformed.append(line)
            else:
                self.records.append(event)

    @cached_property
    def sessions(self) -> list[list[Event]]:
        """Events of one id at one sensor in order of time, cut where more than 24 hours pass."""
        by_id: dict[tuple[str, str], list[Event]] = defaultdict(list)
        for event in self.events:
            by_id[event["sensor"], event["session"]].append(event)
        runs = []
        for events in by_id.values():
            events.sort(key=moment)
            run = events[:1]
            for before, event in pairwise(events):
                if moment(event) - moment(before) > timedelta(hours=24):
                    runs.append(run)
                    run = []
                run.append(event)
            runs.append(run)
        return runs

    def recount(self) -> SampleTruth:
        future = [event for event in self.events if moment(event) >= self.horizon]
        sessions = Counter(moment(run[0]) >= self.horizon for run in self.sessions)
        return SampleTruth(
            files=len(self.lines),
            total_bytes=self.bytes,
            events=len(self.events) - len(future),
            duplicate_records=len(self.records) - len(self.events),
            malformed_lines=len(set(self.malformed)),
            blank_lines=self.blank,
            pending_bytes=sum(map(len, self.pending)),
            sessions=sessions[False],
            source_addresses=len({ipaddress.ip_address(event["src_ip"]) for event in self.events}),
            out_of_range_events=len(future),
            out_of_range_sessions=sessions[True],
        )

    def named(self, name: str) -> list[Event]:
        return [event for event in self.events if event["eventid"] == f"cowrie.{name}"]


def as_event(line: bytes) -> Event | None:
    try:
        value = json.loads(line.decode("utf-8", "surrogateescape"))
        is_event = value["eventid"].startswith("cowrie.") and datetime.fromisoformat(value["timestamp"])
    except (ValueError, TypeError, KeyError):
        return None
    return value if is_event else None


def moment(event: Event) -> datetime:
    return datetime.strptime(event["timestamp"], "%Y-%m-%dT%H:%M:%S.%f%z")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SampleTruth]:
    folder = tmp_path_factory.mktemp("sample")
    return folder, write_sample_logs(folder, LAST_DAY)


@pytest.fixture(scope="module")
def sample(written: tuple[Path, SampleTruth]) -> Sample:
    return Sample(written[0], LAST_DAY)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_arguments_give_the_same_bytes(written: tuple[Path, SampleTruth], tmp_path: Path) -> None:
    folder, truth = written
    assert write_sample_logs(tmp_path, LAST_DAY) == truth
    assert contents(tmp_path) == contents(folder)


def test_another_seed_gives_other_traffic(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_sample_logs(tmp_path / str(seed), LAST_DAY, days=2, seed=seed, sessions_per_day=20)
    one, two = contents(tmp_path / "1"), contents(tmp_path / "2")
    assert one.keys() == two.keys()
    assert not set(one.values()) & set(two.values())


def test_the_truth_is_what_a_recount_finds(written: tuple[Path, SampleTruth], sample: Sample) -> None:
    assert sample.recount() == written[1]


@pytest.mark.parametrize(("days", "seed", "sessions_per_day"), [(2, 7, 0), (2, 8, 30), (3, 9, 200), (9, 10, 11)])
def test_the_truth_holds_for_other_arguments(tmp_path: Path, days: int, seed: int, sessions_per_day: int) -> None:
    last_day = date(2024, 3, 1)
    truth = write_sample_logs(tmp_path, last_day, days, seed, sessions_per_day)
    assert Sample(tmp_path, last_day).recount() == truth
    assert truth.sessions - days * sessions_per_day == 2 * (days - 1) + 14  # the odd ones


def test_a_single_day_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 2 days, not 1"):
        write_sample_logs(tmp_path, LAST_DAY, days=1)


def test_size_of_the_default_sample(written: tuple[Path, SampleTruth]) -> None:
    truth = written[1]
    assert 5_900 <= truth.sessions <= 6_100
    assert 30_000 <= truth.events <= 40_000
    assert truth.total_bytes < 20_000_000
    assert truth.out_of_range_events == truth.out_of_range_sessions == 1


def test_files_lie_as_cowrie_and_logrotate_leave_them(sample: Sample) -> None:
    names = ["cowrie.json", "cowrie.json.2025-09-07.gz", "cowrie.json.2025-09-08.gz", "cowrie.json.2025-09-09"]
    assert list(sample.lines) == [
        f"{sensor}/{name}" for sensor in ("harbour-east", "lighthouse-west") for name in names
    ]
    for name, lines in sample.lines.items():
        assert {event["sensor"] for event in map(as_event, lines) if event} == {name.partition("/")[0]}


Check = Callable[[Event], bool]
IN_PASSWORDS = {
    "HTML": "<script>alert(",
    "a formula": "=cmd|",
    "Markdown": "](javascript:",
    "terminal escapes": "\x1b[31m",
    "SQL": "'; DROP TABLE",
    "NUL": "\0",
    "invalid UTF-8": "\udcff",
}
# In every sample, also one without any campaign.
ODDITIES: dict[str, Check] = {
    "command with HTML": lambda e: "<script>" in e.get("input", ""),
    "command with a formula": lambda e: "=cmd|" in e.get("input", ""),
    "command with terminal escapes": lambda e: "\x1b[31m" in e.get("input", ""),
    "unknown event id": lambda e: e["eventid"] == "cowrie.sample.unknown",
    "message as an empty list": lambda e: e["eventid"] == "cowrie.session.params" and e["message"] == [],
    "message as a list of parts": lambda e: isinstance(e["message"], list) and len(e["message"]) > 1,
    "duration as a float": lambda e: isinstance(e.get("duration"), float),
    "duration in milliseconds": lambda e: isinstance(e.get("duration_ms"), int) and "duration" not in e,
    "public key attempt": lambda e: e["eventid"] == "cowrie.login.failed" and "key" in e and "password" not in e,
    "private 10/8": lambda e: e["src_ip"].startswith("10."),
    "private 192.168/16": lambda e: e["src_ip"].startswith("192.168."),
    "private fd00::/8": lambda e: e["src_ip"].startswith("fd00:"),
    "event in the far future": lambda e: moment(e).date() == LAST_DAY + timedelta(days=36_500),
}
OF_CAMPAIGNS: dict[str, Check] = {
    "duration as text": lambda e: isinstance(e.get("duration"), str) and float(e["duration"]) >= 0,
    "IPv6 over SSH": lambda e: e.get("protocol") == "ssh" and ":" in e["src_ip"],
    "IPv6 over telnet": lambda e: e.get("protocol") == "telnet" and ":" in e["src_ip"],
    "client that speaks HTTP": lambda e: e.get("version") == "GET / HTTP/1.1",
    "planted key": lambda e: 'echo "ssh-rsa AAAAB3' in e.get("input", "") and ">> ~/.ssh/authorized_keys" in e["input"],
    "download with wget": lambda e: "wget http://" in e.get("input", ""),
    "downloaded file": lambda e: e["eventid"] == "cowrie.session.file_download" and len(e["shasum"]) == 64,
}
EVENT_IDS = """
client.fingerprint client.kex client.version command.failed command.input direct-tcpip.data direct-tcpip.request
log.closed log.open login.failed login.success sample.unknown session.closed session.connect session.file_download
session.file_download.failed session.file_upload session.params
"""


@pytest.fixture(scope="module")
def smallest(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    folder = tmp_path_factory.mktemp("smallest")
    write_sample_logs(folder, LAST_DAY, days=2, sessions_per_day=0)
    return Sample(folder, LAST_DAY)


@pytest.mark.parametrize("text", IN_PASSWORDS.values(), ids=IN_PASSWORDS.keys())
def test_hostile_passwords(text: str, sample: Sample, smallest: Sample) -> None:
    for events in (sample.events, smallest.events):
        assert any(text in str(event.get("password", "")) for event in events)


@pytest.mark.parametrize("oddity", ODDITIES)
def test_oddities(oddity: str, sample: Sample, smallest: Sample) -> None:
    assert any(map(ODDITIES[oddity], sample.events))
    assert any(map(ODDITIES[oddity], smallest.events))


@pytest.mark.parametrize("feature", OF_CAMPAIGNS)
def test_features_of_the_campaigns(feature: str, sample: Sample) -> None:
    assert any(map(OF_CAMPAIGNS[feature], sample.events))


def test_all_events_of_cowrie_that_the_sample_promises(sample: Sample) -> None:
    assert {event["eventid"] for event in sample.events} == {f"cowrie.{name}" for name in EVENT_IDS.split()}


def test_ssh_to_telnet_is_four_to_one(sample: Sample) -> None:
    protocols = Counter(event["protocol"] for event in sample.named("session.connect"))
    assert protocols["ssh"] + protocols["telnet"] == protocols.total()
    assert 0.78 < protocols["ssh"] / protocols.total() < 0.82


def test_hassh_follows_from_the_algorithms(sample: Sample) -> None:
    offers = {event["hassh"]: event["hasshAlgorithms"] for event in sample.named("client.kex")}
    assert len(offers) >= 4
    assert all(md5(algorithms.encode()).hexdigest() == hassh for hassh, algorithms in offers.items())


def test_nothing_but_the_future_event_leaves_the_days(sample: Sample) -> None:
    days = Counter(moment(event).date() for event in sample.events)
    assert sorted(days) == [LAST_DAY - timedelta(days=n) for n in (3, 2, 1, 0)] + [LAST_DAY + timedelta(days=36_500)]
    assert len(sample.named("session.connect")) == len({e["session"] + e["sensor"] for e in sample.events})


def test_sessions_cross_every_midnight(sample: Sample) -> None:
    crossed = {
        (run[0]["sensor"], moment(run[0]).date())
        for run in sample.sessions
        if moment(run[0]).date() < moment(run[-1]).date()
    }
    sensors = ("harbour-east", "lighthouse-west")
    assert crossed >= {(sensor, LAST_DAY - timedelta(days=n)) for sensor in sensors for n in (1, 2, 3)}


def test_ids_come_again_after_a_day_and_at_the_other_sensor(sample: Sample) -> None:
    runs = Counter((run[0]["sensor"], run[0]["session"]) for run in sample.sessions)
    again = [key for key, count in runs.items() if count == 2]
    assert len(again) == 1
    assert sum(session == again[0][1] for _, session in runs) == 2


def test_sessions_without_beginning_or_end_and_a_silent_one(sample: Sample) -> None:
    names = [{event["eventid"] for event in run} for run in sample.sessions]
    assert sum("cowrie.session.connect" not in ids for ids in names) == 1
    assert sum("cowrie.session.closed" not in ids for ids in names) > 10
    pauses = [moment(b) - moment(a) for run in sample.sessions for a, b in pairwise(run)]
    assert timedelta(hours=23) <= max(pauses) < timedelta(hours=24)


def test_order_of_lines_is_as_untidy_as_in_life(sample: Sample) -> None:
    for name, lines in sample.lines.items():
        events = [event for event in map(as_event, lines) if event]
        assert any(moment(b) < moment(a) for a, b in pairwise(events)), f"{name} is in order"
    live_late = [
        event
        for event in map(as_event, sample.lines["harbour-east/cowrie.json"][60:])  # behind the overlap
        if event and moment(event).date() < LAST_DAY
    ]
    assert live_late


def test_lines_come_twice_inside_files_and_where_files_meet(sample: Sample) -> None:
    for sensor in ("harbour-east", "lighthouse-west"):
        files = [lines for name, lines in sample.lines.items() if name.startswith(sensor)]
        assert all(len(lines) > len(set(lines)) for lines in files)
        in_order = [*files[1:], files[0]]  # the live file sorts first
        for before, after in pairwise(in_order):
            shared = {line for line in before if as_event(line)} & {line for line in after if as_event(line)}
            assert len(shared) == 25


def test_malformed_lines_of_every_kind(sample: Sample, smallest: Sample) -> None:
    for lines in (sample.malformed, smallest.malformed):
        assert len(set(lines)) == len(lines)
        values: list[Any] = []
        for line in lines:
            try:
                values.append(json.loads(line))
            except ValueError:
                values.append(None)
        torn = [line for line, value in zip(lines, values, strict=True) if value is None]
        assert any(line.startswith(b'{"eventid":"cowrie.') for line in torn)
        assert any(not line.startswith(b"{") for line in torn)
        assert any(isinstance(value, list) for value in values)
        objects = [value for value in values if isinstance(value, dict)]
        assert any("eventid" not in value for value in objects)
        assert any("timestamp" not in value for value in objects)
        assert any("yesterday" in value.get("timestamp", "") for value in objects)


def test_live_files_end_in_mid_line(sample: Sample) -> None:
    assert len(sample.pending) == 2
    assert all(tail.startswith(b'{"eventid":"cowrie.') and as_event(tail) is None for tail in sample.pending)


def test_the_stuffing_campaign_has_one_short_login_an_address(sample: Sample) -> None:
    networks = POOLS["saltmarsh"].networks
    runs = [r for r in sample.sessions if any(ipaddress.ip_address(r[0]["src_ip"]) in network for network in networks)]
    assert len(runs) == 1200 == len({run[0]["src_ip"] for run in runs})
    assert all(sum(event["eventid"].startswith("cowrie.login.") for event in run) == 1 for run in runs)
    assert all(moment(run[-1]) - moment(run[0]) < timedelta(seconds=3) for run in runs)


def test_every_public_source_is_in_a_pool_and_globally_routable(sample: Sample) -> None:
    sources = {ipaddress.ip_address(event["src_ip"]) for event in sample.events}
    private = POOLS["internal"].networks
    for source in sources:
        inside = any(source in network for network in private)
        assert source.is_global != inside
        assert sum(source in network for pool in POOLS.values() for network in pool.networks) == 1
    assert {source.version for source in sources} == {4, 6}


def test_pools_are_global_and_apart() -> None:
    for pool in PUBLIC:
        for network in pool.networks:
            assert network[0].is_global and network[-1].is_global and not network.is_multicast, pool.name
    networks = [network for pool in POOLS.values() for network in pool.networks]
    assert not any(a.version == b.version and a.overlaps(b) for a, b in combinations(networks, 2))
    for pool in POOLS.values():
        assert len({pool.address(index) for index in range(200)}) == 200
    assert not any(
        ipaddress.ip_address(pool.address(5 * n)).is_global for n in range(9) for pool in [POOLS["internal"]]
    )


@pytest.fixture(scope="module")
def geo_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_geo_files(tmp_path_factory.mktemp("geo"), LAST_DAY)


def samples_of(pool: Pool) -> Iterator[tuple[str, bool]]:
    """Addresses of a pool, among them the first and the last of every prefix, and whether files should know them."""
    listed = pool.listed_networks()
    edges = [str(network[at]) for network in pool.networks for at in (0, -1)]
    for text in (*edges, *(pool.address(index) for index in range(200))):
        yield text, any(ipaddress.ip_address(text) in network for network in listed)


def test_geo_files_agree_with_the_pools(geo_files: tuple[Path, Path]) -> None:
    known = Counter[bool]()
    with geoip2.database.Reader(geo_files[0]) as city, geoip2.database.Reader(geo_files[1]) as asn:
        for pool in PUBLIC:
            for address, listed in samples_of(pool):
                known[listed] += 1
                if not listed:
                    for ask in (city.city, asn.asn):
                        with pytest.raises(geoip2.errors.AddressNotFoundError):
                            ask(address)
                    continue
                system, where, place = asn.asn(address), city.city(address), pool.place
                assert place is not None
                assert (system.autonomous_system_number, system.autonomous_system_organization) == (
                    pool.asn,
                    pool.as_name,
                )
                assert (where.country.iso_code, where.country.name, where.city.name) == place[:3]
                assert (where.location.latitude, where.location.longitude) == place[3:]
                assert where.location.accuracy_radius in (20, 200)
    assert 0.02 < known[False] / known.total() < 0.06


def test_geo_files_know_nothing_else(geo_files: tuple[Path, Path]) -> None:
    with geoip2.database.Reader(geo_files[1]) as asn:
        for address in (*(POOLS["internal"].address(5 * turn) for turn in range(3)), "8.8.8.8", "2001:4860:4860::8888"):
            with pytest.raises(geoip2.errors.AddressNotFoundError):
                asn.asn(address)


def test_about_three_in_a_hundred_sources_are_in_no_file(sample: Sample) -> None:
    listed = [network for pool in POOLS.values() for network in pool.listed_networks()]
    sources = {ipaddress.ip_address(event["src_ip"]) for event in sample.events}
    absent = [source for source in sources if not any(source in network for network in listed)]
    assert 0.02 < len(absent) / len(sources) < 0.05


def test_geo_files_depend_on_nothing_but_the_date(geo_files: tuple[Path, Path], tmp_path: Path) -> None:
    again, later = write_geo_files(tmp_path / "again", LAST_DAY), write_geo_files(tmp_path / "later", date(2025, 9, 11))
    for first, second, third in zip(geo_files, again, later, strict=True):
        assert first.read_bytes() == second.read_bytes() != third.read_bytes()
        with geoip2.database.Reader(first) as reader:
            built_at = datetime.fromtimestamp(reader.metadata().build_epoch, UTC)
            assert built_at == datetime(2025, 9, 10, tzinfo=UTC)
            assert reader.metadata().database_type in ("GeoLite2-City", "GeoLite2-ASN")
