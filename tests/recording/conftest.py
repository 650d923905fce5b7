"""Recorders for tests: the user's own outboxes are left alone, and no thread is left behind."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    yield
    left = [thread.name for thread in threading.enumerate() if thread.name == "mofa_usage-delivery"]
    assert not left, "a recorder was not closed"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where an outbox may be."""
    return tmp_path / "outbox"


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database file that is not there yet."""
    return f"sqlite:{tmp_path / 'usage.db'}"
