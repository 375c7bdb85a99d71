"""Coverage (promise P9): how much of what a service could be asked about is answered, per day and overall.

Lives here: a check a service. Not here: the counting (`sql/verify_enrichment_coverage.sql`). They warn and never block:
answers arrive at the rate that the services permit.
"""

from collections.abc import Iterable
from datetime import date, timedelta

import dagster as dg

from cowrie_assets.assets.face import sql_metadata
from cowrie_assets.assets.questions import QUESTIONS, Question
from cowrie_assets.resources import Warehouse
from cowrie_assets.warehouse.coverage import Coverage, coverage

# GreyNoise is a sample and has no gate.
GATED = (*(question.service for question in QUESTIONS.values()), "cymru")
_SQL = "verify_enrichment_coverage.sql"
_KEYS = {
    "dshield": "set DSHIELD_EMAIL to a contact address",
    "urlhaus": "set URLHAUS_API_KEY (free, auth.abuse.ch)",
    "spur": "set SPUR_API_KEY",
    "virustotal": "set VT_API_KEY (free for non-commercial use, virustotal.com)",
}


def judge(row: Coverage) -> tuple[bool, str]:
    """Whether it passes, in words; a service that is not configured passes, and says so."""
    if row.gate == "not configured":
        cure = f" To have it, {_KEYS[row.service]}." if (row.main_reason or "").startswith("no key") else ""
        return True, f"Not configured, out of the gate: {row.main_reason}.{cure}"
    cure = " The next run goes on where this one stopped." if row.below else ""
    return not row.below, row.words + cure


def coverage_checks(daily: dg.DailyPartitionsDefinition) -> list[dg.AssetChecksDefinition]:
    return [*(_daily_check(daily, question) for question in QUESTIONS.values()), _overall_checks()]


def _daily_check(daily: dg.DailyPartitionsDefinition, question: Question) -> dg.AssetChecksDefinition:
    # Evaluations with a partition of their own: a check result of a run over several days loses its day.
    @dg.multi_asset_check(
        name=f"{question.service}_coverage",
        specs=[
            dg.AssetCheckSpec(
                "answered",
                asset=question.asset,
                partitions_def=daily,
                description="The service answered for at least 80 % of the day's eligible sessions.",
            )
        ],
        can_subset=True,
    )
    def coverage_of_days(
        context: dg.AssetCheckExecutionContext, warehouse: Warehouse
    ) -> Iterable[dg.AssetCheckEvaluation]:
        days = [date.fromisoformat(key) for key in context.op_execution_context.partition_keys]
        with warehouse.connect() as connection:
            rows = coverage(connection, min(days).isoformat(), (max(days) + timedelta(days=1)).isoformat())
        by_day = {row.day: row for row in rows if row.service == question.service and row.day is not None}
        for key in context.selected_asset_check_keys:
            for day in days:
                passed, words = judge(by_day[day]) if day in by_day else (True, "No session to judge.")
                yield _evaluation(key, passed, f"{day}: {words}", by_day.get(day), day)

    return coverage_of_days


def _overall_checks() -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(
        specs=[
            dg.AssetCheckSpec(
                f"{service}_answered",
                asset="session_summaries",
                description=f"{service} answered for at least 80 % of all eligible sessions.",
            )
            for service in GATED
        ],
        can_subset=True,
    )
    def coverage_overall(
        context: dg.AssetCheckExecutionContext, warehouse: Warehouse
    ) -> Iterable[dg.AssetCheckEvaluation]:
        with warehouse.connect() as connection:
            overall = {row.service: row for row in coverage(connection) if row.day is None}
        for key in sorted(context.selected_asset_check_keys):
            row = overall.get(key.name.removesuffix("_answered"))
            passed, words = judge(row) if row is not None else (True, "No session to judge.")
            yield _evaluation(key, passed, words, row)

    return coverage_overall


def _evaluation(
    key: dg.AssetCheckKey, passed: bool, words: str, row: Coverage | None, day: date | None = None
) -> dg.AssetCheckEvaluation:
    share = None if row is None else row.answered_share
    return dg.AssetCheckEvaluation(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=words,
        partition=None if day is None else day.isoformat(),
        metadata={
            "answered share": dg.MetadataValue.float(1.0 if share is None else float(share)),
            "sql": sql_metadata(_SQL),
        },
    )
