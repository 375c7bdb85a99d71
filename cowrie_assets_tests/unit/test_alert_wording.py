"""What notes say: stretches of days, who is told what, and that nothing hostile becomes active in any channel."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cowrie_assets.alerts.channels import Alerts
from cowrie_assets.alerts.incidents import MATERIALIZE, RUN, Incident
from cowrie_assets.alerts.notes import compose
from cowrie_assets.alerts.wording import digest, inert, single, stretches

NOON = datetime(2025, 3, 9, 12, tzinfo=UTC)
HOSTILE = (
    "@everyone @here <!channel> <@U123> <#C1> @room https://evil.example/x www.evil.example evil.example "
    "[click](http://evil.example) ![i](http://evil.example/i.png) *bold* _it_ __u__ ~~s~~ `code` |x| ||spoiler|| "
    "<b>bold</b> <script>alert(1)</script> &#64;everyone &lt;b&gt; #tag mail@evil.example "
    "\x1b[31m \u202e \x00 evil。example"
)
# What some channel takes for more than text: mentions, tags, links, emphasis, entities, controls.
ACTIVE = re.compile(
    r"@\w|<|>|://\w|\]\(|`|\*|~|\||\b\w+\.[a-z]{2,}|(?<!\w)_\w|\w_(?!\w)|&#?\w+;|#\w|[\x00-\x09\x0b-\x1f\u202e]", re.I
)


def incident(asset: str = "sessions", name: str = "answered", partition: str = "", **changes: Any) -> Incident:
    known = {
        "asset": asset,
        "name": name,
        "partition": partition,
        "passed": False,
        "severity": "WARN",
        "words": "too few",
        "run_id": "run-1",
        "backfill_id": None,
        "judged_at": NOON,
        "failing_since": NOON - timedelta(hours=2),
        "told_at": None,
    }
    return Incident(**{**known, **changes})


def days(first: str, count: int, step: int = 1) -> list[str]:
    return [(date.fromisoformat(first) + timedelta(days=number * step)).isoformat() for number in range(count)]


def test_days_are_told_as_stretches() -> None:
    assert stretches([*days("2025-03-01", 5), "2025-03-09"]) == "2025-03-01 to 03-05, 03-09"
    assert stretches(days("2024-12-30", 4)) == "2024-12-30 to 2025-01-02"
    assert stretches(["2025-01-02", "2024-01-02"]) == "2024-01-02, 2025-01-02"
    assert stretches(["a_b", "2025-01-02"]) == "2025-01-02, a_b"


@given(st.sets(st.dates(date(2024, 1, 1), date(2025, 12, 31)), min_size=1))
def test_stretches_lose_and_invent_no_day(chosen: set[date]) -> None:
    told, year = set[date](), ""
    for stretch in stretches([day.isoformat() for day in chosen]).split(", "):
        first, _, last = stretch.partition(" to ")
        ends = []
        for end in (first, last or first):
            year = end[:4] if len(end) == 10 else year
            ends.append(date.fromisoformat(end if len(end) == 10 else f"{year}-{end}"))
        told |= {ends[0] + timedelta(days=number) for number in range((ends[1] - ends[0]).days + 1)}
    assert told == chosen


def test_a_note_says_what_failed_since_when_in_which_run_and_how_to_look() -> None:
    note = single(incident("dshield_enrichment", partition="2025-03-01"), sandbox=False)
    assert (note.kind, note.title) == ("warning", "WARN: dshield_enrichment.answered failed for 2025-03-01")
    for said in ("It said: too few", "2025-03-09 10:00 UTC", "run-1", "cowrie-assets alerts", "cowrie-assets up"):
        assert said in note.body
    built = single(incident(name=MATERIALIZE, partition="2025-03-01", severity="ERROR"), sandbox=False)
    assert (built.kind, built.title) == ("failure", "ERROR: sessions was not built for 2025-03-01")
    assert single(incident("daily", RUN), sandbox=False).title == "WARN: job daily failed"
    well = single(incident(partition="2025-03-01", passed=True, words="all there"), sandbox=False)
    assert (well.kind, well.title) == ("recovery", "Recovered: sessions.answered for 2025-03-01")
    assert "It says now: all there" in well.body


def test_a_digest_lists_every_one_by_check_and_says_how_many() -> None:
    failed = [incident(partition=day, run_id=f"run-{day}", words=f"{day}: few") for day in days("2025-03-01", 13)]
    failed += [incident("ip_inventory", MATERIALIZE, severity="ERROR", words="boom")]
    note = digest(failed, sandbox=False)
    assert note.title == "ERROR: 14 failures: 2 checks and assets"
    assert note.kind == "failure"
    assert "sessions.answered failed (WARN), 13 days: 2025-03-01 to 03-13" in note.body
    assert "For 2025-03-13 it said: 2025-03-13: few" in note.body
    assert "ip_inventory was not built (ERROR)\nIt said: boom" in note.body
    assert "and 11 more" in note.body
    one_check = digest([incident(partition=day, backfill_id="abc") for day in days("2025-03-01", 6, 2)], sandbox=False)
    assert one_check.title == "WARN: 6 failures: sessions.answered"
    assert "backfill abc" in one_check.body
    well = digest([incident(partition=day, passed=True) for day in days("2025-03-01", 6)], sandbox=False)
    assert (well.kind, well.title) == ("recovery", "6 recovered: sessions.answered")
    assert "cowrie-assets up" not in well.body


def test_few_are_single_notes_many_a_digest_and_each_backfill_and_kind_apart() -> None:
    failed = [incident(partition=day) for day in days("2025-03-01", 4)]
    of_backfill = [incident(partition=day, backfill_id="b") for day in days("2025-04-01", 6)]
    recovered = [incident(partition=day, passed=True) for day in days("2025-05-01", 4)]
    notes = compose([*recovered, *of_backfill, *failed], Alerts(digest_from=5))
    assert [len(note.about) for note in notes] == [1, 1, 1, 1, 6, 1, 1, 1, 1]
    assert [note.kind for note in notes][-4:] == ["recovery"] * 4
    assert [len(note.about) for note in compose(failed, Alerts(digest_from=4))] == [4]
    assert [len(note.about) for note in compose(of_backfill, Alerts(digest_from=9))] == [1] * 6


def test_in_the_sandbox_every_title_begins_with_sandbox() -> None:
    many = [incident(partition=day) for day in days("2025-03-01", 9)]
    for note in [*compose(many, Alerts(sandbox=True)), *compose(many[:2], Alerts(sandbox=True))]:
        assert note.title.startswith("SANDBOX: ")
        assert "cowrie-assets up --sandbox" in note.body


@pytest.mark.parametrize("make", [single, lambda known, sandbox: digest([known, known], sandbox=sandbox)])
def test_hostile_words_are_inert_wherever_they_stand(make: Callable[..., Any]) -> None:
    for place in ("words", "asset", "partition", "run_id", "backfill_id"):
        note = make(incident(**{place: HOSTILE}), sandbox=False)
        # Between an asset and its check is a dot of our own.
        told = f"{note.title}\n{note.body}".replace(".answered", "")
        assert ACTIVE.findall(told) == [], place
        assert "everyone" in told or place == "backfill_id"  # only a digest names it
    assert ACTIVE.findall(html.unescape(inert(HOSTILE))) == []


@given(st.text())
def test_no_text_at_all_becomes_active(text: str) -> None:
    told = inert(text)
    assert "\n" not in told
    assert not re.search(r"@\w|[<>`*~|]|://\w|\]\(|#\w|&#?\w+;|[\x00-\x1f]", told)


def test_words_of_our_own_stay_as_they_are() -> None:
    words = "2025-03-01: 12 of 1,234 sessions (1.0%, at least 80% wanted): see ip_inventory and cowrie-assets run"
    assert inert(words) == words
    assert inert("sensors.toml").replace("\u2060", "") == "sensors.toml"
