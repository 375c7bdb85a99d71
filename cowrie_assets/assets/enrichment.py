"""The assets `dshield_enrichment`, `urlhaus_enrichment`, `spur_enrichment`: what each said of a day's sources.

Lives here: their Dagster definitions. Not here: asking (`cowrie_assets.lookup`), the rows (`answers_of_day`).
"""

from collections.abc import Callable
from datetime import date

import dagster as dg
from pydantic import Field

from cowrie_assets.assets.answers_of_day import address_needs, table_of, write_enrichment
from cowrie_assets.assets.face import OWNERS, sql_metadata
from cowrie_assets.lookup.asking import Tally, ask
from cowrie_assets.partitions import backfill_policy
from cowrie_assets.progress import progress
from cowrie_assets.resources import AnswerCache, ServiceClient, Warehouse

SERVICES = {
    "dshield": "DShield (SANS Internet Storm Center): how many targets reported attacks by the address, and since when",
    "urlhaus": "URLhaus (abuse.ch): malware that the address was seen to serve",
    "spur": "Spur: VPNs, proxies and Tor behind the address, and the kind of line it is",
}


class Asking(dg.Config):
    """How long to ask."""

    max_time: float | None = Field(
        default=None, description="Seconds to wait for the service's rate. Empty: [enrichment] max_time, 30 minutes."
    )


def enrichment_assets(daily: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    return [_enrichment_asset(daily, service) for service in SERVICES]


def _enrichment_asset(daily: dg.DailyPartitionsDefinition, service: str) -> dg.AssetsDefinition:
    @dg.asset(
        name=table_of(service),
        partitions_def=daily,
        backfill_policy=backfill_policy(),
        deps=["sessions"],
        group_name="enrichment",
        kinds={"postgres", "api"},
        owners=OWNERS,
        required_resource_keys={"warehouse", "answer_cache", service},
        description=(
            f"{SERVICES[service]}. One row a day and source address, with the outcome of the question and the answer "
            "nearest to the day. Each distinct address is asked about once, at the permitted rate; what is not "
            "answered says why and is asked again by the next run. Running a day twice asks nothing twice, and keeps "
            "what was learnt then."
        ),
    )
    def enrichment(context: dg.AssetExecutionContext, config: Asking) -> None:
        """Ask about all days of the run at once, then write each; each commits alone."""
        warehouse: Warehouse = context.resources.warehouse
        client: ServiceClient = getattr(context.resources, service)
        cache: AnswerCache = context.resources.answer_cache
        days = [date.fromisoformat(key) for key in context.partition_keys]
        with warehouse.connect() as connection, progress(warehouse.state, table_of(service), "addresses") as reporter:
            needs = address_needs(connection, days)
            asking = cache.asking(warehouse, connection, context.run.run_id, reporter.follow, config.max_time)
            tally = ask(asking, client.service(), needs)
            _log(context.log.info, service, tally)
            for day in days:
                outcomes = write_enrichment(connection, service, day)
                context.add_asset_metadata(_metadata(outcomes), partition_key=day.isoformat())
        context.add_asset_metadata(_cost(tally))

    return enrichment


def _log(write: Callable[[str], None], service: str, tally: Tally) -> None:
    hits = ", ".join(f"{number:,} from the {tier}" for tier, number in tally.hits.items() if number) or "none"
    outcomes = ", ".join(f"{number:,} {outcome}" for outcome, number in sorted(tally.outcomes.items()) if number)
    write(f"{service}: {tally.asked:,} addresses, {tally.requests:,} requests; known: {hits}; now: {outcomes or '-'}")
    for reason, number in tally.reasons.most_common(3):
        write(f"{service}: {number:,} addresses stay open: {reason}")


def _metadata(outcomes: dict[str, int]) -> dict[str, int | float]:
    rows = sum(outcomes.values())
    eligible = rows - outcomes.get("not_applicable", 0)
    answered = outcomes.get("found", 0) + outcomes.get("not_found", 0)
    coverage = {"answered share of addresses": round(answered / eligible, 4)} if eligible else {}
    return {"dagster/row_count": rows, **{f"{name} addresses": number for name, number in outcomes.items()}, **coverage}


def _cost(tally: Tally) -> dict[str, int | str | dg.MetadataValue]:
    return {
        "requests": tally.requests,
        "distinct addresses": tally.asked,
        **{f"hits: {tier}": number for tier, number in tally.hits.items()},
        "left open": tally.open,
        "why": "; ".join(f"{number:,}: {reason}" for reason, number in tally.reasons.most_common(3)) or "-",
        "sql": sql_metadata("write_enrichment.sql"),
    }
