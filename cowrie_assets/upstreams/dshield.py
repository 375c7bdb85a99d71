"""DShield, the SANS Internet Storm Center's count of attacks by source address.

Lives here: what `/api/ip` is asked and how its answer reads. Not here: its feeds, and its pace.
Sources: https://isc.sans.edu/api/ and an answer recorded on 2026-10-05.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cowrie_assets.upstreams import values
from cowrie_assets.upstreams.contract import Reading, Request, Response, Transient, Unsuitable

_CURE = "set DSHIELD_EMAIL to an address at which its operators can reach you"


@dataclass(frozen=True)
class DShield:
    """It takes no key, but wants an e-mail address in the User-Agent and blocks clients without one."""

    base_url: str
    contact: str = field(repr=False)

    def request(self, address: str) -> Request:
        """Without `?json` the answer is XML.

        Raises:
            Unsuitable: it is no address.
        """
        return Request(
            f"{self.base_url.rstrip('/')}/api/ip/{values.asked_address(address)}?json",
            headers={"User-Agent": values.user_agent(self.contact)},
        )

    def read(self, address: str, response: Response) -> Reading:
        """Found is what has a counter, be it 0; what nobody reported has nulls, and its AS all the same.

        Fields: `attacks` (targets attacked) and `reports` (their `count`), `max_risk`: int or None; `first_reported`,
        `last_reported`: YYYY-MM-DD or None; `asn`: int or None; `as_name`, `country`, `network` (CIDR): text or None;
        `threat_feeds`: sorted names of the feeds that list it.

        Raises:
            Unsuitable: the service calls it a bad address (with which status is not certain).
            Refused, Limited, Transient: see `values`. Transient is an answer about another address, too.
        """
        values.check_status(response, answers=(200, 400), cure=_CURE)
        body = values.json_object(response)
        if "bad ip" in (values.text(body.get("error")) or "").lower():
            raise Unsuitable("calls it a bad address", response.status)
        entry = values.table(body.get("ip"))
        if response.status != 200 or not values.is_about(_plain(entry.get("number")), address):
            raise Transient("sent an answer that is not about the address", response.status)

        counters = [_plain(entry.get(key)) for key in ("attacks", "count")]
        attacks, reports = map(values.count, counters)
        found = attacks is not None or reports is not None
        if not found and (counters != [None, None] or not entry.keys() & {"attacks", "count"}):
            raise Transient("sent counters that are no numbers", response.status)
        feeds = entry.get("threatfeeds")
        fields = {
            "attacks": attacks,
            "reports": reports,
            "first_reported": values.day(_plain(entry.get("mindate"))),
            "last_reported": values.day(_plain(entry.get("maxdate"))),
            "max_risk": values.count(_plain(entry.get("maxrisk"))),
            "asn": values.asn(_plain(entry.get("as"))),
            "as_name": values.text(_plain(entry.get("asname"))),
            "country": values.country(_plain(entry.get("ascountry"))),
            "network": values.cidr(_plain(entry.get("network"))),
            "threat_feeds": sorted(values.names(list(feeds) if isinstance(feeds, dict) else feeds)),
        }
        return Reading("found" if found else "not_found", fields, body)


def _plain(value: Any) -> Any:
    """Older answers were made from XML: `{"text": "5"}` for 5, and `{}` or "None" for null. Any other object is none of
    XML's, and no null."""
    if isinstance(value, dict) and value.keys() <= {"text"}:
        value = value.get("text")
    return None if value in ("", "None") else value
