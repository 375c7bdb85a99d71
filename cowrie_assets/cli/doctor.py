"""What the system needs, looked at piece by piece.

Lives here: each look, with its cure. Not here: printing.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from cowrie_assets.alerts.channels import configured_alerts
from cowrie_assets.alerts.sending import channel_problem
from cowrie_assets.checks.thresholds import Thresholds
from cowrie_assets.cowrie.logfiles import NotACowrieLog, find_log_files, require_cowrie
from cowrie_assets.lookup.configured import configured_services
from cowrie_assets.lookup.hot_tier import RedisTier, TierFailure
from cowrie_assets.settings import Settings
from cowrie_assets.upstreams.geoip import GeoFile, GeoFileError
from cowrie_assets.warehouse.database import SCHEMA_VERSION, Database, WarehouseError
from cowrie_assets.warehouse.embedded import EmbeddedServerError

_FILES_LOOKED_AT = 200


@dataclass(frozen=True)
class Finding:
    """What was found of one thing; `cure` is empty where nothing needs mending."""

    what: str
    state: Literal["good", "warning", "broken"]
    found: str
    cure: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Look at state folder, database, migrations, geo files, services, alerts and logs, the most needed first."""
    looks = (_state_folder, _database, _redis, _geo_files, _services, _alerts, _log_folders)
    return [finding for look in looks for finding in look(settings)]


def _state_folder(settings: Settings) -> Iterator[Finding]:
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=settings.home):
            pass
    except OSError as error:
        cure = "set COWRIE_HOME to a folder that you can write to"
        yield Finding("state folder", "broken", f"{settings.home}: {error.strerror}", cure)
        return
    free = os.statvfs(settings.home)
    gigabytes = free.f_bavail * free.f_frsize / 1e9
    found = f"{settings.home}, {gigabytes:.1f} GB free"
    if gigabytes < 1:
        yield Finding("state folder", "warning", found, "make room, or set COWRIE_HOME to another disk")
    else:
        yield Finding("state folder", "good", found)


def _database(settings: Settings) -> Iterator[Finding]:
    database = Database(settings.home, settings.mode, settings.database_url)
    try:
        with database.hold(), database.connect() as connection:
            version = connection.info.server_version // 10000
            yield Finding("database", "good", f"{database.described}, version {version}, {settings.mode}")
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            yield Finding(
                "migrations", "good" if row and row[0] == SCHEMA_VERSION else "broken", f"schema {row and row[0]}"
            )
    except (WarehouseError, EmbeddedServerError) as error:
        yield Finding("database", "broken", str(error), "see what is found")


def _redis(settings: Settings) -> Iterator[Finding]:
    if settings.redis_url is None:
        return
    cure = "start it, mend COWRIE_REDIS_URL, or unset that: each process then has a cache of its own"
    try:
        with closing(RedisTier(settings.redis_url, "doctor")) as tier:
            tier.read("doctor", ["doctor"])
    except (ValueError, TierFailure) as error:
        yield Finding("redis", "warning", str(error), cure)
    else:
        yield Finding("redis", "good", "answers")


def _geo_files(settings: Settings) -> Iterator[Finding]:
    oldest = Thresholds.of(settings).geo_files_age
    files = (("city", "COWRIE_GEOIP_CITY", settings.geoip_city), ("ASN", "COWRIE_GEOIP_ASN", settings.geoip_asn))
    for kind, variable, own in files:
        what, path = f"{kind} file", own or settings.state.geoip / f"{kind.lower()}.mmdb"
        if own is None and not path.exists():
            cure = f"the next run fetches one (MaxMind's with an account, else DB-IP Lite), or set {variable}"
            yield Finding(what, "warning", "none yet: stays unknown, with the reason 'no geo database'", cure)
            continue
        try:
            with GeoFile(path) as file:
                age = (datetime.now(UTC) - file.built_at).days
                found = f"{path}: {file.kind} of {file.built_at:%Y-%m-%d}, {age} days old"
        except GeoFileError as error:
            yield Finding(what, "broken", str(error), f"set {variable} to a good file" if own else f"remove {path}")
            continue
        old = age > oldest.days and settings.mode == "live"
        yield Finding(what, "warning" if old else "good", found, "download a current edition" if old else "")


def _services(settings: Settings) -> Iterator[Finding]:
    """What each service needs; nobody is asked anything here."""
    for name, service in configured_services(settings).items():
        reason = service.not_configured
        if reason is None:
            where = service.address or "where it is published"
            yield Finding(name, "good", f"{where}, at most {service.requests} requests in {service.window:g} s")
        else:
            yield Finding(name, "warning", f"not configured: {reason}", "left out of every gate until it is")


def _alerts(settings: Settings) -> Iterator[Finding]:
    """Whether each channel has a URL that can be understood; nothing is sent here."""
    channels = configured_alerts(settings).channels.values()
    if not channels:
        cure = "name a channel in sensors.toml, [alerts.channels]: docs/alerts.md"
        yield Finding("alerts", "warning", "no channel: what fails is in `cowrie-assets alerts`, and told nobody", cure)
        return
    problems = [f"{channel.name}: {problem}" for channel in channels if (problem := channel_problem(channel))]
    names = ", ".join(channel.name for channel in channels)
    if problems:
        yield Finding("alerts", "broken", "; ".join(problems), "then try it: cowrie-assets alerts --test")
    else:
        yield Finding("alerts", "good", f"channels: {names}", "")


def _log_folders(settings: Settings) -> Iterator[Finding]:
    if not settings.log_folders:
        yield Finding("logs", "warning", "no folder is known", "make run LOGS=<folder>, or COWRIE_CONFIG=sensors.toml")
    for folder in settings.log_folders:
        yield _log_folder(folder)


def _log_folder(folder: Path) -> Finding:
    try:
        files = find_log_files([folder])
    except FileNotFoundError:
        return Finding("logs", "broken", f"{folder} does not exist", "name the folder that holds cowrie.json")
    good, bad = 0, []
    for path in files[:_FILES_LOOKED_AT]:
        try:
            require_cowrie(path)
            good += 1
        except (NotACowrieLog, OSError) as error:
            bad.append(f"{path.name}: {error}")
    found = f"{folder}: {len(files)} files, {good} of the first {min(len(files), _FILES_LOOKED_AT)} are Cowrie's"
    if not good:
        return Finding("logs", "broken", found, "name the folder that holds cowrie.json and its rotated copies")
    return Finding("logs", "warning" if bad else "good", found, "; ".join(bad[:3]))
