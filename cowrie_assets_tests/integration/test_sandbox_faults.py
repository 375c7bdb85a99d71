"""What goes wrong with the emulated services, for every one of them, as a client sees it on the wire."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest

from cowrie_assets.sandbox.pools import POOLS
from cowrie_assets.sandbox.server import Sandbox

SEED = 11
AGENT = {"User-Agent": "sandbox-tests/1 (tests@honeypot.example)"}
SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
REQUESTS: dict[str, dict[str, object]] = {
    "dshield": {"url": "/dshield/api/ip/26.16.0.1?json"},
    "urlhaus": {"url": "/urlhaus/v1/host/", "data": {"host": "26.16.0.1"}, "headers": {"Auth-Key": "k"}},
    "spur": {"url": "/spur/v2/context/26.16.0.1", "headers": {"Token": "t"}},
    "greynoise": {"url": "/greynoise/v3/community/26.16.0.1"},
    "virustotal": {"url": f"/virustotal/api/v3/files/{SHA256}", "headers": {"x-apikey": "k"}},
    "hibp": {"url": "/hibp/range/ABCDE"},
    "maxmind": {"url": "/maxmind/geoip/updates/metadata?edition_id=GeoLite2-City", "auth": ("1", "k")},
    "dbip": {"url": "/dbip/free/dbip-asn-lite-{month}.mmdb.gz"},
    "feeds": {"url": "/feeds/clouds.csv"},
}
IN_JSON = ("dshield", "urlhaus", "spur", "greynoise", "virustotal", "maxmind")


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with Sandbox(seed=SEED) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    running.reset()
    return running


@pytest.fixture(scope="module")
def shared_web(running: Sandbox) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.http_url, headers=AGENT, timeout=5, trust_env=False) as client:
        yield client


@pytest.fixture
def web(sandbox: Sandbox, shared_web: httpx.Client) -> httpx.Client:
    return shared_web


def ask(sandbox: Sandbox, web: httpx.Client, service: str, **changes: object) -> httpx.Response:
    request = {**REQUESTS[service], **changes}
    url = str(request.pop("url")).replace("{month}", f"{sandbox.clock.now():%Y-%m}")
    return web.request("POST" if "data" in request else "GET", url, **request)  # type: ignore[arg-type]


@pytest.mark.parametrize("service", sorted(REQUESTS))
class TestEveryWebService:
    def test_bodies(self, sandbox: Sandbox, web: httpx.Client, service: str) -> None:
        sound = ask(sandbox, web, service)
        assert sound.status_code in (200, 404)
        sandbox.faults({service: ["gzip-garbage", "bom", "wrong-type", "empty", "null", "list", "html", "503"]})
        with pytest.raises(httpx.DecodingError):
            ask(sandbox, web, service)
        assert ask(sandbox, web, service).content == b"\xef\xbb\xbf" + sound.content
        mistaken = ask(sandbox, web, service)
        assert mistaken.content == sound.content
        assert mistaken.headers["content-type"] != sound.headers["content-type"]
        assert [ask(sandbox, web, service).content for _ in range(3)] == [b"", b"null", b"[]"]
        assert ask(sandbox, web, service).headers["content-type"].startswith("text/html")
        assert ask(sandbox, web, service).status_code == 503
        assert ask(sandbox, web, service).content == sound.content
        kinds = [arrival.fault for arrival in sandbox.ledger.arrivals(service)]
        expected = ["gzip-garbage", "bom", "wrong-type", "empty", "null", "list", "html", "503"]
        assert kinds == [None, *expected, None]

    def test_connections(self, sandbox: Sandbox, web: httpx.Client, service: str) -> None:
        sandbox.faults({service: ["refuse", "reset", {"kind": "reset", "bytes": 0}, "hang", "ok"]})
        for _ in range(3):
            with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
                ask(sandbox, web, service)
        with pytest.raises(httpx.ReadTimeout):
            ask(sandbox, web, service, timeout=0.1)
        assert ask(sandbox, web, service).status_code in (200, 404)
        statuses = [arrival.status for arrival in sandbox.ledger.arrivals(service)]
        assert (statuses[0], statuses[2], statuses[3]) == (0, 0, 0)

    @pytest.mark.parametrize("header", ["7", "Wed, 21 Oct 2026 07:28:00 GMT", "86400", "0", "-3", None])
    def test_retry_after(self, sandbox: Sandbox, web: httpx.Client, service: str, header: str | None) -> None:
        sandbox.faults({service: [{"kind": "429", "retry_after": header}, {"kind": "503", "retry_after": header}]})
        for status in (429, 503):
            response = ask(sandbox, web, service)
            assert (response.status_code, response.headers.get("retry-after")) == (status, header)

    def test_by_chance(self, sandbox: Sandbox, web: httpx.Client, service: str) -> None:
        def statuses() -> list[int]:
            sandbox.faults({service: {"probability": 0.5, "kinds": ["502", "504"]}})
            return [ask(sandbox, web, service).status_code for _ in range(30)]

        first = statuses()
        assert first == statuses()
        assert 4 < sum(status in (502, 504) for status in first) < 26


def test_an_answer_of_60_mb(sandbox: Sandbox, web: httpx.Client) -> None:
    sandbox.faults({"hibp": ["huge"], "spur": [{"kind": "huge", "bytes": 100_000}]})
    with web.stream("GET", "/hibp/range/ABCDE") as response:
        assert response.headers["content-length"] == "60000000"
        assert sum(map(len, response.iter_raw())) == 60_000_000
    small = ask(sandbox, web, "spur")
    assert len(small.content) == 100_000
    assert small.json()["ip"] == "26.16.0.1"  # all of it is JSON


def test_a_client_that_has_enough_of_60_mb(sandbox: Sandbox, web: httpx.Client) -> None:
    sandbox.faults({"hibp": ["huge"]})
    with web.stream("GET", "/hibp/range/ABCDE") as response:
        assert next(response.iter_raw())
    assert ask(sandbox, web, "hibp").status_code == 200


def test_an_answer_without_end(sandbox: Sandbox, web: httpx.Client) -> None:
    sandbox.faults({"dshield": [{"kind": "endless", "delay": 0.01, "bytes": 1000}]})
    begun, length = time.monotonic(), 0
    with web.stream("GET", "/dshield/api/ip/26.16.0.1?json") as response:
        assert "content-length" not in response.headers
        assert response.headers["transfer-encoding"] == "chunked"
        for part in response.iter_raw():
            length += len(part)
            if time.monotonic() - begun > 0.3:
                break
    assert length > 5000
    assert ask(sandbox, web, "dshield").status_code == 200


@pytest.mark.parametrize("service", IN_JSON)
def test_members_that_come_twice(sandbox: Sandbox, web: httpx.Client, service: str) -> None:
    sound = ask(sandbox, web, service)
    sandbox.faults({service: ["duplicate-keys"]})
    response = ask(sandbox, web, service)
    members = json.loads(response.content, object_pairs_hook=list)
    names = [name for name, _ in members]
    assert len(names) > len(set(names))
    assert response.content.startswith(sound.content[:-1])


def test_urlhaus_has_words_of_its_own(sandbox: Sandbox, web: httpx.Client) -> None:
    sandbox.faults({"urlhaus": ["402", "unknown-status"]})
    limited = ask(sandbox, web, "urlhaus")
    assert (limited.status_code, limited.json()) == (402, {"query_status": "ratelimited"})
    odd = ask(sandbox, web, "urlhaus")
    assert odd.status_code == 200
    assert odd.json()["query_status"] not in ("ok", "no_results", "invalid_host", "http_post_expected")


def whois(sandbox: Sandbox, *addresses: str) -> tuple[bytes, float]:
    """What comes until the server closes, and how long that takes."""
    host, _, port = sandbox.whois_address.partition(":")
    received, begun = b"", time.monotonic()
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        try:
            connection.sendall("".join(f"{line}\n" for line in ("begin", "verbose", *addresses, "end")).encode())
            while part := connection.recv(65536):
                received += part
        except ConnectionError:
            pass
    return received, time.monotonic() - begun


class TestWhois:
    def test_a_connection_that_is_closed_unread(self, sandbox: Sandbox) -> None:
        sandbox.faults({"cymru": ["ok", "refuse", "ok"]})
        assert [bool(whois(sandbox, "26.16.0.1", "26.16.0.2")[0]) for _ in range(3)] == [True, False, True]
        assert [arrival.status for arrival in sandbox.ledger.arrivals("cymru")] == [200, 0, 200]
        assert sandbox.ledger.arrivals("cymru")[1].keys == []

    def test_the_time_that_it_takes(self, sandbox: Sandbox) -> None:
        addresses = [POOLS["aws"].address(number) for number in range(50)]
        sandbox.faults({"cymru": ["delay"]})
        answer, seconds = whois(sandbox, *addresses)
        assert 0.3 <= seconds < 2
        assert answer.count(b"\n") >= 51

    def test_fragments(self, sandbox: Sandbox) -> None:
        sound, _ = whois(sandbox, "26.16.0.1", "26.16.0.2")
        sandbox.faults({"cymru": [{"kind": "dribble", "bytes": 7}]})
        parts = []
        host, _, port = sandbox.whois_address.partition(":")
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(b"begin\nverbose\n26.16.0.1\n26.16.0.2\nend\n")
            while part := connection.recv(65536):
                parts.append(part)
        assert len(parts) > 5
        assert b"".join(parts).split(b"\n")[1:] == sound.split(b"\n")[1:]

    def test_a_replaced_answer(self, sandbox: Sandbox) -> None:
        line = "64500   | 26.16.0.2        | 26.16.0.0/24        | NO | ripencc  | 2001-01-01 | CHANGED, NO"
        sandbox.dataset("cymru", "26.16.0.2", {"body": [line]})
        answer = whois(sandbox, "26.16.0.1", "26.16.0.2")[0].decode().splitlines()
        assert answer[-1] == line
        assert "CHANGED" not in "".join(answer[:-1])

    def test_its_banner_goes_by_the_sandboxs_clock(self, sandbox: Sandbox) -> None:
        sandbox.advance(86_400 * 400)
        banner = whois(sandbox, "26.16.0.1", "26.16.0.2")[0].splitlines()[0].decode()
        assert f"[{sandbox.clock.now():%Y-%m-%d}" in banner


class TestRefusing:
    def test_nobody_listens_meanwhile(self, sandbox: Sandbox, web: httpx.Client) -> None:
        assert ask(sandbox, web, "hibp").status_code == 200
        ports = [urlsplit(sandbox.http_url).port or 0, int(sandbox.whois_address.partition(":")[2])]
        for _ in range(2):
            with sandbox.refusing():
                for port in ports:
                    with pytest.raises(ConnectionRefusedError):
                        socket.create_connection(("127.0.0.1", port), timeout=2)
                with pytest.raises(httpx.ConnectError):
                    ask(sandbox, web, "hibp")
            assert ask(sandbox, web, "hibp").status_code == 200
            assert whois(sandbox, "26.16.0.1", "26.16.0.2")[0]
        assert len(sandbox.ledger.arrivals("hibp")) == 3

    def test_it_can_end_meanwhile_and_needs_to_have_begun(self) -> None:
        sandbox = Sandbox(seed=SEED)
        with pytest.raises(RuntimeError, match="does not listen"), sandbox.refusing():
            pass
        with sandbox, sandbox.refusing():
            pass
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", urlsplit(sandbox.http_url).port or 0), timeout=2)


def test_those_under_way_are_told_from_those_that_did_not_heed(sandbox: Sandbox) -> None:
    """Eight at once open the box and find it open; the ninth comes later, and had been told."""
    sandbox.limits({"dshield": {"requests": 1, "window": 5, "penalty": 60}})
    with (
        ThreadPoolExecutor(8) as pool,
        httpx.Client(base_url=sandbox.http_url, headers=AGENT, trust_env=False) as web,
    ):
        list(pool.map(lambda _: ask(sandbox, web, "dshield"), range(8)))
        time.sleep(0.3)
        ask(sandbox, web, "dshield")
    ages = [arrival.box_age for arrival in sandbox.ledger.arrivals("dshield") if arrival.in_penalty]
    assert len(ages) == 7
    late = [age for age in ages if age is not None and age > 0.25]
    assert len(late) == 1


def test_bodies_are_told_apart_by_their_hash(sandbox: Sandbox, web: httpx.Client) -> None:
    for host in ("26.16.0.1", "26.16.0.2", "26.16.0.1"):
        ask(sandbox, web, "urlhaus", data={"host": host})
    ask(sandbox, web, "hibp")
    first, second, third = (arrival.body_sha256 for arrival in sandbox.ledger.arrivals("urlhaus"))
    assert first == third != second
    assert sandbox.ledger.arrivals("hibp")[0].body_sha256 is None
