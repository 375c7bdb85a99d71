"""Team Cymru's bulk answers: every complete row is read, no other is, and what is missing is asked again."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cowrie_assets.upstreams.contract import Reading, Transient, Unsuitable
from cowrie_assets.upstreams.cymru import converse, parse, question
from cowrie_assets_tests.unit.test_upstream_http import closed_port, listening, reset
from cowrie_assets_tests.unit.test_upstream_values import NOTHING, Shape, assert_shape

SHAPE: Shape = {
    "asn": (int, NOTHING),
    "asns": (list, int),
    "as_name": (str, NOTHING),
    "prefix": (str, NOTHING),
    "registry_country": (str, NOTHING),
    "registry": (str, NOTHING),
    "allocated": (str, NOTHING),
}
NOTHING_KNOWN: dict[str, Any] = dict.fromkeys(SHAPE) | {"asns": []}
BANNER = "Bulk mode; whois.cymru.com [2026-09-15 08:22:47 +0000]"
HEADER = "AS      | IP               | BGP Prefix          | CC | Registry | Allocated  | AS Name"
GITHUB = "36459   | 140.82.121.3     | 140.82.121.0/24     | US | arin     | 2018-04-25 | GITHUB - GitHub, Inc., US"
PRIVATE = "NA      | 192.168.1.1      | NA                  |    | other    |            | NA"
UNROUTED = "NA      | 89.38.234.0      | NA                  | RO | ripencc  | 2005-11-29 | NA"
IPV6 = "13335   | 2606:4700:4700::1111         | 2606:4700:4700::/48 | US | arin | 2011-11-01 | CLOUDFLARENET, US"
SYSTEM = "15169   | US | arin     | 2000-03-30 | GOOGLE - Google LLC, US"
TWO_ORIGINS = "20738 20773 | 92.42.108.1  | 92.42.108.0/24      | GB | ripencc | 2008-01-10 | GD-EMEA-DC-LD5, GB"


def answer(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in (BANNER, *lines)).encode()


def only(address: str, *lines: str) -> Reading:
    [(asked, reading)] = parse(answer(*lines), [address]).items()
    assert asked == address
    assert_shape(reading, SHAPE)
    return reading


# --- the question -----------------------------------------------------------------------------------------------------


def test_the_question_has_a_line_an_address() -> None:
    assert question(["140.82.121.3", "2606:4700:4700:0:0:0:0:1111"]) == (
        b"begin\nverbose\n140.82.121.3\n2606:4700:4700::1111\nend\n"
    )
    with pytest.raises(Unsuitable):
        question(["140.82.121.3", "1.2.3.4\nAS15169"])


# --- the answer -------------------------------------------------------------------------------------------------------


def test_the_recorded_answer(shared_data: Path) -> None:
    body = (shared_data / "api_samples/cymru/bulk_verbose_2017-07-30.txt").read_bytes()
    google, bt = "GOOGLE - Google Inc., US", "BT-UK-AS BTnet UK Regional network, GB"
    iij, kr = "IIJ Internet Initiative Japan Inc., JP", "CHINANET-BACKBONE No.31,Jin-rong Street, CN"
    expected = {
        "74.125.225.229": (15169, "74.125.225.0/24", "US", "arin", "2007-03-13", google),
        "2001:4860:4860::8888": (15169, "2001:4860::/32", "US", "arin", "2005-03-14", google),
        "62.239.237.1": (2856, "62.239.0.0/16", "GB", "ripencc", "2001-01-02", bt),
        "2a00:2381:ffff::1": (2856, "2a00:2380::/25", "GB", "ripencc", "2007-08-29", bt),
        "210.107.73.73": (3786, "210.107.0.0/17", "KR", "apnic", None, "LGDACOM LG DACOM Corporation, KR"),
        "2001:240:10c:1::ca20:9d1d": (2497, "2001:240::/32", "JP", "apnic", "2000-03-08", iij),
        "200.57.141.161": (19373, "200.57.128.0/20", "MX", "lacnic", "2000-12-04", "Triara.com, S.A. de C.V., MX"),
        "2801:10:c000::": (None, None, "CO", "lacnic", "2013-10-29", None),
        "196.11.240.215": (12091, "196.11.240.0/24", "ZA", "afrinic", None, "MTNNS-1, ZA"),
        "2001:43f8:7b0::": (37578, "2001:43f8:7b0::/48", "KE", "afrinic", "2013-03-22", "Tespok, KE"),
        "133.1.2.5": (4730, "133.1.0.0/16", "JP", "apnic", None, "ODINS Osaka University, JP"),
        "115.1.2.3": (4134, "115.0.0.0/14", "KR", "apnic", "2008-07-01", kr),
    }
    readings = parse(body, list(expected))
    assert {
        address: tuple(
            reading.fields[name] for name in ("asn", "prefix", "registry_country", "registry", "allocated", "as_name")
        )
        for address, reading in readings.items()
    } == expected
    assert [address for address in expected if readings[address].outcome == "not_found"] == ["2801:10:c000::"]
    for reading in readings.values():
        assert_shape(reading, SHAPE)


def test_a_row() -> None:
    reading = only("140.82.121.3", HEADER, GITHUB)
    assert reading.outcome == "found"
    assert reading.fields == {
        "asn": 36459,
        "asns": [36459],
        "as_name": "GITHUB - GitHub, Inc., US",
        "prefix": "140.82.121.0/24",
        "registry_country": "US",
        "registry": "arin",
        "allocated": "2018-04-25",
    }
    row = ["36459", "140.82.121.3", "140.82.121.0/24", "US", "arin", "2018-04-25", "GITHUB - GitHub, Inc., US"]
    assert reading.payload == {"rows": [row]}


def test_na_asked_again_every_run() -> None:
    """It is an answer, and keeps what the registry knows."""
    assert (only("192.168.1.1", PRIVATE).outcome, only("192.168.1.1", PRIVATE).fields) == ("not_found", NOTHING_KNOWN)
    reading = only("89.38.234.0", UNROUTED)
    assert reading.outcome == "not_found"
    assert reading.fields == NOTHING_KNOWN | {
        "registry_country": "RO",
        "registry": "ripencc",
        "allocated": "2005-11-29",
    }


def test_multi_origin_rows_dropped() -> None:
    fields = only("92.42.108.1", TWO_ORIGINS).fields
    assert (fields["asn"], fields["asns"], fields["prefix"]) == (20738, [20738, 20773], "92.42.108.0/24")


def test_the_most_specific_of_several_rows_leads() -> None:
    rows = [
        "64500 | 5.6.7.8 | 5.6.0.0/16 | DE | ripencc | 2001-01-01 | COVERING, DE",
        "64501 64500 | 5.6.7.8 | 5.6.7.0/24 | NL | ripencc | 2002-02-02 | SPECIFIC, NL",
        "64502 | 5.6.7.8 | 5.6.7.0/24 | FR | ripencc | 2003-03-03 | OTHER, FR",
        "NA | 5.6.7.8 | NA | | | | NA",
    ]
    reading = only("5.6.7.8", *rows)
    assert reading.outcome == "found"
    assert reading.fields == {
        "asn": 64501,
        "asns": [64500, 64501, 64502],
        "as_name": "SPECIFIC, NL",
        "prefix": "5.6.7.0/24",
        "registry_country": "NL",
        "registry": "ripencc",
        "allocated": "2002-02-02",
    }
    assert len(reading.payload["rows"]) == 4


def test_octets_not_reversed_hidden_because_8_8_8_8_is_a_palindrome() -> None:
    assert question(["140.82.121.3"]).split(b"\n")[2] == b"140.82.121.3"
    assert parse(answer(GITHUB), ["3.121.82.140"]) == {}


def test_ipv6_is_matched_in_any_spelling() -> None:
    for address in ("2606:4700:4700::1111", "2606:4700:4700:0000:0:0:0:1111", "2606:4700:4700::0.0.17.17"):
        assert only(address, IPV6).fields["asn"] == 13335
    assert only("2001:DB8::1", IPV6, "64500 | 2001:0db8:0::1 | 2001:db8::/32 | | | | X").fields["asn"] == 64500
    # Asked in two spellings, answered in both.
    assert set(parse(answer(IPV6), ["2606:4700:4700::1111", "2606:4700:4700:0::1111"])) == {
        "2606:4700:4700::1111",
        "2606:4700:4700:0::1111",
    }


def test_rows_that_are_left_out() -> None:
    asked = ["140.82.121.3", "192.168.1.1"]
    assert parse(answer(HEADER, IPV6, SYSTEM, "", "|", "||||||", "Error: too many queries"), asked) == {}
    for row in (
        "36459 | 140.82.121.3 | 140.82.121.0/24 | US | arin | 2018-04-25",
        "364x9 | 140.82.121.3 | 140.82.121.0/24 | US | arin | 2018-04-25 | X",
        " | 140.82.121.3 | 140.82.121.0/24 | US | arin | 2018-04-25 | X",
        "0 | 140.82.121.3 | 140.82.121.0/24 | US | arin | 2018-04-25 | X",
        "36459 | 140.82.121.3 | 140.82.122.0/24 | US | arin | 2018-04-25 | X",
        "36459 | 140.82.121.3 | 140.82.121.0 | US | arin | 2018-04-25 | X",
        "36459 | 140.82.121.3 | 2606:4700::/32 | US | arin | 2018-04-25 | X",
    ):
        assert parse(answer(row), asked) == {}, row


def test_a_name_may_hold_bars_commas_and_any_byte() -> None:
    start = "64500 | 5.6.7.8 | 5.6.7.0/24 | FR | ripencc | 2003-03-03 | "
    assert only("5.6.7.8", start + "A | B, Inc. |").fields["as_name"] == "A | B, Inc. |"
    for encoding in ("utf-8", "latin-1"):
        readings = parse(f"{BANNER}\r\n{start}Société\r\n".encode(encoding), ["5.6.7.8"])
        assert readings["5.6.7.8"].fields["as_name"] == "Société"


def test_error_lines_are_mapped_by_position() -> None:
    asked = ["140.82.121.3", "192.168.1.1", "89.38.234.0"]
    readings = parse(answer(GITHUB, "Error: no ASN or IP match on line 4.", UNROUTED), asked)
    assert {address: reading.outcome for address, reading in readings.items()} == {
        "140.82.121.3": "found",
        "192.168.1.1": "not_found",
        "89.38.234.0": "not_found",
    }
    assert readings["192.168.1.1"].fields == NOTHING_KNOWN
    assert readings["192.168.1.1"].payload == {"rows": []}
    # Lines of the frame, and beyond the end.
    assert parse(answer(*(f"Error: no ASN or IP match on line {n}." for n in (0, 1, 2, 6, 10**8))), asked) == {}
    # A row says more than an error.
    assert parse(answer("Error: no ASN or IP match on line 3.", GITHUB), asked)["140.82.121.3"].outcome == "found"


def test_a_truncated_answer_passed_as_complete() -> None:
    """A row that is cut inside its name would be a row of 7 columns."""
    whole = answer(GITHUB, UNROUTED)
    asked = ["140.82.121.3", "89.38.234.0"]
    for length in range(len(whole)):
        readings = parse(whole[:length], asked)
        # A next row that is cut before its address may be about the same one.
        torn = whole[len(answer(GITHUB)) : length]
        assert ("140.82.121.3" in readings) == (length >= len(answer(GITHUB)) and (not torn or torn.count(b"|") > 1))
        assert "89.38.234.0" not in readings
    assert parse(whole.rstrip(b"\n") + b"x", asked).keys() == {"140.82.121.3"}


# --- random answers ---------------------------------------------------------------------------------------------------

LABELS = st.text(
    st.characters(codec="utf-8", exclude_characters="\n\r", exclude_categories=["Cc", "Zs", "Zl", "Zp"]),
    min_size=1,
    max_size=8,
)


@st.composite
def truths(draw: st.DrawFn) -> dict[str, list[tuple[list[int], str | None, str]]]:
    """Rows (origins, prefix, name) by address."""
    found: dict[str, list[tuple[list[int], str | None, str]]] = {}
    for address in draw(
        st.lists(st.ip_addresses().filter(lambda a: getattr(a, "ipv4_mapped", None) is None), unique=True, max_size=6)
    ):
        rows: list[tuple[list[int], str | None, str]] = []
        for _ in range(draw(st.integers(1, 3))):
            origins = draw(st.lists(st.integers(1, 2**32 - 1), max_size=3))
            length = draw(st.integers(1, address.max_prefixlen))
            prefix = str(ip_network(f"{address}/{length}", strict=False)) if origins else None
            rows.append((origins, prefix, draw(LABELS)))
        found[str(address)] = rows
    return found


def written(truth: dict[str, list[tuple[list[int], str | None, str]]]) -> bytes:
    rows = [
        f"{' '.join(map(str, origins)) or 'NA':<7} | {ip_address(address).exploded:<16} | {prefix or 'NA':<19} "
        f"| US | arin     | 2001-02-03 | {name}"
        for address, known in truth.items()
        for origins, prefix, name in known
    ]
    return answer(*rows)


@given(truths(), st.data())
def test_only_true_rows_are_read_wherever_an_answer_ends(truth: dict[str, Any], data: st.DataObject) -> None:
    whole = written(truth)
    end = data.draw(st.integers(0, len(whole)) | st.just(len(whole)))
    readings = parse(whole[:end], list(truth))
    if end == len(whole):
        assert set(readings) == set(truth)
    for address, reading in readings.items():
        assert_shape(reading, SHAPE)
        rows = truth[address][: len(reading.payload["rows"])]
        assert [row[6] for row in reading.payload["rows"]] == [name for _, _, name in rows]
        origins = [origin for known, _, _ in rows for origin in known]
        assert reading.fields["asns"] == list(dict.fromkeys(origins))
        assert reading.outcome == ("found" if origins else "not_found")
        routes = [(ip_network(prefix).prefixlen, known[0], prefix) for known, prefix, _ in rows if prefix]
        if routes:
            best = max(length for length, _, _ in routes)
            first = next(route for route in routes if route[0] == best)
            assert (reading.fields["asn"], reading.fields["prefix"]) == first[1:]


@given(truths(), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=8), st.binary(max_size=20))
def test_damaged_answers_are_read_or_left_out(truth: dict[str, Any], flips: list[tuple[int, int]], tail: bytes) -> None:
    damaged = bytearray(written(truth) + tail)
    for at, byte in flips:
        damaged[at % len(damaged)] = byte
    readings = parse(bytes(damaged), list(truth))
    assert set(readings) <= set(truth)
    for reading in readings.values():
        assert_shape(reading, SHAPE)


# --- the conversation -------------------------------------------------------------------------------------------------


def heard(connection: socket.socket) -> list[str]:
    """The addresses that a client asks about."""
    received = b""
    while not received.endswith(b"\nend\n"):
        chunk = connection.recv(65536)
        assert chunk
        received += chunk
    lines = received.decode().split("\n")
    assert lines[:2] == ["begin", "verbose"]
    return lines[2:-2]


def says(
    *parts: bytes, every: float = 0.0, then: Callable[[socket.socket], None] | None = None
) -> Callable[[socket.socket], None]:
    def talk(connection: socket.socket) -> None:
        heard(connection)
        for part in parts:
            connection.sendall(part)
            time.sleep(every)
        if then is not None:
            then(connection)

    return talk


def test_a_conversation() -> None:
    asked: list[list[str]] = []

    def talk(connection: socket.socket) -> None:
        asked.append(heard(connection))
        connection.sendall(answer(GITHUB))

    with listening(talk) as port:
        assert converse("127.0.0.1", port, ["140.82.121.3"]) == answer(GITHUB)
    assert asked == [["140.82.121.3"]]


def narrow(connection: socket.socket) -> socket.socket:
    for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        connection.setsockopt(socket.SOL_SOCKET, buffer, 32768)
    return connection


@pytest.fixture
def narrow_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question of many addresses does not fit into the buffers between the two sides."""
    connect = socket.create_connection
    monkeypatch.setattr(socket, "create_connection", lambda *args: narrow(connect(*args)))


MANY = [f"2001:db8:1111:2222:3333:4444:5555:{n:x}" for n in range(0x1000, 0x3000)]


def test_a_server_that_answers_while_it_is_asked(narrow_connections: None) -> None:
    """Neither side may wait for the other to listen."""

    def talk(connection: socket.socket) -> None:
        narrow(connection)
        lines, rest = [b""], b""
        while b"end" not in lines:
            *lines, rest = (rest + connection.recv(4096)).split(b"\n")
            rows = [f"64500 | {line.decode()} | 2001:db8::/32 | | | | {'X' * 60}\n" for line in lines if b":" in line]
            connection.sendall("".join(rows).encode())

    with listening(talk) as port:
        received = converse("127.0.0.1", port, MANY, idle_timeout=1)
    assert len(parse(received, MANY)) == len(MANY)


@pytest.mark.parametrize("then", [None, reset, lambda connection: time.sleep(0.8)], ids=["closed", "reset", "silent"])
def test_what_arrived_before_the_end_counts(then: Callable[[socket.socket], None] | None) -> None:
    sent = answer(GITHUB) + UNROUTED.encode()[:60]
    with listening(says(sent, every=0.1, then=then)) as port:
        received = converse("127.0.0.1", port, ["140.82.121.3", "89.38.234.0"], idle_timeout=0.3)
    assert received == sent
    assert set(parse(received, ["140.82.121.3", "89.38.234.0"])) == {"140.82.121.3"}


def test_a_drip_ends_and_counts() -> None:
    parts = [bytes([byte]) for byte in answer(GITHUB) * 20]
    with listening(says(*parts, every=0.002)) as port:
        begun = time.monotonic()
        received = converse("127.0.0.1", port, ["140.82.121.3"], total_timeout=0.7)
        assert 0.6 < time.monotonic() - begun < 1.5
    assert parse(received[: received.rindex(b"\n") + 1], ["140.82.121.3"])["140.82.121.3"].fields["asn"] == 36459


def test_an_endless_answer_ends() -> None:
    def talk(connection: socket.socket) -> None:
        heard(connection)
        while True:
            connection.sendall(b"x" * 65536)

    with listening(talk) as port:
        assert len(converse("127.0.0.1", port, ["140.82.121.3"])) == 1024 + 65536


@pytest.mark.parametrize("talk", [says(), says(then=reset), lambda c: time.sleep(0.5), lambda c: c.close()])
def test_no_word_is_no_answer(talk: Callable[[socket.socket], None]) -> None:
    with listening(talk) as port, pytest.raises(Transient):
        converse("127.0.0.1", port, ["140.82.121.3"], idle_timeout=0.2)


def test_no_connection_is_no_answer() -> None:
    port = closed_port()
    with pytest.raises(Transient, match="Connection refused") as failure:
        converse("127.0.0.1", port, ["140.82.121.3"])
    assert str(port) not in failure.value.reason
    assert "140.82" not in failure.value.reason
    for host, number in (("no-such-host.invalid", 43), ("x" * 300, 43), ("", 70_000), ("127.0.0.1", 70_000)):
        with pytest.raises(Transient):
            converse(host, number, ["140.82.121.3"], connect_timeout=1)


def test_a_server_that_takes_nothing_ends(narrow_connections: None) -> None:
    def talk(connection: socket.socket) -> None:
        narrow(connection)
        time.sleep(0.5)

    with listening(talk) as port:
        begun = time.monotonic()
        with pytest.raises(Transient):
            converse("127.0.0.1", port, MANY, idle_timeout=0.2)
        assert time.monotonic() - begun < 1.5


def test_a_server_that_hangs_up_while_it_is_asked(narrow_connections: None) -> None:
    def talk(connection: socket.socket) -> None:
        narrow(connection).recv(100)
        time.sleep(0.1)
        reset(connection)

    with listening(talk) as port, pytest.raises(Transient):
        converse("127.0.0.1", port, MANY, idle_timeout=1)
