"""Silence: a sensor that reported daily and has no event on a day, per day.

Lives here: who reported daily, who was not heard. Not here: how logs get here (docs/logs.md). A sensor that falls
silent for good is told on the first days only: with each of them it has fewer days behind it, and soon it is none that
reports daily.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from cowrie_assets.checks.thresholds import Silence, Thresholds
from cowrie_assets.checks.verdict import Verdict, days_of, evaluations_of_days, named
from cowrie_assets.report.escaping import markdown_code
from cowrie_assets.resources import Warehouse
from cowrie_assets.warehouse.event_chunks import Connection

# Read once for all days of a run, with the days before the first of them.
_QUERY = """
    SELECT sensor, day, sum(event_count)
    FROM event_chunks
    WHERE day BETWEEN %s AND %s
    GROUP BY sensor, day
"""
_CURE = (
    "Look whether it is up and Cowrie runs on it, whether its log still arrives in the folder that is read here (a "
    "full disk, an expired key, a renamed path), and whether it reports under another name now; then run ingest. "
    "Events that come late make the day right."
)


@dataclass(frozen=True)
class _Sensor:
    """What a sensor sent in the days before a day: on how many of them, when last, how many events a day."""

    name: str
    heard: int
    last_day: date
    usual: int

    def told(self, days: int) -> str:
        return (
            f"{markdown_code(self.name)} (events on {self.heard} of the {days} days before, last on {self.last_day}, "
            f"about {self.usual:,} a day)"
        )


def judge_days(
    connection: Connection, days: Sequence[date], silence: Silence, now: datetime
) -> Iterator[tuple[date, Verdict]]:
    """Each day with its verdict, in words."""
    before = timedelta(days=silence.days)
    events: dict[str, dict[date, int]] = defaultdict(dict)
    for sensor, day, count in connection.execute(_QUERY, (min(days) - before, max(days))):
        events[sensor][day] = int(count)
    for day in days:
        yield day, _judge(events, day, silence, now)


def _judge(events: dict[str, dict[date, int]], day: date, silence: Silence, now: datetime) -> Verdict:
    if now < datetime.combine(day + timedelta(days=1), datetime.min.time(), UTC):
        return Verdict(True, f"{day}: the day is not over, so nobody is silent yet.")
    window = [day - timedelta(days=number) for number in range(1, silence.days + 1)]
    heard = {sensor: counts[day] for sensor, counts in events.items() if day in counts}
    silent = [
        _Sensor(sensor, len(known), max(known), sum(counts[past] for past in known) // len(known))
        for sensor, counts in sorted(events.items())
        if sensor not in heard and (known := [past for past in window if past in counts])
    ]
    daily = [sensor for sensor in silent if sensor.heard >= silence.heard]
    numbers = {"sensors heard": len(heard), "sensors silent": len(daily), "events": sum(heard.values())}
    # Of several that each report now and then somebody was heard nearly every day.
    days_with_events = sum(any(past in counts for counts in events.values()) for past in window)
    if not heard and days_with_events >= silence.heard:
        who = named([sensor.told(silence.days) for sensor in silent])
        words = (
            f"{day}: no event of any sensor, on {days_with_events} of the {silence.days} days before there were: {who}."
        )
        return Verdict(False, f"{words} All at once: first look at what brings the logs here. {_CURE}", numbers)
    if daily:
        who = named([sensor.told(silence.days) for sensor in daily])
        words = f"{day}: {len(daily)} of {len(heard) + len(daily)} sensors silent: {who}."
        return Verdict(False, f"{words} {_CURE}", numbers)
    words = f"{day}: {len(heard)} sensors heard, none that reports daily is missing." if heard else f"{day}: no event."
    if silent:
        rare = named([f"{markdown_code(s.name)} ({s.heard} of {silence.days})" for s in silent])
        words += f" Not heard, and not expected: {rare} had events on fewer than {silence.heard} of the days before."
    return Verdict(True, words, numbers)


def silence_checks(daily: dg.DailyPartitionsDefinition, thresholds: Thresholds) -> dg.AssetChecksDefinition:
    silence = thresholds.silence
    threshold = f"events on at least {silence.heard} of the {silence.days} days before, and none on the day"

    @dg.multi_asset_check(
        specs=[
            dg.AssetCheckSpec(
                "sensors_heard",
                asset="sessions",
                partitions_def=daily,
                description=(
                    "No sensor that reported daily is silent. Fails for a sensor with " + threshold + "; one that is "
                    "silent for longer, or was only heard now and then, is not expected."
                ),
            )
        ],
        can_subset=True,
    )
    def sensor_silence(
        context: dg.AssetCheckExecutionContext, warehouse: Warehouse
    ) -> Iterable[dg.AssetCheckEvaluation]:
        days = days_of(context)
        with warehouse.connect() as connection:
            verdicts = dict(judge_days(connection, days, silence, datetime.now(UTC)))
        for key in context.selected_asset_check_keys:
            yield from evaluations_of_days(context.instance, key, verdicts, threshold=threshold, sql=_QUERY)

    return sensor_silence
