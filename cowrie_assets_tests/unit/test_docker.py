"""`docker/` as far as it can be judged without Docker: schema, names that must agree, ports, secrets, entrypoint."""

from __future__ import annotations

import fnmatch
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from psycopg import conninfo
from sqlalchemy import make_url

from cowrie_assets.lookup.configured import configured_services
from cowrie_assets.settings import Settings
from cowrie_assets_tests.production import DOCKER, compose

TOP = DOCKER.parent
OURS = ("code", "webserver", "viewer", "daemon", "cli")


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((TOP / name).read_text(encoding="utf-8"))
    return content


def instructions(keyword: str) -> list[list[str]]:
    """The words of each instruction of this name in the Dockerfile, continued lines joined."""
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return [line.split()[1:] for line in text.splitlines() if line.startswith(f"{keyword} ")]


def test_the_compose_file_is_one_by_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    judged = subprocess.run([*command, str(DOCKER / "compose.yaml")], capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout + judged.stderr


def test_the_user_interfaces_are_published_on_loopback_and_nothing_else_is_published() -> None:
    published = {name: service["ports"] for name, service in compose()["services"].items() if "ports" in service}
    assert published == {"webserver": ["127.0.0.1:3000:3000"], "viewer": ["127.0.0.1:3001:3000"]}
    assert "--read-only" in compose()["services"]["viewer"]["command"]
    assert not any("network_mode" in service for service in compose()["services"].values())


def test_database_and_cache_are_in_a_network_without_a_way_out() -> None:
    content = compose()
    assert content["networks"]["data"] == {"internal": True}
    for name in ("postgres", "redis"):
        assert content["services"][name]["networks"] == ["data"]


def test_what_a_service_uses_is_declared() -> None:
    content = compose()
    for name, service in content["services"].items():
        assert set(service.get("secrets", ())) <= set(content["secrets"]), name
        assert set(service["networks"]) <= set(content["networks"]), name
        assert set(service.get("depends_on", ())) <= set(content["services"]), name
        for dependency, how in service.get("depends_on", {}).items():
            assert how["condition"] == "service_healthy"
            assert "healthcheck" in content["services"][dependency]
        for volume in service.get("volumes", ()):
            if isinstance(volume, str):
                assert volume.partition(":")[0] in content["volumes"], name
            else:
                # The short form would make a folder of what is missing.
                assert volume["bind"] == {"create_host_path": False}
                assert volume["read_only"]


def test_every_service_has_a_health_check_a_restart_policy_and_bounded_logs() -> None:
    for name, service in compose()["services"].items():
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}
        if name == "cli":
            assert service["restart"] == "no"
            continue
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"]["test"][0] == "CMD", name


def test_our_containers_are_one_image_and_may_nothing_that_they_need_not() -> None:
    for name in OURS:
        service = compose()["services"][name]
        assert service["image"] == compose()["services"]["code"]["image"]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "privileged" not in service
        assert "user" not in service, "the image's own"
    assert instructions("USER") == [["cowrie"]]


def test_keys_are_files_and_only_what_asks_the_services_has_them() -> None:
    content = compose()
    for name, secret in content["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}
    keys = set(content["secrets"]) - {"postgres_password", "cowrie_password"}
    for name, service in content["services"].items():
        has = set(service.get("secrets", ())) & keys
        assert has == (keys if name in ("code", "cli") else set()), name
    for ignored in ("/docker/secrets/", "/docker/.env", "/docker/sensors.toml"):
        assert ignored in (TOP / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_no_address_and_no_variable_holds_a_password() -> None:
    for name in OURS:
        environment = compose()["services"][name]["environment"]
        assert "password" not in conninfo.conninfo_to_dict(environment["COWRIE_DATABASE_URL"])
        assert ":" not in environment["DAGSTER_POSTGRES_URL"].partition("://")[2].partition("@")[0]
        assert environment["COWRIE_DATABASE_PASSWORD_FILE"] == "/run/secrets/cowrie_password"
        assert not [key for key in environment if "KEY" in key or key.endswith("PASSWORD")]


def test_an_empty_secret_is_a_service_without_a_key_and_a_filled_one_is_found(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for name in compose()["secrets"]:
        (secrets / name).write_text("")
    text = (DOCKER / "sensors.example.toml").read_text(encoding="utf-8")
    config = tmp_path / "sensors.toml"
    config.write_text(text.replace("/run/secrets", str(secrets)))
    environment = {"COWRIE_HOME": str(tmp_path), "COWRIE_CONFIG": str(config)}

    def without_key() -> set[str]:
        services = configured_services(Settings.from_environment(environment))
        return {name for name, service in services.items() if service.not_configured is not None}

    assert without_key() == {"dshield", "urlhaus", "spur", "greynoise", "virustotal", "maxmind"}
    for name in ("urlhaus", "spur", "greynoise", "virustotal", "maxmind_account", "maxmind_license"):
        (secrets / name).write_text("a-key-of-ours\n")
    assert without_key() == {"dshield"}, "its contact is the variable DSHIELD_EMAIL"
    # Each secret that the example names is one of the compose file, and the other way round.
    named = set(re.findall(r"/run/secrets/(\w+)", text))
    assert named == set(compose()["secrets"]) - {"postgres_password", "cowrie_password"}


def test_both_dagster_yaml_agree_in_what_they_share() -> None:
    embedded, production = read("dagster.yaml"), read("docker/dagster.yaml")
    only_there = {"storage", "run_launcher", "run_coordinator"}
    assert set(production) == set(embedded) | only_there
    assert production["run_monitoring"].pop("max_runtime_seconds") == 86400
    assert {part: production[part] for part in embedded} == embedded


def test_the_code_server_has_the_name_that_the_embedded_default_gives_it() -> None:
    (embedded,), (production,) = read("workspace.yaml")["load_from"], read("docker/workspace.yaml")["load_from"]
    server = production["grpc_server"]
    assert server["location_name"] == embedded["python_module"], "schedules are known by it"
    assert server["host"] in compose()["services"]
    assert f"-p {server['port']}" in compose()["services"]["code"]["command"][-1]


def allowed_into_the_image(path: str) -> bool:
    """By `.dockerignore`, as Docker reads the forms that it uses: the last rule that matches a path or a parent."""
    allowed = True
    for line in (TOP / ".dockerignore").read_text(encoding="utf-8").splitlines():
        rule = line.removeprefix("!").removeprefix("**/")
        if not rule or rule.startswith("#"):
            continue
        parts = Path(path).parts
        places = ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
        if any(fnmatch.fnmatchcase(place, rule) or ("**/" in line and rule in parts) for place in places):
            allowed = line.startswith("!")
    return allowed


def test_what_the_dockerfile_copies_exists_and_reaches_the_build() -> None:
    copies = [[word for word in words if not word.startswith("--chmod")] for words in instructions("COPY")]
    sources = [source for words in copies if not words[0].startswith("--from") for source in words[:-1]]
    assert {"requirements.lock", "cowrie_assets", "docker/dagster.yaml"} <= set(sources)
    for source in sources:
        assert (TOP / source).exists(), source
        assert allowed_into_the_image(source), source


def test_no_secret_no_log_and_no_state_reaches_the_build() -> None:
    for path in ("docker/secrets/urlhaus", "docker/.env", "docker/sensors.toml", ".git/config", "var/dagster", ".env"):
        assert not allowed_into_the_image(path), path
    assert not allowed_into_the_image("cowrie_assets/__pycache__/x.pyc")
    assert allowed_into_the_image("cowrie_assets/sandbox/server.py")


def test_the_image_is_made_from_the_lock_and_pins_its_base() -> None:
    assert all(re.fullmatch(r"python:3\.1[1-9]-slim-\w+", words[0]) for words in instructions("FROM"))
    installs = [" ".join(words) for words in instructions("RUN") if any(word.endswith("/pip") for word in words)]
    assert len(installs) == 2
    assert all("--no-deps" in install for install in installs)
    assert "--require-hashes -r requirements.lock" in installs[0]
    for name, service in compose()["services"].items():
        assert not service["image"].endswith(":latest"), name
        assert ":" in service["image"], name


def test_the_commands_of_the_containers_are_in_the_environment() -> None:
    """By the lock that the image installs too; and each script that is named is copied."""
    scripts = Path(sys.executable).parent
    copied = {word for words in instructions("COPY") for word in words}
    for name in OURS:
        service = compose()["services"][name]
        commands = [service["command"], service.get("entrypoint", []), service.get("healthcheck", {}).get("test", [])]
        words = [word for command in commands for part in command for word in str(part).split()]
        for program in {"dagster", "dagster-webserver", "dagster-daemon", "cowrie-assets", "python"} & set(words):
            assert (scripts / program).exists(), program
        for script in (word for word in words if word.startswith("/opt/cowrie-assets/docker/")):
            assert f"docker/{Path(script).name}" in copied, script


class Entrypoint:
    """`entrypoint.sh` with a secret and a home of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.secret = folder / "secret"
        self.passfile = folder / "pgpass"
        self.environment = {
            "PATH": os.environ["PATH"],
            "PGPASSFILE": str(self.passfile),
            "DAGSTER_HOME": str(folder / "home/dagster"),
            "COWRIE_DATABASE_PASSWORD_FILE": str(self.secret),
        }

    def __call__(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(DOCKER / "entrypoint.sh"), *command],
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def entrypoint(tmp_path: Path) -> Entrypoint:
    return Entrypoint(tmp_path)


def test_the_password_goes_into_a_file_of_libpq_that_nobody_else_reads(entrypoint: Entrypoint) -> None:
    entrypoint.secret.write_text("a:b\\c'd e\n")
    told = entrypoint("env")
    assert told.returncode == 0, told.stderr
    assert entrypoint.passfile.read_text() == "*:*:*:*:a\\:b\\\\c'd e\n"
    assert stat.S_IMODE(entrypoint.passfile.stat().st_mode) == 0o600
    assert "a:b" not in told.stdout + told.stderr, "it is in no variable"


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_a_secret_that_is_missing_or_empty_ends_the_container_with_the_cure(
    entrypoint: Entrypoint, content: str | None
) -> None:
    if content is not None:
        entrypoint.secret.write_text(content)
    told = entrypoint("echo", "started")
    assert told.returncode == 1
    assert "started" not in told.stdout
    assert str(entrypoint.secret) in told.stderr
    assert "chmod 644" in told.stderr


def test_each_start_puts_the_production_instance_into_dagsters_home(entrypoint: Entrypoint) -> None:
    entrypoint.secret.write_text("a-password")
    home = Path(entrypoint.environment["DAGSTER_HOME"])
    home.mkdir(parents=True)
    (home / "dagster.yaml").write_text("of an older image\n")
    told = entrypoint("echo", "started", DAGSTER_POSTGRES_URL="postgresql+psycopg2://cowrie@postgres/dagster")
    assert told.stdout == "started\n"
    assert [path.name for path in home.iterdir()] == ["dagster.yaml"]
    assert (home / "dagster.yaml").read_text() == (DOCKER / "dagster.yaml").read_text()


def test_without_databases_of_its_own_the_image_is_the_embedded_default(entrypoint: Entrypoint) -> None:
    told = entrypoint("sh", "-c", "exit 7", COWRIE_DATABASE_PASSWORD_FILE="")
    assert told.returncode == 7, "the command's own exit code"
    assert not entrypoint.passfile.exists()
    assert not Path(entrypoint.environment["DAGSTER_HOME"]).exists()


def test_the_addresses_are_those_that_libpq_and_sqlalchemy_take() -> None:
    environment = compose()["services"]["code"]["environment"]
    warehouse = conninfo.conninfo_to_dict(environment["COWRIE_DATABASE_URL"])
    assert (warehouse["host"], warehouse["dbname"], warehouse["user"]) == ("postgres", "cowrie", "cowrie")
    storage = make_url(environment["DAGSTER_POSTGRES_URL"])
    assert (storage.drivername, storage.host, storage.database) == ("postgresql+psycopg2", "postgres", "dagster")
