"""Team Cymru's bulk whois: the announced prefix and the origin AS of thousands of addresses in one conversation.

Lives here: the question, the conversation, and how its answer reads. Not here: how many addresses a batch has, and what
happens to those that were not answered (they are asked again: an answer that ends early is no negative).
Sources: https://www.team-cymru.com/ip-asn-mapping and an answer recorded on 2017-07-30. One address a connection gets
its sender null-routed, and the country is that of the registry, not where an address is.
"""

from __future__ import annotations

import re
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from cowrie_assets.upstreams import values
from cowrie_assets.upstreams.contract import Reading, Transient

Row = list[str]

_COLUMNS = 7  # AS | IP | BGP Prefix | CC | Registry | Allocated | AS Name
_NO_MATCH = re.compile(r"Error: no ASN or IP match on line ([0-9]{1,9})\.?")
# Lines are counted from 1, with `begin` and `verbose`: an answer of 2018-10-02 names the first address as line 3.
_FIRST_LINE = 3
_NOTHING = frozenset({"", "na", "other"})


@dataclass(frozen=True)
class Route:
    """What one row says is announced; both are None where nothing is."""

    asn: int | None
    prefix: str | None


def question(addresses: Sequence[str]) -> bytes:
    """One line an address, in their order, on which the numbers of error lines rest.

    Raises:
        Unsuitable: one of them is no address.
    """
    return "\n".join(["begin", "verbose", *map(values.asked_address, addresses), "end", ""]).encode()


def parse(answer: bytes, addresses: Sequence[str]) -> dict[str, Reading]:
    """The addresses, as they were asked, that complete rows of the answer tell of. Those that are missing were not
    answered, and must be asked again.

    A line without its end may be cut anywhere (`AS1299` out of `AS12999`), so it is left out, as are the banner, column
    headers, rows of fewer than 7 columns, rows about other addresses and rows that contradict themselves. Several rows
    about an address are merged; one whose next row may have been the cut one is left out. An address that an error line
    tells of is not found.

    Fields: `asn`: int or None, the origin of the most specific prefix, the first where it has several; `asns`: all
    origins in their order; `prefix` (that of `asn`), `as_name`: text or None; `registry_country`: two capitals or
    None; `registry`: lower case (`arin`, `ripencc`, …) or None; `allocated`: YYYY-MM-DD or None. An address that is
    allocated and not announced (AS `NA`) is not found, and keeps the registry's facts.
    `payload` is `{"rows": [[7 columns without padding], …]}`.
    """
    usual = {address: values.address(address) for address in addresses}
    asked = set(usual.values()) - {None}
    rows: dict[str | None, list[Row]] = {}
    last: str | None = None
    *lines, torn = answer.split(b"\n")
    for line in lines:
        written = _decoded(line).strip()
        if missing := _NO_MATCH.fullmatch(written):
            position = int(missing.group(1)) - _FIRST_LINE
            if 0 <= position < len(addresses):
                rows.setdefault(usual[addresses[position]], [])
            continue
        # A name may hold a "|" of its own.
        row = [column.strip() for column in written.split("|", _COLUMNS - 1)]
        if len(row) == _COLUMNS and (about := values.address(row[1])) in asked and _makes_sense(row):
            rows.setdefault(about, []).append(row)
            last = about
    about_torn = torn.split(b"|")[1:-1][:1]
    if torn and (not about_torn or values.address(about_torn[0].decode("latin-1").strip()) == last):
        rows.pop(last, None)
    return {address: _reading(rows[usual[address]]) for address in addresses if usual[address] in rows}


def converse(
    host: str,
    port: int,
    addresses: Sequence[str],
    *,
    connect_timeout: float = 10.0,
    idle_timeout: float = 30.0,
    total_timeout: float | None = None,
) -> bytes:
    """Ask, and return all that arrives until the server closes, falls silent, or has said far too much (1 KiB an
    address and 64 KiB). What arrived before a timeout or a reset counts: saved rows are saved rows.

    Timeouts are in seconds. The total is 60 s and 0.05 s an address unless given: the service answers 10,000 addresses
    in less than a minute.

    Raises:
        Transient: there was no connection, or nothing arrived.
        Unsuitable: one of them is no address.
    """
    unsent = memoryview(question(addresses))
    most = 1024 * len(addresses) + 65536
    deadline = time.monotonic() + (60 + 0.05 * len(addresses) if total_timeout is None else total_timeout)
    try:
        connection = socket.create_connection((host, port), connect_timeout)
    except (OSError, ValueError, OverflowError) as error:
        why = "timed out" if isinstance(error, TimeoutError) else getattr(error, "strerror", None) or "no such host"
        raise Transient(f"does not take the connection ({why})") from None
    received = bytearray()
    with connection, selectors.DefaultSelector() as selector:
        connection.setblocking(False)
        # It may answer before it has heard all: who only sends until then can wait for a server that waits for him.
        selector.register(connection, selectors.EVENT_READ | selectors.EVENT_WRITE)
        while len(received) < most and (left := deadline - time.monotonic()) > 0:
            ready = selector.select(min(idle_timeout, left))
            if not ready:
                break
            [(_, events)] = ready
            if events & selectors.EVENT_WRITE:
                unsent = unsent[_send(connection, unsent) :]
                if not unsent:
                    selector.modify(connection, selectors.EVENT_READ)
            if events & selectors.EVENT_READ:
                try:
                    chunk = connection.recv(min(65536, most - len(received)))
                except OSError:
                    break
                if not chunk:
                    break
                received += chunk
    if not received:
        raise Transient("closed the connection or fell silent without an answer")
    return bytes(received)


def _send(connection: socket.socket, unsent: memoryview) -> int:
    """How much of it is done with: all of it where the server takes no more, whose answer can still be read."""
    try:
        return connection.send(unsent)
    except BlockingIOError:
        return 0
    except OSError:
        return len(unsent)


def _decoded(line: bytes) -> str:
    """Names of AS come from five registries; a few are in Latin-1, which takes any byte."""
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _origins(row: Row) -> list[int] | None:
    """The first column: `NA`, an AS, or several with spaces between them; None where it is none of these."""
    origins = [values.asn(number) for number in row[0].split() if row[0] != "NA"]
    known = [origin for origin in origins if origin is not None]
    return known if row[0] and len(known) == len(origins) else None


def _makes_sense(row: Row) -> bool:
    """A prefix that does not hold the address, or has no origin, was damaged on its way."""
    prefix, origins = values.cidr(row[2]), _origins(row)
    holds = prefix is not None and ip_address(values.address(row[1]) or "") in ip_network(prefix)
    return origins is not None and ((holds and bool(origins)) or row[2].lower() in _NOTHING)


def _route(row: Row) -> Route:
    return Route(next(iter(_origins(row) or []), None), values.cidr(row[2]))


def _specificity(row: Row) -> tuple[bool, int]:
    route = _route(row)
    return route.asn is not None, ip_network(route.prefix).prefixlen if route.prefix else -1


def _reading(rows: list[Row]) -> Reading:
    best = max(rows, key=_specificity, default=[""] * _COLUMNS)
    route = _route(best)
    registry, name = best[4].lower(), values.text(best[6])
    fields = {
        "asn": route.asn,
        "asns": list(dict.fromkeys(origin for row in rows for origin in _origins(row) or [])),
        "as_name": None if name == "NA" else name,
        "prefix": route.prefix,
        "registry_country": values.country(best[3]),
        "registry": None if registry in _NOTHING else registry,
        "allocated": values.day(best[5]),
    }
    return Reading("not_found" if route.asn is None else "found", fields, {"rows": rows})
