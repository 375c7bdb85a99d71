"""Clocks: what Cowrie's own data say against the clock of a sensor, per day.

Lives here: the two measures that hold water. Not here: events dated after tomorrow (they are counted as out of range
when they are loaded, and make no day).

A session's length. Cowrie takes the `duration` of a session and the timestamps of its events from the same clock, so
that they agree as long as nobody sets that clock: in 27,228 sessions of 13 real sensors they were never more than
0.24 s apart. A clock that is set back while a session runs leaves a session whose events lie farther apart than it
lasted, or whose duration is negative. One that is set forward moves both, and leaves nothing.

The future. An event cannot happen after it was loaded here. One that does comes from a clock that is ahead (or from a
log in local time). That shows only in what is loaded soon: what comes a day late can be a few hours ahead unseen.

So a clock that is behind by a constant, or ahead by less than the logs are late, cannot be told from these data.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import dagster as dg

from cowrie_assets.checks.thresholds import Thresholds, length_in_words
from cowrie_assets.checks.verdict import Verdict, days_of, evaluations_of_days, named
from cowrie_assets.report.escaping import markdown_code
from cowrie_assets.resources import Warehouse
from cowrie_assets.warehouse.event_chunks import Connection, unpack_spans

# Sessions whose beginning and end were both seen: only these must be as long as Cowrie says. Without a duration a
# session was closed before it began.
_QUERY = """
    WITH measured AS (
        SELECT
            day, sensor, session_id,
            extract(EPOCH FROM last_event_at - first_event_at) AS apart,
            coalesce(duration_seconds, 0) AS lasted
        FROM sessions
        WHERE day = ANY(%(days)s) AND closed AND source_port IS NOT NULL
    )
    SELECT
        day, sensor, count(*), coalesce(max(abs(apart - lasted)), 0),
        count(*) FILTER (WHERE abs(apart - lasted) > %(skew)s),
        (array_agg(session_id ORDER BY abs(apart - lasted) DESC, session_id)
            FILTER (WHERE abs(apart - lasted) > %(skew)s))[1:3]
    FROM measured
    GROUP BY day, sensor
    ORDER BY day, sensor
"""
# What was loaded after its day was over holds nothing from the future.
_LOADED_QUERY = """
    SELECT day, sensor, loaded_at, spans
    FROM event_chunks
    WHERE day = ANY(%(days)s) AND loaded_at + make_interval(secs => %(skew)s) < (day + 1)::timestamp AT TIME ZONE 'UTC'
    ORDER BY day, sensor, sequence
"""
_CURE = (
    "Times of these sensors cannot be trusted by that much, and no session is corrected. On the sensor, see whether "
    "its clock is kept (`timedatectl`, `chronyc tracking`) and whether Cowrie logs in UTC."
)


@dataclass
class _Clock:
    """What a day says of a sensor's clock; seconds."""

    sessions: int = 0
    apart: float = 0.0
    disagreeing: int = 0
    examples: list[str] = field(default_factory=list)
    ahead: float = 0.0


def judge_days(connection: Connection, days: Sequence[date], skew: timedelta) -> Iterator[tuple[date, Verdict]]:
    """Each day with its verdict, in words."""
    parameters = {"days": list(days), "skew": skew.total_seconds()}
    clocks: dict[date, dict[str, _Clock]] = defaultdict(lambda: defaultdict(_Clock))
    for day, sensor, sessions, apart, disagreeing, examples in connection.execute(_QUERY, parameters):
        clocks[day][sensor] = _Clock(sessions, float(apart), disagreeing, examples or [])
    for day, sensor, loaded_at, spans in connection.execute(_LOADED_QUERY, parameters):
        last = max((last for _, last in unpack_spans(spans).values()), default=None)
        if last is not None:
            clock = clocks[day][sensor]
            clock.ahead = max(clock.ahead, (datetime.fromisoformat(last) - loaded_at).total_seconds())
    for day in days:
        yield day, _judge(day, clocks.get(day, {}), skew)


def _judge(day: date, clocks: dict[str, _Clock], skew: timedelta) -> Verdict:
    limit = skew.total_seconds()
    found = [words for sensor, clock in sorted(clocks.items()) for words in _findings(sensor, clock, limit)]
    sessions = sum(clock.sessions for clock in clocks.values())
    numbers: dict[str, int | float] = {
        "sessions compared": sessions,
        "sessions that disagree": sum(clock.disagreeing for clock in clocks.values()),
        "farthest apart, seconds": max((clock.apart for clock in clocks.values()), default=0.0),
        "farthest ahead, seconds": max((clock.ahead for clock in clocks.values()), default=0.0),
    }
    if found:
        return Verdict(False, f"{day}: {named(found)}. {_CURE}", numbers)
    within = length_in_words(skew)
    if not clocks:
        return Verdict(True, f"{day}: no session to judge.", numbers)
    return Verdict(
        True,
        f"{day}: {sessions:,} sessions of {len(clocks)} sensors are as long as Cowrie says, within {within}, and no "
        "event came from the future.",
        numbers,
    )


def _findings(sensor: str, clock: _Clock, limit: float) -> Iterator[str]:
    name = markdown_code(sensor)
    if clock.disagreeing:
        examples = ", ".join(markdown_code(session) for session in clock.examples)
        yield (
            f"{name}: the clock was set while sessions ran: {clock.disagreeing:,} of {clock.sessions:,} are up to "
            f"{length_in_words(_rounded(clock.apart))} longer or shorter by their events than Cowrie says "
            f"(`cowrie-assets session <id>` of {examples})"
        )
    if clock.ahead > limit:
        yield (
            f"{name}: the clock is at least {length_in_words(_rounded(clock.ahead))} ahead: it sent events that had "
            "not happened yet when they were loaded here"
        )


def _rounded(seconds: float) -> timedelta:
    """To minutes, from two minutes on."""
    return timedelta(minutes=round(seconds / 60)) if seconds >= 120 else timedelta(seconds=round(seconds))


def clock_checks(daily: dg.DailyPartitionsDefinition, thresholds: Thresholds) -> dg.AssetChecksDefinition:
    skew = thresholds.clock_skew
    threshold = f"at most {length_in_words(skew)} apart"

    @dg.multi_asset_check(
        specs=[
            dg.AssetCheckSpec(
                "clocks_agree",
                asset="sessions",
                partitions_def=daily,
                description=(
                    f"Sessions are as long as Cowrie says, within {length_in_words(skew)}, and no event came from the "
                    "future. A clock that is behind, or ahead by less than the logs come late, cannot be told from "
                    "the logs."
                ),
            )
        ],
        can_subset=True,
    )
    def clock_skew(context: dg.AssetCheckExecutionContext, warehouse: Warehouse) -> Iterable[dg.AssetCheckEvaluation]:
        with warehouse.connect() as connection:
            verdicts = dict(judge_days(connection, days_of(context), skew))
        for key in context.selected_asset_check_keys:
            query = f"{_QUERY};\n{_LOADED_QUERY}"
            yield from evaluations_of_days(context.instance, key, verdicts, threshold=threshold, sql=query)

    return clock_skew
