"""Nothing private leaves (promise P4; "Private addresses sent to third parties").

Proved here: which addresses the gate refuses and with which words, that none passes of which Python says that it is not
global, and that the operator's own addresses are known in every spelling. Not here: that all questions take the gate
(`integration/test_asking.py`).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cowrie_assets.lookup.gate import EgressGate
from cowrie_assets.settings import SettingsError

PRIVATE = "private address"

NEVER_LEAVE = {
    "private": (
        "10.0.0.0 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1 192.168.1.1 192.168.255.255 fc00::1 fd00:5a1e::1"
    ),
    "loopback": "127.0.0.1 127.255.255.254 ::1",
    "unspecified and this network": "0.0.0.0 0.1.2.3 ::",
    "link-local": "169.254.0.1 169.254.169.254 fe80::1 febf::ffff",
    "shared (RFC 6598)": "100.64.0.0 100.127.255.255",
    "documentation": "192.0.2.1 198.51.100.255 203.0.113.7 2001:db8::1 2001:db8:ffff:ffff::1",
    "benchmarks": "198.18.0.1 198.19.255.255 2001:2::1",
    "multicast": "224.0.0.1 224.0.1.1 239.255.255.250 232.1.2.3 ff02::1 ff0e::1 ff05::2",
    "reserved": "240.0.0.1 255.255.255.255 4000::1 5f00::1 8000::1 f000::1",
    "protocol assignments": "192.0.0.1 192.0.0.170 2001:1::1 2001:20::1",
    "site-local": "fec0::1 feff::1",
    "discard only": "100::1",
    "mapped, private inside": "::ffff:10.0.0.1 ::ffff:192.168.1.1 ::ffff:7f00:1 ::FFFF:169.254.1.1 ::ffff:100.64.0.1",
    "compatible (given up)": "::8.8.8.8 ::10.0.0.1",
    "6to4, private inside": "2002:a00:1:: 2002:c0a8:101::1 2002:7f00:1::1 2002:c000:201::1 2002:6440:1::1",
    "Teredo, private inside": (
        "2001:0:808:808:0:0:f5ff:fffe 2001:0:4136:e378:8000:63bf:3f57:fefe 2001::80ff:fffe"  # 10.0.0.1, 192.168.1.1, …
    ),
    "NAT64, private inside": "64:ff9b::a00:1 64:ff9b::192.168.1.1 64:ff9b::127.0.0.1 64:ff9b:1::1 64:ff9b:1::8.8.8.8",
    "with a zone": "fe80::1%eth0 fe80::1%1 fd00::1%lo 10.0.0.1%eth0 ::ffff:10.0.0.1%eth0",
    "with white space": "\t10.0.0.1\n",
}  # fmt: skip

NO_ADDRESSES = [
    "",
    " ",
    "-",
    "unknown",
    "localhost",
    "example.org",
    "8.8.8.8.example.org",
    "8.8.8.8:22",
    "[2606:4700:4700::1111]",
    "[2606:4700:4700::1111]:443",
    "8.8.8.8/32",
    "2606:4700::/32",
    "8.8.8",
    "8.8.8.8.8",
    "134744072",
    "0x08080808",
    "010.008.008.008",
    "256.1.1.1",
    "8.8.8.-8",
    "8. 8.8.8",
    "8.8.8.8 9.9.9.9",
    "8.8.8.8\x00",
    "8.8.8.8\nHost: evil.example",
    "http://8.8.8.8/",
    "../../etc/passwd",
    "8.8.8.8?key=1",
    "8.8.8.8#",
    "::ffff:8.8.8",
    "1:2:3:4:5:6:7:8:9",
    "12345::1",
    ":::",
    "٨.٨.٨.٨",  # digits that int() takes
    "８.８.８.８",
    "'; DROP TABLE sessions; --",
    "\ud800",
    "A" * 100_000,
]

MAY_LEAVE = [
    "8.8.8.8",
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.1",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.1",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2A00:1450:4001:0812:0000:0000:0000:200E",
    "::ffff:8.8.8.8",
    "2002:808:808::1",
    "64:ff9b::808:808",
]


@pytest.mark.parametrize("kind", NEVER_LEAVE)
def test_an_address_that_is_not_public_never_leaves(kind: str) -> None:
    """Private addresses sent to third parties."""
    gate = EgressGate()
    for address in NEVER_LEAVE[kind].split(" "):
        assert gate.refuses(address) == PRIVATE, address
        assert gate.refuses(address.upper()) == PRIVATE, address


@pytest.mark.parametrize("text", NO_ADDRESSES, ids=lambda text: ascii(text[:40]))
def test_what_is_no_address_never_leaves(text: str) -> None:
    assert EgressGate().refuses(text) == "no address"


@pytest.mark.parametrize("address", MAY_LEAVE)
def test_a_public_address_may_leave(address: str) -> None:
    assert EgressGate().refuses(address) is None


def test_the_whole_of_192_0_0_0_24_is_for_protocols() -> None:
    """All of 192.0.0.0/24 but two anycast addresses is not globally reachable (IANA, RFC 6890)."""
    gate = EgressGate()
    assert [number for number in range(256) if gate.refuses(f"192.0.0.{number}") is None] in ([], [9, 10])


def test_the_newer_documentation_prefix_never_leaves() -> None:
    assert EgressGate().refuses("3fff::1") == PRIVATE


def test_a_teredo_address_is_not_global_whatever_it_carries() -> None:
    carrying_public = ip_address("2001:0:4136:e378:8000:63bf:f7f7:f7f7")
    assert isinstance(carrying_public, IPv6Address)
    assert carrying_public.teredo is not None
    assert carrying_public.teredo[1] == IPv4Address("8.8.8.8")
    assert not carrying_public.is_global
    assert EgressGate().refuses(str(carrying_public)) == PRIVATE


_CARRIERS = [ip_network(prefix) for prefix in ("::ffff:0:0/96", "64:ff9b::/96", "2002::/16", "2001::/32", "::/96")]
ADDRESSES = st.one_of(st.ip_addresses(), *(st.ip_addresses(network=network) for network in _CARRIERS))


def carries_public(address: IPv4Address | IPv6Address) -> bool:
    """What Python holds for not global and the gate for public: Teredo (see the test above), in newer versions 6to4."""
    if not isinstance(address, IPv6Address):
        return False
    inner = address.teredo[1] if address.teredo else address.sixtofour
    return inner is not None and inner.is_global


@settings(max_examples=2000, deadline=None, database=None)
@given(address=ADDRESSES)
def test_nothing_that_is_not_global_passes(address: IPv4Address | IPv6Address) -> None:
    inner = (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
    if not inner.is_global and not carries_public(address):
        assert EgressGate().refuses(str(address)) == PRIVATE


@settings(max_examples=500, deadline=None, database=None)
@given(address=st.ip_addresses(v=4))
def test_an_address_that_ipv6_carries_fares_as_it_would_alone(address: IPv4Address) -> None:
    """By every carrier, so that no private address is smuggled out inside a public one."""
    gate, number = EgressGate(), int(address)
    alone = gate.refuses(str(address))
    carried = {
        "mapped": f"::ffff:{address}",
        "NAT64": str(IPv6Address(int(IPv6Address("64:ff9b::")) | number)),
        "6to4": str(IPv6Address(0x2002 << 112 | number << 80 | 1)),
        "Teredo": str(IPv6Address(0x20010000 << 96 | 0x08080808 << 64 | number ^ 0xFFFFFFFF)),
    }
    if alone is not None:
        assert {name: gate.refuses(text) for name, text in carried.items()} == dict.fromkeys(carried, PRIVATE)
    assert gate.refuses(carried["mapped"]) == alone


@settings(max_examples=500, deadline=None, database=None)
@given(text=st.text(max_size=60))
def test_nothing_but_an_address_passes(text: str) -> None:
    if EgressGate().refuses(text) is None:
        assert ip_address(text.partition("%")[0].strip()).is_global


# --- the operator's own --------------------------------------------------------------------------------------------

OWN = "own address"


@pytest.mark.parametrize(
    ("configured", "asked"),
    [
        ("9.9.9.9", "9.9.9.9"),
        (" 9.9.9.9 ", "9.9.9.9"),
        ("9.9.9.9", "::ffff:9.9.9.9"),
        ("::ffff:9.9.9.9", "9.9.9.9"),
        ("2620:FE:0:0::9", "2620:fe::9"),
        ("2620:fe::9", "2620:00FE:0000::0009"),
        ("9.9.9.9/32", "9.9.9.9"),
        ("9.9.9.0/24", "9.9.9.255"),
        ("9.9.9.77/24", "9.9.9.1"),  # host bits
        ("2620:fe::/48", "2620:fe:0:ffff::1"),
        ("0.0.0.0/0", "8.8.8.8"),
        ("::/0", "2620:fe::9"),
        ("9.9.9.0/24", "::ffff:9.9.9.9"),
    ],
)
def test_an_own_address_never_leaves_however_it_is_spelt(configured: str, asked: str) -> None:
    assert EgressGate(["1.0.0.1", configured, "5.5.5.0/30"]).refuses(asked) == OWN


def test_a_neighbour_of_an_own_address_may_leave() -> None:
    gate = EgressGate(["9.9.9.9", "5.5.5.0/30", "2620:fe::/48"])
    assert [gate.refuses(text) for text in ("9.9.9.8", "9.9.9.10", "5.5.5.4", "5.5.4.255", "2620:fe:1::")] == [None] * 5


def test_a_private_own_address_is_private_first() -> None:
    assert EgressGate(["10.0.0.0/8"]).refuses("10.1.2.3") == PRIVATE


def test_own_addresses_may_come_from_any_iterable() -> None:
    gate = EgressGate(text for text in ("9.9.9.9", "5.5.5.0/30"))
    assert [gate.refuses(text) for text in ("9.9.9.9", "5.5.5.1")] == [OWN, OWN]


def test_an_own_network_in_mapped_form_is_known() -> None:
    assert EgressGate(["::ffff:9.9.9.0/120"]).refuses("9.9.9.9") == OWN


@pytest.mark.parametrize("asked", ["2002:909:909::1", "64:ff9b::909:909", "2001:0:808:808:0:0:f6f6:f6f6"])
def test_an_own_address_inside_another_never_leaves(asked: str) -> None:
    assert EgressGate(["9.9.9.9"]).refuses(asked) is not None


@pytest.mark.parametrize("text", ["", "sensor.example.org", "9.9.9", "9.9.9.9/33", "9.9.9.9/x", "/", "2620:fe::/129"])
def test_an_own_address_that_is_none_is_named(text: str) -> None:
    """Else its owner would believe that it is protected."""
    with pytest.raises(SettingsError, match="own_addresses") as caught:
        EgressGate(["9.9.9.9", text])
    assert repr(text) in str(caught.value)
    assert "192.0.2.0/24" in str(caught.value)  # an example of what is right


# --- families ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "families", "refusal"),
    [
        ("8.8.8.8", (4,), None),
        ("8.8.8.8", (6,), "the service knows no IPv4"),
        ("2620:fe::9", (4,), "the service knows no IPv6"),
        ("2620:fe::9", (6,), None),
        ("2620:fe::9", (4, 6), None),
        ("::ffff:8.8.8.8", (4,), None),  # an IPv4 address, and asked as one
        ("fd00::1", (4,), PRIVATE),
    ],
)
def test_a_family_that_the_service_does_not_know_is_not_asked_about(
    address: str, families: tuple[int, ...], refusal: str | None
) -> None:
    assert EgressGate().refuses(address, families) == refusal
