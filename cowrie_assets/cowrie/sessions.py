"""What the events of one session say together.

Lives here: the meaning of every Cowrie event id, for all versions since 2017; where one session ends and the next with
the same id begins. Not here: the rows that come of it (`cowrie_assets.warehouse.session_rows`).
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

from cowrie_assets.cowrie.addresses import address

# After this long without an event an id begins a new session: ids have 48 bits or fewer, and sensors run for years.
SESSION_GAP = timedelta(hours=24)

Value = dict[str, Any]
StoredEvent = tuple[str, bytes, Value]  # instant, digest, JSON value: sorts by time, then by identity


class Login(NamedTuple):
    at: str
    success: bool
    username: str | None
    password: str | None
    key_fingerprint: str | None


class Command(NamedTuple):
    at: str
    outcome: str
    input: str | None


class File(NamedTuple):
    at: str
    transfer: str
    sha256: str | None
    url: str | None
    filename: str | None


class SshKey(NamedTuple):
    at: str
    key_type: str
    key_data: str
    fingerprint: str
    remark: str | None


class Forwarding(NamedTuple):
    at: str
    destination: str | None
    destination_port: int | None
    source_port: int | None


@dataclass(slots=True)
class Session:
    """One session, rebuilt from all its events. Times are UTC text as in `events.Event.instant`."""

    session_id: str
    first_event_at: str
    last_event_at: str
    event_count: int
    source_ip: str | None = None
    source_port: int | None = None
    destination_ip: str | None = None
    destination_port: int | None = None
    protocol: str | None = None
    client_version: str | None = None
    hassh: str | None = None
    duration_seconds: float | None = None
    tty_log: str | None = None
    reported_sensor: str | None = None
    closed: bool = False
    unknown_events: int = 0
    logins: list[Login] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    files: list[File] = field(default_factory=list)
    ssh_keys: list[SshKey] = field(default_factory=list)
    forwardings: list[Forwarding] = field(default_factory=list)


def continues(last_event_at: str, first_event_at: str) -> bool:
    """Whether an id that fell silent at one instant and speaks again at another is still the same session."""
    return datetime.fromisoformat(first_event_at) - datetime.fromisoformat(last_event_at) <= SESSION_GAP


def reconstruct(session_id: str, events: list[StoredEvent]) -> Session:
    """Rebuild a session from all its events, in any order: the result is the same for every order of loading."""
    events.sort(key=_by_time)
    session = Session(session_id, events[0][0], events[-1][0], len(events))
    for at, _, value in events:
        handler = _HANDLERS.get(value["eventid"])
        if handler is None:
            session.unknown_events += 1
        else:
            handler(session, at, value)
    for _, _, value in events:
        if session.source_ip is None:
            session.source_ip = address(value.get("src_ip"))
        if session.protocol is None:
            session.protocol = text(value.get("protocol"))
        if session.reported_sensor is None:
            session.reported_sensor = text(value.get("sensor"))
        if session.source_ip and session.protocol and session.reported_sensor:
            break
    return session


def text(value: object) -> str | None:
    """A field as text; what is no text (a list where Cowrie once wrote one) as its JSON."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def port(value: object) -> int | None:
    """A port number, also when it was written as text; None for anything that is none."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 5:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 65535 else None


def seconds(event: Value) -> float | None:
    """How long something took: `duration` as number or text, or `duration_ms` (Cowrie since 2026)."""
    value, scale = event.get("duration"), 1.0
    if value is None:
        value, scale = event.get("duration_ms"), 0.001
    if isinstance(value, str) and not _NUMBER.fullmatch(value.strip()):
        return None
    try:
        duration = (
            float(value) * scale if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
        )
    except OverflowError:
        return None
    # Half a year is longer than any session, and keeps a forged 1e308 out of every average.
    return duration if 0 <= duration < 1.6e7 else None


def planted_keys(at: str, command: str) -> Iterable[SshKey]:
    """The public keys that a command writes to an authorized_keys file, each once."""
    if "authorized_keys" not in command:
        return
    seen = set()
    for match in _PUBLIC_KEY.finditer(command):
        key_type, key_data, remark = match.groups()
        if (key_type, key_data) not in seen:
            seen.add((key_type, key_data))
            yield SshKey(at, key_type, key_data, fingerprint(key_data), remark.strip() or None)


def fingerprint(key_data: str) -> str:
    """`SHA256:…` as `ssh-keygen -l` prints it; a key that is not base64 is hashed as the text it is."""
    try:
        raw = base64.b64decode(key_data + "=" * (-len(key_data) % 4), validate=True)
    except binascii.Error:
        raw = key_data.encode("utf-8", "surrogatepass")
    return "SHA256:" + base64.b64encode(sha256(raw).digest()).decode("ascii").rstrip("=")


def _by_time(event: StoredEvent) -> tuple[str, bytes]:
    return event[0], event[1]


def _connect(session: Session, _at: str, event: Value) -> None:
    session.source_ip = session.source_ip or address(event.get("src_ip"))
    session.source_port = port(event.get("src_port"))
    session.destination_ip = text(event.get("dst_ip"))
    session.destination_port = port(event.get("dst_port"))
    session.protocol = text(event.get("protocol"))


def _closed(session: Session, _at: str, event: Value) -> None:
    session.closed = True
    session.duration_seconds = seconds(event)


def _client_version(session: Session, _at: str, event: Value) -> None:
    version = text(event.get("version"))
    # Older Cowries logged the repr of the bytes: b'SSH-2.0-libssh-0.6.3'
    match = _REPR.fullmatch(version) if version else None
    session.client_version = match.group(2) if match else version


def _client_kex(session: Session, _at: str, event: Value) -> None:
    session.hassh = text(event.get("hassh"))


def _login(session: Session, at: str, event: Value) -> None:
    success = event["eventid"] == "cowrie.login.success"
    username, password = text(event.get("username")), text(event.get("password"))
    session.logins.append(Login(at, success, username, password, text(event.get("fingerprint"))))


def _command_input(session: Session, at: str, event: Value) -> None:
    command = text(event.get("input"))
    session.commands.append(Command(at, "input", command))
    if command:
        session.ssh_keys.extend(planted_keys(at, command))


def _command_success(session: Session, at: str, event: Value) -> None:
    session.commands.append(Command(at, "success", text(event.get("input"))))


def _command_failed(session: Session, at: str, event: Value) -> None:
    session.commands.append(Command(at, "failed", text(event.get("input"))))


def _file(transfer: str) -> Callable[[Session, str, Value], None]:
    def handle(session: Session, at: str, event: Value) -> None:
        checksum = event.get("shasum")
        known = checksum.lower() if isinstance(checksum, str) and _SHA256.fullmatch(checksum) else None
        name = text(event.get("filename")) or text(event.get("destfile")) or text(event.get("outfile"))
        session.files.append(File(at, transfer, known, text(event.get("url")), name))

    return handle


def _forwarding(session: Session, at: str, event: Value) -> None:
    target, destination_port = text(event.get("dst_ip")), port(event.get("dst_port"))
    session.forwardings.append(Forwarding(at, target, destination_port, port(event.get("src_port"))))


def _tty_log(session: Session, _at: str, event: Value) -> None:
    # The name at closing time is the final one: newer Cowries rename the recording to its sha256.
    session.tty_log = text(event.get("ttylog")) or session.tty_log


def _nothing(session: Session, _at: str, _event: Value) -> None:
    """A known event that adds nothing to the session's row."""


_NUMBER = re.compile(r"\d+(\.\d*)?([eE][+-]?\d+)?", re.ASCII)
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_REPR = re.compile(r"b?(['\"])(.*)\1", re.DOTALL)
_PUBLIC_KEY = re.compile(
    r"(ssh-rsa|ssh-dss|ssh-ed25519|ecdsa-sha2-nistp(?:256|384|521)|sk-(?:ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)"
    # The remark ends with its line, also with one that is spelt \\n for echo -e and printf.
    r"\s+(AAAA[A-Za-z0-9+/]{12,}={0,3})((?:(?!\\[nr])[^\n\r\"'>|;&])*)"
)

_HANDLERS: dict[str, Callable[[Session, str, Value], None]] = {
    "cowrie.session.connect": _connect,
    "cowrie.session.closed": _closed,
    "cowrie.client.version": _client_version,
    "cowrie.client.kex": _client_kex,
    "cowrie.login.failed": _login,
    "cowrie.login.success": _login,
    "cowrie.command.input": _command_input,
    "cowrie.command.success": _command_success,
    "cowrie.command.failed": _command_failed,
    "cowrie.session.file_download": _file("download"),
    "cowrie.session.file_download.failed": _file("failed download"),
    "cowrie.session.file_upload": _file("upload"),
    "cowrie.direct-tcpip.request": _forwarding,
    "cowrie.log.open": _tty_log,
    "cowrie.log.closed": _tty_log,
} | dict.fromkeys(
    (
        "cowrie.client.fingerprint",
        "cowrie.client.size",
        "cowrie.client.var",
        "cowrie.direct-tcpip.data",
        "cowrie.direct-tcpip.ja4",
        "cowrie.direct-tcpip.ja4h",
        "cowrie.session.input",
        "cowrie.session.params",
        "cowrie.telnet.option",
    ),
    _nothing,
)
