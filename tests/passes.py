"""How often an analysis goes over the calls."""

from typing import Any

import polars as pl
import pytest

from mofa_usage.analysis import engine, levels

__all__ = ["counted_passes"]


def counted_passes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A list that gets the frame of each pass that groups calls."""
    passes: list[Any] = []

    def counted(frame: Any) -> pl.DataFrame:
        passes.append(frame)
        return engine.collect(frame)

    monkeypatch.setattr(levels, "collect", counted)
    return passes
