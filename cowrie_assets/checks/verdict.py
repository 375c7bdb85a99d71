"""The form in which every check answers: passed or not, in words, with the numbers behind them.

Lives here: a verdict, and how Dagster is told of it. Not here: anything that is measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date

import dagster as dg

# No public name. Without it Dagster takes a verdict for one on an older materialization, and shows the day as missing.
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData as Judged,
)

from cowrie_assets.assets.previous import Entry, newest_of_days


@dataclass(frozen=True)
class Verdict:
    """`words` say what was found, and where it fails why, and what to do; `numbers` are shown beside them."""

    passed: bool
    words: str
    numbers: Mapping[str, Entry] = field(default_factory=dict)


def days_of(context: dg.AssetCheckExecutionContext) -> list[date]:
    """The days that a run of a daily check is about.

    Raises:
        dg.Failure: the run is about no day.
    """
    run = context.op_execution_context
    if not (run.has_partition_key or run.has_partition_key_range):
        raise dg.Failure("This check judges days: choose a day, or give the run the tag dagster/partition.")
    return [date.fromisoformat(key) for key in run.partition_keys]


def evaluation(
    key: dg.AssetCheckKey,
    verdict: Verdict,
    *,
    threshold: str,
    sql: str | None = None,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.WARN,
    day: date | None = None,
    judged: Judged | None = None,
) -> dg.AssetCheckEvaluation:
    """What Dagster stores; `judged` is the materialization that the verdict is about."""
    shown = {} if sql is None else {"sql": dg.MetadataValue.md(f"```sql\n{sql}\n```")}
    return dg.AssetCheckEvaluation(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=verdict.passed,
        severity=severity,
        description=verdict.words,
        partition=None if day is None else day.isoformat(),
        metadata={**verdict.numbers, "threshold": threshold, **shown},
        target_materialization_data=judged,
    )


def evaluations_of_days(
    instance: dg.DagsterInstance,
    key: dg.AssetCheckKey,
    verdicts: Mapping[date, Verdict],
    *,
    threshold: str,
    sql: str | None = None,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.WARN,
) -> Iterator[dg.AssetCheckEvaluation]:
    """One for each day, about its newest materialization: a check *result* of a run over several days is stored without
    any day, and stands beside as many that were planned and never came."""
    judged = {
        day: Judged(storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp)
        for day, record in newest_of_days(instance, key.asset_key, verdicts).items()
    }
    for day, verdict in verdicts.items():
        yield evaluation(key, verdict, threshold=threshold, sql=sql, severity=severity, day=day, judged=judged.get(day))


def named(names: list[str], most: int = 5) -> str:
    """The first of many, and how many more there are."""
    told = ", ".join(names[:most])
    return told if len(names) <= most else f"{told} and {len(names) - most} more"
