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
    no IPv6 address that only carries an IPv4 address (mapped, 6to4, Teredo, NAT64) which is none of that itself."""
    parsed = ipaddress.ip_address(value)
    if isinstance(parsed, ipaddress.IPv6Address):
        carried = _carried(parsed)
        if carried is not None:
            return is_public(str(carried))
        if parsed.is_site_local or parsed.is_reserved:
            return False
    return parsed.is_global and not parsed.is_multicast


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def _carried(parsed: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if parsed.teredo is not None:
        return parsed.teredo[1]
    if parsed in _NAT64:
        return ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
    return parsed.ipv4_mapped or parsed.sixtofour
