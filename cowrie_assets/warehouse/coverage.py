"""How much is known, as rows: `sql/verify_enrichment_coverage.sql`, run over a window.

Lives here: reading its rows. Not here: the counting (the file), what follows from it (checks, the command line).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal

from psycopg.rows import class_row

from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets.warehouse.views import sql_file

# Of the sessions that a service can be asked about, the share that it must have answered for (promise P9).
GATE = 0.80
_KEYS = {"virustotal": "files", "hibp": "passwords"}


@dataclass(frozen=True)
class Gates:
    """The share from which on a service's coverage passes, 0 to 1; `services` have one of their own."""

    default: float = GATE
    services: Mapping[str, float] = field(default_factory=dict)

    def of(self, service: str) -> float:
        return self.services.get(service, self.default)


_USUAL = Gates()


@dataclass(frozen=True)
class Coverage:
    """One service over a day, or over the whole window where `day` is None. Shares are of the eligible sessions;
    `eligible_addresses` and `open_addresses` count files and passwords where these are asked about (see `keys`)."""

    service: str
    day: date | None
    sessions: int
    first_session_at: datetime | None
    last_session_at: datetime | None
    eligible_sessions: int
    answered_sessions: int
    answered_share: Decimal | None
    valued_sessions: int
    valued_share: Decimal | None
    unavailable_sessions: int
    quota_sessions: int
    not_configured_sessions: int
    not_asked_sessions: int
    eligible_addresses: int
    open_addresses: int
    main_reason: str | None
    seconds_to_finish: float | None
    seconds_to_gate: float | None
    gate: str
    gate_share: float = GATE

    @property
    def below(self) -> bool:
        return self.gate == "below the gate"

    @property
    def never_asked(self) -> bool:
        """Whether nothing of it was ever asked: neither answered nor refused."""
        return 0 < self.eligible_sessions == self.not_asked_sessions

    @property
    def keys(self) -> str:
        """What the service is asked about: addresses, files or passwords."""
        return _KEYS.get(self.service, "addresses")

    @property
    def words(self) -> str:
        """The state in a sentence or two, with what is missing, why, and until when."""
        if not self.eligible_sessions:
            return "No session is eligible."
        share = float(self.answered_share or 0)
        told = f"{self.answered_sessions:,} of {self.eligible_sessions:,} eligible sessions are answered ({share:.1%})"
        if self.service == "dshield":
            told += f", {float(self.valued_share or 0):.1%} found with a country or an AS"
        if self.open_addresses:
            told += f"; {self.open_addresses:,} of {self.eligible_addresses:,} {self.keys} are open: {self.main_reason}"
        if self.open_addresses and self.seconds_to_finish and self.gate != "not configured":
            # "In a moment" beside "nobody asks before 1 minute is over" would be no answer to when.
            stopped = self.unavailable_sessions or self.quota_sessions
            rate = "Once it can be asked again, at the permitted rate" if stopped else "At the permitted rate"
            told += f". {rate} all of them are asked in {in_words(self.seconds_to_finish)}"
            if self.below and self.seconds_to_gate:
                told += f", and {100 * self.gate_share:g} % can be reached in {in_words(self.seconds_to_gate)}"
        return told + "."


def coverage(connection: Connection, since: str = "", until: str = "", gates: Gates = _USUAL) -> list[Coverage]:
    """Every service over the window and each of its days, overall rows first; empty texts mean all there is."""
    # The file knows one gate, and nearly always there is only one.
    by_gate = {
        share: _rows(connection, {"since": since, "until": until, "gate": str(share)})
        for share in {gates.default, *gates.services.values()}
    }
    return [
        replace(row, gate_share=gates.of(usual.service))
        for usual in by_gate[gates.default].values()
        if (row := by_gate[gates.of(usual.service)].get((usual.service, usual.day))) is not None
    ]


def _rows(connection: Connection, settings: Mapping[str, str]) -> dict[tuple[str, date | None], Coverage]:
    with connection.transaction(), connection.cursor(row_factory=class_row(Coverage)) as cursor:
        for name, value in settings.items():
            cursor.execute("SELECT set_config(%s, %s, true)", (f"cowrie.{name}", value))
        rows = cursor.execute(sql_file("verify_enrichment_coverage.sql").read_bytes())
        return {(row.service, row.day): row for row in rows}


def in_words(seconds: float) -> str:
    """A length of time as people say it."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.0f} {unit}"
    return "a minute" if seconds > 1 else "a moment"
