"""The services as an operator sets them in `sensors.toml`, and that no key is ever seen (promises P3, P12).

Proved here: defaults, rates, quotas, times, plans, batches, key references, what is refused and with which words, the
sandbox, offline, and that neither a key nor a contact is in any text that a setting, a service or its client has. Not
here: asking.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from cowrie_assets.lookup.configured import configured_services, duration, max_time
from cowrie_assets.lookup.services import SERVICES, Quota, Service, client, secret
from cowrie_assets.resources import ServiceClient
from cowrie_assets.settings import ADDRESS_VARIABLES, Settings, SettingsError
from cowrie_assets_tests.pipelines import KEYS

MARKER = "MARKER-4a41d9c0"
WITH_KEY = {
    "dshield": "DSHIELD_EMAIL",
    "urlhaus": "URLHAUS_API_KEY",
    "spur": "SPUR_API_KEY",
    "greynoise": "GREYNOISE_API_KEY",
    "virustotal": "VT_API_KEY",
    "maxmind": "MAXMIND_LICENSE_KEY",
}
WITHOUT_KEY = ("cymru", "hibp", "dbip", "tor_exits", "cloud_ranges")
ACCOUNT = "MAXMIND_ACCOUNT_ID"
ALL_KEYS = {**KEYS, "VT_API_KEY": "vt-key", ACCOUNT: "123456", "MAXMIND_LICENSE_KEY": "maxmind-key"}
# What a service is asked about that is not asked about addresses.
A_KEY = {"virustotal": "ab" * 32, "hibp": "00ABC"}
# Its files are downloaded: nothing is asked about a key.
WITH_CLIENT = [name for name in WITH_KEY if name != "maxmind"]


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ALL_KEYS:
        monkeypatch.delenv(name, raising=False)


def configured(tmp_path: Path, toml: str = "", **environment: str) -> dict[str, Service]:
    """The services by a `sensors.toml` and an environment."""
    config = tmp_path / "sensors.toml"
    config.write_text(toml, encoding="utf-8")
    environ = {"COWRIE_HOME": str(tmp_path), "COWRIE_CONFIG": str(config), **environment}
    return configured_services(Settings.from_environment(environ))


def one(tmp_path: Path, lines: str, name: str = "spur") -> Service:
    return configured(tmp_path, f"[services.{name}]\n{lines}\n")[name]


def refusal(tmp_path: Path, toml: str) -> str:
    with pytest.raises(SettingsError) as caught:
        configured(tmp_path, toml)
    assert caught.value.__cause__ is None or MARKER not in str(caught.value.__cause__)
    return str(caught.value)


# --- without a configuration ---------------------------------------------------------------------------------------


def test_without_keys_the_services_that_need_one_say_which(tmp_path: Path) -> None:
    services = configured(tmp_path)
    assert set(services) == set(SERVICES) == {*WITH_KEY, *WITHOUT_KEY}
    for name, variable in {**WITH_KEY, "maxmind": ACCOUNT}.items():
        assert services[name].not_configured == f"no key: set {variable}"
    assert {services[name].not_configured for name in WITHOUT_KEY} == {None}


def test_maxmind_needs_an_account_and_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAXMIND_LICENSE_KEY", MARKER)
    assert configured(tmp_path)["maxmind"].not_configured == "no key: set MAXMIND_ACCOUNT_ID"
    monkeypatch.setenv(ACCOUNT, "123456")
    assert configured(tmp_path)["maxmind"].not_configured is None
    monkeypatch.delenv("MAXMIND_LICENSE_KEY")
    assert configured(tmp_path)["maxmind"].not_configured == "no key: set MAXMIND_LICENSE_KEY"


def test_with_keys_all_are_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ALL_KEYS.items():
        monkeypatch.setenv(name, value)
    assert {service.not_configured for service in configured(tmp_path).values()} == {None}


@pytest.mark.parametrize("value", ["", " ", "\t\n"])
def test_an_empty_key_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SPUR_API_KEY", value)
    assert configured(tmp_path)["spur"].not_configured == "no key: set SPUR_API_KEY"


def test_offline_turns_everything_off_with_or_without_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPUR_API_KEY", MARKER)
    told = {service.not_configured for service in configured(tmp_path, COWRIE_OFFLINE="1").values()}
    assert told == {"offline: COWRIE_OFFLINE is set"}


def test_each_address_can_be_set_and_both_lists_share_one(tmp_path: Path) -> None:
    environment = {variable: f"http://127.0.0.1:1/{name}" for name, variable in ADDRESS_VARIABLES.items()}
    environment["COWRIE_CYMRU_ADDRESS"] = "127.0.0.1:1"
    addresses = {name: service.address for name, service in configured(tmp_path, **environment).items()}
    feeds = "http://127.0.0.1:1/feeds"
    assert addresses == {
        **{name: f"http://127.0.0.1:1/{name}" for name in (*WITH_KEY, "hibp", "dbip")},
        "cymru": "127.0.0.1:1", "tor_exits": feeds, "cloud_ranges": feeds,
    }  # fmt: skip


def test_answers_of_a_stand_in_never_lie_beside_the_services_own(tmp_path: Path) -> None:
    at_home = configured(tmp_path)["spur"]
    with_slash = configured(tmp_path, COWRIE_SPUR_URL="https://api.spur.us/")["spur"]
    assert at_home.shelf == with_slash.shelf == "spur"
    elsewhere = {configured(tmp_path, COWRIE_SPUR_URL=f"http://127.0.0.1:{port}")["spur"].shelf for port in (1, 2)}
    assert len(elsewhere) == 2
    assert all(re.fullmatch("spur_at_[0-9a-f]{8}", shelf) for shelf in elsewhere)


@pytest.mark.parametrize("address", ["whois.cymru.com", "whois.cymru.com:", "whois.cymru.com:whois", "127.0.0.1:0x2b"])
def test_a_whois_address_without_a_port_is_named_at_once(tmp_path: Path, address: str) -> None:
    with pytest.raises(SettingsError, match="COWRIE_CYMRU_ADDRESS"):
        configured(tmp_path, COWRIE_CYMRU_ADDRESS=address)


# No more than the strictest that is documented, by service: requests, seconds.
DOCUMENTED = {"dshield": (1, 1), "urlhaus": (30, 60), "spur": (20, 1), "virustotal": (4, 60)}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_by_default_no_documented_rate_is_exceeded(tmp_path: Path, name: str) -> None:
    service, (requests, window) = configured(tmp_path)[name], DOCUMENTED[name]
    assert requests * service.spacing > window


def test_by_default_no_documented_quota_is_exceeded(tmp_path: Path) -> None:
    told = {name: [str(quota) for quota in service.quotas] for name, service in configured(tmp_path).items()}
    assert {name: quotas for name, quotas in told.items() if quotas} == {
        "greynoise": ["25/week"], "virustotal": ["500/day", "15500/month"], "maxmind": ["30/24h"],
    }  # fmt: skip


def test_what_a_key_takes_in_the_long_run_is_said_by_the_scarcest(tmp_path: Path) -> None:
    services = configured(tmp_path)
    assert services["urlhaus"].sustained == pytest.approx(60.25 / 30)
    assert services["virustotal"].sustained == 172.8  # 15.06 by rate, 167.2 by the month
    assert services["greynoise"].sustained == 604800 / 25
    assert services["cymru"].sustained == pytest.approx(1.1 / 500)


@pytest.mark.parametrize(
    ("requests", "window", "padded"),
    [(1, 1.0, 1.1), (20, 1.0, 1.1), (5, 2.0, 2.1), (4, 12.0, 12.25), (30, 60.0, 60.25), (1, 86400.0, 86400.25)],
)
def test_windows_are_padded(requests: int, window: float, padded: float) -> None:
    service = dataclasses.replace(SERVICES["spur"], requests=requests, window=window)
    assert service.spacing == pytest.approx(padded / requests)


# --- sensors.toml --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "requests", "window"),
    [
        ("1/s", 1, 1),
        ("30/min", 30, 60),
        ("30/m", 30, 60),
        ("4/12s", 4, 12),
        (" 30 / min ", 30, 60),
        ("100/2h", 100, 7200),
        ("25/week", 25, 604800),
        ("10/d", 10, 86400),
        ("10/3day", 10, 259200),
    ],
)
def test_rates(tmp_path: Path, text: str, requests: int, window: float) -> None:
    service = one(tmp_path, f'rate = "{text}"')
    assert (service.requests, service.window, service.quotas) == (requests, window, ())


@pytest.mark.parametrize(
    ("value", "quotas"),
    [
        ('"25/week"', [Quota(25, 604800)]),
        ('"25/w"', [Quota(25, 604800)]),
        ('"500/day"', [Quota(500, 86400, "day")]),
        ('" 500 / day "', [Quota(500, 86400, "day")]),
        ('"500/1day"', [Quota(500, 86400, "day")]),
        ('"15500/month"', [Quota(15500, 30 * 86400, "month")]),
        ('"30/24h"', [Quota(30, 86400)]),
        ('"30/d"', [Quota(30, 86400)]),
        ('"1000/30d"', [Quota(1000, 30 * 86400)]),
        ('"10/3day"', [Quota(10, 259200)]),
        ('"50/2week"', [Quota(50, 2 * 604800)]),
        ('["500/day", "15500/month"]', [Quota(500, 86400, "day"), Quota(15500, 30 * 86400, "month")]),
        ("[]", []),
    ],
)
def test_quotas(tmp_path: Path, value: str, quotas: list[Quota]) -> None:
    """A day and a month are the calendar's: they begin at midnight UTC."""
    service = one(tmp_path, f"quota = {value}")
    assert service.quotas == tuple(quotas)
    assert (service.requests, service.window) == (20, 1)
    assert tuple(map(Quota.parse, map(str, service.quotas))) == service.quotas, "as it is written, so it is read"


BAD_QUOTAS = [
    *('"30/min"', '"30/s"', '"5/0h"', '"5/0day"', '"5/2month"', '"1/x"', '"25"', '"/day"', '"day"', '""'),
    *('"-1/day"', '"0/day"', '"1.5/day"', '"5/day/day"', '"9999999999/day"', "1", "0", "1.5", "true", "{}"),
    *('["500/day", "30/min"]', "[1]", '[["5/day"]]'),
]


@pytest.mark.parametrize("value", BAD_QUOTAS)
def test_a_quota_that_is_none_is_named_with_the_cure(tmp_path: Path, value: str) -> None:
    message = refusal(tmp_path, f"[services.virustotal]\nquota = {value}\n")
    assert "[services.virustotal] quota" in message
    assert '"500/day"' in message


@pytest.mark.parametrize("value", ["5/00day", "5/000h", "5/0000week"])
def test_a_quota_in_no_time_is_none_however_it_is_written(tmp_path: Path, value: str) -> None:
    refusal(tmp_path, f'[services.virustotal]\nquota = "{value}"\n')


BAD_RATES = [
    *('"0/s"', '"00/min"', '"5/0s"', '"-1/s"', '"1.5/s"', '"1/x"', '"s"', '"1"', '""', '"1/s/s"'),
    *("1", "0", "1.5", "true", "[]", "{}"),
]


@pytest.mark.parametrize("value", BAD_RATES)
def test_a_rate_that_is_none_is_named_with_the_cure(tmp_path: Path, value: str) -> None:
    """Zero above all: "0 means all" and "0 means none" stood in one help line once."""
    message = refusal(tmp_path, f"[services.spur]\nrate = {value}\n")
    assert "[services.spur] rate" in message
    assert '"30/min"' in message


@pytest.mark.parametrize("value", ["5/00s", "5/000min"])
def test_a_window_of_zero_is_none_however_it_is_written(tmp_path: Path, value: str) -> None:
    refusal(tmp_path, f'[services.spur]\nrate = "{value}"\n')


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("90", 90),
        ("1.5", 1.5),
        ("0", 0),
        ('"90s"', 90),
        ('"90"', 90),
        ('"30m"', 1800),
        ('"30min"', 1800),
        ('"2h"', 7200),
        ('"7d"', 604800),
        ('"1w"', 604800),
        ('"1.5h"', 5400),
        ('" 2h "', 7200),
    ],
)
def test_times(tmp_path: Path, value: str, seconds: float) -> None:
    service = one(tmp_path, f"ttl_found = {value}\nttl_not_found = {value}")
    assert (service.ttl_found, service.ttl_not_found) == (seconds, seconds)
    settings = Settings(home=tmp_path, enrichment={"max_time": value.strip('"')})
    assert max_time(settings) == seconds


BAD_TIMES = ['"soon"', '"-1s"', "-1", '"1y"', '""', '"1h30m"', "true", "[]", "nan", '"inf"', '"1e9"']


@pytest.mark.parametrize("value", BAD_TIMES)
@pytest.mark.parametrize("key", ["ttl_found", "ttl_not_found"])
def test_a_time_that_is_none_is_named_with_the_cure(tmp_path: Path, key: str, value: str) -> None:
    message = refusal(tmp_path, f"[services.spur]\n{key} = {value}\n")
    assert f"[services.spur] {key}" in message
    assert '"30m"' in message


@pytest.mark.parametrize("value", [math.inf, "1" + "0" * 20 + "d", 1e300])
def test_a_time_beyond_every_interval_is_none(value: Any) -> None:
    with pytest.raises(SettingsError):
        duration(value, "ttl_found")


def test_the_time_of_a_run(tmp_path: Path) -> None:
    assert max_time(Settings(home=tmp_path)) == 1800
    for wrong in ({"max_time": "soon"}, {"maxtime": "30m"}):
        with pytest.raises(SettingsError, match=r"\[enrichment\].*max_?time"):
            max_time(Settings(home=tmp_path, enrichment=wrong))


def test_the_batch_of_the_bulk_whois(tmp_path: Path) -> None:
    assert [one(tmp_path, f"batch = {size}", "cymru").batch for size in (1, 5000)] == [1, 5000]
    for value in ("0", "-1", "5001", '"500"', "1.5"):
        assert "1 to 5000" in refusal(tmp_path, f"[services.cymru]\nbatch = {value}\n")
    assert "no such setting" in refusal(tmp_path, "[services.spur]\nbatch = 5\n")


def test_a_batch_of_true_is_none(tmp_path: Path) -> None:
    refusal(tmp_path, "[services.cymru]\nbatch = true\n")


def test_the_community_is_asked_about_one_address_at_a_time(tmp_path: Path) -> None:
    for lines in ("batch = 5", 'plan = "community"\nbatch = 1'):
        message = refusal(tmp_path, f"[services.greynoise]\n{lines}\n")
        assert 'plan = "paid"' in message
    assert type(client(one(tmp_path, 'plan = "community"', "greynoise"))) is type(client(configured(tmp_path)["spur"]))


def test_a_subscription_has_limits_of_its_own_and_takes_batches(tmp_path: Path) -> None:
    paid = one(tmp_path, 'plan = "paid"', "greynoise")
    assert (paid.requests, paid.window, paid.batch) == (10, 1.0, 500)
    assert paid.quotas == (Quota(10_000, 86400, "day"),)
    assert paid.credential == SERVICES["greynoise"].credential
    assert client(paid).request_many(["8.8.8.8", "8.8.4.4"]).method == "POST"
    assert one(tmp_path, 'plan = "community"', "greynoise") == configured(tmp_path)["greynoise"]


def test_single_limits_change_what_a_plan_brings_wherever_they_stand(tmp_path: Path) -> None:
    lines = ['plan = "paid"', "batch = 1000", 'quota = "70000/week"', 'rate = "5/s"']
    for order in (lines, lines[::-1]):
        paid = one(tmp_path, "\n".join(order), "greynoise")
        assert (paid.requests, paid.batch, paid.quotas) == (5, 1000, (Quota(70_000, 604800),))
    for size in (1, 10_000):
        assert one(tmp_path, f'plan = "paid"\nbatch = {size}', "greynoise").batch == size
    for value in ("0", "10001", "true"):
        message = refusal(tmp_path, f'[services.greynoise]\nplan = "paid"\nbatch = {value}\n')
        assert "1 to 10000" in message


def test_what_is_no_plan(tmp_path: Path) -> None:
    for value in ('"gold"', "1", "true", '""', "[]"):
        assert '"community" and "paid"' in refusal(tmp_path, f"[services.greynoise]\nplan = {value}\n")
    assert "no such setting" in refusal(tmp_path, '[services.spur]\nplan = "paid"\n')


def test_the_share_of_a_source_network(tmp_path: Path) -> None:
    assert configured(tmp_path)["virustotal"].network_share == 0.2
    for value, share in (("0.05", 0.05), ("1", 1.0), ("1.0", 1.0), ("1e-9", 1e-9)):
        assert one(tmp_path, f"network_share = {value}", "virustotal").network_share == share
    for value in ("0", "-0.1", "1.01", "2", '"0.2"', "true", "false", "nan", "inf", "[]"):
        message = refusal(tmp_path, f"[services.virustotal]\nnetwork_share = {value}\n")
        assert "[services.virustotal] network_share" in message
        assert "more than 0, and at most 1" in message


def test_a_service_that_is_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VT_API_KEY", MARKER)
    off = configured(tmp_path, "[services.virustotal]\nenabled = false\n[services.hibp]\nenabled = false\n")
    for name in ("virustotal", "hibp"):
        assert off[name].not_configured == "switched off in sensors.toml"
    assert off["dbip"].not_configured is None
    assert one(tmp_path, "enabled = true", "virustotal") == configured(tmp_path)["virustotal"]
    offline = configured(tmp_path, "[services.hibp]\nenabled = false\n", COWRIE_OFFLINE="1")
    assert offline["hibp"].not_configured == "offline: COWRIE_OFFLINE is set"
    for value in ("0", "1", '"false"', '"no"', "[]"):
        refusal(tmp_path, f"[services.virustotal]\nenabled = {value}\n")


def test_an_account_by_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "account").write_text("4711\n", encoding="utf-8")
    monkeypatch.setenv("MAXMIND_LICENSE_KEY", "key")
    service = one(tmp_path, 'account = "file:account"', "maxmind")
    assert secret(service.account) == "4711"
    assert service.not_configured is None
    assert one(tmp_path, 'account = "env:NOT_SET"', "maxmind").not_configured == "no key: set NOT_SET"
    message = refusal(tmp_path, f'[services.maxmind]\naccount = "{MARKER}"\n')
    assert "not the key itself" in message
    assert MARKER not in message
    for name in ("spur", "dbip"):
        assert "no such setting" in refusal(tmp_path, f'[services.{name}]\naccount = "env:X"\n')


def test_what_there_is_not_is_named_with_what_there_is(tmp_path: Path) -> None:
    message = refusal(tmp_path, "[services.shodan]\nrate = '1/s'\n")
    assert "'shodan'" in message
    assert all(name in message for name in SERVICES)
    assert "[services.spur] ttl: there is no such setting" in refusal(tmp_path, "[services.spur]\nttl = 5\n")
    assert "[services.cymru] key: there is no such setting" in refusal(tmp_path, "[services.cymru]\nkey = 'env:X'\n")
    for name in ("name", "workers", "credential", "switched_off", "limit_key", "families"):
        assert f"{name}: there is no such setting" in refusal(tmp_path, f"[services.spur]\n{name} = 1\n")


def test_one_setting_changes_nothing_else(tmp_path: Path) -> None:
    services = configured(tmp_path, '[services.spur]\nrate = "3/7s"\n')
    expected = configured(tmp_path)
    assert services["spur"] == dataclasses.replace(expected["spur"], requests=3, window=7.0)
    assert {name: s for name, s in services.items() if name != "spur"} == {
        name: s for name, s in expected.items() if name != "spur"
    }


# --- keys ----------------------------------------------------------------------------------------------------------


def test_a_key_by_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text(f"\n  {MARKER}\n\n", encoding="utf-8")
    monkeypatch.setenv("MY_SPUR_KEY", f" {MARKER} ")
    for reference in ("env:MY_SPUR_KEY", f"file:{tmp_path / 'key'}"):
        service = one(tmp_path, f'key = "{reference}"')
        assert service.credential == reference
        assert secret(service.credential) == MARKER
        assert service.not_configured is None


def test_a_key_file_below_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "key").write_text(MARKER, encoding="utf-8")
    assert secret("file:~/key") == MARKER


def test_a_reference_that_leads_nowhere_says_where_the_key_should_be(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n", encoding="utf-8")
    cases = {
        "env:NOT_SET": "no key: set NOT_SET",
        f"file:{tmp_path}/absent": f"no key: set a readable file at {tmp_path}/absent",
        f"file:{tmp_path}/empty": f"no key: set a readable file at {tmp_path}/empty",
        f"file:{tmp_path}": f"no key: set a readable file at {tmp_path}",
    }
    for reference, words in cases.items():
        assert one(tmp_path, f'key = "{reference}"').not_configured == words


@pytest.mark.parametrize("reference", ["file:{folder}/key", "file:~no-such-user-4a41/key"])
def test_a_key_file_that_cannot_be_read_is_no_traceback(tmp_path: Path, reference: str) -> None:
    (tmp_path / "key").write_bytes(b"\xff\xfe" + MARKER.encode("utf-16-le"))  # as Windows' Notepad saves it
    assert "readable file" in (one(tmp_path, f'key = "{reference.format(folder=tmp_path)}"').not_configured or "")


@pytest.mark.parametrize(
    "toml",
    [
        f'[services.spur]\nkey = "{MARKER}"',
        f'[services.spur]\nkey = "{MARKER}:env:X"',
        f'[services.spur]\nkey = " env:{MARKER}"',
        f'[services.spur]\nkey = "ENV:{MARKER}"',
        f'[services.spur]\nkey = "sandbox:{MARKER}"',
        f'[services.spur]\nkey = ["{MARKER}"]',
        f'[services.spur]\nkey = {{ value = "{MARKER}" }}',
        f'[services.spur]\napi_key = "{MARKER}"',
        f'[services.spur]\ntoken = "{MARKER}"',
        f'[services.cymru]\nkey = "{MARKER}"',
        f'[services]\nspur = "{MARKER}"',
        f'services = "{MARKER}"',
    ],
)
def test_a_key_in_the_file_itself_is_refused_and_not_repeated(tmp_path: Path, toml: str) -> None:
    """Keys in exception texts; a database password in git."""
    assert MARKER not in refusal(tmp_path, toml)


def test_the_sandbox_credential_cannot_be_had_in_live_mode(tmp_path: Path) -> None:
    assert "not the key itself" in refusal(tmp_path, '[services.spur]\nkey = "sandbox:"\n')


@pytest.mark.parametrize("name", WITH_CLIENT)
def test_no_text_of_a_service_has_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(WITH_KEY[name], f"{MARKER}-key")
    monkeypatch.setenv("DSHIELD_EMAIL", f"{MARKER}@example.org")
    service = configured(tmp_path)[name]
    asked = client(service)
    request = asked.request_many([A_KEY.get(name, "8.8.4.4")])
    assert MARKER in "".join(request.headers.values()), "the key is used at all"
    texts = [repr(service), str(dataclasses.asdict(service)), service.limit_key, repr(asked), str(asked), repr(request)]
    resource = ServiceClient.of(service)
    texts += [request.url, str(service.not_configured), repr(resource), str(resource.model_dump())]
    assert not [text for text in texts if MARKER in text]


def test_no_text_of_a_service_that_has_files_has_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ACCOUNT, f"{MARKER}-account")
    monkeypatch.setenv("MAXMIND_LICENSE_KEY", f"{MARKER}-key")
    service = configured(tmp_path)["maxmind"]
    texts = [repr(service), str(dataclasses.asdict(service)), service.limit_key, str(service.not_configured)]
    assert not [text for text in [*texts, repr(ServiceClient.of(service))] if MARKER in text]


def test_a_limit_belongs_to_a_service_and_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = set()
    for value in (MARKER, f"{MARKER}2", "x"):
        for name, variable in WITH_KEY.items():
            monkeypatch.setenv(variable, value)
            limit_key = configured(tmp_path)[name].limit_key
            assert re.fullmatch(rf"{name}/[0-9a-f]{{8}}", limit_key)
            assert limit_key.endswith(sha256(value.encode()).hexdigest()[:8]), "the same in every process"
            keys.add(limit_key)
    assert len(keys) == 3 * len(WITH_KEY)
    assert {configured(tmp_path)[name].limit_key for name in WITHOUT_KEY} == set(WITHOUT_KEY)


def test_services_survive_the_way_through_run_configuration(tmp_path: Path) -> None:
    for mode in ("live", "sandbox"):
        for service in configured(tmp_path, COWRIE_MODE=mode).values():
            assert ServiceClient.of(service).service() == service


# --- the sandbox ---------------------------------------------------------------------------------------------------


def sandboxed(tmp_path: Path, addresses: dict[str, str], *, offline: bool = False) -> dict[str, Service]:
    return configured_services(Settings(home=tmp_path, mode="sandbox", addresses=addresses, offline=offline))


LOOPBACK = {
    **{name: f"http://127.0.0.1:1/{name}" for name in (*WITH_KEY, "hibp", "dbip", "feeds")},
    "cymru": "127.0.0.1:1",
}


def test_the_sandbox_asks_the_sandbox_and_needs_no_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPUR_API_KEY", MARKER)
    services = sandboxed(tmp_path, LOOPBACK)
    for service in services.values():
        assert service.not_configured is None
        assert "127.0.0.1:1" in service.address
        assert secret(service.credential) in (None, "sandbox@sandbox.invalid")
    assert not any(MARKER in value for value in client(services["spur"]).request_many(["8.8.8.8"]).headers.values())


@pytest.mark.parametrize("missing", LOOPBACK)
def test_the_sandbox_never_asks_a_real_service(tmp_path: Path, missing: str) -> None:
    for addresses in ({}, {name: at for name, at in LOOPBACK.items() if name != missing}):
        for service in sandboxed(tmp_path, addresses).values():
            loopback = "127.0.0.1:1" in service.address
            assert loopback or service.not_configured == "the sandbox's services were never started", service.name


def test_the_sandbox_can_be_offline(tmp_path: Path) -> None:
    for addresses in ({}, LOOPBACK):
        services = sandboxed(tmp_path, addresses, offline=True)
        assert {s.not_configured for s in services.values()} == {"offline: COWRIE_OFFLINE is set"}


def test_tests_ask_nobody_unless_they_say_whom() -> None:
    assert os.environ["COWRIE_OFFLINE"] == "1"
