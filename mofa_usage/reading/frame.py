"""Calls in a Polars frame: somebody's, or one made of records."""

from collections.abc import Iterator, Sequence
from typing import Any

from mofa_usage.errors import require
from mofa_usage.reading.columns import CALL_COLUMNS, NAME_COLUMNS, CallColumn, normalise, origin
from mofa_usage.reading.selection import Selection, offered
from mofa_usage.records import Agent, LLMApiCall, Provider
from mofa_usage.schema import Kind, write_json

require("polars", extra="analysis")
import polars as pl  # noqa: E402

__all__ = ["FrameCalls", "frame_of_records"]


class FrameCalls:
    """The calls of a Polars frame. A lazy one is collected for each question, with what it needs."""

    def __init__(self, frame: pl.DataFrame | pl.LazyFrame) -> None:
        self._frame = frame.lazy()
        self._schema = self._frame.collect_schema()

    def columns(self, selection: Selection) -> tuple[str, ...]:
        """See `Calls`."""
        return offered(self._schema.names(), selection)

    def count(self, selection: Selection) -> int:
        """See `Calls`."""
        return self._selected(selection, ()).height

    def batches(self, selection: Selection, *, by_time: bool = False) -> Iterator[pl.DataFrame]:
        """See `Calls`."""
        columns = self.columns(selection)
        calls = self._selected(selection, (*columns, *(["create_time"] if by_time else [])))
        yield (calls.sort("create_time") if by_time else calls).select(columns)

    def _selected(self, selection: Selection, columns: Sequence[str]) -> pl.DataFrame:
        given = self._schema.names()
        # The id names a call in errors, and no update_time is before the create_time.
        beside = [name for name in ("id", "create_time") if name in given]
        needed = list(dict.fromkeys((*columns, *selection.conditions, *beside)))
        sources = (origin(name, given) for name in needed)
        rows = self._frame.select(list(dict.fromkeys(source for source in sources if source is not None))).collect()
        return selection.apply(normalise(rows, needed))


def frame_of_records(
    calls: Sequence[LLMApiCall], agents: Sequence[Agent], providers: Sequence[Provider]
) -> pl.DataFrame:
    """Records as a frame with every column."""
    provider_names = {provider.id: provider.provider_name for provider in providers}
    names = {agent.id: (agent.agent_code, agent.agent_name, provider_names.get(agent.provider_id)) for agent in agents}
    columns = [
        pl.Series(column.name, [_value_of(call, column) for call in calls], dtype=column.dtype)
        for column in CALL_COLUMNS.values()
        if column.source is not None
    ]
    named = [names.get(call.agent_id, (None, None, None)) for call in calls]
    beside = pl.DataFrame(named, schema=dict.fromkeys(NAME_COLUMNS, pl.String), orient="row")
    return pl.DataFrame(columns).hstack(beside)


def _value_of(call: LLMApiCall, column: CallColumn) -> Any:
    value = getattr(call, column.source or "")
    if value is None:
        return None
    if column.key is not None:
        return getattr(value, column.key)
    if column.kind is Kind.JSON:
        return write_json(value)
    return str(value) if column.kind in (Kind.ID, Kind.NAME) else value
