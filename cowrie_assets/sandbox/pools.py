"""Who speaks in the sandbox: named pools of addresses, each with the network and the place it belongs to.

Lives here: the pools, the addresses in them, and which of those the sandbox's geo files and lists know. Not here: what
the addresses do (`campaigns`), how geo files are written (`geofiles`).

The prefixes are invented so that no line of the sample accuses a real machine, yet all of them count as globally
routable: the IPv4 ones lie in blocks whose one owner runs no public hosts there, the IPv6 ones in space that is not
handed out. The big clouds have their real AS numbers; all other networks have invented names and AS numbers that are
set aside for documentation (RFC 5398).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Literal, NamedTuple

Network = IPv4Network | IPv6Network
Kind = Literal["cloud", "hosting", "tor", "vpn", "telecom", "private"]

# Odd, hence coprime to every size of a prefix: neighbours in a pool get scattered, and no address comes twice.
_STRIDE = 2_654_435_761


class Place(NamedTuple):
    """Where a pool is; `country` is its ISO 3166 code."""

    country: str
    country_name: str
    city: str
    latitude: float
    longitude: float


@dataclass(frozen=True)
class Pool:
    """Addresses of one AS at one place; a private pool has neither. `prefixes` are separated by spaces."""

    name: str
    kind: Kind
    prefixes: str
    asn: int | None = None
    as_name: str | None = None
    place: Place | None = None

    @cached_property
    def networks(self) -> tuple[Network, ...]:
        return tuple(ip_network(prefix) for prefix in self.prefixes.split())

    def address(self, index: int) -> str:
        """The address of a number, another one for every number up to the size of the prefix.

        Every fifth number takes turns through the prefixes, all others are in the first: that makes a tenth IPv6.
        """
        network = self.networks[0 if index % 5 else index // 5 % len(self.networks)]
        if isinstance(network, IPv4Network):
            return str(network[index * _STRIDE % network.num_addresses])
        subnet = index * _STRIDE % (network.num_addresses >> 64)
        return str(network[(subnet << 64) + 1 + index % 9973])

    def listed_networks(self) -> list[Network]:
        """The part of the pool that geo files and lists know: all but the last 32nd (3 %) of every prefix."""
        listed: list[Network] = []
        for network in self.networks:
            parts: Iterator[Network] = network.subnets(prefixlen_diff=5)
            listed += list(parts)[:-1]
        return listed


_AMSTERDAM = Place("NL", "The Netherlands", "Amsterdam", 52.3716, 4.8883)
_BERGEN = Place("NO", "Norway", "Bergen", 60.3925, 5.3233)
_BUCHAREST = Place("RO", "Romania", "Bucharest", 44.4323, 26.1063)
_CHENGDU = Place("CN", "China", "Chengdu", 30.6667, 104.0667)
_COUNCIL_BLUFFS = Place("US", "United States", "Council Bluffs", 41.2591, -95.8517)
_DUBLIN = Place("IE", "Ireland", "Dublin", 53.3498, -6.2603)
_FALKENSTEIN = Place("DE", "Germany", "Falkenstein", 50.4779, 12.3713)
_FRANKFURT = Place("DE", "Germany", "Frankfurt am Main", 50.1109, 8.6821)
_HANOI = Place("VN", "Vietnam", "Hanoi", 21.0292, 105.8526)
_HONG_KONG = Place("HK", "Hong Kong", "Hong Kong", 22.2578, 114.1657)
_IZMIR = Place("TR", "Türkiye", "İzmir", 38.4127, 27.1384)
_MUMBAI = Place("IN", "India", "Mumbai", 19.0748, 72.8856)
_ROUBAIX = Place("FR", "France", "Roubaix", 50.6942, 3.1746)
_SAO_PAULO = Place("BR", "Brazil", "São Paulo", -23.5335, -46.6359)
_SINGAPORE = Place("SG", "Singapore", "Singapore", 1.3673, 103.8014)
_STOCKHOLM = Place("SE", "Sweden", "Stockholm", 59.3294, 18.0687)
_TOKYO = Place("JP", "Japan", "Tokyo", 35.6895, 139.6917)
_ZURICH = Place("CH", "Switzerland", "Zurich", 47.3667, 8.5501)

POOLS: dict[str, Pool] = {
    pool.name: pool
    for pool in (
        Pool("aws", "cloud", "26.16.0.0/22 2a1f:a500::/44", 16509, "AMAZON-02", _DUBLIN),
        Pool("azure", "cloud", "26.40.8.0/22 2a1f:a600::/44", 8075, "MICROSOFT-CORP-MSN-AS-BLOCK", _AMSTERDAM),
        Pool("gcp", "cloud", "26.72.16.0/22 2a1f:a700::/44", 396982, "GOOGLE-CLOUD-PLATFORM", _COUNCIL_BLUFFS),
        Pool("digitalocean", "cloud", "28.12.64.0/22 2a1f:b100::/44", 14061, "DIGITALOCEAN-ASN", _FRANKFURT),
        Pool("linode", "cloud", "28.33.128.0/22 2a1f:b200::/44", 63949, "Akamai Connected Cloud", _SINGAPORE),
        Pool("ovh", "cloud", "28.51.4.0/22 2a1f:b300::/44", 16276, "OVH SAS", _ROUBAIX),
        Pool("hetzner", "cloud", "28.65.96.0/22 2a1f:b400::/44", 24940, "Hetzner Online GmbH", _FALKENSTEIN),
        Pool("alibaba", "cloud", "28.88.20.0/22 2a1f:b500::/44", 45102, "Alibaba US Technology Co., Ltd.", _HONG_KONG),
        Pool("vultr", "cloud", "28.108.40.0/22 2a1f:b600::/44", 20473, "AS-VULTR", _TOKYO),
        Pool("saltmarsh", "hosting", "29.7.16.0/20 2a1f:c100::/44", 64496, "Saltmarsh Datacenter SRL", _BUCHAREST),
        Pool("ebbtide", "hosting", "29.19.200.0/22", 64497, "Ebbtide Dedicated Servers BV", _AMSTERDAM),
        Pool("lantern", "tor", "29.31.77.0/24 2a1f:c300::/44", 64498, "Lantern Relay Association", _ZURICH),
        Pool("quiet-harbour", "vpn", "29.43.12.0/22", 64499, "Quiet Harbour VPN AB", _STOCKHOLM),
        Pool("fjordlink", "telecom", "22.14.0.0/21 2a1f:d100::/44", 64500, "Fjordlink Telecom AS", _BERGEN),
        Pool("red-delta", "telecom", "22.46.64.0/21 2a1f:d200::/44", 64501, "Red Delta Broadband JSC", _HANOI),
        Pool("pampas", "telecom", "22.79.128.0/21 2a1f:d300::/44", 64502, "Pampas Fibra S.A.", _SAO_PAULO),
        Pool("monsoon", "telecom", "22.103.32.0/21", 64503, "Monsoon Mobile Private Limited", _MUMBAI),
        Pool("jade-river", "telecom", "33.21.8.0/21 2a1f:d500::/44", 64504, "Jade River Cable Network", _CHENGDU),
        Pool("aegean", "telecom", "33.58.160.0/21", 64505, "Aegean İletişim A.Ş.", _IZMIR),
        Pool("internal", "private", "10.20.0.0/22 192.168.40.0/24 fd00:5a1e::/48"),
    )
}
