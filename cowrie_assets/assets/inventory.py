"""The inventories, `asn_inventory` → `ip_inventory`: one graph whose ops are the passes.

Lives here: the graph and its ops. Not here: what a pass does (`observation`).
Pass 2 (Team Cymru) and pass 3 (GreyNoise) ask nobody yet: they say that they are not configured.
"""

import dagster as dg

from cowrie_assets.assets.face import OWNERS, POOL, sql_metadata
from cowrie_assets.assets.observation import (
    ASN_SOURCE,
    CITY_SOURCE,
    observe,
    write_asn_inventory,
    write_ip_inventory,
)
from cowrie_assets.progress import progress
from cowrie_assets.resources import GeoFiles, Warehouse

_AFTER = {"start": dg.In(dg.Nothing)}
HOW_TO_GET_GEO_FILES = (
    "country and ASN stay NULL with the reason 'no geo database'. Free files: GeoLite2 City and ASN (account at "
    "maxmind.com), or DB-IP Lite (db-ip.com, no account); set COWRIE_GEOIP_CITY and COWRIE_GEOIP_ASN to their paths"
)


@dg.op(ins=_AFTER, out=dg.Out(dg.Nothing), pool=POOL, description="Pass 1: country and AS from the geo files, offline.")
def pass_1_geo_files(context: dg.OpExecutionContext, warehouse: Warehouse, geo_files: GeoFiles) -> None:
    if geo_files.missing:
        context.log.warning(f"{' and '.join(geo_files.missing)} not set: {HOW_TO_GET_GEO_FILES}")
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


@dg.op(ins=_AFTER, out=dg.Out(dg.Nothing), description="Pass 2: Team Cymru bulk whois for addresses without an AS.")
def pass_2_cymru(context: dg.OpExecutionContext) -> None:
    context.log.info("Pass 2 (Team Cymru): not configured in this version, nobody was asked")


@dg.op(ins=_AFTER, out=dg.Out(dg.Nothing), description="Pass 3: GreyNoise for the most telling addresses.")
def pass_3_greynoise(context: dg.OpExecutionContext) -> None:
    context.log.info("Pass 3 (GreyNoise): not configured in this version, nobody was asked")


@dg.op(ins=_AFTER, out=dg.Out(dg.Nothing), pool=POOL, description="Merge the passes: one row an AS.")
def merge_asn_inventory(context: dg.OpExecutionContext, warehouse: Warehouse) -> None:
    with warehouse.connect() as connection:
        rows = write_asn_inventory(connection)
    context.add_output_metadata({"dagster/row_count": rows, "sql": sql_metadata("write_asn_inventory.sql")})


@dg.op(ins=_AFTER, out=dg.Out(dg.Nothing), pool=POOL, description="Merge the passes: one row a source address.")
def merge_ip_inventory(context: dg.OpExecutionContext, warehouse: Warehouse) -> None:
    with warehouse.connect() as connection:
        rows = write_ip_inventory(connection)
        counts = connection.execute(
            "SELECT count(*) FILTER (WHERE is_public), count(current_asn), count(geo_country) FROM ip_inventory"
        ).fetchone()
    public, with_asn, with_country = counts or (0, 0, 0)
    context.add_output_metadata(
        {
            "dagster/row_count": rows,
            "public addresses": public,
            "with an ASN": with_asn,
            "with a country": with_country,
            "sql": sql_metadata("write_ip_inventory.sql"),
        }
    )


@dg.graph(
    ins={"sessions": dg.GraphIn()},
    out={"asn_inventory": dg.GraphOut(), "ip_inventory": dg.GraphOut()},
    description="The passes: geo files, Team Cymru, GreyNoise, then the merge.",
)
def inventory_passes(sessions):  # type: ignore[no-untyped-def]  # dagster composes this, it is never called with values
    asked = pass_3_greynoise(start=pass_2_cymru(start=pass_1_geo_files(start=sessions)))
    asns = merge_asn_inventory(start=asked)
    return {"asn_inventory": asns, "ip_inventory": merge_ip_inventory(start=asns)}


_DESCRIPTIONS = {
    "asn_inventory": (
        "One row an autonomous system that attacked: its name, addresses, sessions, first and last seen. All of it "
        "follows from sessions and observations, so running it twice changes nothing."
    ),
    "ip_inventory": (
        "One row a source address: its AS and country as last observed (NULL with a reason where unknown), sessions, "
        "first and last seen. What was observed when is kept in ip_observations. Running it twice changes nothing."
    ),
}


def inventory_assets() -> dg.AssetsDefinition:
    sessions, asns, addresses = (dg.AssetKey(name) for name in ("sessions", "asn_inventory", "ip_inventory"))
    # The decorator for multi-assets has no edge between its own outputs, so this is spelt out.
    return dg.AssetsDefinition.from_graph(
        inventory_passes,
        keys_by_input_name={"sessions": sessions},
        keys_by_output_name={"asn_inventory": asns, "ip_inventory": addresses},
        internal_asset_deps={"asn_inventory": {sessions}, "ip_inventory": {asns, sessions}},
        group_name="inventory",
        descriptions_by_output_name=_DESCRIPTIONS,
    ).map_asset_specs(lambda spec: spec.replace_attributes(kinds={"postgres"}, owners=OWNERS))
