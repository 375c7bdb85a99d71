"""Whatever is asked, each client asks about public addresses and digests alone (promise P4).

Proved here, for every service by itself and against emulated ones that keep a ledger: of any mixture of public
addresses with generated ones that are not, that are the operator's own or that are none, the public ones arrive and
nothing else; so with digests. Not here: the whole job (`orchestration/test_egress`), what is refused with which words
(`unit/test_gate`).
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cowrie_assets.lookup.asking import Asking, ask
from cowrie_assets.lookup.bulk import ask_batch, plan_batches
from cowrie_assets.lookup.configured import configured_services
from cowrie_assets.lookup.gate import EgressGate
from cowrie_assets.lookup.services import Service
from cowrie_assets.sandbox.server import Sandbox
from cowrie_assets.settings import ADDRESS_VARIABLES, Settings
from cowrie_assets.warehouse.database import open_connection
from cowrie_assets_tests.conftest import Server
from cowrie_assets_tests.integration.test_asking import fast_database
from cowrie_assets_tests.integration.test_session_snapshots import forget
from cowrie_assets_tests.pipelines import KEYS

WRITTEN = ("service_answers", "open_questions", "lookup_ledger", "lookup_counters", "service_limits")
PUBLIC = ["26.16.0.14", "28.12.64.77", "2a1f:a500::7", "2606:4700:4700::1111"]
OWN = ["26.16.1.0/24", "2a1f:b100::/44", "28.65.96.88"]
EMPTY_FILE = sha256(b"").hexdigest()

# As IANA's registries of special addresses have them, and what else is never a host of the internet.
SPECIAL_4 = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/29",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "26.16.1.0/24",
]
SPECIAL_6 = [
    "::/127",
    "::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/32",
    "2001:2::/48",
    "2001:db8::/32",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
    "2a1f:b100::/44",
    "4000::/3",
    "8000::/1",
]
inside = st.sampled_from(SPECIAL_4).flatmap(lambda text: st.ip_addresses(network=ip_network(text)))
CARRIERS: tuple[Callable[[int], str], ...] = (
    lambda number: f"::ffff:{IPv4Address(number)}",
    lambda number: str(IPv6Address(0xFFFF << 32 | number)),
    lambda number: str(IPv6Address(int(IPv6Address("64:ff9b::")) | number)),
    lambda number: str(IPv6Address(0x2002 << 112 | number << 80 | 1)),
    lambda number: str(IPv6Address(0x20010000 << 96 | 0x1A100001 << 64 | number ^ 0xFFFFFFFF)),
    lambda number: str(IPv6Address(number)),
)
carried = st.tuples(st.sampled_from(CARRIERS), inside).map(lambda pair: pair[0](int(pair[1])))
special = st.sampled_from(SPECIAL_6).flatmap(lambda text: st.ip_addresses(network=ip_network(text)))
addresses = st.one_of(inside.map(str), carried, special.map(str))
spelt = st.tuples(addresses, st.sampled_from(["", "%eth0", "%1", " ", "\t", "\n"])).map("".join)
# PostgreSQL takes no NUL and no lone surrogates; what reaches a client comes from there.
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
names = st.sampled_from(
    ["never-asked.example.org", "localhost", "8.8.8.8:53", "8.8.8.8/32", "[::1]", "http://8.8.8.8/"]
)
never = st.lists(st.one_of(spelt, spelt, names, words), min_size=1, max_size=40, unique=True)
digests = st.lists(
    st.one_of(
        words,
        st.text("0123456789abcdef", min_size=40, max_size=66).filter(lambda text: len(text) != 64),
        st.text("0123456789ABCDEF", min_size=64, max_size=64).filter(lambda text: not text.isdigit()),
        st.text("0123456789abcdef", min_size=5, max_size=5).filter(lambda text: not text.isdigit()),
        st.just(EMPTY_FILE),
    ),
    min_size=1,
    max_size=30,
    unique=True,
)
quickly = settings(
    max_examples=12, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running, pytest.MonkeyPatch.context() as patch:
        for name, text in {**KEYS, "VT_API_KEY": "virustotal-key", "GREYNOISE_API_KEY": "enterprise-x"}.items():
            patch.setenv(name, text)
        patch.setattr(ssl, "create_default_context", cache(ssl.create_default_context))
        yield running


@pytest.fixture(scope="module")
def url(embedded_server: Server) -> str:
    return fast_database(embedded_server)


def service(name: str, sandbox: Sandbox, tmp_path: Path) -> Service:
    variables = sandbox.environment()
    where = {name: variables[variable] for name, variable in ADDRESS_VARIABLES.items() if variable in variables}
    changes: Mapping[str, Mapping[str, str]] = {"greynoise": {"plan": "paid"}} if name == "greynoise, paid" else {}
    known = configured_services(Settings(home=tmp_path, addresses=where, services=changes))[name.partition(",")[0]]
    return replace(known, requests=1500, window=1.0, quotas=(), blocked_for=0.1)


def fresh(url: str, sandbox: Sandbox) -> Asking:
    sandbox.reset()
    with open_connection(url) as connection:
        forget(connection, *WRITTEN)
    return Asking(lambda: open_connection(url), EgressGate(OWN), "run", 60.0, retry_wait=0.0)


def arrived(sandbox: Sandbox) -> list[str]:
    return sorted(key for arrival in sandbox.ledger.arrivals() for key in arrival.keys)


@quickly
@given(refused=never)
@pytest.mark.parametrize("name", ["dshield", "urlhaus", "spur", "greynoise", "greynoise, paid"])
def test_only_public_addresses_arrive(
    name: str, refused: list[str], sandbox: Sandbox, url: str, tmp_path: Path
) -> None:
    """Private addresses sent to third parties."""
    asking, known = fresh(url, sandbox), service(name, sandbox, tmp_path)
    suitable = [address for address in PUBLIC if ":" not in address or 6 in known.families]
    tally = ask(asking, known, dict.fromkeys([*refused, *PUBLIC], datetime.now(UTC)))
    assert arrived(sandbox) == sorted(suitable)
    assert tally.outcomes["not_applicable"] == len(refused) + len(PUBLIC) - len(suitable)


@quickly
@given(refused=never)
def test_only_public_addresses_are_in_a_batch(refused: list[str], sandbox: Sandbox, url: str, tmp_path: Path) -> None:
    asking, known = fresh(url, sandbox), service("cymru", sandbox, tmp_path)
    everything = [*refused, *PUBLIC]
    batches, _ = plan_batches(asking, known, dict.fromkeys(everything, datetime.now(UTC)))
    assert batches == [PUBLIC]
    # A batch lies in the run's storage meanwhile; whatever became of it there, it goes through the gate again.
    assert ask_batch(asking, known, everything).answered == len(PUBLIC)
    assert arrived(sandbox) == sorted(PUBLIC)


@quickly
@given(refused=digests)
@pytest.mark.parametrize(("name", "good"), [("virustotal", sha256(b"file").hexdigest()), ("hibp", "5BAA6")])
def test_only_digests_arrive(
    name: str, good: str, refused: list[str], sandbox: Sandbox, url: str, tmp_path: Path
) -> None:
    asking, known = fresh(url, sandbox), service(name, sandbox, tmp_path)
    tally = ask(asking, known, dict.fromkeys([*refused, good], datetime.now(UTC)))
    assert arrived(sandbox) == [good]
    assert tally.outcomes["not_applicable"] == len(refused)
