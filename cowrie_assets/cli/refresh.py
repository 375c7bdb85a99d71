"""`plan` and `refresh`: what would be asked and what it would bring, and doing it.

Lives here: which services a command's options mean, the plan of each, and the Dagster runs that follow it. Not here:
one service's plan (`cowrie_assets.lookup.planning`), asking, printing (`lookups`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from itertools import accumulate, takewhile
from typing import Any

from rich.console import Console

from cowrie_assets.assets.ingestion import partition_days
from cowrie_assets.assets.observation import telling_addresses
from cowrie_assets.assets.questions import QUESTIONS, Needs, sessions_by_address
from cowrie_assets.automation import jobs
from cowrie_assets.cli.launch import Outcome, interruptible, open_database, runners
from cowrie_assets.cli.lookups import show_plan, show_status
from cowrie_assets.lookup.answers import lookup_now
from cowrie_assets.lookup.asking import Asking
from cowrie_assets.lookup.cache import open_cache
from cowrie_assets.lookup.configured import configured_services, max_time
from cowrie_assets.lookup.gate import EgressGate
from cowrie_assets.lookup.planning import Plan, plan
from cowrie_assets.lookup.status import statuses
from cowrie_assets.settings import Settings
from cowrie_assets.warehouse.database import Database
from cowrie_assets.warehouse.event_chunks import Connection

# Which of the options `--ips`, `--sessions` and `--files` a service's questions go with.
_OF_IPS = ("cymru", "greynoise")
_PART = {**dict.fromkeys(_OF_IPS, "ips"), **{question.service: question.part for question in QUESTIONS.values()}}


@dataclass(frozen=True)
class Amount:
    """How much of something: `most` of it, None: all of it; 0 is nothing."""

    most: int | None = None

    @classmethod
    def parse(cls, text: str) -> Amount:
        """`all` (also 0, as it was once said), `none`, or a number.

        Raises:
            ValueError: it is neither.
        """
        if text in ("all", "0"):
            return cls(None)
        if text == "none":
            return cls(0)
        if not text.isascii() or not text.isdigit():
            raise ValueError(text)
        return cls(int(text))

    def of(self, what: str) -> str:
        """In words."""
        return f"all {what}" if self.most is None else f"no {what}" if self.most == 0 else f"{self.most:,} {what}"


@dataclass(frozen=True)
class Scope:
    """What a command is about: of the window's sessions, their files, and of all addresses, so many each."""

    sessions: Amount = Amount()
    files: Amount = Amount()
    ips: Amount = Amount()
    since: str = ""
    until: str = ""

    @property
    def words(self) -> str:
        told = (self.ips.of("addresses"), self.sessions.of("sessions"), self.files.of("files"))
        window = f"{f' since {self.since}' if self.since else ''}{f' until {self.until}' if self.until else ''}"
        return f"{', '.join(told)}{window}"

    def amount(self, service: str) -> Amount:
        return {"ips": self.ips, "sessions": self.sessions, "files": self.files}[_PART[service]]


def make_plans(settings: Settings, database: Database, scope: Scope) -> list[Plan]:
    """The plan of each service that the scope takes in. Nobody is asked, and nothing is written but copies between the
    tiers of the cache."""
    services = configured_services(settings)
    plans = []
    with database.connect() as connection:
        days = window_days(connection, scope, settings.start_date)
        asking = Asking(
            connect=database.connect,
            gate=EgressGate.of(connection, settings.own_addresses),
            cache=open_cache(connection, settings.redis_url, settings.state.cache),
        )
        for name, needs in _needs(connection, scope, days).items():
            values = (services[name], needs.moments, needs.sessions, needs.sources)
            planned = plan(asking, *values)
            limit = _limit(name, scope.amount(name), planned, needs)
            plans.append(planned if limit is None else plan(replace(asking, most=limit), *values))
    return plans


def window_days(connection: Connection, scope: Scope, first_day: date | None) -> list[date]:
    """The days of the window that have sessions, and are partitions."""
    rows = connection.execute(
        """
        SELECT DISTINCT day FROM sessions
        WHERE
            first_event_at >= coalesce(nullif(%s, ''), '-infinity')::timestamptz
            AND first_event_at < coalesce(nullif(%s, ''), 'infinity')::timestamptz
        ORDER BY day
        """,
        (scope.since, scope.until),
    )
    return sorted(partition_days((day for (day,) in rows), first_day))


def refresh_and_tell(
    settings: Settings,
    console: Console,
    scope: Scope,
    seconds: float | None,
    interval: int | None,
    *,
    dry_run: bool = False,
    verbose: bool = False,
) -> Outcome:
    """Show the plan, follow it, and show what the ledger says then.

    Raises:
        Interrupted: Ctrl-C. What was answered is kept, and the next refresh goes on.
    """
    outcome = Outcome(settings, open_database(settings))
    with interruptible(), outcome.database.hold():
        plans = make_plans(settings, outcome.database, scope)
        show_plan(console, plans, scope.words)
        if dry_run:
            console.print("Nobody was asked (--dry-run).")
            return outcome
        _follow(outcome, console, scope, plans, max_time(settings) if seconds is None else seconds, interval, verbose)
        with outcome.database.connect() as connection:
            show_status(console, statuses(connection, configured_services(settings)))
    return outcome


def _follow(
    outcome: Outcome,
    console: Console,
    scope: Scope,
    plans: list[Plan],
    seconds: float,
    interval: int | None,
    verbose: bool,
) -> None:
    """Service after service, each with its share of the time that is left; then what rests on the answers."""
    ends_at = time.monotonic() + seconds
    limits = {planned.service: len(planned.ask) for planned in plans}
    waiting = [planned.service for planned in plans]
    with runners(outcome, console, verbose) as new_runner:
        with outcome.database.connect() as connection:
            days = window_days(connection, scope, outcome.settings.start_date)
        runner = new_runner()
        if scope.ips.most != 0:
            runner.run(jobs.DAILY_JOB, jobs.INVENTORY, _inventory_config(limits, _share(ends_at, waiting)))
            waiting = [name for name in waiting if name not in _OF_IPS]
        for asset, question in QUESTIONS.items():
            if question.service in waiting and days:
                asked = {"max_time": _share(ends_at, waiting), "most": limits[question.service]}
                config = {asset: {"config": {**asked, **({"commit_interval": interval} if interval else {})}}}
                runner.run(jobs.DAILY_JOB, [asset], config, jobs.range_tags(days[0], days[-1]))
                waiting.remove(question.service)
        runner.conclude()


def keys_of_sessions(keys: list[str], sessions: Mapping[str, int], number: int) -> int:
    """How many of the keys, from the first on, it takes to come to so many sessions."""
    before = accumulate((sessions.get(key, 0) for key in keys), initial=0)
    return min(len(keys), sum(1 for _ in takewhile(lambda total: total < number, before)))


def _needs(connection: Connection, scope: Scope, days: list[date]) -> dict[str, Needs]:
    """By service, in the order of asking. The inventory knows no window: an address has one row."""
    needs: dict[str, Needs] = {}
    if scope.ips.most != 0:
        moments = dict.fromkeys(telling_addresses(connection), lookup_now(connection))
        needs |= dict.fromkeys(_OF_IPS, Needs(moments, sessions_by_address(connection)))
    for question in QUESTIONS.values():
        if scope.amount(question.service).most != 0:
            needs[question.service] = question.needs(connection, days)
    return needs


def _limit(name: str, amount: Amount, planned: Plan, needs: Needs) -> int | None:
    if amount.most is None or _PART[name] != "sessions":
        return amount.most
    return keys_of_sessions(planned.ask, needs.sessions, amount.most)


def _share(ends_at: float, waiting: list[str]) -> float:
    return max(0.0, ends_at - time.monotonic()) / max(1, len(waiting))


def _inventory_config(limits: Mapping[str, int], seconds: float) -> dict[str, Any]:
    ops = {"plan_cymru_batches": "cymru", "pass_3_greynoise": "greynoise"}
    known = {op: {"config": {"most": limits[name], "max_time": seconds}} for op, name in ops.items() if name in limits}
    return {"inventory_passes": {"ops": known}}
