"""URLhaus (abuse.ch): the malware download URLs that a host has served.

Lives here: what `/v1/host/` is asked and how its answer reads. Not here: its dumps, and its pace.
Sources: https://urlhaus-api.abuse.ch/ and an answer recorded in 2019.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cowrie_assets.upstreams import values
from cowrie_assets.upstreams.contract import Limited, Reading, Refused, Request, Response, Transient, Unsuitable

_CURE = "set URLHAUS_API_KEY to a key of https://auth.abuse.ch/"
# What a blacklist says of a host that it does not list; the last is a query of theirs that failed.
_NOT_LISTED = frozenset({"not listed", "unknown_return_code"})


@dataclass(frozen=True)
class URLhaus:
    """The key is mandatory since 2025-06-30 (header `Auth-Key`). Hosts are IPv4 addresses or names, never IPv6."""

    base_url: str
    key: str = field(repr=False)
    contact: str | None = field(default=None, repr=False)

    def request(self, address: str) -> Request:
        """
        Raises:
            Unsuitable: it is no IPv4 address.
        """
        return Request(
            f"{self.base_url.rstrip('/')}/v1/host/",
            method="POST",
            headers={"Auth-Key": self.key, "User-Agent": values.user_agent(self.contact)},
            form={"host": values.asked_address(address, ipv4_only=True)},
        )

    def read(self, address: str, response: Response) -> Reading:
        """`query_status` decides: logical errors come with status 200.

        Fields: `url_count`: int or None; `online_count`: int; `first_seen`, `last_added` (of its newest URL):
        timestamps in UTC or None; `tags`, `threats`, `blacklists` (those that list it): sorted distinct texts.

        Raises:
            Unsuitable: it calls the host invalid.
            Refused: 401, 403, and 402 unless the body says `ratelimited`.
            Limited, Transient: see `values`. Transient is a `query_status` that is not known or an answer that is not
                about the address, too.
        """
        values.check_status(response, answers=(200, 402), cure=_CURE)
        if response.status == 402 and values.json_object_if_any(response).get("query_status") != "ratelimited":
            raise Refused(f"refuses us (402): {_CURE}", 402)
        body = values.json_object(response)
        match body.get("query_status"):
            case "ratelimited":
                raise Limited("asks us to slow down", response.status, values.retry_after(response.headers))
            case "invalid_host":
                raise Unsuitable("calls it an invalid host", response.status)
            case "no_results":
                return Reading("not_found", _fields({}), body)
            case "ok" if values.is_about(body.get("host"), address):
                return Reading("found", _fields(body), body)
            case "ok":
                raise Transient("sent an answer that is not about the address", response.status)
        raise Transient("sent a query_status that is not known", response.status)


def _fields(body: dict[str, Any]) -> dict[str, Any]:
    urls = [values.table(url) for url in values.items(body.get("urls"))]
    added = [instant for url in urls if (instant := values.timestamp(url.get("date_added")))]
    listed = {name: values.text(value) for name, value in values.table(body.get("blacklists")).items()}
    return {
        "url_count": values.count(body.get("url_count")),
        "online_count": sum((values.text(url.get("url_status")) or "").lower() == "online" for url in urls),
        "first_seen": values.timestamp(body.get("firstseen")),
        "last_added": max(added, default=None),
        "tags": sorted({tag for url in urls for tag in values.names(url.get("tags"))}),
        "threats": sorted({threat for url in urls for threat in values.names(url.get("threat"))}),
        "blacklists": sorted(
            values.names([name for name, said in listed.items() if said and said.lower() not in _NOT_LISTED])
        ),
    }
