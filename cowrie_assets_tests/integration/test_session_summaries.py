"""What a session says of its files and passwords, and the queries that read it (promises P1, P8).

Proved here: `session_summaries`, every new column by value; that queries 11, 12 and 14 count the sessions that brought
malware; that what a query does not ask for is not read; that the literals are sharp (each of some twenty wrong views is
noticed). Not here: the rows beneath (`test_files_and_passwords`), addresses (`test_queries_13_14`).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from cowrie_assets.assets.keys_of_day import write_password_stats, write_virustotal_files
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets.warehouse.views import sql_file
from cowrie_assets_tests.integration.test_files_and_passwords import (
    CHECKED,
    DAY,
    KNOWN,
    answer,
    connection,
    hour,
    mutated,
    noticed,
    range_of,
    read,
    session,
    sha,
    url,
)
from cowrie_assets_tests.integration.test_session_snapshots import forget

pytestmark = pytest.mark.one_server

__all__ = ["connection", "url"]  # fixtures


def fill_summaries(connection: Connection) -> None:
    """Sessions with files and passwords of every kind, with a country, an AS and a row in the daily tables."""
    sessions: dict[str, list[tuple[str, str | None]]] = {
        "bad": [("download", sha("bad")), ("download", sha("bad"))],
        "bad and worse": [("upload", sha("bad").upper()), ("download", sha("worse"))],
        "bad and open": [("download", sha("open")), ("download", sha("bad"))],
        "bad and clean": [("download", sha("clean")), ("download", sha("bad"))],
        "clean": [("download", sha("clean"))],
        "unknown": [("download", sha("unknown"))],
        "clean and unknown": [("download", sha("clean")), ("upload", sha("unknown"))],
        "bad and unknown": [("download", sha("unknown")), ("download", sha("bad"))],
        "open": [("download", sha("open"))],
        "failed": [("failed download", sha("bad"))],
        "no hash": [("download", None), ("failed download", sha("bad"))],
        "none": [],
    }
    tries: dict[str, list[str | None]] = {"bad": ["leaked", "novel"], "clean": ["novel"], "open": ["lost", "leaked"]}
    tries["unknown"] = [None]
    for name, files in sessions.items():
        session(connection, name, files=files, passwords=tries.get(name, ()))
    session(connection, "none", files=[("download", sha("clean"))], sensor="beta")
    session(connection, "tomorrow", begin=30, files=[("download", sha("bad"))], passwords=["leaked"])
    answer(connection, "virustotal", sha("bad"), 5, 20, fields=KNOWN)
    answer(connection, "virustotal", sha("worse"), 3, fields={"label": "worm.x", "malicious": 60})
    answer(connection, "virustotal", sha("clean"), 6, fields={"malicious": 0, "undetected": 70})
    answer(connection, "virustotal", sha("unknown"), 7, outcome="not_found")
    for password in ("leaked", "novel"):
        hours, seen = CHECKED[password]
        prefix, suffix = range_of(password)
        answer(connection, "hibp", prefix, hours, payload={suffix: seen} if seen else {})
    write_virustotal_files(connection, DAY)
    write_password_stats(connection, DAY)
    connection.execute(
        """
        INSERT INTO session_snapshots (
            day, sensor, session_id, version, is_current, source_ip, attacked_at, snapshot_asn, snapshot_country
        )
        SELECT day, sensor, session_id, 1, true, source_ip, first_event_at, CASE WHEN sensor = 'beta' THEN 2 ELSE 1 END,
            CASE WHEN session_id = 'none' THEN 'BR' ELSE 'DE' END
        FROM sessions
        """
    )


# Session -> vt_flagged, hour of vt_answered_at, hour of password_answered_at, has_password, has_file.
SUMMARIES = {
    "bad": (True, 5, 5, True, True),
    "bad and worse": (True, 3, None, False, True),
    "bad and open": (True, 5, None, False, True),
    "bad and clean": (True, 5, None, False, True),
    "clean": (False, 6, 8, True, True),
    "unknown": (False, 7, None, False, True),
    "clean and unknown": (False, 6, None, False, True),
    "bad and unknown": (True, 5, None, False, True),
    "open": (None, None, None, True, True),
    "failed": (None, None, None, False, False),
    "no hash": (None, None, None, False, False),
    "none": (None, None, None, False, False),
    "none of beta": (False, 6, None, False, True),
    "tomorrow": (None, None, None, True, True),  # its day is not written yet
}


def summaries(connection: Connection) -> dict[str, dict[str, Any]]:
    rows = read(connection, "SELECT * FROM session_summaries")
    return {row["session_id"] + (" of beta" if row["sensor"] == "beta" else ""): row for row in rows}


def flags(connection: Connection) -> dict[str, tuple[Any, ...]]:
    return {
        name: (
            *(row["vt_flagged"], hour(row["vt_answered_at"]), hour(row["password_answered_at"])),
            *(row["has_password"], row["has_file"]),
        )
        for name, row in summaries(connection).items()
    }


def file_told(name: str, hours: int, outcome: str = "found", **told: Any) -> dict[str, Any]:
    moment = f"2025-09-10T0{hours}:00:00+00:00"
    return {"sha256": sha(name), "outcome": outcome, "answered_at": moment} | told


BAD = file_told("bad", 5) | {
    name: KNOWN[name] for name in ("label", "malicious", "suspicious", "undetected", "harmless")
}
BAD["first_seen"] = "2023-11-14T22:13:20+00:00"
WORSE = file_told("worse", 3, label="worm.x", malicious=60)
CLEAN = file_told("clean", 6, malicious=0, undetected=70)
UNKNOWN = file_told("unknown", 7, "not_found")
# What is said of all files of a session, and of each, the worst first.
VIRUSTOTAL: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "bad": ({"malicious": 41, "label": KNOWN["label"]}, [BAD]),
    "bad and worse": ({"malicious": 60, "label": "worm.x"}, [WORSE, BAD]),
    "bad and open": ({"malicious": 41, "label": KNOWN["label"]}, [BAD]),
    "bad and clean": ({"malicious": 41, "label": KNOWN["label"]}, [BAD, CLEAN]),
    "clean": ({"malicious": 0}, [CLEAN]),
    "unknown": ({}, [UNKNOWN]),
    "clean and unknown": ({"malicious": 0}, [CLEAN, UNKNOWN]),
    "bad and unknown": ({"malicious": 41, "label": KNOWN["label"]}, [BAD, UNKNOWN]),
    "none of beta": ({"malicious": 0}, [CLEAN]),
}


def told_of_files(connection: Connection) -> dict[str, tuple[dict[str, Any], list[dict[str, Any]]]]:
    told = {}
    for name, row in summaries(connection).items():
        known = (row["enrichment"] or {}).get("virustotal")
        if known is not None:
            told[name] = (known, known.pop("files"))
    return told


def test_a_session_says_what_is_known_of_its_files_and_passwords(connection: Connection) -> None:
    fill_summaries(connection)
    assert flags(connection) == SUMMARIES
    assert told_of_files(connection) == VIRUSTOTAL
    moment = "2025-09-10T0{}:00:00+00:00"
    assert {
        name: row["enrichment"]["password_stats"]
        for name, row in summaries(connection).items()
        if "password_stats" in (row["enrichment"] or {})
    } == {
        "bad": {
            "answered_at": moment.format(5), "outcome": "found", "total_attempts": 2, "unique_passwords": 2,
            "breached_passwords": 1, "breach_prevalence_max": 7, "novel_password_hashes": [sha("novel")],
        },
        "clean": {
            "answered_at": moment.format(8), "outcome": "not_found", "total_attempts": 1, "unique_passwords": 1,
            "breached_passwords": 0, "breach_prevalence_max": 0, "novel_password_hashes": [sha("novel")],
        },
    }  # fmt: skip
    assert summaries(connection)["none"]["enrichment"] is None


def counted(connection: Connection, number: int, key: str, column: str) -> dict[Any, Any]:
    (path,) = sql_file("session_summaries.sql").parent.glob(f"query_{number}_*.sql")
    connection.execute("SELECT set_config('cowrie.minimum_sessions', '1', false)")
    return {row[key]: row[column] for row in read(connection, path.read_text(encoding="utf-8"))}


def test_the_queries_count_the_sessions_that_brought_malware(connection: Connection) -> None:
    """They said NULL for ever: nobody had looked up a file."""
    fill_summaries(connection)
    assert counted(connection, 11, "country", "vt_flagged_count") == {"DE": 5, "BR": 0}
    assert counted(connection, 12, "asn", "vt_flagged_sessions") == {1: 5, 2: 0}
    assert counted(connection, 14, "reputation_bucket", "vt_flagged_count") == {"no_data": 5}
    forget(connection, "virustotal_files")
    assert counted(connection, 11, "country", "vt_flagged_count") == {"DE": None, "BR": None}
    assert counted(connection, 14, "reputation_bucket", "percentage") == {"no_data": Decimal("100.00")}


def test_a_query_without_the_new_columns_does_not_touch_their_tables(connection: Connection) -> None:
    """200,000 sessions are read by each query; what none of its columns needs must cost nothing."""
    plan = connection.execute(
        b"EXPLAIN SELECT source_ip, dshield_flagged, spur_is_tor FROM session_summaries WHERE has_public_source"
    ).fetchall()
    read_tables = {table for table in ("files", "logins", "virustotal_files", "password_stats") if table in str(plan)}
    assert read_tables == set()


# --- the literals are sharp: each wrong view is noticed ---------------------------------------------------------------

VIEW_MUTANTS = {
    "unknown files are no answer": (r"bool_or\(coalesce\(v\.malicious, 0\) > 0\)", "bool_or(v.malicious > 0)"),
    "all files must be malicious": (r"bool_or\(coalesce\(v\.malicious", "bool_and(coalesce(v.malicious"),
    "every file is malicious": (r"coalesce\(v\.malicious, 0\) > 0\)", "coalesce(v.malicious, 0) >= 0)"),
    "open files are clean": (r" AND v\.answered_at IS NOT NULL\n    GROUP", "\n    GROUP"),
    "the newest answer": (r"min\(v\.answered_at\)", "max(v.answered_at)"),
    "capital letters": (r"lower\(b\.sha256\)", "b.sha256"),
    "failed downloads": (r"WHERE b\.transfer IN \('download', 'upload'\) AND v", "WHERE v"),
    "files of other days": (r"ON b\.day = v\.day AND lower", "ON lower"),
    "the mildest label": (r"(v\.label ORDER BY v\.malicious) DESC NULLS LAST", r"\1 ASC NULLS LAST"),
    "unknown is worst": (r"(v\.label ORDER BY v\.malicious DESC) NULLS LAST", r"\1"),
    "the mildest first": (r"(\) ORDER BY v\.malicious) DESC", r"\1 ASC"),
    "the mildest number": (r"'malicious', max\(v", "'malicious', min(v"),
    "a file as often as it came": (r"array_agg\(DISTINCT v\)", "array_agg(v)"),
    "files of any sensor": (r"s\.day = f\.day AND s\.sensor = f\.sensor AND", "s.day = f.day AND"),
    "keys are passwords": (r"\s+AND l\.password IS NOT NULL", ""),
    "files without a hash": (r"\('download', 'upload'\) AND b\.sha256 IS NOT NULL", "('download', 'upload')"),
    "failed ones are files": (r"b\.transfer IN \('download', 'upload'\) AND b\.sha256 IS", "b.sha256 IS"),
    "half-checked passwords are told": (r"\s+AND w\.outcome IN \('found', 'not_found'\)", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", VIEW_MUTANTS)
def test_a_wrong_view_is_noticed(connection: Connection, name: str) -> None:
    with connection.transaction(force_rollback=True):
        connection.execute(mutated("session_summaries.sql", *VIEW_MUTANTS[name]).encode())
        assert noticed(test_a_session_says_what_is_known_of_its_files_and_passwords, connection)
