"""Published lists: Tor's exits, and the address ranges of clouds.

Lives here: where they are and how they read. Not here: fetching them, the last good copy and the comparison with it.
Sources: https://check.torproject.org/torbulkexitlist (an address a line) and the CSV that
https://github.com/rezmoss/cloud-provider-ip-addresses builds daily from what the providers publish (CC0). The second
has some 440,000 rows and tens of megabytes: fetch it with a limit of its own.
"""

from __future__ import annotations

import csv
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from ipaddress import ip_network
from itertools import chain

from cowrie_assets.upstreams import values

# The CSV has private relays, VPNs, Tor, crawlers, monitors and office services, too.
# Its folder, and so its name, of Google's cloud is `googlecloud`; there never was a `gcp`.
CLOUDS = frozenset(
    {
        *("alibaba", "aws", "azure", "cloudflare", "digitalocean", "fastly", "googlecloud", "hetzner", "ibmcloud"),
        *("linode", "oracle", "ovhcloud", "tencent", "vultr"),
    }
)
# Nobody holds more than a /8; 0.0.0.0/0 would make a cloud of the whole internet.
_SHORTEST_PREFIX = 8


class ListError(Exception):
    """What was fetched is not the list. The message says why."""


@dataclass(frozen=True)
class ListSource:
    """Where a list is, and how many rows it has at the very least."""

    name: str
    url: str
    minimum_rows: int


def tor_exits(feeds_url: str | None) -> ListSource:
    """1,323 addresses in 2026."""
    if feeds_url:
        return ListSource("tor_exits", f"{feeds_url.rstrip('/')}/tor-exits.txt", 1)
    return ListSource("tor_exits", "https://check.torproject.org/torbulkexitlist", 300)


def cloud_ranges(feeds_url: str | None) -> ListSource:
    """Some 140,000 ranges of `CLOUDS` in 2026, three quarters of them Azure's."""
    if feeds_url:
        return ListSource("cloud_ranges", f"{feeds_url.rstrip('/')}/clouds.csv", 1)
    url = "https://raw.githubusercontent.com/rezmoss/cloud-provider-ip-addresses/main/all_providers/all_providers.csv"
    return ListSource("cloud_ranges", url, 10_000)


def parse_tor_exits(body: bytes) -> list[str]:
    """The addresses in their usual form, distinct and sorted as texts.

    Raises:
        ListError: HTML, nothing, or more lines that are no address than addresses.
    """
    rows = [row for line in _text(body) if (row := line.partition("#")[0].strip())]
    addresses = [address for row in rows if (address := values.address(row))]
    if len(addresses) * 2 < len(rows):
        raise ListError(f"{len(rows) - len(addresses)} of {len(rows)} lines are no addresses")
    if not addresses:
        raise ListError("it is empty")
    return sorted(set(addresses))


def parse_cloud_ranges(body: bytes) -> list[tuple[str, str]]:
    """Ranges without host bits, each with its provider in lower case; distinct and sorted as texts.

    Read are `cidr,provider` and the CSV with a header and further columns, of which `CLOUDS` alone are kept.

    Raises:
        ListError: HTML, nothing, no column of providers, or more than 1 % of the rows are no ranges.
    """
    rows = _csv_rows(body)
    first = next(rows, [])
    header = [name.strip().lower() for name in first]
    cidr_at, provider_at, kept = 0, 1, None
    if "cidr" not in header:
        rows = chain([first], rows) if first else rows
    elif "provider" not in header:
        raise ListError("it has no column of providers")
    else:
        cidr_at, provider_at = header.index("cidr"), header.index("provider")
        kept = CLOUDS if len(header) > 2 else None

    ranges: list[tuple[str, str]] = []
    invalid = 0
    for row in rows:
        provider = row[provider_at].strip().lower() if len(row) > max(cidr_at, provider_at) else ""
        if kept is not None and provider and provider not in kept:
            continue
        cidr = _range(row[cidr_at]) if provider else None
        if cidr is None:
            invalid += 1
        else:
            ranges.append((cidr, provider))
    if invalid * 100 > len(ranges) + invalid:
        raise ListError(f"{invalid} of {len(ranges) + invalid} rows are no address ranges")
    if not ranges:
        raise ListError("it is empty")
    return sorted(set(ranges))


def _text(body: bytes) -> TextIOWrapper:
    if body.removeprefix(BOM_UTF8).lstrip().startswith(b"<"):
        raise ListError("it is a page in HTML")
    return TextIOWrapper(BytesIO(body), encoding="utf-8-sig", errors="replace")


def _csv_rows(body: bytes) -> Iterator[list[str]]:
    """One at a time: the published file would be a quarter of a gigabyte as lists."""
    try:
        yield from (row for row in csv.reader(_text(body)) if row and not row[0].lstrip().startswith("#"))
    except csv.Error as error:
        raise ListError(f"it is no CSV ({error})") from None


def _range(written: str) -> str | None:
    try:
        network = ip_network(written.strip(), strict=False)
    except ValueError:
        return None
    return str(network) if network.prefixlen >= _SHORTEST_PREFIX else None
