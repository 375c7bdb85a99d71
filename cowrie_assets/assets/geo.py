"""The asset `geo_databases`: the geo files that the inventory looks addresses up in, as new as they are published.

Lives here: its Dagster definition. Not here: fetching (`cowrie_assets.lookup.geo_files`), reading (`upstreams.geoip`).
"""

import dagster as dg

from cowrie_assets.assets.face import DAILY, OWNERS, POOL, made_by
from cowrie_assets.assets.patience import patient
from cowrie_assets.assets.previous import Entry, beside
from cowrie_assets.assets.shown_inventories import builds
from cowrie_assets.lookup.geo_files import GeoRefreshed, refresh_geo_files
from cowrie_assets.progress import progress
from cowrie_assets.resources import AnswerCache, GeoFiles, ServiceClient, Warehouse


@dg.asset(
    group_name="lists",
    kinds={"file", "api"},
    owners=OWNERS,
    pool=POOL,
    metadata=made_by("lookup/geo_files.py"),
    freshness_policy=DAILY,
    description=(
        "The city and the ASN file: GeoLite2 where MAXMIND_ACCOUNT_ID and MAXMIND_LICENSE_KEY are set, else DB-IP "
        "Lite, which needs no account. Looked for once a day; a download that fails, is damaged or older changes "
        "nothing, the last good copy serves. A file that COWRIE_GEOIP_CITY or COWRIE_GEOIP_ASN names is the operator's "
        "own, and is never fetched. Each build is noted in the table geo_databases. Running it twice fetches once."
    ),
)
@patient
def geo_databases(
    context: dg.AssetExecutionContext,
    warehouse: Warehouse,
    answer_cache: AnswerCache,
    geo_files: GeoFiles,
    maxmind: ServiceClient,
    dbip: ServiceClient,
) -> dg.MaterializeResult[None]:
    with warehouse.connect() as connection:
        asking = answer_cache.asking(warehouse, connection, context.run.run_id)
    with progress(warehouse.state, "geo files", "files", len(geo_files.ours)) as reporter:
        refreshed = refresh_geo_files(asking, maxmind.service(), dbip.service(), warehouse.state.geoip, geo_files.ours)
        reporter.update(len(refreshed))
    with warehouse.connect() as connection:
        known = builds(connection)
    for file in refreshed:
        if file.reason:
            context.log.warning(f"{file.kind}: {file.state}: {file.reason}")
    own = {
        kind: f"the operator's own: {path}" for kind, path in (("city", geo_files.city), ("asn", geo_files.asn)) if path
    }
    metadata: dict[str, Entry] = {
        **own,
        **{file.kind: _in_words(file) for file in refreshed},
        **{f"{file.kind}: age, days": file.age for file in refreshed if file.age is not None},
        **known,
    }
    return dg.MaterializeResult(metadata=beside(context.instance, context.asset_key, metadata))


def _in_words(file: GeoRefreshed) -> str:
    known: list[str] = [file.state]
    if file.source is not None and file.built_at is not None:
        known.append(f"{file.source} {file.edition}, built {file.built_at:%Y-%m-%d}")
    return ": ".join([", ".join(known), *([file.reason] if file.reason else [])])
