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
    """Whether an address is globally routable: not private, reserved, shared (RFC 6598), link-local or multicast."""
    parsed = ipaddress.ip_address(value)
    return parsed.is_global and not parsed.is_multicast
