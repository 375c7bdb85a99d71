"""The one gate through which every question leaves (promise P4): only public addresses that are not the operator's own,
and of files and passwords only (parts of) their digests.

Lives here: what is never asked about, and why. Not here: what an address is (`cowrie_assets.cowrie.addresses`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from cowrie_assets.cowrie.addresses import address as usual_form
from cowrie_assets.cowrie.addresses import carried, is_public
from cowrie_assets.settings import SettingsError
from cowrie_assets.warehouse.event_chunks import Connection

Network = IPv4Network | IPv6Network
NO_ADDRESS, PRIVATE, OWN = "no address", "private address", "own address"
NO_FAMILY = {version: f"the service knows no IPv{version}" for version in (4, 6)}
NO_DIGEST, EMPTY_FILE = "no digest", "the empty file"
REASONS = (NO_ADDRESS, PRIVATE, OWN, NO_DIGEST, EMPTY_FILE, *NO_FAMILY.values())
_DIGESTS = {"file": re.compile("[0-9a-f]{64}"), "password": re.compile("[0-9A-F]{5}")}
_OF_NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class EgressGate:
    """Knows the operator's own addresses; `refuses` says why an address is not asked about, or None."""

    def __init__(self, own_addresses: Iterable[str] = ()) -> None:
        self._own: set[str] = set()
        self._own_networks: list[Network] = []
        for text in own_addresses:
            address = usual_form(text)
            if address is not None:
                self._own.add(address)
            else:
                self._own_networks.append(_network(text))

    @classmethod
    def of(cls, connection: Connection, configured: Iterable[str]) -> EgressGate:
        """With the addresses that attackers connected to as well: a sensor's own, where they are public."""
        rows = connection.execute("SELECT DISTINCT destination_ip FROM sessions WHERE destination_ip IS NOT NULL")
        reached = [address for (text,) in rows if (address := usual_form(text)) is not None]
        return cls([*configured, *(address for address in reached if is_public(address))])

    def refuses(self, address: str, families: tuple[int, ...] = (4, 6)) -> str | None:
        usual = usual_form(address)
        if usual is None:
            return NO_ADDRESS
        if not is_public(usual):
            return PRIVATE
        if self.is_own(usual):
            return OWN
        version = ip_address(usual).version
        return None if version in families else NO_FAMILY[version]

    def refuses_digest(self, digest: str, of: str) -> str | None:
        """Why a digest of a file or a password is not asked about: it is none, or that of the empty file, which every
        scanner of the world has left somewhere."""
        if not _DIGESTS[of].fullmatch(digest):
            return NO_DIGEST
        return EMPTY_FILE if digest == _OF_NOTHING else None

    def is_own(self, address: str) -> bool:
        inner = carried(address)
        if address in self._own or (inner is not None and self.is_own(inner)):
            return True
        parsed = ip_address(address)
        return any(parsed in network for network in self._own_networks if network.version == parsed.version)


def _network(text: str) -> Network:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        network = None
    if network is None or "/" not in text:
        raise SettingsError(f"own_addresses: {text!r} is neither an address nor a network such as 192.0.2.0/24")
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is not None and network.prefixlen >= 96:
        return IPv4Network((mapped, network.prefixlen - 96))  # every address is compared as the IPv4 one it is
    return network
