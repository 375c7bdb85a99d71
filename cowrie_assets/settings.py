"""What the operator sets: environment variables and `sensors.toml`, read once, into one frozen value.

Lives here: the fixed `COWRIE_*` names, where the state folder's parts lie, which folder belongs to which sensor.
Not here: opening anything, what the services' settings mean (`lookup.services`). Reading settings never touches a
database or the network, so definitions can load anywhere.
"""

from __future__ import annotations

import fnmatch
import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal

Mode = Literal["sandbox", "live"]

DEFAULT_START = date(2024, 11, 1)
UNNAMED_SENSOR = "unnamed"
# Where each service is, when it is not the real one. Cymru's is host:port, all others are URLs.
ADDRESS_VARIABLES = {
    "dshield": "COWRIE_DSHIELD_URL",
    "urlhaus": "COWRIE_URLHAUS_URL",
    "spur": "COWRIE_SPUR_URL",
    "greynoise": "COWRIE_GREYNOISE_URL",
    "virustotal": "COWRIE_VIRUSTOTAL_URL",
    "hibp": "COWRIE_HIBP_URL",
    "maxmind": "COWRIE_MAXMIND_URL",
    "dbip": "COWRIE_DBIP_URL",
    "cymru": "COWRIE_CYMRU_ADDRESS",
    "feeds": "COWRIE_FEEDS_URL",
}


# Parts of sensors.toml about operating the system, whatever its traffic and services are.
_OPERATION = ("automation", "checks", "alerts", "retention")


class SettingsError(ValueError):
    """A setting cannot be used. The message names the setting and the cure."""


@dataclass(frozen=True)
class Sensor:
    """One `[[sensor]]` of `sensors.toml`. `reported` holds shell patterns of the events' own `sensor` field."""

    name: str
    logs: Path | None = None
    reported: tuple[str, ...] = ()
    own_addresses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    """Everything an operator can set. `home` is the state folder of the mode: the sandbox has its own inside."""

    home: Path
    mode: Mode = "live"
    # They may hold passwords.
    database_url: str | None = field(default=None, repr=False)
    redis_url: str | None = field(default=None, repr=False)
    log_folders: tuple[Path, ...] = ()
    config: Path | None = None
    sensors: tuple[Sensor, ...] = ()
    geoip_city: Path | None = None
    geoip_asn: Path | None = None
    start_date: date | None = None
    offline: bool = False
    addresses: Mapping[str, str] = field(default_factory=dict)
    enrichment: Mapping[str, Any] = field(default_factory=dict)
    services: Mapping[str, Any] = field(default_factory=dict)
    # How it is operated; the sandbox knows these parts as well.
    automation: Mapping[str, Any] = field(default_factory=dict)
    checks: Mapping[str, Any] = field(default_factory=dict)
    alerts: Mapping[str, Any] = field(default_factory=dict)
    retention: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the environment and, where `COWRIE_CONFIG` names one, `sensors.toml`.

        Raises:
            SettingsError: a value cannot be read; the message names it.
        """
        env = os.environ if environ is None else environ
        mode = env.get("COWRIE_MODE") or "live"
        if mode not in ("live", "sandbox"):
            raise SettingsError(f"COWRIE_MODE is {mode!r}: set it to 'live' or 'sandbox', or leave it unset (live)")
        root = Path(env.get("COWRIE_HOME") or "var").expanduser().absolute()
        start = env.get("COWRIE_START_DATE")
        # The sandbox has a file of its own: its invented alarms do not wake those who wait for real ones.
        config = _path(env.get("COWRIE_SANDBOX_CONFIG" if mode == "sandbox" else "COWRIE_CONFIG"))
        content = read_config(config)
        operation = {part: content.get(part, {}) for part in _OPERATION}
        if mode == "sandbox":
            # Invented answers must never reach a real database: the sandbox ignores every address of live state.
            sandbox = root / "sandbox"
            return cls(
                home=sandbox,
                mode="sandbox",
                log_folders=(sandbox / "logs",),
                start_date=_day(start),
                offline=_switch(env, "COWRIE_OFFLINE"),
                addresses=StateFolder(sandbox).sandbox_addresses(),
                config=config,
                **operation,
            )
        sensors = tuple(_sensor(config, table) for table in content.get("sensor", ())) if config else ()
        folders = tuple(s.logs for s in sensors if s.logs is not None)
        settings = cls(
            home=root,
            database_url=env.get("COWRIE_DATABASE_URL") or None,
            redis_url=env.get("COWRIE_REDIS_URL") or None,
            log_folders=folders,
            config=config,
            sensors=sensors,
            geoip_city=_path(env.get("COWRIE_GEOIP_CITY")),
            geoip_asn=_path(env.get("COWRIE_GEOIP_ASN")),
            start_date=_day(start),
            offline=_switch(env, "COWRIE_OFFLINE"),
            addresses={name: env[variable] for name, variable in ADDRESS_VARIABLES.items() if env.get(variable)},
            enrichment=content.get("enrichment", {}),
            services=content.get("services", {}),
            **operation,
        )
        return settings if folders else replace(settings, log_folders=settings.remembered_log_folders())

    @property
    def state(self) -> StateFolder:
        return StateFolder(self.home)

    @property
    def own_addresses(self) -> tuple[str, ...]:
        """The public addresses of the operator's own sensors, as far as they are written down."""
        return tuple(address for sensor in self.sensors for address in sensor.own_addresses)

    @property
    def first_day(self) -> date:
        """First partition: `COWRIE_START_DATE`, else the earliest event ever seen, else 2024-11-01."""
        return self.start_date or self.state.earliest_day() or DEFAULT_START

    def remembered_log_folders(self) -> tuple[Path, ...]:
        """The folders of earlier `run LOGS=…`, so that the UI materializes the same logs later."""
        try:
            folders = json.loads(self.state.log_folders.read_text(encoding="ascii"))
        except FileNotFoundError:
            return ()
        except ValueError:
            folders = None
        if not isinstance(folders, list) or not all(isinstance(folder, str) for folder in folders):
            raise SettingsError(
                f"{self.state.log_folders} is not a list of folders: remove it, and name the logs again"
            )
        return tuple(map(Path, folders))

    def remember_log_folders(self, folders: tuple[Path, ...]) -> None:
        known = list(dict.fromkeys([*self.remembered_log_folders(), *folders]))
        # JSON: a folder's name may hold a newline, or bytes that are no UTF-8.
        self.state.write(self.state.log_folders, json.dumps([str(folder) for folder in known], indent=1) + "\n")


@dataclass(frozen=True)
class StateFolder:
    """The parts of `COWRIE_HOME`."""

    home: Path

    @property
    def dagster(self) -> Path:
        return self.home / "dagster"

    @property
    def reports(self) -> Path:
        return self.home / "reports"

    @property
    def status(self) -> Path:
        return self.home / "status"

    @property
    def log_folders(self) -> Path:
        return self.home / "log_folders.json"

    @property
    def backfills(self) -> Path:
        return self.home / "backfills"

    @property
    def lists(self) -> Path:
        return self.home / "lists"

    @property
    def geoip(self) -> Path:
        return self.home / "geoip"

    @property
    def cache(self) -> Path:
        return self.home / "cache"

    @property
    def start_date(self) -> Path:
        return self.home / "start_date.txt"

    @property
    def sandbox_services(self) -> Path:
        return self.home / "services.json"

    def sandbox_addresses(self) -> dict[str, str]:
        """Where the sandbox's own services were started last; nobody answers there once they have ended."""
        try:
            addresses = json.loads(self.sandbox_services.read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return {}
        return {str(name): str(address) for name, address in addresses.items()} if isinstance(addresses, dict) else {}

    def earliest_day(self) -> date | None:
        try:
            return date.fromisoformat(self.start_date.read_text(encoding="ascii").strip())
        except (FileNotFoundError, ValueError):
            return None

    def save_earliest_day(self, day: date) -> bool:
        """Keep the earliest day ever seen; True when it moved, and with it the first partition."""
        known = self.earliest_day()
        if known is not None and known <= day:
            return False
        self.write(self.start_date, f"{day}\n")
        return True

    def write(self, path: Path, text: str) -> None:
        """Replace a small file at once: a reader sees the old or the new text, never a part."""
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.{os.getpid()}.new")
        new.write_text(text, encoding="utf-8")
        new.replace(path)


class SensorNames:
    """Which sensor an event belongs to (design: the configured name that matches, else the event's own field)."""

    def __init__(self, sensors: tuple[Sensor, ...] = ()) -> None:
        folders = {(folder, s.name) for s in sensors if s.logs for folder in _places(s.logs)}
        self._by_folder = sorted(folders)
        self._patterns = [(pattern, s.name) for s in sensors for pattern in s.reported]
        self._known: dict[str, str] = {}

    def of_file(self, path: Path) -> str | None:
        """The sensor whose `logs` folder holds this file, the deepest where several do."""
        # A log that is linked into a sensor's folder is that sensor's, as is one in a folder that is itself a link.
        places = _places(path)
        parents = places.union(*(place.parents for place in places))
        owners = [(len(folder.parts), name) for folder, name in self._by_folder if folder in parents]
        return max(owners)[1] if owners else None

    def of_reported(self, reported: str) -> str:
        name = self._known.get(reported)
        if name is None:
            name = next((n for pattern, n in self._patterns if fnmatch.fnmatchcase(reported, pattern)), reported)
            self._known[reported] = name
        return name


def _places(path: Path) -> set[Path]:
    """Where a path lies, as it is written and as links lead. (abspath takes dots out, absolute() does not.)"""
    return {Path(os.path.abspath(path)), path.resolve()}  # noqa: PTH100


def _path(value: str | None) -> Path | None:
    return Path(value).expanduser().absolute() if value else None


def _day(value: str | None) -> date | None:
    if not value:
        return None
    try:
        return date.fromisoformat(value)
    except ValueError as error:
        raise SettingsError(f"COWRIE_START_DATE is {value!r}: write it as YYYY-MM-DD") from error


def _switch(env: Mapping[str, str], name: str) -> bool:
    value = env.get(name, "").strip().lower()
    if value in ("", "0", "false", "no"):
        return False
    if value in ("1", "true", "yes"):
        return True
    raise SettingsError(f"{name} is {value!r}: set it to 1, or leave it unset")


def read_sensors(config: str | None) -> tuple[Sensor, ...]:
    """The `[[sensor]]` tables of a `sensors.toml`, none where there is no file.

    Raises:
        SettingsError: the file is missing or not of that form.
    """
    path = _path(config)
    return tuple(_sensor(path, table) for table in read_config(path).get("sensor", ())) if path else ()


def read_config(path: Path | None) -> dict[str, Any]:
    """The content of a `sensors.toml`, its parts of the right form; empty where there is no file.

    Raises:
        SettingsError: the file is missing or not of that form.
    """
    if path is None:
        return {}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SettingsError(f"COWRIE_CONFIG names {path}, which does not exist: copy sensors.example.toml") from error
    except OSError as error:
        raise SettingsError(
            f"COWRIE_CONFIG names {path}, which cannot be read ({error.strerror}): name a file"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from error
    unknown = set(content) - {"sensor", "enrichment", "services", *_OPERATION}
    if unknown:
        raise SettingsError(f"{path}: unknown part {', '.join(sorted(unknown))}; sensors are [[sensor]] tables")
    tables = content.get("sensor", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise SettingsError(f"{path}: write each sensor as a [[sensor]] table (two brackets)")
    services = content.get("services", {})
    parts = [content.get("enrichment", {}), services, *(services.values() if isinstance(services, dict) else ())]
    if not all(isinstance(part, dict) for part in parts):
        raise SettingsError(f"{path}: write [enrichment] and [services.<name>] as tables")
    for part in _OPERATION:
        if not isinstance(content.get(part, {}), dict):
            raise SettingsError(f"{path}: write [{part}] as a table")
    return content


def _sensor(config: Path, table: dict[str, Any]) -> Sensor:
    name = table.get("name")
    if not isinstance(name, str) or not name:
        raise SettingsError(f"{config}: a [[sensor]] has no name")
    unknown = set(table) - {"name", "logs", "reported", "own_addresses"}
    if unknown:
        raise SettingsError(f"{config}: sensor {name!r} has unknown settings: {', '.join(sorted(unknown))}")
    logs = table.get("logs")
    if logs is not None and not isinstance(logs, str):
        raise SettingsError(f"{config}: sensor {name!r}: logs is one folder, as a string")
    # A relative folder is meant as seen from the file that names it.
    folder = (config.parent / Path(logs).expanduser()).absolute() if logs else None
    return Sensor(name, folder, _strings(config, table, "reported"), _strings(config, table, "own_addresses"))


def _strings(config: Path, table: dict[str, Any], key: str) -> tuple[str, ...]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise SettingsError(f"{config}: sensor {table['name']!r}: {key} is a list of strings")
    return tuple(value)
