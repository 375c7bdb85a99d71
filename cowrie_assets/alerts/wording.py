"""What a note says, in words that no channel can take for markup.

Lives here: titles, bodies, stretches of days, and making text inert. Not here: which notes there are (`notes`), how
they travel (`delivery`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from typing import Literal

from cowrie_assets.alerts.incidents import MATERIALIZE, RUN, Incident
from cowrie_assets.report.escaping import visible

Kind = Literal["failure", "warning", "recovery"]

_LONGEST_QUOTE = 600
_LONGEST_EXAMPLE = 240
_RUNS_NAMED = 3
# Mail, Slack, Discord, Telegram, Matrix and a dozen others each read markup of their own out of plain text, and Apprise
# puts a title between Telegram's tags as it is. No escape holds in all of them, so what could be active is written with
# a character that looks like it.
_LOOK_ALIKES = str.maketrans({"<": "‹", ">": "›", "*": "∗", "`": "ˋ", "~": "∼", "|": "¦"})
# A word joiner, which nobody sees, in what else is looked for: mentions, links of any form, entities, tags.
_ACTIVE = re.compile(r"@|://|#|&(?=[#\w])|\](?=[(\[])|(?<=\w)[.。．｡](?=[^\W\d])")
# Within a word an underscore is none of emphasis, and names have many.
_EMPHASIS = re.compile(r"(?<!\w)_+|_+(?!\w)")


@dataclass(frozen=True)
class Note:
    """One note, and the incidents it is about."""

    kind: Kind
    title: str
    body: str
    about: tuple[Incident, ...]


def inert(text: str) -> str:
    """Text in which no channel finds markup, a mention, a link or a control character, and that reads the same."""
    plain = visible(text).translate(_LOOK_ALIKES)
    plain = _EMPHASIS.sub(lambda match: "ˍ" * len(match.group()), plain)
    return _ACTIVE.sub(lambda match: f"{match.group()}\u2060", plain)


def single(incident: Incident, *, sandbox: bool) -> Note:
    """A note about one incident: that it fails, or that it recovered."""
    subject, day = _subject(incident), f" for {inert(incident.partition)}" if incident.partition else ""
    since = f"since {_moment(incident.failing_since)}" if incident.failing_since else ""
    if incident.passed:
        title = f"Recovered: {subject}{day}"
        body = [f"It says now: {_quote(incident)}", f"It had failed {since}; run {inert(incident.run_id)} passed."]
    else:
        title = f"{incident.severity}: {subject} {_happened(incident)}{day}"
        body = [
            f"It said: {_quote(incident)}",
            f"It fails {since}, the last time in run {inert(incident.run_id)}.",
            _how_to_look(sandbox),
        ]
    return Note(_kind([incident]), _titled(title, sandbox), "\n".join(body), (incident,))


def digest(incidents: Sequence[Incident], *, sandbox: bool) -> Note:
    """One note about many incidents, all of which fail or all of which recovered; it names every one."""
    recovered = incidents[0].passed
    groups = [list(group) for _, group in groupby(sorted(incidents, key=lambda i: i.key), key=lambda i: i.key[:2])]
    severity = max((incident.severity for incident in incidents), key=["WARN", "ERROR"].index)
    of = _subject(groups[0][0]) if len(groups) == 1 else f"{len(groups)} checks and assets"
    count = f"{len(incidents)} recovered" if recovered else f"{severity}: {len(incidents)} failures"
    lines = [line for group in groups for line in _group(group)]
    backfill = incidents[0].backfill_id
    if backfill is not None:
        lines.append(f"All of backfill {inert(backfill)}, which has ended.")
    runs = list(dict.fromkeys(inert(incident.run_id) for incident in incidents))
    more = f" and {len(runs) - _RUNS_NAMED} more" if len(runs) > _RUNS_NAMED else ""
    lines.append(f"{'Run' if len(runs) == 1 else 'Runs'} {', '.join(runs[:_RUNS_NAMED])}{more}.")
    if not recovered:
        lines.append(_how_to_look(sandbox))
    return Note(_kind(incidents), _titled(f"{count}: {of}", sandbox), "\n".join(lines), tuple(incidents))


def trial(channel: str, *, sandbox: bool) -> Note:
    """What `cowrie-assets alerts --test` sends."""
    body = f"Notes about failed checks and runs reach channel {inert(channel)}. Nothing has failed."
    return Note("recovery", _titled("A test of cowrie-assets", sandbox), body, ())


def stretches(partitions: Sequence[str]) -> str:
    """Days as stretches, `2025-03-01 to 03-05, 03-09`; what is no day is listed as it is."""
    days, others = set[date](), set[str]()
    for partition in partitions:
        try:
            days.add(date.fromisoformat(partition))
        except ValueError:
            others.add(partition)
    told, year = [], None
    for _, stretch in groupby(enumerate(sorted(days)), key=lambda item: item[1].toordinal() - item[0]):
        members = [day for _, day in stretch]
        first, last = members[0], members[-1]
        text = first.isoformat() if first.year != year else f"{first:%m-%d}"
        if last != first:
            text += f" to {last:%m-%d}" if last.year == first.year else f" to {last}"
        told.append(text)
        year = last.year
    return ", ".join([*told, *sorted(inert(other) for other in others)])


def _group(group: Sequence[Incident]) -> list[str]:
    """The lines of a digest about one check, or one asset."""
    newest = max(group, key=lambda incident: incident.partition)
    days = stretches([incident.partition for incident in group if incident.partition])
    many = f", {len(group)} days: {days}" if len(group) > 1 else f", {days}" if days else ""
    happened = "" if newest.passed else f" {_happened(newest)} ({newest.severity})"
    which = f"For {inert(newest.partition)} it" if len(group) > 1 else "It"
    said = "says now" if newest.passed else "said"
    return [f"{_subject(newest)}{happened}{many}", f"{which} {said}: {_quote(newest, _LONGEST_EXAMPLE)}"]


def _subject(incident: Incident) -> str:
    asset = inert(incident.asset)
    if incident.name == RUN:
        return f"job {asset}"
    # Only names of our own code are here, and a dot in them is no domain's.
    return asset if incident.name == MATERIALIZE else f"{asset}.{inert(incident.name)}"


def _happened(incident: Incident) -> str:
    return "was not built" if incident.name == MATERIALIZE else "failed"


def _kind(incidents: Sequence[Incident]) -> Kind:
    if incidents[0].passed:
        return "recovery"
    return "failure" if any(incident.severity == "ERROR" for incident in incidents) else "warning"


def _quote(incident: Incident, longest: int = _LONGEST_QUOTE) -> str:
    words = incident.words if len(incident.words) <= longest else f"{incident.words[:longest].rstrip()} …"
    return inert(words) or "nothing"


def _how_to_look(sandbox: bool) -> str:
    option = " --sandbox" if sandbox else ""
    return f"To look: cowrie-assets alerts{option} lists what fails now; cowrie-assets up{option} opens the UI."


def _titled(title: str, sandbox: bool) -> str:
    return f"SANDBOX: {title}" if sandbox else title


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
