"""What the command line tells of lookups: the plan, and the ledger.

Lives here: tables and JSON. Not here: planning (`refresh`), counting (`cowrie_assets.lookup.status`).
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cowrie_assets.lookup.planning import NEXT, Plan
from cowrie_assets.lookup.status import Status
from cowrie_assets.report.escaping import visible
from cowrie_assets.warehouse.coverage import in_words

# So that a year's numbers fit into 80 columns.
_NARROW: dict[str, Any] = {"box": None, "header_style": "bold", "padding": (0, 1, 0, 0), "pad_edge": False}


def show_plan(console: Console, plans: list[Plan], words: str) -> None:
    """What would be asked and how long that takes, what it would bring, and why the rest has to wait."""
    console.print(f"Asked about: {words}.", markup=False)
    asked = Table("service", "keys", "known", "to ask", "calls", "takes", "quota left", **_NARROW)
    for plan in plans:
        asks = plan.not_configured is None
        asked.add_row(
            plan.service,
            f"{plan.keys:,}",
            f"{plan.known:,}",
            f"{len(plan.ask):,}" if asks else "–",
            f"{plan.calls:,}" if asks else "–",
            in_words(plan.seconds) if plan.calls else "–",
            _number(plan.keys_left),
        )
    console.print(asked)
    console.print(Text("Sessions whose key is known", style="bold"))
    gain = Table("service", "now", "afterwards", f"by the next {NEXT} calls", **_NARROW)
    for plan in plans:
        gain.add_row(
            plan.service,
            _percent(plan.share_known),
            _percent(plan.share_after) if plan.not_configured is None else "–",
            f"+{_percent(plan.gain_of_next)}" if plan.ask else "–",
        )
    console.print(gain)
    for plan in plans:
        if plan.not_configured is not None:
            console.print(Text(f"  {plan.service}: not asked: {visible(plan.not_configured)}", style="dim"))
        elif plan.waits_for is not None:
            told = f"  {plan.service}: {len(plan.left):,} keys wait: {visible(plan.waits_for)}"
            console.print(Text(told, style="dim"), soft_wrap=True)


def plans_as_json(plans: list[Plan]) -> str:
    """A list of objects, one a service; the keys to ask are counted, not listed."""
    told = [
        {**asdict(plan), "ask": len(plan.ask), "left": len(plan.left), "waits_for": plan.waits_for} for plan in plans
    ]
    return orjson.dumps(told, option=orjson.OPT_INDENT_2).decode()


def show_status(console: Console, statuses: list[Status]) -> None:
    """The ledger by service: what was asked and came of it, what the cache saved, what stands in the way."""
    calls = Table(
        "service", "requests", "today", "keys", "found", "not found", "failed", "quota left",
        **_NARROW,
    )  # fmt: skip
    tiers = Table("service", "hit rate", "hot", "database", "files", "other process", "open", **_NARROW)
    for told, keys_left in ((status.told, status.keys_left) for status in statuses):
        failed = told.unavailable + told.unfinished
        numbers = (told.requests, told.requests_today, told.keys, told.found, told.not_found, failed)
        calls.add_row(told.service, *map(_number, numbers), _number(keys_left))
        hits = (told.hits_hot, told.hits_database, told.hits_files, told.hits_another_process, told.open_keys)
        share = _percent(None if told.hit_share is None else float(told.hit_share))
        tiers.add_row(told.service, share, *map(_number, hits))
    console.print(Text("Requests that left, and what came of them", style="bold"))
    console.print(calls)
    console.print(
        Text("Answers that were at hand, by the tier of the cache, and questions that are open", style="bold")
    )
    console.print(tiers)
    for status in statuses:
        for line in _remarks(status):
            console.print(Text(f"  {status.told.service}: {visible(line)}", style="dim"), soft_wrap=True)


def statuses_as_json(statuses: list[Status]) -> str:
    """A list of objects, one a service, with the columns of sql/lookup_status.sql."""
    told = [
        {
            **asdict(status.told),
            "quotas": list(status.quotas),
            "keys_left": status.keys_left,
            "not_configured": status.not_configured,
        }
        for status in statuses
    ]
    return orjson.dumps(told, default=float, option=orjson.OPT_INDENT_2).decode()


def _remarks(status: Status) -> list[str]:
    told = status.told
    remarks = []
    if status.not_configured is not None:
        remarks.append(f"not asked: {status.not_configured}")
    if told.blocked_until is not None:
        remarks.append(f"blocked until {_moment(told.blocked_until)}: {told.blocked_reason}")
    if told.open_until is not None:
        remarks.append(f"its circuit is open until {_moment(told.open_until)}: {told.blocked_reason}")
    if told.balance is not None:
        remarks.append(f"{told.balance:,} credits left in the account")
    if status.quotas:
        remarks.append(f"quota {' and '.join(status.quotas)}")
    if told.unfinished:
        remarks.append(f"{told.unfinished:,} requests of which nobody saw the end")
    if told.tier_errors:
        remarks.append(f"{told.tier_errors:,} failures of cache tiers")
    if told.oldest_answer_at is not None:
        remarks.append(f"the oldest answer in use was given at {_moment(told.oldest_answer_at)}")
    if told.open_keys and told.main_reason and status.not_configured is None:
        remarks.append(f"{told.open_keys:,} keys are open: {told.main_reason}")
    return remarks


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def _number(number: int | None) -> str:
    return "–" if number is None else f"{number:,}"
