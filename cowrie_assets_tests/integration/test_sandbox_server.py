"""The emulated services as a client meets them: real sockets, and nothing of this project but the sandbox."""

from __future__ import annotations

import asyncio
import json
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from cowrie_assets.sandbox import answers
from cowrie_assets.sandbox.facts import Service, truth
from cowrie_assets.sandbox.pools import POOLS
from cowrie_assets.sandbox.server import Sandbox

SEED = 11
CONTACT = {"User-Agent": "sandbox-tests/1 (tests@honeypot.example)"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


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
    with httpx.Client(base_url=running.http_url, headers=CONTACT, timeout=5, trust_env=False) as client:
        yield client


@pytest.fixture
def web(sandbox: Sandbox, shared_web: httpx.Client) -> httpx.Client:
    return shared_web


def address_of(service: Service, outcome: str, number: int = 0, pool: str = "saltmarsh") -> str:
    """An IPv4 address of a pool for which the service has the outcome, in its ordinary spelling."""
    fitting = []
    for index in range(1, 2000):
        address = POOLS[pool].address(index)
        if ":" not in address and truth(service, SEED, address)["outcome"] == outcome:
            fitting.append(address)
            if len(fitting) > number:
                return address
    raise LookupError


FOUND: dict[Service, str] = {
    service: address_of(service, "found") for service in ("dshield", "urlhaus", "spur", "greynoise", "cymru")
}


def ask(web: httpx.Client, service: str, address: str | None = None, **headers: str) -> httpx.Response:
    """One well-formed request with all that the service wants."""
    if service == "urlhaus":
        host = address or FOUND["urlhaus"]
        return web.post("/urlhaus/v1/host/", data={"host": host}, headers={"Auth-Key": "k3y", **headers})
    if service == "dshield":
        return web.get(f"/dshield/api/ip/{address or FOUND['dshield']}?json", headers=headers)
    if service == "spur":
        return web.get(f"/spur/v2/context/{address or FOUND['spur']}", headers={"Token": "t0k3n", **headers})
    if service == "greynoise":
        return web.get(f"/greynoise/v3/community/{address or FOUND['greynoise']}", headers=headers)
    return web.get("/feeds/tor-exits.txt", headers=headers)


def whois(sandbox: Sandbox, question: str, timeout: float = 5) -> bytes:
    """Everything that comes until the server closes."""
    host, _, port = sandbox.whois_address.partition(":")
    received = b""
    with socket.create_connection((host, int(port)), timeout=timeout) as connection:
        connection.sendall(question.encode())
        while part := connection.recv(65536):
            received += part
    return received


def bulk(*lines: str) -> str:
    return "".join(f"{line}\n" for line in ("begin", "verbose", *lines, "end"))


class TestDShield:
    def test_answers(self, web: httpx.Client) -> None:
        for address in (FOUND["dshield"], address_of("dshield", "not_found"), "2a1f:c100::5"):
            response = ask(web, "dshield", address)
            assert (response.status_code, response.json()) == answers.dshield(SEED, address)
            assert response.headers["content-type"] == "application/json"
        assert ask(web, "dshield", "nonsense").json() == {"error": "bad IP address"}

    def test_a_client_without_contact_is_blocked(self, sandbox: Sandbox, web: httpx.Client) -> None:
        response = ask(web, "dshield", **{"User-Agent": "python-httpx/0.28"})
        assert response.status_code == 403
        assert response.text.startswith("<!DOCTYPE html>")
        [arrival] = sandbox.ledger.arrivals("dshield")
        assert (arrival.status, arrival.credential, arrival.user_agent) == (403, False, "python-httpx/0.28")

    def test_without_json_it_is_xml(self, web: httpx.Client) -> None:
        response = web.get(f"/dshield/api/ip/{FOUND['dshield']}")
        assert response.headers["content-type"].startswith("text/xml")
        assert f"<number>{FOUND['dshield']}</number>" in response.text


class TestURLhaus:
    def test_answers(self, web: httpx.Client) -> None:
        for host in (FOUND["urlhaus"], address_of("urlhaus", "not_found"), "2a1f:c100::5", "files.example"):
            response = ask(web, "urlhaus", host)
            assert (response.status_code, response.json()) == answers.urlhaus(SEED, host)

    @pytest.mark.parametrize(("key", "status"), [("", 401), ("invalid", 401), ("forbidden", 403), ("any", 200)])
    def test_a_key_is_needed(self, sandbox: Sandbox, web: httpx.Client, key: str, status: int) -> None:
        assert ask(web, "urlhaus", **{"Auth-Key": key}).status_code == status
        assert [arrival.credential for arrival in sandbox.ledger.arrivals("urlhaus")] == [bool(key)]

    def test_a_form_is_needed(self, web: httpx.Client) -> None:
        headers = {"Auth-Key": "k3y"}
        for response in (
            web.get("/urlhaus/v1/host/", headers=headers),
            web.post("/urlhaus/v1/host/", json={"host": FOUND["urlhaus"]}, headers=headers),
        ):
            assert (response.status_code, response.json()) == (200, {"query_status": "http_post_expected"})
        response = web.post("/urlhaus/v1/host/", content=b"", headers={**headers, **FORM})
        assert response.json() == {"query_status": "invalid_host"}


class TestSpur:
    def test_answers(self, web: httpx.Client) -> None:
        for address in (FOUND["spur"], address_of("spur", "not_found"), "2a1f:c100::5"):
            response = ask(web, "spur", address)
            assert (response.status_code, response.json()) == answers.spur(SEED, address)
            assert response.headers["x-result-dt"] == "20250913"
        assert ask(web, "spur", "10.1.2.3").status_code == 400
        assert web.get("/spur/v2/context/2a1f%3Ac100%3A%3A5?dt=20250101", headers={"Token": "x"}).headers[
            "x-result-dt"
        ] == ("20250101")

    @pytest.mark.parametrize(("token", "status"), [("", 401), ("invalid", 401), ("forbidden", 403), ("any", 200)])
    def test_a_token_is_needed(self, web: httpx.Client, token: str, status: int) -> None:
        assert ask(web, "spur", Token=token).status_code == status

    def test_the_balance_falls_to_nothing(self, sandbox: Sandbox, web: httpx.Client) -> None:
        sandbox.limits({"spur": {"quota": 3}})
        assert ask(web, "spur", "10.1.2.3").status_code == 400  # costs nothing
        balances = [ask(web, "spur", POOLS["aws"].address(n)).headers["x-balance-remaining"] for n in range(3)]
        assert balances == ["2", "1", "0"]
        spent = ask(web, "spur")
        assert (spent.status_code, spent.headers["x-balance-remaining"]) == (429, "0")
        assert "retry-after" not in spent.headers
        assert sandbox.summary()["spur"]["over_limit"] == 1

    def test_status(self, sandbox: Sandbox, web: httpx.Client) -> None:
        sandbox.limits({"spur": {"quota": 9}})
        ask(web, "spur")
        status = web.get("/spur/status", headers={"Token": "t0k3n"}).json()
        assert status == {"active": True, "queriesRemaining": 8, "serviceTier": "online"}


class TestGreyNoise:
    def test_answers(self, web: httpx.Client) -> None:
        for address in (FOUND["greynoise"], address_of("greynoise", "not_found"), "2a1f:c100::5", "10.1.2.3"):
            response = ask(web, "greynoise", address)
            assert (response.status_code, response.json()) == answers.greynoise(SEED, address)

    def test_negatives_are_404_with_a_body(self, web: httpx.Client) -> None:
        response = ask(web, "greynoise", address_of("greynoise", "not_found"))
        assert response.status_code == 404
        assert "not observed" in response.json()["message"]

    def test_a_key_may_be_missing_but_not_malformed(self, web: httpx.Client) -> None:
        assert ask(web, "greynoise", key="unheard-of").status_code == 200
        assert ask(web, "greynoise", key="invalid").status_code == 401

    def test_the_week_has_25_lookups(self) -> None:
        with Sandbox(seed=SEED, limits="documented") as sandbox:
            with httpx.Client(base_url=sandbox.http_url, trust_env=False) as web:
                statuses = [ask(web, "greynoise", POOLS["aegean"].address(n)).status_code for n in range(25)]
                assert set(statuses) <= {200, 404}
                known = [ask(web, "greynoise", key="k3y") for _ in range(26)][-1]
                anonymous, another = ask(web, "greynoise"), ask(web, "greynoise", key="another")
            assert another.status_code == 200  # a budget of its own
            assert (anonymous.status_code, known.status_code) == (429, 429)
            assert anonymous.json()["rate-limit"] == "25-lookups/week"
            assert known.json() == {"plan": "Community", "rate_limit": "25-W"}
            assert "retry-after" not in known.headers


class TestFeeds:
    def test_contents(self, web: httpx.Client) -> None:
        assert web.get("/feeds/tor-exits.txt").text == answers.tor_exits(SEED)
        assert web.get("/feeds/clouds.csv").text == answers.cloud_ranges(SEED)
        assert web.get("/feeds/vpns.csv").status_code == 404

    def test_unchanged_is_304(self, sandbox: Sandbox, web: httpx.Client) -> None:
        first = web.get("/feeds/clouds.csv")
        for header, value in (
            ("If-None-Match", first.headers["etag"]),
            ("If-None-Match", f'"other", W/{first.headers["etag"]}'),
            ("If-Modified-Since", first.headers["last-modified"]),
        ):
            again = web.get("/feeds/clouds.csv", headers={header: value})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == first.headers["etag"]
        for header, value in (
            ("If-None-Match", '"other"'),
            ("If-Modified-Since", "Mon, 01 Jan 2024 00:00:00 GMT"),
            ("If-Modified-Since", "yesterday"),
        ):
            assert web.get("/feeds/clouds.csv", headers={header: value}).status_code == 200
        assert web.get("/feeds/tor-exits.txt").headers["etag"] != first.headers["etag"]
        assert sandbox.summary()["feeds"]["statuses"] == {"200": 5, "304": 3}


class TestLimits:
    def test_a_client_without_a_limiter_is_caught_and_locked_out(self, sandbox: Sandbox, web: httpx.Client) -> None:
        sandbox.limits({"dshield": {"requests": 1, "window": 0.3, "penalty": 1.0}})
        responses = [ask(web, "dshield", POOLS["aws"].address(n)) for n in range(12)]
        assert [response.status_code for response in responses] == [200] + [429] * 11
        assert {response.headers["retry-after"] for response in responses[1:]} == {"1"}
        time.sleep(0.35)
        assert ask(web, "dshield").status_code == 429  # the window is long over, the box is not
        time.sleep(1.05)
        assert ask(web, "dshield").status_code == 200
        summary = sandbox.summary()["dshield"]
        assert (summary["arrivals"], summary["distinct_keys"], summary["repeated_keys"]) == (14, 13, 1)
        assert summary["in_penalty"] == 11
        assert summary["over_limit"] >= 1
        assert summary["max_in_window"] >= 10

    def test_a_client_with_a_limiter_is_not(self, sandbox: Sandbox, web: httpx.Client) -> None:
        sandbox.limits({"urlhaus": {"requests": 1, "window": 0.1}})
        for _ in range(8):
            assert ask(web, "urlhaus").status_code == 200
            time.sleep(0.12)
        summary = sandbox.summary()["urlhaus"]
        assert (summary["over_limit"], summary["max_in_window"]) == (0, 1)

    def test_two_clients_that_do_not_know_of_each_other_are_caught(self, sandbox: Sandbox) -> None:
        sandbox.limits({"spur": {"requests": 4, "window": 1.0}})

        def behave(number: int) -> list[int]:
            """Well below the limit, alone."""
            statuses = []
            with httpx.Client(base_url=sandbox.http_url, trust_env=False) as web:
                for turn in range(6):
                    statuses.append(ask(web, "spur", POOLS["aws"].address(10 * number + turn)).status_code)
                    time.sleep(0.3)
            return statuses

        assert 429 not in behave(0)
        sandbox.ledger.clear()
        with ThreadPoolExecutor(2) as pool:
            statuses = [status for done in pool.map(behave, (1, 2)) for status in done]
        assert 429 in statuses
        summary = sandbox.summary()["spur"]
        assert summary["max_in_window"] > 4
        assert summary["over_limit"] == statuses.count(429)

    def test_services_have_limits_of_their_own(self, sandbox: Sandbox, web: httpx.Client) -> None:
        sandbox.limits({"dshield": {"requests": 0}})
        assert ask(web, "dshield").status_code == 429
        assert ask(web, "spur").status_code == 200

    def test_the_documented_limits_bite(self) -> None:
        with (
            Sandbox(seed=SEED, limits="documented") as sandbox,
            httpx.Client(base_url=sandbox.http_url, headers=CONTACT, trust_env=False) as web,
        ):
            assert [ask(web, "dshield").status_code for _ in range(3)] == [200, 429, 429]
            assert ask(web, "dshield").headers["retry-after"] == "300"
            assert [ask(web, "urlhaus").status_code for _ in range(31)] == [200] * 30 + [429]
            spur = [ask(web, "spur").status_code for _ in range(21)]
            assert spur == [200] * 20 + [429]


class TestFaults:
    @pytest.mark.parametrize("service", ["dshield", "urlhaus", "spur", "greynoise", "feeds"])
    def test_each_as_a_client_sees_it(self, sandbox: Sandbox, web: httpx.Client, service: str) -> None:
        sound = ask(web, service)
        sandbox.faults(
            {service: ["500", "503", "429", "cut", "html", "empty", "null", "list", {"kind": "slow", "delay": 0.01}]}
        )
        assert [ask(web, service).status_code for _ in range(3)] == [500, 503, 429]
        cut = ask(web, service)
        assert cut.status_code == 200
        assert 0 < len(cut.content) < len(sound.content)
        assert sound.content.startswith(cut.content)
        if service != "feeds":
            with pytest.raises(json.JSONDecodeError):
                cut.json()
        html = ask(web, service)
        assert (html.status_code, html.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert [ask(web, service).content for _ in range(3)] == [b"", b"null", b"[]"]
        assert ask(web, service).content == sound.content  # slow
        assert ask(web, service).content == sound.content  # the script is over
        faults = [arrival.fault for arrival in sandbox.ledger.arrivals(service)]
        assert faults == [None, "500", "503", "429", "cut", "html", "empty", "null", "list", "slow", None]

    @pytest.mark.parametrize("service", ["dshield", "urlhaus", "spur", "greynoise"])
    def test_an_answer_about_another_address(self, sandbox: Sandbox, web: httpx.Client, service: Service) -> None:
        sandbox.faults({service: ["wrong-address"]})
        response = ask(web, service)
        named = set(re.findall(r'"(?:number|host|ip)":"([^"]+)"', response.text))
        assert len(named) == 1
        assert FOUND[service] not in response.text
        assert ask(web, service).json() != response.json()

    def test_a_hanging_request_ends_when_the_client_leaves(self, sandbox: Sandbox, web: httpx.Client) -> None:
        sandbox.faults({"spur": ["hang", "ok"]})
        begun = time.monotonic()
        with pytest.raises(httpx.ReadTimeout):
            web.get(f"/spur/v2/context/{FOUND['spur']}", headers={"Token": "x"}, timeout=0.3)
        assert time.monotonic() - begun < 2
        assert ask(web, "spur").status_code == 200
        assert [arrival.status for arrival in sandbox.ledger.arrivals("spur")] == [0, 200]

    def test_resets(self, sandbox: Sandbox, web: httpx.Client) -> None:
        sandbox.faults({"dshield": ["reset", {"kind": "reset", "bytes": 0}, {"kind": "reset", "bytes": 99999}, "ok"]})
        for _ in range(3):
            with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
                ask(web, "dshield")
        assert ask(web, "dshield").status_code == 200
        assert [arrival.status for arrival in sandbox.ledger.arrivals("dshield")] == [200, 0, 200, 200]

    def test_a_reset_comes_after_k_bytes_of_the_body(self, sandbox: Sandbox) -> None:
        sandbox.faults({"greynoise": [{"kind": "reset", "bytes": 7}]})
        url = urlsplit(sandbox.http_url)
        received = b""
        with socket.create_connection((url.hostname or "", url.port or 0), timeout=5) as connection:
            connection.sendall(
                f"GET /greynoise/v3/community/{FOUND['greynoise']} HTTP/1.1\r\nHost: sandbox\r\n\r\n".encode()
            )
            with pytest.raises(ConnectionResetError):
                while part := connection.recv(1000):
                    received += part
        head, _, body = received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert body == b'{"ip":"'

    def test_slow_bodies_drip(self, sandbox: Sandbox, web: httpx.Client) -> None:
        sandbox.faults({"dshield": [{"kind": "slow", "bytes": 50, "delay": 0.05}]})
        begun, arrivals = time.monotonic(), []
        with web.stream("GET", f"/dshield/api/ip/{FOUND['dshield']}?json") as response:
            for part in response.iter_raw():
                arrivals.append((time.monotonic() - begun, len(part)))
        assert len(arrivals) > 4
        assert max(length for _, length in arrivals) <= 50
        assert arrivals[-1][0] > 0.2

    @pytest.mark.parametrize("header", ["7", "0", "-3", "86400", "Wed, 21 Oct 2026 07:28:00 GMT", None])
    def test_429_with_any_retry_after(self, sandbox: Sandbox, web: httpx.Client, header: str | None) -> None:
        sandbox.faults({"urlhaus": [{"kind": "429", "retry_after": header}]})
        response = ask(web, "urlhaus")
        assert (response.status_code, response.headers.get("retry-after")) == (429, header)
        assert ask(web, "urlhaus").status_code == 200

    def test_a_scripted_429_can_open_a_box(self, sandbox: Sandbox, web: httpx.Client) -> None:
        sandbox.faults({"dshield": [{"kind": "429", "retry_after": 1, "penalty": 0.3}]})
        assert [ask(web, "dshield").status_code for _ in range(2)] == [429, 429]
        time.sleep(0.35)
        assert ask(web, "dshield").status_code == 200
        assert sandbox.summary()["dshield"]["in_penalty"] == 1

    def test_chance(self, sandbox: Sandbox, web: httpx.Client) -> None:
        def failures() -> list[int]:
            sandbox.faults({"spur": {"probability": 0.5, "kinds": ["500", "503"]}})
            return [ask(web, "spur").status_code for _ in range(60)]

        first = failures()
        assert first == failures()
        assert 15 < sum(status >= 500 for status in first) < 45

    def test_refused_requests_take_no_fault(self, sandbox: Sandbox, web: httpx.Client) -> None:
        sandbox.faults({"spur": ["500"]})
        assert ask(web, "spur", Token="").status_code == 401
        assert ask(web, "spur").status_code == 500


class TestWhois:
    def test_bulk(self, sandbox: Sandbox) -> None:
        asked = [FOUND["cymru"], "10.20.0.1", "2a1f:c100::5", *(POOLS["aws"].address(n) for n in range(300))]
        banner, *lines = whois(sandbox, bulk(*asked)).decode().splitlines()
        assert re.fullmatch(r"Bulk mode; whois\.cymru\.com \[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+0000\]", banner)
        assert lines == [row for address in asked for row in answers.rows(SEED, address)]
        [arrival] = sandbox.ledger.arrivals("cymru")
        assert (arrival.key, arrival.keys, arrival.status) == ("bulk", asked, 200)
        assert sandbox.summary()["cymru"]["distinct_keys"] == 303

    def test_options(self, sandbox: Sandbox) -> None:
        one = FOUND["cymru"]
        _, header, row = whois(sandbox, bulk("header", one)).decode().splitlines()[:3]
        assert header == "AS      | IP               | BGP Prefix          | CC | Registry | Allocated  | AS Name"
        assert row == answers.rows(SEED, one)[0]
        _, row = whois(sandbox, f"begin\n{one}\nend\n").decode().splitlines()[:2]
        assert [part.strip() for part in row.split(" | ")][:2] == [
            part.strip() for part in answers.rows(SEED, one)[0].split(" | ")
        ][:2]
        assert row.count(" | ") == 2
        _, row = whois(sandbox, bulk("noasname", "NoPrefix", one)).decode().splitlines()[:2]
        assert row.count(" | ") == 4

    def test_errors_name_their_line(self, sandbox: Sandbox) -> None:
        lines = whois(sandbox, bulk("10.20.0.1", "nonsense", "10.20.0.2", "AS4200000000")).decode().splitlines()
        assert lines[2] == "Error: no ASN or IP match on line 4."
        assert lines[4] == "Error: no ASN or IP match on line 6."
        assert len(lines) == 5

    def test_systems(self, sandbox: Sandbox) -> None:
        _, line = whois(sandbox, bulk("AS16509")).decode().splitlines()
        parts = [part.strip() for part in line.split("|")]
        assert (len(parts), parts[0], parts[4]) == (5, "16509", "AMAZON-02, US")

    def test_one_address_without_bulk(self, sandbox: Sandbox) -> None:
        header, row = whois(sandbox, f" -v {FOUND['cymru']}\r\n").decode().splitlines()[:2]
        assert header.startswith("AS      | IP ")
        assert row == answers.rows(SEED, FOUND["cymru"])[0]
        assert sandbox.ledger.arrivals("cymru")[0].key == "single"

    def test_no_answer_before_the_end_of_the_question(self, sandbox: Sandbox) -> None:
        host, _, port = sandbox.whois_address.partition(":")
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(f"begin\nverbose\n{FOUND['cymru']}\n".encode())
            readable, _, _ = select.select([connection], [], [], 0.1)
            assert not readable
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(100) == b""
        assert [arrival.status for arrival in sandbox.ledger.arrivals("cymru")] == [0]

    def test_many_single_questions_are_met_with_silence(self, sandbox: Sandbox) -> None:
        sandbox.limits({"cymru": {"requests": 3, "window": 60}})
        for number in range(3):
            assert whois(sandbox, bulk(POOLS["aws"].address(number)))
        with pytest.raises(TimeoutError):
            whois(sandbox, bulk(POOLS["aws"].address(9)), timeout=0.2)
        assert whois(sandbox, bulk("10.20.0.1", "10.20.0.2"))  # bulk is welcome
        assert [arrival.status for arrival in sandbox.ledger.arrivals("cymru")] == [200, 200, 200, 0, 200]
        assert sandbox.summary()["cymru"]["over_limit"] == 1

    def test_faults(self, sandbox: Sandbox) -> None:
        question = bulk(*(POOLS["aegean"].address(number) for number in range(12)))
        sound = whois(sandbox, question)

        def faulty(fault: Any) -> bytes:
            sandbox.faults({"cymru": [fault]})
            return whois(sandbox, question)

        def asked_in(answer: bytes) -> list[bytes]:
            """The addresses of whole lines, each once."""
            return list(dict.fromkeys(line.split(b"|")[1].strip() for line in answer.split(b"\n")[1:] if b"|" in line))

        def rows(answer: bytes) -> bytes:
            return answer.partition(b"\n")[2]

        assert len(asked_in(sound)) == 12
        short = faulty({"kind": "truncate", "rows": 4})
        assert asked_in(short) == asked_in(sound)[:8]
        assert short.endswith(b"\n")
        assert rows(sound).startswith(rows(short))
        gaps = faulty({"kind": "drop-rows", "rows": 3})
        assert len(asked_in(gaps)) == 9
        assert set(asked_in(gaps)) < set(asked_in(sound))
        assert asked_in(gaps)[-1] == asked_in(sound)[-1]
        broken = faulty("midline")
        assert not broken.endswith(b"\n")
        assert rows(sound).startswith(rows(broken))
        assert rows(faulty({"kind": "midline", "bytes": 85})).endswith(rows(sound).splitlines()[-1][:85])
        assert re.fullmatch(rb"Bulk mode;[^\n]*\n", faulty("banner-only"))
        assert rows(faulty({"kind": "dribble", "delay": 0.0001})) == rows(sound)
        sandbox.faults({"cymru": ["silence"]})
        with pytest.raises(TimeoutError):
            whois(sandbox, question, timeout=0.2)
        assert sandbox.ledger.arrivals("cymru")[-1].status == 0
        assert rows(whois(sandbox, question)) == rows(sound)

    def test_dribble_comes_byte_by_byte(self, sandbox: Sandbox) -> None:
        sandbox.faults({"cymru": [{"kind": "dribble", "delay": 0.002}]})
        host, _, port = sandbox.whois_address.partition(":")
        parts = []
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(bulk("10.20.0.1").encode())
            while part := connection.recv(65536):
                parts.append(part)
        assert len(parts) > 20
        assert b"".join(parts).endswith(b"| NA\n")

    def test_a_client_that_leaves_or_babbles_harms_nobody(self, sandbox: Sandbox) -> None:
        host, _, port = sandbox.whois_address.partition(":")
        for sent in (b"", b"beg", b"begin\n", b"x" * 200_000, b"\xff\xfe\n", b"\n"):
            with socket.create_connection((host, int(port)), timeout=5) as connection:
                connection.sendall(sent)
        assert whois(sandbox, bulk("10.20.0.1", "10.20.0.2")).count(b"\n") == 3


class TestControl:
    def test_limits_faults_and_reset(self, sandbox: Sandbox, web: httpx.Client) -> None:
        assert web.post("/__ctl/limits", json={"dshield": {"requests": 1, "window": 60, "penalty": 9}}).json()["ok"]
        assert web.post("/__ctl/faults", json={"spur": ["500"], "cymru": ["banner-only"]}).json()["ok"]
        assert [ask(web, "dshield").status_code for _ in range(2)] == [200, 429]
        assert ask(web, "spur").status_code == 500
        assert web.post("/__ctl/reset").json() == {"ok": True}
        assert ask(web, "dshield").status_code == 200
        assert sandbox.summary()["dshield"]["arrivals"] == 1
        assert len(whois(sandbox, bulk("10.20.0.1")).splitlines()) == 2

    def test_ledger(self, web: httpx.Client) -> None:
        ask(web, "dshield")
        ask(web, "dshield", **{"User-Agent": "nobody"})
        summary = web.get("/__ctl/ledger").json()
        assert summary["dshield"]["statuses"] == {"200": 1, "403": 1}
        assert summary["spur"]["arrivals"] == 0
        first, second = web.get("/__ctl/ledger?service=dshield").json()
        assert first["key"] == second["key"] == FOUND["dshield"]
        assert first["at"] < second["at"] <= time.monotonic()
        assert abs(first["wall"] - time.time()) < 60
        assert (second["user_agent"], second["status"], second["over_limit"], second["in_penalty"]) == (
            "nobody",
            403,
            False,
            False,
        )
        assert web.get("/__ctl/ledger?service=nobody").status_code == 404

    def test_credentials_are_nowhere_in_the_ledger(self, web: httpx.Client) -> None:
        for service, header in (("spur", "Token"), ("urlhaus", "Auth-Key"), ("greynoise", "key")):
            ask(web, service, **{header: "s3cr3t-value"})
            listed = web.get(f"/__ctl/ledger?service={service}")
            assert listed.json()[0]["credential"] is True
            assert "s3cr3t" not in listed.text

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("limits", b'{"nobody": {}}'),
            ("limits", b'{"spur": {"window": 0}}'),
            ("limits", b'{"spur": 5}'),
            ("limits", b"[]"),
            ("limits", b"{"),
            ("faults", b'{"spur": ["explode"]}'),
            ("faults", b"null"),
        ],
    )
    def test_nonsense_is_400(self, web: httpx.Client, path: str, body: bytes) -> None:
        response = web.post(f"/__ctl/{path}", content=body)
        assert response.status_code == 400
        assert response.json()["error"]

    def test_health(self, sandbox: Sandbox, web: httpx.Client) -> None:
        assert web.get("/__ctl/health").json() == {"ok": True, "seed": SEED, **sandbox.environment()}
        assert web.get("/nobody/at/home").status_code == 404


class TestLife:
    def test_environment(self, sandbox: Sandbox) -> None:
        assert sandbox.environment() == {
            "COWRIE_DSHIELD_URL": f"{sandbox.http_url}/dshield",
            "COWRIE_URLHAUS_URL": f"{sandbox.http_url}/urlhaus",
            "COWRIE_SPUR_URL": f"{sandbox.http_url}/spur",
            "COWRIE_GREYNOISE_URL": f"{sandbox.http_url}/greynoise",
            "COWRIE_VIRUSTOTAL_URL": f"{sandbox.http_url}/virustotal",
            "COWRIE_HIBP_URL": f"{sandbox.http_url}/hibp",
            "COWRIE_MAXMIND_URL": f"{sandbox.http_url}/maxmind",
            "COWRIE_DBIP_URL": f"{sandbox.http_url}/dbip",
            "COWRIE_FEEDS_URL": f"{sandbox.http_url}/feeds",
            "COWRIE_CYMRU_ADDRESS": sandbox.whois_address,
        }

    def test_answers_come_without_delay(self, web: httpx.Client) -> None:
        """Nagle's algorithm on the server's side would make this 8 seconds."""
        begun = time.monotonic()
        for _ in range(200):
            ask(web, "greynoise")
        assert time.monotonic() - begun < 4

    def test_it_listens_on_loopback_only(self, sandbox: Sandbox) -> None:
        ports = [urlsplit(sandbox.http_url).port or 0, int(sandbox.whois_address.partition(":")[2])]
        for port in ports:
            socket.create_connection(("127.0.0.1", port), timeout=2).close()
            # An address of the same machine that a server on all interfaces would answer on.
            with pytest.raises(OSError):
                socket.create_connection(("127.0.0.2", port), timeout=2)

    def test_nothing_is_left_of_it_even_if_clients_hang(self) -> None:
        threads = threading.active_count()
        with Sandbox(seed=SEED) as sandbox:
            sandbox.faults({"spur": ["hang", {"kind": "slow", "delay": 60}], "cymru": ["silence"]})
            url = urlsplit(sandbox.http_url)
            web_address, whois_port = (url.hostname or "", url.port or 0), int(sandbox.whois_address.partition(":")[2])
            clients = [socket.create_connection(web_address, timeout=5) for _ in range(3)]
            for client in clients[:2]:
                client.sendall(f"GET /spur/v2/context/{FOUND['spur']} HTTP/1.1\r\nHost: s\r\nToken: x\r\n\r\n".encode())
            clients.append(socket.create_connection(("127.0.0.1", whois_port), timeout=5))
            clients[-1].sendall(bulk("10.20.0.1", "10.20.0.2").encode())
            deadline = time.monotonic() + 5
            while len(sandbox.ledger.arrivals()) < 3 and time.monotonic() < deadline:
                time.sleep(0.01)
            begun = time.monotonic()
        assert time.monotonic() - begun < 5
        assert threading.active_count() == threads
        for client in clients:
            client.close()
        for port in (web_address[1], whois_port):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=2)
        with Sandbox(http_port=web_address[1], whois_port=whois_port) as again:
            assert again.http_url == f"http://127.0.0.1:{web_address[1]}"
            assert whois(again, bulk("10.20.0.1"))

    def test_a_client_that_does_not_read_does_not_keep_it(self) -> None:
        with Sandbox(seed=SEED) as sandbox:
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            host, _, port = sandbox.whois_address.partition(":")
            client.connect((host, int(port)))
            client.sendall(bulk(*["?"] * 150_000).encode())  # the answer fills all buffers in between
            deadline = time.monotonic() + 20
            while [arrival.status for arrival in sandbox.ledger.arrivals()] != [200] and time.monotonic() < deadline:
                time.sleep(0.01)
            begun = time.monotonic()
        client.close()
        assert time.monotonic() - begun < 5

    def test_a_taken_port_fails_at_once_and_leaves_nothing(self) -> None:
        threads = threading.active_count()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            for ports in ({"http_port": port}, {"whois_port": port}):
                with pytest.raises(OSError, match=f"port {port} on 127.0.0.1"), Sandbox(**ports):
                    pass
        assert threading.active_count() == threads

    def test_an_unknown_profile(self) -> None:
        with pytest.raises(ValueError, match="'raised' or 'documented'"):
            Sandbox(limits="none")  # type: ignore[arg-type]

    def test_two_at_once_have_nothing_in_common(self, sandbox: Sandbox, web: httpx.Client) -> None:
        with Sandbox(seed=SEED + 1) as other:
            assert other.http_url != sandbox.http_url
            httpx.get(f"{other.http_url}/greynoise/v3/community/{FOUND['greynoise']}", trust_env=False)
            assert (len(other.ledger.arrivals()), len(sandbox.ledger.arrivals())) == (1, 0)

    @pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
    def test_a_process_of_its_own_ends_with_a_signal(self, how: signal.Signals) -> None:
        program = (
            "import json; from cowrie_assets.sandbox.server import run\n"
            "run(0, 0, seed=11, ready=lambda sandbox: print(json.dumps(sandbox.environment()), flush=True))\n"
            "print('ended')\n"
        )
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            assert process.stdout is not None
            environment = json.loads(process.stdout.readline())
            url = f"{environment['COWRIE_GREYNOISE_URL']}/v3/community/{FOUND['greynoise']}"
            assert httpx.get(url, trust_env=False).json() == answers.greynoise(SEED, FOUND["greynoise"])[1]
            process.send_signal(how)
            output, errors = process.communicate(timeout=10)
        finally:
            process.kill()
        assert (process.returncode, output, errors) == (0, b"ended\n", b"")

    def test_many_clients_at_once(self, sandbox: Sandbox) -> None:
        async def storm() -> list[int]:
            limits = httpx.Limits(max_connections=20)
            async with httpx.AsyncClient(base_url=sandbox.http_url, limits=limits, trust_env=False) as web:
                keys = [POOLS["fjordlink"].address(number) for number in range(200)]
                done = await asyncio.gather(*(web.get(f"/spur/v2/context/{at}", headers={"Token": "x"}) for at in keys))
            for address, response in zip(keys, done, strict=True):
                assert (response.status_code, response.json()) == answers.spur(SEED, address)
            return [int(response.headers["x-balance-remaining"]) for response in done]

        balances = asyncio.run(storm())
        assert sorted(balances, reverse=True) == list(range(999_999, 999_799, -1))
        summary = sandbox.summary()["spur"]
        assert (summary["arrivals"], summary["distinct_keys"], summary["over_limit"]) == (200, 200, 0)
