"""The definitions in words, one line a thing, kept in `definitions.txt`: a reviewer reads in its diff what changed.

`python -m cowrie_assets_tests.orchestration.definitions_snapshot` writes it anew.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg

from cowrie_assets.definitions import build_definitions
from cowrie_assets.settings import Settings

SNAPSHOT = Path(__file__).with_name("definitions.txt")


def snapshot() -> str:
    """Assets, checks, jobs, schedules and sensors of a state folder without settings."""
    with TemporaryDirectory() as folder:
        definitions = build_definitions(settings=Settings(home=Path(folder), start_date=date(2025, 1, 1)))
        return "\n".join([*_assets(definitions), "", *_checks(definitions), "", *_automation(definitions)]) + "\n"


def _assets(definitions: dg.Definitions) -> Iterator[str]:
    policies: dict[dg.AssetKey, dg.BackfillPolicy | None] = {}
    for assets in definitions.assets or ():
        if isinstance(assets, dg.AssetsDefinition):
            policies |= dict.fromkeys(assets.keys, assets.backfill_policy)
    for spec in sorted(definitions.resolve_all_asset_specs(), key=lambda spec: (str(spec.group_name), spec.key)):
        policy = policies.get(spec.key)
        parts = [
            f"asset {spec.group_name}/{spec.key.to_user_string()}",
            f"from {', '.join(sorted(dep.asset_key.to_user_string() for dep in spec.deps)) or 'nothing'}",
            "daily" if isinstance(spec.partitions_def, dg.DailyPartitionsDefinition) else "whole",
            f"{policy.max_partitions_per_run} days a run" if policy is not None else "",
            f"kinds {' '.join(sorted(spec.kinds))}",
            f"owners {' '.join(spec.owners)}",
            _freshness(spec.freshness_policy) if spec.freshness_policy is not None else "",
            f"when {spec.automation_condition.get_label() or 'eager'}" if spec.automation_condition is not None else "",
        ]
        yield "; ".join(part for part in parts if part)


def _freshness(policy: Any) -> str:
    warns, fails = (window.to_timedelta().total_seconds() / 3600 for window in (policy.warn_window, policy.fail_window))
    return f"stale after {warns:.0f} h, failing after {fails:.0f} h"


def _checks(definitions: dg.Definitions) -> Iterator[str]:
    specs = [spec for checks in definitions.asset_checks or () for spec in checks.check_specs]
    for spec in sorted(specs, key=lambda spec: (spec.asset_key, spec.name)):
        span = "daily" if spec.partitions_def is not None else "whole"
        blocking = "; blocking" if spec.blocking else ""
        yield f"check {spec.asset_key.to_user_string()}.{spec.name}; {span}{blocking}"


def _automation(definitions: dg.Definitions) -> Iterator[str]:
    for job in sorted(definitions.jobs or (), key=lambda job: job.name):
        yield f"job {job.name}"
    for schedule in sorted(definitions.schedules or (), key=lambda schedule: schedule.name):
        assert isinstance(schedule, dg.ScheduleDefinition)
        yield (
            f"schedule {schedule.name}; job {schedule.job_name}; {schedule.cron_schedule} "
            f"{schedule.execution_timezone}; {schedule.default_status.value}"
        )
    for sensor in sorted(definitions.sensors or (), key=lambda sensor: sensor.name):
        yield f"sensor {sensor.name}; every {sensor.minimum_interval_seconds} s; {sensor.default_status.value}"


if __name__ == "__main__":
    SNAPSHOT.write_text(snapshot(), encoding="utf-8")
    sys.stdout.write(f"{SNAPSHOT} is written anew: read its diff.\n")
