"""Spur's context of an address: tunnels that end there, proxies that lead there, and who sits behind it.

Lives here: what `/v2/context` is asked and how its answer reads. Not here: its feeds, and its credits.
Sources: https://docs.spur.us/context-api/endpoints, the schema of its context object and 20 published answers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cowrie_assets.upstreams import values
from cowrie_assets.upstreams.contract import Reading, Request, Response, Transient, Unsuitable

_CURE = "set SPUR_API_KEY to a token with access to the context API"
_USED_UP = "has no queries left in the account (429)"
# An address of which nothing is known gets these and no more.
_MINIMAL = frozenset({"as", "ip", "location", "organization"})
_CONTEXT = frozenset({"ai", "client", "infrastructure", "risks", "services", "tunnels"})


@dataclass(frozen=True)
class Spur:
    """Every query costs a credit; 429 says that none is left, not that we are too quick."""

    base_url: str
    token: str = field(repr=False)
    contact: str | None = field(default=None, repr=False)

    def request(self, address: str) -> Request:
        """
        Raises:
            Unsuitable: it is no address.
        """
        return Request(
            f"{self.base_url.rstrip('/')}/v2/context/{values.asked_address(address)}",
            headers={"Token": self.token, "User-Agent": values.user_agent(self.contact)},
        )

    def read(self, address: str, response: Response) -> Reading:
        """Found is what has any context; a minimal answer is a negative that names the AS all the same.

        Fields, each with where it comes from (every key is optional, so that nothing is known where one is missing):
        `tunnel_types` (`tunnels[].type`, upper case), `tunnel_operators` (`tunnels[].operator`), `proxies`
        (`client.proxies`), `behaviors` (`client.behaviors`), `risks`, `services`: sorted texts;
        `is_vpn`, `is_tor`: a tunnel of type VPN, TOR; `is_proxy`: a tunnel of type PROXY, a name in `client.proxies`
        or the risk CALLBACK_PROXY (most residential proxies have no tunnel);
        `is_anonymous`: `tunnels[].anonymous`, or any of the three;
        `infrastructure` in upper case (VPN is none of its values), `organization` (`as.organization`, else
        `organization`), `country` (`location.country`): text or None; `asn` (`as.number`): int or None;
        `client_types` (`client.types`, in their order): texts; `client_count`, `client_countries`: int or None;
        `balance`: int or None, the credits left (header `x-balance-remaining`).
        The behavior TOR_PROXY_USER tells of users behind the address, not of the address: it makes no `is_tor`.

        Raises:
            Unsuitable: the address is not public (400).
            Limited: no query is left.
            Refused, Transient: see `values`. Transient is an answer about another address or none, too.
        """
        if response.status == 400:
            raise Unsuitable("does not take this address", 400)
        values.check_status(response, answers=(200, 404), cure=_CURE, limited=_USED_UP)
        if response.status == 404:
            # Not documented. A page or a word comes from a server in between or from a wrong URL: no negative.
            told = values.json_object(response) if response.body.strip() else {}
            if any(_says_something(told.get(key)) for key in _CONTEXT):
                raise Transient("sent an answer that contradicts its status", 404)
            return Reading("not_found", _fields({}, response), told or None)
        body = values.json_object(response)
        if not body.keys() & (_MINIMAL | _CONTEXT):
            raise Transient("sent no context object", response.status)
        if body.get("ip") is not None and not values.is_about(body["ip"], address):
            raise Transient("sent an answer that is not about the address", response.status)
        found = any(_says_something(value) for key, value in body.items() if key not in _MINIMAL)
        if not found and body.get("ip") is None:
            raise Transient("sent a body that says nothing, and names no address", response.status)
        return Reading("found" if found else "not_found", _fields(body, response), body)


def _says_something(value: Any) -> bool:
    return any(map(values.items, value.values() if isinstance(value, dict) else [value]))


def _fields(body: dict[str, Any], response: Response) -> dict[str, Any]:
    client, system = values.table(body.get("client")), values.table(body.get("as"))
    tunnels = [values.table(tunnel) for tunnel in values.items(body.get("tunnels"))]
    types = {name.upper() for tunnel in tunnels for name in values.names(tunnel.get("type"))}
    proxies, risks = values.names(client.get("proxies")), values.names(body.get("risks"))
    is_vpn, is_tor = "VPN" in types, "TOR" in types
    is_proxy = "PROXY" in types or bool(proxies) or "CALLBACK_PROXY" in risks
    anonymous = any(values.boolean(tunnel.get("anonymous")) for tunnel in tunnels)
    infrastructure = values.text(body.get("infrastructure"))
    return {
        "is_vpn": is_vpn,
        "is_proxy": is_proxy,
        "is_tor": is_tor,
        "is_anonymous": anonymous or is_vpn or is_proxy or is_tor,
        "infrastructure": infrastructure.upper() if infrastructure else None,
        "client_types": values.names(client.get("types")),
        "client_count": values.count(client.get("count")),
        "client_countries": values.count(client.get("countries")),
        "behaviors": sorted(values.names(client.get("behaviors"))),
        "proxies": sorted(proxies),
        "risks": sorted(risks),
        "services": sorted(values.names(body.get("services"))),
        "tunnel_types": sorted(types),
        "tunnel_operators": sorted({name for tunnel in tunnels for name in values.names(tunnel.get("operator"))}),
        "asn": values.asn(system.get("number")),
        "organization": values.text(system.get("organization")) or values.text(body.get("organization")),
        "country": values.country(values.table(body.get("location")).get("country")),
        "balance": values.count(response.headers.get("x-balance-remaining")),
    }
