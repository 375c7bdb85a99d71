"""Assembles the definitions, and does nothing else.

Not here: assets, checks, jobs, resources (each has its room), or any reading of a database or a network: definitions
load anywhere, in a blink.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import dagster as dg

from cowrie_assets.alerts.sensor import alerts_sensor
from cowrie_assets.assets.enrichment import enrichment_assets
from cowrie_assets.assets.events import events
from cowrie_assets.assets.face import with_code
from cowrie_assets.assets.geo import geo_databases
from cowrie_assets.assets.housekeeping import storage_use
from cowrie_assets.assets.infrastructure import infrastructure_assets
from cowrie_assets.assets.inventory import inventory_assets
from cowrie_assets.assets.lists import list_assets
from cowrie_assets.assets.sessions import sessions_asset
from cowrie_assets.assets.snapshots import snapshots_asset
from cowrie_assets.automation.cadence import cadence
from cowrie_assets.automation.jobs import jobs
from cowrie_assets.automation.schedules import schedules
from cowrie_assets.automation.sensors import sensors
from cowrie_assets.checks.clocks import clock_checks
from cowrie_assets.checks.conservation import conservation_checks
from cowrie_assets.checks.coverage import coverage_checks
from cowrie_assets.checks.freshness import freshness_checks, watch_jobs
from cowrie_assets.checks.geo import geo_checks
from cowrie_assets.checks.lists import list_checks
from cowrie_assets.checks.queries import query_checks
from cowrie_assets.checks.silence import silence_checks
from cowrie_assets.checks.snapshots import snapshot_checks
from cowrie_assets.checks.thresholds import Thresholds
from cowrie_assets.lookup.configured import configured_services, max_time
from cowrie_assets.lookup.retention import configured_retention
from cowrie_assets.partitions import daily_partitions
from cowrie_assets.resources import AnswerCache, CowrieLogs, GeoFiles, RetentionPeriods, ServiceClient, Warehouse
from cowrie_assets.settings import Settings


def build_definitions(
    overrides: Mapping[str, dg.ConfigurableResource] | None = None,  # type: ignore[type-arg]
    settings: Settings | None = None,
) -> dg.Definitions:
    """The definitions for these settings (default: the environment's), with resources replaced by name."""
    known = settings or Settings.from_environment()
    daily = daily_partitions(known.first_day)
    thresholds = Thresholds.of(known)
    times = cadence(known)
    with _known_previews():
        checks = [
            conservation_checks(),
            silence_checks(daily, thresholds),
            clock_checks(daily, thresholds),
            snapshot_checks(daily, thresholds),
            *coverage_checks(daily, thresholds),
            list_checks(thresholds),
            geo_checks(thresholds),
            *query_checks(thresholds),
            freshness_checks(thresholds, known.start_date, times.lag),
        ]
        check_keys = [key for check in checks for key in check.check_keys]
        lists_every = timedelta(hours=times.lists_every)
        assets = [
            events,
            sessions_asset(daily),
            *list_assets(configured_services(known), lists_every, thresholds.lists_age),
            geo_databases,
            inventory_assets(),
            *enrichment_assets(daily),
            snapshots_asset(daily),
            *infrastructure_assets(thresholds.coverage),
            storage_use,
        ]
        return dg.Definitions(
            assets=[with_code(each) for each in assets],
            asset_checks=checks,
            jobs=[*jobs(), *watch_jobs()],
            schedules=schedules(times),
            sensors=[*sensors(times, known.first_day, check_keys), alerts_sensor(known)],
            resources={**_resources(known), **(overrides or {})},
            executor=dg.in_process_executor,
        )


@contextmanager
def _known_previews() -> Iterator[None]:
    """The three features used on purpose before Dagster calls them final; any other such warning is shown."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Parameter `backfill_policy` of function `asset`", dg.BetaWarning)
        warnings.filterwarnings("ignore", r"Specifying a partitions_def on an AssetCheckSpec", dg.PreviewWarning)
        warnings.filterwarnings("ignore", r"Class `(LocalFileCodeReference|CodeReferencesMeta)", dg.BetaWarning)
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
        "retention": RetentionPeriods(**configured_retention(settings)),
        "cowrie_logs": CowrieLogs(
            folders=[str(folder) for folder in settings.log_folders],
            sensors_toml=str(settings.config) if settings.config else None,
        ),
    }


defs = build_definitions()
