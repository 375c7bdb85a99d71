"""Schedules: what runs because it is time.

Lives here: their times and descriptions. Not here: what runs because something happened (`sensors`), jobs.
"""

from __future__ import annotations

import dagster as dg

from cowrie_assets.automation.cadence import Cadence
from cowrie_assets.automation.jobs import HOUSEKEEPING_RUNS, INGEST_RUNS, LISTS_RUNS, range_tags

DAILY_SCHEDULE = "every_day"


def schedules(cadence: Cadence) -> list[dg.ScheduleDefinition]:
    at = "{:02}:{:02}".format(*cadence.daily_at)
    zone = cadence.timezone
    status = dg.DefaultScheduleStatus.RUNNING if cadence.switched_on else dg.DefaultScheduleStatus.STOPPED

    @dg.schedule(
        name="silent_sensors",
        job_name="watch_day",
        cron_schedule=cadence.after_daily_cron,
        execution_timezone=zone,
        default_status=status,
        description=(
            "Every day, two hours after the daily run: whether a sensor was silent on the newest complete day, also "
            "where nothing rebuilt that day, because no event of it came."
        ),
    )
    def silent_sensors(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        day = cadence.newest_day(context.scheduled_execution_time)
        # By tag: a job of checks alone has no partitions of its own.
        return dg.RunRequest(run_key=day.isoformat(), tags=range_tags(day, day))

    return [
        dg.ScheduleDefinition(
            name=DAILY_SCHEDULE,
            job=INGEST_RUNS,
            cron_schedule=cadence.daily_cron,
            execution_timezone=zone,
            default_status=status,
            description=(
                f"Every day at {at} ({zone}): load the logs; then, by the sensor due_days, refresh what is stale, "
                f"enrich, snapshot and query the days up to {_newest(cadence)}."
            ),
        ),
        dg.ScheduleDefinition(
            name="current_lists",
            job=LISTS_RUNS,
            cron_schedule=cadence.lists_cron,
            execution_timezone=zone,
            default_status=status,
            description=(
                f"Every {cadence.lists_every} hours: fetch geo files and range lists whose copy is no longer current."
            ),
        ),
        dg.ScheduleDefinition(
            name="watch",
            job_name="watch",
            cron_schedule="7 * * * *",
            execution_timezone=zone,
            default_status=status,
            description="Every hour: the checks that time alone can turn red. They are cheap, and materialize nothing.",
        ),
        dg.ScheduleDefinition(
            name="housekeeping",
            job=HOUSEKEEPING_RUNS,
            cron_schedule="40 3 * * *",
            execution_timezone=zone,
            default_status=status,
            description=f"Every day at 03:40 ({zone}): measure disk use, and trim what is past its retention.",
        ),
        silent_sensors,
    ]


def _newest(cadence: Cadence) -> str:
    return {0: "today", 1: "yesterday"}.get(cadence.lag, f"{cadence.lag} days ago")
