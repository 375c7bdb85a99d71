"""The numbers that the UI shows of a day, an inventory, a list and a run are those of the rows.

Proved here: each query of `shown_days`, `shown_answers` and `shown_inventories`, by value. Not here: that Dagster is
told of them, and harmlessly (`test_metadata`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest

from cowrie_assets.assets.previous import Entry
from cowrie_assets.assets.questions import QUESTIONS
from cowrie_assets.assets.shown_answers import answers_of_days, cost_of_run
from cowrie_assets.assets.shown_days import sessions_of_days, snapshots_of_days
from cowrie_assets.assets.shown_inventories import addresses, builds, editions, systems
from cowrie_assets.lookup.services import SERVICES
from cowrie_assets.warehouse.database import open_connection
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets_tests.conftest import Server
from cowrie_assets_tests.unit.test_charts import drawn, heights, words

pytestmark = pytest.mark.one_server

DAY, NEXT, EMPTY = date(2025, 9, 10), date(2025, 9, 11), date(2025, 9, 12)
DAYS = [DAY, NEXT, EMPTY]
THEN = datetime(2025, 9, 10, 6, tzinfo=UTC)


@pytest.fixture(scope="module")
def connection(embedded_server: Server) -> Iterator[Connection]:
    with open_connection(embedded_server.new_database()) as opened:
        opened.execute(
            """
            INSERT INTO sessions (
                day, sensor, session_id, first_event_at, last_event_at, source_ip, event_count, login_attempts,
                login_successes, command_count, commands_failed, file_downloads, file_uploads, ssh_key_injections,
                forwarding_requests, unknown_events, closed
            )
            SELECT
                day, sensor, session, day + make_interval(hours => hour), day + make_interval(hours => hour + 1),
                source, 9, 3, 1, 2, 0, 1, 0, 0, 0, 0, true
            FROM (
                VALUES
                ('2025-09-10'::timestamptz, 'alpha', 'a', 5, '8.8.4.4'::inet),
                ('2025-09-10', 'alpha', 'b', 5, '8.8.4.4'),
                ('2025-09-10', 'beta', 'c', 23, '8.8.4.4'),
                ('2025-09-10', 'beta', 'd', 5, NULL),
                ('2025-09-10', 'beta', 'e', 6, '9.9.9.9'),
                ('2025-09-11', 'beta', 'f', 0, '1.1.1.1')
            ) AS given (day, sensor, session, hour, source)
            """
        )
        yield opened


def markdown(entries: Mapping[str, Entry], name: str) -> str:
    value = entries[name]
    assert isinstance(value, dg.MarkdownMetadataValue)
    return str(value.md_str)


def table(entries: Mapping[str, Entry], name: str) -> list[str]:
    """The rows of a table, without its head."""
    return markdown(entries, name).splitlines()[2:]


def picture(entries: Mapping[str, Entry], name: str) -> str:
    return markdown(entries, name).partition("](")[2].removesuffix(")")


# --- sessions and snapshots -------------------------------------------------------------------------------------------


def test_a_day_of_sessions_is_told_by_sensor_and_by_hour(connection: Connection) -> None:
    shown = sessions_of_days(connection, DAYS)
    known = ("addresses", "sensors", "logins accepted", "downloads")
    assert [shown[DAY][name] for name in known] == [2, 2, 5, 5]
    assert table(shown[DAY], "by sensor") == ["| beta | 3 | 2 | 9 | 3 | 6 | 3 |", "| alpha | 2 | 1 | 6 | 2 | 4 | 2 |"]
    root = drawn(picture(shown[DAY], "sessions by hour"))
    # Beta, which has the most sessions, is drawn first: 1 at five o'clock below alpha's 2, 1 at six, 1 at 23.
    assert heights(root, "#4f6bed") == [63, 63, 63]
    assert heights(root, "#e0a03b") == [190, 63, 63]
    assert {"alpha", "beta"} <= set(words(root))


def test_days_of_one_run_do_not_mix_and_a_day_without_sessions_says_so(connection: Connection) -> None:
    shown = sessions_of_days(connection, DAYS)
    assert table(shown[NEXT], "by sensor") == ["| beta | 1 | 1 | 3 | 1 | 2 | 1 |"]
    assert shown[EMPTY]["addresses"] == shown[EMPTY]["sensors"] == 0
    assert markdown(shown[EMPTY], "by sensor") == "none"
    assert "sessions by hour" not in shown[EMPTY]
    assert sessions_of_days(connection, [DAY])[DAY] == shown[DAY]


def test_a_day_of_snapshots_is_told_by_basis_and_by_what_is_unknown(connection: Connection) -> None:
    connection.execute(
        """
        INSERT INTO session_snapshots (
            day, sensor, session_id, version, is_current, attacked_at, snapshot_asn, asn_reason, snapshot_country,
            country_reason, ip_type_reason, snapshot_basis
        )
        SELECT day, sensor, session_id, 2, true, first_event_at, 64500, NULL, NULL, 'no geo database', 'no lists',
            'observed_after'
        FROM sessions WHERE day = '2025-09-10' AND source_ip IS NOT NULL
        UNION ALL
        SELECT day, sensor, session_id, 1, NOT is_old, first_event_at, NULL, 'no address', NULL, 'no address', 'x', NULL
        FROM sessions, (VALUES (true), (false)) AS v (is_old)
        WHERE day = '2025-09-10' AND (source_ip IS NULL AND NOT is_old OR source_ip IS NOT NULL AND is_old)
        """
    )
    shown = snapshots_of_days(connection, DAYS)[DAY]
    known = ("with an AS", "with a country", "with a type", "times improved, at most")
    assert [shown[name] for name in known] == [4, 0, 0, 1]
    assert table(shown, "unknown, and why") == [
        "| AS | no address | 1 |",
        "| country | no geo database | 4 |",
        "| country | no address | 1 |",
        "| type | no lists | 4 |",
        "| type | x | 1 |",
    ]
    root = drawn(picture(shown, "basis by hour"))
    assert [word for word in words(root) if word in ("in force", "observed after", "unknown")] == [
        "observed after",
        "unknown",
    ]


# --- answers ----------------------------------------------------------------------------------------------------------


def test_a_day_of_answers_is_told_by_outcome_with_the_oldest_and_the_most_seen(connection: Connection) -> None:
    connection.execute(
        """
        INSERT INTO dshield_enrichment (day, address, outcome, reason, answered_at, attacks, asn, as_name, country)
        VALUES
        ('2025-09-10', '8.8.4.4', 'found', NULL, '2025-09-10 06:00Z', 1234, 64500, 'Saltmarsh', 'RO'),
        ('2025-09-10', '9.9.9.9', 'quota', 'not asked yet', NULL, NULL, NULL, NULL, NULL),
        ('2025-09-11', '1.1.1.1', 'not_found', NULL, '2025-09-01 06:00Z', NULL, NULL, NULL, NULL)
        """
    )
    shown = answers_of_days(connection, QUESTIONS["dshield_enrichment"], DAYS)
    assert table(shown[DAY], "most seen addresses") == [
        "| 8&#46;8&#46;4&#46;4 | 3 | found | 1,234 | – | – | 64500 | Saltmarsh | RO |",
        "| 9&#46;9&#46;9&#46;9 | 1 | quota | – | – | – | – | – | – |",
    ]
    assert table(shown[DAY], "open, and why") == ["| 1 | not asked yet |"]
    oldest = shown[DAY]["oldest answer"]
    assert isinstance(oldest, dg.TimestampMetadataValue)
    assert oldest.value == THEN.timestamp()
    assert words(drawn(picture(shown[DAY], "coverage")))[1:] == ["found", "quota", "1", "1"]
    assert "open, and why" not in shown[NEXT]
    assert "oldest answer" not in shown[EMPTY]


def test_no_more_than_ten_addresses_of_a_day_are_shown(connection: Connection) -> None:
    with connection.transaction(force_rollback=True):
        connection.execute(
            """
            INSERT INTO sessions (
                day, sensor, session_id, first_event_at, last_event_at, source_ip, event_count, login_attempts,
                login_successes, command_count, commands_failed, file_downloads, file_uploads, ssh_key_injections,
                forwarding_requests, unknown_events, closed
            )
            SELECT '2025-09-12', 'alpha', n::text, '2025-09-12', '2025-09-12', '1.2.3.0'::inet + n % 14,
                1, 0, 0, 0, 0, 0, 0, 0, 0, 0, false
            FROM generate_series(1, 30) AS n
            """
        )
        connection.execute(
            "INSERT INTO spur_enrichment (day, address, outcome, answered_at, is_vpn, is_tor, infrastructure) "
            "SELECT DISTINCT day, source_ip, 'found', now(), true, true, 'DATACENTER' FROM sessions WHERE day = %s",
            (EMPTY,),
        )
        shown = answers_of_days(connection, QUESTIONS["spur_enrichment"], DAYS)[EMPTY]
    rows = table(shown, "most seen addresses")
    assert len(rows) == 10
    assert rows[0] == "| 1&#46;2&#46;3&#46;1 | 3 | found | datacenter | VPN, Tor | – | – |"


def test_files_and_passwords_of_a_day_are_shown(connection: Connection) -> None:
    digest = "ab" * 32
    connection.execute(
        "INSERT INTO files (day, sensor, session_id, sequence, occurred_at, transfer, sha256) "
        "SELECT %s, 'alpha', s, n, %s, 'download', upper(%s) FROM (VALUES ('a', 1), ('a', 2), ('b', 1)) AS v (s, n)",
        (DAY, THEN, digest),
    )
    connection.execute(
        "INSERT INTO virustotal_files (day, sha256, outcome, answered_at, label, malicious, engines, meaningful_name) "
        "VALUES (%s, %s, 'found', %s, 'trojan.mirai', 40, 62, 'x|y')",
        (DAY, digest, THEN),
    )
    connection.execute(
        "INSERT INTO password_stats (day, sensor, session_id, outcome, answered_at, total_attempts, unique_passwords, "
        "checked_passwords, breached_passwords, breach_prevalence_max) "
        "VALUES (%s, 'alpha', 'a', 'found', %s, 3, 2, 2, 1, 99)",
        (DAY, THEN),
    )
    files = answers_of_days(connection, QUESTIONS["virustotal_files"], DAYS)[DAY]
    assert table(files, "most brought files") == [
        "| abababababababab | 2 | found | 40 | 62 | trojan&#46;mirai | x&#124;y |"
    ]
    sessions = answers_of_days(connection, QUESTIONS["password_stats"], DAYS)[DAY]
    assert table(sessions, "sessions with the most passwords") == ["| alpha | a | found | 3 | 2 | 1 | 99 |"]


def test_a_run_costs_what_its_own_ledger_and_counters_say(connection: Connection) -> None:
    service = SERVICES["greynoise"]
    connection.execute(
        "INSERT INTO lookup_ledger (service, key, sent_at, outcome, limit_key, run_id) "
        "SELECT s, n::text, now(), 'found', %s, r FROM generate_series(1, 7) AS n, "
        "(VALUES ('greynoise', 'this'), ('greynoise', 'another'), ('spur', 'this')) AS v (s, r)",
        (service.limit_key,),
    )
    connection.execute(
        "INSERT INTO lookup_counters (run_id, service, tier, hits, misses) VALUES "
        "('this', 'greynoise', 'memory', 0, 10), ('this', 'greynoise', 'database', 3, 7), "
        "('this', 'greynoise', 'another process', 2, 0), ('another', 'greynoise', 'memory', 5, 5)"
    )
    assert cost_of_run(connection, service, "this") == {
        "requests": 7,
        "hits: another process": 2,
        "hits: database": 3,
        "hit rate: database": 0.3,
        "hits: memory": 0,
        "hit rate: memory": 0.0,
        "quota left": 25 - 14,
        "quota": "25/week",
    }
    unlimited = cost_of_run(connection, SERVICES["dshield"], "this")
    assert unlimited == {"requests": 0, "quota": "none known but the rate"}


# --- inventories, lists, geo files ------------------------------------------------------------------------------------


def test_the_inventories_show_the_largest_networks_and_the_addresses_by_type(connection: Connection) -> None:
    connection.execute(
        """
        INSERT INTO asn_inventory (
            asn_number, organization_name, organization_country, first_seen, last_seen, unique_ip_count,
            total_session_count
        ) VALUES (64500, 'Saltmarsh', 'RO', now(), '2025-09-10 06:00Z', 3, 1200), (64501, NULL, NULL, now(),
            '2025-09-11 06:00Z', 1, 7)
        """
    )
    connection.execute(
        """
        INSERT INTO ip_inventory (
            ip_address, is_public, current_asn, asn_reason, geo_country, country_reason, ip_type, ip_type_reason,
            first_seen, last_seen, session_count, enrichment_version
        ) VALUES
        ('8.8.4.4', true, 64500, NULL, 'RO', NULL, 'tor', NULL, '2025-09-10 06:00Z', '2025-09-10 06:00Z', 3, '2'),
        ('9.9.9.9', true, NULL, 'not announced', NULL, 'no geo database', NULL, 'in none of the lists',
            '2025-09-10 06:00Z', '2025-09-10 06:00Z', 1, '2')
        """
    )
    top = systems(connection)
    assert table(top, "top networks") == [
        "| 64500 | Saltmarsh | RO | 3 | 1,200 | 2025-09-10 06:00 |",
        "| 64501 | – | – | 1 | 7 | 2025-09-11 06:00 |",
    ]
    assert {"AS64500 Saltmarsh", "AS64501", "1,200"} <= set(words(drawn(picture(top, "chart"))))
    shown = addresses(connection)
    assert table(shown, "by type") == ["| none&#58; in none of the lists | 1 | 1 |", "| tor | 1 | 3 |"]
    assert table(shown, "unknown, and why") == ["| AS | not announced | 1 |", "| country | no geo database | 1 |"]
    assert table(shown, "top addresses")[0].startswith("| 8&#46;8&#46;4&#46;4 | 3 | 64500 | RO | tor |")


def test_a_list_shows_its_edition_beside_the_ones_before(connection: Connection) -> None:
    first, second = THEN, THEN + timedelta(hours=6)
    connection.execute(
        "INSERT INTO list_editions (list, fetched_at, valid_until, sha256, row_count) VALUES "
        "('cloud_ranges', %(first)s, %(second)s, 'a', 2), ('cloud_ranges', %(second)s, %(end)s, 'b', 3)",
        {"first": first, "second": second, "end": second + timedelta(days=1)},
    )
    connection.execute(
        "INSERT INTO cloud_ranges (prefix, provider, listed_from, listed_until) VALUES "
        "('1.0.0.0/8', 'aws', %(first)s, NULL), ('2.0.0.0/8', 'aws', %(first)s, %(second)s), "
        "('3.0.0.0/8', 'gcp', %(second)s, NULL), ('4.0.0.0/8', 'aws', %(second)s, NULL)",
        {"first": first, "second": second},
    )
    shown = editions(connection, "cloud_ranges", now=second + timedelta(hours=5))
    assert shown["age, hours"] == 5.0
    assert shown["entries, edition before"] == 2
    assert table(shown, "editions") == [
        "| 2025-09-10 12:00 | 2025-09-11 12:00 | 3 | 2 | 1 |",
        "| 2025-09-10 06:00 | 2025-09-10 12:00 | 2 | 2 | 0 |",
    ]
    assert words(drawn(picture(shown, "chart")))[1:] == ["aws", "gcp", "2", "1"]
    assert markdown(editions(connection, "tor_exits"), "editions") == "none"


def test_the_geo_files_show_their_last_builds(connection: Connection) -> None:
    connection.execute(
        "INSERT INTO geo_databases (kind, fetched_at, source, edition, built_at, sha256) VALUES "
        "('city', %s, 'dbip', '2025-09', %s, 'x'), ('city', %s, 'dbip', '2025-09', %s, 'x')",
        (THEN, THEN, THEN + timedelta(days=1), THEN),
    )
    assert table(builds(connection), "builds") == [
        "| city | dbip | 2025&#45;09 | 2025-09-10 06:00 | 2025-09-11 06:00 |"
    ]
