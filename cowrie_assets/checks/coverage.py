"""Coverage (promise P9): how much of what a service could be asked about is answered, per day and overall.

Lives here: a check a service. Not here: the counting (`sql/verify_enrichment_coverage.sql`). They warn and never block:
answers arrive at the rate that the services permit.
"""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta

import dagster as dg

from cowrie_assets.assets.questions import QUESTIONS
from cowrie_assets.checks.thresholds import GATED, Thresholds
from cowrie_assets.checks.verdict import Verdict, days_of, evaluation, evaluations_of_days
from cowrie_assets.resources import Warehouse
from cowrie_assets.warehouse.coverage import Coverage, Gates, coverage
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets.warehouse.views import sql_file

_SQL = "verify_enrichment_coverage.sql"
_KEYS = {
    "dshield": "set DSHIELD_EMAIL to a contact address",
    "urlhaus": "set URLHAUS_API_KEY (free, auth.abuse.ch)",
    "spur": "set SPUR_API_KEY",
    "virustotal": "set VT_API_KEY (free for non-commercial use, virustotal.com)",
}
# The assets that ask: which to materialize where nothing was asked yet.
_ASKED_BY = {question.service: question.asset for question in QUESTIONS.values()} | {"cymru": "ip_inventory"}


def judge(row: Coverage | None) -> Verdict:
    """Whether it passes, in words; a service that is not configured passes, and says so."""
    if row is None or not row.eligible_sessions:
        return Verdict(True, "No session is eligible.", {"answered share": 1.0, "eligible sessions": 0})
    numbers = {
        "answered share": 1.0 if row.answered_share is None else float(row.answered_share),
        "answered sessions": row.answered_sessions,
        "eligible sessions": row.eligible_sessions,
    }
    if row.gate == "not configured":
        cure = f" To have it, {_KEYS[row.service]}." if (row.main_reason or "").startswith("no key") else ""
        return Verdict(True, f"Not configured, out of the gate: {row.main_reason}.{cure}", numbers)
    return Verdict(not row.below, f"{row.words} {_cure(row)}".rstrip(), numbers)


def _cure(row: Coverage) -> str:
    if not row.below:
        return ""
    if row.never_asked:
        return f"Nobody asked yet: materialize {_ASKED_BY[row.service]}, or run the job daily."
    return "The next run goes on where this one stopped."


def coverage_of_days(connection: Connection, days: Sequence[date], gates: Gates) -> dict[tuple[str, date], Coverage]:
    """By service and day; a day without sessions is in none."""
    window = (min(days).isoformat(), (max(days) + timedelta(days=1)).isoformat())
    rows = coverage(connection, *window, gates)
    return {(row.service, row.day): row for row in rows if row.day is not None}


def coverage_checks(daily: dg.DailyPartitionsDefinition, thresholds: Thresholds) -> list[dg.AssetChecksDefinition]:
    return [_daily_checks(daily, thresholds.coverage), _overall_checks(thresholds.coverage)]


def _daily_checks(daily: dg.DailyPartitionsDefinition, gates: Gates) -> dg.AssetChecksDefinition:
    # One step for all services and days: the file counts every service at once.
    @dg.multi_asset_check(
        specs=[
            dg.AssetCheckSpec(
                "answered",
                asset=question.asset,
                partitions_def=daily,
                description=(
                    f"The service answered for at least {gates.of(question.service):.0%} of the day's eligible "
                    "sessions."
                ),
            )
            for question in QUESTIONS.values()
        ],
        can_subset=True,
    )
    def coverage_by_day(
        context: dg.AssetCheckExecutionContext, warehouse: Warehouse
    ) -> Iterable[dg.AssetCheckEvaluation]:
        days = days_of(context)
        with warehouse.connect() as connection:
            known = coverage_of_days(connection, days, gates)
        for key in sorted(context.selected_asset_check_keys):
            service = QUESTIONS[key.asset_key.to_user_string()].service
            verdicts = {day: _of_day(judge(known.get((service, day))), day) for day in days}
            yield from evaluations_of_days(context.instance, key, verdicts, threshold=_threshold(gates.of(service)))

    return coverage_by_day


def _overall_checks(gates: Gates) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(
        specs=[
            dg.AssetCheckSpec(
                f"{service}_answered",
                asset="session_summaries",
                description=f"{service} answered for at least {gates.of(service):.0%} of all eligible sessions.",
            )
            for service in GATED
        ],
        can_subset=True,
    )
    def coverage_overall(
        context: dg.AssetCheckExecutionContext, warehouse: Warehouse
    ) -> Iterable[dg.AssetCheckEvaluation]:
        with warehouse.connect() as connection:
            overall = {row.service: row for row in coverage(connection, gates=gates) if row.day is None}
        sql = sql_file(_SQL).read_text(encoding="utf-8")
        for key in sorted(context.selected_asset_check_keys):
            service = key.name.removesuffix("_answered")
            yield evaluation(key, judge(overall.get(service)), threshold=_threshold(gates.of(service)), sql=sql)

    return coverage_overall


def _of_day(verdict: Verdict, day: date) -> Verdict:
    # The file by name: Dagster keeps each day's evaluation for ever, three times, and 22 kB of SQL were most of it.
    return Verdict(verdict.passed, f"{day}: {verdict.words}", {**verdict.numbers, "sql": f"sql/{_SQL}"})


def _threshold(gate: float) -> str:
    return f"answered for at least {gate:.0%} of the eligible sessions"
