"""GreyNoise Community: whether an address scans the whole internet, and whether it is a common business service.

Lives here: what `/v3/community` is asked and how its answer reads. Not here: its quota (25 lookups a week were
captured in 2026), and its paid interfaces.
Sources: https://docs.greynoise.io/, an answer published in 2021 and captures of August 2026.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from cowrie_assets.upstreams import values
from cowrie_assets.upstreams.contract import Limited, Reading, Request, Response, Transient, Unsuitable

_CURE = "set GREYNOISE_API_KEY to a valid key"
# The name of a plan or a rate ("25-W", "100-lookups/day"); no address fits, and no sentence.
_TERM = re.compile("[A-Za-z0-9_/-]{1,30}")


@dataclass(frozen=True)
class GreyNoise:
    """A malformed or expired key gets 401; one that it does not know has been seen to count as none."""

    base_url: str
    key: str = field(repr=False)
    contact: str | None = field(default=None, repr=False)

    def request(self, address: str) -> Request:
        """
        Raises:
            Unsuitable: it is no IPv4 address.
        """
        return Request(
            f"{self.base_url.rstrip('/')}/v3/community/{values.asked_address(address, ipv4_only=True)}",
            headers={"key": self.key, "User-Agent": values.user_agent(self.contact)},
        )

    def read(self, address: str, response: Response) -> Reading:
        """404 with a body about the address is the usual negative; any other 404 is a page that is not there.

        Fields: `noise` (scans the internet), `riot` (a common business service): bool; `classification` (benign,
        malicious, suspicious, unknown), `name` of the actor ("unknown" where it is), `link`: text or None;
        `last_seen`: YYYY-MM-DD or None.

        Raises:
            Unsuitable: it calls the address not routable (400).
            Limited: the lookups of the plan are used up.
            Refused, Transient: see `values`.
        """
        if response.status == 400:
            raise Unsuitable("does not take this address", 400)
        if response.status == 429:
            raise Limited(self._used_up(response), 429, values.retry_after(response.headers))
        values.check_status(response, answers=(200, 404), cure=_CURE)
        body = values.json_object(response)
        if not values.is_about(body.get("ip"), address):
            raise Transient("sent an answer that is not about the address", response.status)
        noise, riot = values.boolean(body.get("noise")), values.boolean(body.get("riot"))
        if response.status == 200 and noise is None and riot is None:
            raise Transient("sent an answer that says nothing", 200)
        if response.status == 404 and not _denies(body):
            raise Transient("sent an answer that contradicts its status", 404)
        fields = {
            "noise": bool(noise),
            "riot": bool(riot),
            "classification": values.text(body.get("classification")),
            "name": values.text(body.get("name")),
            "last_seen": values.day(body.get("last_seen")),
            "link": values.text(body.get("link")),
        }
        return Reading("found" if response.status == 200 else "not_found", fields, body)

    def _used_up(self, response: Response) -> str:
        """What a 429 says of the plan: `{"plan": …, "rate_limit": …}`, before 2026 with "rate-limit"."""
        body = values.json_object_if_any(response)
        said: list[Any] = [body.get("plan"), body.get("rate_limit") or body.get("rate-limit")]
        terms = [
            term
            for term in said
            if isinstance(term, str) and _TERM.fullmatch(term) and not (self.key and self.key in term)
        ]
        return f"has no lookups left (429{''.join(f', {term}' for term in terms)})"


def _denies(body: dict[str, Any]) -> bool:
    """Whether it says no: to the noise, or in words where it does not speak of that, and yes to nothing."""
    said_no = "not observed" in (values.text(body.get("message")) or "").lower()
    noise = values.boolean(body.get("noise")) is False or (body.get("noise") is None and said_no)
    riot = body.get("riot") is None or values.boolean(body["riot"]) is False
    return noise and riot and values.text(body.get("classification")) is None
