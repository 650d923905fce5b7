"""Processes that a test run starts beside itself: who runs them, where they listen, and that they end."""

import os
import pwd
import random
import socket
import subprocess
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil

__all__ = ["HOST", "free_port", "is_open_to_all", "kill_all", "unprivileged", "watch"]

HOST = "127.0.0.1"
END_SECONDS = 30.0
# Below the ephemeral ports of Linux (32768) and macOS (49152): while a server is down, no outgoing connection can be
# given its port, nor a client that tries again connect to itself. Test processes that run side by side (pytest-xdist)
# have ports of their own, so that none takes that of a server that another one restarts.
SHARES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
SHARE = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
PORTS = range(15_000 + SHARE, 32_000, SHARES)


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    for port in random.sample(PORTS, 100):
        with closing(socket.socket()) as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise RuntimeError(f"no free port among {PORTS}")


def unprivileged(directory: Path) -> dict[str, Any]:
    """Arguments that make `subprocess` run as nobody when we are root, who is given the directory and its files."""
    directory.chmod(0o755)
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    for path in (directory, *directory.iterdir()):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def is_open_to_all(directory: Path) -> bool:
    """Whether every user may enter the directory."""
    return all(folder.stat().st_mode & 0o001 for folder in (directory, *directory.parents))


def watch(pid: int | None, directory: Path) -> subprocess.Popen[bytes]:
    """A process that ends the server and deletes its directory if this process dies without having done so.

    It waits for the end of its standard input, which comes when the last holder of the pipe, this process, is gone.
    """
    script = 'cat >/dev/null; [ -z "$1" ] || kill -9 "$1" 2>/dev/null; sleep 1; rm -rf "$2"'
    return subprocess.Popen(
        ["/bin/sh", "-c", script, "watch", str(pid or ""), str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """Send SIGKILL to a process and all that it started, and wait until they are gone."""
    with suppress(psutil.NoSuchProcess):
        # Their parent goes first, so that it cannot start new ones.
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        _wait_until_gone(children)
    process.wait()


def _wait_until_gone(processes: list[psutil.Process]) -> None:
    deadline = time.monotonic() + END_SECONDS
    for process in processes:
        # Orphans that nobody reaps stay as zombies, which hold nothing.
        with suppress(psutil.NoSuchProcess):
            while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"process {process.pid} does not end")
                time.sleep(0.01)
