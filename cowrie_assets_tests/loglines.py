"""Cowrie events for tests, one call each."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

START = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)


def stamp(seconds: float = 0, start: datetime = START) -> str:
    """A timestamp as Cowrie writes it, so many seconds after noon of 1 March 2025 UTC."""
    moment = start + timedelta(seconds=seconds)
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def event(session: str, seconds: float = 0, event_id: str = "session.connect", **fields: Any) -> dict[str, Any]:
    known: dict[str, Any] = {
        "eventid": f"cowrie.{event_id}",
        "session": session,
        "timestamp": stamp(seconds),
        "sensor": "alpha",
        "src_ip": "8.8.4.4",
    }
    if event_id == "session.connect":
        known |= {"src_port": 40000, "dst_ip": "10.0.0.1", "dst_port": 2222, "protocol": "ssh"}
    return known | fields


def line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def write_log(path: Path, events: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(line(value) for value in events))
    return path
