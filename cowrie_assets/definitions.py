"""Assembles the definitions, and does nothing else.

Not here: assets, checks, jobs, resources (each has its room), or any reading of a database or a network: definitions
load anywhere, in a blink.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dagster as dg

from cowrie_assets.assets.enrichment import enrichment_assets
from cowrie_assets.assets.events import events
from cowrie_assets.assets.geo import geo_databases
from cowrie_assets.assets.infrastructure import infrastructure_assets
from cowrie_assets.assets.inventory import inventory_assets
from cowrie_assets.assets.lists import list_assets
from cowrie_assets.assets.sessions import sessions_asset
from cowrie_assets.assets.snapshots import snapshots_asset
from cowrie_assets.automation import jobs, schedules, sensors
from cowrie_assets.checks.conservation import conservation_checks
from cowrie_assets.checks.coverage import coverage_checks
from cowrie_assets.checks.geo import geo_checks
from cowrie_assets.checks.lists import list_checks
from cowrie_assets.checks.queries import query_checks
from cowrie_assets.checks.snapshots import snapshot_checks
from cowrie_assets.lookup.configured import configured_services, max_time
from cowrie_assets.partitions import daily_partitions
from cowrie_assets.resources import AnswerCache, CowrieLogs, GeoFiles, ServiceClient, Warehouse
from cowrie_assets.settings import Settings


def build_definitions(
    overrides: Mapping[str, dg.ConfigurableResource] | None = None,  # type: ignore[type-arg]
    settings: Settings | None = None,
) -> dg.Definitions:
    """The definitions for these settings (default: the environment's), with resources replaced by name."""
    known = settings or Settings.from_environment()
    daily = daily_partitions(known.first_day)
    with _known_previews():
        return dg.Definitions(
            assets=[
                events,
                sessions_asset(daily),
                *list_assets(),
                geo_databases,
                inventory_assets(),
                *enrichment_assets(daily),
                snapshots_asset(daily),
                *infrastructure_assets(),
            ],
            asset_checks=[
                conservation_checks(),
                snapshot_checks(daily),
                *coverage_checks(daily),
                *list_checks(),
                *geo_checks(),
                *query_checks(),
            ],
            jobs=jobs(),
            schedules=schedules(),
            sensors=sensors(known.first_day),
            resources={**_resources(known), **(overrides or {})},
            executor=dg.in_process_executor,
        )


@contextmanager
def _known_previews() -> Iterator[None]:
    """The two features used on purpose before Dagster calls them final; any other such warning is shown."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Parameter `backfill_policy` of function `asset`", dg.BetaWarning)
        warnings.filterwarnings("ignore", r"Specifying a partitions_def on an AssetCheckSpec", dg.PreviewWarning)
        yield


def _resources(settings: Settings) -> dict[str, dg.ConfigurableResource]:  # type: ignore[type-arg]
    return {
        "warehouse": Warehouse(
            home=str(settings.home),
            mode=settings.mode,
            # By name, never by value: an address holds a password, and the UI shows what a resource is made of.
            database_url=dg.EnvVar("COWRIE_DATABASE_URL") if settings.database_url else None,
        ),
        "answer_cache": AnswerCache(
            own_addresses=list(settings.own_addresses),
            max_time=max_time(settings),
            redis_url=dg.EnvVar("COWRIE_REDIS_URL") if settings.redis_url else None,
        ),
        **{name: ServiceClient.of(service) for name, service in configured_services(settings).items()},
        "geo_files": GeoFiles(
            city=str(settings.geoip_city) if settings.geoip_city else None,
            asn=str(settings.geoip_asn) if settings.geoip_asn else None,
            folder=str(settings.state.geoip),
        ),
        "cowrie_logs": CowrieLogs(
            folders=[str(folder) for folder in settings.log_folders],
            sensors_toml=str(settings.config) if settings.config else None,
        ),
    }


defs = build_definitions()
