"""Scarce budgets: quotas by day, week and month, credits, and the share of them that one source network may spend.

Lives here: what is left, who may still spend of it, and the accounts by network. Not here: rates and slots (`limiter`),
which takes the accounts' row lock before it comes here, so that two processes never count the same last request.

What was charged is what the ledger says: a request that was charged and never left is taken out of it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from ipaddress import ip_address, ip_network

from cowrie_assets.lookup.services import Quota, Service
from cowrie_assets.warehouse.event_chunks import Connection

# Seconds: the server counts from the arrival, which is later than the slot, and by a clock of its own.
_PAD = 2.0
_NETWORK = {4: 24, 6: 48}
# All networks together: a day has as many as it has addresses, and each charge wants to know the sum.
_ALL = "0.0.0.0/0"


@dataclass(frozen=True)
class Budget:
    """`keys` can be paid for, in their order; `left` says why the others cannot. `keys_left` is what the scarcest of
    the quotas, or the account, still has; None: nothing is scarce."""

    keys: list[str]
    left: dict[str, str]
    keys_left: int | None = None


def network_of(address: str) -> str:
    """The network that an address spends for: its /24 or /48."""
    return str(ip_network((address, _NETWORK[ip_address(address).version]), strict=False))


def is_scarce(service: Service) -> bool:
    return bool(service.quotas) or service.by_balance


def budget(connection: Connection, service: Service, keys: Iterable[str], networks: Mapping[str, str]) -> Budget:
    """What of these can be asked about today; `networks` says for whom each key is asked."""
    wanted = list(keys)
    if not is_scarce(service):
        return Budget(wanted, {})
    room = keys_left(connection, service)
    allowance = share(connection, service)
    spent = spending(connection, service)
    nothing_left = "" if room is None else used_up(connection, service, room + 1) or no_credit(service)
    paid: list[str] = []
    left: dict[str, str] = {}
    for key in wanted:
        network = networks.get(key)
        if room is not None and len(paid) >= room:
            left[key] = nothing_left
        elif network is not None and allowance is not None and spent.get(network, 0) >= allowance:
            left[key] = share_spent(network, allowance)
        else:
            paid.append(key)
            if network is not None:
                spent[network] = spent.get(network, 0) + 1
    return Budget(paid, left, room)


def keys_left(connection: Connection, service: Service) -> int | None:
    """How many keys the scarcest quota, or the account, still pays for; None where that is not known to be limited."""
    rooms = [max(0, quota.keys - _used(connection, service, quota)) for quota in service.quotas]
    credit = balance(connection, service)
    return min([*rooms, *([] if credit is None else [credit])], default=None)


def used_up(connection: Connection, service: Service, key_count: int) -> str | None:
    """Why a quota does not pay for so many keys more, in words; None where all of them do."""
    for quota in service.quotas:
        if _used(connection, service, quota) + key_count > quota.keys:
            days = _seconds_until_free(connection, service, quota, key_count) / 86400
            return f"the quota of {quota} is used up, the next request may leave in {days:.1f} days"
    return None


def balance(connection: Connection, service: Service) -> int | None:
    """The credits left, as the service said last, less what was charged since; None where it never did. At an empty
    account one looks again, as often as a block after its 429 would last: somebody may have paid."""
    if not service.by_balance:
        return None
    row = connection.execute(
        """
        SELECT greatest(balance, 0) FROM service_limits
        WHERE limit_key = %s AND (balance > 0 OR balance_at > lookup_now() - make_interval(secs => %s))
        """,
        (service.limit_key, service.blocked_for),
    ).fetchone()
    return None if row is None else row[0]


def no_credit(service: Service) -> str:
    return f"the account of {service.name} has no credits left"


def note_balance(connection: Connection, service: Service, credit: int, call_id: int | None = None) -> None:
    """What an answer said is left. Calls that were charged after the one it answers are not in that yet."""
    connection.execute(
        """
        UPDATE service_limits AS l
        SET
            balance = %(credit)s - (
                SELECT coalesce(sum(c.key_count), 0) FROM lookup_ledger AS c
                WHERE c.limit_key = l.limit_key AND c.call_id > %(call_id)s
                    AND c.sent_at > (SELECT lookup_now()) - interval '5 minutes'
            ),
            balance_at = lookup_now()
        WHERE l.limit_key = %(limit_key)s
        """,
        {"credit": credit, "limit_key": service.limit_key, "call_id": call_id},
    )


def share(connection: Connection, service: Service) -> int | None:
    """How many keys a day may be asked about on account of one source network."""
    scarcest = min((quota.keys for quota in service.quotas), default=None)
    if scarcest is None:
        credit = balance(connection, service)
        scarcest = None if credit is None else credit + spending(connection, service, [_ALL]).get(_ALL, 0)
    return None if scarcest is None else max(1, int(scarcest * service.network_share))


def share_spent(network: str, allowance: int) -> str:
    return f"its network {network} has had its share of today's quota, {allowance}"


def spending(connection: Connection, service: Service, networks: Iterable[str] | None = None) -> dict[str, int]:
    """What was spent today, by network; of these, or of all."""
    rows = connection.execute(
        """
        SELECT network::text, keys FROM network_spending
        WHERE
            limit_key = %(limit_key)s AND day = (lookup_now() AT TIME ZONE 'UTC')::date
            AND (%(networks)s::cidr[] IS NULL AND network <> %(all)s OR network = ANY(%(networks)s))
        """,
        {"limit_key": service.limit_key, "networks": None if networks is None else list(networks), "all": _ALL},
    )
    return dict(rows.fetchall())


def spend(connection: Connection, service: Service, networks: Mapping[str, int]) -> date:
    """Charge networks for so many keys each; the day that pays."""
    charged = {**networks, _ALL: sum(networks.values())}
    row = connection.execute(
        """
        INSERT INTO network_spending AS known (limit_key, day, network, keys)
        SELECT %s, (lookup_now() AT TIME ZONE 'UTC')::date, network::cidr, keys
        FROM unnest(%s::text[], %s::int[]) AS spent (network, keys)
        ORDER BY network
        ON CONFLICT (limit_key, day, network) DO UPDATE SET keys = known.keys + excluded.keys
        RETURNING known.day
        """,
        (service.limit_key, list(charged), list(charged.values())),
    ).fetchone()
    if row is None:
        raise LookupError("nothing was charged")
    day: date = row[0]
    return day


def take_back(connection: Connection, service: Service, networks: Mapping[str, int], day: date) -> None:
    """What was charged on that day for a request that never left."""
    charged = {**networks, _ALL: sum(networks.values())}
    connection.execute(
        """
        UPDATE network_spending AS known
        SET keys = greatest(0, known.keys - spent.keys)
        FROM unnest(%s::text[], %s::int[]) AS spent (network, keys)
        WHERE known.limit_key = %s AND known.network = spent.network::cidr AND known.day = %s
        """,
        (list(charged), list(charged.values()), service.limit_key, day),
    )


# Where a quota's window begins. A calendar's day ends two seconds late and begins two early: what leaves around
# midnight counts on both sides, whatever the server's clock says.
_BEGINS_AT = """
    CASE
        WHEN %(calendar)s::text IS NULL THEN (SELECT lookup_now()) - make_interval(secs => %(seconds)s + %(pad)s)
        ELSE date_trunc(%(calendar)s, (SELECT lookup_now()) - make_interval(secs => %(pad)s), 'UTC')
            - make_interval(secs => %(pad)s)
    END
"""


def _values(service: Service, quota: Quota) -> dict[str, object]:
    return {
        "limit_key": service.limit_key,
        "service": service.name,
        "calendar": quota.calendar,
        "seconds": quota.seconds,
        "pad": _PAD,
        "quota": quota.keys,
    }


def _used(connection: Connection, service: Service, quota: Quota) -> int:
    row = connection.execute(
        f"""
        SELECT coalesce(sum(key_count), 0) FROM lookup_ledger
        WHERE limit_key = %(limit_key)s AND service = %(service)s AND sent_at >= {_BEGINS_AT}
        """.encode(),  # noqa: S608 - a constant of this file
        _values(service, quota),
    ).fetchone()
    return int(row[0]) if row else 0


def _seconds_until_free(connection: Connection, service: Service, quota: Quota, key_count: int) -> float:
    """Until a calendar's next day or month begins, or of the calls in a rolling window the one leaves it that has to
    before another may come."""
    row = connection.execute(
        f"""
        SELECT CASE
            WHEN %(calendar)s::text IS NOT NULL THEN
                date_trunc(%(calendar)s, lookup_now() - make_interval(secs => %(pad)s), 'UTC')
                + ('1 ' || %(calendar)s)::interval + make_interval(secs => %(pad)s) - lookup_now()
            ELSE (
                SELECT sent_at + make_interval(secs => %(seconds)s + %(pad)s) - lookup_now()
                FROM (
                    SELECT sent_at, sum(key_count) OVER (ORDER BY sent_at DESC, call_id DESC) AS with_newer
                    FROM lookup_ledger
                    WHERE limit_key = %(limit_key)s AND service = %(service)s AND sent_at >= {_BEGINS_AT}
                ) AS calls
                WHERE with_newer + %(key_count)s > %(quota)s
                ORDER BY with_newer
                LIMIT 1
            )
        END
        """.encode(),  # noqa: S608 - a constant of this file
        {**_values(service, quota), "key_count": key_count},
    ).fetchone()
    # In an empty window nothing has to leave: more is wanted than the quota permits in one.
    return float(row[0].total_seconds()) if row and row[0] is not None else quota.seconds + _PAD
