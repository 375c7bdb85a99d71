"""The assets `tor_exits` and `cloud_ranges`: published range lists, edition by edition.

Lives here: their Dagster definitions. Not here: fetching and keeping (`cowrie_assets.lookup.lists`), what being listed
makes of an address (`sql/write_ip_inventory.sql`, `sql/write_session_snapshots.sql`).
"""

import dagster as dg

from cowrie_assets.assets.face import OWNERS, POOL
from cowrie_assets.assets.patience import patient
from cowrie_assets.lookup.lists import refresh_list
from cowrie_assets.resources import AnswerCache, ServiceClient, Warehouse

LISTS = {
    "tor_exits": "Addresses of Tor exits, as the Tor Project publishes them",
    "cloud_ranges": "Address ranges of cloud providers, one list of all of them",
}


def list_assets() -> list[dg.AssetsDefinition]:
    return [_list_asset(name) for name in LISTS]


def _list_asset(name: str) -> dg.AssetsDefinition:
    @dg.asset(
        name=name,
        group_name="lists",
        kinds={"postgres", "list"},
        owners=OWNERS,
        pool=POOL,
        required_resource_keys={"warehouse", "answer_cache", name},
        description=(
            f"{LISTS[name]}. Fetched when the copy at hand is no longer current; a broken edition (HTML, empty, less "
            "than half of the last one) is not taken, the last good copy serves. Each entry keeps since and until when "
            "it was listed, so that snapshots can tell what held at an attack. Running it twice fetches once."
        ),
    )
    @patient
    def range_list(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        warehouse: Warehouse = context.resources.warehouse
        client: ServiceClient = getattr(context.resources, name)
        cache: AnswerCache = context.resources.answer_cache
        with warehouse.connect() as connection:
            asking = cache.asking(warehouse, connection, context.run.run_id)
        refreshed = refresh_list(asking, client.service(), warehouse.state.lists)
        if refreshed.reason:
            context.log.warning(f"{name}: {refreshed.state}: {refreshed.reason}")
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": refreshed.rows,
                "state": refreshed.state,
                "reason": refreshed.reason or "-",
                "source": client.address or "as published",
            }
        )

    return range_list
