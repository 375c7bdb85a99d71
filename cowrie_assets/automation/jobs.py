"""Jobs: what runs together, in which phases, under which tags.

Lives here: the names that schedules, sensors and the command line share. Not here: when they run (`schedules`,
`sensors`), the assets.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import date
from socket import gethostname
from typing import Any

import dagster as dg
import psutil

from cowrie_assets.assets.questions import QUESTIONS

# What runs before, between and after the daily assets; the command line runs these phases over any set of days.
INGEST = ("events",)
LISTS = ("geo_databases", "tor_exits", "cloud_ranges")
SESSIONS = ("sessions",)
INVENTORY = (*LISTS, "asn_inventory", "ip_inventory")
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
LISTS_JOB = "lists"
HOUSEKEEPING_JOB = "housekeeping"
# A run that a command started, in its own process: the command itself runs what follows.
COMMAND_TAG = "cowrie/process"
# Of runs that nobody waits for in front of a screen, those of today come before those of old days.
PRIORITY_TAG = "dagster/priority"
TODAYS_PRIORITY = {PRIORITY_TAG: "10"}

# Runs that left the queue and have not ended: each has, or should have, a process.
RUNNING = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

INGEST_RUNS = dg.define_asset_job(
    INGEST_JOB,
    selection=dg.AssetSelection.assets(*INGEST),
    tags=TODAYS_PRIORITY,
    description="Load what is new in the logs; the sensor due_days then runs the daily job over the days that follow.",
)
DAILY_RUNS = dg.define_asset_job(
    DAILY_JOB,
    selection=dg.AssetSelection.assets(*SESSIONS, *INVENTORY, *ENRICHMENT, *SNAPSHOTS, *ANSWERS),
    description="From stored events to answers, for a day or a range of days.",
)
LISTS_RUNS = dg.define_asset_job(
    LISTS_JOB,
    selection=dg.AssetSelection.assets(*LISTS),
    tags=TODAYS_PRIORITY,
    description="Geo files and range lists, where the copy at hand is no longer current.",
)
HOUSEKEEPING_RUNS = dg.define_asset_job(
    HOUSEKEEPING_JOB,
    selection=dg.AssetSelection.assets("storage_use"),
    description="Measure disk use and its growth, and trim what is past its retention.",
)


def jobs() -> Sequence[Any]:
    """The asset jobs (Dagster has no public name for their type before they are resolved)."""
    return [INGEST_RUNS, DAILY_RUNS, LISTS_RUNS, HOUSEKEEPING_RUNS]


_DAY_TAG = "dagster/partition"
_FIRST_TAG = "dagster/asset_partition_range_start"
_LAST_TAG = "dagster/asset_partition_range_end"
RANGE_TAGS = (_DAY_TAG, _FIRST_TAG, _LAST_TAG)


def range_tags(first: date, last: date) -> dict[str, str]:
    """The tags by which one run takes a stretch of days."""
    if first == last:
        return {_DAY_TAG: first.isoformat()}
    return {_FIRST_TAG: first.isoformat(), _LAST_TAG: last.isoformat()}


def this_process() -> dict[str, str]:
    """The tag of runs that happen in this very process."""
    return {COMMAND_TAG: f"{os.getpid()} {psutil.Process().create_time():.2f} {gethostname()}"}


def is_alive(tags: Mapping[str, str]) -> bool:
    """Whether the command whose runs have these tags still lives; on another machine or in another container it may."""
    pid, started, host = (*tags.get(COMMAND_TAG, "").split(" ", 2), "", "", "")[:3]
    if host and host != gethostname():
        return True
    try:
        process = psutil.Process(int(pid))
        return f"{process.create_time():.2f}" == started and process.status() != psutil.STATUS_ZOMBIE
    except (ValueError, psutil.NoSuchProcess):
        return False
