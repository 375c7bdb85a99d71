"""How much the snapshots of a day know: the non-null rates, per day.

Lives here: the rates and their thresholds. Not here: why something is unknown (each snapshot says that itself).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import dagster as dg

from cowrie_assets.resources import Warehouse
from cowrie_assets.warehouse.event_chunks import Connection


@dataclass(frozen=True)
class Rate:
    """One rate: `known` over `eligible` sessions must reach `minimum`. `cure` says what to do where it does not."""

    name: str
    eligible: str
    known: str
    minimum: float
    severity: dg.AssetCheckSeverity
    what: str
    cure: str


RATES = (
    Rate(
        "source_address_known",
        eligible="true",
        known="s.source_ip IS NOT NULL",
        minimum=0.95,
        severity=dg.AssetCheckSeverity.ERROR,
        what="sessions have a source address",
        cure="Look at `cowrie-assets session <id>` of one that has none: its connect event is missing or unreadable.",
    ),
    Rate(
        "asn_known",
        eligible="s.source_ip IS NOT NULL AND i.is_public IS NOT FALSE",
        known="p.snapshot_asn IS NOT NULL",
        minimum=0.80,
        severity=dg.AssetCheckSeverity.WARN,
        what="sessions with a public source have an ASN",
        cure=(
            "The snapshots' asn_reason says why. Set COWRIE_GEOIP_ASN to a current ASN file, or let Team Cymru be "
            "asked, then materialize ip_inventory and this day again; an address that nobody announces has none."
        ),
    ),
    Rate(
        "country_known",
        eligible="s.source_ip IS NOT NULL AND i.is_public IS NOT FALSE",
        known="p.snapshot_country IS NOT NULL",
        minimum=0.80,
        severity=dg.AssetCheckSeverity.WARN,
        what="sessions with a public source have a country",
        cure="Set COWRIE_GEOIP_CITY to a current city file, then materialize ip_inventory and this day again.",
    ),
)


def rate_query(rate: Rate) -> str:
    # A session without a snapshot counts as one that knows nothing, not as one that is not there.
    return f"""
    SELECT count(*) FILTER (WHERE {rate.eligible}), count(*) FILTER (WHERE {rate.eligible} AND {rate.known})
    FROM sessions AS s
    LEFT JOIN session_snapshots AS p
        ON s.day = p.day AND s.sensor = p.sensor AND s.session_id = p.session_id AND p.is_current
    LEFT JOIN ip_inventory AS i ON s.source_ip = i.ip_address
    WHERE s.day = %s
    """  # noqa: S608 - both parts are constants of this file


def check_rate(connection: Connection, rate: Rate, day: date) -> tuple[bool, str, float | None]:
    """Whether a day reaches the rate, in words, and the rate itself (None where no session is eligible)."""
    row = connection.execute(rate_query(rate).encode(), (day,)).fetchone()
    eligible, known = row or (0, 0)
    if not eligible:
        return True, f"{day}: no session to judge.", None
    share = known / eligible
    words = f"{day}: {known:,} of {eligible:,} {rate.what} ({share:.1%}, at least {rate.minimum:.0%} wanted)."
    if share >= rate.minimum:
        return True, words, share
    return False, f"{words} {rate.cure}", share


def snapshot_checks(daily: dg.DailyPartitionsDefinition) -> dg.AssetChecksDefinition:
    # Evaluations with a partition of their own: a check result of a run over several days loses its day.
    @dg.multi_asset_check(
        specs=[
            dg.AssetCheckSpec(
                rate.name,
                asset="session_snapshots",
                partitions_def=daily,
                description=f"At least {rate.minimum:.0%} of the {rate.what}.",
            )
            for rate in RATES
        ],
        can_subset=True,
    )
    def snapshot_rates(
        context: dg.AssetCheckExecutionContext, warehouse: Warehouse
    ) -> Iterable[dg.AssetCheckEvaluation]:
        selected = {key.name: key for key in context.selected_asset_check_keys}
        days = [date.fromisoformat(key) for key in context.op_execution_context.partition_keys]
        with warehouse.connect() as connection:
            for rate in RATES:
                for day in days if rate.name in selected else []:
                    passed, words, share = check_rate(connection, rate, day)
                    yield dg.AssetCheckEvaluation(
                        asset_key=selected[rate.name].asset_key,
                        check_name=rate.name,
                        passed=passed,
                        severity=rate.severity,
                        description=words,
                        partition=day.isoformat(),
                        metadata={
                            "rate": dg.MetadataValue.float(1.0 if share is None else share),
                            "sql": dg.MetadataValue.md(f"```sql\n{rate_query(rate)}\n```"),
                        },
                    )

    return snapshot_rates
