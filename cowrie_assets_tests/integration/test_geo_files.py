"""Geo files are fetched when there may be newer ones, and the last good copy serves (promises P1, P3, P10, P12).

Proved here, against two publishers and a store of the test's own: which file is taken and which is not, that each
request is in the ledger and each failure has a reason, that two processes fetch once, that a kill leaves a whole file,
and that no key and no signed address is seen anywhere. Not here: how answers and archives read
(`unit/test_geo_downloads`).
"""

from __future__ import annotations

import gzip
import io
import json
import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
import tarfile
import threading
import time
import traceback
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import md5, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import stamina

from cowrie_assets.lookup import geo_files
from cowrie_assets.lookup.asking import NO_TIME, Asking
from cowrie_assets.lookup.gate import EgressGate
from cowrie_assets.lookup.geo_files import GeoRefreshed, refresh_geo_files
from cowrie_assets.lookup.services import SERVICES, Quota, Service
from cowrie_assets.sandbox.faults import HTTP_KINDS
from cowrie_assets.sandbox.geofiles import geo_file as sandbox_file
from cowrie_assets.sandbox.geovendors import last_build
from cowrie_assets.sandbox.pools import POOLS
from cowrie_assets.sandbox.server import Sandbox
from cowrie_assets.upstreams.geo_downloads import KINDS, Kind
from cowrie_assets.upstreams.geoip import GeoFile
from cowrie_assets.warehouse.database import open_connection
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets_tests.conftest import Server
from cowrie_assets_tests.unit.test_geoip import written

ROOT = Path(__file__).resolve().parents[2]
MARKER = "MARKER-4a41d9c0"
ACCOUNT, LICENSE_KEY = f"{MARKER}-account", f"{MARKER}-license"
SIGNATURE = f"{MARKER}-signature"
TABLES = ("geo_databases", "open_questions", "lookup_ledger", "service_limits")
NAMES = {"city": "GeoLite2-City", "asn": "GeoLite2-ASN"}
RECORDS: dict[str, dict[str, Any]] = {
    # As in GeoLite2-City: the first networks are in no country.
    "city": {
        "1.0.0.0/24": {"registered_country": {"iso_code": "AU"}},
        "29.7.16.0/20": {"country": {"iso_code": "NL", "names": {"en": "The Netherlands"}}},
    },
    "asn": {"29.7.16.0/20": {"autonomous_system_number": 64496, "autonomous_system_organization": "Saltmarsh"}},
}
# The warehouse's clock is set to the middle of a month: DB-IP's editions are months.
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)

# Status, headers, body; a body that is longer than its Content-Length says is none, so that a cut one can be told.
Reply = tuple[int, dict[str, str], bytes]


# --- those who publish ------------------------------------------------------------------------------------------------


@dataclass
class Arrival:
    place: str
    path: str
    headers: dict[str, str]


@dataclass
class Publisher:
    """MaxMind, its store at another port, and DB-IP. `files` is what MaxMind has by kind, `months` what DB-IP has by
    edition; `spoil` may change the reply of a place: metadata, download, store, dbip."""

    files: dict[str, bytes] = field(default_factory=dict)
    months: dict[str, bytes] = field(default_factory=dict)
    spoil: dict[str, Callable[[Reply], Reply]] = field(default_factory=dict)
    arrivals: list[Arrival] = field(default_factory=list)
    url: str = ""
    store_url: str = ""
    delay: float = 0.0

    def answer(self, is_store: bool, path: str, headers: dict[str, str]) -> Reply:
        parts = urlsplit(path)
        query = {name: value[0] for name, value in parse_qs(parts.query).items()}
        place = "store" if is_store else parts.path.split("/")[-1] if "geoip" in path else "dbip"
        self.arrivals.append(Arrival(place, path, headers))
        time.sleep(self.delay)
        reply = self._reply(place, parts.path, query, headers)
        return self.spoil[place](reply) if place in self.spoil else reply

    def _reply(self, place: str, path: str, query: dict[str, str], headers: dict[str, str]) -> Reply:
        if place == "dbip":
            body = self.months.get(path.rpartition("/")[2].removesuffix(".mmdb.gz"))
            return (404, {}, b"<html>") if body is None else (200, {}, gzip.compress(body, 1))
        if place == "store":
            # As the real one: two ways to say who one is are one too many.
            if "authorization" in headers or query.get("sig") != SIGNATURE:
                return 400, {}, b"<Error>Only one auth mechanism allowed</Error>"
            return 200, {}, packed(self.files[path.rpartition("/")[2]])
        if headers.get("authorization") != f"Basic {b64encode(f'{ACCOUNT}:{LICENSE_KEY}'.encode()).decode()}":
            return 401, {}, json.dumps({"code": "AUTHORIZATION_INVALID", "error": str(headers)}).encode()
        if place == "metadata":
            edition = query["edition_id"]
            kind = {name: known for known, name in NAMES.items()}[edition]
            told = {"edition_id": edition, "date": f"{NOW:%Y-%m-%d}", "md5": md5(self.files[kind]).hexdigest()}
            return 200, {"Set-Cookie": f"session={MARKER}; Path=/"}, json.dumps({"databases": [told]}).encode()
        kind = {name: known for known, name in NAMES.items()}[path.split("/")[-2]]
        assert query == {"date": f"{NOW:%Y%m%d}", "suffix": "tar.gz"}
        location = f"{self.store_url}/{kind}?sig={SIGNATURE}"
        return 302, {"Location": location, "Set-Cookie": f"session={MARKER}; Path=/"}, MARKER.encode()

    def places(self) -> list[str]:
        return [arrival.place for arrival in self.arrivals]


def packed(content: bytes) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz", compresslevel=1) as written_to:
        member = tarfile.TarInfo("GeoLite2_20261120/GeoLite2.mmdb")
        member.size = len(content)
        written_to.addfile(member, io.BytesIO(content))
    return archive.getvalue()


@contextmanager
def listening(publisher: Publisher, is_store: bool) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, sent, body = publisher.answer(is_store, self.path, headers)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), "Connection": "close", **sent}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class QuietServer(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # the client may leave at any time

    with QuietServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def running() -> Iterator[Publisher]:
    publisher = Publisher()
    with listening(publisher, False) as publisher.url, listening(publisher, True) as publisher.store_url:
        yield publisher


@cache
def geo_file(kind: str, days_old: int = 0, type_: str = "", version: int = 6) -> bytes:
    """A geo file as it is published; `version` makes other bytes of the same build."""
    built_at = int((NOW - timedelta(days=days_old)).timestamp())
    told = {"database_type": type_ or NAMES[kind], "build_epoch": built_at}
    with TemporaryDirectory() as folder:
        return written(Path(folder) / "file.mmdb", RECORDS[kind], version, **told).read_bytes()


# --- a warehouse and a folder -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def url(embedded_server: Server) -> str:
    return embedded_server.new_database()


@dataclass
class World:
    url: str
    publisher: Publisher
    folder: Path
    maxmind: Service
    dbip: Service
    offset: timedelta = timedelta()

    def connect(self) -> Connection:
        return open_connection(self.url)

    def wait(self, **time: float) -> None:
        """Move the clock that all processes share."""
        self.offset += timedelta(**time)
        with open_connection(self.url) as connection:
            setting = f"{self.offset.total_seconds():.0f} seconds"
            connection.execute(
                f"ALTER DATABASE {connection.info.dbname} SET cowrie.clock_offset = '{setting}'".encode()
            )

    def asking(self, **changes: Any) -> Asking:
        return replace(Asking(self.connect, EgressGate(), "run", 20.0, retry_wait=0.0), **changes)

    def refresh(self, *kinds: Kind, **changes: Any) -> list[GeoRefreshed]:
        return refresh_geo_files(self.asking(**changes), self.maxmind, self.dbip, self.folder, kinds or KINDS)

    def city(self) -> GeoRefreshed:
        (refreshed,) = self.refresh("city")
        return refreshed

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.connect() as connection:
            return connection.execute(query.encode()).fetchall()

    def ledger(self) -> list[tuple[str, str, str | None, int | None]]:
        return self.rows("SELECT service, key, outcome, http_status FROM lookup_ledger ORDER BY call_id")

    def last_reason(self) -> str:
        return str(self.rows("SELECT reason FROM lookup_ledger ORDER BY call_id DESC LIMIT 1")[0][0])

    def open(self) -> list[tuple[str, str, str, str]]:
        return self.rows("SELECT service, key, outcome, reason FROM open_questions ORDER BY 1, 2")

    def contents(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir()} if self.folder.exists() else {}

    def unblock(self) -> None:
        self.rows("UPDATE service_limits SET blocked_until = NULL, failures = 0, open_until = NULL RETURNING 1")


@pytest.fixture
def world(url: str, running: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("MAXMIND_ACCOUNT_ID", ACCOUNT)
    monkeypatch.setenv("MAXMIND_LICENSE_KEY", LICENSE_KEY)
    monkeypatch.setenv("DSHIELD_EMAIL", "operator@example.org")
    with open_connection(url) as connection:
        for table in TABLES:
            connection.execute(f"DELETE FROM {table}".encode())
    running.files = {kind: geo_file(kind, 3) for kind in KINDS}
    running.months, running.spoil, running.arrivals, running.delay = {}, {}, [], 0.0
    fast = {"requests": 1500, "window": 1.0, "cool_down": 0.05, "quotas": (), "address": running.url}
    maxmind, dbip = (replace(SERVICES[name], **fast) for name in ("maxmind", "dbip"))  # type: ignore[arg-type]
    known = World(url, running, tmp_path / "geoip", maxmind, dbip, NOW + timedelta(hours=1) - datetime.now(UTC))
    known.wait()
    return known


@pytest.fixture
def keyless(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """No account at MaxMind, and DB-IP has this month's files."""
    monkeypatch.delenv("MAXMIND_ACCOUNT_ID")
    world.publisher.months = {edition(kind): dbip_file(kind, 10) for kind in KINDS}
    return world


def edition(kind: str, months_ago: int = 0) -> str:
    month = NOW.date().replace(day=1)
    for _ in range(months_ago):
        month = (month - timedelta(days=1)).replace(day=1)
    return f"dbip-{kind}-lite-{month:%Y-%m}"


def dbip_file(kind: str, days_old: int) -> bytes:
    return geo_file(kind, days_old, {"city": "DBIP-City-Lite", "asn": "DBIP-ASN-Lite"}[kind])


@pytest.fixture(autouse=True)
def no_backoff() -> Iterator[None]:
    with stamina.set_testing(True, attempts=3, cap=True):
        yield


@pytest.fixture(autouse=True)
def certificates_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssl, "create_default_context", cache(ssl.create_default_context))


# --- MaxMind, nothing goes wrong --------------------------------------------------------------------------------------


def test_both_files_are_those_that_are_published(world: World) -> None:
    refreshed = world.refresh()
    built_at = NOW - timedelta(days=3)
    assert refreshed == [
        GeoRefreshed(kind, "new edition", "maxmind", f"{NAMES[kind]}_{NOW:%Y%m%d}", built_at, 3) for kind in KINDS
    ]
    assert world.contents() == {f"{kind}.mmdb": world.publisher.files[kind] for kind in KINDS}
    with GeoFile(world.folder / "asn.mmdb") as file:
        assert file.asn("29.7.17.1")[0] == "29.7.16.0/20"
    assert world.ledger() == [
        ("maxmind", key, "found", status)
        for kind in KINDS
        for key, status in ((f"{kind} metadata", 200), (kind, 302), (f"{kind} redirection", 200))
    ]
    assert world.rows("SELECT count(*)::int FROM lookup_ledger WHERE run_id = 'run' AND latency_ms >= 0") == [(6,)]
    assert world.open() == []
    assert world.rows("SELECT kind, source, edition, built_at, sha256 FROM geo_databases ORDER BY kind DESC") == [
        (kind, "maxmind", f"{NAMES[kind]}_{NOW:%Y%m%d}", built_at, sha256(world.publisher.files[kind]).hexdigest())
        for kind in KINDS
    ]


def test_our_key_and_cookies_do_not_go_to_the_store(world: World) -> None:
    world.refresh()
    seen = {place: [a for a in world.publisher.arrivals if a.place == place] for place in world.publisher.places()}
    assert {place: len(arrivals) for place, arrivals in seen.items()} == {"metadata": 2, "download": 2, "store": 2}
    assert all("authorization" in arrival.headers for place in ("metadata", "download") for arrival in seen[place])
    for arrival in seen["store"]:
        assert set(arrival.headers) == {"host", "accept", "accept-encoding", "connection", "user-agent"}
        assert arrival.headers["user-agent"] == "cowrie-assets (+operator@example.org)"
    assert all("cookie" not in arrival.headers for arrival in world.publisher.arrivals)
    assert all(LICENSE_KEY not in arrival.path for arrival in world.publisher.arrivals)


def test_nothing_is_asked_while_a_copy_is_current(world: World) -> None:
    first = world.refresh()
    asked = len(world.publisher.arrivals)
    world.publisher.files = {kind: geo_file(kind, 1) for kind in KINDS}
    assert world.refresh() == [replace(known, state="still current") for known in first]
    world.wait(hours=23)
    assert [known.state for known in world.refresh()] == ["still current"] * 2
    assert len(world.publisher.arrivals) == asked
    assert len(world.rows("SELECT FROM geo_databases")) == 2


def test_an_edition_is_looked_for_and_fetched_only_if_it_is_new(world: World) -> None:
    world.refresh()
    world.publisher.arrivals.clear()
    world.wait(hours=25)
    world.publisher.files["asn"] = geo_file("asn", 1)
    city, asn = world.refresh()
    assert (city.state, city.age, asn.state, asn.age) == ("unchanged", 4, "new edition", 2)
    assert world.publisher.places() == ["metadata", "metadata", "download", "store"]
    assert world.contents() == {f"{kind}.mmdb": world.publisher.files[kind] for kind in KINDS}
    # A file that was looked at counts as seen.
    world.publisher.arrivals.clear()
    world.wait(hours=23)
    assert [known.state for known in world.refresh()] == ["still current"] * 2
    assert world.publisher.arrivals == []
    seen = world.rows(
        "SELECT kind, count(*)::int, count(DISTINCT sha256)::int FROM geo_databases GROUP BY 1 ORDER BY 1"
    )
    assert seen == [("asn", 2, 2), ("city", 2, 1)]


def test_a_kind_that_the_operator_has_a_file_for_is_not_asked_about(world: World) -> None:
    assert [known.kind for known in world.refresh("asn")] == ["asn"]
    assert set(world.contents()) == {"asn.mmdb"}
    assert all("ASN" in a.path for a in world.publisher.arrivals if a.place != "store")
    assert refresh_geo_files(world.asking(), world.maxmind, world.dbip, world.folder, ()) == []


def test_who_has_the_old_file_open_keeps_it_and_nothing_else_remains_of_it(world: World) -> None:
    world.refresh()
    with GeoFile(world.folder / "city.mmdb") as reader:
        before = reader.city("29.7.17.1")
        assert before is not None
        world.wait(hours=25)
        world.publisher.files["city"] = geo_file("city", 1)
        assert world.city().state == "new edition"
        assert reader.city("29.7.17.1") == before
        assert reader.built_at == NOW - timedelta(days=3)
    assert world.contents()["city.mmdb"] == geo_file("city", 1)
    old = geo_file("city", 3)
    assert [path for path in world.folder.parent.rglob("*") if path.is_file() and path.read_bytes() == old] == []


@pytest.mark.parametrize("how", ["gone", "another", "damaged", "empty", "a page"])
def test_a_copy_that_is_not_the_noted_one_is_fetched_anew(world: World, how: str) -> None:
    world.refresh()
    path = world.folder / "city.mmdb"
    good = path.read_bytes()
    if how == "gone":
        path.unlink()
    else:
        middle = bytearray(good)
        middle[len(good) // 2] ^= 255
        others = {"another": geo_file("city", 9), "damaged": bytes(middle), "empty": b"", "a page": b"<html></html>"}
        path.write_bytes(others[how])
    assert (world.city().state, path.read_bytes()) == ("new edition", good)


def test_what_was_fetched_and_not_noted_is_not_fetched_again(world: World) -> None:
    """A kill after the file took its place, or a warehouse that was set up anew beside the state folder."""
    world.refresh()
    world.rows("DELETE FROM geo_databases RETURNING 1")
    world.publisher.arrivals.clear()
    assert world.city().state == "unchanged"
    assert world.publisher.places() == ["metadata"]
    assert world.city().state == "still current"


# --- what goes wrong --------------------------------------------------------------------------------------------------


def status_of(code: int, body: bytes = b"", **headers: str) -> Callable[[Reply], Reply]:
    return lambda reply: (code, headers, body)


def body_of(content: Callable[[bytes], bytes]) -> Callable[[Reply], Reply]:
    return lambda reply: (reply[0], reply[1], content(reply[2]))


def cut(reply: Reply) -> Reply:
    return reply[0], {**reply[1], "Content-Length": str(len(reply[2]))}, reply[2][: len(reply[2]) // 2]


HTML = b"<!DOCTYPE html><html><body>We'll be right back</body></html>"
# What each place does, a part of the reason, and how often we try.
BROKEN: dict[str, tuple[str, Callable[[Reply], Reply], str, int]] = {
    "401": ("metadata", status_of(401, MARKER.encode()), "set MAXMIND_ACCOUNT_ID and MAXMIND_LICENSE_KEY", 1),
    "403 where TLS is missing": ("metadata", status_of(403), "set MAXMIND_ACCOUNT_ID and MAXMIND_LICENSE_KEY", 1),
    "429 for the metadata": ("metadata", status_of(429), "slow down", 1),
    "metadata in HTML": ("metadata", status_of(200, HTML), "HTML", 3),
    "metadata of nothing": ("metadata", status_of(200, b'{"databases":[]}'), "announced no edition", 3),
    "cut metadata": ("metadata", cut, "closed the connection", 3),
    "an error": ("metadata", status_of(500), "status 500", 3),
    "401 for the download": ("download", status_of(401), "set MAXMIND_ACCOUNT_ID", 1),
    "429 for the download": ("download", status_of(429, HTML), "slow down", 1),
    "no such download": ("download", status_of(404), "status 404", 3),
    "a redirection to nowhere": ("download", status_of(302), "where to", 3),
    "a redirection without TLS's end": ("download", status_of(302, Location="ftp://x/"), "not safe", 1),
    "a redirection in a circle": ("store", status_of(302, Location="/city"), "more than 2 times", 3),
    "an expired address": ("store", status_of(403, b"<Error>expired</Error>"), "address has expired", 3),
    "429 of the store": ("store", status_of(429), "slow down", 1),
    "HTML": ("store", status_of(200, HTML), "HTML", 3),
    "empty": ("store", status_of(200), "cut or damaged", 3),
    "cut": ("store", cut, "closed the connection", 3),
    "cut without a length": ("store", body_of(lambda body: body[: len(body) // 2]), "cut or damaged", 3),
    "a corrupt archive": ("store", body_of(lambda body: body[:300] + bytes(50) + body[350:]), "cannot be unpacked", 3),
    "another file": ("store", lambda _: (200, {}, packed(geo_file("city", 2))), "md5", 3),
    "half a part": ("store", status_of(206), "status 206", 3),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_download_that_fails_keeps_the_copy_that_is_there(world: World, how: str) -> None:
    place, spoil, reason, tries = BROKEN[how]

    # Before there ever was one.
    world.publisher.spoil = {place: spoil}
    never = world.city()
    assert (never.state, never.source, never.built_at) == ("never fetched", None, None)
    assert reason in never.reason
    assert world.contents() == {}
    assert world.rows("SELECT * FROM geo_databases") == []

    world.publisher.spoil = {}
    world.unblock()
    good = world.city()
    assert good.state == "new edition"
    assert world.open() == []
    before = world.contents()

    world.wait(hours=25)
    world.publisher.files["city"] = geo_file("city", 1)
    world.publisher.spoil = {place: spoil}
    world.publisher.arrivals.clear()
    calls = len(world.ledger())
    kept = world.city()
    assert kept == replace(good, state="last good copy kept", age=4, reason=kept.reason)
    assert reason in kept.reason
    assert world.contents() == before
    assert world.open() == [("maxmind", "city", "unavailable", kept.reason)]
    # Each request has its row; the last one says why.
    assert len(world.ledger()) - calls == len(world.publisher.arrivals)
    assert world.ledger()[-1][2] == "unavailable"
    assert world.last_reason() == kept.reason
    first = "metadata" if place == "metadata" else "download"
    assert world.publisher.places().count(first) == tries
    assert [row[2] for row in world.ledger() if row[2] is None] == []

    # The next run takes what is good, and the question is settled.
    world.publisher.spoil = {}
    world.unblock()
    assert world.city().state == "new edition"
    assert world.contents() == {"city.mmdb": geo_file("city", 1)}
    assert world.open() == []


UNUSABLE: dict[str, tuple[Callable[[], bytes], str]] = {
    "swapped kinds": (lambda: geo_file("asn", 1), "another file, 'GeoLite2-ASN'"),
    "a country file": (lambda: geo_file("city", 1, "GeoLite2-Country"), "another file, 'GeoLite2-Country'"),
    "an older build": (lambda: geo_file("city", 5), "older"),
    "a build from the future": (lambda: geo_file("city", -40), "in the future"),
    "a file that knows nothing": (lambda: geo_file("asn", 1, "GeoLite2-City"), "nothing of any address"),
    "no geo file": (lambda: b"MZ" * 5000, "no geo database"),
    "a torn file": (lambda: geo_file("city", 1)[:-300], "no geo database"),
    "nonsense below good metadata": (
        lambda: bytes(b ^ 255 for b in geo_file("city", 1)[:400]) + geo_file("city", 1)[400:],
        "",
    ),
}


@pytest.mark.parametrize("how", UNUSABLE)
def test_a_file_that_is_not_good_is_not_taken_though_it_is_the_announced_one(world: World, how: str) -> None:
    content, reason = UNUSABLE[how]
    good = world.refresh()
    before = world.contents()
    world.wait(hours=25)
    world.publisher.files["city"] = content()
    world.publisher.files["asn"] = geo_file("asn", 1)
    world.publisher.arrivals.clear()
    city, asn = world.refresh()
    assert city == replace(good[0], state="last good copy kept", age=4, reason=city.reason)
    assert reason in city.reason
    assert (world.ledger()[2], world.last_reason()) == (("maxmind", "city redirection", "found", 200), "None")
    assert world.rows("SELECT http_status, reason FROM lookup_ledger WHERE outcome = 'unavailable'") == [
        (200, city.reason)
    ]
    assert world.open() == [("maxmind", "city", "unavailable", city.reason)]
    # Asking again would not help; and what is wrong with one file keeps nobody from the other.
    assert world.publisher.places() == ["metadata", "download", "store"] * 2
    assert asn.state == "new edition"
    assert world.contents() == before | {"asn.mmdb": geo_file("asn", 1)}


def test_a_build_of_the_same_time_may_take_the_place_of_another(world: World) -> None:
    world.refresh()
    world.wait(hours=25)
    world.publisher.files["city"] = geo_file("city", 3, version=4)
    assert world.city().state == "new edition"
    assert world.contents()["city.mmdb"] == geo_file("city", 3, version=4)


def test_a_429_silences_every_kind(world: World) -> None:
    world.publisher.spoil = {"metadata": status_of(429)}
    city, asn = world.refresh()
    assert world.publisher.places() == ["metadata"]
    assert "slow down" in city.reason
    assert "nobody asks before" in asn.reason
    assert [row[:3] for row in world.open()] == [("maxmind", "asn", "unavailable"), ("maxmind", "city", "unavailable")]
    world.publisher.spoil = {}
    world.refresh()
    assert world.publisher.places() == ["metadata"]


def test_a_quota_that_is_used_up_is_the_reason(world: World) -> None:
    world.maxmind = replace(world.maxmind, quotas=(Quota(4, 86400.0),))
    city, asn = world.refresh()
    assert (city.state, asn.state) == ("new edition", "never fetched")
    assert "quota" in asn.reason
    assert world.open()[0][:3] == ("maxmind", "asn", "quota")
    assert len(world.publisher.arrivals) == len(world.ledger()) == 4


@pytest.mark.parametrize("how", ["no folder can be made", "a file that cannot be replaced"])
def test_a_disk_that_takes_nothing_is_the_reason(world: World, how: str) -> None:
    if how == "no folder can be made":
        world.folder.write_text("")
    else:
        (world.folder / "city.mmdb" / "x").mkdir(parents=True)
    refreshed = world.city()
    assert refreshed.state == "never fetched"
    assert "cannot be written" in refreshed.reason
    assert world.last_reason() == refreshed.reason
    assert world.folder.is_file() or [path.name for path in world.folder.iterdir()] == ["city.mmdb"]


def test_a_service_that_is_not_there_is_the_reason(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    world.maxmind = replace(world.maxmind, address=f"http://127.0.0.1:{port}")
    assert "connection refused" in world.city().reason


# --- DB-IP ------------------------------------------------------------------------------------------------------------


def test_without_an_account_the_files_are_db_ips(keyless: World) -> None:
    refreshed = keyless.refresh()
    built_at = NOW - timedelta(days=10)
    assert refreshed == [GeoRefreshed(kind, "new edition", "dbip", edition(kind), built_at, 10) for kind in KINDS]
    assert keyless.contents() == {f"{kind}.mmdb": dbip_file(kind, 10) for kind in KINDS}
    assert keyless.ledger() == [("dbip", kind, "found", 200) for kind in KINDS]
    assert all("authorization" not in arrival.headers for arrival in keyless.publisher.arrivals)
    assert all("@example.org" in arrival.headers["user-agent"] for arrival in keyless.publisher.arrivals)
    # An edition is a month's: until that is over there is no other.
    keyless.wait(days=10, hours=10)
    assert [known.state for known in keyless.refresh()] == ["still current"] * 2
    assert len(keyless.publisher.arrivals) == 2


def test_until_this_months_edition_is_there_the_last_ones_serves(keyless: World) -> None:
    last = {edition(kind, 1): dbip_file(kind, 40) for kind in KINDS}
    keyless.publisher.months = dict(last)
    city, asn = keyless.refresh()
    assert (city.state, city.edition, asn.edition) == ("new edition", edition("city", 1), edition("asn", 1))
    assert [row[2:] for row in keyless.ledger()] == [("unavailable", 404), ("found", 200)] * 2
    assert keyless.open() == []
    # Looked for again a day later, without fetching what is there.
    keyless.wait(hours=25)
    keyless.publisher.arrivals.clear()
    assert [known.state for known in keyless.refresh()] == ["unchanged"] * 2
    asked = [arrival.path.rpartition("/")[2].removesuffix(".mmdb.gz") for arrival in keyless.publisher.arrivals]
    assert asked == [edition("city"), edition("asn")]
    assert keyless.open() == []
    assert [known.state for known in keyless.refresh()] == ["still current"] * 2
    keyless.wait(hours=25)
    keyless.publisher.months = last | {edition(kind): dbip_file(kind, 10) for kind in KINDS}
    assert [(known.state, known.edition) for known in keyless.refresh()] == [
        ("new edition", edition(kind)) for kind in KINDS
    ]


def test_two_months_without_an_edition_are_a_failure(keyless: World) -> None:
    keyless.publisher.months = {}
    refreshed = keyless.city()
    assert refreshed.state == "never fetched"
    assert refreshed.reason == f"neither {edition('city')} nor {edition('city', 1)} is published"
    assert [row[2:] for row in keyless.ledger()] == [("unavailable", 404)] * 2
    assert keyless.open() == [("dbip", "city", "unavailable", refreshed.reason)]


DBIP_BROKEN: dict[str, tuple[Callable[[Reply], Reply], str, int]] = {
    "HTML": (status_of(200, HTML), "HTML", 3),
    "cut": (cut, "closed the connection", 3),
    "cut without a length": (body_of(lambda body: body[:-20]), "cut or damaged", 3),
    "403": (status_of(403), "COWRIE_DBIP_URL", 1),
    "429": (status_of(429), "slow down", 1),
    "500": (status_of(500), "status 500", 3),
    "swapped kinds": (body_of(lambda _: gzip.compress(dbip_file("asn", 1))), "another file", 1),
    "an older build": (body_of(lambda _: gzip.compress(dbip_file("city", 60))), "older", 1),
}


@pytest.mark.parametrize("how", DBIP_BROKEN)
def test_db_ip_fails_and_the_copy_that_is_there_serves(keyless: World, how: str) -> None:
    spoil, reason, tries = DBIP_BROKEN[how]
    keyless.publisher.months = {edition("city", 1): dbip_file("city", 40)}
    assert keyless.city().state == "new edition"
    before = keyless.contents()
    keyless.wait(hours=25)
    keyless.publisher.months = {edition("city"): dbip_file("city", 10)}
    keyless.publisher.spoil = {"dbip": spoil}
    keyless.publisher.arrivals.clear()
    kept = keyless.city()
    assert (kept.state, kept.source, kept.edition) == ("last good copy kept", "dbip", edition("city", 1))
    assert reason in kept.reason
    assert len(keyless.publisher.arrivals) == tries
    assert keyless.contents() == before
    assert keyless.last_reason() == kept.reason


def test_a_server_that_says_the_file_is_packed_on_the_way(keyless: World) -> None:
    keyless.publisher.spoil = {"dbip": lambda reply: (reply[0], {"Content-Encoding": "gzip"}, reply[2])}
    assert [known.state for known in keyless.refresh()] == ["new edition"] * 2


# --- one source or the other ------------------------------------------------------------------------------------------


def test_another_source_takes_over_whatever_its_build(keyless: World, monkeypatch: pytest.MonkeyPatch) -> None:
    keyless.publisher.months = {edition(kind): dbip_file(kind, 0) for kind in KINDS}
    keyless.refresh()
    monkeypatch.setenv("MAXMIND_ACCOUNT_ID", ACCOUNT)
    assert [(known.state, known.source, known.age) for known in keyless.refresh()] == [
        ("new edition", "maxmind", 3)
    ] * 2
    keyless.publisher.months = {edition(kind): dbip_file(kind, 10) for kind in KINDS}
    monkeypatch.delenv("MAXMIND_ACCOUNT_ID")
    assert [(known.state, known.source, known.age) for known in keyless.refresh()] == [("new edition", "dbip", 10)] * 2
    assert keyless.contents() == {f"{kind}.mmdb": dbip_file(kind, 10) for kind in KINDS}


def test_a_question_is_settled_by_whoever_answers(keyless: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAXMIND_ACCOUNT_ID", "wrong")
    assert "refuses us (401)" in keyless.city().reason
    assert [row[:2] for row in keyless.open()] == [("maxmind", "city")]
    monkeypatch.delenv("MAXMIND_ACCOUNT_ID")
    assert keyless.city().state == "new edition"
    assert keyless.open() == []


def test_nobody_is_asked_when_nobody_may_be(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.city()
    world.publisher.arrivals.clear()
    monkeypatch.delenv("MAXMIND_ACCOUNT_ID")
    world.dbip = replace(world.dbip, switched_off="switched off in sensors.toml")
    # What is current stays so; then it is the last good copy.
    assert world.city().state == "still current"
    world.wait(hours=25)
    city, asn = world.refresh()
    reason = "maxmind: no key: set MAXMIND_ACCOUNT_ID; dbip: switched off in sensors.toml"
    assert (city.state, city.source, city.reason) == ("last good copy kept", "maxmind", reason)
    assert asn == GeoRefreshed("asn", "never fetched", reason=reason)
    assert {row[:3] for row in world.open()} == {
        (name, kind, "not_configured") for name in ("maxmind", "dbip") for kind in KINDS
    }
    offline = "offline: COWRIE_OFFLINE is set"
    world.maxmind, world.dbip = (replace(known, switched_off=offline) for known in (world.maxmind, world.dbip))
    assert [known.reason for known in world.refresh()] == [offline] * 2
    assert world.publisher.arrivals == []


# --- other processes --------------------------------------------------------------------------------------------------

CHILD = """
import json, sys, time
from functools import partial
from pathlib import Path
import stamina
from cowrie_assets.lookup import geo_files
from cowrie_assets.lookup.asking import Asking
from cowrie_assets.lookup.gate import EgressGate
from cowrie_assets.lookup.services import Service
from cowrie_assets.warehouse.database import open_connection
told = json.loads(sys.argv[1])
services = [Service(**{**known, "families": (4, 6), "quotas": ()}) for known in told["services"]]

def hang(*_):
    print("here", flush=True)
    time.sleep(60)

if told["hang"] == "writing":
    whole = geo_files._digests
    def slowly(chunks, write=len):
        if write is len:
            return whole(chunks)
        for chunk in chunks:
            write(chunk[:len(chunk) // 2])
            hang()
    geo_files._digests = slowly
elif told["hang"] == "looking":
    known = geo_files._inspect
    geo_files._inspect = lambda path, kind: hang() if path.name.startswith(".") else known(path, kind)
elif told["hang"] == "replaced":
    geo_files._sync = hang
print("ready", flush=True)
sys.stdin.readline()
asking = Asking(partial(open_connection, told["url"]), EgressGate(), "run", told["seconds"])
with stamina.set_testing(True, attempts=3, cap=True):
    refreshed = geo_files.refresh_geo_files(asking, *services, Path(told["folder"]), told["kinds"])
print(json.dumps([known.state for known in refreshed]), flush=True)
"""


def started(world: World, *kinds: Kind, hang: str = "", seconds: float = 30.0) -> subprocess.Popen[str]:
    """A process of its own that refreshes as soon as it reads a line."""
    told = {
        "services": [asdict(world.maxmind), asdict(world.dbip)],
        **{"url": world.url, "folder": str(world.folder), "kinds": kinds or KINDS, "hang": hang, "seconds": seconds},
    }
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, json.dumps(told)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert line(process) == "ready"
    return process


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    text = process.stdout.readline().strip()
    assert text, process.communicate()[1]
    return text


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def test_two_processes_at_once_fetch_once(world: World) -> None:
    world.publisher.delay = 0.3
    processes = [started(world) for _ in range(2)]
    for process in processes:
        go(process)
    states = [json.loads(line(process)) for process in processes]
    for process in processes:
        assert process.wait(30) == 0
        process.communicate()
    assert [sorted(pair) for pair in zip(*states, strict=True)] == [["new edition", "still current"]] * 2
    assert sorted(world.publisher.places()) == sorted(["metadata", "download", "store"] * 2)
    assert len(world.ledger()) == 6
    assert world.contents() == {f"{kind}.mmdb": world.publisher.files[kind] for kind in KINDS}


def test_who_cannot_wait_for_the_other_process_says_so(world: World) -> None:
    world.publisher.delay = 60
    process = started(world, "city")
    go(process)
    deadline = time.monotonic() + 20
    while not world.publisher.arrivals and time.monotonic() < deadline:
        time.sleep(0.02)
    (refreshed,) = world.refresh("city", seconds=0.2)
    process.kill()
    process.communicate()
    assert (refreshed.state, refreshed.reason) == ("never fetched", NO_TIME)
    assert len(world.publisher.arrivals) == 1
    assert world.open() == [("maxmind", "city", "quota", NO_TIME)]


@pytest.mark.parametrize("moment", ["writing", "looking", "replaced"])
def test_a_kill_leaves_the_old_file_or_the_new_one(world: World, moment: str) -> None:
    world.city()
    world.wait(hours=25)
    world.publisher.files["city"] = geo_file("city", 1)
    process = started(world, "city", hang=moment)
    go(process)
    assert line(process) == "here"
    process.send_signal(signal.SIGKILL)
    process.communicate()

    leftovers = [name for name in world.contents() if name != "city.mmdb"]
    assert len(leftovers) == (0 if moment == "replaced" else 1)
    assert world.contents()["city.mmdb"] == geo_file("city", 1 if moment == "replaced" else 3)
    with GeoFile(world.folder / "city.mmdb") as file:
        assert file.city("29.7.17.1") is not None

    # The next run goes on at once: the lock went with the process.
    world.publisher.arrivals.clear()
    assert world.city().state == ("unchanged" if moment == "replaced" else "new edition")
    assert world.publisher.places() == (["metadata"] if moment == "replaced" else ["metadata", "download", "store"])
    assert world.contents()["city.mmdb"] == geo_file("city", 1)
    # What it left goes once nobody can be writing it any more.
    assert set(world.contents()) == {"city.mmdb", *leftovers}
    for name in leftovers:
        os.utime(world.folder / name, (0, 0))
    assert world.city().state == "still current"
    assert set(world.contents()) == {"city.mmdb"}


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_secrets_are_nowhere(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(geo_files, "_LONGEST_DOWNLOAD", 1.0)
    told: list[str] = []

    def refresh() -> None:
        try:
            told.append(repr(world.refresh()))
        except Exception as error:
            told.append("raised: " + "".join(traceback.format_exception(error)))
        world.unblock()
        world.wait(hours=25)

    for days_old, (place, spoil, *_) in enumerate(BROKEN.values()):
        world.publisher.files = {kind: geo_file(kind, 300 - days_old) for kind in KINDS}
        world.publisher.spoil = {place: spoil}
        refresh()
        world.publisher.spoil = {}
        refresh()
    for account, key in (("wrong", "wrong"), (ACCOUNT, f"{LICENSE_KEY}é"), (f"{ACCOUNT}\x01", LICENSE_KEY)):
        monkeypatch.setenv("MAXMIND_ACCOUNT_ID", account)
        monkeypatch.setenv("MAXMIND_LICENSE_KEY", key)
        refresh()
    for address in ("http://127.0.0.1:9", "http://[", "ftp://127.0.0.1/"):
        world.maxmind = replace(world.maxmind, address=address)
        refresh()

    tables = world.rows(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
    )
    kept = {name: str(world.rows(f"SELECT * FROM {name}")) for (name,) in tables}
    assert len(kept["lookup_ledger"]) > 10_000, "there was much that could have been said"
    files = {f"file {name}": content.decode("latin-1") for name, content in world.contents().items()}
    printed = capfd.readouterr()
    seen = {**kept, **files, "log": caplog.text, "told": str(told), "stdout": printed.out, "stderr": printed.err}
    assert "/city…" in caplog.text, "the signed address was logged, without its signature"
    secrets = (MARKER, b64encode(ACCOUNT.encode()).decode()[:12], b64encode(f"{ACCOUNT}:x".encode()).decode()[:12])
    assert [(where, secret) for where, text in seen.items() for secret in secrets if secret in text] == []
    assert [line for line in told if line.startswith("raised")] == []
    assert sum("new edition" in line for line in told) >= len(BROKEN)


# --- the sandbox ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running_sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@dataclass
class SandboxWorld(World):
    sandbox: Sandbox = field(default_factory=Sandbox)

    def wait(self, **time: float) -> None:
        super().wait(**time)
        self.sandbox.advance(timedelta(**time).total_seconds())


@pytest.fixture
def sandbox(world: World, running_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> SandboxWorld:
    """The sandbox in place of the publishers, at its own time, which is ours."""
    monkeypatch.setenv("MAXMIND_ACCOUNT_ID", "123456")
    running_sandbox.reset()
    where = running_sandbox.environment()
    maxmind = replace(world.maxmind, address=where["COWRIE_MAXMIND_URL"])
    dbip = replace(world.dbip, address=where["COWRIE_DBIP_URL"])
    known = SandboxWorld(
        world.url, world.publisher, world.folder, maxmind, dbip, offset=timedelta(), sandbox=running_sandbox
    )
    known.wait()
    return known


def published(world: SandboxWorld, kind: Kind) -> bytes:
    return sandbox_file(NAMES[kind], last_build(world.sandbox.clock.now().date()))


@pytest.mark.parametrize("source", ["maxmind", "dbip"])
def test_the_sandboxs_files_over_the_weeks(sandbox: SandboxWorld, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    if source == "dbip":
        monkeypatch.delenv("MAXMIND_ACCOUNT_ID")
    before: list[GeoRefreshed] = []
    for _ in range(3):
        refreshed = sandbox.refresh()
        assert [(known.state, known.source) for known in refreshed] == [("new edition", source)] * 2
        assert [known.edition for known in refreshed] != [known.edition for known in before]
        if source == "maxmind":
            assert sandbox.contents() == {f"{kind}.mmdb": published(sandbox, kind) for kind in KINDS}
        assert [known.state for known in sandbox.refresh()] == ["still current"] * 2
        before = refreshed
        sandbox.wait(days=4 if source == "maxmind" else 31)
    # The sandbox saw what our ledger says, and no key where none belongs.
    arrivals = sandbox.sandbox.ledger.arrivals(source)
    assert len(arrivals) == len(sandbox.ledger()) == (18 if source == "maxmind" else 6)
    stored = [arrival for arrival in arrivals if (arrival.key or "").startswith("store/")]
    assert len(stored) == (6 if source == "maxmind" else 0)
    assert not any(arrival.credential for arrival in stored)
    pool = next(pool for pool in POOLS.values() if pool.place is not None and pool.asn is not None)
    with GeoFile(sandbox.folder / "city.mmdb") as city, GeoFile(sandbox.folder / "asn.mmdb") as asn:
        place, system = city.city(pool.address(0)), asn.asn(pool.address(0))[1]
    assert place is not None
    assert pool.place is not None
    assert place.city == pool.place.city
    assert system is not None
    assert system.asn == pool.asn


FAULTS = [
    *((source, kind) for source in ("maxmind", "dbip") for kind in sorted(HTTP_KINDS)),
    *(("maxmind", kind) for kind in ("wrong-md5", "expired", "duplicate-keys")),
    *((source, f"corrupt {how}") for source in ("maxmind", "dbip") for how in ("gzip", "tar", "mmdb")),
]


@pytest.mark.parametrize(("source", "fault"), FAULTS)
def test_whatever_the_sandbox_does_a_good_file_serves(
    sandbox: SandboxWorld, monkeypatch: pytest.MonkeyPatch, source: str, fault: str
) -> None:
    if source == "dbip":
        monkeypatch.delenv("MAXMIND_ACCOUNT_ID")
    good = sandbox.city()
    assert good.state == "new edition"
    before = sandbox.contents()
    sandbox.wait(days=4 if source == "maxmind" else 31)
    kind, _, how = fault.partition(" ")
    plan: dict[str, Any] = {"kind": kind, **({"how": how} if how else {})}
    sandbox.sandbox.faults({source: [plan] * 30})
    with monkeypatch.context() as limited:
        limited.setattr(geo_files, "_LONGEST_DOWNLOAD", 0.3)
        limited.setattr(geo_files, "LARGEST_ARCHIVE", 20_000_000)
        told = sandbox.city()
    sandbox.sandbox.faults({source: []})
    if told.state == "new edition":
        assert kind in HARMLESS
    else:
        assert told == replace(good, state="last good copy kept", age=told.age, reason=told.reason)
        assert told.reason
        assert sandbox.contents() == before
        assert sandbox.open() == [(source, "city", "unavailable", told.reason)]
        assert sandbox.rows("SELECT count(*)::int FROM lookup_ledger WHERE outcome IS NULL") == [(0,)]
        sandbox.unblock()
        assert sandbox.city().state == "new edition"
    assert sandbox.contents() != before
    assert sandbox.open() == []
    with GeoFile(sandbox.folder / "city.mmdb") as file:
        assert file.city(next(pool.address(0) for pool in POOLS.values() if pool.place)) is not None


# The type that an answer says it has, and a mark in front of JSON.
HARMLESS = {"wrong-type", "bom"}


def test_a_limit_of_downloads_is_kept_to(sandbox: SandboxWorld) -> None:
    sandbox.sandbox.limits({"maxmind": {"requests": 1, "window": 86_400}})
    city, asn = sandbox.refresh()
    assert (city.state, asn.state) == ("new edition", "never fetched")
    assert "slow down" in asn.reason
    asked = len(sandbox.sandbox.ledger.arrivals("maxmind"))
    sandbox.wait(hours=12)
    assert sandbox.refresh("asn")[0].state == "never fetched"
    assert len(sandbox.sandbox.ledger.arrivals("maxmind")) == asked
    sandbox.wait(hours=13)
    assert sandbox.refresh("asn")[0].state == "new edition"
