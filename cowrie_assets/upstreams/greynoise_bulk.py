"""GreyNoise's paid interface: what `greynoise` tells, for up to 10,000 addresses in one request.

Lives here: what `POST /v3/ip` is asked and how its answer reads. Not here: the community's interface, and its quota.
Sources: https://docs.greynoise.io/docs/v2-v3-api-migration-matrix, the answers for one address of 2025 and the source
of its SDK 3.1.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from cowrie_assets.upstreams import values
from cowrie_assets.upstreams.contract import Reading, Request, Response, Transient, Unsuitable

MOST = 10_000  # addresses a request, as its SDK sends them

_CURE = "set GREYNOISE_API_KEY to a key of a plan with the v3 interface"


@dataclass(frozen=True)
class GreyNoiseBulk:
    """An address is looked for among those that scan the internet, and among common business services, which are
    licensed on their own."""

    base_url: str
    key: str = field(repr=False)
    contact: str | None = field(default=None, repr=False)

    def request_many(self, addresses: Sequence[str]) -> Request:
        """
        Raises:
            Unsuitable: one of them is no IPv4 address.
            ValueError: there are more than 10,000.
        """
        if len(addresses) > MOST:
            raise ValueError(f"{len(addresses)} addresses: it takes {MOST} at the most")
        asked = dict.fromkeys(values.asked_address(address, ipv4_only=True) for address in addresses)
        return Request(
            f"{self.base_url.rstrip('/')}/v3/ip?quick=false",
            method="POST",
            headers={
                "key": self.key,
                "User-Agent": values.user_agent(self.contact),
                "Content-Type": "application/json",
            },
            content=orjson.dumps({"ips": list(asked)}),
        )

    def read_many(self, addresses: Sequence[str], response: Response) -> dict[str, Reading | Unsuitable]:
        """The addresses, as they were asked, that the answer tells of. Those that are missing were not answered.

        A row of `data` says more than the lists of `request_metadata`, and found more than not found. A row that is
        broken says nothing, and neither do rows about other addresses; an address of a broken row is not looked for in
        the lists. Not found is an address that both blocks of its row deny, or that is in `ips_not_found`.

        Fields: `noise` (scans the internet), `riot` (a common business service): bool; `riot_licensed`: bool, False
        where the plan does not tell of business services (`found` is null), None where nothing is said of them;
        `classification` (benign, malicious, suspicious, unknown), `name` of the actor, else of the service, `link`
        (which this interface has not been seen to send): text or None; `last_seen`: YYYY-MM-DD or None; `tags`: sorted
        names.
        `payload` is the row, or `{"request_metadata": {"ips_not_found": [the address]}}`.

        Raises:
            Refused, Limited, Transient: see `values`; 400 is Transient.
        """
        if response.status == 400:
            raise Transient("took none of the batch (400)", 400)
        values.check_status(response, answers=(200,), cure=_CURE)
        body = values.json_object(response)
        if not isinstance(body.get("data"), list) and not isinstance(body.get("request_metadata"), dict):
            raise Transient("sent neither rows nor what it did not find", 200)
        usual = {address: values.address(address) for address in addresses}
        said: dict[str | None, Reading | Unsuitable | None] = {}
        for about, rows in _by_address(body.get("data")).items():
            said[about] = _heaviest([_reading(row) for row in rows])
        metadata = values.table(body.get("request_metadata"))
        for value in _listed(metadata.get("invalid_ips")):
            said.setdefault(values.address(value), Unsuitable("calls it a bad address", 200))
        for value in _listed(metadata.get("ips_not_found")):
            listed = {"request_metadata": {"ips_not_found": [value]}}
            said.setdefault(values.address(value), Reading("not_found", _fields({}), listed))
        told = {address: said.get(about) for address, about in usual.items() if about is not None}
        return {address: answer for address, answer in told.items() if answer is not None}


def _by_address(data: Any) -> dict[str | None, list[dict[str, Any]]]:
    rows: dict[str | None, list[dict[str, Any]]] = {}
    for row in map(values.table, _listed(data)):
        rows.setdefault(values.address(row.get("ip")), []).append(row)
    return rows


def _listed(value: Any) -> list[Any]:
    """A list; what stands alone is none: from these lists come negatives."""
    return value if isinstance(value, list) else []


def _heaviest(readings: list[Reading | None]) -> Reading | None:
    """Of what the rows about an address say: found, else nothing where one of them is broken."""
    found = [reading for reading in readings if reading is not None and reading.outcome == "found"]
    return found[0] if found else None if None in readings else readings[0]


def _reading(row: dict[str, Any]) -> Reading | None:
    """What a row says; None where a block that it should have is missing or says neither yes nor no."""
    fields = _fields(row)
    if values.boolean(values.table(row.get("internet_scanner_intelligence")).get("found")) is None:
        return None
    if fields["noise"] or fields["riot"]:
        return Reading("found", fields, row)
    return Reading("not_found", fields, row) if fields["riot_licensed"] is not None else None


def _fields(row: dict[str, Any]) -> dict[str, Any]:
    scanner = values.table(row.get("internet_scanner_intelligence"))
    business = values.table(row.get("business_service_intelligence"))
    riot = values.boolean(business.get("found"))
    licensed = None if riot is None else True
    return {
        "noise": bool(values.boolean(scanner.get("found"))),
        "riot": bool(riot),
        "riot_licensed": False if business.get("found", "") is None else licensed,
        "classification": values.text(scanner.get("classification")),
        "name": values.text(scanner.get("actor")) or values.text(business.get("name")),
        "last_seen": values.day(scanner.get("last_seen")),
        "tags": sorted(values.names([values.table(tag).get("name") for tag in values.items(scanner.get("tags"))])),
        "link": values.text(row.get("link")),
    }
