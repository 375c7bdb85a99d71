"""The inventories, `asn_inventory` → `ip_inventory`: one graph whose ops are the passes.

Lives here: the graph and its ops. Not here: what a pass does (`observation`, `cowrie_assets.lookup`).
"""

import time
from collections.abc import Iterator
from typing import Any

import dagster as dg
from pydantic import Field

from cowrie_assets.assets.face import DAILY, OWNERS, POOL, made_by
from cowrie_assets.assets.observation import (
    ASN_SOURCE,
    CITY_SOURCE,
    observe,
    observe_cymru_answers,
    telling_addresses,
    write_asn_inventory,
    write_ip_inventory,
)
from cowrie_assets.assets.patience import patient
from cowrie_assets.assets.previous import beside
from cowrie_assets.assets.shown_answers import cost_of_run
from cowrie_assets.assets.shown_inventories import addresses as shown_addresses
from cowrie_assets.assets.shown_inventories import systems as shown_systems
from cowrie_assets.lookup.answers import lookup_now
from cowrie_assets.lookup.asking import ask
from cowrie_assets.lookup.bulk import ask_batch, leave_open, plan_batches
from cowrie_assets.lookup.gate import EgressGate
from cowrie_assets.progress import progress
from cowrie_assets.resources import AnswerCache, GeoFiles, ServiceClient, Warehouse

_AFTER = {"start": dg.In(dg.Nothing)}
# A batch that failed or came in part is asked again alone, so often, while the others go on.
_MORE_TRIES = 3
_SECONDS_BETWEEN_TRIES = 2.0


class AddressesAtMost(dg.Config):
    """How many addresses to ask about."""

    most: int | None = Field(default=None, description="Addresses to ask about at most. Empty: all without an answer.")
    max_time: float | None = Field(
        default=None, description="Seconds to wait for the service's rate. Empty: [enrichment] max_time, 30 minutes."
    )


HOW_TO_GET_GEO_FILES = (
    "country stays NULL with the reason 'no geo database', and the AS is what Team Cymru says today. The asset "
    "geo_databases fetches them (its check says why it could not); or set COWRIE_GEOIP_CITY and COWRIE_GEOIP_ASN to "
    "files of your own"
)


@dg.op(ins=_AFTER, out=dg.Out(dg.Nothing), pool=POOL, description="Pass 1: country and AS from the geo files, offline.")
@patient
def pass_1_geo_files(context: dg.OpExecutionContext, warehouse: Warehouse, geo_files: GeoFiles) -> None:
    if geo_files.missing:
        context.log.warning(f"No {' and no '.join(geo_files.missing)} file: {HOW_TO_GET_GEO_FILES}")
    with (
        warehouse.connect() as connection,
        geo_files.open_asn() as asn_file,
        geo_files.open_city() as city_file,
        progress(warehouse.state, "inventory", "geo files", 2) as reporter,
    ):
        for done, (source, file) in enumerate(((ASN_SOURCE, asn_file), (CITY_SOURCE, city_file)), 1):
            if file is not None:
                seen = observe(connection, source, file)
                context.log.info(
                    f"Pass 1: {file.kind} of {file.built_at:%Y-%m-%d}: {seen.looked_up} new addresses, "
                    f"{seen.found} found"
                )
            reporter.update(done)


@dg.op(
    ins=_AFTER,
    out=dg.DynamicOut(),
    pool=POOL,
    description="Pass 2, the plan: every source address without a fresh answer of Team Cymru, in batches.",
)
@patient
def plan_cymru_batches(
    context: dg.OpExecutionContext,
    config: AddressesAtMost,
    warehouse: Warehouse,
    answer_cache: AnswerCache,
    cymru: ServiceClient,
) -> Iterator[dg.DynamicOutput[dict[str, Any]]]:
    with warehouse.connect() as connection:
        asking = answer_cache.asking(
            warehouse, connection, context.run.run_id, most=config.most, tell=context.log.warning
        )
        needs = dict.fromkeys(telling_addresses(connection), lookup_now(connection))
    batches, tally = plan_batches(asking, cymru.service(), needs)
    addresses = sum(map(len, batches))
    context.log.info(
        f"Pass 2: {addresses:,} of {tally.asked:,} addresses to ask Team Cymru about, in {len(batches)} batches; "
        f"{tally.hits.total():,} known"
    )
    for reason, number in tally.reasons.items():
        context.log.info(f"Pass 2: {number:,} addresses stay open: {reason}")
    ends_at = time.time() + (answer_cache.max_time if config.max_time is None else config.max_time)
    for number, batch in enumerate(batches, 1):
        # The time is for all batches together.
        yield dg.DynamicOutput(
            {"addresses": batch, "ends_at": ends_at}, mapping_key=f"batch_{number:04}_of_{len(batches):04}"
        )


@dg.op(out=dg.Out(dg.Nothing), pool="cymru", description="Pass 2: Team Cymru's bulk whois, one batch.")
@patient
def pass_2_cymru_batch(
    context: dg.OpExecutionContext,
    warehouse: Warehouse,
    answer_cache: AnswerCache,
    cymru: ServiceClient,
    batch: dict[str, Any],
) -> None:
    service = cymru.service()
    addresses: list[str] = batch["addresses"]
    number, _, batches = str(context.get_mapping_key()).removeprefix("batch_").partition("_of_")
    name = f"Cymru batch {int(number)}/{int(batches)}: {len(addresses)} addresses"
    context.log.info(name)
    with warehouse.connect() as connection:
        seconds = max(0.0, batch["ends_at"] - time.time())
        asking = answer_cache.asking(warehouse, connection, context.run.run_id, seconds=seconds)
    with progress(warehouse.state, "cymru", "batches", int(batches)) as reporter:
        reporter.update(int(number) - 1, name)
        result = ask_batch(asking, service, addresses)
        reporter.update(int(number), name)
    context.add_output_metadata(
        {"batch": name, "answered": result.answered, "missing": len(result.missing), "reason": result.reason or "-"}
    )
    if not result.missing:
        return
    context.log.warning(f"{name}, {len(result.missing)} of them without an answer: {result.reason}")
    if result.again and context.retry_number < _MORE_TRIES:
        raise dg.RetryRequested(max_retries=_MORE_TRIES, seconds_to_wait=_SECONDS_BETWEEN_TRIES)
    leave_open(asking, service, result)


@dg.op(ins=_AFTER, out=dg.Out(dg.Nothing), description="Pass 3: GreyNoise, within its quota, most telling first.")
@patient
def pass_3_greynoise(
    context: dg.OpExecutionContext,
    config: AddressesAtMost,
    warehouse: Warehouse,
    answer_cache: AnswerCache,
    greynoise: ServiceClient,
) -> None:
    with (
        warehouse.connect() as connection,
        progress(warehouse.state, "greynoise", "addresses") as reporter,
    ):
        asking = answer_cache.asking(
            warehouse, connection, context.run.run_id, reporter.follow, config.max_time, config.most,
            context.log.warning,
        )  # fmt: skip
        needs = dict.fromkeys(telling_addresses(connection), lookup_now(connection))
        tally = ask(asking, greynoise.service(), needs)
    context.log.info(f"Pass 3: GreyNoise, {tally.requests} requests, {tally.hits.total():,} known")
    for reason, number in tally.reasons.most_common(3):
        context.log.info(f"Pass 3: {number:,} addresses stay open: {reason}")


@dg.op(ins=_AFTER, out=dg.Out(dg.Nothing), pool=POOL, description="Merge the passes: one row an AS.")
@patient
def merge_asn_inventory(context: dg.OpExecutionContext, warehouse: Warehouse) -> None:
    with warehouse.connect() as connection:
        observe_cymru_answers(connection)
        metadata = {"dagster/row_count": write_asn_inventory(connection), **shown_systems(connection)}
    context.add_output_metadata(beside(context.instance, "asn_inventory", metadata))


@dg.op(
    ins={name: dg.In(dg.Nothing) for name in ("start", "tor_exits", "cloud_ranges")},
    out=dg.Out(dg.Nothing),
    pool=POOL,
    description="Merge the passes and the range lists: one row a source address.",
)
@patient
def merge_ip_inventory(
    context: dg.OpExecutionContext,
    warehouse: Warehouse,
    answer_cache: AnswerCache,
    cymru: ServiceClient,
    greynoise: ServiceClient,
) -> None:
    with warehouse.connect() as connection:
        rows = write_ip_inventory(connection, EgressGate.of(connection, answer_cache.own_addresses))
        counts = connection.execute(
            """
            SELECT
                count(*) FILTER (WHERE is_public), count(current_asn), count(geo_country),
                count(*) FILTER (WHERE ip_type = 'tor'), count(*) FILTER (WHERE ip_type = 'cloud')
            FROM ip_inventory
            """
        ).fetchone()
        shown = shown_addresses(connection)
        costs = {
            f"{client.name}: {name}": value
            for client in (cymru, greynoise)
            for name, value in cost_of_run(connection, client.service(), context.run.run_id).items()
        }
    names = ("public addresses", "with an ASN", "with a country", "Tor exits", "in a cloud")
    known = {"dagster/row_count": rows, **dict(zip(names, counts or (0,) * len(names), strict=True))}
    context.add_output_metadata({**beside(context.instance, "ip_inventory", {**known, **shown}), **costs})


@dg.graph(
    ins={name: dg.GraphIn() for name in ("sessions", "geo_databases", "tor_exits", "cloud_ranges")},
    out={"asn_inventory": dg.GraphOut(), "ip_inventory": dg.GraphOut()},
    description="The passes: geo files, Team Cymru, GreyNoise, then the merge with the range lists.",
)
def inventory_passes(sessions, geo_databases, tor_exits, cloud_ranges):  # type: ignore[no-untyped-def]  # dagster composes this
    asked = plan_cymru_batches(start=pass_1_geo_files(start=[sessions, geo_databases])).map(pass_2_cymru_batch)
    asns = merge_asn_inventory(start=pass_3_greynoise(start=asked.collect()))
    addresses = merge_ip_inventory(start=asns, tor_exits=tor_exits, cloud_ranges=cloud_ranges)
    return {"asn_inventory": asns, "ip_inventory": addresses}


_DESCRIPTIONS = {
    "asn_inventory": (
        "One row an autonomous system that attacked: its name, registration, addresses, sessions, first and last seen. "
        "All of it follows from sessions and observations, so running it twice changes nothing."
    ),
    "ip_inventory": (
        "One row a source address: its AS, country and type as last observed (NULL with a reason where unknown), "
        "sessions, first and last seen. What was observed when is kept in ip_observations. Running it twice changes "
        "nothing, and asks nobody twice."
    ),
}
_SQL = {
    "asn_inventory": ("observe_cymru_answers.sql", "write_asn_inventory.sql"),
    "ip_inventory": ("write_ip_inventory.sql",),
}


def inventory_assets() -> dg.AssetsDefinition:
    keys = {name: dg.AssetKey(name) for name in ("sessions", "geo_databases", "tor_exits", "cloud_ranges")}
    asns, addresses = dg.AssetKey("asn_inventory"), dg.AssetKey("ip_inventory")
    # The decorator for multi-assets has no edge between its own outputs, so this is spelt out.
    return dg.AssetsDefinition.from_graph(
        inventory_passes,
        keys_by_input_name=keys,
        keys_by_output_name={"asn_inventory": asns, "ip_inventory": addresses},
        internal_asset_deps={
            "asn_inventory": {keys["sessions"], keys["geo_databases"]},
            "ip_inventory": {asns, *keys.values()},
        },
        group_name="inventory",
        descriptions_by_output_name=_DESCRIPTIONS,
    ).map_asset_specs(
        lambda spec: spec.replace_attributes(
            kinds={"postgres"},
            owners=OWNERS,
            metadata={**spec.metadata, **made_by(*_SQL[spec.key.to_user_string()])},
            freshness_policy=DAILY,
        )
    )
