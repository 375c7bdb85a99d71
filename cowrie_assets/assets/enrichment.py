"""The daily assets that hold answers: what DShield, URLhaus and Spur said of a day's sources, VirusTotal of its files,
and Pwned Passwords of its passwords.

Lives here: their Dagster definitions. Not here: which questions a day raises (`questions`), asking
(`cowrie_assets.lookup`).
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from time import monotonic

import dagster as dg
from pydantic import Field

from cowrie_assets.assets.daily import DailyRun
from cowrie_assets.assets.face import OWNERS, made_by
from cowrie_assets.assets.patience import patient
from cowrie_assets.assets.questions import QUESTIONS, Needs, Question
from cowrie_assets.assets.shown_answers import answers_of_days, cost_of_run
from cowrie_assets.lookup.asking import NOT_THIS_TIME, Asking, Tally, ask
from cowrie_assets.lookup.services import Service
from cowrie_assets.partitions import backfill_policy
from cowrie_assets.progress import progress
from cowrie_assets.resources import AnswerCache, ServiceClient, Warehouse

DESCRIPTIONS = {
    "dshield_enrichment": (
        "DShield (SANS Internet Storm Center): how many targets reported attacks by the address, and since when. One "
        "row a day and source address"
    ),
    "urlhaus_enrichment": (
        "URLhaus (abuse.ch): malware that the address was seen to serve. One row a day and source address"
    ),
    "spur_enrichment": (
        "Spur: VPNs, proxies and Tor behind the address, and the kind of line it is. One row a day and source address"
    ),
    "virustotal_files": (
        "VirusTotal: what the engines call a file that a session brought or left, by its SHA-256 alone; the file "
        "itself goes nowhere. Whether a session is flagged follows from it. One row a day and file"
    ),
    "password_stats": (
        "Pwned Passwords (HIBP): how many of a session's passwords are in known breaches, and how often the most "
        "frequent of them; asked about by the first five digits of their SHA-1. One row a session that tried to log in"
    ),
}


class Questions(dg.Config):
    """How long and how much to ask."""

    max_time: float | None = Field(
        default=None, description="Seconds to wait for the service's rate. Empty: [enrichment] max_time, 30 minutes."
    )
    most: int | None = Field(default=None, description="Keys to ask about at most. Empty: all that have no answer.")
    commit_interval: int | None = Field(
        default=None,
        description="Write the days' rows anew after so many keys. (Each answer is kept at once.) Empty: at the end.",
        gt=0,
    )


def enrichment_assets(daily: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    return [_enrichment_asset(daily, question) for question in QUESTIONS.values()]


def _enrichment_asset(daily: dg.DailyPartitionsDefinition, question: Question) -> dg.AssetsDefinition:
    @dg.asset(
        name=question.asset,
        partitions_def=daily,
        backfill_policy=backfill_policy(),
        deps=["sessions"],
        group_name="enrichment",
        kinds={"postgres", "api"},
        owners=OWNERS,
        metadata=made_by(question.sql),
        required_resource_keys={"warehouse", "answer_cache", question.service},
        description=(
            f"{DESCRIPTIONS[question.asset]}, with the outcome of the question and the answer nearest to the day. Each "
            "distinct key is asked about once, at the permitted rate; what is not answered says why and is asked again "
            "by the next run. Running a day twice asks nothing twice, and keeps what was learnt then."
        ),
    )
    @patient
    def enrichment(context: dg.AssetExecutionContext, config: Questions) -> None:
        """Ask about all days of the run at once, then write each; each commits alone."""
        warehouse: Warehouse = context.resources.warehouse
        client: ServiceClient = getattr(context.resources, question.service)
        cache: AnswerCache = context.resources.answer_cache
        run = DailyRun(context)
        with warehouse.connect() as connection:
            with progress(warehouse.state, question.asset, question.unit) as reporter:
                needs = question.needs(connection, run.days)
                asking = cache.asking(
                    warehouse, connection, context.run.run_id, reporter.follow, config.max_time, config.most,
                    context.log.warning,
                )  # fmt: skip

                def write() -> None:
                    for day in run.days:
                        run.build(day, lambda day: _metadata(question, question.write(connection, day)))

                tally = _ask_in_parts(asking, client.service(), needs, config.commit_interval, write)
                _log(context.log.info, question, tally)
                write()
            run.show(answers_of_days(connection, question, run.built))
            cost = {**_asked(question, tally), **cost_of_run(connection, client.service(), context.run.run_id)}
            run.finish(connection, {f"run: {name}": value for name, value in cost.items()})

    return enrichment


def _ask_in_parts(
    asking: Asking, service: Service, needs: Needs, interval: int | None, write: Callable[[], None]
) -> Tally:
    """Ask, and have the rows written whenever `interval` more keys have been asked about."""
    if interval is None:
        return ask(asking, service, needs.moments, needs.sources)
    whole = Tally(asked=len(needs.moments))
    ends_at, left = monotonic() + asking.seconds, asking.most
    while True:
        part = interval if left is None else min(interval, left)
        limited = replace(asking, seconds=max(0.0, ends_at - monotonic()), most=part)
        tally = ask(limited, service, needs.moments, needs.sources)
        before = Counter({name: whole.outcomes[name] for name in ("found", "not_found")})
        whole.requests += tally.requests
        whole.chosen += tally.chosen
        whole.hits = whole.hits or tally.hits  # of the first part: what it brought is known to those after it
        whole.outcomes = tally.outcomes + before
        whole.reasons = tally.reasons
        left = None if left is None else left - tally.chosen
        more = tally.chosen and tally.reasons[NOT_THIS_TIME] and left != 0
        if not more or monotonic() >= ends_at:
            return whole
        write()


def _log(write: Callable[[str], None], question: Question, tally: Tally) -> None:
    hits = ", ".join(f"{number:,} from the {tier}" for tier, number in tally.hits.items() if number) or "none"
    outcomes = ", ".join(f"{number:,} {outcome}" for outcome, number in sorted(tally.outcomes.items()) if number)
    name, unit = question.service, question.unit
    write(f"{name}: {tally.asked:,} {unit}, {tally.requests:,} requests; known: {hits}; now: {outcomes or '-'}")
    for reason, number in tally.reasons.most_common(3):
        write(f"{name}: {number:,} {unit} stay open: {reason}")


def _metadata(question: Question, outcomes: dict[str, int]) -> dict[str, int | float]:
    rows = sum(outcomes.values())
    eligible = rows - outcomes.get("not_applicable", 0)
    answered = outcomes.get("found", 0) + outcomes.get("not_found", 0)
    unit = "sessions" if question.asset == "password_stats" else question.unit
    coverage = {f"answered share of {unit}": round(answered / eligible, 4)} if eligible else {}
    return {"dagster/row_count": rows, **{f"{name} {unit}": number for name, number in outcomes.items()}, **coverage}


def _asked(question: Question, tally: Tally) -> dict[str, int | str]:
    return {
        f"distinct {question.unit}": tally.asked,
        "left open": tally.open,
        "why": "; ".join(f"{number:,}: {reason}" for reason, number in tally.reasons.most_common(3)) or "-",
    }
