"""A real Chromium for tests of pages, the one that `tests.programs` finds or installs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from tests.programs import chromium

# Without these Chromium looks for updates and accounts, which a closed network refuses, many at a time.
QUIET = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A headless Chromium; root has no sandbox for it."""
    with sync_playwright() as playwright:
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=chromium(), args=[*QUIET, *sandbox])
        try:
            yield browser
        finally:
            browser.close()
