"""A session is what its events say, in every dialect that Cowrie has spoken since 2017, whatever order they come in."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import fields
from hashlib import sha256
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cowrie_assets.cowrie.addresses import address, is_public
from cowrie_assets.cowrie.events import digest, salvage
from cowrie_assets.cowrie.sessions import (
    Command,
    File,
    Forwarding,
    Login,
    Session,
    SshKey,
    StoredEvent,
    continues,
    fingerprint,
    planted_keys,
    port,
    reconstruct,
    seconds,
    text,
)
from cowrie_assets_tests.loglines import event, stamp

AT = stamp()
UNTOUCHED = Session("0badcafe", AT, AT, 1)


def rebuilt(events: Iterable[dict[str, Any]]) -> Session:
    stored: list[StoredEvent] = [(value["timestamp"], digest(value), value) for value in events]
    return reconstruct("0badcafe", stored)


def changes(event_id: str, **values: Any) -> dict[str, Any]:
    """What one event of an otherwise empty session says: the fields of the session that it fills."""
    bare = {"eventid": f"cowrie.{event_id}", "session": "0badcafe", "timestamp": AT}
    session = rebuilt([bare | values])
    pairs = ((f.name, getattr(session, f.name)) for f in fields(Session))
    return {name: value for name, value in pairs if value != getattr(UNTOUCHED, name)}


# --- every event id ---------------------------------------------------------------------------------------------------

SHA = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("event_id", "values", "expected"),
    [
        (
            "session.connect",
            {"src_ip": "8.8.4.4", "src_port": 40000, "dst_ip": "10.0.0.1", "dst_port": 2222, "protocol": "ssh"},
            {
                "source_ip": "8.8.4.4",
                "source_port": 40000,
                "destination_ip": "10.0.0.1",
                "destination_port": 2222,
                "protocol": "ssh",
            },
        ),
        ("session.closed", {"duration": 1.5}, {"closed": True, "duration_seconds": 1.5}),
        ("session.closed", {}, {"closed": True}),
        ("client.version", {"version": "SSH-2.0-Go"}, {"client_version": "SSH-2.0-Go"}),
        ("client.kex", {"hassh": "ec7378c1a92f5a8dde7e8b7a1ddf33d1"}, {"hassh": "ec7378c1a92f5a8dde7e8b7a1ddf33d1"}),
        (
            "login.failed",
            {"username": "root", "password": "x"},
            {"logins": [Login(AT, False, "root", "x", None)]},
        ),
        (
            "login.success",
            {"username": "root", "password": ""},
            {"logins": [Login(AT, True, "root", "", None)]},
        ),
        (
            "login.failed",
            {"username": "git", "fingerprint": "5d:41", "key": "AAAA", "type": "ssh-rsa"},
            {"logins": [Login(AT, False, "git", None, "5d:41")]},
        ),
        ("command.input", {"input": "uname -a"}, {"commands": [Command(AT, "input", "uname -a")]}),
        ("command.success", {"input": "uname -a"}, {"commands": [Command(AT, "success", "uname -a")]}),
        ("command.failed", {"input": "nosuch"}, {"commands": [Command(AT, "failed", "nosuch")]}),
        ("command.input", {"input": ""}, {"commands": [Command(AT, "input", "")]}),
        ("command.input", {}, {"commands": [Command(AT, "input", None)]}),
        (
            "session.file_download",
            {"shasum": SHA, "url": "http://198.51.100.7/x", "outfile": "dl/x", "destfile": "/dev/shm/x"},
            {"files": [File(AT, "download", SHA, "http://198.51.100.7/x", "/dev/shm/x")]},
        ),
        (
            "session.file_download.failed",
            {"url": "http://198.51.100.7/x"},
            {"files": [File(AT, "failed download", None, "http://198.51.100.7/x", None)]},
        ),
        (
            "session.file_upload",
            {"shasum": SHA, "filename": "sshd", "outfile": "dl/x"},
            {"files": [File(AT, "upload", SHA, None, "sshd")]},
        ),
        (
            "direct-tcpip.request",
            {"dst_ip": "mail.example", "dst_port": 25, "src_ip": "8.8.4.4", "src_port": 22},
            {"source_ip": "8.8.4.4", "forwardings": [Forwarding(AT, "mail.example", 25, 22)]},
        ),
        ("log.open", {"ttylog": "log/tty/1.log"}, {"tty_log": "log/tty/1.log"}),
        ("log.closed", {"ttylog": "log/tty/" + SHA, "duration": 9.0}, {"tty_log": "log/tty/" + SHA}),
        ("client.fingerprint", {"username": "git", "fingerprint": "5d:41"}, {}),
        ("client.size", {"width": 80, "height": 24}, {}),
        ("client.var", {"name": "LANG", "value": "C"}, {}),
        ("direct-tcpip.data", {"data": "GET /"}, {}),
        ("direct-tcpip.ja4", {"ja4": "t13d"}, {}),
        ("direct-tcpip.ja4h", {"ja4h": "ge11"}, {}),
        ("session.input", {"input": "x"}, {}),
        ("session.params", {"arch": "linux-x64-lsb"}, {}),
        ("telnet.option", {"option": 1}, {}),
        ("of.the.future", {"input": "x", "duration": 9}, {"unknown_events": 1}),
        ("session.connec", {"src_port": 1}, {"unknown_events": 1}),
    ],
)
def test_an_event_fills_what_it_speaks_of_and_nothing_else(
    event_id: str, values: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert changes(event_id, **values) == expected


def test_a_session_counts_its_events_and_knows_its_first_and_last() -> None:
    session = rebuilt([event("s", 5, "session.closed"), event("s", 0), event("s", 3, "command.input", input="id")])
    assert (session.first_event_at, session.last_event_at, session.event_count) == (stamp(0), stamp(5), 3)


def test_a_session_that_began_before_its_log_takes_its_source_from_the_first_event_that_names_one() -> None:
    session = rebuilt(
        [
            event("s", 1, "command.input", src_ip=None, sensor=None, input="id"),
            event("s", 2, "command.input", src_ip="no address", input="id"),
            event("s", 3, "session.closed", src_ip="2001:DB8::1", sensor="later", protocol="telnet"),
        ]
    )
    assert (session.source_ip, session.reported_sensor, session.protocol) == ("2001:db8::1", "alpha", "telnet")
    assert session.source_port is None
    assert session.destination_ip is None


def test_the_connect_event_says_where_a_session_comes_from() -> None:
    # Proxied events carry the address of the proxy's other side, some of them before the connect by a clock's tick.
    session = rebuilt([event("s", 0, "client.version", src_ip="8.8.8.8"), event("s", 1, src_ip="8.8.4.4")])
    assert session.source_ip == "8.8.4.4"


def test_of_two_connect_events_the_first_says_where_a_session_comes_from() -> None:
    assert rebuilt([event("s", 0, src_ip="8.8.4.4"), event("s", 1, src_ip="8.8.8.8")]).source_ip == "8.8.4.4"
    assert rebuilt([event("s", 0, src_ip=None), event("s", 1, src_ip="8.8.8.8")]).source_ip == "8.8.8.8"


def test_a_session_without_any_address_has_none() -> None:
    assert rebuilt([event("s", 0, "session.closed", src_ip="")]).source_ip is None


def test_the_recording_has_the_name_that_it_got_at_the_end() -> None:
    opened = event("s", 1, "log.open", ttylog="log/tty/20250301.log")
    closed = event("s", 2, "log.closed", ttylog=f"log/tty/{SHA}")
    assert rebuilt([opened, closed]).tty_log == f"log/tty/{SHA}"
    assert rebuilt([opened, event("s", 2, "log.closed")]).tty_log == "log/tty/20250301.log"


def test_details_stand_in_order_of_time() -> None:
    session = rebuilt([event("s", t, "login.failed", username=f"u{t}", password="x") for t in (3, 1, 2)])
    assert [login.username for login in session.logins] == ["u1", "u2", "u3"]


# --- dialects ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"duration": 12.5}, 12.5),
        ({"duration": 12}, 12.0),
        ({"duration": "12.5"}, 12.5),
        ({"duration": " 12.5 "}, 12.5),
        ({"duration_ms": 12_500}, 12.5),
        ({"duration": None, "duration_ms": 12_500}, 12.5),
        ({"duration": 1.5, "duration_ms": 99_000}, 1.5),
        ({"duration": 0}, 0.0),
        ({"duration": 15_999_999.0}, 15_999_999.0),
        ({}, None),
        ({"duration": None}, None),
        ({"duration": 1.6e7}, None),
        ({"duration": 1e308}, None),
        ({"duration": 10**400}, None),
        ({"duration": -0.001}, None),
        ({"duration": math.inf}, None),
        ({"duration": "nan"}, None),
        ({"duration": "inf"}, None),
        ({"duration": "-5"}, None),
        ({"duration": "12 seconds"}, None),
        ({"duration": ""}, None),
        ({"duration": "9" * 5000}, None),
        ({"duration": [12.5]}, None),
        ({"duration": {"seconds": 12.5}}, None),
    ],
)
def test_a_duration_is_read_in_all_its_forms_and_a_forged_one_is_none(
    values: dict[str, Any], expected: float | None
) -> None:
    assert seconds(values) == expected


@pytest.mark.parametrize("value", [True, False, "1_000", "１２"])
def test_what_only_python_takes_for_a_number_is_no_duration(value: object) -> None:
    assert seconds({"duration": value}) is None


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("SSH-2.0-libssh-0.6.3", "SSH-2.0-libssh-0.6.3"),
        ("b'SSH-2.0-libssh-0.6.3'", "SSH-2.0-libssh-0.6.3"),
        ('b"SSH-2.0-it\'s"', "SSH-2.0-it's"),
        ("'SSH-2.0-Go'", "SSH-2.0-Go"),
        (r"b'\x16\x03\x01'", r"\x16\x03\x01"),
        ("b'GET / HTTP/1.1'", "GET / HTTP/1.1"),
        ("b'two\nlines'", "two\nlines"),
        ("b''", ""),
        ("b'", "b'"),
        ("b'torn\"", "b'torn\""),
        ("", ""),
        (None, None),
        (["SSH-2.0-Go"], '["SSH-2.0-Go"]'),
    ],
)
def test_a_client_version_is_freed_of_pythons_quotes(version: object, expected: str | None) -> None:
    assert rebuilt([event("s", 0, "client.version", version=version)]).client_version == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("", ""),
        ("naïve 🌊", "naïve 🌊"),
        (["a", "ü"], '["a", "ü"]'),
        ({"a": None}, '{"a": null}'),
        (5, "5"),
        (True, "true"),
    ],
)
def test_what_is_no_text_where_text_is_due_is_kept_as_json(value: object, expected: str | None) -> None:
    assert text(value) == expected


def test_lists_are_survived_wherever_text_is_due() -> None:
    odd: list[Any] = ["x", {"y": 1}]
    written = json.dumps(odd)
    session = rebuilt(
        [
            event("s", 0, src_ip=odd, src_port=odd, dst_ip=odd, dst_port=odd, protocol=odd, sensor=odd),
            event("s", 1, "client.kex", src_ip=odd, hassh=odd),
            event("s", 2, "login.failed", src_ip=odd, username=odd, password=odd, fingerprint=odd, message=odd),
            event("s", 3, "command.input", src_ip=odd, input=odd),
            event("s", 4, "session.file_download", src_ip=odd, shasum=odd, url=odd, filename=odd),
            event("s", 5, "direct-tcpip.request", src_ip=odd, dst_ip=odd, dst_port=odd, src_port=odd),
            event("s", 6, "log.closed", src_ip=odd, ttylog=odd),
            event("s", 7, "session.closed", src_ip=odd, duration=odd),
        ]
    )
    assert (session.source_ip, session.source_port, session.destination_port, session.duration_seconds) == (None,) * 4
    assert {session.destination_ip, session.protocol, session.reported_sensor, session.hassh} == {written}
    assert session.logins == [Login(stamp(2), False, written, written, written)]
    assert session.commands == [Command(stamp(3), "input", written)]
    assert session.files == [File(stamp(4), "download", None, written, written)]
    assert session.forwardings == [Forwarding(stamp(5), written, None, None)]
    assert session.tty_log == written
    assert session.closed


def from_a_deeper_stack(levels: int, call: Callable[[], Session]) -> Session:
    return call() if levels == 0 else from_a_deeper_stack(levels - 1, call)


def test_nesting_that_was_stored_can_be_rebuilt_by_every_caller() -> None:
    # Text that is none is written as JSON, which recurses: the day of such a session could be built by one caller, and
    # never by another.
    value = event("s", 0, "login.failed", username=orjson.loads(b"[" * 700 + b"]" * 700))
    line = orjson.dumps(value | {"username": 0}).replace(b'"username":0', b'"username":' + b"[" * 700 + b"]" * 700)
    [segment] = salvage(line)
    if segment.event is not None:
        assert rebuilt([value]).logins
        assert from_a_deeper_stack(400, lambda: rebuilt([value])).logins


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (22, 22),
        ("22", 22),
        ("00022", 22),
        (0, 0),
        (65535, 65535),
        ("65535", 65535),
        (65536, None),
        ("65536", None),
        (-1, None),
        ("-1", None),
        ("", None),
        (" 22", None),
        ("022022", None),
        ("²", None),
        ("٢٢", None),
        (22.0, None),
        (True, None),
        (None, None),
        ([22], None),
        (10**400, None),
    ],
)
def test_a_port_is_read_as_number_or_digits(value: object, expected: int | None) -> None:
    assert port(value) == expected


@pytest.mark.parametrize(
    ("shasum", "expected"),
    [(SHA, SHA), (SHA.upper(), SHA), (SHA[:-1], None), (SHA + "0", None), (SHA + "\n", None), ("", None), (5, None)],
)
def test_a_sha256_is_lower_case_or_none(shasum: object, expected: str | None) -> None:
    [file] = rebuilt([event("s", 0, "session.file_upload", shasum=shasum)]).files
    assert file.sha256 == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"filename": "a", "destfile": "b", "outfile": "c"}, "a"),
        ({"filename": "", "destfile": "b", "outfile": "c"}, "b"),
        ({"destfile": None, "outfile": "c"}, "c"),
        ({}, None),
    ],
)
def test_a_file_has_the_first_name_that_the_event_gives(names: dict[str, Any], expected: str | None) -> None:
    [file] = rebuilt([event("s", 0, "session.file_download", **names)]).files
    assert file.filename == expected


# --- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("8.8.4.4", "8.8.4.4"),
        (" 8.8.4.4\n", "8.8.4.4"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("::ffff:8.8.4.4", "8.8.4.4"),
        ("::FFFF:808:404", "8.8.4.4"),
        ("::ffff:8.8.4.4%eth0", "8.8.4.4"),
        ("fe80::1%eth0", "fe80::1"),
        ("fe80::1%", "fe80::1"),
        # Octal to some readers, decimal to others: nobody knows which address is meant.
        ("010.001.000.001", None),
        ("8.8.4", None),
        ("8.8.4.4:22", None),
        ("[::1]", None),
        ("0x08080404", None),
        ("٨.8.4.4", None),
        ("honeypot.example", None),
        ("%eth0", None),
        ("", None),
        (134743044, None),
        (None, None),
        (["8.8.4.4"], None),
    ],
)
def test_an_address_has_one_form(value: object, expected: str | None) -> None:
    assert address(value) == expected


@given(st.ip_addresses())
@settings(deadline=None)
def test_an_address_in_its_form_stays_as_it_is(value: object) -> None:
    form = address(str(value))
    assert form is not None
    assert address(form) == address(form.upper()) == form


@given(st.text())
@settings(deadline=None)
def test_any_text_is_an_address_or_none(value: str) -> None:
    assert address(value) is None or is_public(address(value) or "") in (True, False)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("8.8.4.4", True),
        ("2606:4700::1111", True),
        ("10.0.0.1", False),
        ("172.31.255.255", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),  # shared (RFC 6598): neither private nor public to Python
        ("127.0.0.1", False),
        ("169.254.1.1", False),
        ("198.51.100.7", False),
        ("224.0.1.1", False),  # multicast, of which Python holds some for global
        ("255.255.255.255", False),
        ("0.0.0.0", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("ff0e::1", False),
        ("2001:db8::1", False),
    ],
)
def test_only_globally_routable_addresses_are_public(value: str, expected: bool) -> None:
    assert is_public(value) is expected


# --- keys that were planted -------------------------------------------------------------------------------------------

# Made by ssh-keygen for this test and thrown away; its fingerprint is what `ssh-keygen -l` said.
KEY = "AAAAC3NzaC1lZDI1NTE5AAAAID04q3zHkeRQRqeCzMQa2/HmGJY0bUGzogmkSmMMkzi7"
KEY_FINGERPRINT = "SHA256:uYEBPEmVwdyc+zkL6NG5ijFeN1n8EaN/gJOV3cUKd9E"
OTHER = "AAAAB3NzaC1yc2EAAAADAQABAAABAQ" + "C7" * 20


def planted(command: str) -> list[tuple[str, str, str | None]]:
    return [(key.key_type, key.key_data, key.remark) for key in planted_keys(AT, command)]


def test_a_fingerprint_is_what_ssh_keygen_prints() -> None:
    assert fingerprint(KEY) == KEY_FINGERPRINT
    independently = base64.b64encode(sha256(base64.b64decode(KEY)).digest()).decode().rstrip("=")
    assert fingerprint(KEY).removeprefix("SHA256:") == independently


def test_padding_makes_no_difference_to_a_fingerprint() -> None:
    padded = base64.b64encode(base64.b64decode(KEY) + b"x").decode()
    assert padded.endswith("=")
    assert fingerprint(padded) == fingerprint(padded.rstrip("="))


@pytest.mark.parametrize("data", ["AAAAB3NzaC1yc2EAAAABc", "AAAA====", "AAAA!", ""])
def test_what_is_no_base64_has_a_fingerprint_all_the_same(data: str) -> None:
    assert len(fingerprint(data)) == len(KEY_FINGERPRINT)


def test_a_planted_key_is_found_with_its_remark() -> None:
    command = f'mkdir -p .ssh && echo "ssh-ed25519 {KEY} root@x y">>.ssh/authorized_keys && chmod 600 .ssh'
    assert list(planted_keys(AT, command)) == [SshKey(AT, "ssh-ed25519", KEY, KEY_FINGERPRINT, "root@x y")]


@pytest.mark.parametrize(
    "kind",
    [
        "ssh-rsa",
        "ssh-dss",
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    ],
)
def test_every_kind_of_key_is_known(kind: str) -> None:
    assert planted(f"echo {kind} {OTHER} >> /root/.ssh/authorized_keys") == [(kind, OTHER, None)]


@pytest.mark.parametrize(
    "command",
    [
        f"echo ssh-rsa {KEY} >> .ssh/known_hosts",
        "cat .ssh/authorized_keys",
        "echo ssh-rsa AAAA >> .ssh/authorized_keys",
        f"echo rsa {KEY} >> .ssh/authorized_keys",
        f"echo {KEY} >> .ssh/authorized_keys",
        "",
    ],
)
def test_no_key_is_planted_without_a_key_or_without_its_file(command: str) -> None:
    assert planted(command) == []


def test_several_keys_on_lines_of_their_own_are_all_found() -> None:
    command = f"cat > .ssh/authorized_keys <<.\nssh-rsa {OTHER}== one\nssh-ed25519\t{KEY}\n\nssh-rsa {KEY} three\n."
    assert planted(command) == [("ssh-rsa", OTHER + "==", "one"), ("ssh-ed25519", KEY, None), ("ssh-rsa", KEY, "three")]


def test_a_key_that_stands_twice_in_a_command_is_one() -> None:
    command = f"echo 'ssh-rsa {KEY} a' > authorized_keys; echo 'ssh-rsa {KEY} b' >> authorized_keys"
    assert planted(command) == [("ssh-rsa", KEY, "a")]


def test_a_key_that_is_planted_by_two_commands_was_planted_twice() -> None:
    commands = [event("s", t, "command.input", input=f"echo ssh-rsa {KEY} >> authorized_keys") for t in (1, 2)]
    assert [key.at for key in rebuilt(commands).ssh_keys] == [stamp(1), stamp(2)]


def test_only_commands_as_they_were_typed_plant_keys() -> None:
    # Cowrie reports the same command a second time, as one that she knew or did not know.
    command = f"echo ssh-rsa {KEY} >> authorized_keys"
    assert "ssh_keys" not in changes("command.success", input=command)
    assert "ssh_keys" not in changes("command.failed", input=command)
    assert len(changes("command.input", input=command)["ssh_keys"]) == 1


@pytest.mark.parametrize("line_end", ["\\n", " a\\n", "\\r\\n", "\\n\\n"])
def test_several_keys_between_line_ends_of_echo_or_printf_are_all_found(line_end: str) -> None:
    command = f'echo -e "ssh-rsa {OTHER}{line_end}ssh-ed25519 {KEY} b" >> .ssh/authorized_keys'
    assert [(kind, data) for kind, data, _ in planted(command)] == [("ssh-rsa", OTHER), ("ssh-ed25519", KEY)]


def test_a_remark_ends_with_its_line() -> None:
    assert planted(f"printf 'ssh-rsa {KEY} me@x\\n' >> .ssh/authorized_keys") == [("ssh-rsa", KEY, "me@x")]


# --- order and borders ------------------------------------------------------------------------------------------------

# Everything that a later event can change of what an earlier one said, and instants that several of them share.
EVENTS = [
    event("s", 0),
    event("s", 0, protocol="telnet", src_ip="::ffff:8.8.8.8", src_port="23", dst_ip="pot.example"),
    event("s", 0, "client.version", version="b'SSH-2.0-Go'"),
    event("s", 0, "client.version", version="SSH-2.0-libssh", sensor="beta"),
    event("s", 1, "client.kex", hassh="a" * 32),
    event("s", 1, "client.kex", hassh="b" * 32),
    event("s", 1, "login.failed", username="root", password="1"),
    event("s", 1, "login.failed", username="root", password="2"),
    event("s", 1, "login.success", username="root"),
    event("s", 2, "command.input", input=f"echo ssh-rsa {KEY} > authorized_keys"),
    event("s", 2, "command.input", input=f"echo ssh-rsa {OTHER} > authorized_keys"),
    event("s", 2, "session.file_download", shasum=SHA.upper()),
    event("s", 2, "direct-tcpip.request", dst_ip="mail.example", dst_port="25"),
    event("s", 3, "log.open", ttylog="one"),
    event("s", 3, "log.closed", ttylog="two"),
    event("s", 3, "of.the.future"),
    event("s", 4, "session.closed", duration="4.0"),
    event("s", 4, "session.closed", duration_ms=4500),
]


@given(
    st.lists(st.sampled_from(EVENTS), min_size=1, unique_by=id).flatmap(
        lambda e: st.tuples(st.just(e), st.permutations(e))
    )
)
@settings(max_examples=100, deadline=None)
def test_the_order_of_loading_makes_no_difference(orders: tuple[list[dict[str, Any]], list[dict[str, Any]]]) -> None:
    one, other = orders
    assert rebuilt(one) == rebuilt(other)


@pytest.mark.parametrize(
    ("pause", "expected"),
    [(0, True), (86_399.999999, True), (86_400, True), (86_400.000001, False), (1e7, False), (-5, True)],
)
def test_an_id_that_was_silent_for_more_than_a_day_begins_a_new_session(pause: float, expected: bool) -> None:
    assert continues(stamp(0), stamp(pause)) is expected


def test_a_day_is_24_hours_also_over_the_end_of_february_and_of_the_year() -> None:
    assert continues("2024-02-28T12:00:00.000000Z", "2024-02-29T12:00:00.000000Z")
    assert not continues("2024-02-28T12:00:00.000000Z", "2024-03-01T12:00:00.000000Z")
    assert continues("2024-12-31T23:59:59.999999Z", "2025-01-01T23:59:59.999999Z")
