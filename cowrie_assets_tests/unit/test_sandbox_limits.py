"""The emulator's judgement, with a clock that the test turns: windows, penalty boxes, quotas, ledger, faults."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cowrie_assets.sandbox.clock import Clock
from cowrie_assets.sandbox.dataset import Dataset
from cowrie_assets.sandbox.faults import Fault, Faults
from cowrie_assets.sandbox.limits import Judge, Ledger, Limits, Verdict, fingerprint
from cowrie_assets.sandbox.rules import DAY, SERVICES, WEEK, Rule, profile_rules


class Turned(Clock):
    """Stands still unless it is turned."""

    def __init__(self) -> None:
        super().__init__(monotonic=lambda: self.at, wall=lambda: self.at)
        self.at = 1000.0


@pytest.fixture
def clock() -> Turned:
    return Turned()


def test_a_window_slides(clock: Turned) -> None:
    judge = Judge(Rule(requests=3, window=10), clock)
    admitted = []
    for clock.at in (1000.0, 1001.0, 1009.0, 1009.5, 1010.0, 1010.9, 1011.0, 1018.9, 1019.0):
        if not judge.judge().refused:
            admitted.append(clock.at)
    assert admitted == [1000.0, 1001.0, 1009.0, 1010.0, 1011.0, 1019.0]


def test_no_window_ever_holds_more_than_the_limit(clock: Turned) -> None:
    rng, judge, admitted = Random(3), Judge(Rule(requests=5, window=2), clock), []
    for _ in range(3000):
        clock.at += rng.expovariate(6)
        if not judge.judge().refused:
            admitted.append(clock.at)
    assert max(sum(at - 2 < other <= at for other in admitted) for at in admitted) == 5
    assert len(admitted) > 0.8 * (clock.at - 1000) / 2 * 5


def test_a_refusal_says_when_to_come_again(clock: Turned) -> None:
    judge = Judge(Rule(requests=1, window=60), clock)
    judge.judge()
    clock.at += 18.5
    refused = judge.judge()
    assert refused == Verdict(at=1018.5, refused_by="window", over_limit=True, retry_after=42)
    clock.at += 42
    assert not judge.judge().refused


def test_retry_after_is_never_zero(clock: Turned) -> None:
    judge = Judge(Rule(requests=1, window=1), clock)
    judge.judge()
    clock.at += 0.9999
    assert judge.judge().retry_after == 1


def test_one_too_many_opens_the_box_and_calls_inside_extend_it(clock: Turned) -> None:
    judge = Judge(Rule(requests=1, window=1, penalty=300), clock)
    assert not judge.judge().refused
    clock.at += 0.5
    first = judge.judge()
    assert (first.over_limit, first.in_penalty, first.retry_after) == (True, False, 300)
    clock.at += 299
    inside = judge.judge()
    assert (inside.over_limit, inside.in_penalty, inside.retry_after) == (False, True, 300)
    clock.at += 299.9
    assert judge.judge().in_penalty
    clock.at += 300
    assert not judge.judge().refused


def test_without_penalty_a_refusal_costs_nothing(clock: Turned) -> None:
    judge = Judge(Rule(requests=1, window=1), clock)
    judge.judge()
    for _ in range(9):
        clock.at += 0.1
        assert judge.judge() == Verdict(at=clock.at, refused_by="window", over_limit=True, retry_after=1)
    clock.at += 0.2
    assert not judge.judge().refused


def test_a_box_can_be_opened_from_outside_and_keeps_its_own_length(clock: Turned) -> None:
    judge = Judge(Rule(), clock)
    judge.open_box(7)
    clock.at += 6
    assert judge.judge().retry_after == 7
    clock.at += 7
    assert not judge.judge().refused
    judge.open_box(0)
    assert not judge.judge().refused


def test_a_spent_quota_stays_spent(clock: Turned) -> None:
    judge = Judge(Rule(quota=2), clock)
    for _ in range(2):
        assert not judge.judge().refused
        judge.used += 1
    clock.at += WEEK * 10
    assert judge.judge() == Verdict(at=clock.at, refused_by="balance")
    assert judge.remaining == 0
    assert Judge(Rule(), clock).remaining is None


def test_documented_limits_are_no_looser_than_documented() -> None:
    documented = {"dshield": (1, 1.0), "urlhaus": (30, 60.0), "spur": (20, 1.0)}
    documented |= {"virustotal": (4, 60.0), "greynoise-paid": (10, 1.0), "maxmind": (30, DAY)}
    rules = profile_rules("documented")
    for service, (requests, window) in documented.items():
        assert rules[service].requests == requests
        assert window < rules[service].window <= window * 1.02
    assert rules["dshield"].penalty == 300
    assert (rules["virustotal"].day, rules["virustotal"].month) == (500, 15_500)
    assert (rules["greynoise"].week, rules["greynoise-paid"].day) == (25, 10_000)
    assert rules["hibp"] == rules["dbip"] == rules["feeds"] == Rule()
    assert {rule.requests for rule in profile_rules("raised").values()} == {2000}
    with pytest.raises(ValueError, match="'raised' or 'documented'"):
        profile_rules("none")  # type: ignore[arg-type]


def test_limits_change_whole_or_not_at_all_and_go_back(clock: Turned) -> None:
    limits = Limits("documented", clock)
    limits.change({"dshield": {"penalty": 2.5}, "spur": {"requests": None, "quota": 3}})
    assert limits.rule("dshield") == Rule(requests=1, window=1.02, penalty=2.5)
    assert limits.rule("spur").requests is None
    for changes in (
        {"dshield": {"requests": 5}, "spur": {"window": 0}},
        {"dshield": {"requests": 5}, "nobody": {}},
        {"dshield": {"requests": 5, "rate": 1}},
        {"dshield": {"requests": 1.5}},
        {"dshield": {"requests": -1}},
        {"dshield": {"window": None}},
        {"dshield": {"penalty": "5"}},
        {"dshield": {"requests": True}},
    ):
        with pytest.raises(ValueError):
            limits.change(changes)
    assert limits.rule("dshield").requests == 1
    limits.judge("dshield").judge()
    limits.reset()
    assert limits.rule("dshield").penalty == 300
    assert not limits.judge("dshield").judge().refused


def test_the_ledger_counts(clock: Turned) -> None:
    ledger = Ledger(clock)
    for seconds, key in ((0.0, "a"), (0.2, "b"), (0.9, "a"), (1.0, "c"), (1.1, "a"), (9.0, "d")):
        clock.at = 1000 + seconds
        late = seconds in (1.0, 1.1)
        boxed = seconds == 1.1
        refused = ("penalty" if boxed else "window") if late else None
        age = 0.1 if boxed else None
        verdict = Verdict(clock.at, refused, over_limit=late, in_penalty=boxed, box_age=age)  # type: ignore[arg-type]
        ledger.record("spur", key, status=429 if late else 200, credential=True, verdict=verdict)
    ledger.record("cymru", "bulk", status=200, keys=["x", "y"])
    ledger.record("cymru", "bulk", status=0, keys=["y", "z"])
    summary = ledger.summary(dict.fromkeys(SERVICES, 1.0))
    assert summary["spur"] == {
        "arrivals": 6,
        "distinct_keys": 4,
        "repeated_keys": 1,
        "window": 1.0,
        "max_in_window": 4,  # 0.2 to 1.1; the one at 0.0 is a whole window before the one at 1.0
        "budgets": 1,
        "over_limit": 2,
        "in_penalty": 1,
        "refused_by": {"window": 1, "penalty": 1},
        "statuses": {"200": 4, "429": 2},
    }
    assert summary["cymru"]["distinct_keys"] == 3
    assert ledger.repeated_keys("cymru") == {"y": 2}
    assert ledger.repeated_keys("spur") == {"a": 3}
    assert summary["dshield"]["max_in_window"] == 0
    assert len(ledger.arrivals()) == 8
    assert ledger.arrivals("spur")[0].to_json() == {
        "at": 1000.0, "wall": 1000.0, "service": "spur", "key": "a", "user_agent": "", "credential": True,
        "status": 200, "over_limit": False, "in_penalty": False, "fault": None, "keys": ["a"], "budget": "",
        "refused_by": None, "box_age": None, "body_sha256": None,
    }  # fmt: skip
    ledger.clear()
    assert ledger.arrivals() == []


def test_the_most_in_a_window_is_found_wherever_it_lies(clock: Turned) -> None:
    rng, ledger, times = Random(4), Ledger(clock), []
    for _ in range(400):
        clock.at += rng.expovariate(5)
        times.append(clock.at)
        ledger.record("dshield", "", status=200)
    expected = max(sum(at <= other < at + 3 for other in times) for at in times)
    assert ledger.max_in_window("dshield", 3) == expected


def test_a_script_is_taken_one_by_one() -> None:
    faults = Faults(1)
    faults.plan({"spur": ["500", "ok", None, {"kind": "429", "retry_after": "7"}], "cymru": ["silence"]})
    taken = [faults.next("spur") for _ in range(6)]
    assert taken == [Fault("500"), None, None, Fault("429", {"retry_after": "7"}), None, None]
    assert faults.next("dshield") is None
    faults.plan({"spur": ["500"]})
    assert faults.next("cymru") == Fault("silence")
    faults.reset()
    assert faults.next("spur") is None


def test_chance_follows_from_the_seed() -> None:
    def drawn(seed: int) -> list[str]:
        faults = Faults(seed)
        faults.plan({"dshield": {"probability": 0.3, "kinds": ["500", {"kind": "cut", "bytes": 5}]}})
        return [fault.kind if fault else "" for fault in (faults.next("dshield") for _ in range(3000))]

    assert drawn(1) == drawn(1) != drawn(2)
    shares = Counter(drawn(1))
    assert shares["500"] / 3000 == pytest.approx(0.15, abs=0.03)
    assert shares["cut"] / 3000 == pytest.approx(0.15, abs=0.03)


@pytest.mark.parametrize(
    "plan",
    [
        {"nobody": []},
        {"spur": ["silence"]},
        {"cymru": ["500"]},
        {"spur": ["explode"]},
        {"spur": "500"},
        {"spur": 5},
        {"spur": [5]},
        {"spur": [{"kind": "cut", "rows": 1}]},
        {"spur": [{"kind": "cut", "bytes": -1}]},
        {"spur": [{"kind": "slow", "delay": "x"}]},
        {"spur": {"probability": 1.5, "kinds": ["500"]}},
        {"spur": {"probability": "1", "kinds": ["500"]}},
        {"spur": {"probability": 0.5, "kinds": []}},
        {"spur": {"probability": 0.5, "kinds": ["ok"]}},
        {"spur": {"probability": 0.5}},
    ],
)
def test_a_plan_that_is_none_is_refused_and_changes_nothing(plan: dict[str, Any]) -> None:
    faults = Faults(1)
    faults.plan({"spur": ["500"]})
    with pytest.raises(ValueError):
        faults.plan({"dshield": ["500"], **plan})
    assert faults.next("spur") == Fault("500")
    assert faults.next("dshield") is None


# --- quotas and the clock ------------------------------------------------------------------------------------------


def seconds(*when: int) -> float:
    return datetime(*when, tzinfo=UTC).timestamp()  # type: ignore[arg-type,misc]


def admitted(judge: Judge, times: int) -> int:
    return sum(not judge.judge().refused for _ in range(times))


def test_a_day_ends_at_midnight_utc(clock: Turned) -> None:
    clock.at = seconds(2026, 11, 21, 23, 59, 58)
    judge = Judge(Rule(day=3), clock)
    assert admitted(judge, 5) == 3
    assert judge.judge() == Verdict(clock.at, "day", retry_after=2)
    assert judge.judge().over_quota
    clock.advance(1.999)
    assert judge.judge().refused_by == "day"
    clock.advance(0.001)
    assert admitted(judge, 5) == 3


def test_a_month_ends_on_the_first(clock: Turned) -> None:
    clock.at = seconds(2026, 12, 30, 12, 0, 0)
    judge = Judge(Rule(day=4, month=6), clock)
    assert admitted(judge, 9) == 4
    clock.advance(DAY)
    assert admitted(judge, 9) == 2
    told = judge.judge()
    assert (told.refused_by, told.retry_after) == ("month", 12 * 3600)  # it lasts longer than the day's
    clock.advance(12 * 3600)
    assert admitted(judge, 9) == 4


def test_the_next_month_of_any_day(clock: Turned) -> None:
    for month, days in ((1, 31), (2, 29), (4, 30), (12, 31)):
        clock.at = seconds(2028, month, days, 23, 59, 59)
        judge = Judge(Rule(month=1), clock)
        judge.judge()
        assert judge.judge().retry_after == 1
        clock.at += 1
        assert not judge.judge().refused


def test_a_week_slides_and_is_a_second_longer(clock: Turned) -> None:
    judge = Judge(Rule(week=2), clock)
    judge.judge()
    clock.advance(3 * DAY)
    assert admitted(judge, 3) == 1
    told = judge.judge()
    assert (told.refused_by, told.retry_after) == ("week", 4 * DAY + 1)
    clock.advance(4 * DAY)
    assert judge.judge().refused
    clock.advance(1)
    assert admitted(judge, 3) == 1
    clock.advance(3 * DAY)
    assert admitted(judge, 3) == 1


def test_refusals_do_not_count_towards_quotas(clock: Turned) -> None:
    judge = Judge(Rule(requests=1, window=60, day=3), clock)
    for _ in range(3):
        assert admitted(judge, 50) == 1
        clock.advance(60)
    assert judge.judge().refused_by == "day"


@settings(deadline=None)
@given(
    steps=st.lists(st.tuples(st.floats(0, 40_000), st.integers(1, 4)), max_size=60),
    day=st.integers(1, 5),
    week=st.integers(1, 12),
    month=st.integers(1, 30),
)
def test_no_quota_is_ever_exceeded_and_all_are_used(
    steps: list[tuple[float, int]], day: int, week: int, month: int
) -> None:
    clock = Turned()
    clock.at = seconds(2026, 2, 20, 0, 0, 0)
    judge = Judge(Rule(day=day, week=week, month=month), clock)
    times: list[float] = []
    for wait, tries in steps:
        clock.advance(wait)
        for _ in range(tries):
            now = clock.wall()
            moment = datetime.fromtimestamp(now, UTC)
            before = [datetime.fromtimestamp(at, UTC) for at in times]
            full = {
                "day": sum(at.date() == moment.date() for at in before) >= day,
                "month": sum((at.year, at.month) == (moment.year, moment.month) for at in before) >= month,
                "week": sum(at > now - WEEK - 1 for at in times) >= week,
            }
            told = judge.judge()
            assert told.refused == any(full.values())
            if told.refused_by is None:
                times.append(now)
            else:
                assert full[told.refused_by]
                assert told.retry_after is not None


def test_every_budget_has_its_own_judge(clock: Turned) -> None:
    limits = Limits("documented", clock)
    first, second = limits.judge("virustotal", fingerprint("one")), limits.judge("virustotal", fingerprint("two"))
    assert admitted(first, 9) == admitted(second, 9) == 4
    assert limits.judge("virustotal", fingerprint("one")) is first
    limits.change({"virustotal": {"requests": 6, "day": 7}})
    assert admitted(first, 9) == 2
    clock.advance(61)
    assert admitted(second, 9) == 3  # 7 less the 4 of today
    assert limits.judge("virustotal").rule.requests == 6
    limits.reset()
    assert limits.judge("virustotal", fingerprint("one")) is not first
    assert fingerprint("") == "" != fingerprint("one") != fingerprint("two")


def test_a_box_tells_how_long_it_has_been_open(clock: Turned) -> None:
    judge = Judge(Rule(requests=1, window=1, penalty=300), clock)
    assert [judge.judge().box_age for _ in range(2)] == [None, None]
    ages = []
    for step in (0.0, 0.25, 200.0, 299.0):
        clock.advance(step)
        ages.append(judge.judge().box_age)
    assert ages == [0.0, 0.25, 200.25, 499.25]  # extended by each of them, it is still the same one
    clock.advance(300)
    assert judge.judge() == Verdict(clock.monotonic())
    assert judge.judge().refused_by == "window"
    clock.advance(1)
    assert judge.judge().box_age == 1.0


def test_the_clock_moves_both_ways_of_telling_time_and_only_on() -> None:
    clock = Clock(monotonic=lambda: 5.0, wall=lambda: seconds(2026, 12, 31, 23, 59, 59))
    clock.advance(2)
    assert (clock.monotonic(), clock.now()) == (7.0, datetime(2027, 1, 1, 0, 0, 1, tzinfo=UTC))
    for step in (-1, float("inf"), float("nan"), True, "1", None):
        with pytest.raises(ValueError, match="advance is"):
            clock.advance(step)  # type: ignore[arg-type]
    assert clock.advanced == 2
    clock.reset()
    assert (clock.monotonic(), clock.advanced) == (5.0, 0)


@pytest.mark.parametrize(
    "changes",
    [{"day": -1}, {"week": 1.5}, {"month": "5"}, {"retry_after": 1}, {"retry_after": None}, {"penalty": None}],
)
def test_limits_that_are_none(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Rule().changed(changes)


def test_a_fault_waits_for_an_answer_that_it_can_befall() -> None:
    faults = Faults(1)
    faults.plan({"maxmind": ["wrong-md5", "corrupt", "ok", "500"], "hibp": {"probability": 1.0, "kinds": ["500"]}})
    taken = [faults.next("maxmind", suffers=lambda kind: kind != "wrong-md5") for _ in range(2)]
    assert taken == [None, None]
    taken = [faults.next("maxmind") for _ in range(5)]
    assert taken == [Fault("wrong-md5"), Fault("corrupt"), None, Fault("500"), None]
    assert faults.next("hibp", suffers=lambda kind: kind != "500") is None
    assert faults.next("hibp") == Fault("500")


def test_a_refusal_is_taken_before_anything_is_read() -> None:
    faults = Faults(1)
    faults.plan({"cymru": ["ok", "refuse", "silence"]})
    assert not faults.next_is_refusal("cymru")
    assert faults.next("cymru") is None
    assert faults.next_is_refusal("cymru")
    assert not faults.next_is_refusal("cymru")
    assert faults.next("cymru") == Fault("silence")
    faults.plan({"cymru": {"probability": 0.5, "kinds": ["refuse", "silence"]}})
    drawn = [faults.next_is_refusal("cymru") or faults.next("cymru") for _ in range(400)]
    counted = Counter(str(one) if isinstance(one, bool | None) else one.kind for one in drawn)
    assert 60 < counted["True"] < 140
    assert 60 < counted["silence"] < 140
    assert 150 < counted["None"] < 250


def test_each_service_has_only_faults_that_it_can_suffer() -> None:
    for service, kind in (("hibp", "duplicate-keys"), ("spur", "lower-case"), ("dbip", "expired"), ("feeds", "402")):
        with pytest.raises(ValueError, match="has no fault"):
            Fault.parse(service, kind)
    assert Fault.parse("maxmind", {"kind": "corrupt", "how": "tar"}) == Fault("corrupt", {"how": "tar"})
    for described in ({"kind": "corrupt", "how": "softly"}, {"kind": "429", "code": 5}):
        with pytest.raises(ValueError):
            Fault.parse("maxmind", described)


def test_replaced_answers_are_checked() -> None:
    dataset = Dataset()
    dataset.replace("spur", "26.16.0.1", {"status": 404, "body": {"a": [1]}, "headers": {"X-Thing": "y"}})
    replaced = dataset.get("spur", "26.16.0.1")
    assert replaced is not None
    assert (replaced.status, replaced.body, replaced.headers) == (404, b'{"a":[1]}', {"x-thing": "y"})
    assert dataset.get("dshield", "26.16.0.1") is None
    for service, key, answer in (
        ("nobody", "k", {}),
        ("spur", 5, {}),
        ("spur", "k", []),
        ("spur", "k", {"code": 200}),
        ("spur", "k", {"status": 99}),
        ("spur", "k", {"status": True}),
        ("spur", "k", {"headers": {"a": 1}}),
        ("spur", "k", {"content_type": 5}),
        ("cymru", "k", {"body": "a line"}),
    ):
        with pytest.raises(ValueError):
            dataset.replace(service, key, answer)  # type: ignore[arg-type]
    dataset.replace("spur", "26.16.0.1", None)
    assert not dataset
