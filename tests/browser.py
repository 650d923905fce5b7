"""A real Chromium for tests of pages.

`chromium()` finds one: on the PATH, or Playwright's own; on Debian as root it installs one. What cannot be had is a
failure that says what to install, never a skip.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Playwright, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")

# Without these Chromium looks for updates and accounts, which a closed network refuses, many at a time.
QUIET = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class ChromiumMissingError(Exception):
    """There is no Chromium, and it cannot be installed."""


def chromium(playwright: Playwright) -> Path:
    """The program of a Chromium on this machine.

    Raises:
        ChromiumMissingError: there is none; the message says what to install.
    """
    found = _installed(playwright)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        _install()
        found = _installed(playwright)
    if found is None:
        raise ChromiumMissingError(
            "these tests need Chromium: install it with `apt-get install chromium`, `brew install chromium` "
            "or `playwright install chromium`"
        )
    return found


def _installed(playwright: Playwright) -> Path | None:
    own = Path(playwright.chromium.executable_path)
    on_path = (shutil.which(name) for name in NAMES)
    return next((Path(path) for path in on_path if path), own if own.exists() else None)


def _install() -> None:
    """Install Debian's package; its output is shown only when it fails."""
    quietly = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
        done = subprocess.run(["apt-get", "-q", *words], env=quietly, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ChromiumMissingError(f"`apt-get {' '.join(words)}` failed: {done.stderr.strip()[-500:]}")


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A headless Chromium; root has no sandbox for it."""
    with sync_playwright() as playwright:
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=chromium(playwright), args=[*QUIET, *sandbox])
        try:
            yield browser
        finally:
            browser.close()
