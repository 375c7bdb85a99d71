"""What is observed of the addresses that attacked, and the inventories that follow from it.

Lives here: pass 1 (the geo files, as of their build dates), Team Cymru's answers as observations, the inventories'
rows. Not here: Dagster (`inventory`), how a record reads (`cowrie_assets.upstreams`), asking (`cowrie_assets.lookup`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date

import orjson

from cowrie_assets.cowrie.addresses import is_public
from cowrie_assets.lookup.gate import EgressGate
from cowrie_assets.upstreams.geoip import GeoFile, GeoFileError
from cowrie_assets.warehouse.copy_text import field
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets.warehouse.views import sql_file

ASN_SOURCE = "geoip_asn"
CITY_SOURCE = "geoip_city"
_ENOUGH_TO_JUDGE = 20
_NOT_FOUND = "\\N\t\\N\t\\N\t\\N\t{}"


@dataclass(frozen=True)
class Observed:
    """What one geo file added: addresses that were looked up now, and those of them it knows."""

    source: str
    looked_up: int
    found: int


def observe(connection: Connection, source: str, file: GeoFile) -> Observed:
    """Look up every public source address that this edition of the file was not asked about yet. Safe to repeat."""
    rows_of = {ASN_SOURCE: _asn_row, CITY_SOURCE: _city_row}[source]
    with connection.transaction():
        addresses = [
            address
            for (address,) in connection.execute(
                """
                SELECT DISTINCT host(source_ip) FROM sessions
                WHERE source_ip IS NOT NULL AND NOT EXISTS (
                    SELECT FROM ip_observations
                    WHERE address = source_ip AND source = %s AND observed_at = %s
                )
                """,
                (source, file.built_at),
            )
            if is_public(address)
        ]
        known = _write(connection, source, file, addresses, rows_of)
        if not known and len(addresses) >= _ENOUGH_TO_JUDGE:
            # Rolled back: a city file in the place of the ASN file must leave no "not found" behind.
            raise GeoFileError(
                f"{file.path} ({file.kind}) knows none of {len(addresses)} addresses: are COWRIE_GEOIP_CITY and "
                "COWRIE_GEOIP_ASN swapped, or is it another kind of file?"
            )
    return Observed(source, len(addresses), known)


def write_asn_inventory(connection: Connection) -> int:
    """Bring `asn_inventory` up to date with sessions and observations; rows that stay equal are not touched."""
    connection.execute(sql_file("write_asn_inventory.sql").read_bytes())
    return _count(connection, "SELECT count(*) FROM asn_inventory")


def telling_addresses(connection: Connection, days: Collection[date] | None = None) -> dict[str, date]:
    """The source addresses (of these days), each with the last of its days; those that did most first: got in and left
    something, got in, typed, came often."""
    rows = connection.execute(
        """
        SELECT host(source_ip), max(day)
        FROM sessions
        WHERE source_ip IS NOT NULL AND (%(days)s::date[] IS NULL OR day = ANY(%(days)s))
        GROUP BY source_ip
        ORDER BY
            bool_or(file_downloads + file_uploads + ssh_key_injections > 0) DESC,
            bool_or(login_successes > 0) DESC,
            bool_or(command_count > 0) DESC,
            count(*) DESC,
            source_ip
        """,
        {"days": None if days is None else list(days)},
    )
    return dict(rows.fetchall())


def observe_cymru_answers(connection: Connection) -> int:
    """Keep Team Cymru's answers as observations; those that are new."""
    return connection.execute(sql_file("observe_cymru_answers.sql").read_bytes()).rowcount


def write_ip_inventory(connection: Connection, gate: EgressGate | None = None) -> int:
    """Bring `ip_inventory` up to date with sessions and observations; rows that stay equal are not touched. The gate
    knows which addresses are the operator's own."""
    known = gate or EgressGate.of(connection, ())
    with connection.transaction():
        connection.execute(
            "CREATE TEMPORARY TABLE public_addresses (address inet PRIMARY KEY, is_own boolean NOT NULL) ON COMMIT DROP"
        )
        addresses = connection.execute("SELECT DISTINCT host(source_ip) FROM sessions WHERE source_ip IS NOT NULL")
        public = [f"{address}\t{known.is_own(address)}\n" for (address,) in addresses if is_public(address)]
        with connection.cursor() as cursor, cursor.copy("COPY public_addresses FROM STDIN") as copy:
            copy.write("".join(public))
        connection.execute("ANALYZE public_addresses")
        connection.execute(sql_file("write_ip_inventory.sql").read_bytes())
    return _count(connection, "SELECT count(*) FROM ip_inventory")


def _write(
    connection: Connection,
    source: str,
    file: GeoFile,
    addresses: list[str],
    row_of: Callable[[GeoFile, str], str | None],
) -> int:
    """An address that the file does not know gets a row without values: asked, and not found."""
    known, lines = 0, []
    for address in addresses:
        row = row_of(file, address)
        known += row is not None
        lines.append(f"{address}\t{source}\t{file.built_at.isoformat()}\t{row or _NOT_FOUND}\n")
    columns = "address, source, observed_at, asn, as_name, country, prefix, details"
    with connection.cursor() as cursor, cursor.copy(f"COPY ip_observations ({columns}) FROM STDIN") as copy:
        copy.write("".join(lines))
    return known


def _asn_row(file: GeoFile, address: str) -> str | None:
    prefix, record = file.asn(address)
    if record is None:
        return None
    return f"{record.asn}\t{field(record.organization)}\t\\N\t{field(prefix)}\t{{}}"


def _city_row(file: GeoFile, address: str) -> str | None:
    record = file.city(address)
    if record is None:
        return None
    details = {
        "country_name": record.country_name,
        "city": record.city,
        "latitude": record.latitude,
        "longitude": record.longitude,
        "accuracy_radius": record.accuracy_radius,
    }
    present = {key: value for key, value in details.items() if value is not None}
    return f"\\N\t\\N\t{field(record.country)}\t\\N\t{field(orjson.dumps(present).decode())}"


def _count(connection: Connection, query: str) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0
