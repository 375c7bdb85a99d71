"""The range lists' age: whether the copy that serves is one that may still be called current.

Lives here: one check a list. Not here: what makes an edition good (`cowrie_assets.lookup.lists`). They warn: the last
good copy, or none, serves, and the assets behind it complete.
"""

from datetime import UTC, datetime

import dagster as dg

from cowrie_assets.assets.lists import LISTS
from cowrie_assets.resources import Warehouse
from cowrie_assets.warehouse.event_chunks import Connection

_QUERY = """
    SELECT e.fetched_at, e.valid_until, e.row_count, q.outcome, q.reason
    FROM (SELECT 1) AS one
    LEFT JOIN LATERAL (
        SELECT * FROM list_editions WHERE list = %(list)s ORDER BY fetched_at DESC LIMIT 1
    ) AS e ON TRUE
    LEFT JOIN open_questions AS q ON q.service = %(list)s AND q.key = 'list'
"""


def judge_list(connection: Connection, name: str, now: datetime | None = None) -> tuple[bool, str]:
    """Whether the list is current, in words; one that is switched off passes, and says so."""
    row = connection.execute(_QUERY, {"list": name}).fetchone()
    fetched_at, valid_until, rows, outcome, reason = row or (None,) * 5
    have = f"{rows:,} entries of {fetched_at:%Y-%m-%d %H:%M} UTC serve" if fetched_at else "there is no copy"
    if fetched_at is not None and valid_until > (now or datetime.now(UTC)):
        return True, f"Current: {have}."
    if outcome == "not_configured":
        return True, f"Not fetched ({reason}); {have}."
    why = reason or "it was not fetched since"
    return False, f"Not current: {have}. {why}. The next run tries again; look at COWRIE_FEEDS_URL and the network."


def list_checks() -> list[dg.AssetChecksDefinition]:
    return [_check(name) for name in LISTS]


def _check(name: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=name, name="is_current", description="The newest good copy is no older than the list's time to live."
    )
    def is_current(warehouse: Warehouse) -> dg.AssetCheckResult:
        with warehouse.connect() as connection:
            passed, words = judge_list(connection, name)
        return dg.AssetCheckResult(passed=passed, severity=dg.AssetCheckSeverity.WARN, description=words)

    return is_current
