"""What the emulated VirusTotal and Pwned Passwords know: the same every time, and what a careful reader understands."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from hashlib import sha1, sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cowrie_assets.sandbox import hashanswers
from cowrie_assets.sandbox.campaigns import COMMON_PASSWORDS, SAMPLE_FILES
from cowrie_assets.sandbox.facts import AS_OF, truth
from cowrie_assets.sandbox.hashfacts import EMPTY_FILE, file_case, sha1_of

SEED = 7
FILES = [sha256(b"file %d" % number).hexdigest() for number in range(4000)]


def number(value: Any) -> int | None:
    return None if value is None else int(value)


def instant(value: Any) -> str | None:
    return None if value is None else datetime.fromtimestamp(int(value), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read(key: str, status: int, body: dict[str, Any]) -> dict[str, Any]:
    if status in (400, 404):
        code = {400: "InvalidArgumentError", 404: "NotFoundError"}[status]
        assert body["error"]["code"] == code
        return {"outcome": {400: "not_applicable", 404: "not_found"}[status]}
    data = body["data"]
    attributes = data["attributes"]
    assert (data["type"], data["id"], attributes["sha256"]) == ("file", key, key)
    stats, threat = attributes["last_analysis_stats"], attributes.get("popular_threat_classification") or {}
    return {
        "outcome": "found",
        **{name: number(stats.get(name)) for name in ("malicious", "suspicious", "undetected", "harmless")},
        "label": threat.get("suggested_threat_label"),
        "categories": [row["value"] for row in threat.get("popular_threat_category", [])],
        "names": [row["value"] for row in threat.get("popular_threat_name", [])],
        "file_type": attributes.get("type_description"),
        "size": number(attributes.get("size")),
        "meaningful_name": attributes.get("meaningful_name"),
        "tags": attributes.get("tags") or [],
        "first_seen": instant(attributes.get("first_submission_date")),
        "last_seen": instant(attributes.get("last_submission_date")),
        "analysed_at": instant(attributes.get("last_analysis_date")),
        "times_submitted": number(attributes.get("times_submitted")),
        "reputation": number(attributes.get("reputation")),
    }


def test_what_a_careful_reader_understands_of_a_file_is_what_was_meant() -> None:
    for key in (*FILES, *SAMPLE_FILES, EMPTY_FILE):
        status, body = hashanswers.virustotal(SEED, key)
        fields, meant = read(key, status, json.loads(json.dumps(body))), truth("virustotal", SEED, key)
        assert fields == {name: meant[name] for name in fields}, key


def test_the_engines_are_what_the_verdicts_count() -> None:
    for key in FILES[:300]:
        _, body = hashanswers.virustotal(SEED, key)
        attributes = body.get("data", {}).get("attributes", {})
        if results := attributes.get("last_analysis_results"):
            counted = Counter(engine["category"] for engine in results.values())
            stats = attributes["last_analysis_stats"]
            assert all(int(stats[name]) == counted[name] for name in ("malicious", "suspicious", "undetected"))


def test_shares_of_files() -> None:
    cases = [file_case(SEED, key, AS_OF) for key in FILES]
    odd = Counter(one.oddity for one in cases if one.oddity)
    assert odd.total() / len(cases) == pytest.approx(0.05, abs=0.012)
    assert len(odd) == 5
    plain = [one.facts for one in cases if one.oddity is None]
    assert sum(facts["outcome"] == "not_found" for facts in plain) / len(cases) == pytest.approx(0.35, abs=0.03)
    labelled = sum(facts["label"] is not None for facts in plain)
    assert labelled / len(cases) == pytest.approx(0.45, abs=0.03)
    clean = [facts for facts in plain if facts["malicious"] == 0]
    assert len(clean) / len(cases) == pytest.approx(0.10, abs=0.02)
    assert {facts["label"] for facts in clean} == {facts["meaningful_name"] for facts in clean} == {None}


@settings(deadline=None)
@given(seed=st.integers(0, 1 << 40))
def test_of_the_samples_files_some_are_malicious_one_is_clean_and_some_are_unknown(seed: int) -> None:
    facts = [truth("virustotal", seed, key) for key in SAMPLE_FILES]
    assert sum(told["label"] is not None for told in facts) == 4
    assert sum(told["label"] is None and bool(told["malicious"]) for told in facts) == 1
    assert sum(told["malicious"] == 0 for told in facts) == 1
    assert sum(told["outcome"] == "not_found" for told in facts) == 2
    assert facts == [truth("virustotal", seed, key.upper()) for key in SAMPLE_FILES]
    assert truth("virustotal", seed, EMPTY_FILE)["malicious"] == 0


def test_the_sample_has_more_than_one_distribution() -> None:
    dealt = {tuple(truth("virustotal", seed, key)["outcome"] for key in SAMPLE_FILES) for seed in range(40)}
    assert len(dealt) > 5


@pytest.mark.parametrize("key", ["", "1.2.3.4", "e3b0", "g" * 64, "a" * 63])
def test_what_is_no_hash(key: str) -> None:
    assert truth("virustotal", SEED, key)["outcome"] == "not_applicable"
    assert hashanswers.virustotal(SEED, key)[0] == 400


def test_shorter_hashes_are_hashes_as_well() -> None:
    statuses = Counter(hashanswers.virustotal(SEED, key[:length])[0] for key in FILES[:60] for length in (32, 40))
    assert set(statuses) == {200, 404}


def rows_of(body: bytes) -> dict[str, int]:
    return {line[:35]: int(line[36:]) for line in body.decode().split("\r\n")}


@settings(deadline=None, max_examples=40)
@given(prefix=st.integers(0, (1 << 20) - 1).map("{:05X}".format), seed=st.sampled_from([1, 2]))
def test_ranges(prefix: str, seed: int) -> None:
    status, plain = hashanswers.hibp_range(seed, prefix)
    _, padded = hashanswers.hibp_range(seed, prefix, padded=True)
    assert status == 200
    for body in (plain, padded):
        lines = body.decode().split("\r\n")
        assert all(len(line) > 36 and line[35] == ":" and line[:35].isalnum() and line[36:].isdigit() for line in lines)
        assert lines[0][:35] == lines[0][:35].upper()
        assert not body.endswith(b"\n")
        assert lines == sorted(lines)
    assert 0 not in rows_of(plain).values()
    assert {suffix: count for suffix, count in rows_of(padded).items() if count} == rows_of(plain)
    assert 900 <= len(rows_of(padded)) <= 1001
    assert hashanswers.hibp_range(seed, prefix) == (200, plain)
    assert hashanswers.hibp_range(seed + 1, prefix) != (200, plain)
    assert not rows_of(hashanswers.hibp_range(seed, prefix, mode="ntlm")[1]).keys() & rows_of(plain).keys()


@pytest.mark.parametrize("prefix", ["", "ABCD", "ABCDEF", "GHIJK", "abcde", "ABCD\n"])
def test_no_range(prefix: str) -> None:
    assert hashanswers.hibp_range(SEED, prefix)[0] == 400


@settings(deadline=None)
@given(
    password=st.sampled_from(COMMON_PASSWORDS)
    | st.from_regex(r"(harbour|lantern|anchor)[!@#]?[0-9]{1,4}", fullmatch=True)
    | st.text(max_size=12)
)
def test_a_password_is_breached_if_its_range_says_so(password: str) -> None:
    told = truth("hibp", SEED, password)
    digest = sha1(password.encode(), usedforsecurity=False).hexdigest().upper()
    assert digest == sha1_of(password)
    for padded in (False, True):
        body = hashanswers.hibp_range(SEED, digest[:5], padded=padded)[1]
        assert rows_of(body).get(digest[5:], 0) == told["count"]
    assert told["outcome"] == ("found" if told["count"] else "not_found")
    assert told["breached"] is bool(told["count"])


@settings(deadline=None, max_examples=4)
@given(seed=st.integers(0, 3))
def test_common_passwords_are_breached_whatever_the_seed(seed: int) -> None:
    for password in ("root", "admin", "123456", "password", *COMMON_PASSWORDS):
        assert truth("hibp", seed, password)["count"] >= 100_000
    assert not truth("hibp", seed, "")["breached"]
    assert not truth("hibp", seed, "unheard-of 77")["breached"]


def test_words_with_a_small_number_are_breached_or_stand_in_the_padding() -> None:
    outcomes: Counter[str] = Counter()
    for turn in range(200):
        password = f"ember{turn}"
        digest = sha1_of(password)
        outcomes[truth("hibp", SEED, password)["outcome"]] += 1
        assert digest[5:] in rows_of(hashanswers.hibp_range(SEED, digest[:5], padded=True)[1])
    assert 90 < outcomes["found"] < 150
    assert truth("hibp", SEED, "ember1234")["outcome"] == "not_found"
