"""The page of the documentation about clusters is true."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.documents import Page
from tests.spark import PAGE

DOCS = Path(__file__).parents[2] / "mofa_usage" / "docs"


def test_every_block_of_the_page_runs(session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its session is the one that there is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    assert Page(tmp_path, environment).read(DOCS / PAGE) > 0
