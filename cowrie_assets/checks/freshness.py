"""Freshness: whether the newest complete day is there, and nothing that was ingested waits to be built.

Lives here: one check of the view that everybody reads, over all daily assets, judged from the warehouse; and the names
of the checks whose verdict changes while nothing runs. Not here: when they are run. Dagster's own policy looks at when
an asset was last materialized: a backfill of a day in spring made an asset fresh that had stood still for a week.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import dagster as dg

from cowrie_assets.assets.ingestion import partition_days
from cowrie_assets.assets.lists import LISTS
from cowrie_assets.assets.reconstruction import DAILY_ASSETS
from cowrie_assets.checks.thresholds import Thresholds, UpToDate, length_in_words
from cowrie_assets.checks.verdict import Verdict, evaluation
from cowrie_assets.report.escaping import markdown_code
from cowrie_assets.resources import Warehouse
from cowrie_assets.warehouse.event_chunks import Connection

# Old logs that nobody adds to, by all appearances.
_ARCHIVE = timedelta(days=30)
# By asset and day, what is not built from the events that there are. A day has waited at least since its last events
# came; those of the day after may belong to its sessions. A frozen day is never rebuilt, whatever comes.
_WAITING_QUERY = """
    SELECT a.asset, d.day, c.loaded_at, f.reason
    FROM unnest(%(assets)s::text[]) AS a (asset)
    CROSS JOIN event_days AS d
    LEFT JOIN day_builds AS b ON a.asset = b.asset AND d.day = b.day
    LEFT JOIN day_failures AS f ON a.asset = f.asset AND d.day = f.day AND d.revision = f.revision
    LEFT JOIN LATERAL (
        SELECT max(loaded_at) AS loaded_at FROM event_chunks WHERE day BETWEEN d.day AND d.day + 1
    ) AS c ON TRUE
    WHERE
        b.revision IS DISTINCT FROM d.revision
        AND d.day <= %(newest)s
        AND NOT EXISTS (SELECT FROM frozen_days AS z WHERE z.day = d.day)
    ORDER BY a.asset, d.day
"""
_NEWEST_QUERY = """
    SELECT max(day) AS newest_day, bool_or(day = %(newest)s) AS is_there
    FROM event_chunks WHERE day <= %(today)s
"""
_RUN_AGAIN = "run `make run`, or in the UI the job ingest"


@dataclass(frozen=True)
class _Waiting:
    day: date
    loaded_at: datetime | None
    reason: str | None


@dataclass(frozen=True)
class Moment:
    """When it is judged, when the logs were last read (None: never), after how many days a day is taken as complete,
    and the operator's first day, if there is one."""

    now: datetime
    ingested_at: datetime | None
    lag: int = 1
    first_day: date | None = None

    @property
    def newest_day(self) -> date:
        """The newest day that must be there; today never is complete."""
        return self.now.date() - timedelta(days=max(1, self.lag))


def judge(connection: Connection, limits: UpToDate, moment: Moment) -> Verdict:
    """Whether the daily assets are up to date, in words."""
    if not limits.enabled:
        return Verdict(True, "Not judged: [checks.up_to_date] enabled = false in sensors.toml.")
    newest = moment.newest_day
    waiting = _waiting(connection, moment)
    row = connection.execute(_NEWEST_QUERY, {"newest": newest, "today": moment.now.date()}).fetchone()
    newest_event, is_there = row or (None, None)
    late = {
        asset: [d for d in days if d.loaded_at is None or moment.now - d.loaded_at > limits.built_within]
        for asset, days in waiting.items()
    }
    problems = [*_not_read(limits, moment, newest_event, bool(is_there)), *_not_built(limits, late)]
    numbers: dict[str, int | str] = {
        "newest complete day": newest.isoformat(),
        "newest day with events": newest_event.isoformat() if newest_event else "none",
        "logs last read": f"{moment.ingested_at:%Y-%m-%d %H:%M} UTC" if moment.ingested_at else "never",
        **{f"{asset}, days that wait": len(waiting[asset]) for asset in DAILY_ASSETS if waiting[asset]},
    }
    if problems:
        return Verdict(False, " ".join(problems), numbers)
    read = f"the logs were last read {moment.ingested_at:%Y-%m-%d %H:%M} UTC"
    if not is_there:
        return Verdict(True, f"{newest} was not ingested yet, and is not due: {read}.", numbers)
    soon = len({d.day for days in waiting.values() for d in days})
    rest = f" {soon} days came in just now and are being built." if soon else ""
    return Verdict(True, f"Every daily asset is built up to {newest}, the newest complete day; {read}.{rest}", numbers)


def _waiting(connection: Connection, moment: Moment) -> dict[str, list[_Waiting]]:
    waiting: dict[str, list[_Waiting]] = defaultdict(list)
    parameters = {"assets": list(DAILY_ASSETS), "newest": moment.newest_day}
    rows = connection.execute(_WAITING_QUERY, parameters).fetchall()
    partitions = partition_days((day for _, day, _, _ in rows), moment.first_day, moment.now)
    for asset, day, loaded_at, reason in rows:
        if day in partitions:
            waiting[asset].append(_Waiting(day, loaded_at, reason))
    return waiting


def _not_read(limits: UpToDate, moment: Moment, newest_event: date | None, is_there: bool) -> Iterable[str]:
    """What is wrong with the reading of logs: it did not happen, or it did and brought nothing of the newest day."""
    if moment.ingested_at is None:
        yield f"The logs were never read here: {_RUN_AGAIN}."
        return
    ago = moment.now - moment.ingested_at
    if ago > limits.ingested_within:
        yield (
            f"The logs were last read {moment.ingested_at:%Y-%m-%d %H:%M} UTC, {_about(ago)} ago (at most "
            f"{length_in_words(limits.ingested_within)} wanted). Look whether the schedule every_day is on and its "
            f"last run of ingest succeeded; then {_RUN_AGAIN}."
        )
    newest = moment.newest_day
    day_over = datetime.combine(newest + timedelta(days=1), time(), UTC)
    if not is_there and moment.ingested_at >= day_over:
        last = f"the newest event is of {newest_event}" if newest_event else "there is no event at all"
        old = newest_event is not None and newest - newest_event > _ARCHIVE
        cure = (
            "If these are old logs that nobody adds to, set enabled = false in [checks.up_to_date] of sensors.toml."
            if old
            else "Look whether the sensors are up and their logs arrive (the check sensors_heard names them)."
        )
        yield f"No event of {newest} came, though the logs were read since: {last}. {cure}"


def _not_built(limits: UpToDate, late: dict[str, list[_Waiting]]) -> Iterable[str]:
    """What is wrong with the building: each asset with days that wait, but for those that wait for the sessions."""
    behind_sessions = {d.day for d in late.get("sessions", [])}
    for asset in DAILY_ASSETS:
        days = late.get(asset, [])
        own = days if asset == "sessions" else [d for d in days if d.day not in behind_sessions]
        if not own:
            continue
        oldest = own[0]
        why = f" ({markdown_code(oldest.reason)})" if oldest.reason else ""
        yield (
            f"{asset}: {len(own)} days wait to be built for more than {length_in_words(limits.built_within)}, the "
            f"oldest {oldest.day}{why}. See what became of the last run of the job daily, and run it over these days."
        )


def _about(length: timedelta) -> str:
    hours = length.total_seconds() / 3600
    return f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:.0f} days"


def last_ingestion(instance: dg.DagsterInstance) -> datetime | None:
    """When the asset `events` was last materialized: also a run that found nothing new has read the logs."""
    newest = instance.get_latest_materialization_event(dg.AssetKey("events"))
    return datetime.fromtimestamp(newest.timestamp, UTC) if newest is not None else None


UP_TO_DATE = dg.AssetCheckKey(dg.AssetKey("session_summaries"), "up_to_date")
# Their verdict changes while nothing runs, so that something has to run them.
WATCHED = [
    UP_TO_DATE,
    dg.AssetCheckKey(dg.AssetKey("geo_databases"), "is_current"),
    *(dg.AssetCheckKey(dg.AssetKey(name), "is_current") for name in LISTS),
]
WATCHED_DAILY = [dg.AssetCheckKey(dg.AssetKey("sessions"), "sensors_heard")]
WATCH_JOB, WATCH_DAY_JOB = "watch", "watch_day"

_WATCH = dg.define_asset_job(
    WATCH_JOB,
    selection=dg.AssetSelection.checks(*WATCHED),
    description="The checks that time alone can turn: up to date, age of lists and geo files. Materializes nothing.",
)
_WATCH_DAY = dg.define_asset_job(
    WATCH_DAY_JOB,
    selection=dg.AssetSelection.checks(*WATCHED_DAILY),
    description=(
        "Which sensors were silent on a day, also one that nothing rebuilds because no event came. Needs the tag "
        "dagster/partition. Materializes nothing."
    ),
)


def watch_jobs() -> Sequence[Any]:
    """The jobs that run checks alone (Dagster has no public name for their type before they are resolved)."""
    return [_WATCH, _WATCH_DAY]


def freshness_checks(thresholds: Thresholds, first_day: date | None, lag: int) -> dg.AssetChecksDefinition:
    limits = thresholds.up_to_date
    threshold = (
        f"newest complete day: today minus {max(1, lag)}; logs read within {length_in_words(limits.ingested_within)}, "
        f"built within {length_in_words(limits.built_within)}"
    )

    @dg.multi_asset_check(
        specs=[
            dg.AssetCheckSpec(
                UP_TO_DATE.name,
                asset=UP_TO_DATE.asset_key,
                description=(
                    "The newest complete day is there and built in every daily asset, nothing that was ingested waits, "
                    f"and the logs were read within {length_in_words(limits.ingested_within)}. Running an old day "
                    "again makes nothing fresh."
                ),
            )
        ],
        can_subset=True,
    )
    def freshness(context: dg.AssetCheckExecutionContext, warehouse: Warehouse) -> Iterable[dg.AssetCheckEvaluation]:
        moment = Moment(datetime.now(UTC), last_ingestion(context.instance), lag, first_day)
        with warehouse.connect() as connection:
            if warehouse.mode == "sandbox":
                verdict = Verdict(True, "Not judged: the sandbox's traffic is invented, and of days long past.")
            else:
                verdict = judge(connection, limits, moment)
        for key in context.selected_asset_check_keys:
            sql = f"{_NEWEST_QUERY};\n{_WAITING_QUERY}"
            yield evaluation(key, verdict, threshold=threshold, sql=sql)

    return freshness
