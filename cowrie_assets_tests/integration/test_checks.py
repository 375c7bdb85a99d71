"""Every asset check passes on right data and fails on each kind of wrong data.

Proved here: conservation per file and over all (on logs that were really loaded), the rates of the snapshots a day,
the recount of the queries and what they must show, the age of lists and geo files, the gates of coverage; and that
Dagster records the snapshot checks of a run over several days one by one, each with its day, a failing one among them.
Not here: sensors and clocks (test_sensor_checks), freshness; that the loading and the queries are right.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner

from cowrie_assets.assets import infrastructure
from cowrie_assets.assets.infrastructure import QUERIES, InfrastructureQuery, Window, run_query
from cowrie_assets.assets.ingestion import ingest
from cowrie_assets.automation.jobs import DAILY_JOB
from cowrie_assets.checks.conservation import check_files, check_store
from cowrie_assets.checks.coverage import coverage_of_days
from cowrie_assets.checks.coverage import judge as judge_coverage
from cowrie_assets.checks.geo import judge as judge_geo
from cowrie_assets.checks.lists import judge_list
from cowrie_assets.checks.positives import positives_of
from cowrie_assets.checks.queries import findings, judge_positives, judge_recount
from cowrie_assets.checks.snapshots import RATES, Rate, count_known, judge_rate
from cowrie_assets.checks.thresholds import Thresholds
from cowrie_assets.checks.verdict import Verdict
from cowrie_assets.cli import app
from cowrie_assets.cli.doctor import examine
from cowrie_assets.definitions import build_definitions
from cowrie_assets.report.page import write_report
from cowrie_assets.resources import CowrieLogs, GeoFiles, Warehouse
from cowrie_assets.settings import SensorNames, Settings
from cowrie_assets.warehouse.coverage import Gates
from cowrie_assets.warehouse.database import open_connection
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets.warehouse.views import sql_file, view_statement
from cowrie_assets_tests.conftest import SAMPLE_LAST_DAY, Server
from cowrie_assets_tests.loglines import event, line

DAY = date(2025, 9, 10)
NOON = datetime(2025, 9, 10, 12, tzinfo=UTC)
PUBLIC, PRIVATE = "8.8.4.4", "10.0.0.5"
GEOGRAPHIC, SYSTEMS = QUERIES[:2]


def add_sessions(
    connection: Connection,
    number: int,
    *,
    source: str | None = PUBLIC,
    country: str | None = "DE",
    asn: int | None = 64500,
    begin: datetime = NOON,
    prefix: str = "s",
    snapshot: bool = True,
) -> None:
    """So many sessions of one source, and what their snapshots say; without any snapshot where told so."""
    connection.execute(
        """
        INSERT INTO sessions (
            day, sensor, session_id, first_event_at, last_event_at, source_ip, event_count, login_attempts,
            login_successes, command_count, commands_failed, file_downloads, file_uploads, ssh_key_injections,
            forwarding_requests, unknown_events, closed
        )
        SELECT %s, 'alpha', %s || n, %s, %s, %s, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, false FROM generate_series(1, %s) AS n
        """,
        (begin.date(), prefix, begin, begin, source, number),
    )
    if snapshot:
        connection.execute(
            """
            INSERT INTO session_snapshots (
                day, sensor, session_id, version, is_current, source_ip, attacked_at, snapshot_asn, snapshot_country
            )
            SELECT %s, 'alpha', %s || n, 1, true, %s, %s, %s, %s FROM generate_series(1, %s) AS n
            """,
            (begin.date(), prefix, source, begin, asn, country, number),
        )
    if source is not None:
        connection.execute(
            """
            INSERT INTO ip_inventory (ip_address, is_public, first_seen, last_seen, session_count, enrichment_version)
            VALUES (%s, %s, now(), now(), 1, '1') ON CONFLICT DO NOTHING
            """,
            (source, source != PRIVATE),
        )


# --- conservation --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def loaded_url(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A warehouse into which two files were loaded: records, duplicates, blank and dead lines, a pending tail."""
    folder = tmp_path_factory.mktemp("logs")
    first = [event("a", 0), event("a", 1, "login.failed", username="root", password="x"), event("b", 2)]
    dead = b'{"eventid": "cowrie.session.connect", "broken\n'
    (folder / "cowrie.json").write_bytes(b"".join(map(line, first)) + b"\n" + dead + line(event("c", 3))[:40])
    # One event again, one new one a day later, another dead line.
    (folder / "cowrie.json.1").write_bytes(line(first[0]) + line(event("d", 86_400)) + b"not JSON\n")
    url = server.new_database()
    with open_connection(url) as connection:
        ingest(connection, [folder], SensorNames())
    return url


@pytest.fixture
def loaded(loaded_url: str) -> Iterator[Connection]:
    """The same warehouse for every test: what a test breaks is whole again when it ends."""
    with open_connection(loaded_url) as connection, connection.transaction(force_rollback=True):
        yield connection


def test_files_and_store_add_up_after_loading(loaded: Connection) -> None:
    row = loaded.execute(
        "SELECT count(*), sum(total_bytes), sum(records), sum(events), sum(duplicates), sum(dead_letters), "
        "sum(blank_lines), min(pending_bytes), max(pending_bytes) FROM log_files"
    ).fetchone()
    assert row is not None
    # 3 + 2 records, one of them twice; a dead line in each file, a blank line and 40 pending bytes in the first.
    assert (row[0], *row[2:]) == (2, 5, 4, 1, 2, 1, 0, 40)
    assert check_files(loaded) == (
        True,
        f"All {row[1]:,} bytes of 2 files are records, blank, dead letters or pending.",
    )
    assert check_store(loaded) == (True, "The store holds 4 events, each once, and 2 distinct dead letters.")


def test_an_empty_warehouse_adds_up(empty: Connection) -> None:
    assert check_files(empty) == (True, "All 0 bytes of 0 files are records, blank, dead letters or pending.")
    assert check_store(empty) == (True, "The store holds 0 events, each once, and 0 distinct dead letters.")


@pytest.mark.parametrize(
    "broken",
    [
        "total_bytes = total_bytes + 1",
        "record_bytes = record_bytes - 1",
        "blank_bytes = blank_bytes + 1",
        "dead_bytes = dead_bytes - 1",
        "pending_bytes = pending_bytes + 1",
        "records = records + 1",
        "events = events - 1",
        "duplicates = duplicates + 1",
        # Sums that add up, of parts that cannot be.
        "record_bytes = record_bytes + pending_bytes + 1, pending_bytes = -1",
        "record_bytes = record_bytes + blank_bytes + 1, blank_bytes = -1",
        "record_bytes = record_bytes + dead_bytes + 1, dead_bytes = -1",
        "dead_bytes = dead_bytes + record_bytes + 1, record_bytes = -1",
        "events = records + 1, duplicates = -1",
        "duplicates = records + 1, events = -1",
        "dead_letters = -1",
    ],
)
def test_a_file_that_does_not_add_up_is_named(loaded: Connection, broken: str) -> None:
    loaded.execute(f"UPDATE log_files SET {broken} WHERE path LIKE '%/cowrie.json'".encode())
    passed, words = check_files(loaded)
    assert not passed
    assert words.startswith("1 of the files do not add up, first `/")
    assert "/cowrie.json`" in words
    assert "cowrie.json.1" not in words


def test_of_many_files_that_do_not_add_up_five_are_named(loaded: Connection) -> None:
    loaded.execute(
        """
        INSERT INTO log_files (
            path, generation, compression, prefix_digest, offset_bytes, torn_tail, total_bytes, record_bytes,
            blank_bytes, dead_bytes, pending_bytes, records, blank_lines, dead_letters, events, duplicates
        )
        SELECT '/logs/x`y|' || n, 1, 'none', '', 0, false, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM generate_series(1, 7) AS n
        """
    )
    passed, words = check_files(loaded)
    assert not passed
    # A name is shown as code, and cannot end it.
    names = ", ".join(f"`/logs/xˋy¦{number}`" for number in range(1, 6))
    assert words.startswith(f"7 of the files do not add up, first {names}. ")


LOST_CHUNK = "DELETE FROM event_chunks WHERE day = '2025-03-02'"
AGAIN = (
    "INSERT INTO event_chunks SELECT day, sensor, sequence + 1, event_count, raw_bytes, digests, spans, payload "
    "FROM event_chunks WHERE day = '2025-03-01'"
)
BROKEN_STORES = {
    "a lost chunk": LOST_CHUNK,
    "every chunk lost": "DELETE FROM event_chunks",
    "a chunk stored twice": AGAIN,
    # As many events as there should be, and one of them twice.
    "an event stored twice in place of another": (
        "UPDATE event_chunks SET digests = overlay(digests PLACING substr(digests, 1, 16) FROM 17) "
        "WHERE day = '2025-03-01'"
    ),
    "digests that end too early": "UPDATE event_chunks SET digests = substr(digests, 1, octet_length(digests) - 1)",
    "digests of an event that is not counted": "UPDATE event_chunks SET event_count = event_count - 1",
    "a forgotten file": "DELETE FROM log_files WHERE path LIKE '%/cowrie.json'",
    "a file counted as new that was a duplicate": (
        "UPDATE log_files SET events = events + 1, duplicates = duplicates - 1 WHERE duplicates > 0"
    ),
    "dead letters gone": "DELETE FROM dead_letter_events",
    "dead letters from nowhere": "UPDATE log_files SET dead_letters = 0",
    "more dead letters than were met": "UPDATE log_files SET dead_letters = 0 WHERE path LIKE '%/cowrie.json'",
}


@pytest.mark.parametrize("name", BROKEN_STORES)
def test_a_store_that_does_not_hold_what_the_files_brought_is_noticed(loaded: Connection, name: str) -> None:
    changed = loaded.execute(BROKEN_STORES[name].encode()).rowcount
    assert changed > 0, "the statement no longer fits the tables"
    passed, words = check_store(loaded)
    assert not passed
    assert "Restore the warehouse from a backup" in words


def test_a_lost_chunk_is_told_in_numbers(loaded: Connection) -> None:
    loaded.execute(LOST_CHUNK.encode())
    assert check_store(loaded)[1].startswith(
        "Files brought 4 events, the store holds 3 (3 distinct, 3 digests); 2 dead letters were met, 2 are kept."
    )


def test_the_same_digest_on_another_sensor_is_another_event(loaded: Connection) -> None:
    """Two sensors may log the same JSON: an event is known by its sensor as well."""
    loaded.execute(AGAIN.replace("sensor, sequence + 1", "'beta', sequence").encode())
    loaded.execute("UPDATE log_files SET events = events + 3, records = records + 3 WHERE path LIKE '%/cowrie.json'")
    assert check_store(loaded) == (True, "The store holds 7 events, each once, and 2 distinct dead letters.")


def test_one_lost_dead_letter_of_several_is_noticed(loaded: Connection) -> None:
    loaded.execute("DELETE FROM dead_letter_events WHERE path LIKE '%/cowrie.json'")
    assert not check_store(loaded)[0]


def test_a_torn_file_that_becomes_whole_beside_its_copy_leaves_the_copys_dead_letter(
    server: Server, tmp_path: Path
) -> None:
    whole = line(event("a")) + line(event("b", 1))
    with open_connection(server.new_database()) as connection:
        for name in ("a.json.gz", "b.json.gz"):
            (tmp_path / name).write_bytes(gzip.compress(whole[:-30]))
        ingest(connection, [tmp_path], SensorNames())
        assert check_store(connection) == (True, "The store holds 1 events, each once, and 1 distinct dead letters.")
        (tmp_path / "a.json.gz").write_bytes(gzip.compress(whole))
        ingest(connection, [tmp_path], SensorNames())
        assert check_store(connection) == (True, "The store holds 2 events, each once, and 1 distinct dead letters.")


# --- the rates of a day --------------------------------------------------------------------------------------------

SOURCE_RATE, ASN_RATE, COUNTRY_RATE = RATES


def check_rate(
    connection: Connection, rate: Rate, day: date, minimum: float | None = None
) -> tuple[bool, str, float | None]:
    """Whether a day reaches the rate, in words, and the rate itself (None where no session is eligible)."""
    wanted = getattr(Thresholds(), rate.name) if minimum is None else minimum
    eligible, known = count_known(connection, [day]).get((rate.name, day), (0, 0))
    verdict = judge_rate(rate, wanted, day, eligible, known)
    return verdict.passed, verdict.words, known / eligible if eligible else None


@pytest.mark.parametrize("rate", RATES, ids=lambda rate: rate.name)
def test_a_day_without_sessions_is_no_failure(empty: Connection, rate: Rate) -> None:
    add_sessions(empty, 3, source=None, begin=NOON - timedelta(days=1))
    assert check_rate(empty, rate, DAY) == (True, "2025-09-10: no session to judge.", None)


@pytest.mark.parametrize(
    ("known", "unknown", "passed", "share"),
    [
        (20, 0, True, 1.0),
        (19, 1, True, 0.95),  # 19/20 is the limit itself
        (18, 1, False, 18 / 19),  # 94.7 %
        (0, 1, False, 0.0),
    ],
)
def test_a_day_fails_with_too_many_sessions_without_a_source(
    empty: Connection, known: int, unknown: int, passed: bool, share: float
) -> None:
    add_sessions(empty, known)
    add_sessions(empty, unknown, source=None, country=None, asn=None, prefix="unknown")
    found, words, rate = check_rate(empty, SOURCE_RATE, DAY)
    assert (found, rate) == (passed, share)
    assert words.startswith(f"2025-09-10: {known} of {known + unknown} sessions have a source address (")
    assert ("Look at `cowrie-assets session <id>`" in words) == (not passed)


@pytest.mark.parametrize(
    ("rate", "cure"),
    [(ASN_RATE, "Set COWRIE_GEOIP_ASN"), (COUNTRY_RATE, "Set COWRIE_GEOIP_CITY")],
    ids=["asn_known", "country_known"],
)
@pytest.mark.parametrize(
    ("known", "unknown", "missing", "passed"),
    [
        (5, 0, 0, True),
        (4, 1, 0, True),  # 4/5 is the limit itself
        (3, 1, 0, False),  # 75 %
        (3, 0, 1, False),  # a session without any snapshot knows nothing
        (3, 1, 1, False),
        (0, 0, 1, False),
    ],
)
def test_a_day_fails_with_too_little_known_of_public_sources(
    empty: Connection, rate: Rate, cure: str, known: int, unknown: int, missing: int, passed: bool
) -> None:
    # Each rate looks at its own part: what is unknown of it is known of the other.
    country, asn = ("DE", None) if rate is ASN_RATE else (None, 64500)
    add_sessions(empty, known)
    add_sessions(empty, unknown, prefix="unknown", country=country, asn=asn)
    add_sessions(empty, missing, prefix="missing", snapshot=False)
    # Nobody can know anything of these: they are not in the rate.
    add_sessions(empty, 7, source=PRIVATE, country=None, asn=None, prefix="private")
    add_sessions(empty, 7, source=None, country=None, asn=None, prefix="none")
    eligible = known + unknown + missing
    found, words, share = check_rate(empty, rate, DAY)
    assert (found, share) == (passed, known / eligible)
    assert words.startswith(f"2025-09-10: {known} of {eligible} sessions with a public source have ")
    assert (cure in words) == (not passed)


def test_a_snapshot_that_was_superseded_does_not_count(empty: Connection) -> None:
    add_sessions(empty, 5)
    empty.execute("UPDATE session_snapshots SET is_current = false")
    for rate in (ASN_RATE, COUNTRY_RATE):
        assert check_rate(empty, rate, DAY)[::2] == (False, 0.0)
    # An older version beside the current one makes a session no two sessions.
    empty.execute(
        """
        INSERT INTO session_snapshots (
            day, sensor, session_id, version, is_current, source_ip, attacked_at, snapshot_asn, snapshot_country
        ) SELECT day, sensor, session_id, 2, true, source_ip, attacked_at, 64500, 'DE' FROM session_snapshots
        """
    )
    for rate in (ASN_RATE, COUNTRY_RATE):
        found, words, share = check_rate(empty, rate, DAY)
        assert (found, share) == (True, 1.0)
        assert ": 5 of 5 sessions" in words


def test_days_are_judged_apart(empty: Connection) -> None:
    midnight = NOON + timedelta(hours=12)
    # The same session ids on three days; the last moment of one day, the first of the next.
    add_sessions(empty, 4, begin=midnight - timedelta(microseconds=1))
    add_sessions(empty, 4, begin=midnight, country=None, asn=None, source=None)
    add_sessions(empty, 4, begin=midnight + timedelta(days=1), country=None, asn=None)
    days = [DAY + timedelta(days=n) for n in range(3)]
    shares = {rate.name: [check_rate(empty, rate, day)[2] for day in days] for rate in RATES}
    assert shares == {
        "source_address_known": [1.0, 0.0, 1.0],
        "asn_known": [1.0, None, 0.0],
        "country_known": [1.0, None, 0.0],
    }


def test_a_day_whose_sources_are_not_in_the_inventory_is_noticed(empty: Connection) -> None:
    add_sessions(empty, 5, country=None, asn=None)
    empty.execute("DELETE FROM ip_inventory")
    assert [check_rate(empty, rate, DAY)[0] for rate in (ASN_RATE, COUNTRY_RATE)] == [False, False]


# --- the recount of the queries ------------------------------------------------------------------------------------


@pytest.fixture
def counted(empty: Connection) -> Connection:
    """DE 4 of AS 64500, BR 3 of 64501, US 2 of 64501, FR 1 without an AS, one without either; minimum 2."""
    add_sessions(empty, 4, prefix="de")
    add_sessions(empty, 3, country="BR", asn=64501, prefix="br")
    add_sessions(empty, 2, country="US", asn=64501, prefix="us")
    add_sessions(empty, 1, country="FR", asn=None, prefix="fr")
    add_sessions(empty, 1, country=None, asn=None, prefix="none")
    for query in QUERIES:
        run_query(empty, query, Window(minimum_sessions=2))
    return empty


def both(connection: Connection) -> tuple[list[str], list[str]]:
    return findings(connection, GEOGRAPHIC), findings(connection, SYSTEMS)


def test_a_right_result_agrees_with_its_recount(counted: Connection) -> None:
    assert both(counted) == ([], [])


@pytest.mark.parametrize(
    "window",
    [
        Window(),  # every row is below the queries' own minimum
        Window(minimum_sessions=1),
        Window(since="2025-09-10 12:00", until="2025-09-10 12:00:00.000001", minimum_sessions=1),
    ],
)
def test_a_result_is_recounted_in_its_own_window(counted: Connection, window: Window) -> None:
    add_sessions(counted, 5, begin=NOON - timedelta(days=1), prefix="before")
    add_sessions(counted, 5, begin=NOON + timedelta(microseconds=1), prefix="after")
    for query in QUERIES:
        run_query(counted, query, window)
    assert both(counted) == ([], [])


def test_a_query_that_never_ran_is_noticed(empty: Connection) -> None:
    add_sessions(empty, 1)
    assert both(empty) == (["it has never run"], ["it has never run"])


def test_a_query_without_a_session_in_its_window_is_noticed(counted: Connection) -> None:
    for query in QUERIES:
        run_query(counted, query, Window(since="2025-09-11"))
    assert both(counted) == (["there is no session in its window"], ["there is no session in its window"])


BROKEN_RESULTS = {
    "a falsified row (11)": (
        GEOGRAPHIC,
        "UPDATE geographic_distribution SET session_count = 5 WHERE country = 'DE'",
        ["country DE: 5 sessions told, 4 counted"],
    ),
    "a falsified row (12)": (
        SYSTEMS,
        "UPDATE asn_infrastructure SET session_count = 3 WHERE asn = 64500",
        ["asn 64500: 3 sessions told, 4 counted"],
    ),
    "a missing row (11)": (
        GEOGRAPHIC,
        "DELETE FROM geographic_distribution WHERE country = 'US'",
        ["country US: 0 sessions told, 2 counted"],
    ),
    "a missing row (12)": (
        SYSTEMS,
        "DELETE FROM asn_infrastructure WHERE asn = 64500",
        ["asn 64500: 0 sessions told, 4 counted"],
    ),
    "a row under another's key (11)": (
        GEOGRAPHIC,
        "UPDATE geographic_distribution SET country = 'XK' WHERE country = 'DE'",
        ["country XK: 4 sessions told, 0 counted", "country DE: 0 sessions told, 4 counted"],
    ),
    "a row under another's key (12)": (
        SYSTEMS,
        "UPDATE asn_infrastructure SET asn = 8 WHERE asn = 64500",
        ["asn 8: 4 sessions told, 0 counted", "asn 64500: 0 sessions told, 4 counted"],
    ),
}


@pytest.mark.parametrize("name", BROKEN_RESULTS)
def test_a_result_that_disagrees_with_its_recount_is_noticed(counted: Connection, name: str) -> None:
    query, statement, expected = BROKEN_RESULTS[name]
    assert counted.execute(statement.encode()).rowcount == 1
    assert findings(counted, query) == expected
    # The other query's result is as right as before.
    assert findings(counted, SYSTEMS if query is GEOGRAPHIC else GEOGRAPHIC) == []


def test_an_extra_row_is_noticed(counted: Connection) -> None:
    counted.execute(
        "INSERT INTO geographic_distribution "
        "SELECT 'XK', 3, 1, 1, first_seen, last_seen, 0, 0, NULL, NULL, 0, 0 FROM geographic_distribution LIMIT 1"
    )
    counted.execute(
        "INSERT INTO asn_infrastructure "
        "SELECT 7, NULL, NULL, 3, 1, first_seen, last_seen, 0, 0, 0, NULL, NULL, 'Other', 0 "
        "FROM asn_infrastructure LIMIT 1"
    )
    assert both(counted) == (["country XK: 3 sessions told, 0 counted"], ["asn 7: 3 sessions told, 0 counted"])


def test_a_row_with_too_few_sessions_may_be_missing_and_may_not_be_wrong(counted: Connection) -> None:
    # FR has one session, below the minimum of 2, and is in no row: no finding. With a false number it is one.
    counted.execute(
        "INSERT INTO geographic_distribution "
        "SELECT 'FR', 2, 0, 1, first_seen, last_seen, 0, 0, NULL, NULL, 0, 0 FROM geographic_distribution LIMIT 1"
    )
    assert findings(counted, GEOGRAPHIC) == ["country FR: 2 sessions told, 1 counted"]


def test_an_empty_result_over_sessions_is_noticed(counted: Connection) -> None:
    """The system before this one printed "complete" over queries that had returned nothing."""
    counted.execute("DELETE FROM geographic_distribution")
    counted.execute("DELETE FROM asn_infrastructure")
    assert both(counted) == (
        [f"country {name}: 0 sessions told, {n} counted" for name, n in (("DE", 4), ("BR", 3), ("US", 2))],
        # 3 + 2 sessions of AS 64501.
        ["asn 64501: 0 sessions told, 5 counted", "asn 64500: 0 sessions told, 4 counted"],
    )


@pytest.mark.parametrize(
    ("query", "statement", "expected"),
    [
        # 40 + 30 + 20 = 90 in three rows, FR being below the minimum; three roundings make 0.015 at most.
        (GEOGRAPHIC, "UPDATE geographic_distribution SET country_percentage = 50.01 WHERE country = 'DE'", []),
        (GEOGRAPHIC, "UPDATE geographic_distribution SET country_percentage = 50.02 WHERE country = 'DE'", ["100.02"]),
        (GEOGRAPHIC, "UPDATE geographic_distribution SET country_percentage = 140 WHERE country = 'DE'", ["190.00"]),
        # 5/9 = 55.56 and 4/9 = 44.44 in two rows: 0.01 at most.
        (SYSTEMS, "UPDATE asn_infrastructure SET asn_percentage = 55.57 WHERE asn = 64501", []),
        (SYSTEMS, "UPDATE asn_infrastructure SET asn_percentage = 55.58 WHERE asn = 64501", ["100.02"]),
    ],
)
def test_percentages_over_a_hundred_are_noticed(
    counted: Connection, query: InfrastructureQuery, statement: str, expected: list[str]
) -> None:
    counted.execute(statement.encode())
    assert findings(counted, query) == [f"its percentages add up to {total}" for total in expected]


def test_percentages_that_were_all_rounded_up_are_right(empty: Connection) -> None:
    # 1/32 = 3.125 -> 3.13, 3/32 = 9.375 -> 9.38, 5/32 = 15.625 -> 15.63, 23/32 = 71.875 -> 71.88: 100.02.
    for country, number in (("BR", 1), ("CN", 3), ("DE", 5), ("US", 23)):
        add_sessions(empty, number, country=country, prefix=country)
    run_query(empty, GEOGRAPHIC, Window(minimum_sessions=1))
    assert findings(empty, GEOGRAPHIC) == []


def test_percentages_that_only_rounding_brings_over_a_hundred_are_right(empty: Connection) -> None:
    # Seven countries with one session each: 100/7 = 14.2857 -> 14.29, and 7 * 14.29 = 100.03.
    for number in range(7):
        add_sessions(empty, 1, country=f"A{chr(65 + number)}", prefix=str(number))
    for query in QUERIES:
        run_query(empty, query, Window(minimum_sessions=1))
    share = empty.execute("SELECT sum(country_percentage) FROM geographic_distribution").fetchone()
    assert share is not None
    assert str(share[0]) == "100.03"
    assert both(empty) == ([], [])


def test_a_country_that_lost_its_systems_is_noticed(counted: Connection) -> None:
    """In production every country once had 0 ASNs."""
    counted.execute("UPDATE geographic_distribution SET unique_asns = 0 WHERE country = 'BR'")
    assert findings(counted, GEOGRAPHIC) == ["country BR has sessions with an ASN, and 0 ASNs"]


def test_a_country_without_any_known_system_is_right(counted: Connection) -> None:
    run_query(counted, GEOGRAPHIC, Window(minimum_sessions=1))
    row = counted.execute("SELECT unique_asns FROM geographic_distribution WHERE country = 'FR'").fetchone()
    assert row == (0,)
    assert findings(counted, GEOGRAPHIC) == []


def full(connection: Connection, limit: int) -> None:
    """Cut the stored results as a limit of so many rows would have."""
    for query, key in ((GEOGRAPHIC, "country"), (SYSTEMS, "asn")):
        connection.execute(
            f"DELETE FROM {query.name} WHERE {key} NOT IN "
            f"(SELECT {key} FROM {query.name} ORDER BY session_count DESC, {key} LIMIT {limit})".encode()
        )
    connection.execute("UPDATE query_results SET row_limit = %s", (limit,))


@pytest.mark.parametrize("limit", [1, 2])
def test_a_row_that_the_limit_cut_off_is_no_finding(counted: Connection, limit: int) -> None:
    full(counted, limit)
    assert both(counted) == ([], [])


def test_a_full_result_that_lacks_a_row_with_more_sessions_is_noticed(counted: Connection) -> None:
    full(counted, 2)
    # DE with 4 is missing, BR with 3 and US with 2 are there: the limit cannot have been the reason.
    run_query(counted, GEOGRAPHIC, Window(minimum_sessions=2))
    counted.execute("DELETE FROM geographic_distribution WHERE country = 'DE'")
    counted.execute("UPDATE query_results SET row_limit = 2")
    assert findings(counted, GEOGRAPHIC) == ["country DE: 0 sessions told, 4 counted"]


@pytest.mark.parametrize("wrong", ["s.day = p.day AND ", " AND p.is_current"])
def test_a_query_over_a_view_with_a_wrong_join_is_noticed(counted: Connection, wrong: str) -> None:
    """The recount reads the tables: a wrong view cannot agree with itself."""
    # The same ids a day later, from elsewhere; and an older version of each snapshot.
    add_sessions(counted, 4, country="NL", asn=64502, begin=NOON + timedelta(days=1), prefix="de")
    counted.execute(
        "INSERT INTO session_snapshots (day, sensor, session_id, version, is_current, attacked_at, snapshot_asn, "
        "snapshot_country) SELECT day, sensor, session_id, 0, false, attacked_at, 64500, 'DE' FROM session_snapshots"
    )
    for query in QUERIES:
        run_query(counted, query, Window(minimum_sessions=1))
    assert both(counted) == ([], [])
    right = view_statement("session_summaries")
    assert right.count(wrong) == 1
    counted.execute(right.replace(wrong, "").encode())
    for query in QUERIES:
        run_query(counted, query, Window(minimum_sessions=1))
    assert all(both(counted))


# --- what the queries must show --------------------------------------------------------------------------------------

ANONYMIZATION, REPUTATION = QUERIES[2:]
HASH = "a" * 64


@pytest.fixture
def positive(empty: Connection) -> Connection:
    """Two sessions of each kind of positive that there is, and two of nothing at all, each from a source of its own."""
    kinds = ("vpn", "proxy", "tor", "residential", "datacenter", "hosting", "mobile", "attacks", "malware", "nothing")
    for number, kind in enumerate(kinds, 1):
        add_sessions(empty, 2, source=f"9.9.9.{number}", prefix=kind)
    add = """
        INSERT INTO spur_enrichment (day, address, outcome, answered_at, is_vpn, is_proxy, is_tor, infrastructure)
        VALUES (%s, %s, 'found', now(), %s, %s, %s, %s)
    """
    for number, kind in enumerate(kinds[:7], 1):
        hidden = (kind == "vpn", kind == "proxy", kind == "tor", kind.upper() if number > 3 else None)
        empty.execute(add, (DAY, f"9.9.9.{number}", *hidden))
    empty.execute(
        """
        INSERT INTO dshield_enrichment (day, address, outcome, answered_at, attacks, reports)
        VALUES (%s, '9.9.9.8', 'found', now(), 50, 90)
        """,
        (DAY,),
    )
    empty.execute("UPDATE sessions SET file_downloads = 1, ssh_key_injections = 1 WHERE session_id ^@ 'malware'")
    empty.execute(
        """
        INSERT INTO files (day, sensor, session_id, sequence, occurred_at, transfer, sha256)
        SELECT day, sensor, session_id, 1, first_event_at, 'download', upper(%s)
        FROM sessions WHERE session_id ^@ 'malware'
        """,
        (HASH,),
    )
    empty.execute(
        """
        INSERT INTO virustotal_files (day, sha256, outcome, answered_at, malicious) VALUES (%s, %s, 'found', now(), 9)
        """,
        (DAY, HASH),
    )
    for query in QUERIES:
        run_query(empty, query, Window(minimum_sessions=1))
    return empty


# What a query, or the view that it reads, once lost or could lose: each is zero then, and nothing else changes.
LOSSES = {
    "every country had 0 ASNs": (GEOGRAPHIC, "unique_asns = 0", "20 sessions with an AS"),
    "downloads (11)": (GEOGRAPHIC, "total_file_downloads = 0", "2 sessions with downloads"),
    "malware (11)": (GEOGRAPHIC, "vt_flagged_count = 0", "2 sessions with malware, by VirusTotal"),
    "reported (11)": (GEOGRAPHIC, "dshield_flagged_count = NULL", "2 sessions of reported attackers, by DShield"),
    "countries (12)": (SYSTEMS, "primary_country = NULL", "20 sessions with a country"),
    "keys (12)": (SYSTEMS, "total_ssh_injections = 0", "2 sessions with planted keys"),
    "malware (12)": (SYSTEMS, "vt_flagged_sessions = NULL", "2 sessions with malware, by VirusTotal"),
    "reported (12)": (SYSTEMS, "dshield_flagged_sessions = 0", "2 sessions of reported attackers, by DShield"),
    "VPNs: they were 0 for ever": (ANONYMIZATION, "vpn_sessions = 0", "2 sessions through a VPN"),
    "proxies": (ANONYMIZATION, "proxy_sessions = NULL", "2 sessions through a proxy"),
    "Tor": (ANONYMIZATION, "tor_sessions = 0", "2 sessions through Tor"),
    "any of the three": (ANONYMIZATION, "anonymized_sessions = 0", "6 anonymized sessions"),
    "home lines": (ANONYMIZATION, "residential_count = 0", "2 sessions from home lines"),
    "datacenters": (ANONYMIZATION, "datacenter_count = 0", "2 sessions from datacenters"),
    "hosters": (ANONYMIZATION, "hosting_count = 0", "2 sessions from hosters"),
    "mobile lines": (ANONYMIZATION, "mobile_count = 0", "2 sessions from mobile lines"),
    "answers of DShield": (REPUTATION, "answered_sessions = 0", "2 sessions that DShield answered for"),
    "downloads (14)": (REPUTATION, "total_downloads = 0", "2 sessions with downloads"),
    "malware (14)": (REPUTATION, "vt_flagged_count = 0", "2 sessions with malware, by VirusTotal"),
}


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.name)
def test_a_result_that_shows_what_the_tables_hold_passes(positive: Connection, query: InfrastructureQuery) -> None:
    verdict = judge_positives(positive, query, 1)
    there = len(positives_of(query))
    assert (verdict.passed, verdict.words) == (
        True,
        f"The result shows each of the {there} kinds of positives that the tables hold.",
    )
    assert judge_recount(positive, query).passed


@pytest.mark.parametrize("name", LOSSES)
def test_a_result_of_zeros_where_there_is_something_is_noticed(positive: Connection, name: str) -> None:
    query, lost, expected = LOSSES[name]
    assert positive.execute(f"UPDATE {query.name} SET {lost}".encode()).rowcount > 0
    verdict = judge_positives(positive, query, 1)
    assert not verdict.passed
    assert verdict.words.startswith(f"{expected} in the tables, 0 in the result. The query, or the view that it reads")


MUTANTS = {
    "the filter is never true": (
        ANONYMIZATION,
        "WHERE spur_infrastructure = 'DATACENTER'",
        "WHERE false",
        "datacenters",
    ),
    "the value is spelt otherwise": (ANONYMIZATION, "'HOSTING'", "'Hosting'", "hosters"),
    "a NULL where a number is": (
        REPUTATION,
        "WHEN dshield_attacks IS null",
        "WHEN true",
        "whose attacks DShield counts",
    ),
    "the wrong column is counted": (GEOGRAPHIC, "count(DISTINCT asn) AS unique_asns", "0 AS unique_asns", "with an AS"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_query_that_loses_its_positives_is_noticed(
    positive: Connection, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    query, right, wrong, what = MUTANTS[name]
    text = sql_file(query.sql_name).read_text(encoding="utf-8")
    assert text.count(right) == 1
    (tmp_path / query.sql_name).write_text(text.replace(right, wrong), encoding="utf-8")
    monkeypatch.setattr(
        infrastructure, "sql_file", lambda given: tmp_path / given if given == query.sql_name else sql_file(given)
    )
    run_query(positive, query, Window(minimum_sessions=1))
    verdict = judge_positives(positive, query, 1)
    assert not verdict.passed
    assert what in verdict.words


def test_fewer_positives_than_the_threshold_need_not_be_shown(positive: Connection) -> None:
    positive.execute("UPDATE anonymization SET vpn_sessions = 0")
    assert not judge_positives(positive, ANONYMIZATION, 2).passed
    assert judge_positives(positive, ANONYMIZATION, 3).passed


def test_positives_of_rows_that_have_too_few_sessions_are_not_sought(positive: Connection) -> None:
    run_query(positive, REPUTATION, Window(minimum_sessions=3))
    # Only 'no_data' is left, with the malware and without the two sessions that DShield knows.
    assert positive.execute("SELECT reputation_bucket FROM reputation_distribution").fetchall() == [("no_data",)]
    verdict = judge_positives(positive, REPUTATION, 1)
    assert (verdict.passed, verdict.numbers["kinds of positives in the tables"]) == (True, 3)


def test_a_row_that_the_limit_cut_off_need_not_show_its_positives(positive: Connection) -> None:
    # Two rows: 'no_data' with 18 sessions, and one with the two that DShield knows.
    positive.execute("DELETE FROM reputation_distribution WHERE reputation_bucket <> 'no_data'")
    assert not judge_positives(positive, REPUTATION, 1).passed
    positive.execute("UPDATE query_results SET row_limit = 1")
    assert judge_positives(positive, REPUTATION, 1).passed


def test_positives_outside_of_the_results_window_are_not_sought(positive: Connection) -> None:
    run_query(positive, ANONYMIZATION, Window(since="2025-09-11"))
    assert judge_positives(positive, ANONYMIZATION, 1).numbers["kinds of positives in the tables"] == 0


def test_an_empty_result_says_why_it_is_empty(positive: Connection) -> None:
    run_query(positive, GEOGRAPHIC, Window())
    verdict = judge_positives(positive, GEOGRAPHIC, 1)
    assert (verdict.passed, verdict.words) == (
        True,
        "The result is empty: of 20 sessions in its window no country has 100 or more. To see smaller ones, set "
        "minimum_sessions in the run config of the query.",
    )
    positive.execute("DELETE FROM query_results")
    assert judge_positives(positive, GEOGRAPHIC, 1).words == "geographic_distribution has never run: materialize it."


def test_a_recount_says_how_many_rows_agree(positive: Connection) -> None:
    assert judge_recount(positive, GEOGRAPHIC).words == "All 1 rows agree with a recount."
    positive.execute("UPDATE geographic_distribution SET session_count = 5")
    words = judge_recount(positive, GEOGRAPHIC).words
    assert words.startswith("country DE: 5 sessions told, 20 counted. Materialize the query again")


# --- the age of lists and geo files --------------------------------------------------------------------------------

FETCHED = datetime(2025, 9, 10, 0, 20, tzinfo=UTC)


def listed(connection: Connection, hours: float, *, failed: str | None = None, outcome: str = "unavailable") -> Verdict:
    """The verdict over a copy that was fetched so many hours ago and was good for six; `failed`: why the last try was
    in vain."""
    connection.execute(
        "INSERT INTO list_editions (list, fetched_at, valid_until, sha256, row_count) "
        "VALUES ('tor_exits', %s, %s, '', 9)",
        (FETCHED, FETCHED + timedelta(hours=6)),
    )
    if failed:
        connection.execute(
            "INSERT INTO open_questions (service, key, outcome, reason, noted_at) "
            "VALUES ('tor_exits', 'list', %s, %s, now())",
            (outcome, failed),
        )
    return judge_list(connection, "tor_exits", FETCHED + timedelta(hours=hours))


@pytest.mark.parametrize(
    ("hours", "failed", "passed"),
    [
        (5.9, None, True),
        (23, None, True),  # it is the night's run that fetches it
        (48, None, True),
        (48.1, None, False),  # two nights passed
        (5.9, "HTTP 503", True),
        (6.1, "HTTP 503", False),  # tried in vain
    ],
)
def test_a_list_is_too_old_where_fetching_failed_or_nobody_tried(
    empty: Connection, hours: float, failed: str | None, passed: bool
) -> None:
    verdict = listed(empty, hours, failed=failed)
    assert verdict.passed is passed
    assert "9 entries of 2025-09-10 00:20 UTC serve" in verdict.words
    if not passed:
        assert (failed or "it was not fetched since") in verdict.words
        assert "look at COWRIE_FEEDS_URL" in verdict.words


def test_a_list_that_is_switched_off_passes_and_one_that_never_came_fails(empty: Connection) -> None:
    off = listed(empty, 1000, failed="offline: COWRIE_OFFLINE is set", outcome="not_configured")
    assert (off.passed, off.words.split(";")[0]) == (True, "Not fetched (offline: COWRIE_OFFLINE is set)")
    assert not judge_list(empty, "cloud_ranges", FETCHED).passed


def test_the_age_of_geo_files_can_be_set(sample_geo_files: tuple[Path, Path]) -> None:
    files = GeoFiles(city=str(sample_geo_files[0]), asn=str(sample_geo_files[1]))
    with files.open_city() as city:
        assert city is not None
        now = city.built_at + timedelta(days=20)
    assert judge_geo(files, now, timedelta(days=20)).passed
    verdict = judge_geo(files, now, timedelta(days=19))
    assert not verdict.passed
    assert verdict.numbers["city file, days old"] == 20
    assert "set MAXMIND_ACCOUNT_ID" in verdict.words


def test_the_doctor_judges_geo_files_by_the_same_setting(
    sample_geo_files: tuple[Path, Path], tmp_path: Path, database_url: str
) -> None:
    age = (datetime.now(UTC).date() - SAMPLE_LAST_DAY).days
    states = {}
    for days in (age + 30, age - 30):
        settings = Settings(
            home=tmp_path,
            database_url=database_url,
            geoip_city=sample_geo_files[0],
            geoip_asn=sample_geo_files[1],
            checks={"geo_files_age": f"{days}d"},
        )
        states[days] = {
            found.what: found.state for found in examine(settings) if found.what in ("city file", "ASN file")
        }
    assert states == {
        age + 30: {"city file": "good", "ASN file": "good"},
        age - 30: {"city file": "warning", "ASN file": "warning"},
    }


# --- the gates of coverage -----------------------------------------------------------------------------------------


def test_each_service_can_have_a_gate_of_its_own(empty: Connection) -> None:
    for number in range(4):
        add_sessions(empty, 1, source=f"9.9.9.{number}", prefix=str(number))
    for table in ("dshield_enrichment", "urlhaus_enrichment"):
        empty.execute(
            f"INSERT INTO {table} (day, address, outcome, answered_at) "
            "SELECT day, source_ip, 'not_found', now() FROM sessions WHERE session_id < '3'".encode()
        )

    def verdicts(gates: Gates) -> dict[str, Verdict]:
        rows = coverage_of_days(empty, [DAY], gates)
        return {service: judge_coverage(rows[service, DAY]) for service in ("dshield", "urlhaus")}

    # Three of four.
    usual = verdicts(Gates())
    assert [verdict.passed for verdict in usual.values()] == [False, False]
    own = verdicts(Gates(0.9, {"dshield": 0.75}))
    assert [verdict.passed for verdict in own.values()] == [True, False]
    assert own["urlhaus"].numbers == {"answered share": 0.75, "answered sessions": 3, "eligible sessions": 4}
    lower = verdicts(Gates(0.75))
    assert [verdict.passed for verdict in lower.values()] == [True, True]


def test_the_words_of_coverage_name_the_gate_that_was_set(empty: Connection) -> None:
    add_sessions(empty, 1)
    empty.execute(
        "INSERT INTO service_limits (limit_key, service, spacing_seconds, sustained_seconds, next_slot) "
        "VALUES ('dshield', 'dshield', 2, 2, now())"
    )
    rows = coverage_of_days(empty, [DAY], Gates(0.8, {"dshield": 0.335}))
    words = judge_coverage(rows["dshield", DAY]).words
    assert "and 33.5 % can be reached in" in words
    assert words.endswith("Nobody asked yet: materialize dshield_enrichment, or run the job daily.")


def test_what_cannot_be_asked_now_is_not_promised_in_a_moment(empty: Connection) -> None:
    add_sessions(empty, 1)
    empty.execute(
        "INSERT INTO service_limits (limit_key, service, spacing_seconds, sustained_seconds, next_slot) "
        "VALUES ('dshield', 'dshield', 2, 2, now())"
    )
    reason = "HTTP 503, 5 failures in a row; nobody asks before 1 minute is over"
    empty.execute(
        "INSERT INTO dshield_enrichment (day, address, outcome, reason) "
        "SELECT day, source_ip, 'unavailable', %s FROM sessions",
        (reason,),
    )
    words = judge_coverage(coverage_of_days(empty, [DAY], Gates())["dshield", DAY]).words
    assert f"{reason}. Once it can be asked again, at the permitted rate all of them are asked in" in words
    assert words.endswith("The next run goes on where this one stopped.")


def test_the_gate_of_the_queries_is_the_one_that_was_set(empty: Connection) -> None:
    add_sessions(empty, 3)
    add_sessions(empty, 1, country=None, prefix="unknown")
    assert run_query(empty, GEOGRAPHIC, Window(minimum_sessions=1)).gate == "below the gate"
    assert run_query(empty, GEOGRAPHIC, Window(minimum_sessions=1), 0.75).gate == "passed"


def test_the_commands_and_the_report_judge_by_the_gate_that_was_set(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.new_database()
    with open_connection(url) as connection:
        connection.execute("INSERT INTO warehouse_stamp (mode) VALUES ('live')")
        for number in range(4):
            add_sessions(connection, 1, source=f"9.9.9.{number}", prefix=str(number))
        connection.execute(
            "INSERT INTO dshield_enrichment (day, address, outcome, answered_at, reason) "
            "SELECT day, source_ip, 'not_found', now(), NULL FROM sessions WHERE session_id < '3'"
        )
        for table in ("urlhaus_enrichment", "spur_enrichment"):
            connection.execute(
                f"INSERT INTO {table} (day, address, outcome, reason) "
                "SELECT day, source_ip, 'not_configured', 'offline' FROM sessions".encode()
            )
        connection.execute(
            "INSERT INTO open_questions (service, key, outcome, reason, noted_at) "
            "SELECT 'cymru', host(source_ip), 'not_configured', 'offline', now() FROM sessions"
        )
    config = tmp_path / "sensors.toml"
    monkeypatch.setenv("COWRIE_HOME", str(tmp_path))
    monkeypatch.setenv("COWRIE_DATABASE_URL", url)
    monkeypatch.setenv("COWRIE_CONFIG", str(config))

    def exit_code() -> int:
        return CliRunner().invoke(app, ["coverage", "--require-coverage"]).exit_code

    config.write_text("")
    assert exit_code() == 3
    config.write_text("[checks.coverage]\ndshield = 0.75\n")
    assert exit_code() == 0
    gates = Thresholds.of(Settings.from_environment()).coverage
    with open_connection(url) as connection:
        page = write_report(connection, tmp_path, [], gates, sandbox=False).read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if ">dshield</td>" in line)
    assert ">passed</td>" in row


# --- in Dagster ----------------------------------------------------------------------------------------------------

DAYS = [DAY + timedelta(days=n) for n in range(4)]


def test_a_run_over_several_days_records_each_days_checks_also_where_one_fails(server: Server, tmp_path: Path) -> None:
    url = server.new_database()
    begins = [NOON + timedelta(days=n) for n in range(4)]
    with open_connection(url) as connection:
        connection.execute(
            "INSERT INTO ip_observations (address, source, observed_at, asn, country) VALUES "
            "(%(ip)s, 'geoip_asn', '2025-09-01', 64500, NULL), (%(ip)s, 'geoip_city', '2025-09-01', NULL, 'DE')",
            {"ip": PUBLIC},
        )
        add_sessions(connection, 5, begin=begins[0], snapshot=False)
        # The second day fails in all three: two of three without a source, and a public one of which nothing is known.
        add_sessions(connection, 2, begin=begins[1], snapshot=False, source=None, prefix="none")
        add_sessions(connection, 1, begin=begins[1], snapshot=False, source="9.9.9.9", prefix="unknown")
        add_sessions(connection, 5, begin=begins[2], snapshot=False)
        # The fourth day has no sessions.

    definitions = build_definitions(
        {
            "warehouse": Warehouse(home=str(tmp_path), database_url=url),
            "geo_files": GeoFiles(),
            "cowrie_logs": CowrieLogs(folders=[]),
        },
        Settings(home=tmp_path, start_date=DAY),
    )
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path / "dagster")) as instance:
        result = definitions.resolve_job_def(DAILY_JOB).execute_in_process(
            asset_selection=[dg.AssetKey("session_snapshots")],
            instance=instance,
            tags={
                "dagster/asset_partition_range_start": DAYS[0].isoformat(),
                "dagster/asset_partition_range_end": DAYS[-1].isoformat(),
            },
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        assert result.success
        partitions = instance.get_materialized_partitions(dg.AssetKey("session_snapshots"))
        assert partitions == {day.isoformat() for day in DAYS}
        recorded = {
            rate.name: [
                record.evaluation
                for record in instance.event_log_storage.get_asset_check_execution_history(
                    dg.AssetCheckKey(dg.AssetKey("session_snapshots"), rate.name), limit=100
                )
            ]
            for rate in RATES
        }

    assert {name: len(found) for name, found in recorded.items()} == {rate.name: 4 for rate in RATES}
    for rate in RATES:
        evaluations = {found.partition: found for found in recorded[rate.name] if found is not None}
        assert {day: found.passed for day, found in evaluations.items()} == {
            "2025-09-10": True,
            "2025-09-11": False,
            "2025-09-12": True,
            "2025-09-13": True,
        }
        assert {found.severity for found in evaluations.values()} == {rate.severity}
        for day, found in evaluations.items():
            assert (found.description or "").startswith(f"{day}: ")
        # 5/5; 1 of 3 with a source, and 0 of 1 with AS and country; a day without sessions has nothing unknown.
        assert [evaluations[day.isoformat()].metadata["rate"].value for day in DAYS] == [
            1.0,
            1 / 3 if rate is SOURCE_RATE else 0.0,
            1.0,
            1.0,
        ]
    assert [rate.severity for rate in RATES] == [
        dg.AssetCheckSeverity.ERROR,
        dg.AssetCheckSeverity.WARN,
        dg.AssetCheckSeverity.WARN,
    ]
    # The failing day was written as well, and so was the day after it.
    with open_connection(url) as connection:
        written = connection.execute("SELECT day, count(*) FROM session_snapshots GROUP BY day ORDER BY day").fetchall()
    assert written == [(DAYS[0], 5), (DAYS[1], 3), (DAYS[2], 5)]
