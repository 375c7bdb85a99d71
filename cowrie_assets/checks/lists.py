"""The range lists' age: whether the copy that serves is one that may still be called current.

Lives here: one check a list. Not here: what makes an edition good (`cowrie_assets.lookup.lists`). They warn: the last
good copy, or none, serves, and the assets behind it complete.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import dagster as dg

from cowrie_assets.assets.lists import LISTS
from cowrie_assets.checks.thresholds import Thresholds, length_in_words
from cowrie_assets.checks.verdict import Verdict, evaluation
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
_DEFAULT_AGE = Thresholds().lists_age


def judge_list(
    connection: Connection, name: str, now: datetime | None = None, oldest: timedelta = _DEFAULT_AGE
) -> Verdict:
    """Whether the list is current, in words; one that is switched off passes, and says so.

    A copy that is older than its time to live serves until the next run, which fetches a new one: it fails where that
    was tried in vain, or where nobody tried until it was `oldest`.
    """
    moment = now or datetime.now(UTC)
    row = connection.execute(_QUERY, {"list": name}).fetchone()
    fetched_at, valid_until, rows, outcome, reason = row or (None,) * 5
    have = f"{rows:,} entries of {fetched_at:%Y-%m-%d %H:%M} UTC serve" if fetched_at else "there is no copy"
    numbers: dict[str, int | float] = {"entries": rows or 0}
    if fetched_at is not None:
        numbers["age, hours"] = round((moment - fetched_at).total_seconds() / 3600, 1)
        if valid_until > moment:
            return Verdict(True, f"Current: {have}.", numbers)
    if outcome == "not_configured":
        return Verdict(True, f"Not fetched ({reason}); {have}.", numbers)
    if fetched_at is not None and outcome is None and moment - fetched_at <= oldest:
        return Verdict(True, f"{have}; the next run fetches the list anew.", numbers)
    why = reason or "it was not fetched since"
    return Verdict(
        False,
        f"Not current: {have}. {why}. The next run tries again; look at COWRIE_FEEDS_URL and the network.",
        numbers,
    )


def list_checks(thresholds: Thresholds) -> dg.AssetChecksDefinition:
    oldest = thresholds.lists_age
    threshold = f"not older than its time to live where fetching it failed, and never than {length_in_words(oldest)}"

    @dg.multi_asset_check(
        specs=[
            dg.AssetCheckSpec(
                "is_current",
                asset=name,
                description=(
                    "The newest good copy is no older than the list's time to live; where the next run only has to "
                    f"fetch it, no older than {length_in_words(oldest)}."
                ),
            )
            for name in LISTS
        ],
        can_subset=True,
    )
    def ages_of_lists(
        context: dg.AssetCheckExecutionContext, warehouse: Warehouse
    ) -> Iterable[dg.AssetCheckEvaluation]:
        with warehouse.connect() as connection:
            for key in sorted(context.selected_asset_check_keys):
                verdict = judge_list(connection, key.asset_key.to_user_string(), oldest=oldest)
                yield evaluation(key, verdict, threshold=threshold, sql=_QUERY)

    return ages_of_lists
