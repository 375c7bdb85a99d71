"""Scarce budgets are never exceeded, and no source network eats them alone (promise P3).

Proved here, with the clock moved: calendar days and months around midnight and month's end, seen by servers whose
clocks are off; rolling weeks; several quotas at once; batches; what is given back; four processes and one quota; the
share of a source network, also with four processes; credits; and that the budget is exactly what may then be charged.
Not here: slots and blocks (`test_limiter`), the order of asking (`test_asking`).
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cowrie_assets.lookup import quotas
from cowrie_assets.lookup.asking import Asking, ask, networks_of
from cowrie_assets.lookup.configured import configured_services
from cowrie_assets.lookup.gate import EgressGate
from cowrie_assets.lookup.limiter import Call, Limiter, NotNow, ShareSpent
from cowrie_assets.lookup.services import DAY, SERVICES, WEEK, Quota, Service
from cowrie_assets.sandbox.clock import Clock
from cowrie_assets.sandbox.limits import Judge, Rule
from cowrie_assets.sandbox.server import Sandbox
from cowrie_assets.settings import ADDRESS_VARIABLES, Settings
from cowrie_assets.warehouse.database import open_connection
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets_tests.conftest import Server
from cowrie_assets_tests.integration.test_asking import ROOT, addresses, fast_database
from cowrie_assets_tests.integration.test_session_snapshots import forget

pytestmark = pytest.mark.one_server

WRITTEN = (
    "service_limits",
    "lookup_ledger",
    "service_answers",
    "open_questions",
    "lookup_counters",
    "network_spending",
)
A_DAY = partial(Quota, seconds=DAY, calendar="day")
A_MONTH = partial(Quota, seconds=30 * DAY, calendar="month")
A_WEEK = partial(Quota, seconds=WEEK)
MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)  # of a month, too, and the one before has 28 days


@pytest.fixture(scope="module")
def url(server: Server) -> str:
    return fast_database(server)


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    with open_connection(url) as opened:
        forget(opened, *WRITTEN)
        yield opened


def set_clock(connection: Connection, moment: datetime) -> None:
    """From now on it is that time for who asks over this connection, and the clock goes on from there."""
    connection.execute(
        "SELECT set_config('cowrie.clock_offset', (%s::timestamptz - clock_timestamp())::text, false)", (moment,)
    )
    # What was promised under another clock would have to be waited for.
    connection.execute("UPDATE service_limits SET next_slot = lookup_now()")


def scarce(*limits: Quota, **changes: Any) -> Service:
    """So quick that no slot is waited for."""
    fields = {"credential": None, "by_balance": False, "requests": 100_000, "quotas": limits, "network_share": 1.0}
    return replace(SERVICES["spur"], **{**fields, **changes})


def charge(
    connection: Connection,
    service: Service,
    key_count: int = 1,
    networks: Mapping[str, int] | None = None,
    seconds: float = 5.0,
    stop: threading.Event | None = None,
) -> Call:
    limiter = Limiter(connection, service, "the run")
    return limiter.charge("8.8.8.8", key_count, seconds, stop or threading.Event(), networks)


def charge_all(connection: Connection, service: Service, most: int = 100) -> list[datetime]:
    """As often as it may be, at the most so often: when each left."""
    left = []
    with suppress(NotNow):
        for _ in range(most):
            left.append(charge(connection, service).left_at)
    return left


def spent_before(connection: Connection, moments: Sequence[datetime], key_count: int = 1) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO lookup_ledger (service, limit_key, key, key_count, sent_at) "
            "VALUES ('spur', 'spur', 'x', %s, %s)",
            [(key_count, moment) for moment in moments],
        )


def charged(connection: Connection) -> int:
    row = connection.execute("SELECT coalesce(sum(key_count), 0)::int FROM lookup_ledger").fetchone()
    return int(row[0]) if row else 0


def spending(connection: Connection) -> dict[str, int]:
    return dict(
        connection.execute(
            "SELECT network::text, keys FROM network_spending WHERE keys > 0 AND network <> '0.0.0.0/0'"
        ).fetchall()
    )


def refusal(connection: Connection, service: Service, key_count: int = 1) -> str:
    with pytest.raises(NotNow) as caught:
        charge(connection, service, key_count)
    assert caught.value.outcome == "quota"
    return caught.value.reason


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


# --- the calendar --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quota", [A_DAY(3), A_MONTH(3)])
@pytest.mark.parametrize(
    ("last_spent", "now", "is_free"),
    [
        (-3600.0, -1.0, False),
        (-3600.0, 1.0, False),  # the service's clock may be late: its day is not over yet
        (-3600.0, 3.0, True),
        (-3.0, 3.0, True),
        (-1.5, 3.0, False),  # or early: that was in its new day already
        (-1.5, 80000.0, False),
        (0.5, 3.0, False),
        (3.0, 80000.0, False),
    ],
)
def test_a_day_and_a_month_begin_at_midnight_with_two_seconds_on_either_side(
    connection: Connection, quota: Quota, last_spent: float, now: float, is_free: bool
) -> None:
    spent_before(connection, [MIDNIGHT + seconds(last_spent)] * 3)
    set_clock(connection, MIDNIGHT + seconds(now))
    service = scarce(quota)
    if is_free:
        assert len(charge_all(connection, service)) == 3
    reason = refusal(connection, service)
    assert f"the quota of {quota} is used up" in reason


@pytest.mark.parametrize(
    ("now", "quota", "days"),
    [
        (datetime(2026, 2, 28, 12, tzinfo=UTC), A_DAY(1), "0.5"),
        (datetime(2026, 2, 28, 12, tzinfo=UTC), A_MONTH(1), "0.5"),
        (datetime(2026, 2, 1, 12, tzinfo=UTC), A_MONTH(1), "27.5"),
        (datetime(2028, 2, 1, 12, tzinfo=UTC), A_MONTH(1), "28.5"),
        (datetime(2026, 12, 31, 16, 48, tzinfo=UTC), A_MONTH(1), "0.3"),
        (datetime(2026, 12, 1, 12, tzinfo=UTC), A_MONTH(1), "30.5"),
        (datetime(2026, 6, 15, 0, 0, 10, tzinfo=UTC), A_DAY(1), "1.0"),
    ],
)
def test_a_calendars_quota_says_when_it_begins_anew(
    connection: Connection, now: datetime, quota: Quota, days: str
) -> None:
    set_clock(connection, now)
    charge(connection, scarce(quota))
    assert refusal(connection, scarce(quota)).endswith(f"the next request may leave in {days} days")


def test_the_wait_for_midnight_is_never_negative(connection: Connection) -> None:
    spent_before(connection, [MIDNIGHT - timedelta(hours=1)])
    set_clock(connection, MIDNIGHT + seconds(1))
    assert refusal(connection, scarce(A_DAY(1))).endswith("in 0.0 days")


def test_a_month_is_not_thirty_days(connection: Connection) -> None:
    service = scarce(A_MONTH(2))
    set_clock(connection, datetime(2026, 1, 1, 0, 0, 5, tzinfo=UTC))
    charge_all(connection, service)
    set_clock(connection, datetime(2026, 1, 31, 23, 59, 50, tzinfo=UTC))
    assert charge_all(connection, service) == []
    set_clock(connection, datetime(2026, 2, 1, 0, 0, 3, tzinfo=UTC))
    assert len(charge_all(connection, service)) == 2
    set_clock(connection, datetime(2026, 3, 1, 0, 0, 3, tzinfo=UTC))
    assert len(charge_all(connection, service)) == 2


class Times(Clock):
    """A service's clock, set to each arrival in turn; `off` is by how much it differs from ours."""

    def __init__(self, off: float) -> None:
        super().__init__(monotonic=lambda: self.at + off, wall=lambda: self.at + off)
        self.at = 0.0


def refused_by_servers(rule: Rule, arrivals: Sequence[datetime], offs: Sequence[float]) -> list[float]:
    """The clocks by which one of the arrivals would have been refused."""
    refusing = []
    for off in offs:
        clock = Times(off)
        judge = Judge(rule, clock)
        for arrival in arrivals:
            clock.at = arrival.timestamp()
            if judge.judge().refused and off not in refusing:
                refusing.append(off)
    return refusing


OFFS = (-1.5, -1.0, -0.3, 0.0, 0.3, 1.0, 1.5)


@pytest.mark.parametrize(("quota", "rule"), [(A_DAY(5), Rule(day=5)), (A_MONTH(5), Rule(month=5))])
def test_no_servers_day_sees_more_than_the_quota_whatever_its_clock_says(
    connection: Connection, quota: Quota, rule: Rule
) -> None:
    """One tries all the time around two midnights; servers are up to 1.5 s early or late."""
    arrivals: list[datetime] = []
    ends = (MIDNIGHT, MIDNIGHT + (timedelta(days=1) if quota.calendar == "day" else timedelta(days=31)))
    for end in ends:
        for tenths in (-600_000, *range(-40, 41, 2), 300):
            set_clock(connection, end + seconds(tenths / 10))
            # Never all at once: what is left has to be counted on both sides.
            arrivals += charge_all(connection, scarce(quota), most=2)
    assert refused_by_servers(rule, arrivals, OFFS) == []
    # The same calls without pads, as they would be counted by our clock alone, are too many for some of them.
    assert len([arrival for arrival in arrivals if arrival >= MIDNIGHT]) >= 2 * 5 - 2
    assert refused_by_servers(replace(rule, day=4) if rule.day else replace(rule, month=4), arrivals, OFFS) != []


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    moments=st.lists(st.floats(-8.0, 8.0), min_size=3, max_size=25),
    tries=st.integers(1, 4),
    limit=st.integers(1, 6),
    off=st.floats(-1.5, 1.5),
)
def test_random_tries_around_midnight(
    connection: Connection, moments: list[float], tries: int, limit: int, off: float
) -> None:
    forget(connection, *WRITTEN)
    arrivals = []
    for moment in sorted(moments):
        set_clock(connection, MIDNIGHT + seconds(moment))
        arrivals += charge_all(connection, scarce(A_DAY(limit), A_MONTH(2 * limit)), most=tries)
    assert refused_by_servers(Rule(day=limit, month=2 * limit), sorted(arrivals), [off]) == []


# --- rolling weeks, and several at once ----------------------------------------------------------------------------


def test_a_week_is_any_seven_days(connection: Connection) -> None:
    service, begin = scarce(A_WEEK(25)), datetime(2026, 3, 4, 10, tzinfo=UTC)
    arrivals: list[datetime] = []
    for hours in range(0, 24 * 21, 5):
        set_clock(connection, begin + timedelta(hours=hours))
        arrivals += charge_all(connection, service, most=3)
    assert len(arrivals) > 2 * 25
    assert refused_by_servers(Rule(requests=25, window=WEEK), arrivals, [0.0]) == []
    assert refused_by_servers(Rule(week=25), arrivals, [0.0]) == []
    assert refused_by_servers(Rule(requests=24, window=WEEK), arrivals, [0.0]) == [0.0]


@pytest.mark.parametrize(("age", "is_free"), [(WEEK - 1, False), (WEEK + 1, False), (WEEK + 3, True)])
def test_a_window_is_two_seconds_longer_than_it_need_be(connection: Connection, age: float, is_free: bool) -> None:
    set_clock(connection, MIDNIGHT)
    spent_before(connection, [MIDNIGHT - seconds(age)])
    assert bool(charge_all(connection, scarce(A_WEEK(1)))) == is_free


def test_of_several_quotas_none_is_exceeded(connection: Connection) -> None:
    service = scarce(A_DAY(5), A_MONTH(12), A_WEEK(11))
    counts, reasons = [], []
    for day in range(5):
        set_clock(connection, MIDNIGHT + timedelta(days=day, hours=10))
        counts.append(len(charge_all(connection, service)))
        reasons.append(refusal(connection, service).partition(" is")[0])
    assert counts == [5, 5, 1, 0, 0]
    assert reasons == [f"the quota of {quota}" for quota in ("5/day", "5/day", "11/week", "11/week", "11/week")]
    set_clock(connection, MIDNIGHT + timedelta(days=8, hours=11))
    assert len(charge_all(connection, service)) == 1
    assert "the quota of 12/month is used up" in refusal(connection, service)


# --- batches, what is given back, what was changed -----------------------------------------------------------------


def test_of_a_batch_every_key_counts(connection: Connection) -> None:
    service = scarce(A_DAY(10))
    set_clock(connection, MIDNIGHT + timedelta(hours=10))
    charge(connection, service, 7)
    assert "10/day" in refusal(connection, service, 4)
    charge(connection, service, 3)
    assert quotas.keys_left(connection, service) == 0
    assert charged(connection) == 10


class Stopping(threading.Event):
    """Somebody presses Ctrl-C while a slot is waited for, perhaps at another time of the day."""

    def __init__(self, connection: Connection | None = None, moment: datetime = MIDNIGHT) -> None:
        super().__init__()
        self.connection, self.moment = connection, moment

    def wait(self, timeout: float | None = None) -> bool:
        if self.connection is not None:
            set_clock(self.connection, self.moment)
        self.set()
        return True


def test_a_call_that_was_taken_back_costs_nobody_anything(connection: Connection) -> None:
    service = scarce(A_DAY(20), requests=1, window=30.0, by_balance=True)
    set_clock(connection, MIDNIGHT + timedelta(hours=10))
    charge(connection, service, 2, {"192.0.2.0/24": 1, "2001:db8::/48": 1})
    quotas.note_balance(connection, service, 100)
    before = charged(connection), spending(connection), quotas.balance(connection, service)
    assert before == (2, {"192.0.2.0/24": 1, "2001:db8::/48": 1}, 100)
    with pytest.raises(NotNow, match="stopped"):
        charge(connection, service, 5, {"192.0.2.0/24": 2, "198.51.100.0/24": 3}, 60.0, Stopping())
    assert (charged(connection), spending(connection), quotas.balance(connection, service)) == before


def test_what_was_paid_yesterday_is_not_given_back_today(connection: Connection) -> None:
    """A slot that was reserved before midnight, and given back after it: today's share would be larger by it."""
    service, network = scarce(A_DAY(20), requests=1, window=30.0), "192.0.2.0/24"
    set_clock(connection, MIDNIGHT + timedelta(hours=10))
    charge(connection, service, 2, {network: 2})
    today = spending(connection)
    assert today == {network: 2}
    set_clock(connection, MIDNIGHT - seconds(5))
    charge(connection, service)
    connection.execute("UPDATE service_limits SET next_slot = lookup_now() + interval '20 s'")
    with pytest.raises(NotNow, match="stopped"):
        charge(connection, service, 1, {network: 1}, 60.0, Stopping(connection, MIDNIGHT + seconds(10)))
    row = connection.execute(
        "SELECT keys FROM network_spending WHERE day = %s AND network = %s", (MIDNIGHT.date(), network)
    ).fetchone()
    assert row == (2,)


def test_two_credentials_have_two_budgets(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    service = scarce(A_DAY(4), credential="env:SPUR_API_KEY", network_share=0.5)
    set_clock(connection, MIDNIGHT + timedelta(hours=10))
    for key in ("one", "another"):
        monkeypatch.setenv("SPUR_API_KEY", key)
        charge(connection, service, 2, {"192.0.2.0/24": 2})
        with pytest.raises(ShareSpent):
            charge(connection, service, 1, {"192.0.2.0/24": 1})
        charge(connection, service, 2)
        refusal(connection, service)


def test_a_quota_that_was_lowered_or_raised_holds_at_once(connection: Connection) -> None:
    set_clock(connection, MIDNIGHT + timedelta(hours=10))
    assert len(charge_all(connection, scarce(A_DAY(6)))) == 6
    assert "the quota of 4/day" in refusal(connection, scarce(A_DAY(4)))
    assert quotas.keys_left(connection, scarce(A_DAY(4))) == 0
    assert len(charge_all(connection, scarce(A_DAY(8)))) == 2


# --- four processes ------------------------------------------------------------------------------------------------

# Charges as often as it may, in two threads, on account of the networks that it was told, one after the other.
CHILD = """
import json, sys, threading
from cowrie_assets.lookup.limiter import Limiter, NotNow, ShareSpent
from cowrie_assets.lookup.services import Quota, Service
from cowrie_assets.warehouse.database import open_connection
told = json.loads(sys.argv[1])
service = Service(**{**told["service"], "quotas": tuple(Quota(**quota) for quota in told["service"]["quotas"])})
counts = {"left": 0, "share": 0, "quota": 0}
lock = threading.Lock()

def work():
    with open_connection(told["url"]) as connection:
        limiter = Limiter(connection, service, None)
        for network in told["networks"]:
            try:
                limiter.charge("x", 1, 5.0, threading.Event(), {network: 1})
                outcome = "left"
            except ShareSpent:
                outcome = "share"
            except NotNow:
                outcome = "quota"
            with lock:
                counts[outcome] += 1

threads = [threading.Thread(target=work) for _ in range(2)]
print("ready", flush=True)
sys.stdin.readline()
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps(counts))
"""


def charge_with_four_processes(url: str, service: Service, networks: Sequence[str]) -> Counter[str]:
    fields = {**vars(service), "quotas": [vars(quota) for quota in service.quotas]}
    told = json.dumps({"url": url, "service": fields, "networks": networks})
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, told],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for _ in range(4)
    ]  # fmt: skip
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", process.communicate()[1]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        counts: Counter[str] = Counter()
        for process in processes:
            out, err = process.communicate(timeout=60)
            assert process.returncode == 0, err
            counts.update(json.loads(out.splitlines()[-1]))
        return counts
    finally:
        for process in processes:
            process.kill()


def test_four_processes_spend_a_quota_to_the_last_call_and_a_network_its_share(
    connection: Connection, url: str
) -> None:
    service = scarce(A_DAY(50), A_WEEK(1000), network_share=0.2)
    loud, others = "192.0.2.0/24", [f"198.51.{number}.0/24" for number in range(10)]
    # Eight threads, each asks 12 times for one network, then for others: 8 * (12 + 10) tries.
    counts = charge_with_four_processes(url, service, [loud] * 12 + others)
    assert counts["left"] == charged(connection) == 50
    assert counts["share"] >= 8 * 12 - 10
    assert counts["left"] + counts["share"] + counts["quota"] == 8 * 22
    told = spending(connection)
    assert told[loud] == 10
    assert sum(told.values()) == 50
    assert max(told[network] for network in others if network in told) <= 10


# --- the share of a source network ---------------------------------------------------------------------------------


def test_addresses_spend_for_their_network() -> None:
    assert quotas.network_of("192.0.2.77") == "192.0.2.0/24"
    assert quotas.network_of("2001:db8:1:2::3") == "2001:db8:1::/48"
    keys = ["192.0.2.77", "2001:db8:1:2::3"]
    assert networks_of(scarce(), keys, {}) == {}, "nothing is scarce"
    assert networks_of(scarce(A_DAY(5)), keys, {}) == {keys[0]: "192.0.2.0/24", keys[1]: "2001:db8:1::/48"}


def test_files_pay_for_the_address_that_brought_them() -> None:
    files = ["a" * 64, "b" * 64, "c" * 64]
    sources = {files[0]: "192.0.2.77", files[1]: "192.0.2.78"}
    told = networks_of(scarce(A_DAY(5), asks_about="file"), files, sources)
    assert told == dict.fromkeys(files[:2], "192.0.2.0/24")


@pytest.mark.parametrize(
    ("inside", "outside"),
    [
        (["192.0.2.1", "192.0.2.254", "192.0.2.3"], ["192.0.3.1", "192.0.1.255"]),
        (["2001:db8:7::1", "2001:db8:7:ffff::2", "2001:db8:7:1::"], ["2001:db8:8::1", "2001:db8:6:ffff::"]),
        (["2001:db8:0:1::", "2001:db8::1", "2001:db8:0:ffff::"], ["2001:db8:1::", "2001:db7:ffff::"]),
    ],
)
def test_a_network_cannot_spend_more_than_its_share_while_others_can(
    connection: Connection, inside: list[str], outside: list[str]
) -> None:
    service = scarce(A_DAY(10), network_share=0.2)
    set_clock(connection, MIDNIGHT + timedelta(hours=10))
    for address in inside[:2]:
        charge(connection, service, 1, {quotas.network_of(address): 1})
    with pytest.raises(ShareSpent, match=r"has had its share of today's quota, 2$") as caught:
        charge(connection, service, 1, {quotas.network_of(inside[2]): 1})
    assert caught.value.outcome == "quota"
    for address in outside:
        charge(connection, service, 1, {quotas.network_of(address): 1})
    # A batch is charged whole or not at all.
    with pytest.raises(ShareSpent):
        charge(connection, service, 2, {quotas.network_of(outside[0]): 1, quotas.network_of(inside[0]): 1})
    assert charged(connection) == 4
    assert sum(spending(connection).values()) == 4


def test_a_share_is_had_anew_the_next_day(connection: Connection) -> None:
    service, network = scarce(A_WEEK(25), network_share=0.2), {"192.0.2.0/24": 1}
    for day in range(5):
        set_clock(connection, MIDNIGHT + timedelta(days=day, hours=10))
        for _ in range(5):
            charge(connection, service, 1, network)
        with pytest.raises(NotNow) as caught:
            charge(connection, service, 1, network)
        assert isinstance(caught.value, ShareSpent) == (day < 4), "on the fifth day the week's quota is spent as well"


def test_a_share_is_never_less_than_one(connection: Connection) -> None:
    service = scarce(A_DAY(3), network_share=1e-9)
    assert quotas.share(connection, service) == 1
    charge(connection, service, 1, {"192.0.2.0/24": 1})
    with pytest.raises(ShareSpent):
        charge(connection, service, 1, {"192.0.2.0/24": 1})


def test_a_key_that_nobody_brought_is_paid_by_no_network(connection: Connection) -> None:
    service = scarce(A_DAY(5), network_share=0.2)
    keys = [f"{number}" * 64 for number in range(5)]
    assert quotas.budget(connection, service, keys, {}).keys == keys
    for _ in range(5):
        charge(connection, service, 1, {})
    assert spending(connection) == {}


def test_in_a_run_the_share_leaves_room_for_others(
    connection: Connection, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One loud campaign of a /24 comes first, and the quiet ones get their answers all the same."""
    monkeypatch.setenv("GREYNOISE_API_KEY", "key")
    loud, others = [f"45.9.8.{number}" for number in range(40)], addresses(30)
    with Sandbox() as sandbox:
        where = sandbox.environment()
        known = {name: where[variable] for name, variable in ADDRESS_VARIABLES.items() if variable in where}
        service = configured_services(Settings(home=tmp_path, addresses=known))["greynoise"]
        service = replace(service, requests=1000, workers=4)
        asking = Asking(partial(open_connection, url), EgressGate(), "run", 60.0, retry_wait=0.0)
        tally = ask(asking, service, dict.fromkeys([*loud, *others], datetime.now(UTC)))
        asked = [arrival.key for arrival in sandbox.ledger.arrivals("greynoise")]
    assert len(asked) == 25
    assert set(asked) == {*loud[:5], *others[:20]}
    rows = connection.execute("SELECT key, reason FROM open_questions WHERE outcome = 'quota'").fetchall()
    reasons: dict[str, str] = dict(rows)
    spent = "the quota of 25/week is used up, the next request may leave in 7.0 days"
    assert {reasons[key] for key in others[20:]} == {spent}
    assert reasons[loud[5]] == "its network 45.9.8.0/24 has had its share of today's quota, 5"
    assert tally.outcomes["quota"] == len(reasons) == 45


def test_what_the_run_itself_will_spend_counts_in_what_is_said_of_the_others(connection: Connection) -> None:
    service = scarce(A_WEEK(25))
    spent = "the quota of 25/week is used up, the next request may leave in 7.0 days"
    told = quotas.budget(connection, service, addresses(30), {})
    assert (len(told.keys), set(told.left.values())) == (25, {spent})
    charge(connection, service, 25)
    told = quotas.budget(connection, service, addresses(30), {})
    assert (told.keys, set(told.left.values())) == ([], {spent})


# --- credits -------------------------------------------------------------------------------------------------------


def with_credits(**changes: Any) -> Service:
    return scarce(by_balance=True, **changes)


def test_credits_are_taken_when_a_call_is_charged_and_corrected_by_answers(connection: Connection) -> None:
    service = with_credits()
    assert quotas.balance(connection, service) is None
    charge(connection, service)
    assert quotas.balance(connection, service) is None, "nobody has said yet"
    quotas.note_balance(connection, service, 10)
    charge(connection, service, 3)
    assert quotas.balance(connection, service) == 7
    quotas.note_balance(connection, service, 500)  # somebody paid
    assert quotas.keys_left(connection, service) == 500


def test_more_keys_than_credits_are_not_asked_about(connection: Connection) -> None:
    service = with_credits()
    charge(connection, service)
    quotas.note_balance(connection, service, 2)
    assert refusal(connection, service, 3) == "the account of spur has no credits left"
    charge(connection, service, 2)


def test_an_empty_account_is_left_alone_as_long_as_the_block_lasts_and_then_looked_at_again(
    connection: Connection,
) -> None:
    service = with_credits(blocked_for=3600.0)
    set_clock(connection, MIDNIGHT)
    charge(connection, service)
    quotas.note_balance(connection, service, 0)
    Limiter(connection, service, None).block(None, "has no queries left in the account (429)")
    assert refusal(connection, service) == "the account of spur has no credits left"
    told = quotas.budget(connection, service, ["1.2.3.4"], {})
    assert (told.keys, told.left) == ([], {"1.2.3.4": "the account of spur has no credits left"})
    set_clock(connection, MIDNIGHT + seconds(3599))
    refusal(connection, service)
    set_clock(connection, MIDNIGHT + seconds(3601))
    assert quotas.budget(connection, service, ["1.2.3.4"], {}).keys == ["1.2.3.4"]
    charge(connection, service)


def test_nobody_asks_once_the_last_credit_is_spent(connection: Connection) -> None:
    """The last answer says 0 in its header: there is no 429 to wait for."""
    service = with_credits()
    charge(connection, service)
    quotas.note_balance(connection, service, 0)
    assert refusal(connection, service) == "the account of spur has no credits left"


def test_a_network_has_its_share_of_the_credits_of_the_day(connection: Connection) -> None:
    service, network = with_credits(network_share=0.2), {"192.0.2.0/24": 1}
    charge(connection, service, 1, network)
    assert spending(connection) == {"192.0.2.0/24": 1}
    quotas.note_balance(connection, service, 19)
    # A fifth of the 20 that there were this morning.
    for _ in range(3):
        charge(connection, service, 1, network)
    with pytest.raises(ShareSpent, match="quota, 4"):
        charge(connection, service, 1, network)
    charge(connection, service, 1, {"198.51.100.0/24": 1})


def test_in_a_run_no_more_is_asked_than_there_are_credits(
    connection: Connection, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the calls that are under way when the account runs dry: the last answers cross them."""
    monkeypatch.setenv("SPUR_API_KEY", "key")
    with Sandbox() as sandbox:
        sandbox.limits({"spur": {"quota": 30}})
        where = sandbox.environment()
        known = {name: where[variable] for name, variable in ADDRESS_VARIABLES.items() if variable in where}
        service = configured_services(Settings(home=tmp_path, addresses=known))["spur"]
        service = replace(service, requests=200, network_share=1.0, workers=4)
        asking = Asking(partial(open_connection, url), EgressGate(), "run", 20.0, retry_wait=0.0)
        tally = ask(asking, service, dict.fromkeys(addresses(60), datetime.now(UTC)))
        again = ask(asking, service, dict.fromkeys(addresses(60), datetime.now(UTC)))
        arrivals = sandbox.ledger.arrivals("spur")
    assert sum(arrival.status == 200 for arrival in arrivals) == 30
    assert tally.requests <= 30 + 4
    assert tally.outcomes["found"] + tally.outcomes["not_found"] == 30
    assert again.requests <= 3, "answers that crossed said that there were some left: one less than there are workers"


def test_one_looks_whether_somebody_has_paid(connection: Connection) -> None:
    service = with_credits(blocked_for=3600.0)
    set_clock(connection, MIDNIGHT)
    charge(connection, service)
    quotas.note_balance(connection, service, 0)
    Limiter(connection, service, None).block(None)
    set_clock(connection, MIDNIGHT + seconds(3601))
    charge(connection, service)
    assert refusal(connection, service) == "the account of spur has no credits left"
    quotas.note_balance(connection, service, 1000)
    charge(connection, service)


def test_a_credit_is_charged_once(connection: Connection) -> None:
    """While its answer is under way still."""
    service = with_credits()
    charge(connection, service)
    quotas.note_balance(connection, service, 1)
    charge(connection, service)
    assert refusal(connection, service) == "the account of spur has no credits left"


def test_a_day_with_many_networks_does_not_slow_the_rate(connection: Connection) -> None:
    """Twenty a second are permitted, and 38,864 addresses come from about as many networks."""
    service = with_credits(network_share=0.2)
    charge(connection, service, 1, {"192.0.2.0/24": 1})
    quotas.note_balance(connection, service, 1_000_000)
    connection.execute(
        """
        INSERT INTO network_spending (limit_key, day, network, keys)
        SELECT 'spur', (lookup_now() AT TIME ZONE 'UTC')::date, set_masklen('5.0.0.0'::inet + 256 * n, 24)::cidr, 1
        FROM generate_series(1, 30000) AS n
        """
    )
    begun = time.process_time()
    for _ in range(10):
        charge(connection, service, 1, {"192.0.2.0/24": 1})
    assert time.process_time() - begun < 0.1


# --- the budget is what may be charged -----------------------------------------------------------------------------

NETWORKS = ["192.0.2.0/24", "198.51.100.0/24", "2001:db8::/48", "2a00:1450:4001::/48", "203.0.113.0/24"]


@st.composite
def ledgers(draw: st.DrawFn) -> dict[str, Any]:
    keys = draw(st.lists(st.sampled_from([*NETWORKS, None]), min_size=1, max_size=25))
    by_balance = draw(st.booleans())
    return {
        # Ages in hours, and never within some minutes of where a window ends.
        "calls": draw(st.lists(st.tuples(st.integers(0, 400), st.integers(1, 4)), max_size=12)),
        "spent": draw(st.dictionaries(st.sampled_from(NETWORKS), st.integers(0, 6))),
        "quotas": draw(
            st.lists(
                st.one_of(
                    st.integers(1, 30).map(A_DAY), st.integers(1, 60).map(A_MONTH), st.integers(1, 40).map(A_WEEK),
                    st.builds(Quota, st.integers(1, 30), st.sampled_from([3600.0, 86400.0])),
                ),
                min_size=0 if by_balance else 1, max_size=3,
            )
        ),
        "share": draw(st.floats(0.01, 1.0)),
        "credit": draw(st.integers(len(keys) + 1, 60)) if by_balance else None,
        # Of credits every key is some network's: else their sum would be another one after each.
        "networks": [network or NETWORKS[0] for network in keys] if by_balance else keys,
        "day": draw(st.integers(1, 31)),
    }  # fmt: skip


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(told=ledgers())
def test_the_budget_is_exactly_what_may_then_be_charged(connection: Connection, told: dict[str, Any]) -> None:
    forget(connection, *WRITTEN)
    service = scarce(*told["quotas"], network_share=told["share"], by_balance=told["credit"] is not None)
    now = datetime(2026, 3, told["day"], 12, 30, tzinfo=UTC)
    set_clock(connection, now)
    Limiter(connection, service, None)
    if told["credit"] is not None:
        quotas.note_balance(connection, service, told["credit"])
    for hours, key_count in told["calls"]:
        spent_before(connection, [now - timedelta(hours=hours, minutes=10)], key_count)
    spent = {network: keys for network, keys in told["spent"].items() if keys}
    if spent:
        quotas.spend(connection, service, spent)
    keys = [f"key-{number}" for number in range(len(told["networks"]))]
    networks = {key: network for key, network in zip(keys, told["networks"], strict=True) if network is not None}

    budget = quotas.budget(connection, service, keys, networks)
    assert sorted([*budget.keys, *budget.left]) == sorted(keys)
    assert budget.keys == [key for key in keys if key in budget.keys], "in their order"
    for key in budget.keys:
        charge(connection, service, 1, {networks[key]: 1} if key in networks else {})
    for key, reason in budget.left.items():
        with pytest.raises(NotNow) as caught:
            charge(connection, service, 1, {networks[key]: 1} if key in networks else {})
        assert caught.value.outcome == "quota"
        if isinstance(caught.value, ShareSpent):
            assert caught.value.reason == reason
    if budget.keys_left is not None:
        assert len(budget.keys) <= budget.keys_left
