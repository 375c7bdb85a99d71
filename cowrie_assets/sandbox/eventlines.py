"""How a Cowrie sensor writes one session: the lines of its log, key for key.

Lives here: the form of every event, and how it differs between versions of Cowrie. Not here: which events a session
has (`campaigns`), which file a line ends up in (`traffic`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import md5, sha256
from ipaddress import ip_address
from random import Random
from typing import Literal, NamedTuple

# Older Cowries wrote a float of seconds, then text with one decimal, and since 2026 whole milliseconds.
DurationStyle = Literal["seconds", "text", "milliseconds"]

_TO_JSON = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True)
class Sensor:
    """A honeypot. `uuid` is None for a Cowrie that writes neither a uuid nor the protocol into every event."""

    name: str
    own_ipv4: str
    own_ipv6: str
    uuid: str | None


class Line(NamedTuple):
    """One line without its newline, and when the sensor wrote it."""

    written_at: datetime
    data: bytes


class Client(NamedTuple):
    """An SSH client program: what it calls itself and what it offers, in its order of preference."""

    version: str
    key_exchanges: tuple[str, ...]
    host_keys: tuple[str, ...]
    ciphers: tuple[str, ...]
    macs: tuple[str, ...]
    compressions: tuple[str, ...] = ("none",)


class PublicKey(NamedTuple):
    key_type: str
    key_data: str
    fingerprint: str


class SessionLog:
    """Collects the lines of one session. Its clock only moves forward, so no two events of a session are equal."""

    def __init__(
        self,
        sensor: Sensor,
        session_id: str,
        source: str,
        *,
        protocol: str,
        start: datetime,
        durations: DurationStyle,
        rng: Random,
    ) -> None:
        self.sensor = sensor
        self.session_id = session_id
        self.source = source
        self.protocol = protocol
        self.now = start
        self.rng = rng
        self.lines: list[Line] = []
        self._start = start
        self._durations = durations
        self._shell_opened_at = start

    def wait(self, least: float, most: float) -> None:
        """Let some seconds pass."""
        self.now += timedelta(microseconds=self.rng.randrange(int(least * 1e6), int(most * 1e6) + 1))

    def write(self, name: str, message: str | list[str], /, **fields: object) -> None:
        """Write an event with fields of its own, which come first, and the fields that all events have."""
        self.now += timedelta(microseconds=self.rng.randrange(150, 2500))
        event = {"eventid": f"cowrie.{name}", **fields}
        event.setdefault("message", message)
        event["sensor"] = self.sensor.name
        if self.sensor.uuid is not None:
            event["uuid"] = self.sensor.uuid
        event["timestamp"] = f"{self.now:%Y-%m-%dT%H:%M:%S.%f}Z"
        event.setdefault("src_ip", self.source)
        event.setdefault("session", self.session_id)
        if self.sensor.uuid is not None:
            event.setdefault("protocol", self.protocol)
        self.lines.append(Line(self.now, _TO_JSON(event).encode("ascii")))

    def connect(self) -> None:
        source_port = self.rng.randrange(1024, 65536)
        target = self.sensor.own_ipv4 if ip_address(self.source).version == 4 else self.sensor.own_ipv6
        port = 2222 if self.protocol == "ssh" else 2223
        self.write(
            "session.connect",
            f"New connection: {self.source}:{source_port} ({target}:{port}) [session: {self.session_id}]",
            src_ip=self.source,
            src_port=source_port,
            dst_ip=target,
            dst_port=port,
            session=self.session_id,
            protocol=self.protocol,
        )

    def version(self, version: str) -> None:
        self.write("client.version", f"Remote SSH version: {version}", version=version)

    def handshake(self, client: Client) -> None:
        """The client's version and its offer, with the hassh that follows from the offer."""
        self.version(client.version)
        offer = (client.key_exchanges, client.ciphers, client.macs, client.compressions)
        algorithms = ";".join(",".join(names) for names in offer)
        hassh = md5(algorithms.encode("ascii"), usedforsecurity=False).hexdigest()
        self.wait(0.02, 0.2)
        self.write(
            "client.kex",
            f"SSH client hassh fingerprint: {hassh}",
            hassh=hassh,
            hasshAlgorithms=algorithms,
            kexAlgs=client.key_exchanges,
            keyAlgs=client.host_keys,
            encCS=client.ciphers,
            macCS=client.macs,
            compCS=client.compressions,
            langCS=[""],
        )

    def login(self, username: str, password: str, *, success: bool = False) -> None:
        outcome, word = ("success", "succeeded") if success else ("failed", "failed")
        message = f"login attempt [{username}/{password}] {word}"
        self.write(f"login.{outcome}", message, username=username, password=password)

    def key_login(self, username: str, key: PublicKey) -> None:
        """A login with a public key, which Cowrie refuses: such a failure has no password."""
        offered = {"username": username, "fingerprint": key.fingerprint, "key": f"{key.key_type} {key.key_data}"}
        attempt = f"public key attempt for user {username} of type {key.key_type} with fingerprint {key.fingerprint}"
        self.write("client.fingerprint", attempt, **offered, type=key.key_type)
        self.write("login.failed", f"public key login attempt for [{username}] failed", **offered, type=key.key_type)

    def open_shell(self, arch: str) -> None:
        self._shell_opened_at = self.now
        self.write("session.params", [], arch=arch)
        if self.sensor.uuid is None:
            name = f"log/tty/{self.now:%Y%m%d-%H%M%S}-{self.session_id}-0i.log"
            self.write("log.open", f"Opening TTY Log: {name}", ttylog=name)

    def command(self, command: str, *, known: bool = True) -> None:
        self.write("command.input", f"CMD: {command}", input=command)
        if not known:
            self.write("command.failed", f"Command not found: {command}", input=command)

    def close_shell(self) -> None:
        # Cowrie names a recording after the sha256 of its content when it is complete.
        shasum = sha256(b"".join(line.data for line in self.lines)).hexdigest()
        name = f"var/lib/cowrie/tty/{shasum}"
        fields, after = self._duration(self._shell_opened_at)
        size = sum(len(line.data) for line in self.lines)
        about: dict[str, object] = {"ttylog": name, "size": size, "shasum": shasum, "duplicate": False}
        self.write("log.closed", f"Closing TTY Log: {name} after {after}", **about, **fields)

    def download(self, url: str, content: bytes) -> None:
        shasum, path = _stored(content)
        message = f"Downloaded URL ({url}) with SHA-256 {shasum} to {path}"
        self.write("session.file_download", message, url=url, outfile=path, shasum=shasum)

    def failed_download(self, url: str) -> None:
        self.write("session.file_download.failed", f"Attempt to download file(s) from URL ({url}) failed", url=url)

    def upload(self, filename: str, content: bytes) -> None:
        shasum, path = _stored(content)
        message = f'SFTP Uploaded file "{filename}" to {path}'
        self.write("session.file_upload", message, filename=filename, outfile=path, shasum=shasum)

    def forward(self, host: str, port: int, data: bytes) -> None:
        """A request to connect onwards through the honeypot, and what the client then sent; Cowrie discards it."""
        origin = self.rng.randrange(1024, 65536)
        self.write(
            "direct-tcpip.request",
            f"direct-tcp connection request to {host}:{port} from 127.0.0.1:{origin}",
            dst_ip=host,
            dst_port=port,
            src_ip=self.source,
            src_port=origin,
        )
        self.wait(0.01, 0.3)
        message = f"discarded direct-tcp forward request to {host}:{port} with data {data!r}"
        self.write("direct-tcpip.data", message, dst_ip=host, dst_port=port, data=repr(data))

    def close(self) -> None:
        fields, after = self._duration(self._start)
        self.write("session.closed", f"Connection lost after {after}", **fields)

    def _duration(self, since: datetime) -> tuple[dict[str, object], str]:
        seconds = (self.now - since).total_seconds()
        if self._durations == "seconds":
            return {"duration": seconds}, f"{int(seconds)} seconds"
        if self._durations == "text":
            return {"duration": f"{seconds:.1f}"}, f"{seconds:.1f} seconds"
        return {"duration_ms": int(seconds * 1000)}, f"{int(seconds * 1000)} milliseconds"


def _stored(content: bytes) -> tuple[str, str]:
    """The sha256 of a file and the path under which Cowrie keeps it."""
    shasum = sha256(content).hexdigest()
    return shasum, f"var/lib/cowrie/downloads/{shasum}"
