"""Published lists: real rows are kept in one form, and what is not the list is never taken for one."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cowrie_assets.upstreams.lists import (
    CLOUDS,
    ListError,
    ListSource,
    cloud_ranges,
    parse_cloud_ranges,
    parse_tor_exits,
    tor_exits,
)

HEADER = "cidr,ip_version,provider,service,region,last_updated\n"


def test_where_the_lists_are() -> None:
    assert tor_exits("http://127.0.0.1:8000/feeds/") == ListSource(
        "tor_exits", "http://127.0.0.1:8000/feeds/tor-exits.txt", 1
    )
    assert cloud_ranges("http://127.0.0.1:8000/feeds").url == "http://127.0.0.1:8000/feeds/clouds.csv"
    assert tor_exits(None).url == "https://check.torproject.org/torbulkexitlist"
    assert cloud_ranges(None).url == (
        "https://raw.githubusercontent.com/rezmoss/cloud-provider-ip-addresses/main/all_providers/all_providers.csv"
    )
    assert (tor_exits("").name, cloud_ranges("").name) == ("tor_exits", "cloud_ranges")
    assert tor_exits(None).minimum_rows >= 100
    assert cloud_ranges(None).minimum_rows >= 1000


# --- Tor --------------------------------------------------------------------------------------------------------------


def test_exits_are_addresses_in_one_form() -> None:
    body = b"\xef\xbb\xbf# exits\r\n185.220.101.42\r\n\r\n 2001:0DB8::1 # here\n185.220.101.42\n9.9.9.9"
    assert parse_tor_exits(body) == ["185.220.101.42", "2001:db8::1", "9.9.9.9"]


def test_a_few_unreadable_lines_are_left_out() -> None:
    assert parse_tor_exits(b"1.2.3.4\n5.6.7.8\n1.2.3\n\xff\xfe\n") == ["1.2.3.4", "5.6.7.8"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty"),
        (b"# nothing\n\n", "empty"),
        (b"<!DOCTYPE html>\n<html>1.2.3.4</html>", "HTML"),
        (b"\xef\xbb\xbf\n <html>", "HTML"),
        (b"404: Not Found", "1 of 1 lines"),
        (b"1.2.3.4\nx\ny\n", "2 of 3 lines"),
    ],
)
def test_what_is_no_list_of_exits(body: bytes, reason: str) -> None:
    with pytest.raises(ListError, match=reason):
        parse_tor_exits(body)


# --- clouds -----------------------------------------------------------------------------------------------------------


def test_ranges_of_the_short_form() -> None:
    body = b"# ours\r\n10.0.0.1/8,Corp\r\n\r\n3.5.140.0/22, aws\r\n3.5.140.0/22,aws\r\n2600:1f00::/24,aws\n5.6.7.8,corp"
    assert parse_cloud_ranges(body) == [
        ("10.0.0.0/8", "corp"),
        ("2600:1f00::/24", "aws"),
        ("3.5.140.0/22", "aws"),
        ("5.6.7.8/32", "corp"),
    ]
    assert parse_cloud_ranges(b"provider,cidr\ncorp,5.6.7.0/24\n") == [("5.6.7.0/24", "corp")]


def test_only_clouds_of_the_published_file() -> None:
    rows = [
        "3.5.140.0/22,IPv4,aws,S3,us-east-1,2026-07-02",
        '3.5.140.0/22,IPv4,aws,"EC2, and S3",us-east-1,2026-07-02',
        "185.220.101.42/32,IPv4,tor,tor-exit,,2026-07-02",
        "17.58.63.0/24,IPv4,applebot,applebot,,2026-07-02",
        "172.224.224.0/27,IPv4,apple_private_relay,,GB,2026-07-02",
        "2a01:4f8::/32,IPv6,Hetzner,bgp,,2026-07-02",
    ]
    assert parse_cloud_ranges((HEADER + "\r\n".join(rows)).encode()) == [
        ("2a01:4f8::/32", "hetzner"),
        ("3.5.140.0/22", "aws"),
    ]
    assert not CLOUDS & {"tor", "mullvad", "apple_private_relay", "github", "googlebot", "zoom", "pingdom"}


def test_googles_ranges_never_loaded_their_name_is_googlecloud() -> None:
    """Each provider has a positive."""
    rows = [f"5.{number}.0.0/16,IPv4,{name},,,\n" for number, name in enumerate(sorted(CLOUDS))]
    assert {provider for _, provider in parse_cloud_ranges((HEADER + "".join(rows)).encode())} == {
        *("alibaba", "aws", "azure", "cloudflare", "digitalocean", "fastly", "googlecloud", "hetzner", "ibmcloud"),
        *("linode", "oracle", "ovhcloud", "tencent", "vultr"),
    }


def test_one_in_a_hundred_rows_may_be_invalid() -> None:
    good = "".join(f"5.6.{number}.0/24,aws\n" for number in range(99))
    assert len(parse_cloud_ranges(f"{good}5.6.7.0/33,aws\n".encode())) == 99
    for row in (
        "5.6.7.0/33,aws\nx,aws\n",
        "5.6.7.0/24\n,aws\n",
        "5.6.7.0/24,\n5.6.8.0/24, \n",
        "0.0.0.0/0,aws\n::/0,aws\n",
    ):
        with pytest.raises(ListError, match="2 of 101 rows"):
            parse_cloud_ranges((good + row).encode())


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "empty"),
        ("\n# nothing\n", "empty"),
        (HEADER, "empty"),
        (HEADER + "185.220.101.42/32,IPv4,tor,,,\n", "empty"),
        ("<html>", "HTML"),
        ("404: Not Found", "1 of 1 rows"),
        ('{"message": "API rate limit exceeded"}', "rows"),
        ("cidr,service\n5.6.7.0/24,x\n", "no column of providers"),
        ('5.6.7.0/24,"' + "x" * 200_000, "no CSV"),
    ],
)
def test_what_is_no_list_of_ranges(body: str, reason: str) -> None:
    with pytest.raises(ListError, match=reason):
        parse_cloud_ranges(body.encode())


# --- anything ---------------------------------------------------------------------------------------------------------

TOKENS = [
    "1.2.3.4",
    "5.6.7.0/24",
    "::1/128",
    "aws",
    "cidr",
    "provider",
    ",",
    ",",
    "\n",
    "\r\n",
    "#",
    '"',
    "<",
    " ",
    "\0",
    "é",
]


@given(
    st.binary(max_size=60) | st.lists(st.sampled_from(TOKENS), max_size=30).map(lambda parts: "".join(parts).encode())
)
def test_any_body_is_a_list_or_none(body: bytes) -> None:
    try:
        exits = parse_tor_exits(body)
    except ListError:
        pass
    else:
        assert exits == sorted({str(ip_address(address)) for address in exits})
    try:
        ranges = parse_cloud_ranges(body)
    except ListError:
        pass
    else:
        assert ranges == sorted({(str(ip_network(cidr)), provider) for cidr, provider in ranges})
