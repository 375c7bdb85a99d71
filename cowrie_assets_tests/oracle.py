"""What the database must hold after a load, computed from the raw log lines and the geo files.

Independent on purpose: it imports nothing of the package it checks and works by other means (the standard library's
json, gzip, bz2 and datetime; the geoip2 readers), slowly and all in memory, so that an agreement between the two means
something. Run as a program it prints the totals of the shared data.
"""

from __future__ import annotations

import bz2
import gzip
import ipaddress
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from geoip2.database import Reader
from geoip2.errors import AddressNotFoundError

DATA = Path(__file__).resolve().parents[1] / "../shared/data"

LONGEST_PAUSE = timedelta(hours=24)
PADDING = b"\0 \t\r"
PUBLIC_KEY = re.compile(
    r"(ssh-rsa|ssh-dss|ssh-ed25519|ecdsa-sha2-nistp(?:256|384|521)"
    r"|sk-ssh-ed25519@openssh\.com|sk-ecdsa-sha2-nistp256@openssh\.com)"
    r"\s+(AAAA[A-Za-z0-9+/]{12,}={0,2})"
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Event = dict[str, Any]
Stamped = tuple[datetime, Event]
Row = dict[str, Any]
T = TypeVar("T")
Autonomous = tuple[int | None, str | None]
UNKNOWN: Autonomous = (None, None)


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is Python's, not JSON's")


def _cowrie_event(line: bytes) -> Event | None:
    """The event a stripped line spells, whatever its timestamp; None if it spells none."""
    try:
        value = json.loads(line.decode("utf-8", "surrogateescape"), strict=False, parse_constant=_not_json)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    name = value.get("eventid")
    return value if isinstance(name, str) and name.startswith("cowrie.") else None


def _moment(event: Event) -> datetime | None:
    text = event.get("timestamp")
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _content(path: Path) -> tuple[bytes, bool]:
    """The bytes of a log, and whether it was stored compressed."""
    raw = path.read_bytes()
    if raw.startswith(b"\x1f\x8b"):
        return gzip.decompress(raw), True
    if raw.startswith(b"BZh"):
        return bz2.decompress(raw), True
    return raw, False


@dataclass
class _Lines:
    """The lines of files sorted into records, dead letters, blank lines and pending tails."""

    records: list[Stamped] = field(default_factory=list)
    dead: list[bytes] = field(default_factory=list)
    blank: int = 0
    pending: int = 0
    skipped: list[Path] = field(default_factory=list)

    def read(self, path: Path) -> None:
        content, compressed = _content(path)
        lines = content.split(b"\n")
        parsed = [_cowrie_event(line.strip(PADDING)) for line in lines]
        if all(event is None for event in parsed):
            self.skipped.append(path)
            return
        whole = parsed[-1] is not None and _moment(parsed[-1]) is not None
        if not lines[-1] or not (compressed or whole):  # nothing after the last newline, or more of it to come
            self.pending += len(lines.pop())
        for line, event in zip(lines, parsed, strict=False):
            bare = line.strip(PADDING)
            moment = None if event is None else _moment(event)
            if not bare:
                self.blank += 1
            elif event is None or moment is None:
                self.dead.append(bare)
            else:
                self.records.append((moment, event))


def _address(text: object) -> Address | None:
    if not isinstance(text, str):
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _source(events: list[Stamped]) -> Address | None:
    """The address of the connect event, else that of the first event that has one."""
    connects = [event for _, event in events if event["eventid"] == "cowrie.session.connect"]
    for event in [*connects, *(event for _, event in events)]:
        address = _address(event.get("src_ip"))
        if address is not None:
            return address
    return None


def ssh_keys(command: object) -> set[tuple[str, str]]:
    """The distinct public keys a command would add to authorized_keys."""
    if not isinstance(command, str) or "authorized_keys" not in command:
        return set()
    return {(kind, blob) for kind, blob in PUBLIC_KEY.findall(command)}


@dataclass(frozen=True)
class Session:
    sensor: str
    session: str
    first: datetime
    last: datetime
    address: Address | None
    country: str | None
    asn: int | None
    as_name: str | None
    events: int
    names: Mapping[str, int]  # eventid → events
    ssh_keys: int

    @property
    def day(self) -> date:
        return self.first.date()

    @property
    def commands(self) -> int:
        return self.names.get("cowrie.command.input", 0)

    @property
    def downloads(self) -> int:
        return self.names.get("cowrie.session.file_download", 0)


SessionKey = tuple[str, str, datetime]  # sensor, session id, first event: an id can be used again after a day


def _runs(events: list[Stamped]) -> Iterator[list[Stamped]]:
    """The events of one (sensor, session id), in order of time, cut where more than a day passes between two."""
    run: list[Stamped] = []
    for moment, event in sorted(events, key=lambda pair: pair[0]):
        if run and moment - run[-1][0] > LONGEST_PAUSE:
            yield run
            run = []
        run.append((moment, event))
    if run:
        yield run


def _lookup(path: Path | None, stack: ExitStack, ask: Callable[[Reader, str], T], none: T) -> Callable[..., T]:
    """What a geo file says of an address: nothing of one that is not public, not there, or without a file."""
    reader = None if path is None else stack.enter_context(Reader(path))

    @cache
    def answer(address: Address | None) -> T:
        if reader is None or address is None or not address.is_global:
            return none
        try:
            return ask(reader, str(address))
        except AddressNotFoundError:
            return none

    return answer


def _system(reader: Reader, address: str) -> Autonomous:
    found = reader.asn(address)
    return found.autonomous_system_number, found.autonomous_system_organization


def rounded(value: Fraction, places: int) -> Decimal:
    """Half away from zero, as PostgreSQL rounds a numeric."""
    with localcontext(prec=60):
        exact = Decimal(value.numerator) / Decimal(value.denominator)
        return exact.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP)


def _commonest(values: Iterable[str | None]) -> str | None:
    """The most frequent value that is not None, the alphabetically first of several."""
    found = Counter(value for value in values if value is not None)
    return min(found, key=lambda value: (-found[value], value), default=None)


def _mean(values: Iterable[int], size: int) -> Decimal:
    return rounded(Fraction(sum(values), size), 2)


def _ranking(sessions: Iterable[Session], by: str, minimum: int, limit: int) -> Iterator[tuple[list[Session], Row]]:
    """The sessions by an attribute of theirs, those without it left out, and the columns both queries share."""
    groups: dict[Any, list[Session]] = defaultdict(list)
    for session in sessions:
        if getattr(session, by) is not None:
            groups[getattr(session, by)].append(session)
    total = sum(map(len, groups.values()))
    kept = [pair for pair in groups.items() if len(pair[1]) >= minimum]
    for value, group in sorted(kept, key=lambda pair: (-len(pair[1]), pair[0]))[:limit]:
        row = {
            by: value,
            "session_count": len(group),
            "days_active": len({session.day for session in group}),
            "first_seen": min(session.first for session in group),
            "last_seen": max(session.last for session in group),
            f"{by}_percentage": rounded(Fraction(100 * len(group), total), 2),
        }
        yield group, row


@dataclass(frozen=True)
class Oracle:
    records: int
    events: int
    duplicates: int
    dead_letters: int  # distinct by content
    dead_letter_lines: int
    pending_bytes: int
    blank_lines: int
    skipped_files: tuple[Path, ...]
    sessions: int
    addresses: int
    logins: int
    login_successes: int
    commands: int
    failed_commands: int
    downloads: int
    uploads: int
    forwarding_requests: int
    ssh_keys: int
    by_session: Mapping[SessionKey, Session]
    days: Mapping[date, int]  # UTC day → sessions that began on it

    def geographic(self, minimum: int = 100, limit: int = 200) -> list[Row]:
        rows = []
        for group, row in _ranking(self.by_session.values(), "country", minimum, limit):
            systems = len({session.asn for session in group} - {None})
            row["unique_asns"] = systems
            row["avg_commands_per_session"] = _mean((s.commands for s in group), len(group))
            row["total_file_downloads"] = sum(s.downloads for s in group)
            row["asn_diversity_ratio"] = rounded(Fraction(systems, len(group)), 3)
            rows.append(row)
        return rows

    def asn_infrastructure(self, minimum: int = 50, limit: int = 500) -> list[Row]:
        rows = []
        for group, row in _ranking(self.by_session.values(), "asn", minimum, limit):
            row["as_name"] = _commonest(s.as_name for s in group)
            row["primary_country"] = _commonest(s.country for s in group)
            row["avg_commands"] = _mean((s.commands for s in group), len(group))
            row["total_downloads"] = sum(s.downloads for s in group)
            row["total_ssh_injections"] = sum(s.ssh_keys for s in group)
            rows.append(row)
        return rows


def count(paths: Iterable[Path], city: Path | None, asn: Path | None) -> Oracle:
    lines = _Lines()
    for path in paths:
        lines.read(path)

    distinct: dict[tuple[str, str], Stamped] = {}
    by_id: dict[tuple[str, str], list[Stamped]] = defaultdict(list)
    for moment, event in lines.records:
        sensor = event["sensor"] if isinstance(event.get("sensor"), str) else "unnamed"
        identity = sensor, json.dumps(event, sort_keys=True)
        if identity not in distinct:
            distinct[identity] = moment, event
            if isinstance(event.get("session"), str):
                by_id[sensor, event["session"]].append((moment, event))

    by_session: dict[SessionKey, Session] = {}
    with ExitStack() as stack:
        country_of = _lookup(city, stack, lambda reader, address: reader.city(address).country.iso_code, None)
        system_of = _lookup(asn, stack, _system, UNKNOWN)
        for (sensor, name), events in by_id.items():
            for run in _runs(events):
                address = _source(run)
                inputs = (event.get("input") for _, event in run if event["eventid"] == "cowrie.command.input")
                first = run[0][0]
                by_session[sensor, name, first] = Session(
                    sensor, name, first, run[-1][0], address, country_of(address), *system_of(address),
                    events=len(run), names=Counter(event["eventid"] for _, event in run),
                    ssh_keys=sum(len(ssh_keys(text)) for text in inputs),
                )  # fmt: skip

    names = Counter(event["eventid"] for _, event in distinct.values())
    return Oracle(
        records=len(lines.records), events=len(distinct), duplicates=len(lines.records) - len(distinct),
        dead_letters=len(set(lines.dead)), dead_letter_lines=len(lines.dead),
        pending_bytes=lines.pending, blank_lines=lines.blank, skipped_files=tuple(lines.skipped),
        sessions=len(by_session), addresses=len({session.address for session in by_session.values()} - {None}),
        logins=names["cowrie.login.failed"] + names["cowrie.login.success"],
        login_successes=names["cowrie.login.success"],
        commands=names["cowrie.command.input"], failed_commands=names["cowrie.command.failed"],
        downloads=names["cowrie.session.file_download"], uploads=names["cowrie.session.file_upload"],
        forwarding_requests=names["cowrie.direct-tcpip.request"],
        ssh_keys=sum(session.ssh_keys for session in by_session.values()),
        by_session=by_session, days=Counter(session.day for session in by_session.values()),
    )  # fmt: skip


def shared() -> Oracle:
    """The oracle over every log of the shared data."""
    paths = sorted((DATA / "cowrie").rglob("*.gz"))
    return count(paths, DATA / "mmdb/city.mmdb", DATA / "mmdb/asn.mmdb")


if __name__ == "__main__":
    answer = shared()
    for total, value in vars(answer).items():
        sys.stdout.write(f"{total}: {len(value) if isinstance(value, Mapping) else value}\n")
    for row in answer.geographic() + answer.asn_infrastructure():
        sys.stdout.write(json.dumps(row, default=str) + "\n")
