"""The emulated services that know files, passwords and addresses in bulk, with quotas, budgets and a clock that moves.

As a client meets them: real sockets, and nothing of this project but the sandbox.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address
from typing import Any

import httpx
import pytest

from cowrie_assets.sandbox import answers, hashanswers
from cowrie_assets.sandbox.campaigns import SAMPLE_FILES
from cowrie_assets.sandbox.facts import truth
from cowrie_assets.sandbox.hashfacts import sha1_of
from cowrie_assets.sandbox.pools import POOLS
from cowrie_assets.sandbox.server import Sandbox

SEED = 11
AGENT = {"User-Agent": "sandbox-tests/1 (tests@honeypot.example)"}
FILES = [sha256(b"%d" % number).hexdigest() for number in range(1000)]


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


@pytest.fixture
def strict() -> Iterator[Sandbox]:
    """With documented limits, at noon: no test runs across a midnight that it does not mean."""
    with Sandbox(seed=SEED, limits="documented") as sandbox:
        now = sandbox.clock.now()
        sandbox.advance((now.replace(hour=12, minute=0) + timedelta(days=1) - now).total_seconds())
        yield sandbox


@pytest.fixture
def strict_web(strict: Sandbox) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=strict.http_url, headers=AGENT, timeout=5, trust_env=False) as client:
        yield client


def report(web: httpx.Client, sha256: str, key: str = "k3y") -> httpx.Response:
    return web.get(f"/virustotal/api/v3/files/{sha256}", headers={"x-apikey": key})


def bulk(web: httpx.Client, ips: Any, key: str = "enterprise-k3y", query: str = "") -> httpx.Response:
    return web.post(f"/greynoise/v3/ip{query}", json={"ips": ips}, headers={"key": key})


def error(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


class TestVirusTotal:
    def test_answers(self, web: httpx.Client) -> None:
        for key in (*SAMPLE_FILES, *FILES[:30]):
            response = report(web, key)
            assert (response.status_code, response.json()) == hashanswers.virustotal(SEED, key)
        assert report(web, SAMPLE_FILES[0].upper()).json() == report(web, SAMPLE_FILES[0]).json()
        unknown = next(key for key in FILES if truth("virustotal", SEED, key)["outcome"] == "not_found")
        assert error(report(web, unknown)) == (404, "NotFoundError")
        assert error(report(web, "nonsense")) == (400, "InvalidArgumentError")

    def test_keys(self, sandbox: Sandbox, web: httpx.Client) -> None:
        assert error(web.get(f"/virustotal/api/v3/files/{FILES[0]}")) == (401, "AuthenticationRequiredError")
        assert error(report(web, FILES[0], "invalid")) == (401, "WrongCredentialsError")
        assert error(report(web, FILES[0], "forbidden")) == (403, "ForbiddenError")
        assert [arrival.credential for arrival in sandbox.ledger.arrivals("virustotal")] == [False, True, True]

    @pytest.mark.parametrize("told", [True, False])
    def test_four_a_minute_and_a_quota_a_day_are_told_apart(
        self, strict: Sandbox, strict_web: httpx.Client, told: bool
    ) -> None:
        strict.limits({"virustotal": {"day": 6, "retry_after": told}})
        assert {report(strict_web, key).status_code for key in FILES[:4]} <= {200, 404}
        too_many = report(strict_web, FILES[4])
        assert error(too_many) == (429, "TooManyRequestsError")
        assert too_many.headers.get("retry-after") == ("61" if told else None)
        strict.advance(60.1)
        assert [report(strict_web, key).status_code == 429 for key in FILES[4:7]] == [False, False, True]
        spent = report(strict_web, FILES[7])
        assert error(spent) == (429, "QuotaExceededError")
        assert ("retry-after" in spent.headers) is told
        assert strict.summary()["virustotal"]["refused_by"] == {"window": 1, "day": 2}

    def test_across_midnight_and_the_end_of_the_month(self, strict: Sandbox, strict_web: httpx.Client) -> None:
        strict.limits({"virustotal": {"requests": None, "day": 3, "month": 5}})
        now = strict.clock.now()
        month_end = (now.replace(day=1, hour=0, minute=0, second=0, microsecond=0) + timedelta(days=32)).replace(day=1)
        strict.advance((month_end - timedelta(days=1, seconds=30) - now).total_seconds())

        def spend() -> int:
            """How many are answered until the quota is used up."""
            for number in range(9):
                response = report(strict_web, FILES[number])
                if response.status_code == 429:
                    assert error(response)[1] == "QuotaExceededError"
                    assert abs(int(response.headers["retry-after"]) - expected) <= 5
                    return number
            raise AssertionError

        expected = 30.0
        assert spend() == 3
        strict.advance(31)
        assert strict.clock.now().day == (month_end - timedelta(days=1)).day
        expected = 86_400.0
        assert spend() == 2  # the month's
        strict.advance(86_400)
        assert strict.clock.now().day == 1
        assert spend() == 3

    def test_two_keys_have_two_budgets(self, strict: Sandbox, strict_web: httpx.Client) -> None:
        for key in ("s3cr3t-1", "s3cr3t-2"):
            statuses = [report(strict_web, file, key).status_code for file in FILES[:5]]
            assert statuses[4] == 429
            assert 429 not in statuses[:4]
        arrivals = strict.ledger.arrivals("virustotal")
        budgets = {arrival.budget for arrival in arrivals}
        assert len(budgets) == strict.summary()["virustotal"]["budgets"] == 2
        assert all(strict.ledger.max_in_window("virustotal", 60, budget) == 5 for budget in budgets)
        assert strict.ledger.max_in_window("virustotal", 60) == 10
        assert "s3cr3t" not in json.dumps([arrival.to_json() for arrival in arrivals])

    def test_faults_speak_its_language(self, sandbox: Sandbox, web: httpx.Client) -> None:
        sandbox.faults(
            {"virustotal": ["503", "504", "429", {"kind": "429", "code": "QuotaExceededError", "retry_after": "9"}]}
        )
        assert error(report(web, FILES[0])) == (503, "TransientError")
        assert error(report(web, FILES[0])) == (504, "DeadlineExceededError")
        assert error(report(web, FILES[0])) == (429, "TooManyRequestsError")
        spent = report(web, FILES[0])
        assert (error(spent), spent.headers["retry-after"]) == ((429, "QuotaExceededError"), "9")
        sandbox.faults({"virustotal": ["wrong-address", "duplicate-keys"]})
        assert report(web, SAMPLE_FILES[0]).json()["data"]["id"] != SAMPLE_FILES[0]
        assert report(web, SAMPLE_FILES[0]).json() != report(web, SAMPLE_FILES[0]).json()


class TestPwnedPasswords:
    def test_answers(self, web: httpx.Client) -> None:
        digest = sha1_of("password")
        plain, padded = (
            web.get(f"/hibp/range/{digest[:5]}", headers=headers) for headers in ({}, {"Add-Padding": "true"})
        )
        assert plain.headers["content-type"] == "text/plain"
        assert f"{digest[5:]}:{truth('hibp', SEED, 'password')['count']}" in plain.text.split("\r\n")
        assert ":0" not in plain.text.replace("\r\n", " ").split()
        assert any(line.endswith(":0") for line in padded.text.split("\r\n"))
        assert web.get(f"/hibp/range/{digest[:5].lower()}").content == plain.content
        assert not plain.content.endswith(b"\n")

    def test_bad_prefixes_and_nobodies(self, sandbox: Sandbox, web: httpx.Client) -> None:
        assert web.get("/hibp/range/XYZ12").status_code == 400
        assert web.get("/hibp/range/ABCDEF").status_code == 400
        assert web.get("/hibp/range/ABCDE", headers={"User-Agent": ""}).status_code == 403
        assert [arrival.key for arrival in sandbox.ledger.arrivals("hibp")] == ["XYZ12", "ABCDEF", "ABCDE"]

    def test_unchanged_is_304(self, web: httpx.Client) -> None:
        etag = web.get("/hibp/range/ABCDE").headers["etag"]
        assert web.get("/hibp/range/ABCDE", headers={"If-None-Match": etag}).status_code == 304
        assert web.get("/hibp/range/ABCDF", headers={"If-None-Match": etag}).status_code == 200

    def test_its_own_faults(self, sandbox: Sandbox, web: httpx.Client) -> None:
        sound = web.get("/hibp/range/ABCDE").content
        sandbox.faults({"hibp": ["cut", "lower-case", "wrong-address", "empty", "503", {"kind": "cut", "bytes": 100}]})
        cut = web.get("/hibp/range/ABCDE").content
        assert sound.startswith(cut)
        assert cut.count(b"\r\n") == sound.count(b"\r\n")  # it is the last line that is not whole
        assert 0 < len(cut.rpartition(b"\r\n")[2]) < 35
        assert web.get("/hibp/range/ABCDE").content == sound.lower() != sound
        assert web.get("/hibp/range/ABCDE").text == hashanswers.hibp_range(SEED, "ABCDF")[1].decode()
        assert web.get("/hibp/range/ABCDE").content == b""
        assert web.get("/hibp/range/ABCDE").status_code == 503
        assert web.get("/hibp/range/ABCDE").content == sound[:100]

    def test_there_is_no_limit(self, strict: Sandbox, strict_web: httpx.Client) -> None:
        assert {strict_web.get(f"/hibp/range/{number:05X}").status_code for number in range(100)} == {200}


class TestGreyNoiseInBulk:
    IPS = tuple(POOLS[pool].address(number) for pool in ("aws", "aegean", "saltmarsh") for number in range(1, 120))

    def test_answers(self, sandbox: Sandbox, web: httpx.Client) -> None:
        asked = [*self.IPS, self.IPS[0], "10.1.2.3", "nonsense", "2a1f:c100::5"]
        body = bulk(web, asked).json()
        assert body == answers.greynoise_bulk(SEED, asked)
        told = body["request_metadata"]
        found = {entry["ip"]: entry for entry in body["data"]}
        assert {"10.1.2.3", "nonsense", "2a1f:c100::5"} <= set(told["invalid_ips"])
        for address in self.IPS:
            facts = truth("greynoise", SEED, address)
            assert (address in found) == (facts["outcome"] == "found")
            assert (address in told["ips_not_found"]) == (facts["outcome"] == "not_found")
            if address in found:
                entry = found[address]
                assert entry["business_service_intelligence"]["found"] is None
                scanner = entry["internet_scanner_intelligence"]
                assert scanner["found"] is facts["noise"]
                assert scanner.get("classification") == (facts["classification"] if facts["noise"] else None)
        assert len(found) + len(told["ips_not_found"]) + len(told["invalid_ips"]) == len(set(asked))
        [arrival] = sandbox.ledger.arrivals("greynoise")
        assert (arrival.key, arrival.keys) == ("bulk", asked)
        assert arrival.body_sha256 is not None
        assert len(arrival.body_sha256) == 64
        assert sandbox.summary()["greynoise"]["distinct_keys"] == len(set(asked))

    def test_with_the_licence_for_businesses(self, web: httpx.Client) -> None:
        entries = bulk(web, self.IPS, "enterprise-business-1").json()["data"]
        known = {entry["ip"]: entry["business_service_intelligence"]["found"] for entry in entries}
        assert known == {address: truth("greynoise", SEED, address)["riot"] for address in known}
        assert set(known.values()) == {True, False}

    def test_quick(self, web: httpx.Client) -> None:
        full, quick = (bulk(web, self.IPS, query=f"?quick={value}").json()["data"] for value in ("false", "true"))
        assert [entry["ip"] for entry in full] == [entry["ip"] for entry in quick]
        assert len(json.dumps(quick)) < 0.6 * len(json.dumps(full))

    def test_who_may(self, web: httpx.Client) -> None:
        for key, status in (("", 401), ("community", 401), ("invalid", 401), ("forbidden", 403), ("enterprise", 200)):
            assert bulk(web, self.IPS, key).status_code == status
        assert web.get(f"/greynoise/v3/community/{self.IPS[0]}", headers={"key": "enterprise"}).status_code in (
            200,
            404,
        )

    def test_how_many(self, web: httpx.Client) -> None:
        many = [f"26.{number >> 16}.{number >> 8 & 255}.{number & 255}" for number in range(10_001)]
        assert bulk(web, many).status_code == 400
        assert len(bulk(web, many[:-1]).json()["data"]) > 4000
        for content in (b"", b"[]", b"{}", b'{"ips": "1.2.3.4"}', b"{"):
            assert web.post("/greynoise/v3/ip", content=content, headers={"key": "enterprise"}).status_code == 400
        assert web.get("/greynoise/v3/ip", headers={"key": "enterprise"}).status_code == 404

    def test_plans(self, strict: Sandbox, strict_web: httpx.Client) -> None:
        strict.limits({"greynoise-paid": {"day": 12}})
        assert [bulk(strict_web, ["26.16.0.1"]).status_code for _ in range(11)] == [200] * 10 + [429]
        strict.advance(2)
        statuses = [bulk(strict_web, ["26.16.0.1"]) for _ in range(3)]
        assert [response.status_code for response in statuses] == [200, 200, 429]
        assert statuses[2].json() == {"plan": "Enterprise", "rate_limit": "12-D"}
        assert "retry-after" not in statuses[2].headers
        # The community's keys have a week of their own.
        lookups = [strict_web.get("/greynoise/v3/community/26.16.0.1", headers={"key": "c"}) for _ in range(26)]
        assert [response.status_code == 429 for response in lookups] == [False] * 25 + [True]
        strict.advance(7 * 86_400)
        assert strict_web.get("/greynoise/v3/community/26.16.0.1", headers={"key": "c"}).status_code == 429
        strict.advance(2)
        assert strict_web.get("/greynoise/v3/community/26.16.0.1", headers={"key": "c"}).status_code != 429

    def test_faults(self, sandbox: Sandbox, web: httpx.Client) -> None:
        sandbox.faults({"greynoise": ["drop-rows", "wrong-address", "duplicate-keys", "500", "cut"]})
        sound = answers.greynoise_bulk(SEED, self.IPS)
        # It waits for an answer in bulk.
        assert web.get(f"/greynoise/v3/community/{self.IPS[0]}").status_code in (200, 404)
        short = bulk(web, self.IPS).json()
        assert 0 < len(short["data"]) < len(sound["data"])
        assert 0 < len(short["request_metadata"]["ips_not_found"]) < len(sound["request_metadata"]["ips_not_found"])
        elsewhere = bulk(web, self.IPS[:40]).json()
        assert elsewhere["data"]
        assert {entry["ip"] for entry in elsewhere["data"]} <= {str(ip_address(at) + 1) for at in self.IPS[:40]}
        assert bulk(web, self.IPS[:40]).json() != answers.greynoise_bulk(SEED, self.IPS[:40])
        assert bulk(web, self.IPS).status_code == 500


class TestBudgets:
    def test_dshield_goes_by_the_source(self, strict: Sandbox, strict_web: httpx.Client) -> None:
        agents = [{"User-Agent": f"agent-{number} (a@b.example)"} for number in range(3)]
        statuses = [strict_web.get("/dshield/api/ip/26.16.0.1?json", headers=agent).status_code for agent in agents]
        assert statuses == [200, 429, 429]

    def test_every_account_of_spur_has_its_balance(self, sandbox: Sandbox, web: httpx.Client) -> None:
        sandbox.limits({"spur": {"quota": 2}})
        address = next(
            at for at in map(POOLS["aws"].address, range(99)) if truth("spur", SEED, at)["outcome"] == "found"
        )
        balances = [
            web.get(f"/spur/v2/context/{address}", headers={"Token": token}).headers["x-balance-remaining"]
            for token in ("a", "b", "a", "b", "a")
        ]
        assert balances == ["1", "1", "0", "0", "0"]
        assert sandbox.summary()["spur"]["refused_by"] == {"balance": 1}

    def test_a_box_of_five_minutes_is_extended_by_every_call_inside(
        self, strict: Sandbox, strict_web: httpx.Client
    ) -> None:
        def ask() -> httpx.Response:
            return strict_web.get("/dshield/api/ip/26.16.0.1?json")

        assert [ask().status_code for _ in range(2)] == [200, 429]
        strict.advance(299)
        assert (ask().status_code, ask().headers["retry-after"]) == (429, "300")
        strict.advance(299)
        assert ask().status_code == 429
        strict.advance(301)
        assert ask().status_code == 200
        ages = [arrival.box_age for arrival in strict.ledger.arrivals("dshield")]
        assert ages[:2] == [None, None]
        assert [round(age) for age in ages[2:5] if age is not None] == [299, 299, 598]
        assert ages[5] is None

    def test_refusals_that_do_not_say_when(self, strict: Sandbox, strict_web: httpx.Client) -> None:
        strict.limits({"dshield": {"retry_after": False}})
        responses = [strict_web.get("/dshield/api/ip/26.16.0.1?json") for _ in range(2)]
        assert [response.status_code for response in responses] == [200, 429]
        assert "retry-after" not in responses[1].headers


class TestClock:
    def test_over_the_control_api(self, sandbox: Sandbox, web: httpx.Client) -> None:
        before = web.get("/__ctl/clock").json()
        assert web.post("/__ctl/clock", json={"advance": 86_400 * 40.5}).json() == {"ok": True}
        after = web.get("/__ctl/clock").json()
        assert after["advanced"] == 86_400 * 40.5
        moved = datetime.fromisoformat(after["now"]) - datetime.fromisoformat(before["now"])
        for seconds in (
            moved.total_seconds(),
            after["wall"] - before["wall"],
            after["monotonic"] - before["monotonic"],
        ):
            assert seconds == pytest.approx(86_400 * 40.5, abs=5)
        web.get("/hibp/range/ABCDE")
        [arrival] = sandbox.ledger.arrivals("hibp")
        assert (arrival.at, arrival.wall) >= (before["monotonic"] + 3e6, before["wall"] + 3e6)
        sandbox.reset()
        assert abs(sandbox.clock.now() - datetime.now(UTC)) < timedelta(seconds=5)

    @pytest.mark.parametrize(
        "body", [b"{}", b'{"advance": -1}', b'{"advance": "1"}', b'{"to": 5}', b'{"advance": NaN}']
    )
    def test_nonsense_is_400(self, sandbox: Sandbox, web: httpx.Client, body: bytes) -> None:
        assert web.post("/__ctl/clock", content=body).status_code == 400
        assert sandbox.clock.advanced == 0


class TestDataset:
    def test_a_service_changes_its_mind(self, sandbox: Sandbox, web: httpx.Client) -> None:
        key = next(key for key in FILES if truth("virustotal", SEED, key)["outcome"] == "not_found")
        told = hashanswers.virustotal(SEED, SAMPLE_FILES[0])[1]
        answer = {"status": 200, "body": told, "headers": {"X-Note": "changed"}}
        assert web.post(
            "/__ctl/dataset", json={"service": "virustotal", "key": key, "answer": answer}
        ).json() == {"ok": True}  # fmt: skip
        changed = report(web, key)
        assert (changed.status_code, changed.json(), changed.headers["x-note"]) == (200, told, "changed")
        assert changed.headers["content-type"] == "application/json"
        sandbox.dataset("virustotal", key, None)
        assert report(web, key).status_code == 404
        sandbox.dataset("virustotal", key, answer)
        sandbox.reset()
        assert report(web, key).status_code == 404

    def test_text_is_sent_as_it_is(self, sandbox: Sandbox, web: httpx.Client) -> None:
        sandbox.dataset("hibp", "ABCDE", {"body": "F" * 35 + ":9"})
        assert web.get("/hibp/range/ABCDE").text == "F" * 35 + ":9"
        assert web.get("/hibp/range/ABCDF").text != "F" * 35 + ":9"
        sandbox.dataset("dshield", "26.16.0.1", {"body": "<gone/>", "status": 410, "content_type": "text/xml"})
        gone = web.get("/dshield/api/ip/26.16.0.1?json")
        assert (gone.status_code, gone.text, gone.headers["content-type"]) == (410, "<gone/>", "text/xml")

    def test_who_is_not_answered_is_not_answered(self, sandbox: Sandbox, web: httpx.Client) -> None:
        sandbox.dataset("spur", "26.16.0.1", {"body": {}})
        assert web.get("/spur/v2/context/26.16.0.1").status_code == 401
        balances = [
            int(web.get("/spur/v2/context/26.16.0.1", headers={"Token": "x"}).headers["x-balance-remaining"])
            for _ in range(2)
        ]
        assert balances[0] - balances[1] == 1  # an answer is an answer
        sandbox.faults({"spur": ["500", {"kind": "cut", "bytes": 1}]})
        assert web.get("/spur/v2/context/26.16.0.1", headers={"Token": "x"}).status_code == 500
        assert web.get("/spur/v2/context/26.16.0.1", headers={"Token": "x"}).content == b"{"

    def test_in_bulk(self, sandbox: Sandbox, web: httpx.Client) -> None:
        asked = list(TestGreyNoiseInBulk.IPS[:30])
        before = bulk(web, asked).json()
        lost, gained = before["data"][0]["ip"], before["request_metadata"]["ips_not_found"][0]
        entry = {"ip": gained, "internet_scanner_intelligence": {"found": True}}
        sandbox.dataset("greynoise", lost, {"status": 404, "body": {}})
        sandbox.dataset("greynoise", gained, {"body": entry})
        after = bulk(web, asked).json()
        assert entry in after["data"]
        assert lost in after["request_metadata"]["ips_not_found"]
        assert gained not in after["request_metadata"]["ips_not_found"]
        assert lost not in [one["ip"] for one in after["data"]]
        assert len(after["data"]) == len(before["data"])

    @pytest.mark.parametrize(
        "body",
        [
            b"{}",
            b'{"service": "nobody", "key": "k", "answer": {}}',
            b'{"service": ["spur"], "key": "k", "answer": {}}',
            b'{"service": "spur", "key": "k", "answer": 5}',
            b'{"service": "spur", "key": "k", "answer": {}, "more": 1}',
        ],
    )
    def test_nonsense_is_400(self, web: httpx.Client, body: bytes) -> None:
        response = web.post("/__ctl/dataset", content=body)
        assert response.status_code == 400
        assert response.json()["error"]
