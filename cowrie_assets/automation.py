"""Jobs. Schedules and sensors come later.

Lives here: what runs together. Not here: the assets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg

# What runs before, between and after the daily assets; the command line runs these phases over any set of days.
INGEST = ("events",)
SESSIONS = ("sessions",)
INVENTORY = ("tor_exits", "cloud_ranges", "asn_inventory", "ip_inventory")
ENRICHMENT = ("dshield_enrichment", "urlhaus_enrichment", "spur_enrichment")
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


def jobs() -> Sequence[Any]:
    """The asset jobs (Dagster has no public name for their type before they are resolved)."""
    return [
        dg.define_asset_job(
            INGEST_JOB,
            selection=dg.AssetSelection.assets(*INGEST),
            description="Load what is new in the logs. It says which days changed; run the daily job over them.",
        ),
        dg.define_asset_job(
            DAILY_JOB,
            selection=dg.AssetSelection.assets(*SESSIONS, *INVENTORY, *ENRICHMENT, *SNAPSHOTS, *ANSWERS),
            description="From stored events to answers, for a day or a range of days.",
        ),
    ]
