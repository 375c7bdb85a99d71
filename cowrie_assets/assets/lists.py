"""The assets `tor_exits` and `cloud_ranges`: published range lists, edition by edition.

Lives here: their Dagster definitions. Not here: fetching and keeping (`cowrie_assets.lookup.lists`), what being listed
makes of an address (`sql/write_ip_inventory.sql`, `sql/write_session_snapshots.sql`).
"""

from collections.abc import Mapping
from datetime import timedelta

import dagster as dg

from cowrie_assets.assets.face import OWNERS, POOL, looked_at_every, made_by
from cowrie_assets.assets.patience import patient
from cowrie_assets.assets.previous import Entry, beside
from cowrie_assets.assets.shown_inventories import editions
from cowrie_assets.lookup.lists import refresh_list
from cowrie_assets.lookup.services import Service
from cowrie_assets.resources import AnswerCache, ServiceClient, Warehouse

LISTS = {
    "tor_exits": "Addresses of Tor exits, as the Tor Project publishes them",
    "cloud_ranges": "Address ranges of cloud providers, one list of all of them",
}


def list_assets(services: Mapping[str, Service], looked_at: timedelta, oldest: timedelta) -> list[dg.AssetsDefinition]:
    """An asset a list; each is to be looked at when its copy is no longer current, or every `looked_at` where that is
    longer, and is too old for certain when nobody did for `oldest`."""
    lives = {name: timedelta(seconds=services[name].ttl_found) for name in LISTS}
    return [_list_asset(name, looked_at_every(max(life, looked_at), oldest)) for name, life in lives.items()]


def _list_asset(name: str, freshness: dg.FreshnessPolicy) -> dg.AssetsDefinition:
    @dg.asset(
        name=name,
        group_name="lists",
        kinds={"postgres", "list"},
        owners=OWNERS,
        pool=POOL,
        metadata=made_by("lookup/lists.py", "upstreams/lists.py"),
        freshness_policy=freshness,
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
        with warehouse.connect() as connection:
            known = editions(connection, name)
        if refreshed.reason:
            context.log.warning(f"{name}: {refreshed.state}: {refreshed.reason}")
        metadata: dict[str, Entry] = {
            "dagster/row_count": refreshed.rows,
            "state": refreshed.state,
            "reason": refreshed.reason or "-",
            "source": client.address or "as published",
            **known,
        }
        return dg.MaterializeResult(metadata=beside(context.instance, context.asset_key, metadata))

    return range_list
