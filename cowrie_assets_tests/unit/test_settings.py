"""What an operator sets is what the package uses; what cannot be used is named together with the cure."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from cowrie_assets.settings import (
    DEFAULT_START,
    Sensor,
    SensorNames,
    Settings,
    SettingsError,
    StateFolder,
    read_sensors,
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths, and the home folder, lie in the test's own folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def from_environment(**environ: str) -> Settings:
    return Settings.from_environment(environ)


def sensors_file(folder: Path, text: str) -> Path:
    path = folder / "sensors.toml"
    path.write_text(text, encoding="utf-8")
    return path


# --- variables --------------------------------------------------------------------------------------------------------


def test_an_empty_environment_is_live_and_keeps_its_state_in_var(tmp_path: Path) -> None:
    assert from_environment() == Settings(home=tmp_path / "var")
    assert Settings(home=tmp_path / "var").mode == "live"


def test_the_process_environment_is_what_is_read_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COWRIE_HOME", str(tmp_path / "here"))
    for name in ("COWRIE_MODE", "COWRIE_CONFIG", "COWRIE_DATABASE_URL", "COWRIE_START_DATE"):
        monkeypatch.delenv(name, raising=False)
    assert Settings.from_environment().home == tmp_path / "here"


@pytest.mark.parametrize(
    ("value", "expected"), [("/srv/state", "/srv/state"), ("state", "state"), ("~/state", "home/state"), ("", "var")]
)
def test_the_state_folder_is_absolute(tmp_path: Path, value: str, expected: str) -> None:
    assert from_environment(COWRIE_HOME=value).home == tmp_path / expected


@pytest.mark.parametrize(
    "value", ["postgresql://u:p@db.example/cowrie?sslmode=require", "host=db.example dbname=cowrie"]
)
def test_the_database_is_handed_on_as_it_is_written(value: str) -> None:
    assert from_environment(COWRIE_DATABASE_URL=value).database_url == value


def test_the_geo_files_are_absolute_and_may_be_missing_yet(tmp_path: Path) -> None:
    settings = from_environment(COWRIE_GEOIP_CITY="geo/city.mmdb", COWRIE_GEOIP_ASN="~/asn.mmdb")
    assert (settings.geoip_city, settings.geoip_asn) == (tmp_path / "geo/city.mmdb", tmp_path / "home/asn.mmdb")


def test_the_configuration_names_sensors_and_their_folders(tmp_path: Path) -> None:
    path = sensors_file(
        tmp_path,
        """
        [[sensor]]
        name = "alpha"
        logs = "logs/alpha"
        reported = ["alpha-*", "4f1d2c"]
        own_addresses = ["203.0.113.9"]
        [[sensor]]
        name = "beta"
        [[sensor]]
        name = "gamma"
        logs = "/srv/gamma"
        """,
    )
    settings = from_environment(COWRIE_CONFIG="sensors.toml")
    assert settings.config == path
    assert settings.sensors == (
        Sensor("alpha", tmp_path / "logs/alpha", ("alpha-*", "4f1d2c"), ("203.0.113.9",)),
        Sensor("beta"),
        Sensor("gamma", Path("/srv/gamma")),
    )
    assert settings.log_folders == (tmp_path / "logs/alpha", Path("/srv/gamma"))


@pytest.mark.parametrize(
    "name", ["COWRIE_DATABASE_URL", "COWRIE_CONFIG", "COWRIE_GEOIP_CITY", "COWRIE_GEOIP_ASN", "COWRIE_START_DATE"]
)
def test_an_empty_variable_is_an_unset_one(name: str) -> None:
    # Compose files hand empty variables on where the operator has set none.
    assert from_environment(**{name: ""}) == from_environment()


def test_an_empty_mode_is_an_unset_one() -> None:
    assert from_environment(COWRIE_MODE="") == from_environment()


@pytest.mark.parametrize("mode", ["Live", "production", "sandbox ", "demo"])
def test_a_mode_that_there_is_not_is_named_with_the_cure(mode: str) -> None:
    with pytest.raises(SettingsError, match=f"COWRIE_MODE is {mode!r}: set it to 'live' or 'sandbox'"):
        from_environment(COWRIE_MODE=mode)


@pytest.mark.parametrize("value", ["yesterday", "2025-13-01", "01.03.2025", "2025-03-01T00:00", "2025-3-1"])
@pytest.mark.parametrize("mode", ["live", "sandbox"])
def test_a_first_day_that_is_none_is_named_with_the_cure(mode: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"COWRIE_START_DATE is {value!r}: write it as YYYY-MM-DD"):
        from_environment(COWRIE_START_DATE=value, COWRIE_MODE=mode)


# --- the sandbox ------------------------------------------------------------------------------------------------------


def test_the_sandbox_lies_in_the_state_folder_and_ignores_every_address_of_live_state(tmp_path: Path) -> None:
    settings = from_environment(
        COWRIE_MODE="sandbox",
        COWRIE_HOME="state",
        COWRIE_DATABASE_URL="postgresql://db.example/live",
        COWRIE_CONFIG="there is no such file",
        COWRIE_GEOIP_CITY="/srv/GeoLite2-City.mmdb",
        COWRIE_GEOIP_ASN="/srv/GeoLite2-ASN.mmdb",
        COWRIE_START_DATE="2025-03-01",
    )
    home = tmp_path / "state/sandbox"
    assert settings == Settings(home, "sandbox", log_folders=(home / "logs",), start_date=date(2025, 3, 1))


def test_the_sandbox_has_a_file_of_its_own_for_how_it_is_operated(tmp_path: Path) -> None:
    (tmp_path / "sandbox.toml").write_text("[alerts]\nchannels = {}\n[services.spur]\nenabled = false\n")
    settings = from_environment(COWRIE_MODE="sandbox", COWRIE_SANDBOX_CONFIG=str(tmp_path / "sandbox.toml"))
    assert (settings.alerts, settings.services, settings.sensors) == ({"channels": {}}, {}, ())


def test_the_sandbox_knows_nothing_of_live_folders_and_days(tmp_path: Path) -> None:
    live, sandbox = from_environment(), from_environment(COWRIE_MODE="sandbox")
    live.remember_log_folders((tmp_path / "real logs",))
    live.state.save_earliest_day(date(2020, 1, 1))
    assert from_environment(COWRIE_MODE="sandbox") == sandbox
    assert sandbox.first_day == DEFAULT_START
    sandbox.state.save_earliest_day(date(2019, 1, 1))
    assert live.first_day == date(2020, 1, 1)


# --- sensors.toml -----------------------------------------------------------------------------------------------------


def test_a_missing_configuration_is_named_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        from_environment(COWRIE_CONFIG="sensors.toml")
    assert str(error.value) == (
        f"COWRIE_CONFIG names {tmp_path / 'sensors.toml'}, which does not exist: copy sensors.example.toml"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[sensor]", "is not valid TOML"),
        ("[[sensors]]\nname = 'alpha'", "unknown part sensors; sensors are [[sensor]] tables"),
        ("[sensor]\nname = 'alpha'", "write each sensor as a [[sensor]] table (two brackets)"),
        ("sensor = 'alpha'", "write each sensor as a [[sensor]] table (two brackets)"),
        ("[[sensor]]\nlogs = 'logs'", "a [[sensor]] has no name"),
        ("[[sensor]]\nname = ''", "a [[sensor]] has no name"),
        ("[[sensor]]\nname = 7", "a [[sensor]] has no name"),
        ("[[sensor]]\nname = 'alpha'\nlog = 'x'\nip = 'y'", "sensor 'alpha' has unknown settings: ip, log"),
        ("[[sensor]]\nname = 'alpha'\nlogs = ['a', 'b']", "sensor 'alpha': logs is one folder, as a string"),
        ("[[sensor]]\nname = 'alpha'\nreported = 'a*'", "sensor 'alpha': reported is a list of strings"),
        ("[[sensor]]\nname = 'alpha'\nreported = ['a', 7]", "sensor 'alpha': reported is a list of strings"),
        ("[[sensor]]\nname = 'alpha'\nown_addresses = '8.8.4.4'", "sensor 'alpha': own_addresses is a list of strings"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_named_with_the_cure(tmp_path: Path, text: str, message: str) -> None:
    path = sensors_file(tmp_path, text)
    with pytest.raises(SettingsError) as error:
        read_sensors(str(path))
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)


def test_a_configuration_in_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "sensors.toml"
    path.write_bytes("[[sensor]]\nname = 'münchen'".encode("latin-1"))
    with pytest.raises(SettingsError, match=f"{path} is not valid TOML"):
        read_sensors(str(path))


def test_a_list_of_names_is_no_list_of_sensors(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"sensors\.toml"):
        read_sensors(str(sensors_file(tmp_path, "sensor = ['alpha', 'beta']")))


def test_a_folder_as_configuration_is_named_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=str(tmp_path)):
        read_sensors(str(tmp_path))


@pytest.mark.parametrize("text", ["", "# nothing yet", "[enrichment]\nx = 1", "[services.dshield]\nx = 1"])
def test_a_configuration_may_name_no_sensor(tmp_path: Path, text: str) -> None:
    assert read_sensors(str(sensors_file(tmp_path, text))) == ()


def test_no_configuration_names_no_sensor() -> None:
    assert read_sensors(None) == read_sensors("") == ()


@pytest.mark.parametrize(
    ("logs", "expected"),
    [
        ("logs", "etc/logs"),
        ("../logs", "etc/../logs"),
        (".", "etc"),
        ("~/logs", "home/logs"),
        ("/srv/logs", "/srv/logs"),
    ],
)
def test_a_relative_folder_is_meant_as_seen_from_the_file_that_names_it(
    tmp_path: Path, logs: str, expected: str
) -> None:
    (tmp_path / "etc").mkdir()
    sensors_file(tmp_path / "etc", f"[[sensor]]\nname = 'alpha'\nlogs = '{logs}'")
    [sensor] = read_sensors("etc/sensors.toml")
    assert sensor.logs == tmp_path / expected


# --- what is remembered -----------------------------------------------------------------------------------------------


def test_log_folders_are_remembered_in_order_and_once(tmp_path: Path) -> None:
    settings = from_environment()
    first, second, third = (tmp_path / name for name in ("b logs", "a", "ü 🌊"))
    settings.remember_log_folders((first, second))
    settings.remember_log_folders((second, third, third))
    assert settings.remembered_log_folders() == (first, second, third)
    assert from_environment().log_folders == (first, second, third)


def test_folders_of_the_configuration_are_read_instead_of_remembered_ones(tmp_path: Path) -> None:
    from_environment().remember_log_folders((tmp_path / "old",))
    sensors_file(tmp_path, "[[sensor]]\nname = 'alpha'\nlogs = 'new'")
    assert from_environment(COWRIE_CONFIG="sensors.toml").log_folders == (tmp_path / "new",)
    # Sensors without folders are told apart by what they report, so the remembered folders stay.
    sensors_file(tmp_path, "[[sensor]]\nname = 'alpha'\nreported = ['a*']")
    assert from_environment(COWRIE_CONFIG="sensors.toml").log_folders == (tmp_path / "old",)


def test_nothing_is_remembered_at_first() -> None:
    assert from_environment().remembered_log_folders() == ()


@pytest.mark.parametrize("name", ["latin-1 \udce9", "two\nlines", "separated\u2028lines"])
def test_a_folder_of_any_name_is_remembered(tmp_path: Path, name: str) -> None:
    settings = from_environment()
    settings.remember_log_folders((tmp_path / name,))
    assert settings.remembered_log_folders() == (tmp_path / name,)


@pytest.mark.parametrize("content", [b"", b"/srv/logs\n", b'["/srv/logs', b"7", b"[7]", b"\xff"])
def test_remembered_folders_that_cannot_be_read_are_named_or_forgotten(tmp_path: Path, content: bytes) -> None:
    # The definitions load with these settings: whatever is raised here, the UI does not come up.
    state = from_environment().state
    state.log_folders.parent.mkdir(parents=True)
    state.log_folders.write_bytes(content)
    try:
        assert from_environment().log_folders == ()
    except SettingsError as error:
        assert str(state.log_folders) in str(error)


def test_the_earliest_day_moves_back_only(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / "state")
    assert state.earliest_day() is None
    assert state.save_earliest_day(date(2025, 3, 2))
    assert not state.save_earliest_day(date(2025, 3, 2))
    assert not state.save_earliest_day(date(2025, 3, 3))
    assert state.earliest_day() == date(2025, 3, 2)
    assert state.save_earliest_day(date(2025, 3, 1))
    assert state.earliest_day() == date(2025, 3, 1)


@pytest.mark.parametrize("content", [b"", b"soon", b"2025-03", b"\xff\xfe", b"2025-02-30\n"])
def test_an_earliest_day_that_cannot_be_read_is_none_and_is_written_anew(tmp_path: Path, content: bytes) -> None:
    state = StateFolder(tmp_path)
    state.start_date.write_bytes(content)
    assert state.earliest_day() is None
    assert state.save_earliest_day(date(2025, 3, 2))
    assert state.start_date.read_bytes() == b"2025-03-02\n"


def test_the_first_day_is_set_else_seen_else_the_default() -> None:
    assert from_environment().first_day == DEFAULT_START == date(2024, 11, 1)
    from_environment().state.save_earliest_day(date(2023, 5, 6))
    assert from_environment().first_day == date(2023, 5, 6)
    assert from_environment(COWRIE_START_DATE="2024-02-29").first_day == date(2024, 2, 29)


def test_a_small_file_is_replaced_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    for text in ("one, and longer", "two", "ü"):
        state.write(state.status / "sessions.json", text)
        assert (state.status / "sessions.json").read_text(encoding="utf-8") == text
    assert [path.name for path in state.status.iterdir()] == ["sessions.json"]


def test_all_parts_of_the_state_lie_in_its_folder(tmp_path: Path) -> None:
    state = Settings(home=tmp_path).state
    parts = (state.dagster, state.reports, state.status, state.log_folders, state.start_date)
    assert {part.parent for part in parts} == {tmp_path}
    assert len(set(parts)) == len(parts)


# --- which sensor -----------------------------------------------------------------------------------------------------


def test_a_file_belongs_to_the_sensor_whose_folder_holds_it_the_deepest_of_several(tmp_path: Path) -> None:
    names = SensorNames(
        (
            Sensor("all", tmp_path / "logs"),
            Sensor("alpha", tmp_path / "logs/alpha"),
            Sensor("beta", tmp_path / "logs/beta"),
            Sensor("nowhere"),
        )
    )
    assert names.of_file(tmp_path / "logs/alpha/2025/cowrie.json") == "alpha"
    assert names.of_file(tmp_path / "logs/beta/cowrie.json") == "beta"
    assert names.of_file(tmp_path / "logs/alphabet/cowrie.json") == "all"
    assert names.of_file(tmp_path / "logs/cowrie.json") == "all"
    assert names.of_file(tmp_path / "cowrie.json") is None
    assert SensorNames().of_file(tmp_path / "cowrie.json") is None


def test_a_folder_that_a_path_only_passes_through_does_not_hold_the_file(tmp_path: Path) -> None:
    names = SensorNames((Sensor("alpha", tmp_path / "logs/alpha"), Sensor("beta", tmp_path / "logs/beta")))
    assert names.of_file(tmp_path / "logs/beta/../alpha/cowrie.json") == "alpha"
    assert names.of_file(tmp_path / "logs/beta/../cowrie.json") is None


def test_a_sensor_may_name_one_file(tmp_path: Path) -> None:
    names = SensorNames((Sensor("alpha", tmp_path / "alpha.json"),))
    assert names.of_file(tmp_path / "alpha.json") == "alpha"
    assert names.of_file(tmp_path / "alpha.json.1") is None


def test_a_folder_that_is_a_link_holds_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "alpha").symlink_to(tmp_path / "real")
    names = SensorNames((Sensor("alpha", tmp_path / "alpha"),))
    assert names.of_file(tmp_path / "alpha/cowrie.json") == names.of_file(tmp_path / "real/cowrie.json") == "alpha"


def test_a_link_in_a_sensors_folder_is_a_file_of_that_sensor(tmp_path: Path) -> None:
    # find_log_files follows such links, so the file is read; its events would go under the name that they report.
    (tmp_path / "real").mkdir()
    (tmp_path / "real/cowrie.json").touch()
    (tmp_path / "alpha").mkdir()
    (tmp_path / "alpha/current.json").symlink_to(tmp_path / "real/cowrie.json")
    (tmp_path / "alpha/old").symlink_to(tmp_path / "real")
    names = SensorNames((Sensor("alpha", tmp_path / "alpha"),))
    assert (
        names.of_file(tmp_path / "alpha/current.json") == names.of_file(tmp_path / "alpha/old/cowrie.json") == "alpha"
    )


def test_a_linked_folder_is_found_from_a_configuration_in_another_folder(tmp_path: Path) -> None:
    # As `logs = "../alpha"` in etc/sensors.toml.
    for folder in ("etc", "real", "elsewhere"):
        (tmp_path / folder).mkdir()
    (tmp_path / "alpha").symlink_to(tmp_path / "real")
    (tmp_path / "elsewhere/cowrie.json").touch()
    (tmp_path / "real/cowrie.json").symlink_to(tmp_path / "elsewhere/cowrie.json")
    names = SensorNames((Sensor("alpha", tmp_path / "etc/../alpha"),))
    assert names.of_file(tmp_path / "etc/../alpha/cowrie.json") == "alpha"


def test_a_reported_name_is_matched_by_the_first_pattern_else_it_stays() -> None:
    names = SensorNames(
        (
            Sensor("alpha", reported=("pot-1", "4f*")),
            Sensor("beta", reported=("pot-?", "[ab]c")),
            Sensor("gamma", reported=("*.example",)),
        )
    )
    expected = {
        "pot-1": "alpha",
        "4f1d2c": "alpha",
        "pot-2": "beta",
        "bc": "beta",
        "x.example": "gamma",
        "pot-10": "pot-10",
        "POT-1": "POT-1",
        "alpha": "alpha",
        "": "",
    }
    for _ in range(2):  # the second time from memory
        assert {reported: names.of_reported(reported) for reported in expected} == expected
