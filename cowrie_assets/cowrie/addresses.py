"""Addresses as logs write them.

Lives here: one form for each address, and whether it is globally routable. Not here: whose it is.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache


def address(value: object) -> str | None:
    """An address in its usual form, or None. An IPv4 address that IPv6 carries (`::ffff:…`) is the IPv4 address."""
    return _usual_form(value) if isinstance(value, str) else None


@lru_cache(maxsize=1 << 16)  # an address has 43 sessions on average
def _usual_form(value: str) -> str | None:
    try:
        parsed = ipaddress.ip_address(value.partition("%")[0].strip())
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(parsed)


def is_public(value: str) -> bool:
    """Whether an address is globally routable: not private, reserved, shared (RFC 6598), link-local or multicast, and
    no IPv6 address that only carries an IPv4 address (mapped, 6to4, NAT64) which is none of that itself."""
    parsed = ipaddress.ip_address(value)
    if any(parsed in network for network in _NEVER_PUBLIC[parsed.version]) and value not in _ANYCAST:
        return False
    inner = carried(value)
    if inner is not None:
        return is_public(inner)
    if isinstance(parsed, ipaddress.IPv6Address) and (parsed.is_site_local or parsed.is_reserved):
        return False
    return parsed.is_global and not parsed.is_multicast


def carried(value: str) -> str | None:
    """The IPv4 address inside an IPv6 one (mapped, 6to4, Teredo, NAT64)."""
    parsed = ipaddress.ip_address(value)
    if not isinstance(parsed, ipaddress.IPv6Address):
        return None
    if parsed.teredo is not None:
        return str(parsed.teredo[1])
    if parsed in _NAT64:
        return str(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF))
    inner = parsed.ipv4_mapped or parsed.sixtofour
    return str(inner) if inner is not None else None


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# What Python's own tables miss in some versions: protocol assignments (RFC 6890; two of them are anycast services),
# Teredo, and the documentation prefix of 2024 (RFC 9637).
_NEVER_PUBLIC: dict[int, list[ipaddress.IPv4Network | ipaddress.IPv6Network]] = {
    4: [ipaddress.IPv4Network("192.0.0.0/24")],
    6: [ipaddress.IPv6Network("2001::/32"), ipaddress.IPv6Network("3fff::/20")],
}
_ANYCAST = frozenset({"192.0.0.9", "192.0.0.10"})
