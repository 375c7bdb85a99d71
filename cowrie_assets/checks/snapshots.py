"""How much the snapshots of a day know: the non-null rates, per day.

Lives here: the rates. Not here: the shares that are wanted (`thresholds`), why something is unknown (each snapshot says
that itself).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import dagster as dg

from cowrie_assets.checks.thresholds import Thresholds
from cowrie_assets.checks.verdict import Verdict, days_of, evaluations_of_days
from cowrie_assets.resources import Warehouse
from cowrie_assets.warehouse.event_chunks import Connection


@dataclass(frozen=True)
class Rate:
    """One rate: `known` over `eligible` sessions, conditions in SQL. `cure` says what to do where too few are known.
    The share that is wanted is the threshold of the same name."""

    name: str
    eligible: str
    known: str
    severity: dg.AssetCheckSeverity
    what: str
    cure: str


_PUBLIC = "s.source_ip IS NOT NULL AND i.is_public IS NOT FALSE"
RATES = (
    Rate(
        "source_address_known",
        eligible="true",
        known="s.source_ip IS NOT NULL",
        severity=dg.AssetCheckSeverity.ERROR,
        what="sessions have a source address",
        cure="Look at `cowrie-assets session <id>` of one that has none: its connect event is missing or unreadable.",
    ),
    Rate(
        "asn_known",
        eligible=_PUBLIC,
        known="p.snapshot_asn IS NOT NULL",
        severity=dg.AssetCheckSeverity.WARN,
        what="sessions with a public source have an ASN",
        cure=(
            "The snapshots' asn_reason says why. Set COWRIE_GEOIP_ASN to a current ASN file, or let Team Cymru be "
            "asked, then materialize ip_inventory and this day again; an address that nobody announces has none."
        ),
    ),
    Rate(
        "country_known",
        eligible=_PUBLIC,
        known="p.snapshot_country IS NOT NULL",
        severity=dg.AssetCheckSeverity.WARN,
        what="sessions with a public source have a country",
        cure="Set COWRIE_GEOIP_CITY to a current city file, then materialize ip_inventory and this day again.",
    ),
)
# A session without a snapshot counts as one that knows nothing, not as one that is not there.
_COUNTS = ",\n        ".join(
    f"count(*) FILTER (WHERE {rate.eligible}), count(*) FILTER (WHERE {rate.eligible} AND {rate.known})"
    for rate in RATES
)
# All rates of all days of a run at once.
_QUERY = f"""
    SELECT
        s.day,
        {_COUNTS}
    FROM sessions AS s
    LEFT JOIN session_snapshots AS p
        ON s.day = p.day AND s.sensor = p.sensor AND s.session_id = p.session_id AND p.is_current
    LEFT JOIN ip_inventory AS i ON s.source_ip = i.ip_address
    WHERE s.day = ANY(%s)
    GROUP BY s.day
"""  # noqa: S608 - constants of this file


def count_known(connection: Connection, days: Sequence[date]) -> dict[tuple[str, date], tuple[int, int]]:
    """Eligible and known sessions by rate and day; days without sessions are not in it."""
    counted = {}
    for day, *counts in connection.execute(_QUERY.encode(), (list(days),)):
        for number, rate in enumerate(RATES):
            counted[rate.name, day] = (counts[2 * number], counts[2 * number + 1])
    return counted


def judge_rate(rate: Rate, minimum: float, day: date, eligible: int, known: int) -> Verdict:
    """Whether a day reaches the share that is wanted, in words."""
    numbers = {"rate": known / eligible if eligible else 1.0, "known sessions": known, "eligible sessions": eligible}
    if not eligible:
        return Verdict(True, f"{day}: no session to judge.", numbers)
    share = known / eligible
    words = f"{day}: {known:,} of {eligible:,} {rate.what} ({share:.1%}, at least {minimum:.0%} wanted)."
    if share >= minimum:
        return Verdict(True, words, numbers)
    return Verdict(False, f"{words} {rate.cure}", numbers)


def snapshot_checks(daily: dg.DailyPartitionsDefinition, thresholds: Thresholds) -> dg.AssetChecksDefinition:
    wanted: dict[str, float] = {rate.name: getattr(thresholds, rate.name) for rate in RATES}

    @dg.multi_asset_check(
        specs=[
            dg.AssetCheckSpec(
                rate.name,
                asset="session_snapshots",
                partitions_def=daily,
                description=f"At least {wanted[rate.name]:.0%} of the {rate.what}.",
            )
            for rate in RATES
        ],
        can_subset=True,
    )
    def snapshot_rates(
        context: dg.AssetCheckExecutionContext, warehouse: Warehouse
    ) -> Iterable[dg.AssetCheckEvaluation]:
        selected = {key.name: key for key in context.selected_asset_check_keys}
        days = days_of(context)
        with warehouse.connect() as connection:
            counted = count_known(connection, days)
        for rate in RATES:
            if rate.name not in selected:
                continue
            least = wanted[rate.name]
            verdicts = {day: judge_rate(rate, least, day, *counted.get((rate.name, day), (0, 0))) for day in days}
            yield from evaluations_of_days(
                context.instance,
                selected[rate.name],
                verdicts,
                threshold=f"at least {least:.0%}",
                sql=_QUERY,
                severity=rate.severity,
            )

    return snapshot_rates
