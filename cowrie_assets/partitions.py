"""The day: the one partition definition that all daily assets share.

Lives here: where days begin and end. Not here: which days are due (`assets.reconstruction`).
"""

from __future__ import annotations

from datetime import date

import dagster as dg

# Thirty days a run: 390 trivial days took 120 s in runs of thirty, about 40 minutes in runs of one.
DAYS_PER_RUN = 30


def daily_partitions(first_day: date) -> dg.DailyPartitionsDefinition:
    """Days in UTC from the first one to today; today is a partition too, so that a demo shows its last day."""
    return dg.DailyPartitionsDefinition(start_date=first_day.isoformat(), timezone="UTC", end_offset=1)


def backfill_policy() -> dg.BackfillPolicy:
    return dg.BackfillPolicy.multi_run(max_partitions_per_run=DAYS_PER_RUN)


def ranges(days: set[date]) -> list[tuple[date, date]]:
    """Contiguous stretches of at most `DAYS_PER_RUN` days, oldest first: what one run can take."""
    stretches: list[tuple[date, date]] = []
    for day in sorted(days):
        if stretches:
            first, last = stretches[-1]
            if day.toordinal() == last.toordinal() + 1 and day.toordinal() - first.toordinal() < DAYS_PER_RUN:
                stretches[-1] = (first, day)
                continue
        stretches.append((day, day))
    return stretches
