"""Jobs, the daily schedule, and what follows an ingestion.

Lives here: what runs together, and when. Not here: the assets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg

from cowrie_assets.assets.ingestion import partition_days
from cowrie_assets.assets.questions import QUESTIONS
from cowrie_assets.assets.reconstruction import days_due
from cowrie_assets.partitions import ranges
from cowrie_assets.resources import ServiceClient, Warehouse

# What runs before, between and after the daily assets; the command line runs these phases over any set of days.
INGEST = ("events",)
SESSIONS = ("sessions",)
INVENTORY = ("geo_databases", "tor_exits", "cloud_ranges", "asn_inventory", "ip_inventory")
ENRICHMENT = tuple(QUESTIONS)
SNAPSHOTS = ("session_snapshots",)
ANSWERS = (
    "session_summaries",
    "geographic_distribution",
    "asn_infrastructure",
    "anonymization",
    "reputation_distribution",
    "infrastructure_report",
)

INGEST_JOB = "ingest"
DAILY_JOB = "daily"
# A run that a command started, in its own process: the command itself runs what follows.
COMMAND_TAG = "cowrie/process"

_INGEST = dg.define_asset_job(
    INGEST_JOB,
    selection=dg.AssetSelection.assets(*INGEST),
    description="Load what is new in the logs; the sensor after_ingest then runs the daily job over the due days.",
)
_DAILY = dg.define_asset_job(
    DAILY_JOB,
    selection=dg.AssetSelection.assets(*SESSIONS, *INVENTORY, *ENRICHMENT, *SNAPSHOTS, *ANSWERS),
    description="From stored events to answers, for a day or a range of days.",
)


def jobs() -> Sequence[Any]:
    """The asset jobs (Dagster has no public name for their type before they are resolved)."""
    return [_INGEST, _DAILY]


def schedules() -> list[dg.ScheduleDefinition]:
    return [
        dg.ScheduleDefinition(
            name="every_day",
            job=_INGEST,
            # After midnight UTC, when yesterday is complete; late lines make their days due again.
            cron_schedule="20 0 * * *",
            execution_timezone="UTC",
            description=(
                "Every day at 00:20 UTC: load the logs; then, by the sensor after_ingest, refresh what is stale, "
                "enrich, snapshot and query the days that can change. Switch it on here."
            ),
        )
    ]


def range_tags(first: date, last: date) -> dict[str, str]:
    """The tags by which one run takes a stretch of days."""
    if first == last:
        return {"dagster/partition": first.isoformat()}
    return {
        "dagster/asset_partition_range_start": first.isoformat(),
        "dagster/asset_partition_range_end": last.isoformat(),
    }


def sensors(first_day: date) -> list[dg.SensorDefinition]:
    @dg.run_status_sensor(
        run_status=dg.DagsterRunStatus.SUCCESS,
        name="after_ingest",
        monitored_jobs=[_INGEST],
        request_job=_DAILY,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="After the job ingest: run the daily job over every day that can change.",
    )
    def after_ingest(
        context: dg.RunStatusSensorContext,
        warehouse: Warehouse,
        dshield: ServiceClient,
        urlhaus: ServiceClient,
        spur: ServiceClient,
        virustotal: ServiceClient,
        hibp: ServiceClient,
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        if COMMAND_TAG in context.dagster_run.tags:
            yield dg.SkipReason("a command ingested, and runs the rest itself")
            return
        clients = {"dshield": dshield, "urlhaus": urlhaus, "spur": spur, "virustotal": virustotal, "hibp": hibp}
        with warehouse.connect() as connection:
            days = days_due(connection, "sessions") | days_due(connection, "session_snapshots")
            for question in QUESTIONS.values():
                can_ask = clients[question.service].service().not_configured is None
                days |= question.due(connection, can_ask=can_ask)
        # A day before the first partition that these definitions know waits until they are loaded again.
        # Nothing due: lists, inventories and queries are still brought up to date, with today.
        due = partition_days(days, first_day) or {datetime.now(UTC).date()}
        for first, last in ranges(due):
            yield dg.RunRequest(run_key=f"{context.dagster_run.run_id} {first}", tags=range_tags(first, last))

    return [after_ingest]
